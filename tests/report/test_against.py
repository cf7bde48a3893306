"""`--against`: what differs between two runs, and what cannot be said."""

import argparse
import shutil

import numpy as np
import pytest
import yaml

from dti.errors import DtiError
from dti.evaluation import metrics as m
from dti.evaluation.scores import BOOTSTRAP_SEED, SAMPLES, Scores
from dti.files import read_json, write_json
from dti.home import ROOT
from dti.params import load_params
from dti.report import command
from dti.report.against import pair, section
from dti.report.document import Table, Words
from dti.report.run import Run

PARAMS = load_params(ROOT / "params.yaml")


@pytest.fixture(scope="module")
def worse(make_run):
    """A run on the same data with another seed and less skill."""
    return make_run(skill=0.1, seed=2, train={"targets_per_second": 61.7})


def compared(this, other, name="`other`"):
    found = section(pair(Run.read(this), Run.read(other, record=True), name))
    tables = {block.title: block for block in found.blocks if isinstance(block, Table)}
    return tables, [text for block in found.blocks if isinstance(block, Words) for text in block.texts]


def row(table, name):
    return next([cell.text for cell in line] for line in table.rows if line[0].text == name)


def test_the_difference_is_taken_by_the_same_draws_of_users(one, worse):
    found = pair(Run.read(one), Run.read(worse), "other")
    mine, theirs = (Scores.read(root / "data/scores/test.parquet") for root in (one, worse))
    draws = [m.auc_draws(s.label, s.score, s.user, SAMPLES, BOOTSTRAP_SEED) for s in (mine, theirs)]
    assert found.difference.value == pytest.approx(mine.auc() - theirs.auc())
    assert found.difference.low == pytest.approx(np.quantile(draws[0] - draws[1], 0.025))
    assert found.difference.high == pytest.approx(np.quantile(draws[0] - draws[1], 0.975))
    assert found.difference.low > 0


def test_the_winner_is_named_whichever_side_it_is_on(one, worse):
    _, words = compared(one, worse)
    assert "this run wins" in words[1]
    tables, words = compared(worse, one)
    assert "`other` wins" in words[1]
    metrics = [read_json(root / "reports/metrics.json") for root in (worse, one)]
    for name, title in (("auc", "AUC"), ("log_loss", "log loss")):
        mine, theirs = (found[name] for found in metrics)
        shown = [f"{mine:.4f}", f"{theirs:.4f}", f"{mine - theirs:+.4f}", "`other` is better"]
        assert row(tables["Metrics and cost of both"], title)[1:] == shown


def test_a_run_against_itself_differs_in_nothing(one):
    tables, words = compared(one, one)
    assert "+0.0000 [+0.0000, +0.0000]: no winner" in words[1]
    assert {line[-1].text for line in tables["Metrics and cost of both"].rows} <= {"equal", ""}
    assert "Parameters that differ" not in tables
    assert any(text.startswith("All parameters that change results are equal") for text in words)


def test_parameters_and_speed_of_both_stand_side_by_side(one, worse):
    tables, words = compared(one, worse)
    assert [[cell.text for cell in line] for line in tables["Parameters that differ"].rows] == [
        ["`train.seed`", "1", "2"]
    ]
    assert "2.00x, on the same kind of device" in words[2]
    assert "predict 1.00x" in words[2]
    curve = tables["Learning curves against hours"]
    assert [cell.text for cell in curve.rows[0]] == ["1", "0.01", "0.7000", "0.01", "0.7000"]


def test_what_was_not_kept_is_not_compared(one, worse, tmp_path):
    copy = shutil.copytree(worse, tmp_path / "copy")
    (copy / "data/scores/test.parquet").unlink()
    (copy / "params.yaml").unlink()
    (copy / "reports/history.csv").unlink()
    tables, words = compared(one, copy)
    assert words[1] == "No difference by user: `other` kept no `data/scores/test.parquet`."
    assert "kept no `params.yaml`" in words[-2]
    assert "kept no `reports/history.csv`" in words[-1]
    with pytest.raises(DtiError, match=r"history.csv: not found"):
        Run.read(copy)
    assert row(tables["Metrics and cost of both"], "AUC")[-1] == "this run is better"


def test_metrics_of_other_targets_have_no_winner(one, make_run):
    tables, words = compared(one, make_run(data_seed=5))
    assert "scored other test targets. The data differ" in words[1]
    assert row(tables["Metrics and cost of both"], "AUC")[-1] == "other targets"


def run_command(*words):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    command.run(parser.parse_args(words))


def test_the_command_writes_the_report_and_comparisons_beside_it(one, worse, copy_of, tmp_path, monkeypatch, capsys):
    copy = copy_of(one)
    monkeypatch.chdir(copy)
    monkeypatch.setenv("DTI_HOME", str(tmp_path / "home"))
    run_command()
    alone = {name: (copy / "reports" / f"report.{name}").read_bytes() for name in ("html", "md")}
    assert b"Against" not in alone["html"]
    run_command("--against", str(worse))
    assert {name: (copy / "reports" / f"report.{name}").read_bytes() for name in ("html", "md")} == alone
    assert f"Against <code>{worse.name}</code>" in (tmp_path / "home/report/report.html").read_text()
    run_command("--against", str(worse), "--to", "elsewhere")
    assert f"## Against `{worse.name}`" in (copy / "elsewhere/report.md").read_text()
    assert capsys.readouterr().out.split() == [
        *("reports/report.html", "reports/report.md"),
        *(str(tmp_path / f"home/report/report.{kind}") for kind in ("html", "md")),
        *("elsewhere/report.html", "elsewhere/report.md"),
    ]


def test_a_folder_without_a_run_is_refused(one, tmp_path, monkeypatch):
    monkeypatch.chdir(one)
    with pytest.raises(DtiError, match=r"--against .*: no reports/metrics.json in it; name a folder"):
        run_command("--against", str(tmp_path))


def test_the_registrys_champion_is_taken_unless_a_folder_has_its_name(worse, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dti.registry.champion.champion_folder", lambda params: worse / params.data.name)
    assert command.folder_of("champion", PARAMS) == worse / "demo"
    shutil.copytree(worse, tmp_path / "champion")
    assert command.folder_of("champion", PARAMS) == tmp_path / "champion"


def test_a_damaged_other_run_is_named(one, worse, tmp_path):
    copy = shutil.copytree(worse, tmp_path / "copy")
    (copy / "params.yaml").write_text("just words")
    with pytest.raises(DtiError, match=r"params.yaml: no parameters by name"):
        Run.read(copy)
    (copy / "params.yaml").write_text(yaml.safe_dump({}))
    write_json(copy / "reports/metrics.json", read_json(copy / "reports/metrics.json"))
    (copy / "data/scores/test.parquet").write_bytes(b"no table")
    with pytest.raises(DtiError, match=r"test.parquet: no table of scores"):
        pair(Run.read(one), Run.read(copy), "other")
