"""A logistic model of arms with a random intercept by group, by maximum likelihood.

log-odds(right) = log-odds of the arm + deviation of the group; deviations are normal around 0.
statsmodels has this model only with priors (`BinomialBayesMixedGLM`), and its variational errors
are too small. Here each group's likelihood is integrated by adaptive Gauss-Hermite quadrature
(Pinheiro and Bates 1995, J. Comput. Graph. Stat. 4, 12-35), as in R's `lme4::glmer(nAGQ = 15)`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special
from statsmodels.tools.numdiff import approx_fprime

Floats = NDArray[np.float64]
_NODES, _WEIGHTS = np.polynomial.hermite.hermgauss(15)
_LARGEST_DEVIATION = 10.0  # of groups; beyond, their answers hardly vary and nothing is estimated


@dataclass(frozen=True)
class Fit:
    """Log-odds of each arm for a group with deviation 0, with their errors."""

    log_odds: Floats
    """Shape (n_arms,); NaN if the model is not fitted."""
    covariance: Floats
    """Covariance of the log-odds, shape (n_arms, n_arms): the sandwich estimate over groups."""
    model_covariance: Floats
    """The same by the curvature of the likelihood, as the model itself has it."""
    deviation: float
    """Standard deviation of groups, in log-odds."""
    note: str
    """Why the model is not fitted; empty if it is."""

    def variance_of(self, contrast: ArrayLike) -> float:
        """Return the variance of a contrast of the log-odds, the larger of the two estimates.

        With few groups the sandwich is too small: with 12 it was half of the true error.

        Args:
            contrast: Weight of each arm, shape (n_arms,).
        """
        weights = np.asarray(contrast, dtype=float)
        both = (self.covariance, self.model_covariance)
        return max(0.0, *(float(weights @ each @ weights) for each in both))


def fit(right: ArrayLike, asked: ArrayLike) -> Fit:
    """Return the fitted model, or the reason why it cannot be fitted.

    The errors treat every group as one observation (sandwich), so that they also hold if the
    answers of a group are correlated in other ways than by its difficulty: the same question in
    all arms, or arms that suit some groups better.

    Args:
        right: Number of right answers of each group in each arm, shape (n_groups, n_arms).
        asked: Number of answers, same shape; a group may be absent from an arm.

    Raises:
        ValueError: If shapes differ, or a count is missing, negative or above that of answers.
    """
    right, asked = np.asarray(right, dtype=float), np.asarray(asked, dtype=float)
    if right.ndim != 2 or right.shape != asked.shape:
        raise ValueError(f"right has shape {right.shape}, asked {asked.shape}; give groups x arms")
    if not ((right >= 0) & (right <= asked)).all():
        raise ValueError("right must be between 0 and asked in every group and arm")
    n_groups, n_arms = right.shape
    if reason := _reason(right, asked):
        return _nothing(n_arms, reason)
    # Groups with the same counts have the same likelihood: it is computed once.
    counts, repeats = np.unique(np.hstack([right, asked]), axis=0, return_counts=True)
    right, asked = counts[:, :n_arms], counts[:, n_arms:]

    def mean_loss(parameters: Floats) -> tuple[float, Floats]:
        values, scores = _log_likelihood(parameters, right, asked)
        return -float(repeats @ values) / n_groups, -(repeats @ scores) / n_groups

    start = np.append(special.logit((repeats @ right) / (repeats @ asked)), 1.0)
    found = optimize.minimize(mean_loss, start, jac=True, method="BFGS", options={"gtol": 1e-7})
    if np.abs(found.jac).max() > 1e-4 or abs(found.x[-1]) > _LARGEST_DEVIATION:
        return _nothing(n_arms, "the fit does not converge")
    _, scores = _log_likelihood(found.x, right, asked)
    curvature = approx_fprime(found.x, lambda x: mean_loss(x)[1], centered=True) * n_groups
    bread = np.linalg.inv(curvature)
    sandwich = bread @ (scores.T * repeats) @ scores @ bread.T * n_groups / (n_groups - 1)
    within = slice(0, n_arms)
    covariances = sandwich[within, within], bread[within, within]
    return Fit(found.x[:-1], *covariances, abs(float(found.x[-1])), "")


def _reason(right: Floats, asked: Floats) -> str:
    """Return why the model is undefined for these counts; empty if it is defined."""
    if len(right) < 2:
        return "one group"
    if ((right.sum(axis=0) == 0) | (right.sum(axis=0) == asked.sum(axis=0))).any():
        return "an arm has no right or no wrong answer"
    if ((right.sum(axis=1) == 0) | (right.sum(axis=1) == asked.sum(axis=1))).all():
        return "no group has both right and wrong answers"
    return ""


def _nothing(n_arms: int, reason: str) -> Fit:
    nothing = np.full((n_arms, n_arms), np.nan)
    return Fit(np.full(n_arms, np.nan), nothing, nothing, np.nan, reason)


def _log_likelihood(parameters: Floats, right: Floats, asked: Floats) -> tuple[Floats, Floats]:
    """Return log-likelihoods of groups, (n_groups,), and gradients, (n_groups, n_arms + 1).

    Binomial coefficients are left out: they do not depend on the parameters. The last parameter
    is the standard deviation of groups; its sign does not matter.
    """
    log_odds, deviation = parameters[:-1], parameters[-1]

    def at(place: Floats) -> tuple[Floats, Floats, Floats]:
        """Return the log of the integrand, and residuals of arms, at (n_groups, n_nodes)."""
        linear = log_odds[:, None] + deviation * place[:, None, :]  # groups, arms, nodes
        chance = special.expit(linear)
        residuals = right[:, :, None] - asked[:, :, None] * chance
        # log(1 + e^x) = -log(expit(-x)), also for large x
        value = right[:, :, None] * linear - asked[:, :, None] * np.logaddexp(0, linear)
        spread = (asked[:, :, None] * chance * (1 - chance)).sum(axis=1)
        return value.sum(axis=1) - place**2 / 2, residuals, 1 + deviation**2 * spread

    mode = np.zeros((len(right), 1))
    for _ in range(100):
        _, residuals, curvature = at(mode)
        step = (deviation * residuals.sum(axis=1) - mode) / curvature
        mode += np.clip(step, -1, 1)
        if np.abs(step).max() < 1e-10:
            break
    width = 1 / np.sqrt(at(mode)[2])
    place = mode + np.sqrt(2) * width * _NODES
    value, residuals, _ = at(place)
    logs = value + _NODES**2 + np.log(_WEIGHTS)
    total = special.logsumexp(logs, axis=1)
    shares = np.exp(logs - total[:, None])  # of a group's nodes, its posterior
    # Fisher's identity: the gradient is that of the joint likelihood, averaged over the posterior.
    of_arms = np.einsum("gan,gn->ga", residuals, shares)
    of_deviation = (residuals.sum(axis=1) * place * shares).sum(axis=1)
    return total + np.log(width[:, 0]) - np.log(np.pi) / 2, np.column_stack([of_arms, of_deviation])
