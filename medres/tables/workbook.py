"""Excel workbooks (.xlsx): the stored value of each cell, not how the sheet shows it."""

import datetime
import io
import re
import warnings
import zipfile
from collections.abc import Iterator
from typing import Any

import openpyxl
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.worksheet import Worksheet

from medres.tables import grid
from medres.tables.columns import Columns, Tally, Wanted, folded, trimmed
from medres.tables.numbers import date_text, number_text

MOST_BYTES = 100_000_000
"""Largest workbook, unpacked: some 400,000 rows of five cells, three quarters of a minute."""
MOST_CELLS = 20_000_000
"""Largest range from the first to the last cell; a sheet keeps every cell in it."""
MOST_DIGITS = 15
"""Digits that Excel keeps of a number."""
_RETURN = re.compile(r"_x000D_\n?")
"""How a workbook spells a carriage return."""
_PADDED = re.compile(r"0{2,}")
_DATES = datetime.date | datetime.time | datetime.timedelta


def read(name: str, content: bytes, wanted: Wanted) -> Columns:
    """Return the columns of the one sheet of a workbook that holds anything.

    Raises:
        ValueError: If it is damaged, has two such sheets or merged cells, or a cell holds an
            error, a formula without a stored value, or a date where a text is due.
    """
    notes: list[str] = []
    sheet = _sheet(name, _opened(name, content), notes)
    if sheet.merged_cells.ranges:
        first = min(sheet.merged_cells.ranges, key=lambda cells: (cells.min_row, cells.min_col))
        raise ValueError(
            f"{name}: the cells {first} of sheet {sheet.title!r} are merged; unmerge them and fill "
            "each cell"
        )
    values = sheet
    if any(cell.data_type == "f" for row in sheet.iter_rows() for cell in row):
        values = _opened(name, content, data_only=True)[sheet.title]
    tally = Tally("cell")
    columns = grid.read(
        name,
        "row",
        _rows(name, sheet, values, wanted, tally),
        wanted,
        too_many="give each filled column a heading, or delete what stands beside the table",
        too_few="fill the row",
    )
    hidden = Tally("row")
    for number in columns.lines:
        if number in sheet.row_dimensions and sheet.row_dimensions[number].hidden:
            hidden.add("a hidden row is read like the others", number)
    letters = [letter for letter, each in sheet.column_dimensions.items() if each.hidden]
    if letters:
        notes.append(f"the hidden columns {', '.join(letters)} are read like the others")
    notes += [*columns.notes, *hidden.notes(), *tally.notes()]
    return Columns(columns.values, columns.lines, "row", notes)


def _opened(name: str, content: bytes, *, data_only: bool = False) -> Any:
    try:
        unpacked = sum(each.file_size for each in zipfile.ZipFile(io.BytesIO(content)).infolist())
    except zipfile.BadZipFile as error:
        raise ValueError(f"{name} is a damaged workbook ({error}); save it anew") from error
    if unpacked > MOST_BYTES:
        raise ValueError(
            f"{name} is {unpacked / 1e6:,.0f} MB of cells, more than {MOST_BYTES / 1e6:,.0f}; save "
            "it as CSV UTF-8, which is read many times faster"
        )
    try:
        with warnings.catch_warnings():
            # Of what it does not keep when it writes, which is never done here.
            warnings.simplefilter("ignore")
            return openpyxl.load_workbook(io.BytesIO(content), data_only=data_only)
    except Exception as error:  # a damaged workbook raises whatever its parts raise
        raise ValueError(
            f"{name} is a damaged workbook ({type(error).__name__}: {error}); save it anew, or as "
            "CSV UTF-8"
        ) from error


def _sheet(name: str, workbook: Any, notes: list[str]) -> Worksheet:
    filled = [sheet for sheet in workbook.worksheets if _is_filled(name, sheet)]
    shown = [sheet for sheet in filled if sheet.sheet_state == "visible"]
    hidden = [sheet.title for sheet in filled if sheet.sheet_state != "visible"]
    if not filled:
        raise ValueError(f"{name} is empty; give it a header line and one row per record")
    if len(shown) != 1:
        titles = ", ".join(repr(sheet.title) for sheet in shown) or "no sheet that is shown"
        raise ValueError(
            f"{name}: {titles} hold cells ({len(hidden)} hidden sheets too); keep the questions in "
            "one sheet that is shown, and delete the others or save that one as CSV UTF-8"
        )
    if hidden:
        notes.append(f"the hidden sheets {', '.join(map(repr, hidden))} are not read")
    if len(workbook.worksheets) > 1:
        notes.append(f"read is the sheet {shown[0].title!r}")
    return shown[0]


