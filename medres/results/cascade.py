"""Asking again, at more pixels, where the model is unsure: what that gains over a random mix.

How unsure a model is comes from its stored log-probabilities: the smaller the margin of the best
option over the second, the less sure. Nothing is asked of a model here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from medres.results.calibration import SEED
from medres.results.grids import place
from medres.results.numbers import percent, points
from medres.results.paired import (
    BETWEEN_TRAININGS,
    NOT_DECIDED,
    THIS_TRAINING,
    TOO_FEW,
    UNTRAINED,
)
from medres.results.stated import Arm
from medres.statistics import cascade, families, temperature
from medres.statistics import groups as of_groups
from medres.statistics.cascade import CrossFitted
from medres.texts import in_markdown

GAINS, LOSES = "gains", "loses"
PLACE = ["dataset", "model", "train_resolution", "first", "second"]
SHOWN = (
    "dataset model step verdict difference lower upper p_adjusted covers share_again "
    "mean_visual_tokens accuracy accuracy_mix accuracy_first accuracy_second n_questions n_groups "
    "reason"
).split()
"""Columns of the table that are shown on a page; the CSV holds all."""
COLUMNS = [
    *PLACE,
    *(
        "step verdict reason difference lower upper alone_lower alone_upper over_first "
        "over_first_lower over_first_upper p_value p_adjusted covers gains_by_training "
        "share_again thresholds mean_visual_tokens accuracy accuracy_mix tokens_first "
        "accuracy_first tokens_second accuracy_second n_questions n_left_out n_groups n_seeds "
        "n_family"
    ).split(),
]
CAPTION = (
    "Difference: accuracy of the cascade minus the expected accuracy of a random mix of both "
    "resolutions at equal tokens; 95 % confidence intervals hold together for all rows of a data "
    "set and model, clustered by group and covering trainings where there are several. Adjusted p: "
    "that it beats both the mix and the first resolution alone. Visual tokens: per question, of "
    "both steps where a question was asked twice."
)
MOST_SAID = 4
"""Undecided steps that are all named in a sentence; more are counted."""
MOST_POINTS = 41
"""Of a curve: about one for each 2.5 % of the questions."""
CURVES = [
    *PLACE,
    "seed",
    "threshold",
    "share_again",
    "mean_visual_tokens",
    "accuracy",
    "accuracy_mix",
]


@dataclass(frozen=True)
class Step:
    """From one rung to a dearer one of the same model and training."""

    key: dict[str, str]
    seeds: list[int]
    steps: cascade.Steps
    groups: np.ndarray
    n_left_out: int
    """Questions that have no stated confidence at one of the rungs."""


def steps(arms: Sequence[Arm]) -> Iterator[Step]:
    """Yield the steps of every training: from each rung to the next dearer one, cheapest first.

    Where there are more than two rungs, also from the cheapest to the dearest. Of rungs that cost
    the same the first is taken.

    Args:
        arms: Of the rungs alone, as from `stated.arms` of `frontier.rungs`.
    """
    of_training: dict[tuple[str, ...], list[Arm]] = {}
    for arm in arms:
        of_training.setdefault(tuple(arm.key[name] for name in PLACE[:3]), []).append(arm)
    for rungs in of_training.values():
        by_tokens: dict[float, Arm] = {}
        for arm in rungs:
            by_tokens.setdefault(round(float(arm.visual_tokens.mean()), 9), arm)
        ladder = [by_tokens[tokens] for tokens in sorted(by_tokens)]
        pairs = list(pairwise(ladder))
        if len(ladder) > 2:
            pairs.append((ladder[0], ladder[-1]))
        for first, second in pairs:
            step = _step(first, second)
            if step is not None:
                yield step


def _step(first: Arm, second: Arm) -> Step | None:
    """Return the step between two rungs on the questions of both; None if that leaves none."""
    ids, at_first, at_second = np.intersect1d(
        first.question_ids, second.question_ids, return_indices=True
    )
    seeds = [seed for seed in first.seeds if seed in second.seeds]
    if not len(ids) or not seeds:
        return None
    of_first = [first.seeds.index(seed) for seed in seeds]
    of_second = [second.seeds.index(seed) for seed in seeds]
    costs = first.visual_tokens[at_first], second.visual_tokens[at_second]
    if not costs[1].mean() > costs[0].mean():
        return None
    best = np.sort(first.log_probabilities[of_first][:, at_first], axis=-1)
    n_most = max(len(each.question_ids) + each.n_left_out for each in (first, second))
    return Step(
        key={
            **{name: first.key[name] for name in PLACE[:3]},
            "first": first.key["eval_resolution"],
            "second": second.key["eval_resolution"],
        },
        seeds=seeds,
        steps=cascade.Steps(
            margins=best[..., -1] - best[..., -2],
            first=first.correct[of_first][:, at_first],
            second=second.correct[of_second][:, at_second],
            first_cost=costs[0],
            second_cost=costs[1],
        ),
        groups=first.groups[at_first],
        n_left_out=n_most - len(ids),
    )


def table(found: Sequence[Step]) -> pd.DataFrame:
    """Return what each step gains over a random mix at equal tokens, on questions not fitted.

    It gains something where it beats the mix and the first rung alone: where the second is worse,
    the mix pays for nothing. Half of the groups, drawn once, fit a threshold per training; the
    other half judges it; then they change places, so that every question is judged once. Intervals
    and p-values hold together for all rows of a data set and model.

    Args:
        found: As from `steps`.

    Returns:
        One row per step, in the order of `found`: columns `COLUMNS`, fractions as fractions.
        thresholds is text, of both halves and each training; verdict is `GAINS`, `LOSES`,
        NOT_DECIDED or TOO_FEW, with the reason why none could be given.
    """
    rows, judged = [], []
    is_trained_here = any(step.key["train_resolution"] != "none" for step in found)
    for step in found:
        numbers: dict[str, Any] = dict(step.key)
        trained = step.key["train_resolution"]
        numbers |= {
            "step": f"{named(trained)}: " if is_trained_here else "",
            "tokens_first": step.steps.first_cost.mean(),
            "accuracy_first": step.steps.first.mean(),
            "tokens_second": step.steps.second_cost.mean(),
            "accuracy_second": step.steps.second.mean(),
            "n_questions": len(step.groups),
            "n_left_out": step.n_left_out,
            "n_groups": len(np.unique(step.groups)),
            "n_seeds": len(step.seeds),
            "covers": _covers(step),
        }
        numbers["step"] += f"{step.key['first']}, then {step.key['second']}"
        fitted = _fitted(step)
        if fitted is not None:
            numbers |= _numbers(fitted)
        rows.append(numbers)
        judged.append(fitted)
    result = pd.DataFrame(rows, columns=COLUMNS)
    result["n_family"] = 0
    is_judged = np.array([each is not None for each in judged], dtype=bool)
    for _, rows_of_model in result[is_judged].groupby(["dataset", "model"], sort=False):
        places = rows_of_model.index
        fits = [each for each in (judged[row] for row in places) if each is not None]
        result.loc[places, "n_family"] = len(fits)
        result.loc[places, "p_adjusted"] = families.holm([_p_value(each) for each in fits])
        for name, prefix in (("gain", ""), ("over_first", "over_first_")):
            compared = [getattr(each, name) for each in fits]
            _, intervals = families.simultaneous(compared, [0.0] * len(fits))
            result.loc[places, f"{prefix}lower"] = [each.lower for each in intervals]
            result.loc[places, f"{prefix}upper"] = [each.upper for each in intervals]
    said = [
        _verdict(each, row, step)
        for each, row, step in zip(judged, result.itertuples(), found, strict=True)
    ]
    result["verdict"] = [verdict for verdict, _ in said]
    result["reason"] = [reason for _, reason in said]
    return result


def named(train_resolution: str) -> str:
    """Return a train resolution as panels and lines name it."""
    return "not trained" if train_resolution == "none" else f"trained {train_resolution}"


def _p_value(fitted: CrossFitted) -> float:
    """Return the p-value that the cascade beats both; if it does not, that it differs from the mix.

    Beating both is claimed where each is, so that the larger p-value keeps the level.
    """
    if fitted.gain.difference <= 0:
        return fitted.gain.p_value()
    of_first = fitted.over_first
    return max(fitted.gain.p_value(), of_first.p_value() if of_first.difference > 0 else 1.0)


def _fitted(step: Step) -> CrossFitted | None:
    if len(np.unique(step.groups)) < 2:
        return None
    return cascade.cross_fitted(step.steps, step.groups, rng=np.random.default_rng(SEED))


def _numbers(fitted: CrossFitted) -> dict[str, Any]:
    alone = fitted.gain.interval()
    return {
        "difference": fitted.gain.difference,
        "alone_lower": alone.lower,
        "alone_upper": alone.upper,
        "over_first": fitted.over_first.difference,
        "p_value": _p_value(fitted),
        "gains_by_training": fitted.gain.by_training,
        "share_again": fitted.share,
        "thresholds": "; ".join(
            ", ".join("∞" if np.isinf(each) else f"{each:.3g}" for each in half)
            for half in fitted.thresholds
        ),
        "mean_visual_tokens": fitted.cost,
        "accuracy": fitted.accuracy,
        "accuracy_mix": fitted.mixed,
    }


def _covers(step: Step) -> str:
    if step.key["train_resolution"] == "none":
        return UNTRAINED
    return BETWEEN_TRAININGS if len(step.seeds) > 1 else THIS_TRAINING


def _verdict(fitted: CrossFitted | None, row: Any, step: Step) -> tuple[str, str]:
    if fitted is None or fitted.gain.too_few:
        sizes = np.unique(step.groups, return_counts=True)[1]
        return TOO_FEW, of_groups.shortage(sizes)
    if not fitted.thresholds.any():
        return NOT_DECIDED, "no threshold gained where it was fitted: none is asked again"
    if reason := fitted.gain.refusal():
        return NOT_DECIDED, reason
    if row.p_adjusted <= 0.05:
        return (GAINS if row.difference > 0 else LOSES), ""
    if not row.lower > 0:
        return NOT_DECIDED, ""
    than = f"{row.first} alone ({points(row.over_first)} points, "
    than += f"{points(row.over_first_lower)} to {points(row.over_first_upper)})"
    return NOT_DECIDED, f"it beats the mix, but is not shown to beat {than}"


def curves(found: Sequence[Step]) -> pd.DataFrame:
    """Return the cascade at thresholds from none to all, in the half that is drawn first.

    These are the questions that fit: what the curve shows at its best is flattered.

    Args:
        found: As from `steps`.

    Returns:
        Columns `CURVES`: one row per step, training and threshold, at most `MOST_POINTS` each.
    """
    parts = []
    for step in found:
        if len(np.unique(step.groups)) < 2:
            continue
        is_drawn = temperature.half_of_groups(step.groups, rng=np.random.default_rng(SEED))
        fits = step.steps.of(is_drawn)
        for number, seed in enumerate(step.seeds):
            drawn = cascade.curve(fits, number)
            n = len(drawn.threshold)
            kept = np.unique(np.linspace(0, n - 1, min(n, MOST_POINTS)).round().astype(int))
            parts.append(
                pd.DataFrame(
                    {
                        **step.key,
                        "seed": seed,
                        "threshold": drawn.threshold[kept],
                        "share_again": drawn.share[kept],
                        "mean_visual_tokens": drawn.cost[kept],
                        "accuracy": drawn.accuracy[kept],
                        "accuracy_mix": drawn.mixed[kept],
                    }
                )
            )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=CURVES)


def sentence(found: pd.DataFrame) -> str:
    """Return what asking again gains, as lines for each data set and model.

    Args:
        found: As from `table`.
    """
    if found.empty:
        return (
            "* Whether asking again where the model is unsure helps: it takes two resolutions, and "
            "log-probabilities of the options."
        )
    lines = []
    for name, rows in found.groupby(place(found).map(in_markdown), sort=False):
        for verdict in (GAINS, LOSES):
            for row in rows[rows["verdict"] == verdict].itertuples():
                lines.append(
                    f"* {name}, {in_markdown(row.step)}: asking again where the model is unsure "
                    f"**{verdict} {percent(abs(row.difference))} points** {_limits(row)} over a "
                    f"random mix at equal tokens ({percent(row.share_again)} % asked again; "
                    f"{percent(row.accuracy)} % right at {row.mean_visual_tokens:,.0f} tokens)."
                )
        is_open = rows["verdict"] == NOT_DECIDED
        if is_open.any():
            each = [
                f"{in_markdown(row.step)} ({_as_seen(row)})" for row in rows[is_open].itertuples()
            ]
            said = (
                "; ".join(each) if len(each) <= MOST_SAID else f"{len(each)} of {len(rows)} steps"
            )
            lines.append(
                f"* {name}: whether asking again where the model is unsure beats a random mix at "
                f"equal tokens is **not decided**: {said}."
            )
        few = rows[rows["verdict"] == TOO_FEW]
        if len(few):
            lines.append(
                f"* {name}, asking again where the model is unsure: **{TOO_FEW}**, "
                f"{few['reason'].iloc[0]}."
            )
    return "\n".join(lines)


def _limits(row: Any) -> str:
    return f"({points(row.lower)} to {points(row.upper)})"


def _as_seen(row: Any) -> str:
    if not row.share_again > 0:
        return str(row.reason)
    seen = f"{points(row.difference)}, {points(row.lower)} to {points(row.upper)}"
    return f"{seen}; {row.reason}" if row.reason else seen
