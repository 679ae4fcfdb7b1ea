"""JSON lines, or a JSON array of objects; numbers keep the spelling that stands in the file."""

import io
import itertools
import json
from array import array
from collections.abc import Iterator
from typing import Any, NamedTuple

import pyarrow as pa

from medres.tables.columns import (
    Columns,
    Tally,
    Wanted,
    check_headings,
    cut,
    folded,
    text_column,
)

RECORDS_AT_ONCE = 256


class _Object(list[tuple[str, Any]]):
    """The keys and values of an object, in the file's order and with repeated keys."""


class _Constant(NamedTuple):
    """NaN or an infinity, which JSON does not have."""

    spelling: str


_DECODER = json.JSONDecoder(
    object_pairs_hook=_Object, parse_int=str, parse_float=str, parse_constant=_Constant
)
Cell = str | list[str]


def read(name: str, content: bytes, wanted: Wanted) -> Columns:
    """Return the columns of JSON lines, or of an array of objects, in UTF-8.

    Raises:
        ValueError: If a record is no object, or a value is neither text, number nor truth value.
    """
    is_array = content.lstrip()[:1] == b"["
    place = "row" if is_array else "line"
    tally = Tally(place)
    spelled: dict[str, str] = {}
    texts: dict[str, list[pa.Array]] = {}
    lists: dict[str, list[Cell]] = {}
    lines = array("q")
    records = _array(name, content) if is_array else _lines(name, content, tally)
    while chunk := list(itertools.islice(records, RECORDS_AT_ONCE)):
        cells = [_cells(name, place, n, record, wanted, spelled, tally) for n, record in chunk]
        numbers = [number for number, _ in chunk]
        for column in spelled:
            values = [each.get(column, "") for each in cells]
            if column in wanted.lists:
                if column not in lists:
                    lists[column] = [""] * len(lines)
                lists[column] += values
                joined = ["".join(cell) for cell in values]
                text_column(name, place, column, joined, numbers)  # refuses half a character
            else:
                if column not in texts:
                    texts[column] = [pa.array([""] * len(lines), pa.large_string())]
                texts[column].append(text_column(name, place, column, values, numbers))
        lines.extend(numbers)
    if not lines:
        raise ValueError(f"{name} is empty; give it one object per record")
    notes = check_headings(name, "", list(spelled.values()), wanted)
    found = {column: pa.chunked_array(parts) for column, parts in texts.items()} | lists
    values_of = {column: found[column] for column in spelled}
    return Columns(values_of, lines, place, [*notes, *tally.notes()])


def _lines(name: str, content: bytes, tally: Tally) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(io.BytesIO(content), 1):
        if line.strip():
            yield number, _decoded(f"{name}, line {number}", line)
        else:
            tally.add("an empty line was skipped", number)


def _array(name: str, content: bytes) -> Iterator[tuple[int, Any]]:
    yield from enumerate(_decoded(name, content), 1)


def _decoded(where: str, text: bytes) -> Any:
    try:
        return _DECODER.decode(text.decode())
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, " if error.lineno > 1 else ""
        shown = cut(error.doc[error.pos : error.pos + 40])
        raise ValueError(
            f"{where} is not JSON: {error.msg} at {at}character {error.colno} ({shown}); write one "
            "object in each line, or one array of objects"
        ) from error
    except RecursionError as error:
        raise ValueError(f"{where}: lists within lists within lists; write plain texts") from error


def _cells(
    name: str,
    place: str,
    number: int,
    record: Any,
    wanted: Wanted,
    spelled: dict[str, str],
    tally: Tally,
) -> dict[str, Any]:
    """Return the texts of a record by column; note new columns in `spelled`."""
    where = f"{name}, {place} {number}"
    if not isinstance(record, _Object):
        raise ValueError(
            f"{where}: {_shown(record)} is no object; write each record as "
            '{"image": "a.png", ...}'
        )
    cells: dict[str, Any] = {}
    for key, value in record:
        column = folded(key)
        if column in cells:
            raise ValueError(f"{where}: the key {column!r} stands there twice; delete one")
        spelled.setdefault(column, key)
        if type(value) is str:
            cells[column] = value
        elif wanted.uses(column):
            cells[column] = _text(where, key, value, may_be_list=column in wanted.lists)
        else:
            cells[column] = ""
            if isinstance(value, list | _Constant):
                tally.add(f"the unused column {column} holds more than text, left out", number)
    return cells


def _text(where: str, key: str, value: Any, *, may_be_list: bool = False) -> Cell:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list) and may_be_list and not isinstance(value, _Object):
        if None in value:
            raise ValueError(f"{where}: the list in {key!r} holds null; write a text there")
        texts = [_text(f"{where}: in the list", key, each) for each in value]
        return [text for text in texts if isinstance(text, str)]
    kind = {_Object: "an object", _Constant: "no number"}.get(type(value), "a list")
    remedy = 'pandas: orient="records"' if isinstance(value, _Object) else "as a text"
    raise ValueError(
        f"{where}: {key!r} holds {kind} where a text is due: {_shown(value)}; write one text for "
        f"each record ({remedy})"
    )


def _shown(value: Any) -> str:
    return cut(json.dumps(_plain(value), ensure_ascii=False))


def _plain(value: Any) -> Any:
    if isinstance(value, _Object):
        return {key: _plain(each) for key, each in value}
    if isinstance(value, _Constant):
        return value.spelling
    return [_plain(each) for each in value] if isinstance(value, list) else value
