"""Rules for the text of flows/, which no run in this process would notice."""

import ast

import pytest

from dti.home import ROOT
from flows.groups import GROUPS

FILES = sorted((ROOT / "flows").glob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_annotations_are_not_postponed(file):
    """A served run would fail with "not fully defined"; one in this process would not."""
    froms = [node.module for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)]
    assert "__future__" not in froms


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_flows_know_no_stage_by_name(file):
    """dvc.yaml is the only graph."""
    words = {node.value for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Constant)}
    assert not words & {"prepare", "pack", "evaluate", "fetch"}


def test_every_deployment_is_a_flow_of_its_name():
    for group in GROUPS.values():
        for name, entrypoint in group.entrypoints.items():
            file, function = entrypoint.split(":")
            tree = ast.parse((ROOT / file).read_text())
            found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function]
            assert found, entrypoint
            keywords = {word.arg: word.value for call in found[0].decorator_list for word in call.keywords}
            assert ast.literal_eval(keywords["name"]) == name


def test_trainings_share_one_slot_and_nothing_else_waits_for_them():
    assert GROUPS["training"].slots == 1
    assert set(GROUPS["training"].entrypoints) == {"train", "sweep"}
    assert set(GROUPS["release"].entrypoints) == {"promote", "rollback"}
    assert GROUPS["others"].slots is None


def test_prefect_starts_with_the_installed_fastapi():
    """Some versions of fastapi that its package allows break the server at import."""
    from prefect.server.api.server import create_app

    assert callable(create_app)
