"""The table against a slow, plain computation."""

import csv
import time

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from dti.errors import DtiError
from dti.evaluation.metrics import auc_draws
from dti.evaluation.scores import BOOTSTRAP_SEED, Scores
from dti.files import read_json, write_json
from dti.sweep import table
from dti.sweep.compare import baseline_of, compare
from dti.sweep.plot import _families, _name, write_plot
from dti.sweep.results import place_of
from dti.sweep.runner import run_cells

SAMPLES = 60


def compared(sweep, baseline=None):
    return compare(sweep.cells, sweep.results, baseline_of(sweep.grid, sweep.cells, baseline))


@pytest.fixture
def rows(sweep, stub, monkeypatch):
    draws = Scores.draws
    monkeypatch.setattr(Scores, "draws", lambda self: draws(self, SAMPLES))
    run_cells(sweep)
    return compared(sweep)


@pytest.fixture
def read(stub):
    return lambda name: (stub.scores[name].user, stub.scores[name].label, stub.scores[name].score)


def plain_draws(scores):
    """Draw users, take the rows of each, one after the other, and compute the AUC of them."""
    user, label, score = scores
    ids = np.unique(user)
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    draws = []
    for _ in range(SAMPLES):
        picked = np.concatenate([np.flatnonzero(user == ids[i]) for i in rng.integers(len(ids), size=len(ids))])
        draws.append(roc_auc_score(label[picked], score[picked]))
    return np.array(draws)


def plain_auc(scores):
    _, label, score = scores
    return roc_auc_score(label, score)


def test_means_and_intervals_over_seeds(read, rows):
    row = rows[1]
    names = ("isolated-k=5-seed=1", "isolated-k=5-seed=2")
    aucs = [plain_auc(read(name)) for name in names]
    assert [r.configuration for r in rows] == ["window", "isolated k=5", "isolated k=all"]
    assert (row.k, row.seeds) == (5, 2)
    assert row.auc == pytest.approx(np.mean(aucs))
    assert row.auc_sd == pytest.approx(np.std(aucs, ddof=1))
    draws = np.mean([plain_draws(read(name)) for name in names], axis=0)
    assert (row.auc_low, row.auc_high) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])), abs=2e-6)
    assert row.log_loss == pytest.approx(0.535)
    assert row.training_hours == pytest.approx(0.45)
    assert (row.valid_auc, row.targets_per_second, row.tokens_per_target) == (0.6, 100.0, 8.5)
    assert row.parity_gap == 0.004


def test_differences_are_paired_by_seed_and_user(read, rows):
    row = rows[2]
    pairs = [(f"isolated-k=all-seed={seed}", f"window-seed={seed}") for seed in (1, 2)]
    assert row.difference == pytest.approx(np.mean([plain_auc(read(a)) - plain_auc(read(b)) for a, b in pairs]))
    draws = np.mean([plain_draws(read(a)) - plain_draws(read(b)) for a, b in pairs], axis=0)
    found = (row.difference_low, row.difference_high)
    assert found == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])), abs=2e-6)
    assert row.common_seeds == 2


def test_the_baseline_has_no_difference_to_itself(rows):
    assert (rows[0].difference, rows[0].difference_low, rows[0].common_seeds) == (None, None, 0)


def test_only_common_seeds_are_compared(sweep, read, rows):
    place_of(sweep.results, sweep.cells[1]).unlink()  # window seed=2
    row = compared(sweep)[2]
    assert (row.seeds, row.common_seeds) == (2, 1)
    gap = plain_auc(read("isolated-k=all-seed=1")) - plain_auc(read("window-seed=1"))
    assert row.difference == pytest.approx(gap)
    place_of(sweep.results, sweep.cells[0]).unlink()
    row = compared(sweep)[1]
    assert (row.configuration, row.difference, row.difference_high) == ("isolated k=all", None, None)


def test_differences_from_a_configuration_of_ones_choice(sweep, rows):
    window, _, other = compared(sweep, "isolated k=5")
    assert (other.difference, window.common_seeds) == (pytest.approx(rows[2].auc - rows[1].auc), 2)
    assert window.difference == pytest.approx(-rows[1].difference)
    assert (window.difference_low, window.difference_high) == pytest.approx(
        (-rows[1].difference_high, -rows[1].difference_low), abs=1e-12
    )
    with pytest.raises(DtiError, match=r"no configuration has this name; there are window, isolated k=5, isolated k"):
        compared(sweep, "isolated")


def change(sweep, cell, **entries):
    place = place_of(sweep.results, sweep.cells[cell])
    content = read_json(place)
    write_json(place, content | {"test": content["test"] | entries})


def test_other_test_targets_are_refused(sweep, rows):
    change(sweep, 3, targets="0" * 64)
    with pytest.raises(DtiError, match=r"k=5-seed=2.json: cell 'isolated k=5 seed=2' scores other test .*window"):
        compared(sweep)


def test_the_digest_of_targets_tells_users_items_labels_and_their_order_apart(stub, rows):
    first, second = (stub.scores[name] for name in ("window-seed=1", "window-seed=2"))
    assert first.digest() == second.digest()  # whatever the scores
    rolled = [np.roll(column, 1) for column in (first.user, first.item, first.label)]
    columns = [first.user, first.item, first.label]
    others = {Scores(first.path, *columns[:i], rolled[i], *columns[i + 1 :], first.score).digest() for i in range(3)}
    assert len(others | {first.digest()}) == 4


def test_results_that_kept_no_draws_have_no_intervals(sweep, rows):
    for cell in (0, 1):  # window, the baseline
        change(sweep, cell, draws=None)
    window, isolated, _ = compared(sweep)
    assert (window.auc, window.auc_low) == (rows[0].auc, None)
    assert (isolated.difference, isolated.difference_low) == (rows[1].difference, None)
    assert isolated.auc_low == rows[1].auc_low


def test_the_files(rows, tmp_path):
    table.write_csv(tmp_path / "table.csv", rows)
    with (tmp_path / "table.csv").open() as handle:
        found = list(csv.DictReader(handle))
    assert [line["configuration"] for line in found] == [row.configuration for row in rows]
    assert found[0]["difference"] == ""
    assert float(found[2]["auc_low"]) == pytest.approx(rows[2].auc_low)
    text = table.markdown(rows).splitlines()
    assert len(text) == 2 + len(rows)
    assert len({line.count("|") for line in text}) == 1
    assert f"{rows[1].auc:.4f} [{rows[1].auc_low:.4f}, {rows[1].auc_high:.4f}]" in text[3]
    write_plot(tmp_path / "plot.png", rows)
    first = (tmp_path / "plot.png").read_bytes()
    write_plot(tmp_path / "plot.png", rows)
    assert (tmp_path / "plot.png").read_bytes() == first


def test_only_what_differs_in_k_alone_is_drawn_against_k(rows):
    assert [[row.k for row in family] for family in _families(list(reversed(rows)))] == [[5, "all"]]
    assert _name(rows[1:]) == "isolated"
    assert _name(rows) == "window, isolated"


def test_sixty_cells_of_ten_thousand_targets_take_seconds_each():
    """The budget of a table is a minute on one core for 60 cells; one cell is timed, with room for slow machines."""
    rng = np.random.default_rng(0)
    label, score, user = rng.integers(2, size=10_000), rng.random(10_000), rng.integers(1000, size=10_000)
    began = time.process_time()
    auc_draws(label, score, user, 1000, 0)
    assert time.process_time() - began < 3
