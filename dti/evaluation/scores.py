"""Reads the files of data/scores, and compares two runs on the targets that they share."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dti.errors import DtiError
from dti.evaluation import metrics as m

SAMPLES = 1000
BOOTSTRAP_SEED = 0
COLUMNS = ("user_id", "item_id", "label", "score")

Draws = NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """A file of scored targets: ids as strings, label 0 or 1, score a click probability; each of shape (T,)."""

    path: Path
    user: NDArray[Any]
    item: NDArray[Any]
    label: NDArray[Any]
    score: NDArray[np.float64]

    @classmethod
    def read(cls, path: Path) -> "Scores":
        """Read a Parquet file of scores.

        Raises:
            DtiError: it is missing, damaged or without a column.
        """
        try:
            table = pq.read_table(path, columns=list(COLUMNS))
            return cls(path, *(table[name].to_numpy() for name in COLUMNS))
        except (OSError, ValueError, KeyError) as error:
            raise DtiError(f"{path}: no table of scores ({error}); remove it and run again what makes it") from None

    def has_targets_of(self, other: "Scores") -> bool:
        """Whether both score the same targets: users, items and labels in the same order."""
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in ("user", "item", "label"))

    def digest(self) -> str:
        """Names the targets: users, items and labels in order."""
        total = hashlib.sha256()
        for column in (self.user, self.item, self.label):
            total.update("\0".join(map(str, column.tolist())).encode())
        return total.hexdigest()

    def auc(self) -> float | None:
        """AUC of the scores."""
        return m.auc(self.label, self.score)

    def draws(self, samples: int = SAMPLES) -> Draws:
        """AUC of draws of users; two files with the same targets see the same draws, which can be subtracted."""
        return m.auc_draws(self.label, self.score, self.user, samples, BOOTSTRAP_SEED)
