"""Writes a report: report.html and report.md, each whole or not at all."""

from pathlib import Path

from dti.files import atomic_file
from dti.report.document import Document
from dti.report.render import html, markdown


def write(document: Document, folder: Path) -> list[Path]:
    """Write both files into ``folder`` and return their paths."""
    texts = {folder / "report.html": html(document), folder / "report.md": markdown(document, folder)}
    for path, text in texts.items():
        with atomic_file(path) as partial:
            partial.write_text(text, encoding="utf-8")
    return list(texts)
