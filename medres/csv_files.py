"""CSV files that a spreadsheet opens without executing anything, and that read back as they were.

Excel and its like take a cell that begins with =, +, - or @ for a formula, whoever wrote it. Such
a text is written with an apostrophe before it, and one that begins with an apostrophe with one
more, so that what is read back is what was written. A spreadsheet that splits at semicolons or tabs
sees more beginnings of cells, so the same is done behind those within a text. Numbers stay numbers.
"""

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

BEGINNING = r"(^|[;\t\r\n])"
EXECUTED = re.compile(BEGINNING + r"""(?='|[\s"\ufeff\u200b]*[=+\-@＝＋－＠\t\r])""")
"""Where a text would be executed, or an apostrophe be taken for one of ours. Blanks and quotes do
not help, and Excel takes full-width signs for plain ones."""
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
DISARMED = re.compile(BEGINNING + "'")


def disarmed(text: str) -> str:
    """Return a text as a spreadsheet shows it and executes nothing of it.

    >>> disarmed("=1+1"), disarmed("'quoted'"), disarmed("-3.5"), disarmed("a;@b")
    ("'=1+1", "''quoted'", '-3.5', "a;'@b")
    """
    return text if NUMBER.fullmatch(text) else EXECUTED.sub(r"\1'", text)


def restored(text: str) -> str:
    """Return the text that `disarmed` was given.

    >>> restored("'=1+1"), restored("''quoted'"), restored("-3.5"), restored("a;'@b")
    ('=1+1', "'quoted'", '-3.5', 'a;@b')
    """
    return DISARMED.sub(r"\1", text)


def write(table: pd.DataFrame, path: Path, **options: Any) -> None:
    """Write a table as CSV in which no text is executed; UTF-8, lines end with a line feed.

    Args:
        table: Plain columns.
        path: To write to.
        options: Of `DataFrame.to_csv`.
    """
    shown = _changed(table, disarmed)
    # The module csv does not put a lone carriage return into quotes, and readers take it for a
    # line end.
    is_returned = any(
        isinstance(each, str) and "\r" in each
        for place, kind in enumerate(shown.dtypes)
        if not pd.api.types.is_numeric_dtype(kind)
        for each in [shown.columns[place], *shown.iloc[:, place]]
    )
    quoting: Any = csv.QUOTE_NONNUMERIC if is_returned else csv.QUOTE_MINIMAL
    shown.to_csv(path, index=False, quoting=quoting, lineterminator="\n", **options)


def read(path: Path, **options: Any) -> pd.DataFrame:
    """Return a table as `write` was given it; cells that say NA are texts unless asked otherwise.

    Args:
        path: As written by `write`.
        options: Of `pandas.read_csv`.
    """
    chosen: dict[str, Any] = {"keep_default_na": False, "na_values": [""], **options}
    return _changed(pd.read_csv(path, **chosen), restored)


def _changed(table: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    """Return a table with its texts and headings changed."""

    def changed(value: object) -> object:
        return change(value) if isinstance(value, str) else value

    result = table.copy()
    for place, kind in enumerate(table.dtypes):
        if not (pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_bool_dtype(kind)):
            result.isetitem(place, table.iloc[:, place].map(changed))
    result.columns = pd.Index([changed(name) for name in table.columns])
    return result
