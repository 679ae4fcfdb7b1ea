import pytest

from medres.results import numbers


@pytest.mark.parametrize(
    ("fraction", "percent", "points"),
    [
        (0.125, "12.5", "+12.5"),
        (1, "100.0", "+100.0"),
        (float("nan"), "–", "–"),
    ],
)
def test_a_percentage_has_one_decimal_and_a_difference_a_true_sign(
    fraction: float, percent: str, points: str
) -> None:
    assert (numbers.percent(fraction), numbers.points(fraction)) == (percent, points)


def test_a_loss_has_a_minus_sign_and_nothing_has_none() -> None:
    assert [numbers.points(x) for x in (-0.012, -0.0004, 0)] == ["\u22121.2", "0.0", "0.0"]


@pytest.mark.parametrize(
    ("p_value", "text"),
    [(0.0009, "< 0.001"), (0.001, "0.001"), (0.0414, "0.041"), (1, "1.000"), (float("nan"), "–")],
)
def test_a_p_value_is_never_zero(p_value: float, text: str) -> None:
    assert numbers.p_text(p_value) == text
