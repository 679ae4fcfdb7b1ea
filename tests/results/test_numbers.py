import pytest

from medres.results import numbers


@pytest.mark.parametrize(
    ("fraction", "percent", "points"),
    [
        (0.125, "12.5", "+12.5"),
        (1, "100.0", "+100.0"),
        (0.1, "10.0", "+10.0"),
        # Ties of binary fractions go away from 0, as one rounds by hand.
        (0.8125, "81.3", "+81.3"),
        (-0.8125, "−81.3", "−81.3"),
        (0.0625, "6.3", "+6.3"),
        (0.81249, "81.2", "+81.2"),
        (0.0004, "0.0", "0.0"),
        (0, "0.0", "0.0"),
        (-0.0, "0.0", "0.0"),
        (-0.0001, "0.0", "0.0"),
        (-0.012, "−1.2", "−1.2"),
        (-0.1, "−10.0", "−10.0"),
        (float("nan"), "–", "–"),
    ],
)
def test_a_percentage_has_one_decimal_and_a_difference_a_true_sign(
    fraction: float, percent: str, points: str
) -> None:
    assert (numbers.percent(fraction), numbers.points(fraction)) == (percent, points)


@pytest.mark.parametrize(
    ("p_value", "text"),
    [
        (0.0, "< 0.001"),
        (0.00099, "< 0.001"),
        (0.001, "0.001"),
        (0.0414, "0.041"),
        (1.0, "1.000"),
        (float("nan"), "–"),
    ],
)
def test_a_p_value_is_never_printed_as_zero(p_value: float, text: str) -> None:
    assert numbers.p_text(p_value) == text
