"""Sections of the data: which set, the generated one, users' own tables, and who maps the shards."""

from typing import Annotated, Literal
from zoneinfo import available_timezones

from pydantic import Field, model_validator

from dti.params.section import Positive, Section

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=r"\.(csv|tsv|jsonl|ndjson|parquet|(csv|tsv|jsonl|ndjson)\.gz)$")]
Name = Literal[
    "demo",
    "ml-100k",
    "ml-1m",
    "ml-25m",
    "ml-32m",
    "amazon-2018-5core",
    "amazon-2018",
    "amazon-2023-5core",
    "amazon-2023",
    "table",
]


class Data(Section):
    name: Name = Field(description="which data set of data/sources.yaml to use; table: your own files (section table)")
    sha256: Sha256 | list[Sha256] | None = Field(
        description="accept an archive with this SHA-256 (or files with these) in place of the official one"
    )
    threshold: float = Field(description="a rating above this is a positive label (sources with ratings)")
    users: Positive | None = Field(description="keep only this many users, drawn at random; null keeps all")
    min_context: int = Field(ge=0, description="interactions with fewer earlier ones of their user are no targets")
    split: Literal["time", "none"] = Field(
        description="time: 8:1:1 by global time of the targets; none: every target trains (the final fit)"
    )

    @property
    def accepted(self) -> list[str]:
        """The SHA-256 of every file that is accepted in place of an official one."""
        return [self.sha256] if isinstance(self.sha256, str) else self.sha256 or []


class Demo(Section):
    users: int = Field(ge=10, description="users of the generated data set")
    interactions: int = Field(ge=200, description="interactions of the generated data set")
    items: int = Field(ge=20, description="items of the generated data set")
    seed: int = Field(ge=0, description="seed of the generated data set")

    @model_validator(mode="after")
    def _enough(self) -> "Demo":
        if self.interactions < 8 * self.users:
            raise ValueError(f"demo.interactions must be at least 8 per user ({8 * self.users})")
        return self


class Amazon(Section):
    category: str = Field(pattern="^[A-Za-z_]+$", description="the category as the files' names write it: Gift_Cards")


class Table(Section):
    """The user's own files. Formats go by the names' ends: .csv, .tsv, .jsonl, .ndjson (each also .gz), .parquet."""

    title: str = Field(min_length=1, description="what reports call the data set")
    folder: str = Field(min_length=1, description="the folder of the files; if one of them changes, stages run again")
    interactions: FileName = Field(description="the file with one row per interaction")
    items: FileName | None = Field(description="the file with one row per item; null: item fields stand beside them")
    users: FileName | None = Field(description="the file with one row per user, for profiles; null for none")
    user: str = Field(min_length=1, description="the column of user ids")
    item: str = Field(min_length=1, description="the column of item ids")
    label: str | None = Field(description="the column of labels: 0 / 1 or false / true; null where there are ratings")
    rating: str | None = Field(description="the column of ratings: positive above data.threshold; null for labels")
    timestamp: str = Field(min_length=1, description="the column of times")
    time: Literal["seconds", "milliseconds", "iso"] = Field(
        description="how times are written: seconds or milliseconds since 1970, or ISO 8601"
    )
    timezone: str = Field(description="the time zone of ISO times that give no offset, such as UTC or Europe/Berlin")
    item_fields: list[str] = Field(min_length=1, description="the columns of items that templates may use")
    user_fields: list[str] = Field(description="the columns of users that templates may use")

    @model_validator(mode="after")
    def _columns(self) -> "Table":
        if (self.label is None) == (self.rating is None):
            raise ValueError("table: give one of table.label and table.rating, and null for the other")
        if (self.users is None) == bool(self.user_fields):
            raise ValueError("table.user_fields are columns of table.users; give both or neither (null and [])")
        if self.timezone not in available_timezones():
            raise ValueError(f"table.timezone: {self.timezone!r} is no time zone; write UTC or Europe/Berlin")
        for name, fields in (("item_fields", self.item_fields), ("user_fields", self.user_fields)):
            if twice := [field for field in fields if fields.count(field) > 1]:
                raise ValueError(f"table.{name} names {twice[0]!r} twice; name each column once")
        if taken := {"item_id", "user_id", "row"} & {*self.item_fields, *self.user_fields}:
            raise ValueError(
                f"table: the field {min(taken)!r} has a name that is used here; leave it out, or rename the column"
            )
        return self


class Workers(Section):
    """Who maps the shards of prepare and pack. The files are the same bytes, so that no stage depends on it."""

    kind: Literal["single", "processes", "dask"] = Field(
        description="who maps the shards of prepare and pack: this process, several on this machine, or a Dask cluster"
    )
    processes: int = Field(ge=1, le=256, description="how many processes of this machine (kind processes)")
    address: str | None = Field(
        min_length=1, description="the scheduler of a running Dask cluster, tcp://HOST:8786 (kind dask); null for none"
    )

    @model_validator(mode="after")
    def _reachable(self) -> "Workers":
        if (self.kind == "dask") != (self.address is not None):
            raise ValueError("workers.address is the scheduler of workers.kind dask; give both or neither (null)")
        return self
