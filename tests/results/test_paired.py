import numpy as np
import pandas as pd
import pytest
from scipy import stats

from medres.published.claims import Claim
from medres.results import findings, paired
from medres.statistics import comparison, power
from tests.answer_tables import arm

BEATS = Claim("A", "native beats low", ("low", "low"), ("native", "native"), +1, "one")
LOSES = Claim("B", "low loses at native", ("low", "low"), ("low", "native"), -1, "one")
ALONE = Claim("C", "native loses at low", ("native", "native"), ("native", "low"), -1, "two")
NEAR = Claim("D", "low is near", ("native", "native"), ("low", "low"), +1, "one", margin=0.05)


def compared(parts: list[pd.DataFrame], *claims: Claim, n_resamples: int = 500) -> pd.DataFrame:
    return paired.comparisons(pd.concat(parts, ignore_index=True), claims, n_resamples=n_resamples)


def test_identical_arms_differ_by_nothing_and_decide_nothing() -> None:
    correct = [1, 0, 1, 1, 0] * 8
    (row,) = compared(
        [arm("low", "low", correct), arm("native", "native", correct)], BEATS
    ).to_dict("records")
    assert (row["difference"], row["p_value"], row["p_adjusted"]) == (0, 1, 1)
    assert (row["p_mcnemar"], row["verdict"]) == (1, "not decided")
    assert (row["n_first_only"], row["n_second_only"]) == (0, 0)
    assert row["lower"] < 0 < row["upper"]


def test_a_comparison_s_numbers_are_those_of_the_pairs() -> None:
    first = [1] * 3 + [0] * 15 + [1] * 12
    second = [0] * 3 + [1] * 15 + [1] * 12
    (row,) = compared([arm("low", "low", first), arm("native", "native", second)], BEATS).to_dict(
        "records"
    )
    assert (row["first"], row["second"]) == ("low→low", "native→native")
    assert (row["n_questions"], row["n_groups"], row["n_seeds"]) == (30, 30, 1)
    assert (row["n_first_only"], row["n_second_only"]) == (3, 15)
    assert (row["accuracy_first"], row["accuracy_second"]) == (0.5, 0.9)
    assert row["difference"] == pytest.approx(0.4)
    expected = stats.binomtest(3, 18).pvalue
    assert row["p_mcnemar"] == pytest.approx(expected)
    assert row["p_value"] == pytest.approx(expected)
    assert row["verdict"] == "supported"


def test_swapped_arms_contradict_what_the_arms_supported() -> None:
    worse, better = [0] * 20 + [1] * 5, [1] * 25
    for first, second, verdict, sign in (
        (worse, better, "supported", 1),
        (better, worse, "contradicted", -1),
    ):
        (row,) = compared(
            [arm("low", "low", first), arm("native", "native", second)], BEATS
        ).to_dict("records")
        assert row["verdict"] == verdict
        assert row["difference"] == pytest.approx(sign * 0.8)


def test_rows_of_an_arm_may_come_in_any_order() -> None:
    rng = np.random.default_rng(0)
    parts = [arm(name, name, rng.integers(0, 2, 40), per_group=2) for name in ("low", "native")]
    shuffled = [part.sample(frac=1, random_state=1) for part in parts]
    pd.testing.assert_frame_equal(compared(parts, BEATS), compared(shuffled, BEATS))


def test_a_family_is_adjusted_by_holm_over_its_claims_and_data_sets() -> None:
    gains = {"drawn": (9, 6), "other": (7, 0)}
    parts = [
        arm(*resolutions, [1] * gain + [0] * (20 - gain), dataset=dataset)
        for dataset, (native, misaligned) in gains.items()
        for resolutions, gain in (
            (("low", "low"), 0),
            (("native", "low"), 0),
            (("native", "native"), native),
            (("low", "native"), misaligned),
        )
    ]
    table = compared(parts, BEATS, LOSES, ALONE, NEAR)
    one = table[(table["family"] == "one") & (table["margin"] == 0)]
    raw = dict(zip(zip(one["dataset"], one["claim"], strict=True), one["p_value"], strict=True))
    assert raw == {
        key: pytest.approx(2 / 2**gain if gain else 1)
        for key, gain in (
            (("drawn", "A"), 9),
            (("other", "A"), 7),
            (("drawn", "B"), 6),
            (("other", "B"), 0),
        )
    }
    adjusted = dict(
        zip(zip(one["dataset"], one["claim"], strict=True), one["p_adjusted"], strict=True)
    )
    assert adjusted == {
        ("drawn", "A"): pytest.approx(4 * 2 / 2**9),
        ("other", "A"): pytest.approx(3 * 2 / 2**7),
        ("drawn", "B"): pytest.approx(2 * 2 / 2**6),
        ("other", "B"): 1,
    }
    assert set(one["n_family"]) == {4}
    two = table[table["family"] == "two"]
    assert set(two["n_family"]) == {2}
    assert two["p_adjusted"].tolist() == pytest.approx([2 * 2 / 2**9, 2 / 2**7])
    near = table[table["margin"] > 0]
    assert near[["p_value", "p_adjusted"]].isna().all(axis=None)
    assert set(near["n_family"]) == {0}


