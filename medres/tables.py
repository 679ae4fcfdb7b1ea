"""Reading a table file: every value stays the text that stands in the file."""

import csv
import io
import json
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class Parsed:
    """A table file, read."""

    rows: pd.DataFrame
    """Lower-case headings; every cell a text, empty where it is missing, or a list of texts. Its
    index is named `line`: the line of an editor where the record begins, or the record's number."""
    notes: list[str] = field(default_factory=list)
    """What was taken for what, one sentence each."""
    place: str = "line"
    """Word for a number of the index in messages: line or row."""


def parse(name: str, content: bytes, *, lists: Collection[str] = ()) -> Parsed:
    """Return the rows of a CSV, JSON lines or Parquet file.

    Args:
        name: As shown in messages; its suffix says the kind.
        content: Bytes of the file.
        lists: Columns whose cells may be lists.

    Raises:
        ValueError: If it cannot be read, with name and line.
    """
    suffix = PurePath(name).suffix.lower()
    kinds: dict[str, Any] = {".csv": _csv, ".jsonl": _json_lines, ".parquet": _parquet}
    if suffix not in kinds:
        raise ValueError(f"{name}: unknown kind of table; use {', '.join(kinds)}")
    try:
        rows: pd.DataFrame = kinds[suffix](content, lists)
    except (ValueError, OSError, csv.Error) as error:
        raise ValueError(f"{name} cannot be read as {suffix[1:]}: {error}") from error
    return Parsed(rows, place="row" if suffix == ".parquet" else "line")


def _csv(content: bytes, lists: Collection[str]) -> pd.DataFrame:
    reader = csv.reader(io.StringIO(content.decode(), newline=""), strict=True)
    headings = next(reader, None)
    if headings is None:
        raise ValueError("it is empty")
    columns: list[list[str]] = [[] for _ in headings]
    lines: list[int] = []
    same: dict[str, str] = {}
    before = reader.line_num
    for cells in reader:
        line, before = before + 1, reader.line_num
        if not any(cells):
            continue
        if len(cells) != len(headings):
            raise ValueError(f"line {line} has {len(cells)} cells, the heading {len(headings)}")
        lines.append(line)
        for column, cell in zip(columns, cells, strict=True):
            column.append(same.setdefault(cell, cell))
    named = dict(zip([each.strip().lower() for each in headings], columns, strict=True))
    return pd.DataFrame(named, index=pd.Index(lines, name="line"), dtype="str")


def _json_lines(content: bytes, lists: Collection[str]) -> pd.DataFrame:
    numbered = [(n, line) for n, line in enumerate(content.split(b"\n"), 1) if line.strip()]
    records = [json.loads(line, parse_int=str, parse_float=str) for _, line in numbered]
    return _records(records, [n for n, _ in numbered], lists)


def _parquet(content: bytes, lists: Collection[str]) -> pd.DataFrame:
    import pyarrow.parquet

    records = pyarrow.parquet.read_table(io.BytesIO(content)).to_pylist()
    return _records(records, list(range(1, len(records) + 1)), lists)


def _records(
    records: list[dict[str, Any]], lines: list[int], lists: Collection[str]
) -> pd.DataFrame:
    names = list(dict.fromkeys(name for record in records for name in record))
    cells = {
        name.strip().lower(): [_text(each.get(name), name in lists) for each in records]
        for name in names
    }
    return pd.DataFrame(cells, index=pd.Index(lines, name="line"))


def _text(value: Any, is_list: bool) -> Any:
    if isinstance(value, list) and is_list:
        return [_text(each, False) for each in value]
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
