"""How far the limits of calibration can be trusted: coverage of drawn answers.

    python -m benchmarks.calibration --n-draws 1000

Questions of a group share luck (correlation 0.15 of a normal copula), and every question's true
probability of a right answer is known, so that true overconfidence and calibration error are.
Stated confidence is the true probability, or twice its log-odds, or its log-odds plus two. With
several trainings each has a spread of its own in log-odds of being right.
"""

import argparse
import zlib

import numpy as np
from scipy import special, stats

from medres.statistics import calibration

LIKENESS = 0.15
STATED = {"right": (1.0, 0.0), "log-odds doubled": (2.0, 0.0), "log-odds plus 2": (1.0, 2.0)}
DIFFICULTIES = {0.75: (2.0, 2.0, 2), 0.875: (6.0, 1.0, 8), 0.99: (20.0, 0.4, 2)}
"""Accuracy: parameters of a beta distribution of the true probability above guessing, options."""
GROUPS = ((6, 20, "even"), (8, 10, "even"), (15, 8, "even"), (30, 8, "even"), (30, 8, "skewed"),
          (30, 8, "half in one"), (120, 8, "even"), (200, 2, "even"), (400, 1, "even"))  # fmt: skip


def group_sizes(n_groups: int, n_each: int, shape: str) -> np.ndarray:
    """Return the questions of each group."""
    sizes = np.full(n_groups, n_each)
    if shape == "half in one":
        sizes[0] = n_each * (n_groups - 1)
    if shape == "skewed":
        drawn = n_each * np.exp(np.random.default_rng(1).normal(0, 1, n_groups))
        sizes = np.maximum(1, drawn.round()).astype(int)
    return sizes


def main() -> None:
    """Print one line per setting."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--n-draws", type=int, default=300)
    parser.add_argument("--n-trainings", type=int, default=1)
    parser.add_argument("--spread", type=float, default=0.0, help="between trainings, in log-odds")
    asked = parser.parse_args()
    calibration.N_DRAWS = 2_000  # enough for limits of 95 %
    error = 100 * (0.05 * 0.95 / asked.n_draws) ** 0.5
    print(f"{asked.n_trainings} trainings, spread {asked.spread}; Monte Carlo error {error:.1f}")
    print("groups, accuracy, stated | over: true covers | error: true covers estimate binned")
    for sizes_asked in GROUPS:
        sizes = group_sizes(*sizes_asked)
        for accuracy in DIFFICULTIES:
            for stated in STATED:
                found = simulate(
                    sizes, accuracy, stated, asked.n_draws, asked.n_trainings, asked.spread
                )
                setting = f"{sizes_asked[0]:3d} x {sizes_asked[1]:2d} {sizes_asked[2]:11s}"
                numbers = " ".join(f"{100 * value:6.1f}" for value in found)
                print(f"{setting} {accuracy:5.3f} {stated:16s} | {numbers}", flush=True)


def simulate(
    sizes: np.ndarray, accuracy: float, stated: str, n_draws: int, n_trainings: int, spread: float
) -> list[float]:
    """Return true values, coverage and mean estimates of one setting, fractions."""
    rng = np.random.default_rng(zlib.crc32(repr((sizes.tolist(), accuracy, stated)).encode()))
    times, plus = STATED[stated]
    first, second, n_options = DIFFICULTIES[accuracy]

    def true_log_odds(n: int) -> np.ndarray:
        guess = 1 / n_options
        drawn = guess + (1 - guess) * rng.beta(first, second, n)
        return np.asarray(special.logit(np.clip(drawn, 1e-9, 1 - 1e-9)))

    many = true_log_odds(100_000)
    luck = spread * stats.norm.ppf((np.arange(40) + 0.5) / 40)[:, None]
    gaps = special.expit(times * many + plus) - special.expit(many + luck)
    true_over, true_error = float(gaps.mean()), float(np.abs(gaps).mean())
    groups = np.repeat(np.arange(len(sizes)), sizes)
    rows = []
    for number in range(n_draws):
        log_odds = true_log_odds(len(groups))
        sure = np.tile(special.expit(times * log_odds + plus), (n_trainings, 1))
        # One training's luck with a question is partly that of the question.
        of_group = rng.standard_normal(len(sizes))[groups]
        own = rng.standard_normal((n_trainings, len(groups)))
        luck = np.sqrt(LIKENESS) * of_group + np.sqrt(1 - LIKENESS) * own
        chance = special.expit(log_odds + spread * rng.standard_normal((n_trainings, 1)))
        right = stats.norm.cdf(luck) < chance
        found = calibration.measure(sure, right, groups, rng=np.random.default_rng(number))
        over, error = found.overconfidence, found.error
        rows.append(
            [
                over.lower <= true_over <= over.upper,
                error.lower <= true_error + 1e-12 <= error.upper + 1e-12,
                error.estimate,
                found.binned_error,
            ]
        )
    covers_over, covers_error, estimate, binned = np.mean(rows, axis=0)
    return [true_over, covers_over, true_error, covers_error, estimate, binned]


if __name__ == "__main__":
    main()
