"""Packs the interim data: texts become tokens, histories become shards, targets become prompts."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from dti.errors import DtiError
from dti.files import atomic_folder, digest_of, read_json, write_json
from dti.params import Params
from dti.prompts.interim import Interim, Survey
from dti.prompts.packing import stream_prompts, write_prompts
from dti.prompts.report import report, verify
from dti.prompts.shards import ContextLabels, write_shards
from dti.prompts.store import FORMAT, Counts, Meta, Store, TokenIds, texts_schema, write_batch
from dti.prompts.template import Template
from dti.prompts.tokenizer import (
    Texts,
    add_item_tokens,
    encode_texts,
    found_ids,
    item_tokens,
    load_tokenizer,
    named_ids,
    train_tiny,
)
from dti.workers import Mapper


def pack(params: Params, source: Path, target: Path, mapper: Mapper = map) -> dict[str, Any]:
    """Pack ``source`` (data/interim) into ``target`` (data/packed), which appears whole or not at all.

    The same input gives the same bytes, whoever makes the shards.

    Args:
        mapper: makes the shards.

    Returns:
        the report: everything counted, beside what the cost model predicts.

    Raises:
        DtiError: bad input, a parameter that does not fit the data, or counts that do not agree.
    """
    interim = Interim(source)
    survey = interim.survey()
    check_fit(params, survey, interim.path)
    items = render(interim.items, params.template.item, f"pack.templates.{params.template_name}.item")
    prefixes = _prefixes(params, interim, survey)
    with atomic_folder(target) as folder:
        item_ids = interim.item_ids.to_pylist()
        tokenizer, ids = make_tokenizer(params, survey, dict(zip(item_ids, items, strict=True)), prefixes)
        tokenizer.save_pretrained(folder / "tokenizer")
        limit, kind = params.pack.max_item_tokens, params.pack.context_labels
        check_instruction(tokenizer, params.pack.instruction, limit)
        item_texts = encode_texts(tokenizer, items, limit, ids.empty, "items")
        if params.pack.item_tokens:
            item_texts = item_texts.behind(item_tokens(tokenizer, params.data.name, item_ids))
        user_texts = Texts.none(len(survey.user_ids))
        if prefixes:
            user_texts = encode_texts(tokenizer, prefixes, limit, None, "profiles")
        write_texts(folder, "item", interim.item_ids, item_texts)
        write_texts(folder, "user", survey.user_ids, user_texts)
        labels = ContextLabels(kind, ids, survey.ratings)
        write_shards(interim, survey.lengths_U, folder / "shards", params.pack.shard_interactions, labels, mapper)
        meta = _meta(params, read_json(source / "source.json"), ids, len(tokenizer), _expected(interim, survey))
        return report(_finish(Store.map(folder, meta)), item_texts, user_texts)


def check_fit(params: Params, survey: Survey, path: Path) -> None:
    """Refuse parameters that the data cannot serve.

    Raises:
        DtiError: rating labels without ratings, or no training target.
    """
    if params.pack.context_labels == "rating" and not survey.ratings:
        raise DtiError(f"pack.context_labels: rating needs a rating column, which {path} does not have; set binary")
    if not survey.splits["train"]:
        raise DtiError(f"{path}: no row of split train, so nothing to learn from; lower data.min_context or add data")


def render(table: pa.Table, template: str, name: str) -> list[str]:
    """The text of each row of a table of string fields; ``name`` is the template's parameter."""
    parsed = Template.parse(template, table.column_names, name)
    used = [field.name for field in parsed.fields]
    return [parsed.render(row) for row in table.select(dict.fromkeys(used)).to_pylist()]


def make_tokenizer(
    params: Params, survey: Survey, items: Mapping[str, str], prefixes: list[str]
) -> tuple[Any, TokenIds]:
    """The tokenizer of the backbone and its ids; ``tiny`` learns from texts of the training split alone.

    An adapter that is to be continued (``train.init_from``) brings its own tokenizer, and items' tokens with it.

    Args:
        items: the text of each item by its id, in the order of the interim data.
    """
    levels = [f"{rating:g}" for rating in survey.ratings]
    if params.model.backbone != "tiny":
        tokenizer = load_tokenizer(params.model.backbone, params.model.revision)
        return tokenizer, found_ids(tokenizer, levels if params.pack.context_labels == "rating" else [])
    if params.train.init_from is not None:
        tokenizer = continued_tokenizer(params, Path(params.train.init_from) / "tokenizer", items)
        return tokenizer, named_ids(tokenizer, levels)
    trained = {item: items[item] for item, seen in zip(items, survey.trained_items_N, strict=True) if seen}
    learned = list(trained.values())
    if prefixes:
        learned += [text for text, seen in zip(prefixes, survey.trained_users_U, strict=True) if seen]
    tokenizer = train_tiny(learned, params.model.tiny.vocabulary, levels)
    if params.pack.item_tokens:
        add_item_tokens(tokenizer, params.data.name, trained)
    return tokenizer, named_ids(tokenizer, levels)


