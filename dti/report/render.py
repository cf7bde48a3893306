"""A document as one self-contained HTML page, and as Markdown."""

import base64
import os
import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from dti.errors import DtiError
from dti.report.document import Block, Document, Figure, Table, Words

HERE = Path(__file__).parent
SPECIAL = re.compile(r"([\\*_<>|&~]|\](?=[(\[])|^#)")


def html(document: Document) -> str:
    """One page without scripts and without anything that is loaded from elsewhere.

    Raises:
        DtiError: a figure's file is missing.
    """
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"code": _code, "picture": _picture}
    environment.tests |= {"words": lambda block: isinstance(block, Words), "table": lambda b: isinstance(b, Table)}
    style = Markup((HERE / "page.css").read_text())  # noqa: S704 (the project's own file)
    return environment.get_template("page.html.jinja").render(document=document, style=style)


def _code(text: str) -> Markup:
    """Escape a text, with its parts between backticks as code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # a lone backtick is a character like others
        parts = [text]
    marked = [Markup("<code>{}</code>").format(part) if odd % 2 else escape(part) for odd, part in enumerate(parts)]
    return Markup("").join(marked)


def _picture(path: Path) -> str:
    """A PNG file as a data URI."""
    try:
        return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
    except FileNotFoundError:
        raise DtiError(f"{path}: not found; run `dvc repro evaluate`") from None


def markdown(document: Document, folder: Path) -> str:
    """The same as Markdown, for a file in ``folder``, from which figures are linked."""
    lines = [f"# {_plain(document.title)}", "", _plain(document.subtitle), ""]
    lines += [f"- {_plain(fact.name)}: **{_plain(fact.value)}** ({_plain(fact.note)})" for fact in document.facts]
    for section in document.sections:
        lines += ["", f"## {_plain(section.title)}"]
        for block in section.blocks:
            lines += ["", *_lines(block, folder)]
    return "\n".join(lines) + "\n"


def _lines(block: Block, folder: Path) -> list[str]:
    if isinstance(block, Words):
        bullet = "- " if block.listed else ""
        return [f"{bullet}{_plain(text)}" for text in block.texts]
    if isinstance(block, Figure):
        place = Path(os.path.relpath(block.path.resolve(), folder.resolve())).as_posix()
        return [f"![{_plain(block.alt)}](<{place}>)", "", f"{_plain(block.caption)} From {_plain(block.source)}."]
    return _table(block)


def _table(table: Table) -> list[str]:
    rows = [[_plain(name) for name in table.head]]
    rows += [[f"**{_plain(c.text)}**" if c.best else _plain(c.text) for c in row] for row in table.rows]
    left = {0, *table.texts}
    rule = ["---" if column in left else "---:" for column in range(len(table.head))]
    lines = ["| " + " | ".join(row) + " |" for row in (rows[0], rule, *rows[1:])]
    notes = " ".join(_plain(note) for note in (*table.notes, f"From {table.source}."))
    return [f"### {_plain(table.title)}", "", *lines, "", notes]


def _plain(text: str) -> str:
    """Escape what Markdown would read as markup, outside of code; a line break is a space."""
    parts = " ".join(text.split()).split("`")
    if len(parts) % 2 == 0:
        return SPECIAL.sub(r"\\\1", "`".join(parts)).replace("`", "\\`")
    return "".join(f"`{part}`" if odd % 2 else SPECIAL.sub(r"\\\1", part) for odd, part in enumerate(parts))
