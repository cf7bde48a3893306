"""Takes what a web page left in a text out of it: tags, scripts, entities."""

from html import unescape

import polars as pl

_BLOCKS = r"(?is)<!--.*?(?:-->|$)|<(?:script|style)\b.*?(?:</(?:script|style)\s*>|$)"
# A whole tag, one with an attribute that the text's end cuts off, or the end of one; "<3" and "a < b" are no tags.
_TAGS = r"""(?s)</?[a-zA-Z][^<>]*>|<[a-zA-Z]+\s[^<>]*=[^<>]*$|^[^<>]*["']\s*/>"""
_ENTITY = r"&(?:#\d+|#x[0-9a-fA-F]+|[a-zA-Z][a-zA-Z0-9]*);"
_SCRIPT = r"getTime\(\)|\bfunction\s*\w*\s*\(|\bvar\s+\w+\s*=|\bwindow\.\w+|\bdocument\.\w+\("


def untagged(text: pl.Expr) -> pl.Expr:
    """The text without tags, comments, scripts and styles; runs of white space become one space."""
    bare = text.str.replace_all(_BLOCKS, " ").str.replace_all(_TAGS, " ")
    return bare.str.replace_all(r"\s+", " ").str.strip_chars()


def unescaped(text: pl.Expr) -> pl.Expr:
    """The text with the characters that its entities stand for."""
    escaped = text.str.contains(_ENTITY)
    decoded = pl.when(escaped).then(text).map_elements(unescape, return_dtype=pl.String)
    return pl.when(escaped).then(decoded).otherwise(text)


def is_script(text: pl.Expr) -> pl.Expr:
    """Whether the text, its tags aside, is a page's program and no text; false where it is null."""
    return untagged(text).str.contains(_SCRIPT).fill_null(False)


def has_markup(column: str) -> pl.Expr:
    """Whether the column's text has tags or entities."""
    text = pl.col(column)
    return text.str.contains(f"{_BLOCKS}|{_TAGS}|{_ENTITY}").fill_null(False)


def cleaned(column: str) -> pl.Expr:
    """The column's text as a reader of the page sees it, empty where it is a script; escaped tags are tags, too."""
    text = untagged(unescaped(untagged(pl.col(column))))
    return pl.when(is_script(text)).then(pl.lit("")).otherwise(text).alias(column)
