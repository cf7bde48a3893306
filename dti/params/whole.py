"""All sections together, and the rules between them."""

from pydantic import model_validator

from dti.params.data import Amazon, Data, Demo, Table, Workers
from dti.params.model import Attention, Model
from dti.params.prompts import Pack, Template
from dti.params.results import Evaluate, Promote, Track
from dti.params.section import Section
from dti.params.training import Train


class Params(Section):
    """The whole of params.yaml."""

    data: Data
    demo: Demo
    amazon: Amazon
    table: Table
    pack: Pack
    model: Model
    attention: Attention
    train: Train
    evaluate: Evaluate
    track: Track
    promote: Promote
    workers: Workers

    @model_validator(mode="after")
    def _fits_devices(self) -> "Params":
        if self.model.quantisation != "none" and self.train.engine == "fsdp":
            raise ValueError("model.quantisation does not go with train.engine fsdp, which cuts weights; set ddp")
        if self.model.quantisation != "none" and self.train.device == "cpu":
            raise ValueError("model.quantisation needs a GPU; set train.device cuda, or model.quantisation none")
        return self

    @model_validator(mode="after")
    def _trains_on(self) -> "Params":
        if self.train.targets is not None and self.data.split == "none":
            raise ValueError("train.targets leaves users out, where data.split none trains on everyone; set it to null")
        if self.train.targets is not None and self.pack.item_tokens:
            raise ValueError("train.targets would leave tokens of pack.item_tokens untrained; use data.users instead")
        return self

    @model_validator(mode="after")
    def _agree(self) -> "Params":
        if self.data.name in ("demo", "table") and self.data.sha256 is not None:
            raise ValueError(f"data.sha256 has no meaning for data.name {self.data.name}; set it to null")
        if self.attention.content == "frozen" and self.model.tuning == "full":
            raise ValueError("attention.content frozen needs model.tuning lora: full training changes content, too")
        once = self.attention.layout == "unique" and self.attention.content == "trained"
        if self.train.composition == "overlapping" and not once:
            raise ValueError("train.composition overlapping needs attention.layout unique with content trained")
        if self.pack.item_tokens and self.model.backbone != "tiny":
            raise ValueError("pack.item_tokens needs model.backbone tiny: a pretrained vocabulary has no such tokens")
        if self.template_name not in self.pack.templates:
            raise ValueError(f"pack.templates has no entry {self.data.name!r} for data.name")
        if self.pack.profile and self.template.profile is None:
            raise ValueError(f"pack.profile needs a template in pack.templates.{self.template_name}.profile")
        prefixed = self.pack.profile or self.pack.instruction is not None
        if prefixed and self.attention.probe_position == "rope" and self.pack.k != 1:
            raise ValueError(
                "attention.probe_position rope with pack.profile or pack.instruction needs pack.k 1 "
                "(a prefix has no distance)"
            )
        return self

    @property
    def template_name(self) -> str:
        """The entry of ``pack.templates`` for the chosen data set: its name's, else its family's (``ml``)."""
        name = self.data.name
        return name if name in self.pack.templates else name.split("-")[0]

    @property
    def template(self) -> Template:
        """The templates of the chosen data set."""
        return self.pack.templates[self.template_name]
