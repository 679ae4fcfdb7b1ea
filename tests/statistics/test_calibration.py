"""Calibration: small cases by hand, scikit-learn's curve, and coverage of drawn answers."""

import math

import numpy as np
import pytest
from scipy import stats

from medres.statistics import calibration, comparison

NUMBER = np.arange(40)
SURE = 0.5 + 0.5 * ((NUMBER * 7) % 40) / 40
RIGHT = ((NUMBER**2 + NUMBER // 3) % 5 > 1).astype(float)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def drawn(
    n_groups: int, n_each: int, *, times: float = 1.0, seed: int = 0, n_trainings: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Answers of known probability, questions of a group sharing luck, log-odds stated `times`."""
    source = rng(seed)
    groups = np.repeat(np.arange(n_groups), n_each)
    chance = source.uniform(0.5, 1, len(groups))
    luck = np.sqrt(0.15) * source.standard_normal(n_groups)[groups]
    luck = luck + np.sqrt(0.85) * source.standard_normal((n_trainings, len(groups)))
    right = stats.norm.cdf(luck) < chance
    odds = (chance / (1 - chance)) ** times
    return np.tile(odds / (1 + odds), (n_trainings, 1)), right, groups


def naive_error(sure: np.ndarray, right: np.ndarray, n_bins: int) -> float:
    """The definition, for confidences that all differ and fill the bins evenly."""
    order = np.argsort(sure)
    bins = np.split(order, n_bins)
    gaps = [len(each) * abs(sure[each].mean() - right[each].mean()) for each in bins]
    return sum(gaps) / len(sure)


def test_the_binned_error_is_its_definition() -> None:
    found = calibration.measure(SURE, RIGHT, NUMBER, rng=rng())
    assert found.n_bins == 2
    assert found.binned_error == pytest.approx(naive_error(SURE, RIGHT, 2))
    assert found.confidence == pytest.approx(SURE.mean())
    assert found.overconfidence.estimate == pytest.approx(SURE.mean() - RIGHT.mean())


def test_the_curve_agrees_with_scikit_learn() -> None:
    # scikit-learn 1.9.1: calibration_curve(RIGHT, SURE, n_bins=2, strategy="quantile")
    found = calibration.reliability(SURE, RIGHT, NUMBER)
    assert found["accuracy"].tolist() == pytest.approx([0.4, 0.6])
    assert found["confidence"].tolist() == pytest.approx([0.61875, 0.86875])
    assert found["n_questions"].tolist() == [20, 20]
    assert found["least_confidence"].tolist() == pytest.approx([0.5, 0.75])
    assert found["most_confidence"].tolist() == pytest.approx([0.7375, 0.9875])
    low = RIGHT[SURE < 0.74]
    interval = comparison.accuracy_interval(low, np.arange(20))
    assert found.loc[0, ["lower", "upper"]].tolist() == pytest.approx(
        [interval.lower, interval.upper]
    )


@pytest.mark.parametrize(("n", "bins"), [(1, 1), (39, 1), (40, 2), (200, 10), (5000, 10)])
def test_bins_hold_twenty_answers_and_are_ten_at_most(n: int, bins: int) -> None:
    assert calibration.n_bins_for(n) == bins


def test_equal_confidences_share_a_bin() -> None:
    assert calibration.bins_of([0.6] * 7, 3).tolist() == [0] * 7
    # The three of 0.7 begin in the first bin and stay together; the second bin loses one of two.
    assert calibration.bins_of([0.6, 0.7, 0.7, 0.7, 0.8, 0.9], 3).tolist() == [0, 0, 0, 0, 1, 1]


def test_the_order_of_the_rows_does_not_matter() -> None:
    sure, right, groups = drawn(60, 4)
    mixed = rng(5).permutation(240)
    first = calibration.measure(sure, right, groups, rng=rng())
    second = calibration.measure(sure[:, mixed], right[:, mixed], groups[mixed], rng=rng())
    assert first.binned_error == pytest.approx(second.binned_error)
    assert first.overconfidence.upper == pytest.approx(second.overconfidence.upper)
    assert first.error.upper == pytest.approx(second.error.upper, abs=0.01)


def test_the_seed_decides_and_nothing_else() -> None:
    answers = drawn(60, 4, times=2)
    once, again = (calibration.measure(*answers, rng=rng()) for _ in range(2))
    assert once == again
    assert calibration.measure(*answers, rng=rng(1)).error != once.error


def test_calibrated_answers_have_no_error_and_overconfident_ones_have_theirs() -> None:
    calibrated = calibration.measure(*drawn(400, 2), rng=rng())
    assert calibrated.error.lower == 0.0
    assert calibrated.error.estimate < calibrated.binned_error
    sure, right, groups = drawn(400, 2, times=3)
    over = calibration.measure(sure, right, groups, rng=rng())
    chance = drawn(400, 2)[0]
    assert over.error.lower <= np.abs(sure - chance).mean() <= over.error.upper
    assert over.overconfidence.lower <= (sure - chance).mean() <= over.overconfidence.upper
    assert over.error.lower > calibrated.error.upper


def test_confidence_far_from_accuracy_has_an_error_of_that_size() -> None:
    # 91 % sure and 25 % right in every bin: error and overconfidence are both 66 points.
    right = np.tile([1, 0, 0, 0], 100)
    found = calibration.measure(np.full(400, 0.91), right, np.arange(400), rng=rng())
    assert found.n_bins == 1
    assert found.binned_error == pytest.approx(0.66)
    assert found.error.estimate == pytest.approx(0.66, abs=0.002)
    half = stats.t.ppf(0.975, 399) * math.sqrt(0.25 * 0.75 / 399)
    assert found.error.lower == pytest.approx(0.66 - half, abs=0.005)
    assert found.error.upper == pytest.approx(0.66 + half, abs=0.005)


def test_a_sum_of_opposite_gaps_is_an_error_without_overconfidence() -> None:
    # Half of the answers 60 % sure and all right, half 95 % sure and 55 % right: gaps of 40 points.
    sure = np.repeat([0.6, 0.95], 200)
    right = np.concatenate([np.ones(200), np.arange(200) % 20 < 11])
    found = calibration.measure(sure, right, np.arange(400), rng=rng())
    assert found.overconfidence.estimate == pytest.approx(0.0)
    assert found.binned_error == pytest.approx(0.4)
    assert found.error.lower > 0.3


def test_the_error_is_never_said_to_be_below_the_overconfidence() -> None:
    # Half of the answers 10 points too sure: too little for any of the ten bins, not for all.
    found = calibration.measure(*drawn(60, 4, times=2), rng=rng())
    assert found.overconfidence.lower > 0.005
    assert found.error.lower >= found.overconfidence.lower
    assert found.error.upper >= found.overconfidence.upper


def test_confidence_that_follows_the_answers_narrows_the_limits() -> None:
    right = (np.arange(400) % 4 < 2).astype(float)
    told = calibration.measure(0.3 + 0.4 * right, right, np.arange(400), rng=rng())
    blind = calibration.measure(np.full(400, 0.5), right, np.arange(400), rng=rng())
    widths = [each.overconfidence.upper - each.overconfidence.lower for each in (told, blind)]
    # Gaps of 0.3 instead of 0.5, up to the difference of the two formulas near 50 %.
    assert widths[0] == pytest.approx(2 * stats.t.ppf(0.975, 399) * 0.3 / 20, rel=0.02)
    assert widths[1] == pytest.approx(2 * stats.t.ppf(0.975, 399) * 0.5 / 20, rel=0.02)


def test_all_right_is_no_certainty() -> None:
    found = calibration.measure(np.full(60, 0.999), np.ones(60), np.arange(60), rng=rng())
    # Sixty right of sixty leave an accuracy of 94 % possible.
    assert found.overconfidence.upper == pytest.approx(0.06, abs=0.01)
    assert found.error.upper >= found.overconfidence.upper
    assert found.error.lower == 0.0


def test_groups_widen_the_limits() -> None:
    right = np.repeat(np.arange(40) % 2, 10)
    sure = np.full(400, 0.5)
    together = calibration.measure(sure, right, np.repeat(np.arange(40), 10), rng=rng())
    apart = calibration.measure(sure, right, np.arange(400), rng=rng())
    widths = [each.overconfidence.upper - each.overconfidence.lower for each in (together, apart)]
    assert widths[0] > 2.5 * widths[1]
    assert together.error.upper > 2.5 * apart.error.upper


def test_a_higher_level_gives_wider_limits() -> None:
    answers = drawn(100, 4, times=4)
    usual = calibration.measure(*answers, rng=rng())
    wide = calibration.measure(*answers, rng=rng(), level=0.999)
    assert wide.error.lower < usual.error.lower
    assert wide.error.upper > usual.error.upper
    assert wide.overconfidence.lower < usual.overconfidence.lower
    assert wide.error.estimate == usual.error.estimate


@pytest.mark.parametrize("n_groups", [1, 5])
def test_too_few_groups_have_no_interval(n_groups: int) -> None:
    found = calibration.measure(SURE, RIGHT, NUMBER % n_groups, rng=rng())
    assert found.binned_error == pytest.approx(naive_error(SURE, RIGHT, 2))
    for interval in (found.overconfidence, found.error):
        assert math.isnan(interval.lower)
        assert math.isnan(interval.upper)
    curve = calibration.reliability(SURE, RIGHT, NUMBER % n_groups)
    assert curve[["lower", "upper"]].isna().to_numpy().all()


def test_the_spread_between_trainings_widens_the_limits() -> None:
    groups = np.arange(400)
    sure = np.full((3, 400), 0.8)
    alike = np.stack([np.roll(groups % 10 < 6, shift) for shift in range(3)])
    apart = np.stack([groups % 10 < n for n in (4, 6, 8)])
    like, unlike = (calibration.measure(sure, each, groups, rng=rng()) for each in (alike, apart))
    assert like.overconfidence.estimate == pytest.approx(0.2)
    assert unlike.overconfidence.estimate == pytest.approx(0.2)
    # Trainings of 40, 60 and 80 points: an error of 11.5 with two degrees of freedom.
    assert unlike.overconfidence.upper - 0.2 > 0.3
    assert like.overconfidence.upper - 0.2 < 0.08
    assert like.error.lower > 0.1
    assert unlike.error.lower == 0.0
    assert unlike.error.upper > 0.5


def test_trainings_that_err_in_opposite_ways_are_not_calibrated_together() -> None:
    groups = np.arange(400)
    right = np.stack([groups % 2 == 0, groups % 2 == 0])
    sure = np.stack([np.full(400, 0.7), np.full(400, 0.3)])
    found = calibration.measure(sure, right, groups, rng=rng())
    assert found.overconfidence.estimate == pytest.approx(0.0)
    assert found.binned_error == pytest.approx(0.2)


@pytest.mark.parametrize(("n_groups", "n_each"), [(12, 10), (60, 4), (200, 1)])
def test_limits_hold_for_drawn_calibrated_answers(
    n_groups: int, n_each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "N_DRAWS", 1_000)
    covers_over, covers_error, estimates, binned = [], [], [], []
    for seed in range(400):
        found = calibration.measure(*drawn(n_groups, n_each, seed=seed), rng=rng(seed))
        covers_over.append(found.overconfidence.lower <= 0 <= found.overconfidence.upper)
        covers_error.append(found.error.lower == 0)
        estimates.append(found.error.estimate)
        binned.append(found.binned_error)
    # Two Monte Carlo errors (1.1 points) outside of 93 to 98 %.
    assert 0.915 <= np.mean(covers_over) <= 0.99
    assert np.mean(covers_error) >= 0.915
    assert np.mean(estimates) < np.mean(binned) / 2


@pytest.mark.parametrize("times", [2.0, 3.0])
def test_limits_hold_for_drawn_overconfident_answers(
    times: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "N_DRAWS", 1_000)
    chance = np.random.default_rng(99).uniform(0.5, 1, 200_000)
    odds = (chance / (1 - chance)) ** times
    gaps = odds / (1 + odds) - chance
    covers = []
    for seed in range(300):
        found = calibration.measure(*drawn(60, 4, times=times, seed=seed), rng=rng(seed))
        over, error = found.overconfidence, found.error
        covers.append(
            [
                over.lower <= gaps.mean() <= over.upper,
                error.lower <= np.abs(gaps).mean() <= error.upper,
            ]
        )
    assert np.mean(covers, axis=0) == pytest.approx([0.955, 0.955], abs=0.035)


@pytest.mark.parametrize(
    ("sure", "right", "groups", "said"),
    [
        ([0.5, 1.2], [0, 1], [0, 1], r"confidence\[1\] is 1.2"),
        ([0.5, np.nan], [0, 1], [0, 1], r"confidence\[1\] is nan"),
        ([0.5, 0.6], [0, 2], [0, 1], r"correct\[1\] is 2"),
        ([0.5, 0.6], [0, 1], ["a", None], r"groups\[1\] is missing"),
        ([0.5, 0.6], [0, 1, 1], [0, 1], "shapes are"),
        ([0.5, 0.6], [0, 1], [0], "shapes are"),
        ([], [], [], "no answers"),
    ],
)
def test_what_cannot_be_measured_is_named(sure, right, groups, said) -> None:
    with pytest.raises(ValueError, match=said):
        calibration.measure(sure, right, groups, rng=rng())
    with pytest.raises(ValueError, match="level is 1"):
        calibration.measure([0.5], [1], [0], rng=rng(), level=1.0)


def test_several_trainings_near_the_limit_have_no_limits_of_overconfidence() -> None:
    """A limit that is not known is not a limit of 0: such answers were called miscalibrated."""
    rng = np.random.default_rng(5)
    confidence = np.full((3, 960), 0.985)
    correct = (rng.random((3, 960)) < 0.985).astype(int)
    found = calibration.measure(confidence, correct, np.arange(960) // 8, rng=rng)
    assert np.isnan([found.overconfidence.lower, found.overconfidence.upper]).all()
    assert found.error.lower < 0.005


def test_joint_limits_are_those_of_their_own_level() -> None:
    rng = np.random.default_rng(3)
    sure, groups = rng.uniform(0.5, 1, (2, 200)), np.arange(200) // 4
    right = (rng.random((2, 200)) < 0.6).astype(float)

    def measured(**levels: float) -> calibration.Calibration:
        return calibration.measure(sure, right, groups, rng=np.random.default_rng(0), **levels)

    both = measured(joint_level=0.998)
    assert both.error == measured().error
    assert both.joint_error == measured(level=0.998).error
    assert measured().joint_error is None


@pytest.mark.parametrize("share", [0.025, 0.5, 0.975])
@pytest.mark.parametrize("limit", [0.01, 0.08, 0.3, 1.5])
def test_a_height_is_that_of_plain_bisection(share: float, limit: float) -> None:
    """Draws that are decided early are not added up again; all of them were before."""
    rng = np.random.default_rng(1)
    noise = 0.02 * rng.standard_normal((5, 1000))
    shape = np.array([0.4, -0.3, 0.1, 0.2, 0.0])

    def share_below(height: float) -> float:
        return float(np.mean(np.abs(height * shape[:, None] + noise).sum(axis=0) <= limit))

    low, high = 0.0, 2.0
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if share_below(middle) > share else (low, middle)
    expected = low if share_below(0.0) > share else 0.0
    by_chance = np.abs(noise).sum(axis=0)
    assert calibration._height_at(share, limit, shape, noise, by_chance) == expected
