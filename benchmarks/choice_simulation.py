"""How often does a choice among resolutions err? Simulated ladders whose true losses are known.

    python -m benchmarks.choice_simulation --table cells.csv
    python -m benchmarks.choice_simulation --quick
    python -m benchmarks.choice_simulation --other --table other.csv

Arm 0 is the cheapest. `balanced`: every arm draws a share of its answers anew, so that all are
truly equal; `one-sided`: the cheapest arm loses answers of the last and gains none, and the others
are equal. In clusters of 1 to 8 questions a group shares its difficulty, and most of the losses and
redrawn answers fall into a few groups. `--other` has generators of other kinds.
The Monte Carlo error of a rate r of n studies is sqrt(r (1 - r) / n): 0.5 points at 5 % of 2,000.
"""

import argparse
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from medres.statistics import best
from medres.statistics import groups as of_groups

Floats = NDArray[np.float64]
Answers = NDArray[np.bool_]
N_GROUPS = (30, 60, 120, 240)
DISCORDANCES = (0.02, 0.05, 0.10)
MARGINS = (0.05, 0.02)
LIKENESS = 0.3
"""Correlation of two questions of a cluster in whether their answer changes."""
N_TRUTH = 100_000
"""Groups of the one large study that tells discordance, likeness of gains and, where there is no
formula, the true losses."""


@dataclass(frozen=True)
class Study:
    """One simulated study: who answered what correctly, and the groups of the questions."""

    correct: Answers
    groups: NDArray[np.int64]


@dataclass(frozen=True)
class Cell:
    """What is varied from one line of the table to the next."""

    generator: str
    n_groups: int
    discordance: float
    is_clustered: bool
    n_arms: int


def grouped(rng: np.random.Generator, cell: Cell, n_groups: int) -> NDArray[np.int64]:
    """Return the group of each question."""
    sizes = rng.integers(1, 9, n_groups) if cell.is_clustered else np.ones(n_groups, dtype=int)
    return np.repeat(np.arange(n_groups), sizes)


def shares(rng: np.random.Generator, mean: float, cell: Cell, n_groups: int) -> Floats:
    """Return each group's share of changes: alike for single questions, else as LIKENESS says."""
    if not cell.is_clustered:
        return np.full(n_groups, mean)
    scale = 1 / LIKENESS - 1
    return rng.beta(mean * scale, (1 - mean) * scale, n_groups)


def redrawn(
    rng: np.random.Generator, cell: Cell, difficulty: Floats, groups: NDArray[np.int64], n_arms: int
) -> Answers:
    """Return arms of equal accuracy, any two of which differ on `discordance` of the questions."""
    n_groups = len(difficulty)
    likely = difficulty[groups]
    first = rng.random(len(groups)) < likely
    # Beta(6, 2): two answers drawn apart differ with probability 2 E[p (1 - p)] = 1/3.
    share = 1 - np.sqrt(1 - 3 * cell.discordance)
    arms = []
    for _ in range(n_arms):
        is_new = rng.random(len(groups)) < shares(rng, share, cell, n_groups)[groups]
        arms.append(np.where(is_new, rng.random(len(groups)) < likely, first))
    return np.array(arms)


def balanced(rng: np.random.Generator, cell: Cell, n_groups: int) -> Study:
    """Arms that are truly equal."""
    groups = grouped(rng, cell, n_groups)
    difficulty = rng.beta(6, 2, n_groups)
    return Study(redrawn(rng, cell, difficulty, groups, cell.n_arms), groups)


def one_sided(rng: np.random.Generator, cell: Cell, n_groups: int) -> Study:
    """The cheapest arm loses `discordance` of the last arm's answers and gains none."""
    groups = grouped(rng, cell, n_groups)
    others = redrawn(rng, cell, rng.beta(6, 2, n_groups), groups, cell.n_arms - 1)
    lost = shares(rng, cell.discordance / 0.75, cell, n_groups)[groups]
    return Study(np.vstack([others[-1] & (rng.random(len(groups)) >= lost), others]), groups)


