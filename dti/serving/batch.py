"""Scoring of many requests: streaming, and resumable after the last request whose answer is complete.

What is done so far lies beside the output in a hidden folder: answers, one a line, and a digest of each request. A
rerun keeps the answers up to the first request that is another one now, so a file may be mended and scored again.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from dti.errors import DtiError, full_disk_named
from dti.files import locked, read_json, write_json
from dti.progress import Progress
from dti.serving.scorer import Scorer

GROUP = 64
"""Requests that are scored, and kept, together."""
DIGEST = 16


@dataclass(frozen=True)
class Line:
    """A request as it was read.

    Attributes:
        name: what errors call it, ``requests.jsonl: line 3``.
        text: its JSON.
    """

    name: str
    text: bytes

    @property
    def digest(self) -> bytes:
        """Tells it from other requests."""
        return hashlib.blake2b(self.text, digest_size=DIGEST).digest()

    def content(self) -> Any:
        """The request.

        Raises:
            DtiError: no JSON.
        """
        try:
            return json.loads(self.text)
        except ValueError as error:
            raise DtiError(f"{self.name}: no valid JSON ({error})") from None


class Work:
    """The hidden folder beside an output, held by one process."""

    def __init__(self, output: Path, model: str) -> None:
        self.folder = output.with_name(f".{output.name}.scoring")
        self.answers, self.digests = self.folder / "answers.jsonl", self.folder / "digests"
        self._begin(model)

    def _begin(self, model: str) -> None:
        """Start anew where other work lies here, by another model, or none."""
        job = self.folder / "job.json"
        whole = all(file.is_file() for file in (job, self.answers, self.digests))
        if not whole or read_json(job) != {"model": model}:
            for file in (self.answers, self.digests):
                file.write_bytes(b"")
            write_json(job, {"model": model})

    def done(self) -> int:
        """How many answers are complete."""
        return min(_complete(self.answers)[0], self.digests.stat().st_size // DIGEST)

    def digest(self, number: int) -> bytes:
        """The digest of a request that has an answer."""
        with self.digests.open("rb") as handle:
            handle.seek(number * DIGEST)
            return handle.read(DIGEST)

    def keep(self, count: int) -> None:
        """Forget all answers but the first ones."""
        os.truncate(self.answers, _complete(self.answers, count)[1])
        os.truncate(self.digests, count * DIGEST)

    def add(self, lines: Iterable[Line], scores: Iterable[Any]) -> None:
        """Keep the answers of some requests."""
        with self.answers.open("ab") as answers:
            answers.writelines(json.dumps({"scores": one.tolist()}).encode() + b"\n" for one in scores)
        with self.digests.open("ab") as digests:
            digests.writelines(line.digest for line in lines)

    def remove(self) -> None:
        """End: the answers have their place."""
        shutil.rmtree(self.folder)


def _complete(path: Path, most: int | None = None) -> tuple[int, int]:
    """The number of complete lines of a file, or of the first of them, and their bytes."""
    count = size = 0
    with path.open("rb") as handle:
        for line in islice(handle, most):
            if line.endswith(b"\n"):
                count, size = count + 1, size + len(line)
    return count, size


@contextmanager
def scored(scorer: Scorer, lines: Iterable[Line], count: int, output: Path) -> Iterator[Path]:
    """Score all requests, then yield the file of answers, which the caller turns into ``output``.

    Args:
        count: how many requests there are.

    Raises:
        DtiError: a request is wrong (earlier answers are kept), another process scores into the same file, or the disk
            is full.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    lock = output.with_name(f".{output.name}.scoring") / "lock"
    with full_disk_named(output), locked(lock) as held:
        if held is None:
            raise DtiError(f"{output}: another process is scoring into it")
        work = Work(output, scorer.bundle.digest)
        _score(scorer, iter(lines), count, work)
        yield work.answers
        work.remove()


def _score(scorer: Scorer, lines: Iterator[Line], count: int, work: Work) -> None:
    """Skip the requests that are done, score the others."""
    done, known = 0, work.done()
    changed: list[Line] = []
    for number, line in enumerate(islice(lines, known)):
        if line.digest != work.digest(number):
            changed = [line]
            break
        done += 1
    work.keep(done)
    if done:
        print(f"going on after {done:,} requests that are scored", flush=True)
    with Progress("score", count, "requests", done=done) as progress:
        left = chain(changed, lines)
        while group := list(islice(left, GROUP)):
            _score_group(scorer, group, work)
            progress.advance(len(group))


def _score_group(scorer: Scorer, group: Sequence[Line], work: Work) -> None:
    """Score and keep some requests; where one is wrong, those before it are kept."""
    try:
        names = [line.name for line in group]
        work.add(group, scorer.score([line.content() for line in group], names))
    except DtiError:
        if len(group) == 1:
            raise
        for line in group:
            _score_group(scorer, [line], work)
