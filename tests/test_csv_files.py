"""CSV files: nothing is executed, everything is read back."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from medres import csv_files
from tests.hostile_study import TEXTS

HOSTILE = some.text(alphabet="'=+-@;\t\r\n \"a,1é＝\x00", max_size=8)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("=1+1", "'=1+1"),
        ("+1 more", "'+1 more"),
        ("-x", "'-x"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t'=1"),
        ("\r=1", "'\r'=1"),
        ("  =1", "'  =1"),
        ('"=1"', '\'"=1"'),
        ("＝1", "'＝1"),
        ("a;=1", "a;'=1"),
        ("a\n-x", "a\n'-x"),
        ("'quoted'", "''quoted'"),
        ("-3.5", "-3.5"),
        ("+2.00", "+2.00"),
        ("-1e-5", "-1e-5"),
        ("-2 to 3", "'-2 to 3"),
        ("a=b", "a=b"),
        ("a - b", "a - b"),
        ("−48.7", "−48.7"),
        ("", ""),
    ],
)
def test_a_cell_that_a_spreadsheet_would_execute_is_disarmed(text: str, written: str) -> None:
    assert csv_files.disarmed(text) == written
    assert csv_files.restored(written) == text


@given(HOSTILE)
def test_every_text_is_restored(text: str) -> None:
    assert csv_files.restored(csv_files.disarmed(text)) == text


@settings(max_examples=50)
@given(some.lists(some.tuples(HOSTILE, HOSTILE), min_size=1, max_size=5))
def test_every_table_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("csv") / "table.csv"
    table = pd.DataFrame(rows, columns=["x", "=y"]).astype(object)
    csv_files.write(table, path)
    back = csv_files.read(path, dtype=str, na_values=[])
    assert back.to_numpy().tolist() == table.to_numpy().tolist()
    assert list(back) == ["x", "=y"]


def test_numbers_missing_values_and_names_of_missing_values_are_kept(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {
            "text": ["NA", "null", "-3.5", "=x"],
            "number": [-1.5, np.nan, 1e-7, 2.0],
            "count": [-1, 2, 3, 4],
            "is_it": [True, False, True, False],
        }
    )
    path = tmp_path / "table.csv"
    csv_files.write(table, path, float_format="%.6g")
    assert path.read_text().splitlines()[1:3] == ["NA,-1.5,-1,True", "null,,2,False"]
    pd.testing.assert_frame_equal(csv_files.read(path), table)


def test_a_plain_table_is_the_csv_that_pandas_writes(tmp_path: Path) -> None:
    table = pd.DataFrame({"a": ["x, y", 'say "z"', "two\nlines"], "b": [1, 2, 3]})
    csv_files.write(table, tmp_path / "ours.csv")
    assert (tmp_path / "ours.csv").read_bytes() == table.to_csv(
        index=False, lineterminator="\n"
    ).encode()


def test_no_hostile_text_begins_a_cell_of_any_spreadsheet(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    csv_files.write(pd.DataFrame({"a": TEXTS}), path)
    for separator in (",", ";"):
        # A spreadsheet that splits at semicolons takes quotes within a cell for text.
        quoting = csv.QUOTE_MINIMAL if separator == "," else csv.QUOTE_NONE
        split = {"sep": separator, "quoting": quoting, "names": range(200), "engine": "python"}
        raw = pd.read_csv(path, dtype=str, keep_default_na=False, **split)
        for cell in raw.fillna("").to_numpy().ravel():
            shown = cell.lstrip(' "\t')
            assert not shown.startswith(("=", "+", "@")), (separator, cell)
    assert csv_files.read(path, na_values=[])["a"].str.replace("\r\n", "\n").tolist() == [
        each.replace("\r\n", "\n") for each in TEXTS
    ]
