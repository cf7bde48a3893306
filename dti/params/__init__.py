"""Typed parameters: bounds and help. The values stand in params.yaml alone."""

from dti.params.data import Amazon, Data, Demo, Table, Workers
from dti.params.model import Attention, Lora, Model, Reset, Tiny
from dti.params.prompts import Pack, Template
from dti.params.read import NO_MATTER, flatten, load_params, parse_params
from dti.params.results import Evaluate, Promote, Track
from dti.params.training import Train
from dti.params.whole import Params

__all__ = [
    "NO_MATTER",
    "Amazon",
    "Attention",
    "Data",
    "Demo",
    "Evaluate",
    "Lora",
    "Model",
    "Pack",
    "Params",
    "Promote",
    "Reset",
    "Table",
    "Template",
    "Tiny",
    "Track",
    "Train",
    "Workers",
    "flatten",
    "load_params",
    "parse_params",
]
