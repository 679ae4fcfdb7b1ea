"""Tables as a reader sees them: order of columns, intervals, numbers, groups, folds."""

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from bs4.element import Tag

from medres.report import tables

TABLE = pd.DataFrame(
    {
        "statement": ["a < b & <script>alert('c')</script>", "plain"],
        "accuracy": [0.98765, 0.5],
        "difference": [0.0123, -0.25],
        "lower": [-0.001, -0.4],
        "upper": [0.05, float("nan")],
        "p_adjusted": [0.0001, 0.25],
        "n_correct": [12_345, 7],
        "verdict": ["not decided", "supported"],
    }
)


def shown(table: pd.DataFrame, *, caption: str = "", merged: tuple[str, ...] = ()) -> Tag:
    """Return a table's HTML, read by a parser."""
    text = tables.html_table(table, caption=caption, csv="t", merged=merged)
    return BeautifulSoup(text, "html.parser")


def rows(page: Tag) -> list[list[str]]:
    return [[cell.text for cell in row.find_all(["th", "td"])] for row in page.find_all("tr")]


def column(table: pd.DataFrame, heading: str) -> list[str]:
    heads, *others = rows(shown(table))
    return [row[heads.index(heading)] for row in others]


def test_a_table_is_escaped() -> None:
    page = shown(TABLE, caption="x < y & <b>z</b>")
    assert not page.find(["script", "b"])
    assert rows(page)[1][0] == TABLE["statement"][0]
    assert "x < y & <b>z</b>" in page.caption.text


def test_a_heading_is_escaped() -> None:
    page = shown(pd.DataFrame({"<i>a</i>": [1, 2]}))
    assert not page.find("i")
    assert rows(page)[0] == ["<i>a</i>"]


@pytest.mark.parametrize("name", ["dataset", "family", "verdict", "statement"])
def test_a_cell_is_escaped_in_every_kind_of_column(name: str) -> None:
    hostile = '<b>&"x" onclick="y"'
    page = shown(pd.DataFrame({"n": [1, 2], name: [hostile, "plain"]}))
    assert not page.find("b")
    assert not page.find(onclick=True)
    assert hostile in page.text


def test_fractions_are_printed_as_percent_and_differences_as_points() -> None:
    heads, first, second = rows(shown(TABLE))
    named = dict(zip(heads, zip(first, second, strict=True), strict=True))
    assert named["accuracy (%)"] == ("98.8", "50.0")
    assert named["difference (points)"] == ("+1.2", "\u221225.0")
    assert named["95 % CI (points)"] == ("\u22120.1 to +5.0", "\u221240.0 to –")
    assert named["adjusted p"] == ("< 0.001", "0.250")
    assert named["correct"] == ("12,345", "7")


def test_the_verdict_is_second_and_marked() -> None:
    page = shown(TABLE)
    assert rows(page)[0][:3] == ["statement", "verdict", "accuracy (%)"]
    assert [cell.text for cell in page.find_all(class_="judgement")] == [
        "verdict",
        "not decided",
        "supported",
    ]
    assert page.find("td", class_="supported").text == "supported"
    assert rows(shown(TABLE[["verdict"]]))[0] == ["verdict"]


@pytest.mark.parametrize(
    ("names", "heading", "cells"),
    [
        (["accuracy", "lower", "upper"], "95 % CI (%)", ["14.0 to 24.8", "–"]),
        (["difference", "lower", "upper"], "95 % CI (points)", ["+14.0 to +24.8", "–"]),
        (["odds_ratio", "ratio_lower", "ratio_upper"], "95 % CI", ["0.14 to 0.25", "–"]),
        (
            ["difference", "simultaneous_lower", "simultaneous_upper"],
            "95 % CI, simultaneous (points)",
            ["+14.0 to +24.8", "–"],
        ),
        # Of a number with a format of its own, in a table of differences.
        (
            ["difference", "share_of_native_lower", "share_of_native_upper"],
            "95 % CI, share of native (%)",
            ["14.0 to 24.8", "–"],
        ),
    ],
)
def test_two_limits_are_one_column_in_the_units_of_their_neighbours(
    names: list[str], heading: str, cells: list[str]
) -> None:
    values = ([0.2, 0.2], [0.14, np.nan], [0.248, np.nan])
    table = pd.DataFrame({"x": ["a", "b"], **dict(zip(names, values, strict=True)), "n": [1, 2]})
    assert column(table, heading) == cells
    assert rows(shown(table))[0][-1] == "n"
    assert len(rows(shown(table))[0]) == 4


def test_one_limit_alone_is_named() -> None:
    table = TABLE[["accuracy", "lower"]]
    assert rows(shown(table)) == [
        ["accuracy (%)", "lower limit (%)"],
        ["98.8", "\u22120.1"],
        ["50.0", "\u221240.0"],
    ]


