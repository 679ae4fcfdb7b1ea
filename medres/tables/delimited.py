"""Delimited text: CSV, as programs and people write it."""

import contextlib
import csv
import io
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pyarrow.compute as pc

from medres.tables import grid
from medres.tables.columns import QUOTES, Columns, Tally, Wanted, cut, folded

SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
_SAID = re.compile(rb'"?sep=([,;\t|:~^#])"?[ ;,\t]*(?:\r\n?|\n|$)', re.IGNORECASE)
"""The line by which Excel is told the separator."""


def read(name: str, content: bytes, wanted: Wanted) -> Columns:
    """Return the columns of delimited text in UTF-8.

    A double quote encloses a value, and is doubled inside it. The separator is the one that
    finds most of the wanted headings, then most headings, in the first line.

    Raises:
        ValueError: If a row does not fit the heading or a quote is left open.
    """
    said = _SAID.match(content)
    n_skipped = 1 if said else 0
    separator = said[1].decode() if said else _separator(name, content, wanted)
    several_lines = Tally("line")
    called = SEPARATORS.get(separator, repr(separator))
    columns = grid.read(
        name,
        "line",
        _rows(name, content, separator, n_skipped, several_lines),
        wanted,
        too_many=f"put a value that contains {called} into double quotes (a decimal comma too)"
        if separator == ","
        else f"put a value that contains {called} into double quotes",
        too_few=f"put {called} for each empty value too, and no line break outside double quotes",
    )
    notes = []
    if separator != ("\t" if name.lower().endswith((".tsv", ".tab")) else ","):
        notes.append(f"values are separated by {called}" + (", as its first line says" * n_skipped))
    notes += _blanks_after(content, separator, n_skipped)
    notes += [*columns.notes, *several_lines.notes()]
    if not content.isascii():
        notes += _typographic_quotes(columns)
    return Columns(columns.values, columns.lines, "line", notes)


def _text(content: bytes) -> io.TextIOWrapper:
    # As the csv module wants it, and lines are an editor's: they end in LF, CRLF or CR.
    return io.TextIOWrapper(io.BytesIO(content), encoding="utf-8", newline="")


def _reader(content: bytes, separator: str, n_skipped: int = 0) -> Any:
    return csv.reader(
        islice(_text(content), n_skipped, None),
        delimiter=separator,
        strict=True,
        skipinitialspace=True,
    )


def _separator(name: str, content: bytes, wanted: Wanted) -> str:
    """Return the separator that finds most wanted headings, then most cells; else a comma."""
    names = {*wanted.required, *wanted.optional, *wanted.lists}

    def score(separator: str) -> tuple[int, int]:
        rows: list[list[str]] = []
        with contextlib.suppress(csv.Error):
            for cells in islice(_reader(content, separator), grid.MOST_ABOVE):
                rows.append([folded(cell) for cell in cells])
        first = next((cells for cells in rows if any(cells)), [])
        return max((len(names & set(cells)) for cells in rows), default=0), len(first)

    return max(SEPARATORS, key=score)


def _rows(
    name: str, content: bytes, separator: str, n_skipped: int, several_lines: Tally
) -> Iterator[grid.Row]:
    reader = _reader(content, separator, n_skipped)
    begins = n_skipped + 1
    try:
        for cells in reader:
            ends = reader.line_num + n_skipped
            if ends != begins:
                several_lines.add("a value holds a line break", begins)
            yield begins, cells
            begins = ends + 1
    except csv.Error as error:
        raise ValueError(_quote_left_open(name, content, separator, begins)) from error


def _quote_left_open(name: str, content: bytes, separator: str, begins: int) -> str:
    """Say where the quote opens for which a record cannot be read."""
    state, opened, text = "begin", begins, ""
    for line, characters in enumerate(islice(_text(content), begins - 1, None), begins):
        for at, character in enumerate(characters):
            if state == "begin" and character == '"':
                state, opened, text = "quoted", line, characters[at:]
            elif state == "quoted":
                state = "closed" if character == '"' else "quoted"
            elif character in (separator, "\r", "\n"):
                state = "begin"
            elif state == "closed" and character == '"':
                state = "quoted"
            elif state == "closed":
                return (
                    f"{name}, line {opened}: the value that opens with {cut(text.strip())} goes on "
                    f"after its closing double quote in line {line}; close it where it ends, and "
                    'write a double quote inside it as ""'
                )
            elif not (state == "begin" and character == " "):
                state = "plain"
    return (
        f"{name}, line {opened}: a double quote opens the value {cut(text.strip())} and "
        'is never closed; close it, or write a double quote inside a value as "" within quotes'
    )


def _blanks_after(content: bytes, separator: str, n_skipped: int) -> list[str]:
    heading = next(islice(_text(content), n_skipped, None), "")
    if f"{separator} " in heading:
        return [f"blanks after {SEPARATORS.get(separator, separator)} were dropped"]
    return []


def _typographic_quotes(columns: Columns) -> list[str]:
    tally = Tally("line")
    for heading, texts in columns.values.items():
        enclosed = pc.match_substring_regex(texts, f"(?s)^[{QUOTES}].*[{QUOTES}]$")
        count = pc.sum(enclosed).as_py() or 0
        if count:
            at = pc.index(enclosed, True).as_py()
            what = f"a value of column {heading} stands in typographic quotes, kept as text"
            tally.add(what, columns.lines[at], count, example=cut(texts[at].as_py()))
    return tally.notes()
