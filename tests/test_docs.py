"""What the documents name exists: commands and their options, parameters, files, tests."""

import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from dti.__main__ import parse
from dti.home import ROOT
from dti.params import parse_params

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LOG = ROOT / "docs" / "log.md"
"""History: it may name what is gone."""


def commands(text: str) -> Iterator[str]:
    """Every line of a fenced block and every `inline code`, without shell comments and prompts."""
    for block in re.findall(r"^```\w*\n(.*?)^```", text.replace("\\\n", " "), re.M | re.S):
        yield from (re.split(r"\s#\s", line)[0].strip() for line in block.splitlines())
    yield from (found.replace("\n", " ") for found in re.findall(r"(?<!`)`([^`]+)`(?!`)", text))


def found(start: str) -> list[object]:
    """Every command of the documents that begins so, once, as test parameters."""
    seen: dict[str, str] = {}
    for document in DOCUMENTS:
        for command in commands(document.read_text()):
            for part in re.split(r";\s*(?:do )?|&& ", command):
                bare = re.sub(r"^(?:[A-Z_]+=\S+\s+)+", "", part.strip())
                if bare.startswith(start):
                    seen.setdefault(bare, document.name)
    return [pytest.param(command, id=f"{name}: {command}") for command, name in seen.items()]


@pytest.mark.parametrize("command", found("python -m dti "))
def test_commands_parse(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(re.sub(r"\[|\]|\.\.\.", "", command))[3:]
    if words[0] == "COMMAND":
        return
    with suppress(SystemExit):
        parse(words)
    text = capsys.readouterr().err
    assert not text or "required" in text, text  # a command may be named without its arguments


@pytest.mark.parametrize("command", found("make "))
def test_targets_of_make_exist(command: str) -> None:
    targets = [word for word in shlex.split(command)[1:] if "=" not in word]
    rules = re.findall(r"^([\w -]+):", (ROOT / "Makefile").read_text(), re.M)
    missing = set(targets) - {target for rule in rules for target in rule.split()}
    assert not missing


@pytest.mark.parametrize("command", [*found("dvc "), *found("-S ")])
def test_parameters_set_on_a_command_line_are_valid(command: str) -> None:
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    for setting in re.findall(r"(?:-S|--set-param) (\S+)", command):
        names, _, value = setting.strip("'\"").partition("=")
        if value.isupper():  # a placeholder
            value = "a" * 64 if names == "data.sha256" else "somewhere"
        *sections, last = names.split(".")
        place = content
        for section in sections:
            place = place[section]
        assert last in place, setting
        place[last] = yaml.safe_load(value)
    parse_params(content)


@pytest.mark.parametrize("command", found("python benchmarks/"))
def test_benchmarks_have_the_options_named(command: str) -> None:
    file, *words = shlex.split(re.sub(r"\[|\]", "", command))[1:]
    source = (ROOT / file).read_text()
    assert [word for word in words if word.startswith("--") and f'"{word}"' not in source] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_files_exist(document: Path) -> None:
    text = document.read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text) if "://" not in link]
    assert [link for link in links if not (document.parent / link).exists()] == []
    named = re.findall(r"`((?:dti|tests|benchmarks|flows|docs)/[\w/.-]+\.(?:py|md|yaml|sh|png))`", text)
    assert document == LOG or [name for name in named if not (ROOT / name).exists()] == []


def test_tests_that_documents_name_exist() -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for document in set(DOCUMENTS) - {LOG}:
        for name, star in re.findall(r"\b(test_\w{16,})(\*?)(?!\w*\.py)", document.read_text()):
            assert f"def {name}" + ("" if star else "(") in sources, f"{document}: {name}"
