"""Stage table: look at the user's own files, and leave in data/raw/table/ what they are and how to read them.

The files stay where they are; DVC watches their folder.
"""

from pathlib import Path

from dti.errors import DtiError, run_or_exit
from dti.files import atomic_folder, digest_of, sha256_of, write_json
from dti.params import Table, load_params

RAW = Path("data/raw/table")


def point(section: Table, target: Path) -> None:
    """Make the folder ``target`` whole, or leave nothing behind.

    Raises:
        DtiError: a file is missing.
    """
    folder = Path(section.folder).resolve()
    names = [name for name in (section.interactions, section.items, section.users) if name is not None]
    for name in names:
        if not (folder / name).is_file():
            raise DtiError(f"{folder / name}: no such file; correct section table of params.yaml")
    facts = {
        "name": "table",
        "title": section.title,
        "sha256": digest_of([folder / name for name in names]),
        "official": True,
        "url": None,
        "sha256_of": {name: sha256_of(folder / name) for name in names},
    }
    with atomic_folder(target) as made:
        write_json(made / "source.json", facts)
        write_json(made / "table.json", section.model_dump() | {"folder": str(folder)})


def main() -> None:
    """``python -m dti.stages.table``, in the project's folder."""
    point(load_params().table, RAW)


if __name__ == "__main__":
    run_or_exit(main)
