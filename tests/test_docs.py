"""What the documents name exists: commands and their options, parameters, files, tests; and the commands work."""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from benchmarks.rivals import __main__ as rivals
from benchmarks.rivals import compare
from dti.__main__ import parse
from dti.home import ROOT
from dti.params import parse_params

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LOG = ROOT / "docs" / "log.md"
"""History: it may name what is gone."""

CURL = "curl -H 'Content-Type: application/json' 127.0.0.1:5001/invocations -d '{\"inputs\": [REQUEST, ...]}'"
RUN = {
    "dvc repro": "",
    "python -m dti result": "Demo (generated)",
    "python -m dti parity": "",
    "python -m dti plan": "",
    "python -m dti doctor": "",
    "python -m dti doctor --fix": "",
    "python -m dti parameters --write": "",
    "python -m dti report": "report.md",
    "dvc exp run -S pack.k=1 -n sliding": "sliding",
    "dvc exp run -S pack.k=1": "Ran experiment",
    "dvc exp run -S attention.policy=window -S attention.context=all -n paper": "paper",
    "dvc metrics diff": "auc",
    "dvc plots diff": "index.html",
    "dvc exp show": "paper",
    "mkdir before && cp -r --parents reports data/scores params.yaml before/": "",
    "python -m dti report --against before": "report.html",
    "python -m dti report --against FOLDER": "report.html",
    "python -m dti promote 3 --force": "",
    "python -m dti score --model models:/dti-ctr-demo@champion --input requests.jsonl --output scores.jsonl": "",
    "mlflow models serve -m models:/dti-ctr-demo@champion --env-manager local --host 127.0.0.1 --port 5001": "",
    CURL: "predictions",
    "python -m dti.stages.train": "",
    "python -m dti.stages.evaluate": "",
    "python -m dti sweep GRID.yaml": "isolated",
    "python -m dti check": "all is well",
    "dvc exp run -S data.name=table": "Ran experiment",
    "python -m dti preview --png mask.png": "mask.png",
    "python -m benchmarks.rivals --help": "--trials",
}
"""Commands that `test_the_commands_of_the_documents_work` runs in this order, and a word of what they say."""
ELSEWHERE = {
    "make run": "tests/test_pipeline.py",
    "python benchmarks/pipeline.py": "tests/benchmarks/test_pipeline.py",
    "make up": "tests/flows/test_served.py",
    "python -m dti apply": "tests/test_apply.py",
    "python -m dti clean": "tests/registry/test_clean.py",
    "python -m dti promote": "tests/registry/test_story.py",
    "python -m dti rollback": "tests/registry/test_story.py",
    "python -m dti reproduce": "tests/registry/test_story.py",
    "python -m dti score": "tests/serving/test_batch.py",
    "python -m dti sweep GRID --results RESULTS --baseline": "tests/sweep/test_runner.py",
    "python benchmarks/paradigms.py": "tests/benchmarks/test_paradigms.py",
    "benchmarks/paradigms.py": "tests/benchmarks/test_paradigms.py",
    "python benchmarks/plans.py": "tests/benchmarks/test_plans.py",
    "benchmarks/plans.py": "tests/benchmarks/test_plans.py",
    "python benchmarks/overhead.py": "tests/flows/test_served.py",
    "python benchmarks/scale.py": "tests/data/test_scale.py",
    "pytest -m slow": "tests/training/test_processes.py",
}
"""Commands that begin so are run, by their functions or with other arguments, by another test."""
NOT_RUN = {
    "make": "makes or removes environments, or runs the tests",
    "dvc exp run -S data.name=ml-1m": "data that is not in the repository",
    "dvc exp run -S data.name=amazon": "data that is not in the repository",
    "dvc exp run --temp": "named without its parameters",
    "python -m dti plan --check": "judges a time, which other work on the machine changes",
    "dvc plots": "named without what to do",
    "dvc repro -P": "fetches every source",
    "python -m dti sweep benchmarks/study/": "hours, and data that is not in the repository",
    "python -m dti report --rivals": "needs rivals; tests/report/test_rivals.py has its section",
    "python -m benchmarks.rivals": "needs DeepCTR-Torch, which `make baselines` installs",
    "python benchmarks/serving.py": "minutes of measuring",
    "benchmarks/gpu.sh": "a GPU",
    'pip install ".[bits]"': "the net",
    "pip install distributed": "the net",
    "source .venv/bin/activate": "the environment of the tests is another one",
}
"""Commands that begin so are only looked at: they parse, and what they name exists. The longest beginning counts."""
PROGRAM = re.compile(r"(python |make\b|dvc |mlflow models|curl |mkdir |pip |pytest |source |benchmarks/\S+\.(sh|py))")
SMALL = {
    "demo": {"users": 60, "interactions": 1500, "items": 40},
    "model": {"tiny": {"layers": 1, "width": 16, "heads": 2, "vocabulary": 320}},
    "train": {"epochs": 1, "targets_per_step": 64, "valid_targets": 500},
    "evaluate": {"bootstrap": 20, "parity_targets": 1000},
}


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


