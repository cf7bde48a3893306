"""`python -m dti score`: whole files, also after a kill."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from dti import score as command
from dti.errors import DtiError
from dti.serving.frames import score_frame
from dti.serving.scorer import Scorer

ROOT = Path(__file__).parents[2]


def request(number):
    history = [{"item_id": f"i{(number + i) % 12}", "label": i % 2} for i in range(number % 7)]
    return {"history": history, "candidates": [f"i{(number * 5 + i) % 12}" for i in range(1 + number % 3)]}


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "requests.jsonl"
    path.write_text("".join(json.dumps(request(i)) + "\n" for i in range(200)))
    return path


@pytest.fixture
def scorer(project):
    return Scorer.open(project().write(), "cpu")


def answers(path):
    return [json.loads(line)["scores"] for line in path.read_text().splitlines()]


def change(path, number, text):
    lines = path.read_text().splitlines()
    lines[number - 1] = text
    path.write_text("\n".join(lines) + "\n")


def test_every_line_has_its_answer(scorer, source, tmp_path):
    command.score_lines(scorer, source, tmp_path / "scores.jsonl")
    expected = scorer.score([request(i) for i in range(200)])
    for found, wanted in zip(answers(tmp_path / "scores.jsonl"), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert sorted(path.name for path in tmp_path.glob("*scor*")) == ["scores.jsonl"]


def test_killed_work_goes_on_after_the_last_complete_line(scorer, source, tmp_path, monkeypatch, capsys):
    output, score, calls = tmp_path / "scores.jsonl", scorer.score, []

    def dying(requests, names):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(len(requests))
        return score(requests, names)

    monkeypatch.setattr(scorer, "score", dying)
    with pytest.raises(KeyboardInterrupt):
        command.score_lines(scorer, source, output)
    assert not output.exists()
    (kept,) = tmp_path.glob(".scores.jsonl.scoring/answers.jsonl")
    with kept.open("a") as handle:
        handle.write('{"scores": [0.')  # half a line, as a kill leaves it
    calls.clear()
    monkeypatch.setattr(scorer, "score", lambda requests, names: calls.append(len(requests)) or score(requests, names))
    command.score_lines(scorer, source, output)
    assert sum(calls) == 200 - 128
    assert "going on after 128 requests" in capsys.readouterr().out
    command.score_lines(scorer, source, tmp_path / "again.jsonl")
    assert output.read_text() == (tmp_path / "again.jsonl").read_text()


def test_a_wrong_line_is_named_and_a_mended_file_goes_on(scorer, source, tmp_path, capsys):
    output = tmp_path / "scores.jsonl"
    command.score_lines(scorer, source, tmp_path / "expected.jsonl")
    good = source.read_text().splitlines()[99]
    for wrong, message in (
        ("{", r"requests.jsonl: line 100: no valid JSON"),
        ("", r"line 100: no valid JSON"),
        ('{"history": [], "candidates": ["x"]}', r"line 100: candidates\[0\]: item 'x'"),
        ('{"history": [{"item_id": "i1", "label": NaN}], "candidates": ["i1"]}', r"line 100: history\[0\].label"),
        ("[]", r"line 100: must be an object"),
    ):
        change(source, 100, wrong)
        with pytest.raises(DtiError, match=message):
            command.score_lines(scorer, source, output)
        assert not output.exists()
    change(source, 100, good)
    capsys.readouterr()
    command.score_lines(scorer, source, output)
    assert "going on after 99 requests" in capsys.readouterr().out
    for found, wanted in zip(answers(output), answers(tmp_path / "expected.jsonl"), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_another_model_begins_anew(scorer, project, source, tmp_path, capsys):
    output = tmp_path / "scores.jsonl"
    change(source, 150, "{")
    with pytest.raises(DtiError, match="line 150"):
        command.score_lines(scorer, source, output)
    change(source, 150, json.dumps(request(149)))
    other = Scorer.open(project(name="other", probe_position="alibi").write(), "cpu")
    command.score_lines(other, source, output)
    assert "going on" not in capsys.readouterr().out
    np.testing.assert_allclose(answers(output)[0], other.score([request(0)])[0], atol=1e-6)


@pytest.mark.parametrize("ratings", [False, True])
def test_users_of_the_store_are_scored_by_their_whole_history(project, ratings, tmp_path):
    made = project(ratings=ratings)
    scorer = Scorer.open(made.write(), "cpu")
    shard, ids = made.store.shards[0], made.store.item_ids
    frame = pl.DataFrame({"user_id": ["u0002", "u0000"], "candidates": [["i1", "i2"], ["i3"]], "note": [1, 2]})
    frame.write_parquet(tmp_path / "users.parquet")
    score_frame(scorer, tmp_path / "users.parquet", tmp_path / "scores.parquet", made.store.folder)
    found = pl.read_parquet(tmp_path / "scores.parquet")
    assert found.columns == ["user_id", "candidates", "note", "scores"]
    levels = {token: float(rating) for rating, token in made.store.meta.tokens.ratings.items()}
    for user, row in ((2, 0), (0, 1)):
        mine = np.flatnonzero(shard.user == user)
        label = [levels[int(shard.context_label[i])] if ratings else int(shard.label[i]) for i in mine]
        history = [{"item_id": ids[int(shard.item[i])].as_py(), "label": y} for i, y in zip(mine, label, strict=True)]
        wanted = scorer.score([{"history": history, "candidates": frame["candidates"][row].to_list()}])[0]
        np.testing.assert_allclose(found["scores"][row].to_list(), wanted, atol=1e-6)


def test_a_frame_may_bring_histories_and_profiles(project, tmp_path):
    scorer = Scorer.open(project(profile=True).write(), "cpu")
    history = [[{"item_id": "i1", "label": 1}], []]
    profile = [{"age": "20", "town": None}, {"age": None, "town": "Bonn"}]
    frame = pl.DataFrame({"history": history, "candidates": [["i1", "i2"], ["i3"]], "profile": profile})
    frame.write_parquet(tmp_path / "users.parquet")
    score_frame(scorer, tmp_path / "users.parquet", tmp_path / "scores.parquet", tmp_path / "none")
    rows = zip(history, frame["candidates"].to_list(), profile, strict=True)
    wanted = scorer.score([{"history": h, "candidates": c, "profile": p} for h, c, p in rows])
    for found, scores in zip(pl.read_parquet(tmp_path / "scores.parquet")["scores"].to_list(), wanted, strict=True):
        np.testing.assert_allclose(found, scores, atol=1e-6)


WRONG = {
    "no candidates": ({"user_id": ["u0001"]}, "no column candidates"),
    "no user": ({"candidates": [["i1"]]}, "no column history or user_id"),
    "unknown user": ({"user_id": ["x"], "candidates": [["i1"]]}, r"row 0 .*: user_id 'x' is not in"),
    "unknown item": ({"user_id": ["u0001"], "candidates": [["x"]]}, r"row 0 .*: candidates\[0\]: item 'x'"),
    "null": ({"user_id": ["u0001"], "candidates": [None]}, r"row 0 .*: candidates: Input should be a valid list"),
    "scores": ({"user_id": ["u0001"], "candidates": [["i1"]], "scores": [1]}, "has a column scores already"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_frame_is_refused(project, case, tmp_path):
    made = project()
    columns, message = WRONG[case]
    pl.DataFrame(columns).write_parquet(tmp_path / "users.parquet")
    with pytest.raises(DtiError, match=message):
        score_frame(Scorer.open(made.write(), "cpu"), tmp_path / "users.parquet", tmp_path / "out", made.store.folder)
    assert not (tmp_path / "out").exists()


def run(*words):
    words = [sys.executable, "-m", "dti", "score", *map(str, words)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.slow
def test_the_command_takes_a_bundle_a_project_or_a_registered_version(project, source, tmp_path, monkeypatch):
    import mlflow
    import yaml

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    made = project()
    bundle = made.write()
    content = made.params.model_dump()
    (made.root / "params.yaml").write_text(yaml.safe_dump(content))
    artifacts = (tmp_path / "artifacts").as_uri()
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("test", artifacts))
    mlflow.pyfunc.log_model(
        name="model",
        python_model=str(ROOT / "dti/serving/model.py"),
        artifacts={"bundle": str(bundle)},
        code_paths=[str(ROOT / "dti")],
        pip_requirements=["mlflow"],
        registered_model_name="dti-ctr-demo",
    )
    mlflow.MlflowClient().set_registered_model_alias("dti-ctr-demo", "champion", "1")
    for number, model in enumerate((bundle, made.root, "models:/dti-ctr-demo@champion")):
        done = run("--model", model, "--input", source, "--output", tmp_path / f"{number}.jsonl")
        assert done.returncode == 0, done.stderr
        assert (tmp_path / f"{number}.jsonl").read_text() == (tmp_path / "0.jsonl").read_text()
    for model, message in (("models:/dti-ctr-demo@nobody", "nobody"), (tmp_path, "is no bundle")):
        done = run("--model", model, "--input", source, "--output", tmp_path / "none.jsonl")
        assert done.returncode == 1
        assert done.stderr.startswith("ERROR: --model")
        assert message in done.stderr
