"""The test targets of a run with what is known of each: who, what, how long a history, scored by whom.

Shape suffixes: M interactions, T test targets.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dti.errors import DtiError
from dti.evaluation import metrics as m
from dti.evaluation.baselines import baselines
from dti.evaluation.scores import Scores
from dti.prompts.store import SPLITS, Store

TRAIN, VALID, TEST = (SPLITS.index(name) for name in ("train", "valid", "test"))
COLUMNS = ("user", "item", "label", "split", "order", "timestamp")
MODEL, REGRESSION, POPULARITY, ORACLE = "model", "logistic regression", "popularity", "oracle"


@dataclass(frozen=True)
class Histories:
    """All interactions of the packed data in store order, each of shape (M,); see ``dti.prompts.store.Shard``.

    Attributes:
        strict: whether the predecessor in the user's history is strictly earlier in time.
        n: the context of the run.
    """

    user: NDArray[np.int32]
    item: NDArray[np.int32]
    label: NDArray[np.int8]
    split: NDArray[np.int8]
    order: NDArray[np.int32]
    timestamp: NDArray[np.int64]
    strict: NDArray[np.bool_]
    n: int

    @classmethod
    def read(cls, store: Store) -> "Histories":
        """Join the shards."""
        columns = {name: np.concatenate([getattr(shard, name) for shard in store.shards]) for name in COLUMNS}
        strict = [shard.strict(np.arange(len(shard))) for shard in store.shards]
        return cls(**columns, strict=np.concatenate(strict), n=store.meta.n)

    @property
    def known(self) -> NDArray[np.int64]:
        """How many earlier interactions a probe may read for each, (M,): at most n."""
        return np.minimum(self.order, self.n)

    @property
    def repeated(self) -> NDArray[np.bool_]:
        """Whether the user had the same item among the n preceding interactions, (M,)."""
        order = np.lexsort((self.order, self.item, self.user))
        user, item, place = self.user[order], self.item[order], self.order[order].astype(np.int64)
        again = np.zeros(order.size, np.bool_)
        again[1:] = (np.diff(user) == 0) & (np.diff(item) == 0) & (np.diff(place) <= self.n)
        found = np.empty_like(again)
        found[order] = again
        return found

    def trained(self, column: NDArray[np.int32]) -> NDArray[np.int64]:
        """For each interaction (M,), how many training targets have its value of ``column``."""
        return np.bincount(column[self.split == TRAIN], minlength=int(column.max(initial=-1)) + 1)[column]


@dataclass(frozen=True)
class Targets:
    """The T test targets in store order, each column of shape (T,).

    Attributes:
        user: an index.
        label: 0 or 1.
        strict: whether the predecessor is strictly earlier in time.
        history: how many earlier interactions the user has.
        popularity: how many training targets the item has.
        activity: how many training targets the user has.
        score: click probabilities by who made them: the model, the baselines, and where it is known the oracle.
        threshold: the score from which each calls a target positive, chosen on validation; None without one.
    """

    user: NDArray[np.int32]
    label: NDArray[np.int8]
    strict: NDArray[np.bool_]
    history: NDArray[np.int32]
    popularity: NDArray[np.int64]
    activity: NDArray[np.int64]
    score: dict[str, NDArray[Any]]
    threshold: dict[str, float | None]

    def __len__(self) -> int:
        return int(self.user.size)

    @property
    def users(self) -> int:
        """Distinct users."""
        return int(np.unique(self.user).size)


def read_targets(store: Store, every: Histories, scores: Scores, threshold: float | None) -> Targets:
    """The test targets with the model's scores and those of the baselines, which are computed anew.

    Args:
        threshold: of the model's F1, from metrics.json.

    Raises:
        DtiError: the scores are not those of the packed data's test targets.
    """
    test = np.flatnonzero(every.split == TEST)
    _refuse_other(store, every, test, scores)
    beside = baselines(every.user, every.item, every.label, every.split)
    score: dict[str, NDArray[Any]] = {
        MODEL: scores.score,
        REGRESSION: beside["test"].regression,
        POPULARITY: beside["test"].popularity,
    }
    valid = {REGRESSION: beside["valid"].regression, POPULARITY: beside["valid"].popularity}
    chosen = {name: m.best_f1_threshold(beside["valid"].label, found) for name, found in valid.items()}
    truths = [shard.probability for shard in store.shards if shard.probability is not None]
    if truths:
        score[ORACLE] = np.concatenate(truths)[test]
    return Targets(
        user=every.user[test],
        label=every.label[test],
        strict=every.strict[test],
        history=every.order[test],
        popularity=every.trained(every.item)[test],
        activity=every.trained(every.user)[test],
        score=score,
        threshold={MODEL: threshold, **chosen},
    )


def _refuse_other(store: Store, every: Histories, test: NDArray[np.int64], scores: Scores) -> None:
    user = store.user_ids.take(every.user[test]).to_numpy(zero_copy_only=False)
    item = store.item_ids.take(every.item[test]).to_numpy(zero_copy_only=False)
    if not Scores(Path(), user, item, every.label[test], scores.score).has_targets_of(scores):
        raise DtiError(
            f"{scores.path}: not the test targets of {store.folder} (users, items and labels in order); run `dvc repro`"
        )