def documented() -> dict[str, str]:
    """Every command of the documents, as it stands there, and the document."""
    seen: dict[str, str] = {}
    for document in DOCUMENTS:
        for command in commands(document.read_text()):
            bare = re.sub(r"^for .*?do |^(?:[A-Z_]+=\S+\s+)+|; done$", "", command)
            bare = re.sub(r"^(?:[A-Z_]+=\S+\s+)+", "", bare)
            if PROGRAM.match(bare):
                seen.setdefault(" ".join(bare.split()), document.name)
    return seen


@pytest.mark.parametrize("command", documented())
def test_every_command_is_run_or_has_a_reason(command: str) -> None:
    if command in RUN:
        return
    begins = [start for start in {**ELSEWHERE, **NOT_RUN} if command.startswith(start)]
    assert begins, f"{command}: put it into RUN, ELSEWHERE or NOT_RUN"
    test = ELSEWHERE.get(max(begins, key=len))
    assert test is None or (ROOT / test).exists()


def test_no_command_is_listed_that_no_document_has() -> None:
    there = documented()
    assert [command for command in RUN if command not in there] == []
    assert [start for start in {**ELSEWHERE, **NOT_RUN} if not any(c.startswith(start) for c in there)] == []


@pytest.mark.parametrize("command", found("python -m benchmarks.rivals"))
def test_commands_of_the_rivals_parse(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, *words = shlex.split(command)[2:]
    monkeypatch.setattr(sys, "argv", [module, *words])
    parser = {"benchmarks.rivals": rivals.parse, "benchmarks.rivals.compare": compare.parse}[module]
    try:
        parser()
    except SystemExit as end:
        if end.code:
            pytest.fail(command)


@pytest.mark.parametrize("command", found("python benchmarks/"))
def test_benchmarks_have_the_options_named(command: str) -> None:
    file, *words = shlex.split(re.sub(r"\[|\]", "", command))[1:]
    source = (ROOT / file).read_text()
    options = [word.replace("--no-", "--") for word in words if word.startswith("--")]
    assert [option for option in options if f'"{option}"' not in source] == []


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


class Project:
    """A git clone of the project with a small demo, in which the documents' commands are run as they stand."""

    def __init__(self, copy):
        self.copy, self.server, self.port = copy, None, _free_port()
        for name in ("benchmarks", "docs"):
            shutil.copytree(ROOT / name, copy.folder / name, ignore=shutil.ignore_patterns("__pycache__", "study"))
        shutil.copy2(ROOT / "README.md", copy.folder)
        copy.set(**SMALL)
        copy.git("add", "-A")
        copy.git("commit", "-qm", "small")
        self.write("grid.yaml", "name: g\nthreads: 1\ngroups: [{name: isolated, set: {train.seed: 2}}]\n")

    def write(self, name, text):
        path = self.copy.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def request(self):
        return {"history": [{"item_id": "i0001", "label": 1}], "candidates": ["i0002", "i0003"]}

    def prepare(self, command):
        if "requests.jsonl" in command:
            self.write("requests.jsonl", json.dumps(self.request()) + "\n")
        if command == "python -m dti check":
            rows = [f"u{n % 6},i{n % 4},{n % 3 % 2},{1_700_000_000 + n},thing {n % 4}" for n in range(240)]
            self.write(
                "data/table/interactions.csv", "\n".join(["user_id,item_id,label,timestamp,title", *rows]) + "\n"
            )

    def run(self, command):
        """The exit code and what the command says; a server stays until the end."""
        self.prepare(command)
        words = {"FOLDER": "before", "GRID.yaml": "grid.yaml", "5001": str(self.port)}
        words["[REQUEST, ...]"] = json.dumps([self.request()])
        for placeholder, value in words.items():
            command = command.replace(placeholder, value)
        options = {"cwd": self.copy.folder, "env": self.copy.environment, "text": True}
        if "models serve" in command:
            home = self.copy.folder / ".dti/mlflow/mlflow.db"
            options["env"] = options["env"] | {"MLFLOW_TRACKING_URI": f"sqlite:///{home}"}
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            self.server = subprocess.Popen(shlex.split(command), start_new_session=True, **quiet, **options)
            return _answers(self.port), ""
        done = subprocess.run(["bash", "-c", command], capture_output=True, **options)
        return done.returncode, done.stdout + done.stderr

    def end(self):
        if self.server:
            os.killpg(self.server.pid, signal.SIGTERM)
            self.server.wait(60)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _answers(port: int) -> int:
    """0 once something listens at the port."""
    for _ in range(1200):  # ten minutes: on a busy machine loading the model takes its time
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return 0
        time.sleep(0.5)
    return 1


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_commands_of_the_documents_work(make_copy) -> None:
    project = Project(make_copy(git=True))
    try:
        for command, word in RUN.items():
            code, output = project.run(command)
            assert code == 0, f"{command}\n{output}"
            assert word in output, f"{command}\n{output}"
    finally:
        project.end()
