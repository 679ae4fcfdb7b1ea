"""Tails and quantiles of the normal distribution, Student's t and chi-square.

The same numbers as from `scipy.stats`, whose distributions check and broadcast their arguments for
0.1 ms at every call; a page asks for some thousands.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special


def normal_quantile(tail: float) -> float:
    """Return the value that a standard normal exceeds with a given probability in (0, 1).

    >>> round(normal_quantile(0.025), 3)
    1.96
    """
    return float(-special.ndtri(tail))


def student_quantile(tail: float, degrees_of_freedom: float) -> float:
    """Return the value that Student's t exceeds with a given probability in (0, 1).

    >>> round(student_quantile(0.025, 10), 3)
    2.228
    """
    return float(-special.stdtrit(degrees_of_freedom, tail))


def student_tail(value: float, degrees_of_freedom: float) -> float:
    """Return the probability that Student's t exceeds a value.

    >>> round(student_tail(2.228, 10), 3)
    0.025
    """
    return float(special.stdtr(degrees_of_freedom, -value))


def chi_square_quantiles(shares: ArrayLike, degrees_of_freedom: float) -> NDArray[np.float64]:
    """Return the values below which chi-square lies with given probabilities, in their shape.

    >>> chi_square_quantiles([0.05, 0.95], 1).round(4)
    array([0.0039, 3.8415])
    """
    of_gamma = special.gammaincinv(degrees_of_freedom / 2, np.asarray(shares, dtype=float))
    return np.asarray(2 * of_gamma, dtype=float)
