import pytest
import yaml

from dti.errors import DtiError
from dti.home import ROOT
from dti.sweep.grid import Grid, expand, filled, load_grid

BASE = yaml.safe_load((ROOT / "params.yaml").read_text())


def cells_of(*groups, **others):
    grid = Grid.model_validate({"name": "g", "threads": 1, "groups": list(groups), **others})
    return expand(grid, BASE)


def refused(path, message):
    with pytest.raises(DtiError, match=message):
        expand(load_grid(path), BASE, str(path))


def test_cells_are_the_product_in_the_order_of_the_file(write_grid):
    cells = expand(load_grid(write_grid()), BASE)
    assert [cell.name for cell in cells] == [
        "window seed=1",
        "window seed=2",
        "isolated k=5 seed=1",
        "isolated k=5 seed=2",
        "isolated k=all seed=1",
        "isolated k=all seed=2",
    ]
    last = cells[-1]
    assert last.slug == "isolated-k=all-seed=2"
    assert (last.configuration, last.group, last.seed) == ("isolated k=all", "isolated", 2)
    assert last.changes == {"train.epochs": 1, "pack.k": "all", "train.seed": 2}
    assert last.parameters["pack"]["k"] == "all"
    assert last.parameters["pack"]["n"] == BASE["pack"]["n"]


def test_a_group_overrides_what_all_cells_get():
    (cell,) = cells_of({"name": "a", "set": {"train.epochs": 3}}, set={"train.epochs": 2, "pack.n": 4})
    assert cell.name == "a seed=1"
    assert (cell.parameters["train"]["epochs"], cell.parameters["pack"]["n"]) == (3, 4)
    assert BASE["train"]["epochs"] != 3


def test_a_list_is_a_value():
    """Two archives have two checksums: data.sha256 of the Amazon sets."""
    (cell,) = cells_of({"name": "a"}, set={"data.name": "amazon-2018-5core", "data.sha256": ["a" * 64, "b" * 64]})
    assert filled(cell.parameters)["data"]["sha256"] == ["a" * 64, "b" * 64]


def test_parameters_with_the_same_last_name_are_told_apart():
    over = {"model.tiny.dropout": [0.0, 0.5], "model.lora.dropout": [0.1]}
    assert cells_of({"name": "a", "over": over})[1].name == "a model.tiny.dropout=0.5 model.lora.dropout=0.1 seed=1"


def test_values_of_every_kind_make_names_and_files():
    over = {"pack.profile": [True], "data.users": [None], "model.backbone": ["Some/Model X"]}
    (cell,) = cells_of({"name": "LoRA r", "set": {"model.tuning": "lora"}, "over": over})
    assert cell.name == "LoRA r profile=true users=null backbone=Some/Model X seed=1"
    assert cell.slug == "lora-r-profile=true-users=null-backbone=some-model-x-seed=1"


def test_a_long_name_makes_a_file_name_of_its_own():
    over = {"model.backbone": ["x" * 200 + end for end in "ab"]}
    one, two = cells_of({"name": "a", "set": {"model.tuning": "lora"}, "over": over})
    assert one.slug != two.slug
    assert len(one.slug) <= 120


def test_all_unknown_parameters_are_named_at_once(write_grid):
    groups = [{"name": "a", "set": {"pack.kk": 1}, "over": {"train": [1]}}]
    with pytest.raises(DtiError) as error:
        expand(load_grid(write_grid(set={"no.such": 1}, groups=groups, baseline=None)), BASE)
    assert all(
        name in str(error.value) for name in ("set: params.yaml has no parameter 'no.such'", "'pack.kk'", "'train'")
    )


def test_all_wrong_cells_are_named_at_once(write_grid):
    groups = [
        {"name": "a", "over": {"pack.k": [0, 5]}},
        {"name": "b", "set": {"attention.leakage": "reset"}},
        {"name": "c", "set": {"data.split": "none"}},
    ]
    with pytest.raises(DtiError) as error:
        expand(load_grid(write_grid(groups=groups, baseline="a", over={})), BASE)
    text = str(error.value)
    assert all(f"cell '{name} seed=1'" in text for name in ("a k=0", "b", "c"))
    assert "a k=5" not in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"thread": 1}, "grid.yaml:\n  thread: Extra inputs"),
        ({"threads": 0}, "threads: Input should be greater"),
        ({"groups": []}, "groups: List should have at least 1 item"),
        ({"groups": [{"name": "a", "sett": {}}]}, "groups.0.sett: Extra inputs"),
        ({"name": "a/b"}, "name: String should match"),
        ({"over": {"train.seed": []}}, "over.train.seed: List should have at least 1 item"),
        ({"baseline": "none"}, "baseline: no group 'none'; there are window, isolated"),
        ({"groups": [{"name": "window"}, {"name": "window"}]}, "two groups are called window"),
        ({"groups": [{"name": "window"}, {"name": "b"}]}, "'window' and 'b' are the same configuration"),
        ({"groups": [{"name": "window", "set": {"train.seed": 1}}]}, "'window': train.seed is given twice"),
        ({"over": {"train.seed": [1, 1]}}, "'window seed=1' is there twice"),
        (
            {"groups": [{"name": "window", "set": {"pack.k": 1}}, {"name": "Window", "set": {"pack.k": 2}}]},
            "'window seed=1' and 'Window seed=1' have the same file name",
        ),
    ],
)
def test_a_wrong_grid_is_refused(write_grid, changes, message):
    refused(write_grid(**changes), message)


def test_a_grid_that_is_missing_or_no_yaml(tmp_path):
    refused(tmp_path / "grid.yaml", "not found")
    (tmp_path / "grid.yaml").write_text("a: [")
    refused(tmp_path / "grid.yaml", "no valid YAML")


def test_environment_variables_are_put_in_for_the_run_alone(monkeypatch):
    monkeypatch.setenv("MODELS", "/somewhere")
    parameters = {"model": {"backbone": "$MODELS/small", "lora": {"r": 4}}, "name": "a"}
    assert filled(parameters) == {"model": {"backbone": "/somewhere/small", "lora": {"r": 4}}, "name": "a"}
    monkeypatch.delenv("MODELS")
    with pytest.raises(DtiError, match=r"backbone: '\$MODELS/small': the environment variable \$MODELS is not set"):
        filled(parameters)
