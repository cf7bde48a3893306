"""The script for a GPU, with a stub in the interpreter's place: what fails stops nothing, and no round is lost."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import paradigms
from benchmarks.measure import Paradigm, Step
from benchmarks.outcome import compare, result_of
from dti.files import write_json
from dti.home import ROOT
from dti.training.flops import Shape, Work

STUB = """#!/usr/bin/env bash
echo "$*" >> {log}
json=; size=; previous=
for word in "$@"; do
    [ "$previous" = --json ] && json=$word
    [ "$previous" = --size ] && size=$word
    previous=$word
done
case "$*" in
    *mem_get_info*) echo 80 ;;
    *"--table"*) {table} ;;
    *--size*) {sizes} ;;
    *pipeline.py*) echo "training ran" | tee "$previous" ;;
esac
"""
FAILING = """case $(basename "$json" .json) in
        135m) exit 3 ;;
        1b) cp {folder}/part.json "$json"; exec sleep 60 ;;
        *) cp {folder}/whole.json "$json" ;;
    esac"""
WELL = 'cp {folder}/whole.json "$json"'


def write_result(path: Path, **changes):
    """A result of one row, as paradigms.py writes it."""
    steps = [
        Step(targets=10, seconds=s, work=Work(50, 90, 10, 30), distinct=5, texts=50, labels=50, peak=0) for s in (1, 2)
    ]
    rows = [
        result_of(Paradigm("sliding", 1, 10, "full", "window", "rope", "all"), steps, Shape(1, 16, 2, 1, 32), 3, 4.0)
    ]
    compare(rows)
    content = {"setup": {"rounds": 3}, "rows": rows, "catalogue": {}, "history": [], "contexts": []}
    write_json(path, content | {"rounds_done": 3, "complete": True} | changes)


@pytest.fixture
def script(tmp_path):
    """``script(sizes, packed=..., table=...) -> (exit code, what it printed, what the stub was called with)``."""
    write_result(tmp_path / "whole.json")
    write_result(tmp_path / "part.json", rounds_done=2, complete=False)
    (tmp_path / "packed").mkdir()
    stub, log = tmp_path / "python", tmp_path / "calls"

    def run(sizes, packed=True, table="echo table"):
        words = {"log": log, "sizes": sizes.format(folder=tmp_path), "table": table}
        stub.write_text(STUB.format(**words))
        stub.chmod(0o755)
        if packed:
            (tmp_path / "packed" / "meta.json").touch()
        environment = os.environ | {"PYTHON": str(stub), "LIMIT": "2"}
        command = [ROOT / "benchmarks" / "gpu.sh", tmp_path / "packed", tmp_path / "results"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
        return done.returncode, done.stdout, log.read_text().splitlines()

    return run


def test_a_part_that_fails_and_one_out_of_time_leave_the_others_and_their_rounds(script, tmp_path):
    code, printed, _ = script(FAILING, table=f'exec {shlex.quote(sys.executable)} "$@"')
    assert code == 1
    parts, results = printed.split("\n== 8b: ")
    assert "== 1b: " in parts
    results = results.partition("\n")[2]
    assert results.count("sliding") == 2, "8b and the finished rounds of 1b"
    assert "STOPPED after 2 of 3 rounds" in results
    assert "training ran" in results
    assert f"FAILED: 135m (exit 3, {tmp_path}/results/135m.log)" in results
    assert f"FAILED: 1b (out of time, 2 s, {tmp_path}/results/1b.log)" in results
    assert results.count("FAILED: ") == 2
    assert (tmp_path / "results" / "speed.md").read_text().count("| sliding window | 1 |") == 2


def test_all_tests_of_a_gpu_run_and_every_size_is_measured_with_one_pass_for_all_its_rows(script):
    code, printed, calls = script(WELL)
    assert (code, printed.splitlines()[-1]) == (0, "all parts passed")
    tested = {call.split()[-1] for call in calls if "-m pytest -rfEs" in call}
    marked = {path for path in ROOT.glob("tests/**/test_*.py") if f"pytest.{'mark'}.gpu" in path.read_text()}
    assert {str(path.relative_to(ROOT)) for path in marked} <= tested
    large = [given_of(call) for call in calls if "--size 1b" in call or "--size 135m" in call]
    assert [given.size for given in large] == ["1b", "135m"]
    for given in large:
        assert given.compile
        assert given.profile
        assert given.targets == [1_000, 4_000, 16_000]
        assert given.stream_pass < given.tokens_per_pass
        # Streams, with their probes, never compute layers again; the largest steps do.
        assert 1.2 * given.stream_pass < given.activation_checkpointing < given.tokens_per_pass


def given_of(call):
    """What paradigms.py makes of a call."""
    return paradigms.parsed(shlex.split(call)[1:])


def test_every_argument_is_known_and_all_parts_take_ten_minutes(script):
    calls = [call for call in script(WELL)[2] if "--size" in call]
    assert len(calls) == 3
    assert all(paradigms.paradigms_of(given_of(call)) for call in calls)
    text = (ROOT / "benchmarks" / "gpu.sh").read_text()
    limits = re.findall(r"^ *(?:part|speed \S+) \S+ (\d+) ", text, re.MULTILINE)
    assert len(limits) == 2 + 3
    assert sum(map(int, limits)) <= 600


def test_without_packed_data_the_store_is_synthetic_and_nothing_is_trained(script):
    code, printed, calls = script(WELL, packed=False)
    assert code == 0
    assert "skipped: training (no packed store)" in printed
    assert not any("--packed" in call or "pipeline.py" in call for call in calls)
