"""Training and evaluation on packed data without DVC, and what is said of them."""

import subprocess
import sys
from argparse import ArgumentTypeError

import numpy as np
import pytest

from benchmarks.pipeline import changed, pair, summary
from dti.errors import DtiError
from dti.files import read_json
from dti.home import ROOT

TRAIN = {"device": "GPU", "targets_per_second": 5_000.4, "training_hours": 0.5, "wait_hours": 0.01, "epochs": 2}
TRAIN |= {"train_targets": 4_500_000, "compile_seconds": 30.0, "joules": 1_500.0, "joules_of": ["CPU", "GPU"]}


def test_a_summary_tells_speed_waiting_compiling_energy_and_the_plan():
    assert summary(TRAIN, {"auc": 0.75}, 12.0, "predicted 1 h").splitlines() == [
        "training on GPU: 5,000 targets/s over 1800.0 s, 2 x 4,500,000 targets",
        "  of it waiting for rows 2.0%, compiling 30.0 s; energy 1,500 J (CPU, GPU)",
        "evaluation: test AUC 0.7500, 12.0 s with its start",
        "plan --check: predicted 1 h",
    ]
    assert "energy not measured" in summary(TRAIN | {"joules": None}, {"auc": None}, 1.0, "")


def test_other_values_are_set_by_name_and_unknown_names_refused():
    params = {"train": {"epochs": 5}, "model": {"tiny": {"layers": 3}}}
    assert changed(params, {"model.tiny.layers": 4}) == {"train": {"epochs": 5}, "model": {"tiny": {"layers": 4}}}
    for name in ("train.epoch", "trains.epochs", "train.epochs.more", "epochs"):
        with pytest.raises(DtiError, match=f"--set {name}: params.yaml has no such parameter"):
            changed(params, {name: 1})


def test_a_value_is_read_as_params_yaml_would_be():
    assert [pair(text) for text in ("pack.k=5", "train.patience=null", "model.backbone=a=b")] == [
        ("pack.k", 5),
        ("train.patience", None),
        ("model.backbone", "a=b"),
    ]
    with pytest.raises(ArgumentTypeError, match="pack.k: give NAME=VALUE"):
        pair("pack.k")


@pytest.mark.slow
def test_packed_data_is_trained_on_and_evaluated_in_a_folder_of_its_own(make_store, tmp_path):
    rng = np.random.default_rng(1)
    histories = [[(int(rng.integers(12)), int(rng.integers(2))) for _ in range(12)] for _ in range(20)]
    splits = [["context"] * 3 + ["train"] * 7 + ["valid", "test"]] * 20
    packed = make_store(histories, [f"lamp {number}" for number in range(12)], splits=splits, n=4, k=5).folder
    told = tmp_path / "told.txt"
    command = [sys.executable, ROOT / "benchmarks" / "pipeline.py", packed, tmp_path / "work", "--summary", told]
    command += ["--device", "cpu", "--precision", "fp32", "--plan-seconds", "0", "--set", "attention.context=all"]
    command += ["--json", tmp_path / "kept.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = told.read_text().splitlines()
    assert done.stdout.rstrip().endswith("\n".join(lines))
    assert lines[0].startswith("training on cpu: ")
    assert lines[0].endswith(" 1 x 140 targets")
    assert "predicted" in lines[-1]
    kept = read_json(tmp_path / "kept.json")
    assert kept["changes"]["attention.context"] == "all"
    assert {"train", "metrics", "parity"} <= kept.keys()
    assert (tmp_path / "work" / "models" / "adapter" / "dti.json").is_file()
