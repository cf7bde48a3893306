"""The section of the prompts: texts, context and targets."""

from typing import Literal

from pydantic import Field

from dti.params.section import Positive, Section


class Template(Section):
    item: str = Field(description="an item's text; {field} stands for a column of items.parquet")
    profile: str | None = Field(description="a user's profile text; {field} stands for a column of users.parquet")


class Pack(Section):
    n: int = Field(ge=1, description="context: how many preceding interactions a probe may read")
    k: Positive | Literal["all"] = Field(
        description="targets per prompt: 1 = sliding window, more = streaming prompts, all = a user's whole history"
    )
    context_labels: Literal["binary", "rating"] = Field(
        description="label tokens of the context: yes / no, or one token per star"
    )
    instruction: str | None = Field(
        min_length=1, description="a constant text that every probe reads before its user's profile; null for none"
    )
    profile: bool = Field(description="put the user's profile before the prompt, read by every probe")
    item_tokens: bool = Field(
        description="a token of its own before the text of each item that is a training target (backbone tiny alone)"
    )
    max_item_tokens: int = Field(ge=1, description="longer item and profile texts are cut to this many tokens")
    shard_interactions: int = Field(ge=1, description="interactions per shard; a shard holds whole users")
    templates: dict[str, Template] = Field(
        description="the text templates of each data set, by its name or by the part before the first hyphen"
    )
