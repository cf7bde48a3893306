"""Popularity and logistic regression, as the stage evaluate has them, with all metrics of the others."""

import time
from collections.abc import Iterator

import numpy as np

from benchmarks.rivals.features import Features
from benchmarks.rivals.results import Scored
from dti.evaluation.baselines import baselines
from dti.evaluation.metrics import auc
from dti.prompts.store import SPLITS

POPULARITY, REGRESSION = NAMES = ("popularity", "logistic regression")


def simple(features: Features, seed: int) -> Iterator[Scored]:
    """The scores of both; they are computed together, in the time that each of them tells.

    Popularity has a number per item of the training targets, the regression three more.
    """
    begun = time.monotonic(), time.process_time()
    user, item = (column.astype(np.int32) for column in (features.packed_user_M, features.packed_item_M))
    found = baselines(user, item, features.label_M, features.split_M)
    wall, processor = (time.monotonic() - begun[0]) / 3600, (time.process_time() - begun[1]) / 3600
    hours = wall, processor, processor
    items = np.unique(item[features.split_M == SPLITS.index("train")]).size
    for name, field, weights in ((POPULARITY, "popularity", items), (REGRESSION, "regression", items + 3)):
        scores = {split: getattr(beside, field) for split, beside in found.items()}
        valid, test = (features.scored(features.targets(split), scores[split]) for split in ("valid", "test"))
        yield Scored(name, "scikit-learn", valid, test, seed, auc(valid.label, valid.score), weights, *hours, 1)