def test_a_column_that_is_in_percent_has_one_decimal() -> None:
    table = pd.DataFrame({"cells, low (%)": [50.0, 43.75, np.nan]})
    assert rows(shown(table)) == [["cells, low (%)"], ["50.0"], ["43.8"], ["–"]]


def test_other_numbers_have_a_true_minus_sign_and_text_keeps_its_hyphen() -> None:
    table = pd.DataFrame({"gap": [-0.25, 1e-5], "n_more": [-3, 2], "range": ["1-2", "-"]})
    assert rows(shown(table))[1:] == [["\u22120.25", "\u22123", "1-2"], ["1e-05", "2", "-"]]


def test_an_integer_that_is_missing_is_a_dash() -> None:
    table = pd.DataFrame({"n": pd.array([4, None], dtype="Int64")})
    assert rows(shown(table))[1:] == [["4"], ["–"]]


def test_what_all_rows_share_is_said_once() -> None:
    table = pd.DataFrame({"dataset": ["<d>", "<d>"], "seed": [0, 1], "accuracy": [0.1, 0.2]})
    page = shown(table, caption="Cells.")
    assert rows(page)[0] == ["seed", "accuracy (%)"]
    assert "data set <d>" in page.caption.text


def test_a_merged_column_that_all_rows_share_is_said_once_too() -> None:
    table = pd.DataFrame({"dataset": ["d", "d"], "claim": ["a", "a"], "n": [1, 2]})
    page = shown(table, merged=("dataset", "claim"))
    assert rows(page)[0] == ["claim", "n"]
    assert "data set d" in page.caption.text
    assert len(page.find_all("td", rowspan="2")) == 1


def test_a_value_that_some_rows_lack_is_not_said_of_all() -> None:
    table = pd.DataFrame({"n_groups": [4.0, np.nan], "accuracy": [0.1, 0.2]})
    assert rows(shown(table)) == [["groups", "accuracy (%)"], ["4", "10.0"], ["–", "20.0"]]


def test_rows_are_grouped_under_their_family() -> None:
    table = pd.DataFrame({"claim": list("abcd"), "family": list("yxyx"), "n": [1, 2, 3, 4]})
    assert rows(shown(table)) == [
        ["claim", "n"],
        ["y"],
        ["a", "1"],
        ["c", "3"],
        ["x"],
        ["b", "2"],
        ["d", "4"],
    ]
    page = shown(table.assign(family="only one"), caption="Claims.")
    assert rows(page)[1] == ["a", "1"]
    assert "family of claims only one" in page.caption.text


def test_rows_that_agree_share_a_cell() -> None:
    table = pd.DataFrame({"claim": list("aab"), "stated": list("xxx"), "n": [1, 2, 3]})
    page = shown(table, merged=("claim", "stated"))
    assert rows(page)[1:] == [["a", "x", "1"], ["2"], ["b", "x", "3"]]
    assert [cell["rowspan"] for cell in page.find_all(rowspan=True)] == ["2", "2"]


@pytest.mark.parametrize(("n_rows", "n_folded"), [(12, 0), (13, 5), (64, 56)])
def test_a_long_table_is_folded(n_rows: int, n_folded: int) -> None:
    page = shown(pd.DataFrame({"n": range(n_rows)}))
    assert len(page.tbody.find_all("tr")) == n_rows
    assert len(page.find_all(class_="more")) == n_folded
    found = page.find("details")
    assert (found.summary.text if found else "") == (
        "" if n_rows == 12 else f"show all {n_rows} rows"
    )


def test_a_fold_does_not_cut_a_merged_cell_or_a_family_from_its_title() -> None:
    claims = ["a"] * 7 + ["b"] * 4 + ["c"] * 3
    table = pd.DataFrame({"claim": claims, "n": range(14)})
    page = shown(table, merged=("claim",))
    assert [row.find_all("td")[-1].text for row in page.find_all(class_="more")] == [
        "11",
        "12",
        "13",
    ]
    page = shown(pd.DataFrame({"n": range(14), "family": ["x"] * 8 + ["y"] * 6}))
    assert [row.text for row in page.find_all(class_="more")] == ["y", *map(str, range(8, 14))]


def test_pages_are_links() -> None:
    stems = "04_native_vs_low 11_published_audit ../other/03_evaluate-x"
    page = shown(pd.DataFrame({"pages": [stems, ""]}))
    assert [(link["href"], link.text) for link in page.td.find_all("a")] == [
        ("04_native_vs_low.html", "04"),
        ("11_published_audit.html", "11"),
        ("../other/03_evaluate-x.html", "03"),
    ]
    assert rows(page)[2] == [""]
