"""The learning curve that training leaves in reports/history.csv."""

import csv
from pathlib import Path

from dti.errors import DtiError

COLUMNS = ("epoch", "step", "targets", "hours", "train_loss", "valid_auc", "valid_log_loss")


def read_history(path: Path) -> dict[str, list[float | None]]:
    """The columns of history.csv by name, one value per epoch; an empty cell is None.

    Raises:
        DtiError: the file is missing, a column is missing, or a value is no number.
    """
    try:
        with path.open(newline="") as handle:
            rows = list(csv.DictReader(handle))
        return {name: [float(row[name]) if row[name] else None for row in rows] for name in COLUMNS}
    except FileNotFoundError:
        raise DtiError(f"{path}: not found; run the train stage with `dvc repro`") from None
    except (KeyError, ValueError) as error:
        raise DtiError(f"{path}: no learning curve ({error}); remove it and run `dvc repro` again") from None
