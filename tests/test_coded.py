"""Columns by number: each different value is looked at once."""

import numpy as np
import pandas as pd
import pytest

from medres import coded

TEXTS = ["b", "a", None, "b", "c", "a"]


def kinds(texts: list[str | None]) -> list[pd.Series]:
    """The same texts in columns of each kind."""
    return [
        pd.Series(texts, dtype=object),
        pd.Series(texts, dtype="str"),
        pd.Series(pd.Categorical(texts)),
    ]


@pytest.mark.parametrize("column", kinds(["b", "a", "b"]))
def test_a_function_is_called_once_for_each_value_of_a_categorical(column: pd.Series) -> None:
    seen: list[str] = []
    found = coded.each(column, lambda text: seen.append(text) or text.upper())
    assert found.tolist() == ["B", "A", "B"]
    assert len(seen) == (2 if column.dtype == "category" else 3)


@pytest.mark.parametrize("column", kinds(TEXTS))
def test_combinations_are_in_the_order_in_which_they_come(column: pd.Series) -> None:
    lists = pd.Series([["x"], ["x"], [], ["x"], [], ["y"]])
    firsts, of_row = coded.combinations([column, lists])
    assert firsts.tolist() == [0, 1, 2, 4, 5]
    assert of_row.tolist() == [0, 1, 2, 0, 3, 4]


def test_combinations_of_very_many_values_are_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = [pd.Series(range(10)) % (2 + number) for number in range(4)]
    _, plainly = coded.combinations(columns)
    monkeypatch.setattr(coded, "MOST", 20)
    assert coded.combinations(columns)[1].tolist() == plainly.tolist()


@pytest.mark.parametrize("column", kinds(["b", "a", "b", "c"]))
def test_rows_are_found_by_their_values(column: pd.Series) -> None:
    table = pd.DataFrame({"text": column, "seed": [1, 0, 1, 1]})
    found = coded.rows_of(table, ["text", "seed"])
    assert {key: rows.tolist() for key, rows in found.items()} == {
        ("b", 1): [0, 2],
        ("a", 0): [1],
        ("c", 1): [3],
    }
    assert list(found) == [("b", 1), ("a", 0), ("c", 1)]
    assert coded.rows_of(table.iloc[:0], ["text", "seed"]) == {}


@pytest.mark.parametrize("column", kinds(TEXTS))
def test_texts_are_numbered_in_their_order_and_a_missing_one_is_below(column: pd.Series) -> None:
    (numbers, again), names = coded.numbered([column, column.iloc[:2]])
    assert [None if each < 0 else names[each] for each in numbers] == TEXTS
    assert again.tolist() == numbers[:2].tolist()
    assert list(names) == ["a", "b", "c"]


def test_lists_of_numbers_are_laid_flat() -> None:
    arrow = pd.Series([[1.0, 2.0], None, [], [3.0]], dtype=pd.ArrowDtype(_lists()))
    for column in (arrow, arrow.iloc[::-1].iloc[::-1], pd.Series([[1.0, 2.0], None, [], [3.0]])):
        values, counts = coded.flat(column)
        assert values.tolist() == [1, 2, 3]
        assert counts.tolist() == [2, 0, 0, 1]


def _lists() -> object:
    import pyarrow as pa

    return pa.list_(pa.float64())


def test_joined_tables_have_categories_of_both_in_order() -> None:
    parts = [
        pd.DataFrame({"text": pd.Categorical(texts), "n": range(len(texts))})
        for texts in (["b", "c"], ["a", "b"])
    ]
    table = coded.joined(parts)
    assert table["text"].tolist() == ["b", "c", "a", "b"]
    assert list(table["text"].cat.categories) == ["a", "b", "c"]
    assert np.array_equal(table["n"], [0, 1, 0, 1])
