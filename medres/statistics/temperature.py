"""Probabilities of options, their scores, and the temperature that would make them right."""

import math

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

from medres.statistics.variation import Floats


def option_probabilities(log_probabilities: ArrayLike, *, temperature: float = 1.0) -> Floats:
    """Return the softmax over each question's options, of log-probabilities over temperature.

    Args:
        log_probabilities: Of each option, summed over its tokens, shape (n_questions, n_options);
            -inf where a question has fewer options.
        temperature: Above 1 takes confidence away; inf gives every option the same.

    Raises:
        ValueError: If a value is NaN, or a question has no option, or the temperature is not
            positive.

    >>> option_probabilities(np.log([[0.2, 0.6]]), temperature=1.0).round(2)
    array([[0.25, 0.75]])
    """
    values = _checked_options(log_probabilities)
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}; it must be positive")
    is_option = np.isfinite(values)
    scaled = np.where(is_option, np.where(is_option, values, 0) / temperature, -np.inf)
    return np.asarray(special.softmax(scaled, axis=1))


def fit_temperature(log_probabilities: ArrayLike, right: ArrayLike) -> float:
    """Return the temperature under which the right options are most probable.

    Temperature scaling (Guo et al. 2017, ICML, PMLR 70, 1321-1330) by maximum likelihood: the
    likelihood is convex in 1 / temperature, so that there is one best. It is inf if any confidence
    at all makes the answers less probable than guessing, and NaN if the most probable option
    is always right, which any smaller temperature would fit better.

    Args:
        log_probabilities: As in `option_probabilities`.
        right: Place of the right option, shape (n_questions,).

    Raises:
        ValueError: As `option_probabilities`, or if a place holds no option.
    """
    values, of_right = _checked_right(log_probabilities, right)
    is_option = np.isfinite(values)
    filled = np.where(is_option, values, 0)

    def slope(inverse: float) -> float:
        scaled = np.where(is_option, filled * inverse, -np.inf)
        return float(((special.softmax(scaled, axis=1) * filled).sum(axis=1) - of_right).mean())

    if slope(0.0) >= 0:
        return math.inf
    if np.all(of_right == values.max(axis=1)):
        return math.nan
    most = 1.0
    while slope(most) < 0:
        most *= 2
    return 1 / float(optimize.brentq(slope, 0.0, most, xtol=1e-12, rtol=1e-10))


def scores(log_probabilities: ArrayLike, right: ArrayLike) -> tuple[float, float]:
    """Return the Brier score and the log score; of both, less is better.

    The Brier score is the mean over questions of the squared distance between probabilities and
    the right option, summed over options (0 to 2); the log score is the mean of minus the log of
    the right option's probability, in nats.

    Args:
        log_probabilities: As in `option_probabilities`.
        right: Place of the right option, shape (n_questions,).
    """
    values, of_right = _checked_right(log_probabilities, right)
    probabilities = option_probabilities(values)
    places = np.asarray(right, dtype=int)
    is_right = np.arange(values.shape[1]) == places[:, None]
    brier = float(((probabilities - is_right) ** 2).sum(axis=1).mean())
    return brier, float((special.logsumexp(values, axis=1) - of_right).mean())


def half_of_groups(groups: ArrayLike, *, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return for each question whether its group is in the half drawn, the smaller if odd.

    Args:
        groups: Group each question belongs to, shape (n_questions,).
        rng: Source of randomness; the caller seeds it and owns it.
    """
    codes, names = pd.factorize(np.asarray(groups), sort=True)
    drawn = rng.permutation(len(names))[: len(names) // 2]
    return np.isin(codes, drawn)


def _checked_options(log_probabilities: ArrayLike) -> Floats:
    values = np.asarray(log_probabilities, dtype=float)
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"log_probabilities has shape {values.shape}; give questions x options")
    is_wrong = np.isnan(values).any(axis=1) | (values == np.inf).any(axis=1)
    for wrong, what in ((is_wrong, "a missing value"), (np.isinf(values).all(axis=1), "no option")):
        if wrong.any():
            raise ValueError(
                f"log_probabilities[{np.flatnonzero(wrong)[0]}] has {what}; leave the question out"
            )
    return values


def _checked_right(log_probabilities: ArrayLike, right: ArrayLike) -> tuple[Floats, Floats]:
    """Return the log-probabilities and those of the right options."""
    values = _checked_options(log_probabilities)
    places = np.asarray(right)
    if places.shape != values.shape[:1]:
        raise ValueError(f"right has shape {places.shape}; give one place for {len(values)} rows")
    is_place = (places >= 0) & (places < values.shape[1])
    of_right = values[np.arange(len(values)), np.where(is_place, places, 0)]
    wrong = np.flatnonzero(~is_place | np.isinf(of_right))
    if len(wrong):
        raise ValueError(f"right[{wrong[0]}] is {places[wrong[0]]}, where there is no option")
    return values, of_right
