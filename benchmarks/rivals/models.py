"""DeepFM, DCNv2, AutoInt and DIN of DeepCTR-Torch, trained and tuned on packed targets."""

import copy
import sys
import time
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.rivals.features import Features, Ids
from dti.errors import DtiError
from dti.evaluation.metrics import auc
from dti.progress import Progress

SCORED = 4096  # targets scored at a time
NAMES = ("DeepFM", "DCNv2", "AutoInt", "DIN")


@dataclass(frozen=True)
class Setting:
    """What is tuned; the rest is the library's default."""

    learning_rate: float
    width: int  # of embeddings
    dropout: float
    l2: float  # on embeddings
    layers: tuple[int, ...]
    batch: int  # targets per optimiser step


GRID = {
    "learning_rate": (1e-3, 3e-4, 3e-3),
    "width": (16, 8, 32),
    "dropout": (0.0, 0.2, 0.5),
    "l2": (1e-5, 1e-4, 1e-6),
    "layers": ((256, 128), (128, 64)),
    "batch": (512, 2048, 256),
}
"""The values that are drawn from; the first trial takes the first of each."""
STEPS, SMALLEST = 16, 16  # an epoch has this many steps, unless batches would get smaller than that


def settings(trials: int, seed: int, targets: int) -> list[Setting]:
    """The first value of each, then random draws, no setting twice.

    Args:
        targets: of training; small sets get smaller batches.
    """
    rng, largest = np.random.default_rng(seed), max(SMALLEST, targets // STEPS)
    grid = GRID | {"batch": tuple(min(batch, largest) for batch in GRID["batch"])}
    drawn = [Setting(**{name: values[0] for name, values in grid.items()})]
    for _ in range(100 * trials):
        found = Setting(**{name: values[int(rng.integers(len(values)))] for name, values in grid.items()})
        if len(drawn) < trials and found not in drawn:
            drawn.append(found)
    return drawn


def load_library() -> ModuleType:
    """DeepCTR-Torch, kept from asking the package index for newer versions when it is imported.

    Raises:
        DtiError: it is not installed.
    """
    silent = ModuleType("deepctr_torch.utils")
    silent.check_version = lambda version: None  # type: ignore[attr-defined]
    sys.modules.setdefault("deepctr_torch.utils", silent)
    try:
        import deepctr_torch.models
    except ImportError as error:
        raise DtiError(f"DeepCTR-Torch is not installed ({error}); run `make baselines`") from None
    return deepctr_torch


def build(name: str, features: Features, setting: Setting, seed: int) -> Any:
    """One of the models, with fresh weights.

    DIN attends to the n labelled interactions one by one; the others add up the embeddings of the liked and of the
    disliked ones, which tells them how many there are of each, too (means do not).
    """
    library = load_library()
    sparse, varlen = library.inputs.SparseFeat, library.inputs.VarLenSparseFeat
    names = ["user", "item", *features.fields_M]
    columns = [sparse(feature, features.sizes[feature], setting.width) for feature in names]

    def history(feature: str, of: str, length: str | None) -> Any:
        table = feature if name == "AutoInt" else of  # the library's AutoInt counts tables where it means features
        column = sparse(feature, features.sizes[of], setting.width, embedding_name=table)
        return varlen(column, features.n, combiner="sum", length_name=length)

    shared = {
        "dnn_hidden_units": setting.layers,
        "dnn_dropout": setting.dropout,
        "l2_reg_embedding": setting.l2,
        "seed": seed,
    }
    if name == "DIN":
        columns += [sparse("mark", features.sizes["mark"], setting.width)]
        columns += [history("hist_item", "item", "length"), history("hist_mark", "mark", "length")]
        return library.models.DIN(columns, ["item", "mark"], **shared)
    columns += [history("liked", "item", None), history("disliked", "item", None)]
    if name == "DCNv2":
        return library.models.DCN(columns, columns, cross_parameterization="matrix", **shared)
    return {"DeepFM": library.models.DeepFM, "AutoInt": library.models.AutoInt}[name](columns, columns, **shared)


@dataclass
class Trained:
    """A trained model with the weights of its best epoch, and what they cost."""

    model: Any
    setting: Setting
    valid_auc: float
    epochs: int
    best_epoch: int
    hours: float
    processor_hours: float = 0.0

    @property
    def parameters(self) -> int:
        """Trained numbers."""
        return sum(weight.numel() for weight in self.model.parameters())


def _input(model: Any, features: Features, rows_T: Ids) -> Tensor:
    found = features.batch(rows_T)
    columns = [found[name] for name in model.feature_index]
    return torch.from_numpy(np.concatenate(columns, axis=1).astype(np.float32))


def score(model: Any, features: Features, rows_T: Ids) -> NDArray[np.float64]:
    """The click probabilities of some targets."""
    model.eval()
    with torch.inference_mode():
        parts = [model(_input(model, features, rows_T[low : low + SCORED])) for low in range(0, len(rows_T), SCORED)]
    return torch.cat(parts).flatten().double().numpy()


def train(
    name: str,
    features: Features,
    setting: Setting,
    *,
    epochs: int,
    patience: int,
    seed: int,
    until: float = float("inf"),
) -> Trained:
    """Train on all training targets; stop after ``patience`` epochs without a better validation AUC.

    Args:
        until: no epoch but the first begins after this ``time.process_time()``.
    """
    torch.manual_seed(seed)
    model = build(name, features, setting, seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=setting.learning_rate)
    rng, rows, valid = np.random.default_rng(seed), features.targets("train"), features.targets("valid")
    best, begun = Trained(model, setting, -1.0, 0, 0, 0.0), _clocks()
    weights = copy.deepcopy(model.state_dict())
    for epoch in range(1, epochs + 1):
        _epoch(f"{name} {epoch}/{epochs}", model, optimizer, features, rng.permutation(rows), setting.batch)
        found = auc(features.label_M[valid], score(model, features, valid)) or 0.0
        best.epochs = epoch
        if found > best.valid_auc:
            best.valid_auc, best.best_epoch, weights = found, epoch, copy.deepcopy(model.state_dict())
        if epoch - best.best_epoch >= patience or time.process_time() > until:
            break
    model.load_state_dict(weights)
    best.hours, best.processor_hours = ((now - then) / 3600 for now, then in zip(_clocks(), begun, strict=True))
    return best


def _clocks() -> tuple[float, float]:
    """Seconds of the wall's clock and of this process's threads: they part where other work takes the processor."""
    return time.monotonic(), time.process_time()


def _epoch(what: str, model: Any, optimizer: Any, features: Features, rows: Ids, batch: int) -> None:
    model.train()
    with Progress(what, len(rows), "targets") as progress:
        for low in range(0, len(rows), batch):
            part = rows[low : low + batch]
            label = torch.from_numpy(features.label_M[part].astype(np.float32))
            predicted = model(_input(model, features, part)).flatten()
            # As in the library's own loop: the sum over the batch, so that penalties weigh as its defaults mean them.
            loss = torch.nn.functional.binary_cross_entropy(predicted, label, reduction="sum")
            optimizer.zero_grad()
            (loss + model.get_regularization_loss()).sum().backward()
            optimizer.step()
            progress.advance(len(part))