def _is_filled(name: str, sheet: Worksheet) -> bool:
    if sheet.max_row * sheet.max_column > MOST_CELLS:
        raise ValueError(
            f"{name}: the sheet {sheet.title!r} reaches to {get_column_letter(sheet.max_column)}"
            f"{sheet.max_row}; delete rows and columns beside the table, or save it as CSV UTF-8"
        )
    return any(cell.value is not None for row in sheet.iter_rows() for cell in row)


def _rows(
    name: str, sheet: Worksheet, values: Worksheet, wanted: Wanted, tally: Tally
) -> Iterator[grid.Row]:
    headings: list[str] = []
    n_empty = 0
    both = zip(sheet.iter_rows(), values.iter_rows(), strict=True)
    for number, (cells, valued) in enumerate(both, 1):
        texts = [
            _text(name, cell, value, headings[at] if at < len(headings) else "", wanted, tally)
            if cell.value is not None
            else ""
            for at, (cell, value) in enumerate(zip(cells, valued, strict=True))
        ]
        if not any(map(trimmed, texts)):
            n_empty += 1
            continue
        # Of empty rows only those above a filled one are part of the table.
        yield from ((number - before, []) for before in range(n_empty, 0, -1))
        n_empty = 0
        filled = max(at for at, text in enumerate(texts, 1) if trimmed(text))
        headings = headings or [folded(text) for text in texts[:filled]]
        yield number, texts[:filled] + [""] * (len(headings) - filled)


def _text(name: str, cell: Any, valued: Any, heading: str, wanted: Wanted, tally: Tally) -> str:
    """Return the text of a filled cell.

    Args:
        name: The file as messages call it.
        cell: The cell with its formula, if it has one.
        valued: The same cell with the value that was stored.
        heading: Of its column; empty in the heading itself.
        wanted: What the caller needs.
        tally: Where it is counted what was taken for what.
    """
    value, complaint = valued.value, ""
    if cell.data_type == "f" and value is None and valued.data_type != "str":
        complaint = (
            "holds a formula without a stored value; open it in a spreadsheet and save it, or "
            "paste the values"
        )
    elif valued.data_type == "e":
        complaint = f"holds the error {value}; mend or empty it"
    elif isinstance(value, _DATES) and wanted.is_judged(heading):
        complaint = (
            f"in column {heading!r} holds the date {date_text(value)}, which a spreadsheet makes "
            "of texts like 1-3; format the column as Text and write it anew"
        )
    if complaint and wanted.uses(heading):
        raise ValueError(f"{name}, cell {cell.coordinate} {complaint}")
    if value is None:
        return ""
    if isinstance(value, bool):
        tally.add("a truth value is taken for the text TRUE or FALSE", cell.coordinate)
        return str(value).upper()
    if isinstance(value, _DATES):
        tally.add("a date or time is written as ISO 8601", cell.coordinate)
        return date_text(value)
    if isinstance(value, int | float):
        _note_number(value, valued, tally)
        return number_text(value) if isinstance(value, float) else str(value)
    return _RETURN.sub("\n", str(value))


def _note_number(value: float, cell: Any, tally: Tally) -> None:
    """Note where a sheet shows a number as something else than its text."""
    shown = cell.number_format
    if "%" in shown:
        example = f"{value} and not {value * 100:.15g} %"
        tally.add("the stored number is taken as text", cell.coordinate, example=example)
    elif _PADDED.fullmatch(shown):
        note = "the stored number is taken as text, without the zeros shown before it"
        tally.add(note, cell.coordinate, example=f"{value}")
    if abs(value) >= 10**MOST_DIGITS:
        note = f"a spreadsheet keeps only {MOST_DIGITS} digits of a number; format ids as Text"
        tally.add(note, cell.coordinate)
