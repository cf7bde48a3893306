"""Every number of the report against one that is counted or computed in another way."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from dti.errors import DtiError
from dti.files import read_json, write_json
from dti.prompts.store import SPLITS, Store
from dti.report import models
from dti.report.build import build
from dti.report.comparing import Bootstrap, estimate
from dti.report.document import Table, Words

SAMPLES = 50


def section(document, name):
    return next(part for part in document.sections if part.name == name)


def tables(document, name):
    return {block.title: block for block in section(document, name).blocks if isinstance(block, Table)}


def texts(document, name):
    return " ".join(
        text for block in section(document, name).blocks if isinstance(block, Words) for text in block.texts
    )


def row(table, name):
    return next([cell.text for cell in line] for line in table.rows if line[0].text == name)


def interactions(root):
    """One dictionary per interaction, read from the packed shards, with what a report wants to know of it."""
    store = Store.open(root / "data/packed")
    found = []
    for shard in store.shards:
        for place in range(len(shard)):
            names = ("user", "item", "label", "order", "split")
            row = {name: int(getattr(shard, name)[place]) for name in names}
            found.append(row | {"split": SPLITS[row["split"]]})
    for one in found:
        one["popularity"] = sum(o["item"] == one["item"] and o["split"] == "train" for o in found)
        one["activity"] = sum(o["user"] == one["user"] and o["split"] == "train" for o in found)
        mine = [
            o for o in found if o["user"] == one["user"] and one["order"] - store.meta.n <= o["order"] < one["order"]
        ]
        one["again"] = any(o["item"] == one["item"] for o in mine)
        one["after_test"] = any(o["split"] == "test" for o in mine)
    return found


@pytest.fixture(scope="module")
def document(one):
    return build(one, SAMPLES)


@pytest.fixture(scope="module")
def tested(one):
    scores = pq.read_table(one / "data/scores/test.parquet")["score"].to_pylist()
    found = [o for o in interactions(one) if o["split"] == "test"]
    return [o | {"score": score} for o, score in zip(found, scores, strict=True)]


def expected(chosen):
    label, score = [o["label"] for o in chosen], [o["score"] for o in chosen]
    both = 0 < sum(label) < len(label)
    value = f"{roc_auc_score(label, score):.4f}" if both else "-"
    return [f"{len(chosen):,}", str(len({o["user"] for o in chosen})), f"{100 * np.mean(label):.1f} %", value]


def ends(name):
    """The least and the largest value of a group by its name, such as ``10 to 29``, ``0`` or ``500 and more``."""
    words = name.replace(",", "").split(" ")
    return int(words[0]), float("inf") if words[-1] == "more" else int(words[-1])


@pytest.mark.parametrize(
    ("title", "key"), [("AUC by history length", "order"), ("AUC by popularity of the item", "popularity")]
)
def test_groups_by_a_number_are_those_of_a_plain_count(document, tested, title, key):
    table, seen = tables(document, "groups")[title], 0
    assert len(table.rows) > 2
    for line in table.rows:
        low, high = ends(line[0].text)
        chosen = [o for o in tested if low <= o[key] <= high]
        assert [*[cell.text for cell in line[1:4]], line[4].text.split(" ")[0]] == expected(chosen)
        seen += len(chosen)
    assert seen == len(tested)


def test_new_users_and_items_are_those_without_a_training_target(document, tested):
    table, seen = tables(document, "groups")["AUC for new users and items"], 0
    for line in table.rows:
        new = [f"new {what}" in line[0].text for what in ("user", "item")]
        chosen = [o for o in tested if [o["activity"] == 0, o["popularity"] == 0] == new]
        assert [*[cell.text for cell in line[1:4]], line[4].text.split(" ")[0]] == expected(chosen)
        seen += len(chosen)
    assert len(table.rows) > 2
    assert seen == len(tested)


def test_the_models_row_is_metrics_json_with_its_interval(document, one):
    metrics = read_json(one / "reports/metrics.json")
    table = tables(document, "models")["Models on the test split"]
    found = row(table, "model")
    assert found[1] == f"{metrics['auc']:.4f} [{metrics['auc_low']:.4f}, {metrics['auc_high']:.4f}]"
    assert found[2:6] == [f"{metrics[name]:.4f}" for name in ("gauc", "log_loss", "f1", "ece")]
    assert found[6:] == ["0.02", "123", "8,000"]
    for who, prefix in (("logistic regression", "lr"), ("popularity", "popularity")):
        values = row(table, who)
        assert values[1].startswith(f"{metrics[f'{prefix}_auc']:.4f} [")
        assert values[3] == f"{metrics[f'{prefix}_log_loss']:.4f}"
    assert f"{metrics['test_targets']:,} test targets" in table.notes[0]


def test_a_model_that_wins_is_said_to_win(document):
    table = tables(document, "models")["The model against each baseline"]
    assert [row(table, who)[2:5:2] for who in ("logistic regression", "popularity")] == [["the model wins"] * 2] * 2
    assert all(line[1].span.low > 0 for line in table.rows)


def test_only_what_a_baseline_does_better_is_said_of_it():
    none = estimate(None, np.empty(0))
    ours = {"auc": 0.8, "gauc": 0.7, "log_loss": 0.5, "f1": 0.6, "ece": 0.01}
    theirs = {"auc": 0.7, "gauc": 0.71, "log_loss": 0.4, "f1": None, "ece": 0.02}
    found = {"model": ours, "popularity": theirs, "oracle": dict.fromkeys(ours, 1.0)}
    qualities = {who: models.Quality(none, none, metrics) for who, metrics in found.items()}
    assert models.wins(qualities) == [
        "popularity has the better gAUC: 0.7100 against 0.7000 of the model.",
        "popularity has the better log loss: 0.4000 against 0.5000 of the model.",
    ]
    assert models.wins({who: models.Quality(none, none, ours) for who in found}) == []


def test_a_baseline_that_wins_is_said_to_win(make_run):
    document = build(make_run(skill=-0.1), SAMPLES)
    found = tables(document, "models")
    assert row(found["The model against each baseline"], "popularity")[2] == "popularity wins"
    assert "popularity has the better AUC: " in texts(document, "models")
    assert "popularity has the better AUC: " in texts(document, "limits")
    assert "popularity has the better log loss: " in texts(document, "models")
    groups = [line[-1].text for table in tables(document, "groups").values() for line in table.rows]
    assert any(words.endswith("wins") and not words.startswith("model") for words in groups)
    best = [line[0].text for line in found["Models on the test split"].rows if line[1].best]
    assert best != ["model"]


def test_a_model_as_good_as_chance_is_no_winner(make_run):
    run = make_run(skill=0.0)
    found = tables(build(run, SAMPLES), "groups")["AUC by the time since the predecessor"]
    assert found.rows[0][-1].text in {"no winner", "logistic regression wins", "popularity wins"}


def test_few_users_have_no_interval(document):
    table = tables(document, "groups")["AUC by history length"]
    for line in table.rows:
        few = int(line[2].text) < 10
        assert few == ("[" not in line[4].text)
        assert not few or line[-1].text in {
            "too few users to tell",
            "cannot be compared: only one label, or no targets",
        }


def test_users_of_one_label_do_not_count_for_an_interval_of_gauc():
    user = np.repeat(np.arange(20), 2)
    label = np.where(np.arange(40) % 2, 1, (user >= 5).astype(int))  # five users have both labels
    score = np.linspace(0, 1, 40)
    draw = Bootstrap(SAMPLES, 1)
    assert draw.auc(label, score, user).low is not None
    few = draw.gauc(label, score, user)
    assert (few.value, few.low, few.high) == (1.0, None, None)
    assert draw.gauc(np.arange(40) % 2, score, user).low is not None


def test_the_data_card_counts_what_the_packed_data_hold(document, one, tested):
    every, found = interactions(one), tables(document, "data")
    of = {name: [o for o in every if o["split"] == name] for name in SPLITS}
    for name, shown in (("train", "train"), ("test", "test"), ("context", "context only")):
        line = row(found["Splits"], shown)
        assert line[1:3] == [f"{len(of[name])}", f"{len({o['user'] for o in of[name]})}"]
        assert line[4] == f"{100 * np.mean([o['label'] for o in of[name]]):.1f} %"
    known = [min(o["order"], 10) for o in of["test"]]
    line = row(found["Lengths"], "interactions that a test target's probe reads")
    assert line[1:] == [f"{np.mean(known):,.1f}", str(min(known)), *line[3:6], str(max(known))]
    again, late = (sum(o[key] for o in tested) for key in ("again", "after_test"))
    leaks = found["Leakage checks"]
    assert row(leaks, "test targets whose user had the same item among the n before")[1] == str(again)
    assert row(leaks, "test targets with earlier test targets of their user among the n before")[1] == str(late)
    assert row(found["What was found in the source, and done about it"], "duplicate interactions")[1] == "1,234"


def test_the_data_card_tells_of_items_with_a_token_of_their_own(document, one, copy_of):
    copy = copy_of(one)
    write_json(copy / "reports/pack.json", read_json(copy / "reports/pack.json") | {"item_tokens": 31})
    found = [" ".join(tables(made, "data")["Lengths"].notes) for made in (document, build(copy, SAMPLES))]
    assert ["31 items that were training targets have a token" in notes for notes in found] == [False, True]


def test_a_split_that_is_not_by_time_is_called_a_leak(document):
    """The small histories all begin at the same second, so that their splits overlap in time."""
    line = row(tables(document, "data")["Leakage checks"], "a later split begins before an earlier one ends")
    assert int(line[1].replace(",", "")) > 0
    assert line[3].startswith("LEAK")


def test_waiting_for_batches_has_its_share_of_the_training(document):
    shares = {line[0].text: line[3].text for line in tables(document, "cost")["Time"].rows}
    assert shares["of it waiting for batches"] == "5.0 %"
    assert shares["validation, beside it"] == "10.0 %"


def test_cost_model_and_counts_are_those_of_the_reports(document, one):
    pack, train = (read_json(one / f"reports/{name}.json") for name in ("pack", "train"))
    lines = [[cell.text for cell in line] for line in tables(document, "cost")["Cost model against counts"].rows]
    model = pack["cost_model"]
    assert lines[0][1:4] == [f"{model['sliding']:.2f}", f"{model['this_k']:.2f}", f"{model['ratio']:.2f}x"]
    counted = (pack["sliding_tokens_per_target"], pack["tokens_per_target"])
    assert lines[1][1:4] == [*(f"{value:.2f}" for value in counted), f"{pack['counted_ratio']:.2f}x"]
    assert lines[2][1:4] == ["-", "9.00", f"{counted[0] / 9:.2f}x"]
    hours = f"{train['compute_hours'] * counted[0] / 9:.3g} hours in place of {train['compute_hours']:.3g}"
    assert hours in texts(document, "cost")


def test_what_frozen_content_keeps_on_disk_is_told(make_run):
    notes = tables(build(make_run(train={"catalogue_bytes": 3 * 2**20}), SAMPLES), "cost")["Time"].notes
    assert notes[-1] == "Keys and values of the catalogue, computed once and kept on disk: 3 MiB."
    assert "catalogue" not in " ".join(tables(build(make_run(), SAMPLES), "cost")["Time"].notes)


def test_several_probe_tokens_are_named_beside_the_counts(make_run):
    found = build(make_run(train={"probe_tokens": 4}), SAMPLES)
    notes = " ".join(tables(found, "cost")["Cost model against counts"].notes)
    assert "Each target has 4 probe tokens here; the rows from `reports/pack.json` count one." in notes


def test_limits_say_seed_archive_and_sample(make_run):
    data = {"dataset": "ml-1m", "official": False, "users_kept": {"kept": 40, "of": 6040}}
    found = texts(build(make_run(data=data, metrics={"backbone_weights": "GGUF Q4_1"}), SAMPLES), "limits")
    assert "train.targets" not in found
    some = texts(build(make_run(train={"train_targets": 7}), SAMPLES), "limits")
    assert "Trained on 7 of " in some
    for words in ("seed 1", "UNOFFICIAL ARCHIVE", "40 of 6,040 users", "quantised: GGUF Q4_1", "(cpu, 1 thread)"):
        assert words in found
    unknown = {"dataset": "amazon-2018", "official": False, "title": "Amazon X 2018 (no published checksum)"}
    assert "no checksum of it is published" in texts(build(make_run(data=unknown), SAMPLES), "limits")
    assert "UNOFFICIAL" not in texts(build(make_run(data={"dataset": "ml-1m"}), SAMPLES), "limits")


def test_without_a_test_split_the_report_says_so(make_run):
    document = build(make_run(tested=False), SAMPLES)
    assert "nothing tests it" in texts(document, "limits")
    assert [part.name for part in document.sections] == ["limits", "figures", "cost", "parity", "data", "made-of"]


def test_the_parameters_are_there_with_the_files_they_gave(document):
    found = tables(document, "made-of")
    assert row(found["Parameters"], "`pack.k`")[1] == "5"
    files = [line[0].text for line in found["Files that this report was made from"].rows]
    assert {"`reports/metrics.json`", "`reports/history.csv`", "`data/scores/test.parquet`", "`data/packed`"} <= set(
        files
    )


@pytest.mark.parametrize(("dataset", "template"), [("ml-1m", "ml"), ("amazon-2018-5core", "amazon"), ("demo", "demo")])
def test_the_parameters_are_those_that_the_run_reads(make_run, dataset, template):
    table = tables(build(make_run(data={"dataset": dataset}), SAMPLES), "made-of")["Parameters"]
    names = {line[0].text.strip("`") for line in table.rows}
    assert {name.split(".")[2] for name in names if name.startswith("pack.templates.")} == {template}
    assert f"pack.templates.{template}.item" in names
    sections = {name.split(".")[0] for name in names}
    assert sections & {"demo", "amazon", "table", "promote", "track"} == {template} - {"ml"}


def test_every_table_and_figure_names_its_source(document):
    for part in document.sections:
        for block in part.blocks:
            assert isinstance(block, Words) or block.source


def test_files_of_different_runs_are_refused(one, make_run, copy_of):
    copy = copy_of(one)
    metrics = read_json(copy / "reports/metrics.json")
    write_json(copy / "reports/metrics.json", metrics | {"auc": 0.5})
    with pytest.raises(DtiError, match=r"test.parquet: AUC .*metrics.json says 0.500000"):
        build(copy, SAMPLES)
    write_json(copy / "reports/metrics.json", metrics)
    write_json(copy / "reports/pack.json", read_json(copy / "reports/pack.json") | {"digest": "x"})
    with pytest.raises(DtiError, match="does not belong to .*data/packed"):
        build(copy, SAMPLES)


def test_scores_of_other_targets_are_refused(one, copy_of):
    copy = copy_of(one)
    path = copy / "data/scores/test.parquet"
    replace_column(path, "item_id", lambda ids: ids[::-1])
    with pytest.raises(DtiError, match="not the test targets of"):
        build(copy, SAMPLES)
    path.unlink()
    with pytest.raises(DtiError, match="test.parquet: not found"):
        build(copy, SAMPLES)


def test_a_missing_report_is_named(one, copy_of):
    copy = copy_of(one)
    (copy / "reports/parity.json").unlink()
    with pytest.raises(DtiError, match=r"reports/parity.json: not found"):
        build(copy, SAMPLES)


def replace_column(path, name, change):
    table = pq.read_table(path)
    column = pa.array(change(table[name].to_pylist()))
    pq.write_table(table.set_column(table.schema.get_field_index(name), name, column), path)