def steps(rng: np.random.Generator, cell: Cell, n_groups: int) -> Study:
    """Every arm loses some of the next one's right answers."""
    groups = grouped(rng, cell, n_groups)
    arms = [rng.random(len(groups)) < rng.beta(6, 2, n_groups)[groups]]
    for _ in range(cell.n_arms - 1):
        mean = cell.discordance / (cell.n_arms - 1) / 0.75
        lost = shares(rng, mean, cell, n_groups)[groups]
        arms.insert(0, arms[0] & (rng.random(len(groups)) >= lost))
    return Study(np.array(arms), groups)


def logistic(rng: np.random.Generator, cell: Cell, n_groups: int) -> Study:
    """Difficulty of group and question in log-odds; the cheapest arm has a quarter less of them."""
    groups = grouped(rng, cell, n_groups)
    return Study(_logistic(rng, cell, groups, 1.5, 2.5, 0.25, 0.0), groups)


def near_perfect(rng: np.random.Generator, cell: Cell, n_groups: int) -> Study:
    """The same near 98 %."""
    groups = grouped(rng, cell, n_groups)
    return Study(_logistic(rng, cell, groups, 6.5, 1.5, 0.5, 0.0), groups)


def arms_suit_groups(rng: np.random.Generator, cell: Cell, n_groups: int) -> Study:
    """Arms of equal accuracy, each of which suits some groups better than others."""
    groups = grouped(rng, cell, n_groups)
    return Study(_logistic(rng, cell, groups, 1.5, 1.0, 0.0, 0.8), groups)


def one_holds_a_third(rng: np.random.Generator, cell: Cell, n_groups: int) -> Study:
    """One group holds a third of the questions; the cheapest arm loses as in `one_sided`."""
    sizes = np.full(n_groups, 4)
    # In blocks of the study's groups, so that a large study has the same make-up.
    sizes[:: cell.n_groups] = 2 * (cell.n_groups - 1)
    groups = np.repeat(np.arange(n_groups), sizes)
    native = rng.random(len(groups)) < rng.beta(6, 2, n_groups)[groups]
    arms = [native]
    for _ in range(cell.n_arms - 1):
        lost = shares(rng, cell.discordance / 0.75, cell, n_groups)[groups]
        arms.insert(0, native & (rng.random(len(groups)) >= lost))
    return Study(np.array(arms), groups)


def rare_whole_groups(rng: np.random.Generator, cell: Cell, n_groups: int) -> Study:
    """The cheapest arm loses whole groups at once, as where one scanner's images fail."""
    groups = grouped(rng, cell, n_groups)
    others = redrawn(rng, cell, rng.beta(6, 2, n_groups), groups, cell.n_arms - 1)
    lost = (rng.random(n_groups) < cell.discordance / 0.75)[groups]
    return Study(np.vstack([others[-1] & ~lost, others]), groups)


def _logistic(
    rng: np.random.Generator,
    cell: Cell,
    groups: NDArray[np.int64],
    centre: float,
    spread: float,
    lost: float,
    by_arm: float,
) -> Answers:
    """Return answers by log-odds; all arms share one chance per question, but for a tenth."""
    n_groups, n_questions = groups.max() + 1, len(groups)
    log_odds = centre + spread * rng.normal(size=n_groups)[groups] + rng.normal(size=n_questions)
    chance = rng.random(n_questions)
    arms = []
    for arm in range(cell.n_arms):
        own = log_odds - lost * (arm == 0) + by_arm * rng.normal(size=n_groups)[groups]
        is_new = rng.random(n_questions) < 0.1
        drawn = np.where(is_new, rng.random(n_questions), chance)
        arms.append(drawn < special.expit(own))
    return np.array(arms)


MAIN: dict[str, Callable[[np.random.Generator, Cell, int], Study]] = {
    "balanced": balanced,
    "one-sided": one_sided,
}
OTHER = {
    "logistic": logistic,
    "near perfect": near_perfect,
    "arms suit groups": arms_suit_groups,
    "one holds a third": one_holds_a_third,
    "steps": steps,
    "whole groups": rare_whole_groups,
}
GENERATORS = MAIN | OTHER


