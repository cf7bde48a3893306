"""What all sections share."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A section of params.yaml: unknown keys, missing keys and wrong types are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