def continued_tokenizer(params: Params, folder: Path, items: Iterable[str]) -> Any:
    """The tokenizer of an adapter that is to be continued; items that are new to it get no token.

    Raises:
        DtiError: there is none, or ``pack.item_tokens`` was another one; another data set's items are unknown.
    """
    if not (folder / "tokenizer.json").is_file():
        raise DtiError(f"train.init_from: {folder}/tokenizer.json not found; name a folder that training made")
    tokenizer = load_tokenizer(str(folder.resolve()), None)
    has = bool((item_tokens(tokenizer, params.data.name, items) >= 0).any())
    if has != params.pack.item_tokens:
        known = "has tokens" if has else "has no token"
        raise DtiError(f"train.init_from: {folder} {known} of these items; set pack.item_tokens {str(has).lower()}")
    return tokenizer


def check_instruction(tokenizer: Any, instruction: str | None, limit: int) -> None:
    """Refuse an instruction that would leave no room for the profile behind it.

    Raises:
        DtiError: it has as many tokens as a prefix may have, or more.
    """
    length = encode_texts(tokenizer, [instruction or ""], 2**31 - 1, None, "instruction").tokens.size
    if length >= limit:
        raise DtiError(
            f"pack.instruction: {length} tokens, but pack.max_item_tokens cuts prefixes at {limit}; shorten it"
        )


def write_texts(folder: Path, kind: Literal["item", "user"], ids: pa.Array, texts: Texts) -> None:
    """Write ``items.arrow`` or ``users.arrow``."""
    offsets = pa.array(texts.offsets, pa.int32())
    tokens = pa.ListArray.from_arrays(offsets, pa.array(texts.tokens, pa.int32()))
    write_batch(folder / f"{kind}s.arrow", {f"{kind}_id": ids, "tokens": tokens}, texts_schema(kind))


def _prefixes(params: Params, interim: Interim, survey: Survey) -> list[str]:
    """What stands before each user's prompts: the instruction, then the profile; no texts where neither is on."""
    template, instruction = params.template.profile, params.pack.instruction
    profiles = [""] * len(survey.user_ids) if instruction else []
    if params.pack.profile and template is not None:
        profiles = render(interim.profiles(survey.user_ids), template, f"pack.templates.{params.template_name}.profile")
    return [f"{instruction} {profile}".rstrip() for profile in profiles] if instruction else profiles


def _expected(interim: Interim, survey: Survey) -> Counts:
    return Counts(
        users=len(survey.user_ids),
        items=len(interim.item_ids),
        interactions=interim.rows,
        positives=survey.positives,
        prompts=0,
        **survey.splits,
    )


def _meta(params: Params, source: dict[str, Any], ids: TokenIds, vocabulary: int, counts: Counts) -> Meta:
    pack = params.pack
    return Meta(
        format=FORMAT,
        dataset=params.data.name,
        title=source["title"],
        sha256=source["sha256"],
        official=source["official"],
        n=pack.n,
        k=pack.k,
        context_labels=pack.context_labels,
        instruction=pack.instruction,
        profile=pack.profile,
        backbone=params.model.backbone,
        revision=params.model.revision,
        max_item_tokens=pack.max_item_tokens,
        vocabulary=vocabulary,
        tokens=ids,
        counts=counts,
    )


def _finish(store: Store) -> Store:
    """Cut and write the training prompts, compare all counts with the interim data's, and write ``meta.json``."""
    prompts = stream_prompts(store, "train", store.meta.k)
    counts = replace(store.meta.counts, prompts=len(prompts))
    store = replace(store, meta=replace(store.meta, counts=counts))
    verify(store, prompts)
    write_prompts(store.folder / "prompts.arrow", prompts)
    meta = replace(store.meta, digest=digest_of([store.folder]))
    write_json(store.folder / "meta.json", asdict(meta))
    return replace(store, meta=meta)