def test_two_seeds_pair_each_question_within_its_seed() -> None:
    parts = [
        arm("low", "low", [1] * 10 + [0] * 10, seed=0),
        arm("low", "low", [0] * 10 + [1] * 10, seed=1),
        arm("native", "native", [1] * 10 + [0] * 10, seed=0),
        arm("native", "native", [0] * 10 + [1] * 10, seed=1).sample(frac=1, random_state=0),
    ]
    (row,) = compared(parts, BEATS).to_dict("records")
    assert (row["n_questions"], row["n_groups"], row["n_seeds"]) == (20, 20, 2)
    assert (row["n_first_only"], row["n_second_only"]) == (0, 0)
    assert row["accuracy_first"] == 0.5
    assert np.isnan(row["p_mcnemar"])


def test_seeds_are_no_further_groups() -> None:
    """Two trainings on the same images are not twice the evidence about images."""
    once = [arm("low", "low", [0] * 12), arm("native", "native", [1] * 8 + [0] * 4)]
    twice = [*once, *(part.assign(seed=1) for part in once)]
    first, second = (compared(parts, BEATS).iloc[0] for parts in (once, twice))
    for name in ("difference", "lower", "upper", "p_value", "n_groups", "n_questions"):
        assert first[name] == pytest.approx(second[name])
    assert (first["n_seeds"], second["n_seeds"]) == (1, 2)


def test_arms_of_other_seeds_are_not_paired() -> None:
    parts = [arm("low", "low", [0, 1], seed=0), arm("native", "native", [0, 1], seed=1)]
    with pytest.raises(ValueError, match="arm lacks drawn-000#"):
        compared(parts, BEATS)


@pytest.mark.parametrize(
    ("n_lost", "verdict"), [(0, "supported"), (8, "not decided"), (60, "contradicted")]
)
def test_a_margin_is_judged_by_the_interval(n_lost: int, verdict: str) -> None:
    n_questions = 200
    parts = [
        arm("native", "native", [1] * n_questions),
        arm("low", "low", [0] * n_lost + [1] * (n_questions - n_lost)),
    ]
    (row,) = compared(parts, NEAR).to_dict("records")
    assert row["verdict"] == verdict
    expected = {
        "supported": row["lower"] > -0.05,
        "not decided": row["lower"] <= -0.05 <= row["upper"],
        "contradicted": row["upper"] < -0.05,
    }
    assert [name for name, holds in expected.items() if holds] == [verdict]


def test_a_row_says_what_it_would_find_and_what_other_trainings_would_give() -> None:
    rng = np.random.default_rng(0)
    parts = [
        arm(name, name, rng.random(60) < share, seed=seed, per_group=2)
        for seed in range(3)
        for name, share in (("low", 0.4), ("native", 0.6))
    ]
    (row,) = compared(parts, BEATS).to_dict("records")
    by_seed = [
        compared([low, native], BEATS)["difference"].iloc[0]
        for low, native in zip(parts[::2], parts[1::2], strict=True)
    ]
    expected = comparison.training_interval(by_seed)
    assert (row["training_lower"], row["training_upper"]) == pytest.approx(
        (expected.lower, expected.upper)
    )
    assert row["difference"] == pytest.approx(expected.estimate)
    (alone,) = compared(parts[:2], BEATS).to_dict("records")
    assert np.isnan(alone["training_lower"])
    low, native = (part.sort_values("question_id") for part in parts[:2])
    error = power.standard_error(low["correct"], native["correct"], low["group"])
    assert alone["detectable_difference"] == pytest.approx(power.detectable_difference(*error))
    assert 0 < row["detectable_difference"] < alone["detectable_difference"]


def test_a_missing_arm_gives_no_row() -> None:
    parts = [arm("low", "low", [0, 1, 1]), arm("native", "native", [1, 1, 1])]
    assert compared(parts, BEATS, LOSES, ALONE)["claim"].tolist() == ["A"]
    nothing = compared(parts[:1], BEATS, LOSES)
    assert nothing.empty
    assert "lacks the arms" in findings.sentence(nothing)


def test_arms_about_other_questions_raise() -> None:
    parts = [arm("low", "low", [0, 1, 1]), arm("native", "native", [1, 1])]
    with pytest.raises(ValueError, match="arm lacks drawn-002"):
        compared(parts, BEATS)


def test_the_same_answers_give_the_same_table() -> None:
    rng = np.random.default_rng(0)
    parts = [arm(name, name, rng.integers(0, 2, 30)) for name in ("low", "native")]
    pd.testing.assert_frame_equal(compared(parts, BEATS, NEAR), compared(parts, BEATS, NEAR))
