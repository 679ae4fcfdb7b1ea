"""Any table of published percentages: what is refused, and what is said of the others."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medres.published import audit, grim

HEADER = "cell,column,accuracy_percent,n_questions,compared_with,stated_p\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; give it a header line"),
        ("accuracy_percent,n_questions\n", "has no rows; give one per percentage"),
        ("percent,n_questions\n50,2\n", r"line 1 lacks the columns \['accuracy_percent'\]; it has"),
        ("50.0,2\n", r"line 1 names none of the columns .*: '50.0' \| '2'; if this is the heading"),
        (
            "accuracy_percent,n_questions,N_Questions \n50,2,2\n",
            "line 1: two columns are named 'n_questions' .*; rename or delete one",
        ),
        ("accuracy_percent,n_questions\n50,2\n\n50,2,3\n", "line 4: 3 cells for 2 columns: '50'"),
        (
            "accuracy_percent,n_questions\n85,3,34\n",
            r"3 cells .*; put .* \(a decimal comma too\)",
        ),
        ("accuracy_percent,n_questions\n50\n", "line 2: 1 cells for 2 columns: '50'; put a comma"),
        (
            'accuracy_percent,n_questions\n"50,2\n',
            "line 2: a double quote opens .* never closed",
        ),
        (
            "accuracy_percent,n_questions\n50,2\n96.3 ± 1,2\n",
            "line 3: accuracy_percent: '96.3 ± 1' is",
        ),
        ("accuracy_percent;n_questions\n85,3 ± 1,2;34\n", "line 2: .*: '85,3 ± 1,2' is not a perc"),
        (
            "accuracy_percent;n_questions\n85,3;34\n\n85.3;34\n",
            "line 4: accuracy_percent is '85,3' in line 2 and '85.3' in line 4; write all with a",
        ),
        ("accuracy_percent,n_questions\n85.3,1.061\n", "line 2: n_questions is '1.061'; write a"),
        ('accuracy_percent;n_questions\n85,3;"1,061"\n', "line 2: n_questions is '1,061'; write a"),
        ("accuracy_percent,n_questions\n101%,2\n", "line 2: accuracy_percent: '101' is not a perc"),
        ("accuracy_percent,n_questions\n50,2.0\n", "line 2: n_questions is '2.0'; write a whole"),
        ("accuracy_percent,n_questions\n50,0\n", "line 2: n_questions is '0'; write a whole"),
        (
            HEADER + "a,,50,2,,\na,,50,2,,\n",
            "line 3: cell 'a' is used twice; give each row",
        ),
        (HEADER + "a,,50,2,,0.05*\n", r"line 2: stated_p is '0.05\*'; write it like <0.001 or"),
        (HEADER + "a,,50,2,b,\n", "line 2: compared_with is 'b', but no row has this cell"),
        (HEADER + "a,,50,2,,\nb,,50,4,a,\n", "line 3: it has 4 questions and 'a' has 2; give both"),
        (HEADER + "a,,50,,,\nb,,50,,a,\n", "line 3: it has no questions and 'a' has none; give bo"),
    ],
)
def test_a_wrong_table_is_refused_in_one_line_with_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ValueError, match=message) as caught:
        audit.read(path)
    assert str(path) in str(caught.value)
    assert audit.main([str(path)]) == 1
    said = capsys.readouterr()
    assert said.err.startswith("medres: ")
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_a_missing_or_binary_table_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit.main([str(tmp_path / "none.csv")]) == 1
    assert "none.csv: no such file" in capsys.readouterr().err
    (tmp_path / "image.csv").write_bytes(b"\xff\xd8\xff\xe0")
    assert audit.main([str(tmp_path / "image.csv")]) == 1
    assert "line 1: it is not UTF-8, and read as cp1252" in capsys.readouterr().err
    (tmp_path / "table.xlsx").write_bytes(b"PK\x03\x04")
    assert audit.main([str(tmp_path / "table.xlsx")]) == 1
    assert "with trailing zeros, which only text keeps; save it as CSV" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "percents", "sizes", "note"),
    [
        ("A,85.3%,34", ["85.3"], ["34"], "line 2: accuracy_percent '85.3%' is read as '85.3'"),
        ("A,85.30 %,34\nA,9.1%,34", ["85.30", "9.1"], ["34", "34"], "is read as '85.30' (2 rows)"),
        ("A;85,3;34", ["85.3"], ["34"], "values are separated by a semicolon"),
        ("A;85,3 %;1.061", ["85.3"], ["1061"], "n_questions '1.061' is read as '1061' (1 rows)"),
        ('A,"85,30","34"', ["85.30"], ["34"], "accuracy_percent '85,30' is read as '85.30'"),
        ('A,85.3,"1,061"', ["85.3"], ["1061"], "n_questions '1,061' is read as '1061'"),
        ("A,85.3,1 061", ["85.3"], ["1061"], "n_questions '1 061' is read as '1061'"),
        ("A,85.3,12’345’678", ["85.3"], ["12345678"], "is read as '12345678'"),
        ("A,0.853,34\nA,1,34", ["0.853", "1"], ["34", "34"], "if these are proportions, write"),
        ("A,85.0,40\nA,85,40", ["85.0", "85"], ["40", "40"], ""),
    ],
)
def test_a_plain_notation_is_read_and_said(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    text: str,
    percents: list[str],
    sizes: list[str],
    note: str,
) -> None:
    separator = ";" if ";" in text else ","
    heading = separator.join(["\ufeffColumn", "accuracy_percent", "n_questions "])
    path = write(tmp_path, f"{heading}\n{text}\n")
    table, notes = audit.read_with_notes(path)
    assert table["accuracy_percent"].tolist() == percents
    assert table["n_questions"].tolist() == sizes
    assert table["column"].tolist() == ["A"] * len(percents)
    assert note in "\n".join(notes)
    assert audit.main([str(path), "--draws", "10"]) == 0
    assert capsys.readouterr().err.count("note: ") == len(notes)


@pytest.mark.parametrize("stated", ["p < 0,001", "p<0.001", "<0.001", "P=.03", "0,03"])
def test_a_p_value_may_be_written_as_papers_do(tmp_path: Path, stated: str) -> None:
    header = HEADER.replace(",", ";")
    table = audit.read(write(tmp_path, f"{header}a;;50;40;;\nb;;60;40;a;{stated}\n"))
    expected = {"p < 0,001": "< 0.001", "p<0.001": "<0.001", "P=.03": ".03", "0,03": "0.03"}
    assert table["stated_p"].tolist() == ["", expected.get(stated, stated)]


def test_a_table_keeps_its_text_and_its_other_columns(tmp_path: Path) -> None:
    text = '\ufeffmodel,accuracy_percent,n_questions\n"a, b",96.30,193\nNA,0,\n'
    table = audit.read(write(tmp_path, text))
    assert table["accuracy_percent"].tolist() == ["96.30", "0"]
    assert table["model"].tolist() == ["a, b", "NA"]
    assert table["n_questions"].tolist() == ["193", ""]
    assert {*audit.REQUIRED, *audit.OPTIONAL} <= set(table)


def test_cells_say_counts_by_each_rule(tmp_path: Path) -> None:
    rows = ["50,8", "13,8", "12,8", "12.5,8", "37.4,8", "61.49,735", "2.86,2000", "2.86,"]
    text = "accuracy_percent,n_questions\n" + "\n".join(rows) + "\n"
    found = audit.cells(audit.read(write(tmp_path, text)))
    columns = ["count_half_up", "count_half_even", "count_cut_off", "verdict"]
    assert found[columns].to_numpy().tolist() == [
        ["4", "4", "4", "a count"],
        ["1", "", "", "a count"],
        ["", "1", "1", "a count"],
        ["1", "1", "1", "a count"],
        ["", "", "", "not a count"],
        ["", "", "452", "a count only if cut off"],
        ["", "", "", "not a count"],
        ["", "", "", "n unknown"],
    ]
    assert "stated_p" not in found


def columns(percents: dict[str, list[str]], n_questions: str, **given: object) -> pd.DataFrame:
    rows = [(name, text, n_questions) for name, texts in percents.items() for text in texts]
    table = pd.DataFrame(rows, columns=["column", "accuracy_percent", "n_questions"])
    settings = {"rule": "half up", "rng": np.random.default_rng(0), "n_draws": 200} | given
    return audit.columns(audit.checked(table, source="drawn"), **settings)


def drawn_counts(n_questions: int, seed: int) -> list[str]:
    counts = np.random.default_rng(seed).integers(0, n_questions + 1, 8)
    return [f"{units / 100:.2f}" for units in grim.printed(counts, n_questions, 2, "half up")]


def test_true_counts_are_found_and_random_decimals_are_not() -> None:
    rng = np.random.default_rng(3)
    percents = {"counts": drawn_counts(735, 0)}
    percents["none"] = [f"{units / 100:.2f}" for units in rng.integers(0, 10_000, 8)]
    found = columns(percents, "735").set_index("column")
    assert found.loc["counts", "n_fitting"] == 8
    assert found.loc["counts", "smallest_n"] <= 735 < found.loc["counts", "null_05"]
    assert found.loc["counts", "p_smallest"] == pytest.approx(1 / 201)
    assert found.loc["counts", "p_fitting"] < 1e-6
    assert found.loc["none", "n_fitting"] < 4
    assert found.loc["none", "p_smallest"] > 0.05


def test_p_smallest_is_as_often_small_as_it_says_where_there_are_no_counts() -> None:
    rng = np.random.default_rng(4)
    percents = {
        f"c{k}": [f"{units / 100:.2f}" for units in rng.integers(0, 10_000, 5)] for k in range(150)
    }
    p_values = columns(percents, "", n_draws=60)["p_smallest"]
    for level in (0.1, 0.3, 0.5):
        assert (p_values <= level).mean() == pytest.approx(level, abs=3.5 * (level / 150) ** 0.5)


def test_the_null_follows_the_seed_and_nothing_else() -> None:
    percents = {"a": ["12.34", "56.78", "90.12"], "b": ["1.5", "100"]}
    first, again, other = (
        columns(percents, "193", rng=np.random.default_rng(seed), n_draws=50) for seed in (0, 0, 1)
    )
    pd.testing.assert_frame_equal(first, again)
    assert not first[["null_05", "null_50"]].equals(other[["null_05", "null_50"]])
    exact = ["n_fitting", "expected_by_chance", "p_fitting", "smallest_n"]
    pd.testing.assert_frame_equal(first[exact], other[exact])


def test_a_column_without_one_size_still_has_its_smallest() -> None:
    (row,) = columns({"a": ["33.33", "66.67"]}, "").itertuples()
    assert (row.n_questions, row.smallest_n) == (0, 3)
    assert np.isnan([row.n_fitting, row.p_fitting]).all()


def test_comparisons_take_the_cell_named_as_the_first_arm(tmp_path: Path) -> None:
    text = HEADER + "low,,96.37,193,,\nnative,,98.45,193,low,<0.001\n"
    (row,) = audit.comparisons(audit.read(write(tmp_path, text))).itertuples()
    assert (row.cell, row.compared_with) == ("native", "low")
    assert (row.first_count, row.second_count) == ("186", "190")
    assert row.p_least == pytest.approx(0.125)
    assert row.verdict == "not reachable"


def test_the_command_prints_and_writes_what_the_table_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, HEADER + "low,A,96.37,193,,\nnative,A,98.45,193,low,<0.001\n")
    asked = [str(path), "--draws", "20", "--out", str(tmp_path / "out")]
    assert audit.main(asked) == 0
    first = capsys.readouterr().out
    for part in ("cells\n", "columns\n", "comparisons\n", "not reachable", "assumes that"):
        assert part in first
    assert {each.name for each in (tmp_path / "out").iterdir()} == {
        "cells.csv", "columns.csv", "comparisons.csv",
    }  # fmt: skip
    assert audit.main(asked) == 0
    assert capsys.readouterr().out == first
    plain = write(tmp_path, "accuracy_percent,n_questions\n50,2\n")
    assert audit.main([str(plain)]) == 0
    said = capsys.readouterr().out
    assert "columns\n" not in said
    assert "comparisons\n" not in said


def test_a_null_of_no_draws_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, "accuracy_percent,n_questions\n50,2\n")
    assert audit.main([str(path), "--draws", "0"]) == 1
    assert "--draws is 0 and --seed 0; use at least 1 and 0" in capsys.readouterr().err
