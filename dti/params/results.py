"""Sections of what comes of a training: its evaluation, the record in MLflow, the rule of promotion."""

import warnings

from pydantic import Field

from dti.params.section import Positive, Section


class Evaluate(Section):
    bootstrap: int = Field(ge=10, description="bootstrap samples of users behind the 95 % interval of AUC")
    parity_targets: int = Field(
        ge=1000, description="targets whose streaming and serving logits are compared, at least (design: 1,000)"
    )


warnings.filterwarnings("ignore", 'Field name "register"')  # it shadows ABCMeta's, which no section needs


class Track(Section):
    experiment: str = Field(min_length=1, description="the MLflow experiment that holds the runs")
    register: bool = Field(
        description="make each result a version of dti-ctr-NAME; a sweep sets false and registers its best cell alone"
    )


class Promote(Section):
    """The rule by which `python -m dti promote` decides (README, "Release, roll back")."""

    min_gain: float = Field(
        gt=-1, lt=1, description="the 95 % interval of the AUC's gain over the champion must lie above this"
    )
    max_log_loss_rise: float = Field(ge=0, description="log loss may be this much above the champion's")
    max_ece_rise: float = Field(ge=0, description="expected calibration error may be this much above the champion's")
    max_parity_gap: float = Field(
        gt=0,
        description="largest logit gap, streams against serving prompts, of an isolated adapter (windows have none)",
    )
    max_serving_gap: float = Field(
        gt=0, description="largest difference between a score of evaluate and the served one, of the targets compared"
    )
    serving_targets: Positive = Field(description="test targets whose served scores are compared with evaluate's")
    bootstrap: int = Field(ge=100, description="bootstrap samples of users behind the interval of the gain")
