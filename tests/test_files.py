"""Outputs appear whole or not at all; progress tells what is left."""

import io
import subprocess
import sys

import pytest

from dti.errors import DtiError
from dti.files import atomic_file, atomic_folder, digest_of, read_json, write_json
from dti.progress import Progress, clock


def test_a_failed_write_leaves_the_old_file(tmp_path):
    target = tmp_path / "a.json"
    write_json(target, {"a": 1})
    with pytest.raises(ValueError, match="boom"), atomic_file(target) as partial:
        partial.write_text("half")
        raise ValueError("boom")
    assert read_json(target) == {"a": 1}
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_is_replaced_whole(tmp_path):
    target = tmp_path / "out"
    for name in ("one", "two"):
        with atomic_folder(target) as partial:
            (partial / name).write_text(name)
    assert [p.name for p in target.iterdir()] == ["two"]
    with pytest.raises(ValueError, match="boom"), atomic_folder(target) as partial:
        raise ValueError("boom")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_what_a_killed_process_left_is_swept_away(tmp_path):
    script = (
        "import os, sys; from pathlib import Path; from dti.files import atomic_folder\n"
        "with atomic_folder(Path(sys.argv[1])) as p: (p / 'x').write_text('x'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "out")], check=False)
    assert len(list(tmp_path.iterdir())) == 1
    with atomic_folder(tmp_path / "out"):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_nan_is_no_json(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert not (tmp_path / "a.json").exists()


def test_missing_and_damaged_json_are_named(tmp_path):
    with pytest.raises(DtiError, match="a.json: not found"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(DtiError, match="a.json: no valid JSON"):
        read_json(tmp_path / "a.json")


def test_a_digest_depends_on_names_and_content(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_text("1")
    first = digest_of([tmp_path / "d"])
    assert digest_of([tmp_path / "d"]) == first
    (tmp_path / "d" / "__pycache__").mkdir()
    (tmp_path / "d" / "__pycache__" / "a.pyc").write_text("bytecode")
    assert digest_of([tmp_path / "d"]) == first
    (tmp_path / "d" / "a").rename(tmp_path / "d" / "b")
    assert digest_of([tmp_path / "d"]) != first


def test_progress_prints_plain_lines_off_a_terminal():
    out = io.StringIO()
    with Progress("pack", 4, "rows", every=0.0, out=out) as progress:
        progress.advance(2, "note")
        progress.advance(2)
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("pack: 2/4 rows (50 %), ")
    assert lines[0].endswith("left, note")
    assert lines[-1].startswith("pack: 4/4 rows (100 %)")
    assert "\r" not in out.getvalue()


def test_clock():
    assert [clock(s) for s in (0, 59.6, 3661)] == ["0:00:00", "0:01:00", "1:01:01"]
