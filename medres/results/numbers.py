"""How numbers are printed: one place, so that a page and its figures agree."""

import math


def percent(share: float) -> str:
    """Return a fraction in percent, with one decimal: 0.8125 is 81.3; a dash if there is none."""
    return "–" if math.isnan(share) else f"{_half_up(100 * share):z.1f}".replace("-", "−")


def points(difference: float) -> str:
    """Return a difference of fractions as signed points: -0.012 is −1.2; a dash if none."""
    if math.isnan(difference):
        return "–"
    text = f"{_half_up(100 * difference):+z.1f}"
    return "0.0" if text == "+0.0" else text.replace("-", "−")


def _half_up(value: float) -> float:
    """Return a value that rounds away from 0 at one decimal where binary fractions tie."""
    return value + math.copysign(1e-9, value)


def p_text(p_value: float) -> str:
    """Return a p-value as it is printed: three decimals, never zero; a dash if there is none."""
    if math.isnan(p_value):
        return "–"
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"
