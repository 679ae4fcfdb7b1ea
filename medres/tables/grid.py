"""Rows of cells under a heading, as delimited text and worksheets have them."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

import pyarrow as pa

from medres.tables.columns import (
    QUOTES,
    Columns,
    Tally,
    Wanted,
    cells_shown,
    check_headings,
    cut,
    folded,
    text_column,
    trimmed,
)

Row = tuple[int, list[str]]
"""Where a record begins, and its cells."""
ROWS_AT_ONCE = 256
"""Rows that become columns together; more of them cost Python's garbage collection more time."""
MOST_ABOVE = 20
"""Rows in which the heading is looked for, to name it in a message."""


def read(
    name: str, place: str, rows: Iterator[Row], wanted: Wanted, *, too_many: str, too_few: str
) -> Columns:
    """Return the columns of a grid whose first row with a filled cell is the heading.

    Args:
        name: The file as messages call it.
        place: line or row.
        rows: All rows; what is empty may be left out.
        wanted: What the caller needs.
        too_many: What to do about a row with more filled cells than the heading.
        too_few: What to do about a row with fewer cells.

    Raises:
        ValueError: If a heading is missing or double, or a row does not fit it.
    """
    tally = Tally(place)
    where, heading = _heading(name, place, rows, tally)
    rows = _checked_from_above(name, place, where, heading, rows, wanted)
    notes = check_headings(name, f", {place} {where}", heading, wanted)
    lines = array("q")
    parts: list[list[pa.Array]] = [[] for _ in heading]
    may_end = _least_cells(heading, wanted)
    for chunk in _chunks(name, place, rows, len(heading), may_end, tally, too_many, too_few):
        numbers = [line for line, _ in chunk]
        cells = zip(*(cells for _, cells in chunk), strict=True)
        for part, spelled, texts in zip(parts, heading, cells, strict=True):
            part.append(text_column(name, place, spelled, texts, numbers))
        lines.extend(numbers)
    values: dict[str, pa.ChunkedArray | list[str | list[str]]] = {}
    for number, (spelled, part) in enumerate(zip(heading, parts, strict=True), 1):
        column = pa.chunked_array(part, pa.large_string())
        if folded(spelled):
            values[folded(spelled)] = column
        else:
            notes += _without_heading(name, place, number, column, lines)
    return Columns(values, lines, place, [*notes, *tally.notes()])


def _heading(name: str, place: str, rows: Iterator[Row], tally: Tally) -> Row:
    for where, cells in rows:
        if any(map(trimmed, cells)):
            break
        tally.add(f"an empty {place} was skipped", where)
    else:
        raise ValueError(f"{name} is empty; give it a header line and one row per record")
    n_cells = max(number for number, cell in enumerate(cells, 1) if trimmed(cell))
    return where, cells[:n_cells]


def _checked_from_above(
    name: str,
    place: str,
    where: int,
    heading: Sequence[str],
    rows: Iterator[Row],
    wanted: Wanted,
) -> Iterator[Row]:
    """Refuse a title above the heading; return the rows."""
    if not wanted.required or {*map(folded, heading)} & {*wanted.required}:
        return rows
    seen = list(islice(rows, MOST_ABOVE))
    for line, cells in seen:
        if {*wanted.required} <= {*map(folded, cells)}:
            raise ValueError(
                f"{name}: the heading stands in {place} {line}, but {place} {where} is "
                f"{cells_shown(heading)}; delete what stands above the heading"
            )
    return chain(seen, rows)


def _least_cells(heading: Sequence[str], wanted: Wanted) -> int:
    """Return with how many cells a row may end: spreadsheets leave out empty ones at its end."""
    needed = [
        number
        for number, spelled in enumerate(heading, 1)
        if not wanted.required or folded(spelled) in wanted.required
    ]
    return max(needed, default=len(heading))


def _chunks(
    name: str,
    place: str,
    rows: Iterable[Row],
    width: int,
    may_end: int,
    tally: Tally,
    too_many: str,
    too_few: str,
) -> Iterator[list[Row]]:
    chunk: list[Row] = []
    for row in rows:
        line, cells = row
        if (not cells or not cells[0].strip()) and not any(map(trimmed, cells)):
            tally.add(f"an empty {place} was skipped", line)
            continue
        if len(cells) != width:
            n_filled = max(number for number, cell in enumerate(cells, 1) if trimmed(cell))
            if n_filled > width or len(cells) < may_end:
                remedy = too_many if n_filled > width else too_few
                if any(cell[:1] in QUOTES for cell in map(trimmed, cells) if cell):
                    remedy += '; of quotes only " (U+0022) encloses a value'
                raise ValueError(
                    f"{name}, {place} {line}: {len(cells)} cells for {width} columns: "
                    f"{cells_shown(cells)}; {remedy}"
                )
            if len(cells) < width:
                tally.add("cells left out at the end of the row were taken as empty", line)
            else:
                tally.add("an extra empty cell at the end was dropped", line)
            row = line, [*cells[:width], *[""] * (width - len(cells))]
        chunk.append(row)
        if len(chunk) == ROWS_AT_ONCE:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _without_heading(
    name: str, place: str, number: int, column: pa.ChunkedArray, lines: Sequence[int]
) -> list[str]:
    """Return a note on a column without heading: row names in the first, otherwise nothing."""
    filled = [at for at, text in enumerate(column.to_pylist()) if trimmed(text)]
    if not filled:
        return []
    text = column[filled[0]].as_py()
    if number > 1:
        raise ValueError(
            f"{name}, {place} {lines[filled[0]]}: column {number} holds {cut(text)} but has no "
            "heading; give it one, or delete it"
        )
    return [f"the first column has no heading and is not used (it begins with {cut(text)})"]
