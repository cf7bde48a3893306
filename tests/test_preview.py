"""`python -m dti preview`: rendered prompts and the drawn mask say what is packed."""

import shutil
import struct

import pytest

from dti.__main__ import parse
from dti.errors import DtiError

HISTORIES = [[(0, 1), (1, 0)], [(0, 1), (1, 0), (2, 1), (0, 0), (1, 1)]]
SPLITS = [["context", "train"], ["context", "train", "train", "train", "train"]]


@pytest.fixture
def project(tmp_path, monkeypatch, make_store, request):
    store = make_store(HISTORIES, ["a", "b", "c"], splits=SPLITS, n=3, k=50, profiles=["p", "q"])
    (tmp_path / "data").mkdir()
    shutil.copytree(store.folder, tmp_path / "data/packed")
    shutil.copy2(request.config.rootpath / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def preview(capsys, *words):
    arguments = parse(["preview", *words])
    arguments.run(arguments)
    return capsys.readouterr().out


def test_both_paradigms_as_text(project, capsys):
    text = preview(capsys)
    sliding, packed = text.split("\npacked")
    assert "sliding window (k = 1, n = 3)" in sliding
    assert "user u0001: 8 content tokens, 1 probes" in sliding
    assert sliding.splitlines()[2:] == [
        "  prefix   'q'",
        "  context  'b' [NO]",
        "  context  'c' [YES]",
        "  context  'a' [NO]",
        "  target  'b'   [SUM] is to say yes",
    ]
    assert packed.split("\n\n")[0].splitlines()[1:] == [
        "  user u0001: 10 content tokens, 4 probes",
        "  prefix   'q'",
        "  context  'a' [YES]",
        "  target  'b' [NO]  [SUM] is to say no",
        "  target  'c' [YES]  [SUM] is to say yes",
        "  target  'a' [NO]  [SUM] is to say no",
        "  target  'b'   [SUM] is to say yes",
    ]


def test_the_mask_as_text(project, capsys):
    """Context a, targets b c a, n = 2: a probe reads the profile, its item, and the labels of the two before it."""
    drawn = preview(capsys).splitlines()[-11:]
    assert [line.split()[-1] for line in drawn] == [
        "#..........",  # q, the profile
        ".#.........",  # a
        ".##........",  # [YES]
        "...#.......",  # b
        "...##......",  # [NO]
        ".....#.....",  # c
        ".....##....",  # [YES]
        ".......#...",  # a
        "#.##....#..",  # the probe of b
        "#.#.##...#.",  # of c
        "#...#.##..#",  # of a
    ]
    assert [line.split()[1] for line in drawn[:8]] == ["q", "a", "[YES]", "b", "[NO]", "c", "[YES]", "a"]


def test_the_mask_of_several_probe_tokens(project, capsys):
    file = project / "params.yaml"
    file.write_text(file.read_text().replace("probe_tokens: 1", "probe_tokens: 2"))
    drawn = preview(capsys).splitlines()[-6:]
    assert [line.split()[-1] for line in drawn] == [
        "#.##....#.....",  # the first of b's
        "#.##....##....",  # the second
        "#.#.##....#...",
        "#.#.##....##..",
        "#...#.##....#.",
        "#...#.##....##",
    ]
    assert [line.split()[2] for line in drawn] == ["1.1", "1.2", "2.1", "2.2", "3.1", "3.2"]


def test_long_prompts_are_shortened(project, capsys):
    text = preview(capsys, "--lines", "2")
    assert "  ... 3 more interactions\n  target  'b'   [SUM] is to say yes" in text
    assert text.count("  ... 2 more interactions") == 1


def test_the_picture(project, capsys):
    preview(capsys, "--png", "out/mask.png")
    content = (project / "out/mask.png").read_bytes()
    width, height = struct.unpack(">II", content[16:24])
    assert content.startswith(b"\x89PNG")
    assert min(width, height) > 100


def test_one_user(project, capsys):
    with pytest.raises(DtiError, match="--user: no user 'u7' with a training target"):
        preview(capsys, "--user", "u7")
    assert "user u0000: 4 content tokens, 1 probes" in preview(capsys, "--user", "u0000")


def test_nothing_packed(tmp_path, monkeypatch, capsys, project):
    shutil.rmtree(project / "data/packed")
    with pytest.raises(DtiError, match="not found; run the stage that makes it"):
        preview(capsys)
