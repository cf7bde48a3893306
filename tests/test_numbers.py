"""The numbers in the documents' tables are those of the result files."""

import csv
import itertools
import json
import math
import re
from statistics import mean, median
from typing import Any

import pytest
import yaml

from dti.home import ROOT
from dti.sweep.compare import Row, compare
from dti.sweep.grid import expand, load_grid

RESULTS = "".join((ROOT / "docs" / name).read_text() for name in ("results.md", "speed.md", "rivals.md"))
SPEED = ROOT / "benchmarks/speed"
STUDY = ROOT / "benchmarks/study"


def table(heading: str, text: str = RESULTS) -> list[list[str]]:
    """The cells of the first table below the line that begins with ``heading``, without its head and bold print."""
    rest = text[text.index(f"\n{heading}") :].replace("**", "")
    lines = re.search(r"(?:^\|.*\n)+", rest, re.MULTILINE)
    assert lines
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[0].splitlines()[2:]]


def measured(file: str, part: str = "rows") -> Any:
    return json.loads((SPEED / file).read_text())[part]


def compared(name: str, base: str | None = None) -> dict[str, Row]:
    """A grid's rows by configuration, as `python -m dti sweep` computes them from the result files."""
    file = STUDY / f"{name}.yaml"
    cells = expand(load_grid(file), yaml.safe_load((ROOT / "params.yaml").read_text()), str(file))
    return {row.configuration: row for row in compare(cells, STUDY / name, base)}


def with_interval(row: Row, name: str, sign: str = "") -> str:
    """A value of a row with its interval; nothing where there is none."""
    values = [getattr(row, name + end) for end in ("", "_low", "_high")]
    shown = [f"{value:{sign}.4f}" for value in values if value is not None]
    return f"{shown[0]} [{shown[1]}, {shown[2]}]" if len(shown) == 3 else "".join(shown)


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def spread(row: dict[str, Any]) -> str:
    return f"[{row['ratio_low']:.1f}, {row['ratio_high']:.1f}]"


def test_ratios_are_the_medians_of_the_rounds_own() -> None:
    found = [json.loads(path.read_text()).get("rows") for path in SPEED.glob("cpu-*.json")]
    runs = [rows for rows in found if isinstance(rows, list) and "rates" in rows[0]]
    assert len(runs) > 2
    for rows in runs:
        base = {row["tuning"]: row["rates"] for row in rows if row["name"] == "sliding"}
        for row in rows:
            own = [a / b for a, b in zip(row["rates"], base[row["tuning"]], strict=True)]
            assert math.isclose(row["ratio"], median(own))


def test_speeds() -> None:
    rows = [
        [
            str(row["k"]),
            f"{row['targets_per_step']:,}",
            f"{row['targets_per_second']:,.0f} [{row['low']:,.0f}, {row['high']:,.0f}]",
            f"{row['ratio']:.1f}" + ("" if row["name"] == "sliding" else f" {spread(row)}"),
            f"{row['predicted_ratio']:.1f}",
            percent(row["reached"]),
        ]
        for row in measured("cpu-tiny-one-thread.json")
    ]
    assert [cells[1:7] for cells in table("## Speed on a CPU")] == rows


def test_speeds_by_context() -> None:
    found = {(row["n"], row["name"]): row for row in measured("cpu-tiny-one-thread.json", "contexts")}
    shown = {key: f"{row['ratio']:.1f} ({row['predicted_ratio']:.1f})" for key, row in found.items()}
    rows = [[str(n), shown[n, "window"], shown[n, "isolated"]] for n in (5, 10, 50)]
    assert table("| n | window, k = 50") == rows


def test_speeds_at_135m() -> None:
    rows = []
    for row in measured("cpu-135m-one-thread.json"):
        name = row["name"]
        rate, ratio = {"sliding": (3, 1), "frozen": (0, 0)}.get(name, (2, 1))
        spread = "" if name == "sliding" else f" [{row['ratio_low']:.{ratio}f}, {row['ratio_high']:.{ratio}f}]"
        rows.append(
            [
                str(row["k"]),
                f"{row['targets_per_step']:,}",
                f"{row['targets_per_second']:.{rate}f} [{row['low']:.{rate}f}, {row['high']:.{rate}f}]",
                f"{row['ratio']:.{ratio}f}{spread}",
                f"{row['predicted_ratio']:.{ratio}f}",
                percent(row["reached"]),
            ]
        )
    assert [cells[1:] for cells in table("**135M shape**")] == rows


