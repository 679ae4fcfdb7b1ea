"""Parquet: the types of other programs become the texts that they stand for."""

import datetime
import decimal
import io
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from medres import tables

FLOATS = "column answer holds floating-point numbers, whole ones are written without .0"
ISO = "column answer holds dates or times, written as ISO 8601"


def parse(answer: Any = ("x", "y", "z"), **more: Any) -> tables.Parsed:
    columns = {"image": ["a", "b", "c"], "question": ["q"] * 3, "answer": answer} | more
    file = io.BytesIO()
    pyarrow.parquet.write_table(pa.table(columns), file)
    return as_parsed(file.getvalue())


def as_parsed(content: bytes) -> tables.Parsed:
    required = ("image", "question", "answer")
    return tables.parse("q.parquet", content, lists=("options",), required=required)


@pytest.mark.parametrize(
    ("answer", "texts", "note"),
    [
        (["yes", None, "NaN"], ["yes", "", "NaN"], ""),
        (pa.array([1, None, 3]), ["1", "", "3"], ""),
        (pa.array([2**63, None, 3], pa.uint64()), ["9223372036854775808", "", "3"], ""),
        ([1.0, None, 3.0], ["1", "", "3"], f"row 1: {FLOATS} (2 rows)"),
        ([2.5, 0.1, -0.5], ["2.5", "0.1", "-0.5"], ""),
        ([3.0, 2.0, 2.5], ["3", "2", "2.5"], f"row 1: {FLOATS} (2 rows)"),
        ([1.5, float("nan"), 1e-7], ["1.5", "", "1e-07"], ""),
        (pa.array([0.1, 2.5, 3], pa.float32()), ["0.1", "2.5", "3"], f"row 3: {FLOATS}"),
        (pa.array([0.1, None, 3], pa.float16()), ["0.1", "", "3"], f"row 3: {FLOATS}"),
        ([decimal.Decimal("2.50"), None, decimal.Decimal("1.00")], ["2.50", "", "1.00"], ""),
        ([True, None, False], ["true", "", "false"], ""),
        (
            [datetime.date(2026, 1, 3), None, datetime.date(2026, 1, 3)],
            ["2026-01-03", "", "2026-01-03"],
            f"row 1: {ISO}",
        ),
        ([datetime.datetime(2026, 1, 3, 4, 5)] * 3, ["2026-01-03T04:05:00"] * 3, ISO),
        ([datetime.datetime(2026, 1, 3)] * 3, ["2026-01-03"] * 3, ISO),
        (pa.array(["x", None, "x"]).dictionary_encode(), ["x", "", "x"], ""),
        (pa.array([b"x", None, "ä".encode()]), ["x", "", "ä"], ""),
        (pa.array(["x", None, "ä"], pa.large_string()), ["x", "", "ä"], ""),
        (pa.nulls(3), ["", "", ""], ""),
    ],
)
def test_every_type_becomes_its_text(answer: Any, texts: list[str], note: str) -> None:
    parsed = parse(answer)
    assert parsed.rows["answer"].tolist() == texts
    assert parsed.rows.index.tolist() == [1, 2, 3]
    assert parsed.place == "row"
    assert bool(parsed.notes) == bool(note)
    assert note in "\n".join(parsed.notes)


@pytest.mark.parametrize(
    ("options", "cells"),
    [
        ([["a", "b "], None, []], [["a", "b"], "", []]),
        ([[1, 2], [3], None], [["1", "2"], ["3"], ""]),
        ([[1.5, 2.0], [], [3.0]], [["1.5", "2"], [], ["3"]]),
        (
            pa.array([["a", "b"], None, ["c", "d"]], pa.list_(pa.string(), 2)),
            [["a", "b"], "", ["c", "d"]],
        ),
        (pa.chunked_array([[["a"]], [["b", "c"], None]]), [["a"], ["b", "c"], ""]),
        (["a|b", None, ""], ["a|b", "", ""]),
    ],
)
def test_lists_of_options_become_texts(options: Any, cells: list[Any]) -> None:
    assert parse(options=options).rows["options"].tolist() == cells


@pytest.mark.parametrize(
    ("answer", "more", "message"),
    [
        ([{"a": 1}] * 3, {}, "q.parquet: column 'answer' holds struct<.*>, not text; write one"),
        ([["a"]] * 3, {}, "q.parquet: column 'answer' holds list<.*>, not text"),
        (pa.array([b"a", b"\xff", b"b"]), {}, "column 'answer' holds bytes that are no UTF-8"),
        ([1.0, float("inf"), 2.0], {}, "q.parquet, row 2: column 'answer' is infinite"),
        (
            ["x"] * 3,
            {"options": [["a"], ["b", None], None]},
            "row 2: the list in 'options' holds n",
        ),
        (["x"] * 3, {"options": [[["a"]], None, None]}, "column 'options' holds list<"),
        (["x"] * 3, {"Answer": ["y"] * 3}, "two columns are named 'answer'"),
    ],
)
def test_what_is_no_text_is_refused(answer: Any, more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(answer, **more)


def test_what_is_not_used_is_no_reason_to_refuse() -> None:
    parsed = parse(metadata=[{"a": 1}] * 3)
    assert list(parsed.rows) == ["image", "question", "answer"]
    assert parsed.notes == ["row 1: the unused column metadata holds more than text, left out"]


def test_pandas_own_files_are_read_alike() -> None:
    frame = pd.DataFrame({"image": ["a", "b"], "question": ["q", "q"], "answer": [1, None]})
    for column in (frame["answer"].astype("Int64"), frame["answer"]):
        file = io.BytesIO()
        frame.assign(answer=column).to_parquet(file)
        assert as_parsed(file.getvalue()).rows["answer"].tolist() == ["1", ""]


def test_a_damaged_file_and_one_without_rows() -> None:
    with pytest.raises(ValueError, match=r"q.parquet cannot be read as Parquet: .*; write it anew"):
        as_parsed(b"PAR1 and more that is none PAR1")
    columns = {name: pa.array([], pa.string()) for name in ("image", "question", "answer")}
    file = io.BytesIO()
    pyarrow.parquet.write_table(pa.table(columns), file)
    assert as_parsed(file.getvalue()).rows.empty
