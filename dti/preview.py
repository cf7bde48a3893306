"""`python -m dti preview`: packed prompts of both paradigms as text, and the tokens and the mask of a small one."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dti.attention.masks import mask_of
from dti.attention.visibility import view_of
from dti.errors import DtiError
from dti.files import atomic_file
from dti.params import load_params
from dti.prompts.build import build_row, users_of
from dti.prompts.packing import Prompts, cut, runs
from dti.prompts.row import Row
from dti.prompts.store import Store, Targets
from dti.prompts.tokenizer import load_tokenizer
from dti.training.run import sight_of

LINES = 12  # interactions of a prompt that are shown
SMALL_N, SMALL_K = 2, 3  # of the prompt whose mask is drawn
WIDEST = 100  # tokens of a mask that is drawn as text
SHORT = 12  # characters of a token beside the mask


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the user, the number of shown interactions and the picture."""
    parser.add_argument("--user", help="whose prompts; by default the first one with enough training targets")
    parser.add_argument("--lines", type=int, default=LINES, help=f"interactions of a prompt to show ({LINES})")
    parser.add_argument("--png", type=Path, help="draw the mask into this file, too")


def run(arguments: argparse.Namespace) -> None:
    """Print the prompts and the mask of data/packed.

    Raises:
        DtiError: there is no packed data, or no such user.
    """
    params = load_params()
    store = Store.open(Path("data/packed"))
    reader = Reader(store, load_tokenizer(str(store.folder.resolve() / "tokenizer"), None))
    user = find_user(store, arguments.user)
    whole = user.prompts(store.meta.n, store.meta.k).take(slice(0, 1))
    last = user.prompts(store.meta.n, 1).take(slice(-1, None))
    print(f"sliding window (k = 1, n = {store.meta.n}): one prompt a target, here the user's last training target")
    print("\n".join(reader.lines(last, arguments.lines)))
    print(f"\npacked (k = {store.meta.k}, n = {store.meta.n}): the user's first prompt")
    print("\n".join(reader.lines(whole, arguments.lines)))
    sight = sight_of(params.attention, SMALL_N)
    small = replace(store, meta=replace(store.meta, n=SMALL_N))
    row = build_row(small, user.prompts(SMALL_N, SMALL_K).take(slice(0, 1)))
    tokens = Reader(small, reader.tokenizer).tokens(row, sight.probe_tokens)
    drawn = Drawing(tokens, mask_of(view_of(row, sight)).numpy())
    print(
        f"\nwho reads whom in a small prompt (k = {SMALL_K}, n = {SMALL_N}, policy {sight.policy}, context "
        f"{sight.context}); a row reads the columns marked #"
    )
    print("\n".join(drawn.lines()))
    if arguments.png:
        drawn.save(arguments.png)
        print(f"\n{arguments.png} has the mask as a picture")


@dataclass(frozen=True)
class User:
    """A user's training targets: rows of one shard.

    Attributes:
        shard: its number.
        first, start, stop: the user's first row, the first target and one past the last.
    """

    shard: int
    first: int
    start: int
    stop: int

    def prompts(self, n: int, k: Targets) -> Prompts:
        """The targets in prompts of k with n interactions of context."""
        ranged = cut(np.array([self.first]), np.array([self.start]), np.array([self.stop]), n, k)
        return Prompts(np.full(len(ranged[0]), self.shard, np.int64), *ranged)


def find_user(store: Store, name: str | None) -> User:
    """The user of this id; without one, the first who has as many training targets as the small prompt needs.

    Raises:
        DtiError: there is no such user, or no training target of theirs.
    """
    for number, shard in enumerate(store.shards):
        for first, start, stop in zip(*runs(shard, "train"), strict=True):
            found = store.user_ids[int(shard.user[start])].as_py()
            if found == name or (name is None and stop - start >= SMALL_K):
                return User(number, int(first), int(start), int(stop))
    if name is None:
        raise DtiError(f"{store.folder}: no user has {SMALL_K} training targets; name one with --user")
    raise DtiError(f"--user: no user {name!r} with a training target in {store.folder}")