def test_speeds_of_serving() -> None:
    rows = []
    for row, digits in zip(measured("cpu-serving-one-thread.json").values(), ((0, 1), (1, 0)), strict=True):
        seconds = row["seconds"]
        rows.append(
            [
                f"{1000 * seconds['scorer']:.{digits[0]}f} ms",
                f"{seconds['sliding']:.2f} s",
                f"{row['ratio']:.{digits[1]}f} [{row['low']:.{digits[1]}f}, {row['high']:.{digits[1]}f}]",
                f"{row['gap']:.1e}",
            ]
        )
    assert [cells[1:] for cells in table("## Serving on a CPU")] == rows


def test_what_large_steps_learn_beside_their_speed() -> None:
    ratios = {
        (row["name"], row["k"], row["targets_per_step"]): row["ratio"] for row in measured("cpu-tiny-one-thread.json")
    }
    names = {"unique": "isolated unique, k = all", "overlapping": "the same, overlapping steps"}
    names |= {"window k=50": "window stream, k = 50 (all context tokens, `alibi`)", "window k=all": "the same, k = all"}
    shown, label = {}, ""
    for first, *cells in table("## What large steps learn"):
        label = first or label
        shown[label, cells[0], cells[2]] = cells
    rows, found = {}, compared("steps")
    for path in STUDY.glob("steps/*.json"):
        cell = json.loads(path.read_text())
        train, metrics, k = cell["parameters"]["train"], cell["metrics"], cell["parameters"]["pack"]["k"]
        step, epochs, name = (
            train["targets_per_step"],
            str(train["epochs"]),
            cell["group"].removesuffix(", three epochs"),
        )
        cells = [f"{step:,}", f"{train['learning_rate']:g}", epochs, with_interval(found[cell["configuration"]], "auc")]
        cells += [f"{metrics['log_loss']:.4f}", f"{metrics['training_hours']:.3f}", f"{ratios[name, k, step]:.1f}"]
        rows[names[name if name in names else cell["configuration"]], f"{step:,}", epochs] = cells
    assert shown == rows


def test_what_the_study_says_of_the_ways_whose_speed_is_shown() -> None:
    with (STUDY / "ml-1m/table.csv").open() as handle:
        auc = {row["configuration"]: f"{float(row['auc']):.4f}" for row in csv.DictReader(handle)}
    isolated = {"isolated": "label", "isolated-tokens": "all"}
    ways = {("window", k): auc[f"window k k={k}"] for k in (5, 10, 200, "all")}
    ways |= {(name, "all"): auc[f"isolated context={read} probe_position=local"] for name, read in isolated.items()}
    ways |= {("sliding", 1): auc["sliding at 0.001"], ("window", 50): auc["window leakage=none probe_position=alibi"]}
    shown = zip(measured("cpu-tiny-one-thread.json"), table("## Speed on a CPU"), strict=True)
    assert {(row["name"], row["k"]): cells[7] for row, cells in shown if cells[7].startswith("0")} == ways


def test_what_steps_of_a_thousand_learn_in_every_way() -> None:
    auc = {}
    for path in STUDY.glob("steps-600/*.json"):
        cell = json.loads(path.read_text())
        auc[cell["group"], cell["parameters"]["pack"]["k"]] = f"{cell['metrics']['auc']:.4f}"
    shown = zip(measured("cpu-tiny-one-thread.json"), table("## Speed on a CPU"), strict=True)
    assert {(row["name"], row["k"]): cells[8] for row, cells in shown if cells[8].startswith("0")} == auc


def test_the_readme_has_the_speeds_of_the_results() -> None:
    ratio = {
        (row["name"], row["k"], row["targets_per_step"]): row["ratio"] for row in measured("cpu-tiny-one-thread.json")
    }
    unique, overlapping = (
        " / ".join(f"{ratio[name, 'all', step]:.0f}" for step in (1000, 4000, 16000))
        for name in ("unique", "overlapping")
    )
    windows = [f"{ratio['window', k, 1000]:.1f}" for k in (50, "all")]
    frozen = f"{ratio['frozen', 'all', 1000]:.0f} (of its own: LoRA)"
    (speeds, *_) = table("Training speed on one CPU core", (ROOT / "README.md").read_text())
    isolated = f"{ratio['isolated', 'all', 1000]:.1f}"
    assert speeds[1:] == ["1", *windows, isolated, unique, overlapping, frozen]


def test_tables_of_rivals_are_those_that_the_command_wrote() -> None:
    tables = sorted((ROOT / "benchmarks/study").glob("*/rivals/table.md"))
    assert len(tables) == 4
    assert [str(path.relative_to(ROOT)) for path in tables if path.read_text().strip() not in RESULTS] == []


