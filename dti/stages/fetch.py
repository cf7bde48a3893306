"""Stage fetch: bring one source of data/sources.yaml to data/raw/NAME/, generated or verified."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dti.data.archive import obtain, verify
from dti.data.demo import generate
from dti.data.sources import Archive, Source, load_source
from dti.errors import DtiError, run_or_exit
from dti.files import atomic_folder, digest_of, write_json
from dti.params import Params, load_params

RAW = Path("data/raw")


def _facts(name: str, title: str, sha256: str, archives: Sequence[Archive], remark: str = "") -> dict[str, Any]:
    """The content of ``source.json``."""
    return {
        "name": name,
        "title": f"{title} ({remark})" if remark else title,
        "sha256": sha256,
        "official": not remark,
        "url": archives[0].url if archives else None,
        "files": [archive.file for archive in archives],
    }


def _generate(name: str, source: Source, params: Params, folder: Path) -> dict[str, Any]:
    generate(folder, **params.demo.model_dump())
    return _facts(name, source.title, digest_of([folder]), [])


def _take(name: str, source: Source, accepted: Sequence[str], folder: Path) -> dict[str, Any]:
    verdicts, refusals = [], []
    for archive in source.archives:
        target = folder / archive.file
        try:
            origin = obtain(archive, target, name, accepted)
            verdicts.append(verify(archive, target, accepted, origin))
        except DtiError as refusal:  # of all files at once: each tells its checksum
            refusals.append(str(refusal))
    if refusals:
        raise DtiError("\n".join(refusals))
    remark = next((verdict.remark for verdict in verdicts if verdict.remark), "")
    sha256 = verdicts[0].sha256 if len(verdicts) == 1 else digest_of([folder])
    return _facts(name, source.title, sha256, source.archives, remark)


def fetch(name: str) -> None:
    """Make ``data/raw/NAME/`` whole, or leave nothing behind.

    Raises:
        DtiError: an unknown source, an archive that cannot be had or is not the pinned one, a full disk.
    """
    params = load_params()
    source = load_source(name).of(params.amazon.category)
    with atomic_folder(RAW / name) as folder:
        if source.archives:
            facts = _take(name, source, params.data.accepted, folder)
        else:
            facts = _generate(name, source, params, folder)
        write_json(folder / "source.json", facts)


def main() -> None:
    """``python -m dti.stages.fetch NAME``."""
    if len(sys.argv) != 2:
        raise DtiError("usage: python -m dti.stages.fetch NAME, a source of data/sources.yaml")
    fetch(sys.argv[1])


if __name__ == "__main__":
    run_or_exit(main)
