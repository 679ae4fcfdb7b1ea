"""How numbers are printed: one place, so that a page and its figures agree."""

import math


def percent(share: float) -> str:
    """Return a fraction in percent, with one decimal: 0.125 is 12.5; a dash if there is none."""
    return "–" if math.isnan(share) else f"{100 * share:.1f}"


def points(difference: float) -> str:
    """Return a difference of fractions in signed percentage points: -0.012 is −1.2."""
    return "–" if math.isnan(difference) else f"{100 * difference:+.1f}".replace("-", "−")


def p_text(p_value: float) -> str:
    """Return a p-value as it is printed: three decimals, never zero; a dash if there is none."""
    if math.isnan(p_value):
        return "–"
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"
