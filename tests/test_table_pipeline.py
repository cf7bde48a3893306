"""The user's own files in the pipeline: what a change of them, or of their section, runs again."""

import re

import pytest

pytestmark = pytest.mark.slow

HEADER = "user,item,label,when,name\n"
ROWS = [
    f"u{n % 6},{n % 4:03d},{n % 3 % 2},2024-01-{1 + n // 24:02d}T{n % 24:02d}:00:00+01:00,thing {n % 4}"
    for n in range(240)
]
TABLE = {"user": "user", "item": "item", "label": "label", "timestamp": "when", "time": "iso", "item_fields": ["name"]}


def write(folder, rows):
    folder.mkdir(exist_ok=True)
    (folder / "interactions.csv").write_text(HEADER + "\n".join(rows) + "\n")


@pytest.fixture(scope="module")
def copy(make_copy):
    made = make_copy(git=False)
    write(made.folder / "data/table", ROWS)
    made.set(data={"name": "table"}, table=TABLE, pack={"templates": {"table": {"item": "{name}"}}})
    return made


def ran(copy, target):
    assert copy.run("dvc", "repro", target) == 0, copy.output
    return re.findall(r"Running stage '(?:data/dvc.yaml:)?(\S+)'", copy.output)


def test_a_changed_file_runs_what_depends_on_it(copy):
    assert ran(copy, "pack") == ["table", "prepare", "pack"]
    report = copy.report("data")
    assert (report["title"], report["interactions"], report["users"]) == ("My data", 240, 6)
    assert report["first_time"] == "2023-12-31T23:00:00+00:00"
    assert ran(copy, "pack") == []
    write(copy.folder / "data/table", [*ROWS, "u0,000,1,2024-02-01,thing 0"])
    assert ran(copy, "pack") == ["table", "prepare", "pack"]
    assert copy.report("data")["interactions"] == 241


def test_check_and_preview_in_the_project(copy):
    ran(copy, "pack")
    assert copy.run("dti", "check") == 0, copy.output
    assert "all is well" in copy.output
    assert copy.run("dti", "preview") == 0, copy.output
    assert "context  'thing 0' [NO]" in copy.output
    write(copy.folder / "data/table", [*ROWS, "u0,000,7,2024-02-01,thing 0"])
    assert copy.run("dti", "check") == 1
    assert "row 242, column label: '7', but must be 0 or 1" in copy.output
    assert copy.run("dvc", "repro", "pack") != 0
    assert "row 242, column label: '7'" in copy.output


def test_other_data_sets_do_not_care(copy):
    copy.set(data={"name": "demo"}, demo={"users": 60, "interactions": 1500, "items": 40})
    assert ran(copy, "prepare") == ["fetch@demo", "prepare"]
    copy.set(table={"user": "somebody", "folder": "nowhere"}, amazon={"category": "Books"})
    assert ran(copy, "prepare") == []
