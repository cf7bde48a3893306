"""`python -m dti check`: what was understood, and the first wrong rows, before any work."""

from pathlib import Path

import pytest
import yaml

from dti.__main__ import parse
from dti.errors import DtiError

HEADER = "who,what,stars,when,name,secret\n"
ROWS = [f"u{n % 4},{n % 3:02d},{n % 5 + 0.5},{1_700_000_000 + n},thing {n % 3},x" for n in range(100)]


class Desk:
    """A folder with params.yaml and a file of interactions."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        root = Path(__file__).parents[1]
        self.params = yaml.safe_load((root / "params.yaml").read_text())
        columns = {"user": "who", "item": "what", "label": None, "rating": "stars", "timestamp": "when"}
        self.set(folder=str(folder), interactions="mine.csv", item_fields=["name"], **columns)
        self.params["pack"]["templates"]["table"]["item"] = "{name}!"
        self.save()

    def set(self, **section: object) -> None:
        self.params["table"] |= section

    def save(self) -> None:
        (self.folder / "params.yaml").write_text(yaml.safe_dump(self.params))

    def write(self, *rows: str, name: str = "mine.csv") -> None:
        (self.folder / name).write_text(HEADER + "\n".join(rows) + "\n")


@pytest.fixture
def desk(tmp_path, monkeypatch) -> Desk:
    monkeypatch.chdir(tmp_path)
    made = Desk(tmp_path)
    made.write(*ROWS)
    return made


def check(*words):
    arguments = parse(["check", *words])
    arguments.run(arguments)


def test_what_was_understood(desk, capsys):
    check()
    text = capsys.readouterr().out
    for part in (
        "  user        who\n  item        what\n  rating      stars\n  time        when\n",
        "  item fields name (in mine.csv)\n  not read    secret\n",
        "  'thing 0!'\n  'thing 1!'\n  'thing 2!'\n",
        "interactions  100 of 4 users with 3 items\n",
        "histories     median 25, longest 25\n",
        "label rate    0.4000\n",
        "time          2023-11-14T22:13:20+00:00 to 2023-11-14T22:14:59+00:00\n",
        "targets       64 train, 8 valid, 8 test, 20 context\n",
        "repeated interactions (same user and item, another time): all kept\n",
        "all is well",
    ):
        assert part in text
    assert sorted(path.name for path in desk.folder.iterdir()) == ["mine.csv", "params.yaml"]


def test_another_file_by_name(desk, capsys):
    desk.write(*ROWS[:60], name="other.csv")
    check(str(desk.folder / "other.csv"))
    assert "interactions  60 of 4 users" in capsys.readouterr().out


def test_the_first_ten_wrong_rows(desk, capsys):
    wrong = ["u1,01,good,1700000000,a,x", ",01,3,1700000000123,a,x", *(f"u1,,3,{n}x,a,x" for n in range(20))]
    desk.write(*ROWS, *wrong)
    with pytest.raises(DtiError) as error:
        check()
    lines = str(error.value).splitlines()
    assert lines[1].strip() == "mine.csv, row 102, column stars: 'good', but must be a number"
    assert lines[2].strip() == "mine.csv, row 103, column who: empty, but must be a value"
    assert "mine.csv, row 103, column when: '1700000000123', but must be seconds since 1970; for milli" in lines[3]
    assert [line.split(",")[1] for line in lines[4:]] == [f" row {n}" for n in (104, 104, 105, 105, 106, 106, 107)]
    assert "user        who" in capsys.readouterr().out


def test_bad_items_of_a_second_file_are_named(desk):
    desk.set(items="items.csv")
    desk.save()
    (desk.folder / "items.csv").write_text("what,name\n00,a\n01,b\n00,c\n")
    with pytest.raises(DtiError, match="items.csv, row 4, column what: '00', but must be an id that no"):
        check()


def test_an_unknown_field_of_the_template(desk):
    desk.params["pack"]["templates"]["table"]["item"] = "{name} by {brand}"
    desk.save()
    with pytest.raises(DtiError, match="pack.templates.table.item: no field 'brand'; there are name"):
        check()


def test_too_few_targets(desk):
    desk.write(*ROWS[:12])
    with pytest.raises(DtiError, match="only 0 of 12 interactions have 5 earlier ones"):
        check()


def test_an_empty_file(desk):
    desk.write()
    with pytest.raises(DtiError, match="mine.csv: the file has no rows"):
        check()
