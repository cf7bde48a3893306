"""docs/parameters.md is what dti/params and params.yaml say, and says it for every parameter."""

from pathlib import Path
from typing import Literal

import pytest
import yaml
from pydantic import BaseModel, Field

from dti.__main__ import parse
from dti.parameters import FILE, reference, rows
from dti.params import flatten

ROOT = Path(__file__).parents[1]
VALUES = yaml.safe_load((ROOT / "params.yaml").read_text())


def test_the_committed_file_is_up_to_date():
    assert (ROOT / FILE).read_text(encoding="utf-8") == reference(VALUES), "run `python -m dti parameters --write`"


def test_every_parameter_has_a_row_with_its_value_and_help():
    lines = reference(VALUES).splitlines()
    named = {
        line.split("`")[1]: [cell.strip() for cell in line.split(" | ")] for line in lines if line.startswith("| `")
    }
    for name, value in flatten(VALUES).items():
        if name.startswith("pack.templates."):
            name = f"pack.templates.NAME.{name.rsplit('.', 1)[1]}"
        assert named[name][4].strip("| "), f"{name} has no help"
        if isinstance(value, int) and not isinstance(value, bool):
            assert named[name][3] == f"`{value}`"


class Inner(BaseModel):
    word: str = Field("x|y", description="a | b", pattern="^a|b$")


class Outer(BaseModel):
    share: float = Field(ge=0, lt=1, description="a share")
    kind: int | Literal["all"] | None = Field(description="a kind")
    inner: Inner | None = Field(description="maybe a section")
    many: dict[str, Inner] = Field(description="by name")
    words: list[str] = Field(description="some words")


def test_types_bounds_choices_and_defaults_are_told():
    schema = Outer.model_json_schema()
    found = {row.name: row for row in rows("o", schema, {"share": 0.5, "words": ["a"]}, schema["$defs"])}
    assert (found["o.share"].type, found["o.share"].allowed, found["o.share"].value) == ("number", ">= 0, < 1", "`0.5`")
    assert (found["o.kind"].type, found["o.kind"].allowed, found["o.kind"].value) == (
        "integer or choice or null",
        "`all`",
        "",
    )
    assert found["o.inner"].type == "section"
    assert found["o.inner.word"].allowed == r"matches `^a\|b$`, default `x\|y`"
    assert found["o.inner.word"].help == found["o.many.NAME.word"].help == r"a \| b"
    assert (found["o.words"].type, found["o.words"].value) == ("list of text", '`["a"]`')


def test_the_command_prints_or_writes(tmp_path, monkeypatch, capsys):
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    for words in (["parameters"], ["parameters", "--write"]):
        arguments = parse(words)
        arguments.run(arguments)
    printed = capsys.readouterr().out
    assert printed == reference(VALUES) + f"{FILE}\n"
    assert FILE.read_text(encoding="utf-8") == reference(VALUES)


def test_a_wrong_file_is_refused(tmp_path, monkeypatch):
    from dti.errors import DtiError

    (tmp_path / "params.yaml").write_text("pack: {n: 0}\n")
    monkeypatch.chdir(tmp_path)
    arguments = parse(["parameters"])
    with pytest.raises(DtiError, match="pack.n"):
        arguments.run(arguments)