def test_steps_and_rates_of_tuning() -> None:
    names = {
        "isolated": "isolated, k = all (local, label)",
        "isolated, all tokens": "isolated, k = all (local, all tokens)",
    }
    names |= {"window": "window, k = 50 (alibi, all)", "sliding": "sliding window (rope, all)"}
    names |= {"isolated mixed": "isolated, k = 16 (local, label)"}
    rows, found = [], compared("tuning")
    for path in STUDY.glob("tuning/*.json"):
        cell = json.loads(path.read_text())
        train, metrics, gap = cell["parameters"]["train"], cell["metrics"], cell["parity"]["k"]["all"]["max"]
        row = [names[cell["group"]], f"{train['targets_per_step']:,}", f"{train['learning_rate']:g}"]
        row += [f"{metrics['valid_auc']:.4f}", with_interval(found[cell["configuration"]], "auc")]
        rows.append([*row, f"{metrics['log_loss']:.4f}", f"{gap:.1e}"])
    assert sorted(table("## What each paradigm wants")) == sorted(rows)


def test_ways_on_whole_ml_1m_at_equal_targets() -> None:
    names = [
        "sliding",
        "usual sliding",
        "isolated",
        "large steps targets_per_step=1000 learning_rate=0.003",
        "window k=50",
    ]
    found, rows = compared("equal", "sliding"), []
    assert sorted(found) == sorted(names)
    for row in (found[name] for name in names):
        hours, gap = row.training_hours, row.parity_gap
        assert hours is not None
        assert gap is not None
        cells = [with_interval(row, "auc"), with_interval(row, "difference", "+"), f"{row.log_loss:.4f}"]
        cells += [f"{row.valid_auc:.4f}", f"{hours:.2f}" if hours > 1 else f"{hours:.3f}"]
        rows.append([*cells, f"{gap:.2f}" if gap > 1e-3 else f"{gap:.1e}"])
    assert [cells[1:] for cells in table("## DTI against the sliding window on whole ml-1m")] == rows


ISOLATED = [
    f"isolated context={read} probe_position={p}" for read in ("label", "all") for p in ("local", "alibi", "rope")
]
WINDOWS = [f"window leakage={leakage} probe_position={p}" for leakage in ("none", "reset") for p in ("alibi", "rope")]
SHOWN = [*ISOLATED, "window label", *WINDOWS, *(f"window k k={k}" for k in (5, 10, 200, "all"))]
SHOWN += ["reset at k = all at=both", "sliding", "sliding at 0.001"]


def test_the_study() -> None:
    found, rows = compared("ml-1m", "sliding at 0.001"), []
    for name in SHOWN:
        row = found[name]
        gap, hours = row.parity_gap, row.training_hours
        assert gap is not None
        cells = [with_interval(row, "auc"), "" if row.auc_sd is None else f"{row.auc_sd:.4f}"]
        cells += [with_interval(row, "difference", "+"), f"{row.log_loss:.4f}"]
        cells += [f"{gap:.1e}" if gap < 1e-3 else f"{gap:.2f}" if gap < 0.99 else f"{gap:.1f}", f"{hours:.3f}"]
        rows.append(cells)
    assert [cells[4:] for cells in table("## The study")] == rows


def test_parity_gaps_of_the_study() -> None:
    rows = []
    for leakage, position in itertools.product(("none", "reset"), ("alibi", "rope")):
        files = STUDY.glob(f"ml-1m/window-leakage={leakage}-probe_position={position}-seed=*.json")
        seeds = [json.loads(path.read_text())["parity"]["k"] for path in files]
        assert len(seeds) == 3
        cells = [leakage, f"`{position}`"]
        for gaps in ([seed[k] for seed in seeds] for k in ("5", "50", "all")):
            change = mean(gap["auc_stream"] - gap["auc_serving"] for gap in gaps)
            cells += [f"{mean(gap['mean'] for gap in gaps):.3f}", f"{mean(gap['p99'] for gap in gaps):.2f}"]
            cells += [f"{max(gap['max'] for gap in gaps):.2f}", f"{change:+.4f}"]
        rows.append(cells)
    assert table("**The parity gap of windows") == rows