class Reader:
    """Turns rows of tokens back into text."""

    def __init__(self, store: Store, tokenizer: Any) -> None:
        self.store, self.tokenizer = store, tokenizer

    def text(self, row: Row, start: int, stop: int) -> str:
        """The text of some content tokens."""
        return str(self.tokenizer.decode(row.tokens_S[start:stop].tolist())).strip()

    def lines(self, prompts: Prompts, most: int) -> Iterator[str]:
        """One prompt, a line per interaction: its text, its label token, and the probe behind a target."""
        row = build_row(self.store, prompts)
        user = self.store.user_ids[int(users_of(self.store, prompts)[0])].as_py()
        yield f"  user {user}: {row.tokens_S.size} content tokens, {row.target_K.size} probes"
        if row.prefix_stop_P[0] > row.prefix_start_P[0]:
            yield f"  prefix   {self.text(row, int(row.prefix_start_P[0]), int(row.prefix_stop_P[0]))!r}"
        answers = dict(zip(row.target_K.tolist(), row.answer_K.tolist(), strict=True))
        count = row.start_M.size
        head = count if count <= most else most // 2
        tail = max(head, count - most + head)
        for place in (*range(head), *range(tail, count)):
            if place == tail > head:
                yield f"  ... {tail - head} more interactions"
            yield self._line(row, place, answers.get(place))

    def _line(self, row: Row, place: int, answer: int | None) -> str:
        start, label = int(row.start_M[place]), int(row.label_M[place])
        text = self.text(row, start, start + int(row.text_M[place]))
        shown = self.text(row, label, label + 1) if label >= 0 else ""
        probe = "" if answer is None else f"  {self._sum()} is to say {'yes' if answer else 'no'}"
        return f"  {'target' if probe else 'context'}  {text!r} {shown}{probe}"

    def _sum(self) -> str:
        return str(self.tokenizer.decode([self.store.meta.tokens.sum]))

    def tokens(self, row: Row, probe_tokens: int) -> list[str]:
        """Every token of a row as text, the probes last."""
        content = [self.text(row, place, place + 1) or "(space)" for place in range(row.tokens_S.size)]
        probes = product(range(1, row.target_K.size + 1), range(1, probe_tokens + 1))
        names = (f"{target}.{place}" if probe_tokens > 1 else str(target) for target, place in probes)
        return content + [f"{self._sum()} {name}" for name in names]


@dataclass(frozen=True)
class Drawing:
    """Tokens, and who of them (row) reads whom (column)."""

    tokens: list[str]
    mask: NDArray[np.bool_]

    def lines(self) -> Iterator[str]:
        """The mask as text."""
        if len(self.tokens) > WIDEST:
            yield f"  {len(self.tokens)} tokens are too many for text; --png FILE draws them"
            return
        for number, (token, reads) in enumerate(zip(self.tokens, self.mask, strict=True)):
            cells = "".join("#" if read else "." for read in reads)
            yield f"  {number:3} {token[:SHORT]:>{SHORT}} {cells}"

    def save(self, path: Path) -> None:
        """The mask as a PNG file."""
        size = len(self.tokens)
        figure = Figure(figsize=(2 + 0.16 * size, 2 + 0.16 * size), layout="constrained")
        axes = figure.subplots()
        axes.imshow(~self.mask, cmap="gray", vmin=0, vmax=1)
        names = [token.replace("$", r"\$") for token in self.tokens]
        axes.set_yticks(range(size), names, fontsize=6)
        axes.set_xticks(range(size), names, fontsize=6, rotation=90)
        axes.set_ylabel("reads")
        axes.set_xlabel("is read")
        with atomic_file(path) as partial:
            figure.savefig(partial, format="png", dpi=120)
