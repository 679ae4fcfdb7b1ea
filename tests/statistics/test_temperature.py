"""Option probabilities, their scores, and the temperature; outside values are of scikit-learn."""

import math

import numpy as np
import pytest

from medres.statistics import temperature

NUMBER = np.arange(30)
UNSCALED = 3 * np.sin(np.outer(NUMBER + 1, [1.0, 2.0, 3.0]))
RIGHT = (UNSCALED + 2.5 * np.cos(np.outer(NUMBER**2 + 1, [1.0, 1.7, 2.3]))).argmax(axis=1)


def normalised(values: np.ndarray) -> np.ndarray:
    return np.log(np.exp(values) / np.exp(values).sum(axis=1, keepdims=True))


def drawn(n: int, stated_times: float) -> tuple[np.ndarray, np.ndarray]:
    """Options drawn from their true probabilities, and log-probabilities stated too strongly."""
    rng = np.random.default_rng(0)
    values = normalised(rng.normal(0, 1.5, (n, 4)))
    right = (np.cumsum(np.exp(values), axis=1) < rng.uniform(size=(n, 1))).sum(axis=1)
    return stated_times * values, right


def test_probabilities_are_relative_to_the_options() -> None:
    # 0.1 and 0.3 of all replies are 1/4 and 3/4 of the two options.
    found = temperature.option_probabilities(np.log([[0.1, 0.3]]))
    assert found[0] == pytest.approx([0.25, 0.75])


def test_temperature_two_is_the_square_root_of_the_odds() -> None:
    found = temperature.option_probabilities(np.log([[0.1, 0.9]]), temperature=2.0)
    assert found[0, 1] / found[0, 0] == pytest.approx(3.0)


def test_an_option_that_is_not_there_has_no_probability_at_any_temperature() -> None:
    values = [[-1.0, -2.0, -np.inf]]
    for at in (0.5, 1.0, 50.0):
        assert temperature.option_probabilities(values, temperature=at)[0, 2] == 0
    guessed = temperature.option_probabilities(values, temperature=math.inf)
    assert guessed[0] == pytest.approx([0.5, 0.5, 0.0])


def test_one_option_is_certain() -> None:
    assert temperature.option_probabilities([[-7.0]]).tolist() == [[1.0]]


def test_scores_agree_with_scikit_learn() -> None:
    # scikit-learn 1.9.1: brier_score_loss(scale_by_half=False), log_loss.
    brier, log_score = temperature.scores(UNSCALED, RIGHT)
    assert brier == pytest.approx(0.277956425960402, rel=1e-12)
    assert log_score == pytest.approx(0.47072909443257616, rel=1e-12)


def test_the_temperature_agrees_with_scikit_learn() -> None:
    # scikit-learn 1.9.1: 1 / sklearn.calibration._TemperatureScaling().fit(...).beta_
    found = temperature.fit_temperature(UNSCALED, RIGHT)
    assert found == pytest.approx(0.7477629501691413, rel=1e-6)


@pytest.mark.parametrize("times", [1.0, 2.0])
def test_the_temperature_undoes_what_was_stated_too_strongly(times: float) -> None:
    values, right = drawn(20_000, times)
    assert temperature.fit_temperature(values, right) == pytest.approx(times, rel=0.03)


def test_worse_than_guessing_wants_no_confidence_at_all() -> None:
    assert temperature.fit_temperature(np.log([[0.9, 0.1]] * 3), [1, 1, 0]) == math.inf


def test_always_right_has_no_temperature() -> None:
    assert math.isnan(temperature.fit_temperature(np.log([[0.6, 0.4]] * 3), [0, 0, 0]))


def test_equal_options_say_nothing_at_any_temperature() -> None:
    assert temperature.fit_temperature([[-1.0, -1.0], [-2.0, -2.0]], [0, 1]) == math.inf


def test_half_of_the_groups_are_drawn_whole_and_by_seed() -> None:
    groups = np.repeat([f"patient-{number}" for number in range(9)], 3)
    first = temperature.half_of_groups(groups, rng=np.random.default_rng(0))
    assert first.reshape(9, 3).any(axis=1).sum() == 4
    assert (first.reshape(9, 3).all(axis=1) == first.reshape(9, 3).any(axis=1)).all()
    again = temperature.half_of_groups(groups, rng=np.random.default_rng(0))
    other = temperature.half_of_groups(groups, rng=np.random.default_rng(1))
    assert (first == again).all()
    assert (first != other).any()
    assert not temperature.half_of_groups(["one"] * 4, rng=np.random.default_rng(0)).any()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([[-1.0, np.nan]], r"log_probabilities\[0\] has a missing value"),
        ([[-1.0, -2.0], [-np.inf, -np.inf]], r"log_probabilities\[1\] has no option"),
        ([-1.0, -2.0], "give questions x options"),
    ],
)
def test_unusable_log_probabilities_are_named(values: list[float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        temperature.option_probabilities(values)


@pytest.mark.parametrize("place", [-1, 1, 2])
def test_a_right_option_that_is_not_there_is_named(place: int) -> None:
    with pytest.raises(ValueError, match=r"right\[0\]"):
        temperature.scores([[-1.0, -np.inf]], [place])


def test_a_temperature_must_be_positive() -> None:
    with pytest.raises(ValueError, match="temperature is 0"):
        temperature.option_probabilities([[-1.0]], temperature=0.0)
