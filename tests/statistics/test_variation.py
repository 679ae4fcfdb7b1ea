import numpy as np
import pytest

from medres.statistics import variation

SIZES = np.full(30, 4.0)


def drawn(
    rng: np.random.Generator,
    n_trainings: int,
    *,
    question: float = 0.0,
    training: float = 0.0,
    both: float = 0.0,
) -> variation.Variation:
    """Variation of a mean whose parts have these standard deviations over 30 equal groups."""
    values = (
        question * rng.normal(size=30)
        + training * rng.normal(size=(n_trainings, 1))
        + both * rng.normal(size=(n_trainings, 30))
    )
    estimates = values.mean(axis=1)
    return variation.of_estimate((values - estimates[:, None]) / 30, estimates, SIZES)


@pytest.mark.parametrize(
    "parts",
    [
        {"question": 1.0},
        {"question": 1.0, "training": 0.3},
        {"question": 1.0, "training": 0.3, "both": 1.0},
        {"training": 0.3, "both": 0.5},
    ],
)
@pytest.mark.parametrize("n_trainings", [3, 8])
def test_variances_are_those_of_the_model_on_average(
    parts: dict[str, float], n_trainings: int
) -> None:
    rng = np.random.default_rng(0)
    found = np.mean([drawn(rng, n_trainings, **parts).variance for _ in range(3000)])
    question, training, both = (
        parts.get(name, 0.0) ** 2 for name in ("question", "training", "both")
    )
    expected = question / 30 + training / n_trainings + both / 30 / n_trainings
    # Above it where questions vary little: their part is cut off at 0, on the safe side.
    assert found == pytest.approx(expected, rel=0.06 if question else 0.4)
    assert found > 0.97 * expected


def test_degrees_of_freedom_lie_between_those_of_trainings_and_groups() -> None:
    rng = np.random.default_rng(1)
    for parts in ({"question": 1.0}, {"training": 1.0}, {"question": 1.0, "training": 0.2}):
        degrees = [drawn(rng, 3, **parts).degrees_of_freedom for _ in range(50)]
        assert min(degrees) >= 2
        assert max(degrees) <= 29 + 1e-9
    assert drawn(rng, 1, question=1.0).degrees_of_freedom == pytest.approx(29)
    assert drawn(rng, 3, question=1.0).degrees_of_freedom == pytest.approx(29)


def test_degrees_of_freedom_of_a_sum_are_the_weighted_harmonic_mean() -> None:
    assert variation.degrees_of_sum((1.0, 10.0), (1.0, 2.0)) == pytest.approx(2 / (1 / 10 + 1 / 2))
    assert variation.degrees_of_sum((1.0, 10.0), (0.0, 2.0)) == pytest.approx(10)
    assert variation.degrees_of_sum((0.0, 10.0), (0.0, 2.0)) == 2


def test_one_group_has_no_variation() -> None:
    found = variation.of_estimate(np.zeros((3, 1)), np.zeros(3), np.array([9.0]))
    assert np.isnan([found.variance, found.degrees_of_freedom]).all()
