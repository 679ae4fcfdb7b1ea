"""A table file as people have it: every value stays the text that stands in the file.

Delimited text (`,` `;` tab `|`) in the encodings of spreadsheets, Excel workbooks, JSON and
Parquet become one table of texts. What was taken for what is said in notes; where the meaning
is not plain the file is refused with the place, the value and the remedy. What the texts mean
is the caller's affair.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import PurePath

import pandas as pd

from medres.tables import delimited, encoding, parquet, records, workbook
from medres.tables.columns import Columns, Wanted, as_frame

TEXT = (".csv", ".tsv", ".tab", ".txt")
JSON = (".jsonl", ".ndjson", ".json")
KINDS = (*TEXT, ".xlsx", *JSON, ".parquet")


@dataclass(frozen=True)
class Parsed:
    """The rows of a table file.

    Attributes:
        rows: One column per heading (lower case, without blanks around it). Every cell is str,
            empty where the file's is empty or missing; a cell that the file holds as a list is
            list[str]. The index `line` is where a record begins: the line in an editor (delimited
            text, JSON lines), the row of the sheet (workbook), or the record's number from 1 (JSON
            array, Parquet).
        notes: What was taken for what, one sentence each.
        place: What a message calls the index: line or row.
    """

    rows: pd.DataFrame
    notes: list[str]
    place: str


def parse(
    name: str,
    content: bytes,
    *,
    lists: Collection[str] = (),
    required: Collection[str] = (),
    optional: Collection[str] = (),
) -> Parsed:
    """Return the rows of a table file.

    Args:
        name: The file as messages call it; its suffix, in any case, says its kind.
        content: Its bytes.
        lists: Columns in which a cell may be a list.
        required: Columns without which it is refused; they also tell the separator.
        optional: Further columns that are used. If `required` is given, what stands in any other
            column is never a reason to refuse.

    Raises:
        ValueError: Naming the file, the place, the value and the remedy.
    """
    suffix = PurePath(name).suffix.lower()
    if suffix not in KINDS:
        found = _kind_of(content)
        by_content = "" if found == "text" else f" (by its content it is a {found})"
        raise ValueError(
            f"{name}: {suffix or 'a name without an ending'} is not a kind of table that is read"
            f"{by_content}; save it as .xlsx or as CSV UTF-8 (read are {', '.join(KINDS)})"
        )
    if not content.strip():
        raise ValueError(f"{name} is empty; give it a header line and one row per record")
    wanted = Wanted(tuple(required), tuple(optional), tuple(lists))
    _refuse_another_kind(name, suffix, content)
    if suffix == ".xlsx":
        return _parsed(workbook.read(name, content, wanted), [])
    if suffix == ".parquet":
        return _parsed(parquet.read(name, content, wanted), [])
    text, notes = encoding.as_utf8(name, content)
    read = records.read if suffix in JSON else delimited.read
    return _parsed(read(name, text, wanted), notes)


def _refuse_another_kind(name: str, suffix: str, content: bytes) -> None:
    found = _kind_of(content)
    expected = {".xlsx": "workbook", ".parquet": "Parquet file"}.get(suffix, "text")
    if found == expected:
        return
    if found == "text":
        remedy = f"what it holds looks like text; end its name in {', '.join(TEXT + JSON)}"
    elif found == "JSON" and suffix in JSON:
        return
    elif found == "workbook":
        remedy = "it is an Excel workbook by its content; end its name in .xlsx"
    elif found == "Parquet file":
        remedy = "it is a Parquet file by its content; end its name in .parquet"
    elif found == "JSON" and suffix in TEXT:
        remedy = "it is JSON by its content; end its name in .json or .jsonl"
    elif found == "old workbook":
        remedy = (
            "it is an old Excel workbook (.xls) or one with a password; save it as .xlsx without "
            "a password, or as CSV UTF-8"
        )
    elif found == "web page":
        remedy = (
            "it is a web page or XML by its content, as some programs export; open it in a "
            "spreadsheet and save it as .xlsx or CSV UTF-8"
        )
    else:
        remedy = f"it is a {found} by its content; save the table as .xlsx or CSV UTF-8"
    raise ValueError(f"{name} is not what its name says: {remedy}")


def _kind_of(content: bytes) -> str:
    starts = {
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "old workbook",
        b"PAR1": "Parquet file",
        b"\x1f\x8b": "gzip archive",
        b"%PDF": "PDF",
        b"{\\rtf": "rich-text document",
        b"SQLite format 3": "database",
    }
    for start, kind in starts.items():
        if content.startswith(start):
            return kind
    if content.startswith(b"PK\x03\x04"):
        return "workbook" if b"xl/workbook" in content else "zip archive or another program's file"
    beginning = content[:1000].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if beginning.startswith((b"<html", b"<!doctype", b"<table", b"<?xml", b"<meta", b"<head")):
        return "web page"
    if beginning.startswith(b"{") or beginning.removeprefix(b"[").lstrip().startswith(b"{"):
        return "JSON"
    return "text"


def _parsed(found: Columns, notes: list[str]) -> Parsed:
    rows, dropped = as_frame(found)
    return Parsed(rows, [*notes, *found.notes, *dropped], found.place)
