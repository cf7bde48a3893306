"""The form in the UI is dti/params, and refuses nothing else."""

import re

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from prefect.utilities.callables import parameter_schema
from pydantic import BaseModel

from dti.errors import DtiError
from dti.home import ROOT
from dti.params import Params, parse_params
from flows.parameters import merged, read_values
from flows.sweep import sweep
from flows.train import train


def leaves(model, path=()):
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from leaves(kind, (*path, name))
        else:
            yield (*path, name), field


def field_of(schema, path):
    for name in path:
        schema = schema["properties"][name]
    return schema


@pytest.fixture(scope="module")
def form():
    return parameter_schema(train.fn).model_dump_for_openapi()["properties"]["params"]


@pytest.fixture(scope="module")
def grid():
    return parameter_schema(sweep.fn).model_dump_for_openapi()["properties"]["over"]


@pytest.fixture(scope="module")
def values():
    return read_values(ROOT)


def test_every_parameter_has_its_field_and_help_and_no_more(form, grid):
    paths = {path: field.description for path, field in leaves(Params)}
    assert len(paths) > 50
    for path, words in paths.items():
        assert field_of(form, path)["description"] == words
        assert field_of(form, path)["title"] == path[-1]
        assert field_of(grid, path)["description"] == words

    def count(schema):
        return sum(map(count, schema["properties"].values())) if "properties" in schema else 1

    assert count(form) == count(grid) == len(paths)


def test_groups_are_the_sections_of_params_yaml(form, values):
    assert list(form["properties"]) == list(values)
    assert form["properties"]["model"]["properties"]["tiny"]["type"] == "object"


def test_nothing_is_required_and_nothing_has_a_value(form):
    def walk(schema):
        yield schema
        for part in schema.get("properties", {}).values():
            yield from walk(part)

    for part in list(walk(form))[1:]:
        assert "default" not in part
        assert not part.get("required") or "properties" not in part
    assert form["default"] == {}


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("pack", "n", 0),
        ("pack", "k", "some"),
        ("pack", "k", 0),
        ("train", "learning_rate", 2),
        ("train", "precision", "fp16"),
        ("model", "backbone", ""),
        ("data", "sha256", "abc"),
        ("amazon", "category", "Gift Cards"),
        ("table", "item_fields", []),
        ("track", "register", "yes"),
    ],
)
def test_what_the_form_refuses_params_yaml_refuses_in_the_same_words(form, values, section, name, value):
    given = {section: {name: value}}
    refused = best_match(Draft202012Validator(form).iter_errors(given))
    with pytest.raises(DtiError, match=re.escape(f"{section}.{name}: {refused.message}")):
        parse_params(merged(values, given))


def test_both_refuse_a_name_that_is_no_parameter(form, values):
    given = {"data": {"nane": "demo"}}
    assert "'nane' was unexpected" in best_match(Draft202012Validator(form).iter_errors(given)).message
    with pytest.raises(DtiError, match="data.nane: unknown parameter"):
        parse_params(merged(values, given))


@pytest.mark.parametrize("given", [{}, {"pack": {"k": "all"}}, {"data": {"users": None}}, {"train": {"clip": 1}}])
def test_what_the_form_takes_params_yaml_takes(form, values, given):
    assert not list(Draft202012Validator(form).iter_errors(given))
    parse_params(merged(values, given))


def test_the_values_of_params_yaml_fit_the_form(form, values):
    assert not list(Draft202012Validator(form).iter_errors(values))


def test_an_empty_field_keeps_the_value_and_null_is_a_value(values):
    base = merged(values, {"data": {"users": 5}})
    assert merged(base, {"data": {"threshold": 2.0}})["data"]["users"] == 5
    assert merged(base, {"data": {"users": None}})["data"]["users"] is None
    assert values["data"]["users"] is None
    assert base is not values


def test_a_rule_between_two_parameters_stops_in_the_words_of_params_yaml(values):
    given = merged(values, {"attention": {"layout": "unique", "policy": "window"}})
    with pytest.raises(DtiError, match="attention.layout unique needs policy isolated"):
        parse_params(given)


def test_a_grid_field_takes_lists_only(grid):
    check = Draft202012Validator(grid)
    assert not list(check.iter_errors({"pack": {"k": [1, "all"]}, "train": {"seed": [1, 2]}}))
    for wrong in ({"pack": {"k": 1}}, {"pack": {"k": [0]}}, {"pack": {"k": []}}):
        assert list(check.iter_errors(wrong))
