"""Typed parameters: bounds and help. The values stand in params.yaml alone."""

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dti.errors import DtiError

NO_MATTER = ("track.", "promote.", "workers.", "train.checkpoint_seconds")
"""Beginnings of the dotted names of parameters that change no result of a run."""


class Section(BaseModel):
    """A section of params.yaml: unknown keys, missing keys and wrong types are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=r"\.(csv|tsv|jsonl|ndjson|parquet|(csv|tsv|jsonl|ndjson)\.gz)$")]
Name = Literal[
    "demo",
    "ml-100k",
    "ml-1m",
    "ml-25m",
    "ml-32m",
    "amazon-2018-5core",
    "amazon-2018",
    "amazon-2023-5core",
    "amazon-2023",
    "table",
]


class Data(Section):
    name: Name = Field(description="which data set of data/sources.yaml to use; table: your own files (section table)")
    sha256: Sha256 | list[Sha256] | None = Field(
        description="accept an archive with this SHA-256 (or files with these) in place of the official one"
    )
    threshold: float = Field(description="a rating above this is a positive label (sources with ratings)")
    users: Positive | None = Field(description="keep only this many users, drawn at random; null keeps all")
    min_context: int = Field(ge=0, description="interactions with fewer earlier ones of their user are no targets")
    split: Literal["time", "none"] = Field(
        description="time: 8:1:1 by global time of the targets; none: every target trains (the final fit)"
    )

    @property
    def accepted(self) -> list[str]:
        """The SHA-256 of every file that is accepted in place of an official one."""
        return [self.sha256] if isinstance(self.sha256, str) else self.sha256 or []


class Demo(Section):
    users: int = Field(ge=10, description="users of the generated data set")
    interactions: int = Field(ge=200, description="interactions of the generated data set")
    items: int = Field(ge=20, description="items of the generated data set")
    seed: int = Field(ge=0, description="seed of the generated data set")

    @model_validator(mode="after")
    def _enough(self) -> "Demo":
        if self.interactions < 8 * self.users:
            raise ValueError(f"demo.interactions must be at least 8 per user ({8 * self.users})")
        return self


class Amazon(Section):
    category: str = Field(pattern="^[A-Za-z_]+$", description="the category as the files' names write it: Gift_Cards")


class Table(Section):
    """The user's own files. Formats go by the names' ends: .csv, .tsv, .jsonl, .ndjson (each also .gz), .parquet."""

    title: str = Field(min_length=1, description="what reports call the data set")
    folder: str = Field(min_length=1, description="the folder of the files; if one of them changes, stages run again")
    interactions: FileName = Field(description="the file with one row per interaction")
    items: FileName | None = Field(description="the file with one row per item; null: item fields stand beside them")
    users: FileName | None = Field(description="the file with one row per user, for profiles; null for none")
    user: str = Field(min_length=1, description="the column of user ids")
    item: str = Field(min_length=1, description="the column of item ids")
    label: str | None = Field(description="the column of labels: 0 / 1 or false / true; null where there are ratings")
    rating: str | None = Field(description="the column of ratings: positive above data.threshold; null for labels")
    timestamp: str = Field(min_length=1, description="the column of times")
    time: Literal["seconds", "milliseconds", "iso"] = Field(
        description="how times are written: seconds or milliseconds since 1970, or ISO 8601"
    )
    timezone: str = Field(description="the time zone of ISO times that give no offset, such as UTC or Europe/Berlin")
    item_fields: list[str] = Field(min_length=1, description="the columns of items that templates may use")
    user_fields: list[str] = Field(description="the columns of users that templates may use")

    @model_validator(mode="after")
    def _columns(self) -> "Table":
        if (self.label is None) == (self.rating is None):
            raise ValueError("table: give one of table.label and table.rating, and null for the other")
        if (self.users is None) == bool(self.user_fields):
            raise ValueError("table.user_fields are columns of table.users; give both or neither (null and [])")
        if self.timezone not in available_timezones():
            raise ValueError(f"table.timezone: {self.timezone!r} is no time zone; write UTC or Europe/Berlin")
        if taken := {"item_id", "user_id", "row"} & {*self.item_fields, *self.user_fields}:
            raise ValueError(
                f"table: the field {min(taken)!r} has a name that is used here; leave it out, or rename the column"
            )
        return self


class Template(Section):
    item: str = Field(description="an item's text; {field} stands for a column of items.parquet")
    profile: str | None = Field(description="a user's profile text; {field} stands for a column of users.parquet")


class Pack(Section):
    n: int = Field(ge=1, description="context: how many preceding interactions a probe may read")
    k: Positive | Literal["all"] = Field(
        description="targets per prompt: 1 = sliding window, more = streaming prompts, all = a user's whole history"
    )
    context_labels: Literal["binary", "rating"] = Field(
        description="label tokens of the context: yes / no, or one token per star"
    )
    instruction: str | None = Field(
        min_length=1, description="a constant text that every probe reads before its user's profile; null for none"
    )
    profile: bool = Field(description="put the user's profile before the prompt, read by every probe")
    max_item_tokens: int = Field(ge=1, description="longer item and profile texts are cut to this many tokens")
    shard_interactions: int = Field(ge=1, description="interactions per shard; a shard holds whole users")
    templates: dict[str, Template] = Field(
        description="the text templates of each data set, by its name or by the part before the first hyphen"
    )


class Tiny(Section):
    layers: Positive = Field(description="decoder layers")
    width: Positive = Field(description="hidden size")
    heads: Positive = Field(description="attention heads; width / heads must be even")
    vocabulary: int = Field(ge=300, description="size of the BPE vocabulary trained on the item texts")
    dropout: Fraction = Field(description="dropout on the residual branches during training")

    @model_validator(mode="after")
    def _divisible(self) -> "Tiny":
        if self.width % self.heads or self.width // self.heads % 2:
            raise ValueError(f"model.tiny: width {self.width} / heads {self.heads} must be an even whole number")
        return self


class Lora(Section):
    r: Positive = Field(description="rank of the adapter")
    alpha: Positive = Field(description="scale: the update is multiplied by alpha / r")
    dropout: Fraction = Field(description="dropout before the adapter")


class Model(Section):
    backbone: str = Field(
        min_length=1, description="tiny, a local folder or GGUF file, or a hub id of a causal language model"
    )
    revision: str | None = Field(description="the hub revision to pin; null for tiny, a folder or a file")
    tuning: Literal["full", "lora"] = Field(description="train all weights, or a LoRA adapter on all linear layers")
    quantisation: Literal["none", "8bit", "4bit"] = Field(
        description="hold a frozen base's matrices in 8 or 4 bits (lora on CUDA; needs the package bitsandbytes)"
    )
    tiny: Tiny = Field(description="the small Llama that the project builds itself")
    lora: Lora = Field(description="the adapter of tuning: lora")

    @model_validator(mode="after")
    def _useful(self) -> "Model":
        if self.backbone == "tiny" and self.revision is not None:
            raise ValueError("model.revision has no meaning for backbone tiny; set it to null")
        if self.backbone == "tiny" and self.tuning == "lora":
            raise ValueError("model.tuning lora needs a pretrained backbone; tiny starts from random weights: use full")
        if self.quantisation != "none" and self.tuning == "full":
            raise ValueError(
                f"model.quantisation {self.quantisation} needs model.tuning lora: few bits cannot be trained"
            )
        if self.quantisation != "none" and self.backbone.endswith(".gguf"):
            raise ValueError("model.quantisation takes safetensors; a GGUF file is dequantised: set it to none")
        return self


class Reset(Section):
    family: Literal["linear", "exponential", "step"] = Field(
        description="how much is reset at distance d: strength * d / n, 1 - (1 - strength)^d, or strength for d > 0"
    )
    strength: float = Field(ge=0, le=1, description="0 resets nothing, 1 everything at the longest distance")
    at: Literal["probes", "content", "both"] = Field(description="whose reading resets what it reads")


class Attention(Section):
    policy: Literal["window", "isolated"] = Field(
        description="content reads its n preceding interactions, or its own alone"
    )
    probe_position: Literal["rope", "alibi", "local"] = Field(description="how a probe sees distance")
    slopes: Literal["fixed", "learned"] = Field(
        description="how fast what a probe reads fades with distance: ALiBi's slopes, or learned per layer and head"
    )
    context: Literal["all", "label"] = Field(
        description="what a probe reads of a context interaction: all its tokens, or its label token"
    )
    leakage: Literal["none", "reset"] = Field(
        description="remedy for what windows leak: none, or reset states towards their initial ones with distance"
    )
    reset: Reset = Field(description="how leakage: reset works")
    layout: Literal["stream", "unique"] = Field(
        description="stream encodes each interaction; unique each distinct item of a pass once (isolated only)"
    )
    content: Literal["trained", "frozen"] = Field(
        description="frozen: the adapter acts on probes alone, and the base model encodes every item once (unique only)"
    )
    backend: Literal["auto", "reference", "blocks", "flex"] = Field(
        description="the attention code that runs; flex needs CUDA; auto takes flex there and blocks elsewhere"
    )

    @model_validator(mode="after")
    def _shares(self) -> "Attention":
        if self.layout == "unique" and self.policy == "window":
            raise ValueError(
                "attention.layout unique needs policy isolated: a window's states depend on what stands before them"
            )
        if self.layout == "unique" and self.probe_position == "rope":
            raise ValueError(
                "attention.layout unique cannot serve probe_position rope: an item that several interactions share has "
                "no one place in a stream; set local or alibi"
            )
        if self.content == "frozen" and self.layout == "stream":
            raise ValueError("attention.content frozen reads the catalogue's states; set attention.layout unique")
        return self

    @model_validator(mode="after")
    def _fades(self) -> "Attention":
        if self.slopes == "learned" and self.probe_position == "rope":
            raise ValueError("attention.slopes learned has no meaning for probe_position rope, which has no bias")
        if self.slopes == "learned" and self.backend == "flex":
            raise ValueError("attention.slopes learned does not run on flex; set attention.backend blocks")
        return self

    @model_validator(mode="after")
    def _leaks(self) -> "Attention":
        if self.leakage == "reset" and self.policy == "isolated":
            raise ValueError("attention.leakage reset has no meaning for policy isolated: it leaks nothing; set none")
        return self


class Train(Section):
    epochs: Positive = Field(description="passes over the training targets, at most")
    targets_per_step: Positive = Field(description="targets per optimiser step")
    tokens_per_pass: int = Field(
        ge=64,
        description="content tokens of a forward pass: bounds the memory; layout unique shares items within a pass",
    )
    learning_rate: float = Field(gt=0, le=1, description="peak learning rate of AdamW")
    weight_decay: float = Field(ge=0, description="AdamW's weight decay, on matrices only")
    warmup: Fraction = Field(description="share of all steps in which the learning rate rises; then it falls by cosine")
    clip: float = Field(gt=0, description="gradients are clipped to this norm")
    patience: int = Field(ge=0, description="stop after this many epochs without a better validation AUC; 0 = never")
    valid_targets: Positive = Field(description="validation targets scored after each epoch, at most")
    seed: int = Field(ge=0, description="seed of initial weights, order and dropout")
    device: Literal["auto", "cpu", "cuda"] = Field(description="auto takes a GPU where there is one")
    precision: Literal["fp32", "bf16"] = Field(description="arithmetic of the forward and backward pass")
    activation_checkpointing: bool = Field(
        description="keep each layer's input alone and compute the layer again in the backward pass: less memory"
    )
    compile: bool = Field(description="compile norms and feed-forward blocks with torch.compile (CUDA alone)")
    processes: Positive = Field(description="processes that train together on this machine, one for each GPU")
    engine: Literal["single", "ddp", "fsdp"] = Field(
        description="how they share the model: one process alone; ddp: each has all of it (adapters, small models); "
        "fsdp: each has a part of every weight (large ones)"
    )
    checkpoint_seconds: int = Field(ge=0, description="seconds between checkpoints; 0 = after every step")
    init_from: str | None = Field(description="a folder made by an earlier training run, to continue from")

    @model_validator(mode="after")
    def _shared(self) -> "Train":
        if self.engine == "single" and self.processes > 1:
            raise ValueError(f"train.processes {self.processes} needs train.engine ddp or fsdp")
        if self.engine != "single" and self.processes == 1:
            raise ValueError(f"train.engine {self.engine} has no meaning for one process; raise train.processes")
        return self

    @model_validator(mode="after")
    def _compiles(self) -> "Train":
        if self.compile and self.device == "cpu":
            raise ValueError("train.compile gains nothing on a CPU; set it to false")
        return self

    @model_validator(mode="after")
    def _kept(self) -> "Train":
        if self.init_from is not None and Path(self.init_from).resolve() == Path("models/adapter").resolve():
            raise ValueError("train.init_from is this run's own output, which DVC removes first; copy the folder")
        return self


class Evaluate(Section):
    bootstrap: int = Field(ge=10, description="bootstrap samples of users behind the 95 % interval of AUC")
    parity_targets: int = Field(
        ge=1000, description="targets whose streaming and serving logits are compared, at least (design: 1,000)"
    )


warnings.filterwarnings("ignore", 'Field name "register"')  # it shadows ABCMeta's, which no section needs


class Track(Section):
    experiment: str = Field(min_length=1, description="the MLflow experiment that holds the runs")
    register: bool = Field(
        description="make each result a version of dti-ctr-NAME; a sweep sets false and registers its best cell alone"
    )


class Promote(Section):
    """The rule by which `python -m dti promote` decides (README, "Release, roll back")."""

    min_gain: float = Field(
        gt=-1, lt=1, description="the 95 % interval of the AUC's gain over the champion must lie above this"
    )
    max_log_loss_rise: float = Field(ge=0, description="log loss may be this much above the champion's")
    max_ece_rise: float = Field(ge=0, description="expected calibration error may be this much above the champion's")
    max_parity_gap: float = Field(
        gt=0,
        description="largest logit gap, streams against serving prompts, of an isolated adapter (windows have none)",
    )
    max_serving_gap: float = Field(
        gt=0, description="largest difference between a score of evaluate and the served one, of the targets compared"
    )
    serving_targets: Positive = Field(description="test targets whose served scores are compared with evaluate's")
    bootstrap: int = Field(ge=100, description="bootstrap samples of users behind the interval of the gain")


class Workers(Section):
    """Who maps the shards of prepare and pack. The files are the same bytes, so that no stage depends on it."""

    kind: Literal["single", "processes", "dask"] = Field(
        description="who maps the shards of prepare and pack: this process, several on this machine, or a Dask cluster"
    )
    processes: int = Field(ge=1, le=256, description="how many processes of this machine (kind processes)")
    address: str | None = Field(
        min_length=1, description="the scheduler of a running Dask cluster, tcp://HOST:8786 (kind dask); null for none"
    )

    @model_validator(mode="after")
    def _reachable(self) -> "Workers":
        if (self.kind == "dask") != (self.address is not None):
            raise ValueError("workers.address is the scheduler of workers.kind dask; give both or neither (null)")
        return self


class Params(Section):
    """The whole of params.yaml."""

    data: Data
    demo: Demo
    amazon: Amazon
    table: Table
    pack: Pack
    model: Model
    attention: Attention
    train: Train
    evaluate: Evaluate
    track: Track
    promote: Promote
    workers: Workers

    @model_validator(mode="after")
    def _fits_devices(self) -> "Params":
        if self.model.quantisation != "none" and self.train.engine == "fsdp":
            raise ValueError("model.quantisation does not go with train.engine fsdp, which cuts weights; set ddp")
        if self.model.quantisation != "none" and self.train.device == "cpu":
            raise ValueError("model.quantisation needs a GPU; set train.device cuda, or model.quantisation none")
        return self

    @model_validator(mode="after")
    def _agree(self) -> "Params":
        if self.data.name in ("demo", "table") and self.data.sha256 is not None:
            raise ValueError(f"data.sha256 has no meaning for data.name {self.data.name}; set it to null")
        if self.attention.content == "frozen" and self.model.tuning == "full":
            raise ValueError("attention.content frozen needs model.tuning lora: full training changes content, too")
        if self.template_name not in self.pack.templates:
            raise ValueError(f"pack.templates has no entry {self.data.name!r} for data.name")
        if self.pack.profile and self.template.profile is None:
            raise ValueError(f"pack.profile needs a template in pack.templates.{self.template_name}.profile")
        prefixed = self.pack.profile or self.pack.instruction is not None
        if prefixed and self.attention.probe_position == "rope" and self.pack.k != 1:
            raise ValueError(
                "attention.probe_position rope with pack.profile or pack.instruction needs pack.k 1 "
                "(a prefix has no distance)"
            )
        return self

    @property
    def template_name(self) -> str:
        """The entry of ``pack.templates`` for the chosen data set: its name's, else its family's (``ml``)."""
        name = self.data.name
        return name if name in self.pack.templates else name.split("-")[0]

    @property
    def template(self) -> Template:
        """The templates of the chosen data set."""
        return self.pack.templates[self.template_name]


def flatten(parameters: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested parameters by their dotted names."""
    flat: dict[str, Any] = {}
    for key, value in parameters.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


