"""Critical values of the largest of several correlated t statistics that share their error."""

import functools
from collections.abc import Sequence

import numpy as np
from scipy import optimize, special, stats

from medres.statistics import tails
from medres.statistics.variation import Floats

LOG2_DRAWS = 12
N_ERRORS = 64
"""Quantiles of the chi-square that an estimated error follows."""


def correlation_of_differences(covariance: Floats, pairs: Sequence[tuple[int, int]]) -> Floats:
    """Return the correlation of differences of arms, shape (n_pairs, n_pairs).

    0 between a pair that never differs and any other: nothing is known of it.
    """
    contrasts = np.zeros((len(pairs), len(covariance)))
    rows = np.arange(len(pairs))
    contrasts[rows, [second for _, second in pairs]] = 1
    contrasts[rows, [first for first, _ in pairs]] = -1
    found = contrasts @ covariance @ contrasts.T
    variance = found.diagonal()
    is_known = variance > 1e-12
    error = np.sqrt(np.where(is_known, variance, 1))
    found = np.where(is_known[:, None] & is_known, found / np.outer(error, error), 0.0)
    np.fill_diagonal(found, 1.0)
    return np.asarray(found)


def tail_beyond(
    correlation: Floats, degrees_of_freedom: float, level: float, *, is_two_sided: bool = False
) -> float:
    """Return the tail of Student's t beyond the critical value of the largest of correlated t's.

    Args:
        correlation: Of the statistics, shape (n, n).
        degrees_of_freedom: Of the error that they share.
        level: Probability that none exceeds the critical value.
        is_two_sided: Whether none may fall below minus the critical value either.
    """
    highest = (1 - level) / (2 if is_two_sided else 1)
    if len(correlation) == 1:
        return highest
    values, vectors = np.linalg.eigh(correlation)
    drawn = (vectors * np.sqrt(np.maximum(values, 0))) @ _normals(len(correlation))
    largest = np.sort((np.abs(drawn) if is_two_sided else drawn).max(axis=0))
    middles = (np.arange(N_ERRORS) + 0.5) / N_ERRORS
    ratios = np.sqrt(tails.chi_square_quantiles(middles, degrees_of_freedom) / degrees_of_freedom)

    def lack(value: float) -> float:
        return float(np.searchsorted(largest, value * ratios).mean() / len(largest)) - level

    lowest, bonferroni = (
        tails.student_quantile(tail, degrees_of_freedom)
        for tail in (highest, highest / len(correlation))
    )
    if lack(lowest) >= 0:
        return highest
    if lack(bonferroni) <= 0:
        return highest / len(correlation)
    value = float(optimize.brentq(lack, lowest, bonferroni, xtol=1e-3))
    return tails.student_tail(value, degrees_of_freedom)


@functools.cache
def _normals(n_rows: int) -> Floats:
    """Return quasi-random standard normal draws, shape (n_rows, 2 ** LOG2_DRAWS)."""
    uniform = stats.qmc.Sobol(n_rows, rng=np.random.default_rng(0)).random_base2(LOG2_DRAWS)
    return np.ascontiguousarray(special.ndtri(np.clip(uniform, 1e-9, 1 - 1e-9)).T)


@functools.lru_cache(maxsize=4096)
def tail_of_equal(n_comparisons: int, degrees_of_freedom: int, level: float) -> float:
    """Return `tail_beyond` of differences of equally and independently varying arms from one."""
    correlation = np.full((n_comparisons, n_comparisons), 0.5)
    np.fill_diagonal(correlation, 1.0)
    return tail_beyond(correlation, degrees_of_freedom, level)