@dataclass(frozen=True)
class Truth:
    """What is true of a cell, from its definition or one large study."""

    losses: Floats
    discordance: float
    correlation: float
    questions_each: float


def truth_of(cell: Cell) -> Truth:
    """Return true losses, and discordance and likeness of gains of the last arm over the first."""
    draw = GENERATORS[cell.generator]
    n_groups = N_TRUTH // 10 // cell.n_groups * cell.n_groups
    studies = [draw(np.random.default_rng(seed), cell, n_groups) for seed in range(10)]
    correct = np.concatenate([study.correct for study in studies], axis=1).astype(float)
    accuracies = correct.mean(axis=1)
    found = accuracies.max() - accuracies
    if cell.generator in ("balanced", "arms suit groups"):
        found = np.zeros(cell.n_arms)
    if cell.generator in ("one-sided", "whole groups"):
        found = np.array([cell.discordance] + [0.0] * (cell.n_arms - 1))
    if cell.generator == "one holds a third":
        found = np.array([cell.discordance] * (cell.n_arms - 1) + [0.0])
    if cell.generator in ("logistic", "near perfect"):
        found = np.array([accuracies[1:].mean() - accuracies[0]] + [0.0] * (cell.n_arms - 1))
    if cell.generator == "steps":
        kept = 1 - cell.discordance / (cell.n_arms - 1) / 0.75
        found = 0.75 * (1 - kept ** np.arange(cell.n_arms - 1, -1, -1))
    gains = correct[-1] - correct[0]
    lengths = [study.groups.max() + 1 for study in studies]
    offsets = np.repeat(np.cumsum([0, *lengths[:-1]]), [len(study.groups) for study in studies])
    groups = np.concatenate([study.groups for study in studies]) + offsets
    sizes = np.bincount(groups)
    centred = gains - gains.mean()
    sums = np.bincount(groups, weights=centred)
    pairs = (sizes * (sizes - 1)).sum()
    within = float((sums**2).sum() - (centred**2).sum()) / pairs if pairs else 0.0
    return Truth(
        losses=found,
        discordance=float((gains != 0).mean()),
        correlation=min(1.0, max(0.0, within / centred.var())),
        questions_each=len(gains) / len(sizes),
    )


def simulated(cell: Cell, n_studies: int) -> dict[str, float | int | str | bool]:
    """Return one row of the table, rates in percent of all studies.

    wrong_5, wrong_2, wrong_worst: a rung that loses more than the margin is chosen, at margins of 5
    and 2 points and just below the true loss of the cheapest. chosen_5: some rung is; lowest_5: the
    cheapest is. power_5: computed chance of the latter. undecided_5: none is chosen; open_5: none,
    or a cheaper one may be within the margin too. covers: all `excluded` hold together;
    worst_arm: that of the arm that it holds least often for; lower_covers: all `at_least` hold.
    above: why coverage is above 95 % by construction; empty if it is not.
    """
    truth = truth_of(cell)
    rng = np.random.default_rng([cell.n_groups, int(1000 * cell.discordance), cell.n_arms])
    excluded, at_least = np.ones((2, n_studies, cell.n_arms))
    chosen = np.full((n_studies, len(MARGINS) + 1), -1)
    worst = max(float(truth.losses[0]) - 1e-9, 1e-9)
    costs = list(range(cell.n_arms))
    n_refused, never, n_open = 0, 0, 0
    for at in range(n_studies):
        study = GENERATORS[cell.generator](rng, cell, cell.n_groups)
        found = best.losses(study.correct[None], study.groups)
        n_refused += any(loss.refusal for loss in found)
        never += int((study.correct[0] == study.correct[-1]).all())
        excluded[at] = [1.0 if loss.refusal else loss.excluded for loss in found]
        at_least[at] = [loss.at_least for loss in found]
        n_open += bool(best.open_arms(found, costs, MARGINS[0]))
        for column, margin in enumerate((*MARGINS, worst)):
            arm = best.choose(found, costs, margin)
            chosen[at, column] = -1 if arm is None else arm
    is_worse = [
        (chosen[:, column] >= 0) & (truth.losses[chosen[:, column]] > margin + 1e-12)
        for column, margin in enumerate((*MARGINS, worst))
    ]
    holds = excluded >= truth.losses - 1e-12
    percent = 100 / n_studies
    return {
        "generator": cell.generator,
        "arms": cell.n_arms,
        "clusters": cell.is_clustered,
        "discordance": cell.discordance,
        "groups": cell.n_groups,
        "true_loss": 100 * float(truth.losses[0]),
        "refused": percent * n_refused,
        "wrong_5": percent * float(is_worse[0].sum()),
        "wrong_2": percent * float(is_worse[1].sum()),
        "wrong_worst": percent * float(is_worse[2].sum()) if truth.losses[0] > 1e-6 else np.nan,
        "chosen_5": percent * float((chosen[:, 0] >= 0).sum()),
        "lowest_5": percent * float((chosen[:, 0] == 0).sum()),
        "power_5": 100 * computed_chance(cell, truth),
        "undecided_5": percent * float((chosen[:, 0] < 0).sum()),
        "open_5": percent * n_open,
        "covers": percent * float(holds.all(axis=1).sum()),
        "worst_arm": percent * float(holds.sum(axis=0).min()),
        "lower_covers": percent * float((at_least <= truth.losses + 1e-12).all(axis=1).sum()),
        "never_differ": percent * never,
        "above": _above(truth, cell),
    }


