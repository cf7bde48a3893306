"""Stage fetch: bring one source of data/sources.yaml to data/raw/NAME/, generated or verified."""

import sys
from pathlib import Path

from dti.data.archive import obtain, verify
from dti.data.demo import generate
from dti.data.sources import Archive, Source, load_source
from dti.errors import DtiError, run_or_exit
from dti.files import atomic_folder, digest_of, write_json
from dti.params import Params, load_params

RAW = Path("data/raw")


def _generate(name: str, source: Source, params: Params, folder: Path) -> None:
    generate(folder, **params.demo.model_dump())
    facts = {"name": name, "title": source.title, "sha256": digest_of([folder]), "official": True, "url": None}
    write_json(folder / "source.json", facts)


def _take(name: str, source: Source, archive: Archive, params: Params, folder: Path) -> None:
    target = folder / archive.file
    origin = obtain(archive, target)
    verdict = verify(archive, target, params.data.sha256, origin)
    title = source.title if verdict.official else f"{source.title} (unofficial archive)"
    facts = {"name": name, "title": title, "sha256": verdict.sha256, "official": verdict.official, "url": archive.url}
    write_json(folder / "source.json", facts)


def fetch(name: str) -> None:
    """Make ``data/raw/NAME/`` whole, or leave nothing behind.

    Raises:
        DtiError: an unknown source, an archive that cannot be had or is not the pinned one, a full disk.
    """
    params, source = load_params(), load_source(name)
    with atomic_folder(RAW / name) as folder:
        if source.archive:
            _take(name, source, source.archive, params, folder)
        else:
            _generate(name, source, params, folder)


def main() -> None:
    """``python -m dti.stages.fetch NAME``."""
    if len(sys.argv) != 2:
        raise DtiError("usage: python -m dti.stages.fetch NAME, a source of data/sources.yaml")
    fetch(sys.argv[1])


if __name__ == "__main__":
    run_or_exit(main)
