"""The packed targets as the id features of classic models: same split, same targets, same n labelled interactions.

Shape suffixes: M interactions, T targets, N history places.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dti.evaluation.metrics import ScoredSplit
from dti.params import Params
from dti.prompts.interim import read_fields
from dti.prompts.store import SPLITS, Store
from dti.prompts.template import Template

Ids = NDArray[np.int64]
LARGEST = 1 << 24
"""DeepCTR-Torch takes ids as float32, which holds whole numbers below this exactly."""


@dataclass(frozen=True)
class Features:
    """All interactions, flat, and how to make a batch of them. Id 0 is padding; an id's last is "not in training".

    Attributes:
        n: history places.
        user_M, item_M: ids.
        packed_user_M, packed_item_M: the store's own numbers, by which metrics tell users apart.
        fields_M: a column of ids for each field of item or user that the templates name, the title aside.
        mark_M: what later targets see of the interaction: its label or its stars, from 1 on.
        label_M, order_M, split_M, timestamp_M: as packed.
        sizes: how many ids each feature has.
    """

    n: int
    user_M: Ids
    item_M: Ids
    packed_user_M: Ids
    packed_item_M: Ids
    fields_M: dict[str, Ids]
    mark_M: Ids
    label_M: NDArray[np.int8]
    order_M: Ids
    split_M: NDArray[np.int8]
    timestamp_M: Ids
    sizes: dict[str, int]

    @classmethod
    def of(cls, store: Store, interim: Path, params: Params) -> "Features":
        """The features of a packed store; texts' fields come from the interim data that it was packed from."""
        columns = {name: _joined(store, name) for name in ("user", "item", "label", "order", "split", "timestamp")}
        split_M, user_M, item_M = columns["split"], columns["user"].astype(np.int64), columns["item"].astype(np.int64)
        train = split_M == SPLITS.index("train")
        _, mark = np.unique(_joined(store, "context_label"), return_inverse=True)
        fields = _fields(store, interim, params, user_M, item_M)
        ids = {"user": user_M, "item": item_M, **fields}
        known = {name: _known(ids_M, train) for name, ids_M in ids.items()}
        sizes = {name: int(ids_M.max()) + 1 for name, ids_M in known.items()} | {"mark": int(mark.max()) + 3}
        assert max(sizes.values()) < LARGEST, "more ids than float32 can tell apart"
        return cls(
            n=store.meta.n,
            user_M=known.pop("user"),
            item_M=known.pop("item"),
            packed_user_M=user_M,
            packed_item_M=item_M,
            fields_M=known,
            mark_M=mark + 1,
            label_M=columns["label"],
            order_M=columns["order"].astype(np.int64),
            split_M=split_M,
            timestamp_M=columns["timestamp"],
            sizes=sizes,
        )

    def targets(self, split: str) -> Ids:
        """The rows of a split's targets."""
        return np.flatnonzero(self.split_M == SPLITS.index(split))

    def batch(self, rows_T: Ids) -> dict[str, Ids]:
        """The inputs of some targets: ids (T, 1), histories (T, N) from the oldest on, padded behind."""
        length_T = np.minimum(self.order_M[rows_T], self.n)
        place_TN = (rows_T - length_T)[:, None] + np.arange(self.n)
        there_TN = np.arange(self.n) < length_T[:, None]
        place_TN = np.where(there_TN, place_TN, 0)
        item_TN, label_TN = np.where(there_TN, self.item_M[place_TN], 0), self.label_M[place_TN]
        return {
            "user": self.user_M[rows_T][:, None],
            "item": self.item_M[rows_T][:, None],
            "mark": np.full((len(rows_T), 1), self.sizes["mark"] - 1),  # the target's own label is what is asked for
            **{name: column_M[rows_T][:, None] for name, column_M in self.fields_M.items()},
            "hist_item": item_TN,
            "hist_mark": np.where(there_TN, self.mark_M[place_TN], 0),
            "liked": np.where(label_TN == 1, item_TN, 0),
            "disliked": np.where(label_TN == 0, item_TN, 0),
            "length": length_T[:, None],
        }

    def scored(self, rows_T: Ids, score_T: NDArray[np.float64]) -> ScoredSplit:
        """Scores beside what metrics need to know of their targets."""
        earlier = self.timestamp_M[np.maximum(rows_T - 1, 0)] < self.timestamp_M[rows_T]
        strict_T = (self.order_M[rows_T] > 0) & earlier
        columns = (self.packed_user_M, self.packed_item_M, self.label_M)
        user_T, item_T, label_T = (column_M[rows_T] for column_M in columns)
        return ScoredSplit(user_T, item_T, label_T, score_T, self.timestamp_M[rows_T], strict_T)


def _joined(store: Store, name: str) -> NDArray[Any]:
    return np.concatenate([getattr(shard, name) for shard in store.shards])


def _known(ids_M: Ids, train_M: NDArray[np.bool_]) -> Ids:
    """Ids from 1 on, those that occur in training targets first; all others share the next one."""
    seen = np.zeros(int(ids_M.max()) + 1, np.bool_)
    seen[ids_M[train_M]] = True
    number = np.where(seen, np.cumsum(seen), seen.sum() + 1)
    return number[ids_M]


def _fields(store: Store, interim: Path, params: Params, user_M: Ids, item_M: Ids) -> dict[str, Ids]:
    """The fields that the language model reads, each as one id; a title says no more than the item's id."""
    template = params.template
    items = read_fields(interim / "items.parquet", "item_id")
    found = {
        f"item_{name}": _numbers(items, "item_id", name, store.item_ids)[item_M]
        for name in _named(template.item, items.column_names)
        if name != "title"
    }
    if store.meta.profile and template.profile is not None:
        users = read_fields(interim / "users.parquet", "user_id")
        for name in _named(template.profile, users.column_names):
            found[f"user_{name}"] = _numbers(users, "user_id", name, store.user_ids)[user_M]
    return found


def _named(template: str, columns: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(field.name for field in Template.parse(template, columns, "template").fields))


def _numbers(table: pa.Table, key: str, name: str, ids: pa.Array) -> Ids:
    """The value of a field as a number, for each of ``ids``."""
    rows = pc.index_in(ids, value_set=table[key].combine_chunks())
    column = pc.fill_null(table[name], "").combine_chunks().dictionary_encode()
    return column.indices.to_numpy().astype(np.int64)[rows.to_numpy()]