def computed_chance(cell: Cell, truth: Truth) -> float:
    """Return the chance that is computed for the cheapest arm to come out within 5 points."""
    sizes = np.bincount(GENERATORS[cell.generator](np.random.default_rng(0), cell, 12_000).groups)
    in_effect = of_groups.effective(sizes) / len(sizes)
    if cell.generator == "one holds a third":
        in_effect = of_groups.effective([2 * (cell.n_groups - 1)] + [4] * (cell.n_groups - 1))
        in_effect /= cell.n_groups
    return best.chance_to_decide(
        max(1, round(cell.n_groups * in_effect)),
        truth.questions_each / in_effect,
        n_arms=cell.n_arms,
        margin=MARGINS[0],
        discordance=truth.discordance,
        loss=min(float(truth.losses[0]), truth.discordance),
        correlation=truth.correlation,
    )


def _above(truth: Truth, cell: Cell) -> str:
    """Return why coverage must be above 95 %; empty if nothing forces it."""
    if truth.losses.max() < 1e-9:
        return "true losses are 0"
    if truth.discordance * cell.n_groups < 6:
        return "pairs hardly ever differ"
    if (truth.losses < 1e-9).sum() > 1:
        return "several arms are the best"
    return ""


def main() -> None:
    """Print the table of the chosen cells."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--quick", action="store_true", help="200 studies of a few cells")
    parser.add_argument("--other", action="store_true", help="generators of other kinds")
    parser.add_argument("--generators", nargs="+", choices=GENERATORS, help="of these alone")
    parser.add_argument("--arms", type=int, nargs="+", default=[2, 6])
    parser.add_argument("--table", type=Path, help="CSV file to write")
    given = parser.parse_args()
    cells = [
        Cell(*values)
        for values in itertools.product(
            given.generators or (OTHER if given.other else MAIN),
            (30, 120) if given.quick else N_GROUPS,
            (0.05,) if given.quick else DISCORDANCES,
            (False, True),
            given.arms,
        )
    ]
    cells.sort(key=lambda cell: (cell.n_arms, cell.generator, cell.is_clustered))
    started, rows = time.process_time(), []
    for cell in cells:
        rows.append(simulated(cell, 200 if given.quick else given.studies))
        if given.table:
            pd.DataFrame(rows).round(2).to_csv(given.table, index=False)
    with pd.option_context(
        "display.width", 250, "display.max_rows", None, "display.max_columns", None
    ):
        print(pd.DataFrame(rows).round(1).to_string(index=False))
    print(f"{time.process_time() - started:.0f} s of CPU")


if __name__ == "__main__":
    main()