def test_longer_contexts_and_tokens_of_items() -> None:
    names = ("n n=20", "n n=50", "n n=200", "all of it, three epochs", "binary, three epochs")
    files = {cell["configuration"]: cell for cell in (json.loads(p.read_text()) for p in STUDY.glob("goal/*.json"))}
    found, rows = compared("goal"), []
    assert sorted(files) == sorted(names)
    for name in names:
        metrics, epochs = files[name]["metrics"], files[name]["parameters"]["train"]["epochs"]
        numbers = [f"{metrics[name]:.4f}" for name in ("auc_strict", "log_loss", "gauc", "valid_auc")]
        rows.append([str(epochs), with_interval(found[name], "auc"), *numbers, f"{metrics['training_hours']:.3f}"])
    assert [cells[1:] for cells in table("**Longer contexts, tokens of items")] == rows


def test_runs_beside_their_plans() -> None:
    plan = {(way["way"], str(way["k"])): way for way in measured("cpu-plan.json", "ways")}
    rows = {}
    for path in STUDY.glob("plans/*.json"):
        cell = json.loads(path.read_text())
        train, key = cell["train"], (cell["group"], str(cell["parameters"]["pack"]["k"]))
        cells = list(key)
        for predicted, took, digits in (
            (plan[key]["hours"], train["training_hours"] / train["epochs"], 4),
            (plan[key]["memory"] / 2**30, train["peak_bytes"] / 2**30, 2),
        ):
            cells += [f"{predicted:.{digits}f}", f"{took:.{digits}f}", f"{predicted / took - 1:+.1%}"]
        rows[key] = cells
    assert [rows[key] for key in plan] == table("**The other ways of a plan**")


def test_frozen_content_on_six_hundred_users() -> None:
    shown = {cells[0]: cells[1:6] for cells in table("**Frozen content, 600 users**")}
    for cell in (json.loads(path.read_text()) for path in STUDY.glob("smollm2/*.json")):
        name = {"frozen, learned slopes": "1e-3, learned slopes"}.get(cell["configuration"])
        name = name or "1e-3, k = 16 (31 users in a step instead of three or four)"
        scores = [f"{cell['metrics'][key]:.4f}" for key in ("auc", "auc_low", "auc_high")]
        rest = [f"{cell['metrics'][key]:.4f}" for key in ("auc_strict", "log_loss", "gauc", "valid_auc")]
        assert shown[name] == ["{} [{}, {}]".format(*scores), *rest]


def test_a_pretrained_model_on_a_subsample() -> None:
    rows = []
    for group in (
        "sliding",
        "window",
        "isolated",
        "isolated-three-epochs",
        "isolated-four-probe-tokens",
        "isolated-last-ten-layers",
        "frozen",
    ):
        cell = json.loads((STUDY / f"smollm2-subsample/{group}-seed=1.json").read_text())["metrics"]
        scores = [f"{cell[name]:.4f}" for name in ("auc", "log_loss", "gauc", "valid_auc")]
        rows.append([*scores, f"{cell['training_hours']:.2f}"])
    assert [cells[1:6] for cells in table("**Trials on 20 users")] == rows


def test_a_pretrained_model_beside_its_sliding_window() -> None:
    names = {"sliding": "sliding window (all tokens, `rope`)", "isolated": "isolated, k = all (label tokens)"}
    names |= {
        "isolated, k = 8": "isolated, k = 8 (label tokens, `local`)",
        "isolated, k = 8, all tokens": "the same, all tokens",
    }
    names |= {"frozen, k = 8": "frozen content, k = 8 (label tokens)"}
    names |= {"frozen, all targets": "the same, all targets of the 150 users"}
    names |= {"isolated, four times the targets": "the same, four times the targets"}
    with (STUDY / "smollm2-150/table.csv").open() as handle:
        found = {row["configuration"]: row for row in csv.DictReader(handle)}
    rows = {}
    for path in STUDY.glob("smollm2-150/*.json"):
        cell = json.loads(path.read_text())
        metrics, row = cell["metrics"], found[cell["configuration"]]
        assert float(row["auc"]) == pytest.approx(metrics["auc"], abs=1e-8)
        auc, gain = ([row[name + end] for end in ("", "_low", "_high")] for name in ("auc", "difference"))
        cells = [f"{cell['train']['train_targets']:,}", "{:.4f} [{:.4f}, {:.4f}]".format(*map(float, auc))]
        cells.append("{:+.4f} [{:+.4f}, {:+.4f}]".format(*map(float, gain)) if gain[0] else "")
        cells += [f"{metrics[name]:.4f}" for name in ("log_loss", "gauc", "valid_auc")]
        rows[names[cell["configuration"]]] = [*cells, f"{metrics['training_hours']:.2g}"]
    shown = {cells[0]: cells[1:8] for cells in table("**Beside its sliding window, on 150 users")}
    assert shown == rows


def test_no_placeholder_is_left() -> None:
    documents = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    assert [path.name for path in documents if "@@" in path.read_text()] == []
