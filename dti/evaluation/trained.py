"""The trained model of a project's folder, ready to score its packed data."""

from pathlib import Path

from dti.errors import DtiError
from dti.model.adapter import Record, load
from dti.model.catalogue import give_states
from dti.model.ctr import CtrModel
from dti.model.device import device_of
from dti.params import Params
from dti.prompts.store import Store


def trained_model(store: Store, params: Params) -> tuple[CtrModel, Record]:
    """``models/adapter`` on the parameters' device, with the catalogue's states where content is frozen.

    Raises:
        DtiError: there is none, or it was trained on other packed data.
    """
    attention = params.attention
    model, record = load(Path("models/adapter"), attention.backend, device_of(params.train.device), attention.layout)
    if record.packed_digest != store.meta.digest:
        raise DtiError("models/adapter was trained on other packed data than data/packed; run `dvc repro`")
    give_states(model, store, params.train.tokens_per_pass, "fp32")
    return model, record
