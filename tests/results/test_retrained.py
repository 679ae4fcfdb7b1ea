"""Comparisons of trainings on enlarged images, on other low ones, and on two in turn."""

import pandas as pd
import pytest

from medres.published import claims
from medres.report import trained_on
from medres.results import paired, retrained
from tests.answer_tables import first_right, trainings

N = 200
RIGHT = {
    ("low", "low"): 120,
    ("low", "native"): 60,
    ("native", "native"): 180,
    ("native", "upsampled-lanczos"): 90,
    ("upsampled-lanczos", "upsampled-lanczos"): 150,
    ("upsampled-bicubic", "upsampled-bicubic"): 110,
    ("low-lanczos", "low-lanczos"): 121,
    ("low-then-native", "native"): 165,
    ("low-then-scale-0.5", "scale-0.5"): 140,
    ("low", "scale-0.5"): 100,
}
"""Right answers of 200 in the first of three trainings; each further one has one more."""


def answers(*left_out: str) -> pd.DataFrame:
    return pd.concat(
        [
            trainings(*arm, *[first_right(right + seed, N) for seed in range(3)])
            for arm, right in RIGHT.items()
            if arm[0] not in left_out
        ],
        ignore_index=True,
    )


def found(*left_out: str) -> pd.DataFrame:
    return retrained.table(answers(*left_out), margin=0.05).set_index(["first", "second"])


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        ("low→low", "upsampled-lanczos→upsampled-lanczos", paired.SUPPORTED),
        ("low→low", "upsampled-bicubic→upsampled-bicubic", paired.CONTRADICTED),
        ("native→native", "upsampled-lanczos→upsampled-lanczos", paired.SUPPORTED),
        ("native→native", "upsampled-bicubic→upsampled-bicubic", paired.SUPPORTED),
        (
            "upsampled-bicubic→upsampled-bicubic",
            "upsampled-lanczos→upsampled-lanczos",
            paired.SUPPORTED,
        ),
        ("low→low", "low-lanczos→low-lanczos", paired.NOT_DECIDED),
        ("low→native", "low-then-native→native", paired.SUPPORTED),
        ("low→low", "low-then-native→native", paired.SUPPORTED),
        ("native→native", "low-then-native→native", paired.CONTRADICTED),
        ("low→scale-0.5", "low-then-scale-0.5→scale-0.5", paired.SUPPORTED),
        ("low→low", "low-then-scale-0.5→scale-0.5", paired.SUPPORTED),
    ],
)
def test_each_is_compared_on_the_same_questions(first: str, second: str, verdict: str) -> None:
    row = found().loc[(first, second)]
    expected = [RIGHT[tuple(arm.split("→"))] for arm in (first, second)]
    assert row["difference"] == pytest.approx((expected[1] - expected[0]) / N)
    assert row["verdict"] == verdict
    assert row["n_seeds"] == 3


def test_what_the_study_does_not_train_gives_no_row() -> None:
    assert len(found()) == 11
    left = found("low-then-native", "low-then-scale-0.5")
    assert set(left["family"]) == {claims.ENLARGED, claims.SHRUNK}
    left = found("upsampled-lanczos", "upsampled-bicubic", "low-lanczos", "low-then-native")
    assert left.index.get_level_values("second").unique().tolist() == [
        "low-then-scale-0.5→scale-0.5"
    ]


def test_a_study_of_the_paper_s_trainings_alone_shows_nothing() -> None:
    table = found(*(train for train, _ in RIGHT if train not in ("low", "native"))).reset_index()
    assert table.empty
    assert retrained.sentence(table) == ""
    assert trained_on.parts("small", table) == []


def test_the_families_of_the_paper_are_adjusted_as_they_were() -> None:
    compared = paired.comparisons(answers(), claims.of_families(claims.RESAMPLED))
    every = paired.comparisons(answers())
    assert set(every["family"]) > set(claims.RETRAINED)
    same = every[every["family"] == claims.RESAMPLED].reset_index(drop=True)
    pd.testing.assert_frame_equal(same, compared)


def test_the_words_hold_the_numbers() -> None:
    said = retrained.sentence(retrained.table(answers(), margin=0.05))
    assert (
        "low images enlarged by lanczos beat training and inference at low: **supported**" in said
    )


def test_what_is_not_decided_is_one_line_with_its_numbers() -> None:
    table = retrained.table(answers(), margin=0.05)
    lines = retrained.sentence(table).strip().split("\n")
    is_open = ~table["verdict"].isin(["supported", "contradicted"])
    assert 0 < is_open.sum() < len(table)
    assert len(lines) == len(table) - is_open.sum() + 1
    assert f"**Not decided** ({is_open.sum()} of {len(table)} comparisons)" in lines[-1]
    for row in table[is_open].itertuples():
        assert row.compared in lines[-1]
