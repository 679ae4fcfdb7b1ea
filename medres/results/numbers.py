"""How numbers are printed, in tables, figures and sentences alike."""

import numpy as np

MISSING = "–"
"""Printed where there is no number."""


def percent(fraction: float) -> str:
    """Return a fraction in percent, with one decimal and without the sign %.

    >>> percent(0.125)
    '12.5'
    """
    return MISSING if np.isnan(fraction) else f"{100 * fraction:.1f}"


def points(fraction: float) -> str:
    """Return a difference of fractions in percentage points, signed, with one decimal.

    >>> points(0.125)
    '+12.5'
    """
    if np.isnan(fraction):
        return MISSING
    text = f"{100 * fraction:+.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", "−")


def p_text(p_value: float) -> str:
    """Return a p-value as it is printed: three decimals, never zero; a dash if there is none."""
    if np.isnan(p_value):
        return MISSING
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"
