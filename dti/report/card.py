"""The data card: counts, lengths, dates, what was repaired, and checks against leakage."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dti.prompts.store import SPLITS, Store
from dti.report.document import Block, Cell, Section, Table, Words, cells
from dti.report.run import Run, why_unofficial
from dti.report.targets import TEST, TRAIN, VALID, Histories

DATA, PACK, PACKED = "`reports/data.json`", "`reports/pack.json`", "`data/packed`"
SHARES = {"least": 0.0, "10 %": 0.1, "median": 0.5, "90 %": 0.9, "most": 1.0}


def section(run: Run, store: Store, every: Histories) -> Section:
    """What the model was trained and tested on."""
    blocks: list[Block] = [_counts(run), _splits(run, every), _lengths(run, store, every), *_repairs(run)]
    return Section("data", "Data card", [*blocks, _leaks(every)])


def _counts(run: Run) -> Table:
    data = run.data
    official = "yes" if data["official"] else f"no: {why_unofficial(data)}"
    kept = data["users_kept"]
    rows = [
        cells("data set", data["title"]),
        cells("official archive", official),
        cells("SHA-256 of the source", f"`{data['sha256']}`"),
        cells("interactions", f"{data['interactions']:,}"),
        cells("users", f"{data['users']:,}" + ("" if kept["kept"] == kept["of"] else f", drawn from {kept['of']:,}")),
        cells("items", f"{data['items']:,}"),
        cells("positive labels", _percent(data["label_rate"])),
        cells("first and last interaction", f"{_time(data['first_time'])} to {_time(data['last_time'])} (UTC)"),
    ]
    return Table("Counts", ["", ""], rows, DATA, texts=[1])


def _splits(run: Run, every: Histories) -> Table:
    rows = []
    for name in ("train", "valid", "test", "context"):
        mask = every.split == SPLITS.index(name)
        times = run.data["split_times"].get(name)
        rows.append(
            cells(
                "context only" if name == "context" else name,
                f"{run.data['splits'][name]:,}",
                f"{np.unique(every.user[mask]).size:,}",
                f"{np.unique(every.item[mask]).size:,}",
                _percent(every.label[mask].mean()) if mask.any() else "-",
                *((_time(times[0]), _time(times[1])) if times else ("-", "-")),
            )
        )
    head = ["split", "targets", "users", "items", "positive", "first (UTC)", "last (UTC)"]
    note = "Split by global time of the targets. Context only: too few earlier interactions to be a target."
    if not (every.split == TEST).any():
        note = "Every target trains: `data.split` is none. Context only: too few earlier interactions to be a target."
    return Table("Splits", head, rows, f"{DATA}, {PACKED}", [note], texts=[5, 6])


def _lengths(run: Run, store: Store, every: Histories) -> Table:
    lengths = np.bincount(every.user)
    rows = [_spread("interactions per user", lengths[lengths > 0])]
    for name, code in (("train", TRAIN), ("test", TEST)):
        known = every.known[every.split == code]
        if known.size:
            rows.append(_spread(f"interactions that a {name} target's probe reads", known))
    rows.append(_spread("tokens of an item's text", store.text_lengths))
    if store.meta.prefixed:
        rows.append(_spread("tokens of a user's prefix", store.profile_lengths))
    cut, empty = run.pack["cut_texts"], run.pack["empty_texts"]
    notes = [
        f"Texts longer than {store.meta.max_item_tokens} tokens are cut: {cut['items']:,} items, {cut['profiles']:,} "
        f"profiles. Empty: {empty['items']:,} items, {empty['profiles']:,} profiles. Lengths are those after the cut."
    ]
    if own := run.pack.get("item_tokens", 0):
        notes.append(
            f"{own:,} items that were training targets have a token of their own before their text "
            "(`pack.item_tokens`), beside the limit; the others are read by their text alone."
        )
    return Table("Lengths", ["", "mean", *SHARES], rows, f"{PACKED}, {PACK}", notes)


def _spread(name: str, values: NDArray[Any]) -> list[Cell]:
    shares = np.quantile(values, list(SHARES.values()), method="inverted_cdf") if values.size else []
    mean = f"{values.mean():,.1f}" if values.size else "-"
    return cells(name, mean, *(f"{value:,.0f}" for value in shares), *["-"] * (len(SHARES) - len(shares)))


def _repairs(run: Run) -> list[Block]:
    checks = run.data["checks"]
    found = [check for check in checks if check["count"]]
    clean = [check["check"] for check in checks if not check["count"]]
    rows = [cells(check["check"], f"{check['count']:,}", check["rule"]) for check in found]
    notes = [f"Looked for and not found: {'; '.join(clean)}."] if clean else []
    table = Table(
        "What was found in the source, and done about it", ["found", "times", "rule"], rows, DATA, notes, texts=[2]
    )
    return [table] if rows else [Words([f"Nothing in the source needed repair ({DATA}). {notes[0] if notes else ''}"])]


def _leaks(every: Histories) -> Table:
    """Checks that are made anew on the packed data, each with what it found."""
    test = every.split == TEST
    rows = [
        _check("a later split begins before an earlier one ends", *_overlaps(every)),
        _check("a user's history is not in order of time", *_disorder(every)),
        _remark("test targets in the same second as their predecessor", test & ~every.strict, test),
        _remark("test targets whose user had the same item among the n before", test & every.repeated, test),
        _remark("test targets with earlier test targets of their user among the n before", _late(every), test),
    ]
    notes = [
        "The first two must be none; the others are no errors but make any score that reads the history look better, "
        "the baselines' too: see the groups above. Times are never an input of the model.",
        "That no probe can read its own label is proven by the tests of the attention code, not here.",
    ]
    head = ["checked on the packed data", "count", "share", "in words"]
    return Table("Leakage checks", head, rows, PACKED, notes, texts=[3])


def _overlaps(every: Histories) -> tuple[int, str]:
    """How many targets are earlier than the last of an earlier split."""
    found = 0
    for before, after in ((TRAIN, VALID), (VALID, TEST), (TRAIN, TEST)):
        first, second = (every.timestamp[every.split == code] for code in (before, after))
        found += int(np.count_nonzero(second < first.max(initial=np.iinfo(np.int64).min))) if first.size else 0
    return found, "no target is earlier than one of an earlier split" if not found else "LEAK: the split is not by time"


def _disorder(every: Histories) -> tuple[int, str]:
    same = np.diff(every.user) == 0
    found = int(np.count_nonzero(same & (np.diff(every.timestamp) < 0)))
    found += int(np.count_nonzero(same & (np.diff(every.order) != 1)))
    return found, "every context is earlier than its target" if not found else "LEAK: later interactions are context"


def _check(name: str, count: int, words: str) -> list[Cell]:
    return cells(name, f"{count:,}", "-", words)


def _remark(name: str, mask: NDArray[np.bool_], of: NDArray[np.bool_]) -> list[Cell]:
    count, total = int(np.count_nonzero(mask)), int(np.count_nonzero(of))
    return cells(name, f"{count:,}", _percent(count / total) if total else "-", "none" if not count else "known, kept")


def _late(every: Histories) -> NDArray[np.bool_]:
    """Test targets whose predecessor is a test target, too: its label is known by then."""
    late = np.zeros(every.user.size, np.bool_)
    late[1:] = (np.diff(every.user) == 0) & (every.split[:-1] == TEST)
    return late & (every.split == TEST)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _time(iso: str) -> str:
    """An ISO time as tables show it, to the minute."""
    return iso[:16].replace("T", " ")
