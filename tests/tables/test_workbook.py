"""Excel workbooks: stored values as texts, and every habit of a spreadsheet said or refused."""

import datetime
import io
import zipfile
from collections.abc import Callable
from typing import Any

import openpyxl
import pytest

from medres import tables
from medres.tables import workbook

HEAD = ["image", "question", "answer"]
Change = Callable[[Any, Any], Any]


def content(rows: list[list[Any]], change: Change | None = None) -> bytes:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    if change:
        change(book, book.active)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def parse(data: bytes) -> tables.Parsed:
    required = ("image", "question", "answer")
    return tables.parse("q.XLSX", data, lists=("options",), required=required, optional=("group",))


def answers(*values: Any, change: Change | None = None) -> tables.Parsed:
    return parse(content([HEAD, *(["a.png", "q", value] for value in values)], change))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("yes", "yes"),
        ("3", "3"),
        ("007", "007"),
        ("#N/A is text", "#N/A is text"),
        (3, "3"),
        (3.0, "3"),
        (2.5, "2.5"),
        (-0.1, "-0.1"),
        (1e20, "1e+20"),
        (True, "TRUE"),
        (" a\u00a0", "a"),
        ("a\nb", "a\nb"),
        ("a_x000D_\nb", "a\nb"),
        (None, ""),
    ],
)
def test_a_cell_is_its_stored_value(value: Any, text: str) -> None:
    assert answers(value, 2.5, "x").rows["answer"].tolist() == [text, "2.5", "x"]


def fill(name: str, value: Any) -> Change:
    return lambda book, sheet: sheet.__setitem__(name, value)


def shown_as(cell: str, number_format: str) -> Change:
    return lambda book, sheet: setattr(sheet[cell], "number_format", number_format)


def hide(sheet: Any) -> None:
    sheet.row_dimensions[2].hidden = True
    sheet.column_dimensions["B"].hidden = True


def another_sheet(state: str) -> Change:
    def change(book: Any, sheet: Any) -> None:
        other = book.create_sheet("Lists")
        other["A1"] = "yes"
        other.sheet_state = state

    return change


@pytest.mark.parametrize(
    ("values", "change", "text", "note"),
    [
        (
            [0.25],
            shown_as("C2", "0.0%"),
            "0.25",
            "cell C2: the stored number is taken as text, here 0.25 and not 25 %",
        ),
        (
            [7, 8],
            shown_as("C3", "000"),
            "7",
            "cell C3: the stored number is taken as text, without the zeros shown before it, "
            "here 8",
        ),
        (
            [True, False],
            None,
            "TRUE",
            "cell C2: a truth value is taken for the text TRUE or FALSE (2 cells)",
        ),
        (
            [1234567890123456],
            None,
            "1234567890123456",
            "cell C2: a spreadsheet keeps only 15 digits",
        ),
        (
            ["x"],
            lambda book, sheet: hide(sheet),
            "x",
            "row 2: a hidden row is read like the others",
        ),
        (
            ["x"],
            lambda book, sheet: hide(sheet),
            "x",
            "the hidden columns B are read like the others",
        ),
        (["x"], another_sheet("hidden"), "x", "the hidden sheets 'Lists' are not read"),
        (["x"], another_sheet("veryHidden"), "x", "read is the sheet 'Sheet'"),
        (["x"], lambda book, sheet: book.create_sheet("Empty"), "x", "read is the sheet 'Sheet'"),
    ],
)
def test_what_the_sheet_shows_otherwise_is_said(
    values: list[Any], change: Change | None, text: str, note: str
) -> None:
    parsed = answers(*values, change=change)
    assert parsed.rows["answer"].tolist()[0] == text
    assert note in "\n".join(parsed.notes)


def test_rows_are_those_of_the_sheet_and_places_outside_are_not_needed() -> None:
    rows = [[], [None, *HEAD], [], [None, "a", "q", "x"], [None, "b", "q", "y"], []]
    parsed = parse(content(rows, lambda book, sheet: setattr(sheet["A40"], "number_format", "0%")))
    assert parsed.rows.index.tolist() == [4, 5]
    assert parsed.rows.to_numpy().tolist() == [["a", "q", "x"], ["b", "q", "y"]]
    assert parsed.place == "row"
    assert parsed.notes == ["row 1: an empty row was skipped (2 rows)"]


def test_what_stands_in_an_unused_column_is_no_reason_to_refuse() -> None:
    rows = [[*HEAD, "when", "sum"], ["a", "q", "x", datetime.datetime(2026, 1, 3, 8, 30), "=1+1"]]
    parsed = parse(content(rows))
    assert parsed.rows.to_numpy().tolist() == [["a", "q", "x", "2026-01-03T08:30:00", ""]]
    assert parsed.notes == ["cell D2: a date or time is written as ISO 8601"]


