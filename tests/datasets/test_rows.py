import numpy as np
import pandas as pd
import pyarrow
import pytest

from medres.datasets import rows


def test_rows_are_named_the_first_few_by_number() -> None:
    assert rows.named([4]) == "line 4"
    assert rows.named([4, 7], "row") == "rows 4 and 7"
    assert rows.named([2, 5, 9]) == "lines 2, 5 and 9"
    assert rows.named(np.arange(1, 2005)) == "lines 1, 2, 3 and 2,001 more"


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ("pH", "PH", "'pH' (U+0070) and 'PH' (U+0050)"),
        ("P1", "P1\u200b", "'P1' (without) and 'P1\\u200b' (U+200B)"),
        ("Größe", "Gro\u0308ße", "'Größe' (U+00F6) and 'Gro\u0308ße' (U+006F U+0308)"),
        ("a b", "a\u00a0b", "'a b' (U+0020) and 'a\\xa0b' (U+00A0)"),
        ("aa", "a", "'aa' (U+0061) and 'a' (without)"),
    ],
)
def test_texts_that_look_alike_are_shown_with_their_code_points(
    first: str, second: str, said: str
) -> None:
    assert rows.apart(first, second) == said


def test_a_long_value_is_cut_and_an_invisible_one_is_escaped() -> None:
    assert rows.shown("a" * 90) == repr("a" * 56 + " ...")
    assert rows.shown("\u200b") == "'\\u200b'"


def test_blank_is_what_cannot_be_seen() -> None:
    assert all(map(rows.is_blank, ["", " \t", "\u200b", "\u00a0\ufeff", "\u00ad"]))
    assert not any(map(rows.is_blank, ["-", "0", " . ", "\u0301"]))


def test_lists_are_told_apart_however_they_are_held() -> None:
    # Arrow makes each list anew when it is asked for, where the one before may have been.
    held = [[f"a{number % 7}", "b"] for number in range(1000)]
    expected = [("a0", "b"), ("a1", "b"), ("a2", "b"), ("a3", "b"), ("a4", "b"), ("a5", "b")]
    expected.append(("a6", "b"))
    arrow = pd.ArrowDtype(pyarrow.list_(pyarrow.string()))
    for column in (pd.Series(held), pd.Series(held, dtype=arrow)):
        codes, known = rows.lists(column)
        assert known == expected
        assert codes.tolist() == [number % 7 for number in range(1000)]


def test_a_refusal_names_the_row_as_the_user_knows_it() -> None:
    table = pd.DataFrame({"answer": ["a", "b", "c"]}, index=pd.Index([2, 5, 9], name="line"))
    with pytest.raises(ValueError, match=r"^t has it at line 5; 2 rows like it: 'b'; mend it$"):
        rows.refuse(
            np.array([False, True, True]), table, "t", "it", value="answer", remedy="mend it"
        )
    with pytest.raises(ValueError, match=r"^t has it at row 1; 1 row like it$"):
        rows.refuse(np.array([False, True, False]), table.reset_index(drop=True), "t", "it")
    rows.refuse(np.zeros(3, dtype=bool), table, "t", "it")