WORDS = {
    "greater_than_equal": "{input!r} is less than the minimum of {ge}",
    "greater_than": "{input!r} is less than or equal to the minimum of {gt}",
    "less_than_equal": "{input!r} is greater than the maximum of {le}",
    "less_than": "{input!r} is greater than or equal to the maximum of {lt}",
    "literal_error": "{input!r} is not one of [{expected}]",
    "const_error": "{expected} was expected",
    "string_pattern_mismatch": "{input!r} does not match {pattern!r}",
    "string_too_short": "{input!r} should be non-empty",
    "too_short": "{input!r} should be non-empty",
    "int_type": "{input!r} is not of type 'integer'",
    "float_type": "{input!r} is not of type 'number'",
    "bool_type": "{input!r} is not of type 'boolean'",
    "string_type": "{input!r} is not of type 'string'",
    "list_type": "{input!r} is not of type 'array'",
    "dict_type": "{input!r} is not of type 'object'",
    "model_type": "{input!r} is not of type 'object'",
}
"""Refusals by their kind, in the words of JSON Schema's validator, which speaks in the UI's form."""


def _sentence(error: Mapping[str, Any]) -> str:
    branch = r"constrained-|literal\[|list\[|int$"  # of a union, as pydantic names it
    place = ".".join(part for part in map(str, error["loc"]) if not re.match(branch, part))
    if error["type"] == "extra_forbidden":
        return f"{place}: unknown parameter; remove it or correct its name"
    if error["type"] == "missing":
        return f"{place}: missing; params.yaml must give it a value"
    context = {name: _plain(value) for name, value in error.get("ctx", {}).items()}
    single = error["type"] == "literal_error" and ", " not in str(context["expected"])
    if words := WORDS.get("const_error" if single else error["type"]):
        return f"{place}: {words.format(input=error['input'], **context)}"
    message = str(error["msg"]).removeprefix("Value error, ")
    given = "" if isinstance(error["input"], Mapping) or not place else f" (given: {error['input']!r})"
    return f"{place}: {message}{given}" if place and not message.startswith(place) else message


def _plain(value: object) -> object:
    """A bound as a schema writes it (1, not 1.0), choices as a list (``'a', 'b'``, not ``'a' or 'b'``)."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value.replace(" or ", ", ") if isinstance(value, str) else value


def parse_params(content: object, name: str = "params.yaml") -> Params:
    """Validate the parsed content of a parameter file.

    Raises:
        DtiError: one line per wrong key, naming the key.
    """
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        lines = "\n  ".join(dict.fromkeys(_sentence(e) for e in error.errors()))
        raise DtiError(f"{name}:\n  {lines}") from None


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read and validate params.yaml.

    Raises:
        DtiError: the file is missing, is no YAML, or a value is wrong.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise DtiError(f"{path}: not found; run from the project's folder") from None
    except yaml.YAMLError as error:
        raise DtiError(f"{path}: no valid YAML: {error}") from None
    return parse_params(content, str(path))