def with_formulas_stored(data: bytes, stored: str) -> bytes:
    """A workbook as a spreadsheet stores it: each formula with this XML beside it."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            part = old.read(name)
            if name.startswith("xl/worksheets/"):
                part = part.replace(b'"C2"><f>A1</f><v />', f'"C2"{stored}'.encode())
            new.writestr(name, part)
    return file.getvalue()


@pytest.mark.parametrize(
    ("stored", "text"),
    [
        ("><f>A1</f><v>2.2999999999999998</v>", "2.3"),
        ("><f>A1</f><v>3</v>", "3"),
        (' t="str"><f>A1</f><v>yes</v>', "yes"),
        (' t="str"><f>A1</f><v></v>', ""),
        (' t="b"><f>A1</f><v>1</v>', "TRUE"),
    ],
)
def test_a_formula_is_its_stored_value(stored: str, text: str) -> None:
    data = content([HEAD, ["a", "q", "=A1"]])
    assert parse(with_formulas_stored(data, stored)).rows["answer"].tolist() == [text]
    error = with_formulas_stored(data, ' t="e"><f>A1</f><v>#REF!</v>')
    with pytest.raises(
        ValueError, match=r"q.XLSX, cell C2 holds the error #REF!; mend or empty it"
    ):
        parse(error)


@pytest.mark.parametrize(
    ("rows", "change", "message"),
    [
        (
            [HEAD, ["a", "q", "=A1"]],
            None,
            "q.XLSX, cell C2 holds a formula without a stored value; ",
        ),
        ([HEAD, ["a", "q", "#N/A"]], None, "cell C2 holds the error #N/A; mend or empty it"),
        (
            [HEAD, ["a", "q", datetime.date(2026, 1, 3)]],
            None,
            "cell C2 in column 'answer' holds the date 2026-01-03, .*; format the column as Text",
        ),
        (
            [HEAD, ["a", "q", datetime.time(8, 30)]],
            None,
            "cell C2 in column 'answer' holds the date 08:30",
        ),
        (
            [[*HEAD, "options"], ["a", "q", "x", datetime.date(2026, 1, 3)]],
            None,
            "cell D2 in column 'options'",
        ),
        (
            [HEAD, ["a", "q", "x"], [None, "q", "y"]],
            lambda book, sheet: sheet.merge_cells("A2:A3"),
            "the cells A2:A3 of sheet 'Sheet' are merged; unmerge",
        ),
        ([HEAD, ["a", "q", "x"]], another_sheet("visible"), "'Sheet', 'Lists' hold cells"),
        ([], another_sheet("hidden"), "no sheet that is shown hold cells .1 hidden"),
        ([], None, "q.XLSX is empty"),
        (
            [["Study"], HEAD, ["a", "q", "x"]],
            None,
            "the heading stands in row 2, but row 1 is 'Study'",
        ),
        (
            [HEAD, ["a", "q", "x", "stray"]],
            None,
            "row 2: 4 cells for 3 columns.*give each filled column",
        ),
        ([[*HEAD, "ANSWER"], ["a", "q", "x", "y"]], None, "row 1: two columns are named 'answer'"),
        ([HEAD[:2], ["a", "q"]], None, r"row 1 lacks the columns \['answer'\]"),
        (
            [HEAD, ["a", "q", "x"]],
            fill("XFD1048576", "x"),
            "reaches to XFD1048576; delete rows and col",
        ),
    ],
)
def test_what_is_not_plain_is_refused_with_its_cell(
    rows: list[list[Any]], change: Change | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        parse(content(rows, change))


def test_a_damaged_or_too_large_workbook_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = content([HEAD, ["a", "q", "x"]])
    with pytest.raises(ValueError, match=r"q.XLSX is a damaged workbook"):
        parse(data[: len(data) // 2] + b"xl/workbook")
    no_sheet = io.BytesIO()
    with zipfile.ZipFile(no_sheet, "w") as file:
        file.writestr("xl/workbook.xml", "<workbook/>")
    with pytest.raises(ValueError, match=r"q.XLSX is a damaged workbook .*save it anew, or as CSV"):
        parse(no_sheet.getvalue())
    monkeypatch.setattr(workbook, "MOST_BYTES", 1000)
    with pytest.raises(ValueError, match=r"MB of cells, more than .*; save it as CSV UTF-8"):
        parse(data)
