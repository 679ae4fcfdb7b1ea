"""Percentages and counts against exact fractions and against every count tried one by one."""

import itertools
import math
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest

from medres.published import grim


def naive(count: int, n_questions: int, decimals: int, rule: str) -> int:
    exact = Fraction(100 * count * 10**decimals, n_questions)
    if rule == "cut off":
        return math.floor(exact)
    if rule == "half up":
        return math.floor(exact + Fraction(1, 2))
    return round(exact)  # Python rounds a Fraction half to even


@pytest.mark.parametrize("rule", grim.RULES)
def test_printing_is_that_of_exact_fractions(rule: str) -> None:
    rng = np.random.default_rng(0)
    for n_questions in [1, 2, 3, 7, 8, 16, 193, 200, 735, 2000, *rng.integers(1, 10_000, 20)]:
        counts = np.unique(rng.integers(0, n_questions + 1, 30))
        for decimals in range(4):
            expected = [naive(int(k), int(n_questions), decimals, rule) for k in counts]
            assert grim.printed(counts, int(n_questions), decimals, rule).tolist() == expected


def test_only_ties_tell_half_up_from_half_even() -> None:
    eighths = np.arange(9)  # 12.5, 37.5, 62.5 and 87.5 are ties
    assert grim.printed(eighths, 8, 0, "half up").tolist() == [0, 13, 25, 38, 50, 63, 75, 88, 100]
    assert grim.printed(eighths, 8, 0, "half even").tolist() == [0, 12, 25, 38, 50, 62, 75, 88, 100]
    assert grim.printed(eighths, 8, 0, "cut off").tolist() == [0, 12, 25, 37, 50, 62, 75, 87, 100]


@pytest.mark.parametrize("rule", grim.RULES)
@pytest.mark.parametrize(
    ("n_questions", "decimals"), [(7, 0), (7, 2), (193, 1), (735, 2), (900, 0)]
)
def test_compatible_counts_are_those_found_by_trying_all(
    rule: str, n_questions: int, decimals: int
) -> None:
    printed = [naive(k, n_questions, decimals, rule) for k in range(n_questions + 1)]
    possible = grim.possible(n_questions, decimals, rule)
    for units in range(0, 100 * 10**decimals + 1, 1 if decimals < 2 else 7):
        expected = [k for k, each in enumerate(printed) if each == units]
        found = grim.compatible_counts(grim.Percentage(units, decimals), n_questions, rule)
        assert found.tolist() == expected
        assert bool(possible[units]) == bool(expected)


def test_every_count_of_a_billion_questions_is_found_again() -> None:
    for count in (0, 1, 123_456_789, 999_999_999, 1_000_000_000):
        units = naive(count, 10**9, 4, "half even")
        found = grim.compatible_counts(grim.Percentage(units, 4), 10**9, "half even")
        assert found[0] <= count <= found[-1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("96.30", (9630, 2)),
        ("96.3", (963, 1)),
        ("0", (0, 0)),
        ("100.00", (10000, 2)),
        (" 7 ", (7, 0)),
    ],
)
def test_a_percentage_keeps_its_decimals(text: str, expected: tuple[int, int]) -> None:
    assert grim.parse(text) == expected


@pytest.mark.parametrize(
    "text", ["", "nan", "96,3", "-1", "100.01", "1e1", "96.", ".5", "0.12345", "96.3%", "١"]
)
def test_what_is_no_percentage_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a percentage; write it as printed: 0 to 100"):
        grim.parse(text)


def test_unknown_rules_and_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="known rules are half up, half even, cut off"):
        grim.printed(np.array([1]), 3, 2, "banker")
    for n_questions in (0, -3, 2_000_000_000):
        with pytest.raises(ValueError, match=f"n_questions is {n_questions}; it must be 1 to"):
            grim.printed(np.array([0]), n_questions, 2, "half up")


