"""One mean over several data sets, each of which may have a true effect of its own."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from statsmodels.stats.meta_analysis import combine_effects


@dataclass(frozen=True)
class Pooled:
    """Random-effects mean of several effects, with what another data set may show."""

    mean: float
    lower: float
    upper: float
    """95 % confidence interval of the mean (Hartung and Knapp), NaN for one data set."""
    p_value: float
    """That the mean is 0, two-sided; NaN, as all limits, if the effects are equal."""
    prediction_lower: float
    prediction_upper: float
    """95 % prediction interval of the effect in another such data set, NaN for fewer than three."""
    between: float
    """Standard deviation of the true effects between data sets (Paule and Mandel)."""
    standard_error: float
    """Of the mean; Student's t has the number of data sets minus 1 as its degrees of freedom."""
    q: float
    """Cochran's Q, chi-squared on the number of data sets minus 1 if all share one effect."""
    p_heterogeneity: float


def mean_effect(effects: ArrayLike, standard_errors: ArrayLike) -> Pooled:
    """Return the random-effects mean of the effects of several data sets.

    Args:
        effects: One effect per data set, shape (n_datasets,).
        standard_errors: Their standard errors, all positive.

    Raises:
        ValueError: If there is none, shapes differ, or an error is not positive.
    """
    values, errors = np.asarray(effects, dtype=float), np.asarray(standard_errors, dtype=float)
    if values.ndim != 1 or values.size == 0 or values.shape != errors.shape:
        raise ValueError(f"effects have shape {values.shape}, errors {errors.shape}; give lists")
    if not (np.isfinite(values).all() and (errors > 0).all() and np.isfinite(errors).all()):
        raise ValueError("an effect or its standard error is missing or not positive; leave it out")
    n = len(values)
    if n == 1:
        return Pooled(float(values[0]), *[math.nan] * 9)
    with np.errstate(divide="ignore"):  # its i2, if all effects are equal
        found = combine_effects(values, errors**2, method_re="iterated", use_t=True)
    mean, error = float(found.mean_effect_re), float(found.sd_eff_w_re_hksj)
    if not error > 1e-12:  # effects that happen to be equal are no certainty
        error = math.nan
    degrees = n - 1
    half = float(stats.t.isf(0.025, degrees)) * error
    variance = max(0.0, float(found.tau2))
    weights = 1 / errors**2
    q = float(weights @ (values - weights @ values / weights.sum()) ** 2)
    reach = float(stats.t.isf(0.025, n - 2)) * math.sqrt(variance + error**2) if n > 2 else math.nan
    return Pooled(
        mean=mean,
        lower=mean - half,
        upper=mean + half,
        p_value=float(2 * stats.t.sf(abs(mean) / error, degrees)) if error > 0 else math.nan,
        prediction_lower=mean - reach,
        prediction_upper=mean + reach,
        between=math.sqrt(variance),
        standard_error=error,
        q=q,
        p_heterogeneity=float(stats.chi2.sf(q, degrees)),
    )
