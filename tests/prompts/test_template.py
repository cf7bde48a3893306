"""Templates: what they accept, and what a missing field leaves behind."""

import pytest

from dti.errors import DtiError
from dti.prompts.template import Template

COLUMNS = ["title", "year", "brand", "genres"]


def render(text, **values):
    return Template.parse(text, COLUMNS, "pack.templates.demo.item").render(dict.fromkeys(COLUMNS) | values)


@pytest.mark.parametrize(
    ("missing", "text"),
    [
        ([], "Heat (1995) by Warner, Crime"),
        (["year"], "Heat by Warner, Crime"),
        (["brand"], "Heat (1995), Crime"),
        (["genres"], "Heat (1995) by Warner"),
        (["title"], "(1995) by Warner, Crime"),
        (["title", "year"], "Warner, Crime"),
        (["year", "brand"], "Heat, Crime"),
        (["title", "year", "brand"], "Crime"),
        (["title", "year", "brand", "genres"], ""),
    ],
)
@pytest.mark.parametrize("nothing", [None, "", "  "])
def test_a_missing_field_leaves_no_doubled_punctuation(missing, text, nothing):
    values = {"title": "Heat", "year": "1995", "brand": "Warner", "genres": "Crime"}
    assert render("{title} ({year}) by {brand}, {genres}", **values | dict.fromkeys(missing, nothing)) == text


def test_head_and_tail_stand_wherever_a_field_does():
    assert render("\nFilm: {title}, {genres}:", genres="Crime") == "\nFilm: Crime:"
    assert render("\nFilm: {title}, {genres}:") == ""


def test_white_space_inside_a_value_becomes_one_space():
    assert render("{title}!", title="  The\n big\t\tsleep ") == "The big sleep!"


def test_a_value_is_no_template():
    assert render("{title}", title="{genres}", genres="Crime") == "{genres}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{titel}", "no field 'titel'; there are brand, genres, title, year"),
        ("{title.upper}", "no plain {field}"),
        ("{title!r}", "no plain {field}"),
        ("{title:>10}", "no plain {field}"),
        ("{title[0]}", "no plain {field}"),
        ("{}", "no plain {field}"),
        ("{title", "no plain {field}"),
        ("title}", "no plain {field}"),
        ("{{title}}", "no plain {field}"),
        ("a film", "names no field"),
    ],
)
def test_anything_but_plain_fields_is_refused(text, message):
    with pytest.raises(DtiError) as error:
        Template.parse(text, COLUMNS, "pack.templates.demo.item")
    assert str(error.value).startswith("pack.templates.demo.item: ")
    assert message in str(error.value)