@pytest.mark.parametrize("rule", grim.RULES)
@pytest.mark.parametrize("n_questions", [3, 17, 40, 64])
def test_chance_is_the_share_over_all_decimals(rule: str, n_questions: int) -> None:
    wholes = [(12, 1), (50, 1), (99, 1), (100, 1), (7, 0)]
    column = [grim.Percentage(whole * 10**decimals, decimals) for whole, decimals in wholes]
    printed = {d: {naive(k, n_questions, d, rule) for k in range(n_questions + 1)} for d in (0, 1)}
    counted = np.zeros(len(wholes) + 1)
    digits = [range(1) if whole == 100 else range(10**d) for whole, d in wholes]
    for drawn in itertools.product(*digits):
        n_fitting = sum(
            whole * 10**d + digit in printed[d]
            for (whole, d), digit in zip(wholes, drawn, strict=True)
        )
        counted[n_fitting] += 1
    assert grim.chance(column, n_questions, rule) == pytest.approx(counted / counted.sum())


@pytest.mark.parametrize("rule", grim.RULES)
def test_smallest_n_is_the_first_that_fits_when_all_are_tried(rule: str) -> None:
    columns = [
        ["33.33", "66.67"],
        ["33.33", "66.66"],
        ["12.5"],
        ["13", "12.5", "0.00"],
        ["2.86", "77.68", "90.48"],
        ["0.1"],
    ]
    parsed = [[grim.parse(text) for text in column] for column in columns]
    expected = [
        next(
            (
                n
                for n in range(1, 1001)
                if all(grim.compatible_counts(each, n, rule).size for each in column)
            ),
            0,
        )
        for column in parsed
    ]
    assert grim.smallest_n(parsed, rule, most=1000).tolist() == expected


def test_no_smallest_n_is_nought_and_no_column_is_no_answer() -> None:
    assert grim.smallest_n([[grim.parse("0.01")]], "half up", most=100).tolist() == [0]
    assert grim.smallest_n([], "half up").tolist() == []


@pytest.mark.parametrize("rule", grim.RULES)
def test_from_ten_thousand_questions_on_every_two_decimals_are_a_count(rule: str) -> None:
    for n_questions in (10_000, 10_001, 12_345):
        assert grim.possible(n_questions, 2, rule).all()


def test_counts_of_n_never_need_more_than_n() -> None:
    rng = np.random.default_rng(1)
    for n_questions in (90, 193, 1000):
        counts = rng.integers(0, n_questions + 1, 8)
        for rule in grim.RULES:
            units = grim.printed(counts, n_questions, 2, rule)
            column = [grim.Percentage(int(each), 2) for each in units]
            assert 0 < grim.smallest_n([column], rule)[0] <= n_questions


def test_random_decimals_keep_the_whole_percents_and_follow_the_seed() -> None:
    column = [grim.parse(text) for text in ("91.80", "64.3", "100.00", "7")]
    drawn = [
        grim.with_other_decimals(column, rng=np.random.default_rng(seed), n_draws=400)
        for seed in (0, 0, 1)
    ]
    assert drawn[0].tolist() == drawn[1].tolist() != drawn[2].tolist()
    for row in drawn[0].tolist():
        assert [units // size for units, size in zip(row, (100, 10, 100, 1), strict=True)] == [
            *(91, 64, 100, 7)
        ]
        assert row[2:] == [each.units for each in column[2:]]
    assert {units % 10 for units in drawn[0][:, 1].tolist()} == set(range(10))


def test_many_decimals_take_no_memory_for_what_no_column_holds() -> None:
    tracemalloc.start()
    try:
        third = [grim.Percentage(333_333, 4)]
        assert grim.smallest_n([third], "half up", most=2000).tolist() == [3]
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most_bytes < 50e6  # 512 numbers of questions times a million places are ten times that


def test_four_decimals_hold_a_million_places_and_take_no_time():
    column = [grim.Percentage(333_333, 4), grim.Percentage(666_667, 4)]
    assert grim.smallest_n([column], "half up", most=2_000) == [3]
    assert grim.smallest_n([[]], "half up") == [1]
