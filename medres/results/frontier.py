"""What accuracy costs in visual tokens: which arms another arm beats at no more tokens.

An arm is dominated only if a paired comparison says so, simultaneously with all others of its kind;
what the answers show without deciding it is said apart.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from medres import coded, views
from medres.published.claims import Claim
from medres.results import grids, paired
from medres.results.grids import place
from medres.results.numbers import percent, points
from medres.texts import in_markdown

ON, MAY_BE_ON = "on the frontier", "may be on the frontier"
DOMINATED, MAY_BE_DOMINATED = "dominated", "may be dominated"
VERDICTS = (ON, MAY_BE_ON, MAY_BE_DOMINATED, DOMINATED)
READS = ["reported_tokens"]
"""Columns of answers that are read beside `stored.COUNTED`."""
MOST_SAID = 6
"""Arms or steps that are all named in a sentence; of more, those that decide something."""
RUNGS, ARMS = "rungs of one train resolution", "all arms"
"""What an arm is compared with. The arms of one data set and model, or of one train resolution of
these, are one frontier, whose comparisons are one family."""
KEYS = {ARMS: ["dataset", "model"], RUNGS: ["dataset", "model", "train_resolution"]}
SHOWN = (
    "family dataset model arm verdict mean_visual_tokens accuracy lower upper tokens_per_point "
    "because n_questions n_groups"
).split()
"""Columns of the table that are shown on a page; the CSV holds all."""
COLUMNS = (
    "family dataset model train_resolution eval_resolution arm mean_visual_tokens accuracy lower "
    "upper verdict because against tokens_more difference difference_lower difference_upper "
    "is_decided tokens_per_point tokens_per_point_least tokens_per_point_most n_seeds n_questions "
    "n_groups n_family"
).split()
CAPTION = (
    "On the frontier: shown to beat every arm that costs no more tokens. Dominated: such an arm is "
    "shown to beat it. Intervals of differences hold together for all comparisons of one frontier. "
    "Tokens per point: visual tokens per image that one more percentage point costs, against the "
    "most accurate of the cheaper arms, where a gain is shown. Accuracy with 95 % confidence "
    "interval, clustered by group."
)


def rungs(answers: pd.DataFrame) -> pd.DataFrame:
    """Return the answers at resolutions to choose from, with the visual tokens that they cost.

    Blank images are left out; mixed answers, which are taken from low and native ones; enlarged
    images, which cost the tokens of native ones; and several views of an image with their plain
    opponents, which are no sizes of one image (`view_arms`). Tokens are those that a
    server reported, where it did. A resolution without either is left out too (see `unpriced`).

    Args:
        answers: As from `grids.answers`.
    """
    found = offered(answers)
    is_unpriced = _is_unpriced(found)
    return (found[~is_unpriced] if is_unpriced.any() else found).reset_index(drop=True)


def unpriced(answers: pd.DataFrame) -> str:
    """Return which resolutions have no known tokens, as a sentence; empty if none."""
    found = offered(answers)
    names = found.loc[_is_unpriced(found), "eval_resolution"].unique()
    if not len(names):
        return ""
    return f"Left out, because their visual tokens are not known: {', '.join(names)}. "


def offered(answers: pd.DataFrame) -> pd.DataFrame:
    """Return the answers at resolutions to choose from, as `rungs` but with unknown tokens too."""
    left_out = {"blank", "mixed", "upsampled", *views.KINDS}
    is_left_out = coded.each(
        answers["eval_resolution"], lambda name: name.partition("-")[0] in left_out
    )
    found = answers[~is_left_out]
    tokens = found["visual_tokens"].astype(float)
    tokens = tokens.where(tokens > 0)  # 0 is of a model that nothing is known of
    if "reported_tokens" in found:  # what the server counted is what it costs
        tokens = found["reported_tokens"].astype(float).fillna(tokens)
    return found.assign(visual_tokens=tokens)


def _is_unpriced(found: pd.DataFrame) -> np.ndarray:
    """Return whether the tokens of any answer of each row's arm are unknown."""
    _, of_row = coded.combinations([found[name] for name in grids.CELL[:4]])
    is_unknown = found["visual_tokens"].isna().to_numpy()
    return np.isin(of_row, of_row[is_unknown])


def table(answers: pd.DataFrame) -> pd.DataFrame:
    """Return every arm with its accuracy, tokens and place, cheapest first.

    Args:
        answers: As from `rungs`.

    Returns:
        Of models with several train resolutions, one row per arm among all arms; then one per arm
        among the rungs of its train resolution, where there are several. Columns dataset, model,
        family (`RUNGS` or `ARMS`), train_resolution, eval_resolution, arm (train→eval),
        mean_visual_tokens, accuracy, lower, upper, verdict (one of `VERDICTS`), because (what it
        rests on), against (the arm that is given up for it; empty for the cheapest), tokens_more,
        difference with its limits (simultaneous) and whether it is decided, tokens_per_point (NaN
        where no gain is shown) with what it is at least and at most (inf where no gain is shown),
        n_seeds, n_questions, n_groups, n_family (comparisons that hold together).
    """
    if answers.empty:
        return pd.DataFrame(columns=COLUMNS)
    cells = grids.over_trainings(answers)
    rows: list[dict[str, Any]] = []
    # Few columns: texts of all answers would be copied for every frontier.
    narrow = answers[[*grids.CELL, "question_id", "group", "correct"]]
    for family, keys in KEYS.items():
        of_frontier = dict(iter(narrow.groupby(keys, sort=False)))
        for place_, part in cells.groupby(keys, sort=False):
            if _is_choice(part, family):
                names = part[["train_resolution", "eval_resolution"]]
                claims = _claims(sorted(names.itertuples(index=False, name=None)))
                compared = paired.comparisons(of_frontier[place_], claims)
                rows += _placed(part, _gaps(compared), family)
    return pd.DataFrame(rows, columns=COLUMNS)


def _is_choice(part: pd.DataFrame, family: str) -> bool:
    return len(part) > 1 and (family == RUNGS or part["train_resolution"].nunique() > 1)


def _claims(arms: Sequence[tuple[str, str]]) -> tuple[Claim, ...]:
    """Return every pair of arms as a comparison without a claimed sign."""
    return tuple(Claim("", "", first, second, +1, "") for first, second in combinations(arms, 2))


@dataclass(frozen=True)
class Gap:
    """By how much one arm is better than another, and whether that is decided."""

    difference: float
    lower: float
    upper: float
    is_decided: bool
    is_same: bool
    """Whether both gave equally right answers to every question."""
    reason: str
    n_family: int


Gaps = dict[tuple[str, str], Gap]
"""By an arm, as train→eval, and the one that it is compared with."""


def _gaps(compared: pd.DataFrame) -> Gaps:
    gaps = {}
    for row in compared.itertuples():
        rest = (
            row.verdict in (paired.SUPPORTED, paired.CONTRADICTED),
            row.n_first_only + row.n_second_only == 0,
            row.reason,
            row.n_family,
        )
        gaps[row.second, row.first] = Gap(row.difference, row.lower, row.upper, *rest)
        gaps[row.first, row.second] = Gap(-row.difference, -row.upper, -row.lower, *rest)
    return gaps


def _placed(part: pd.DataFrame, gaps: Gaps, family: str) -> list[dict[str, Any]]:
    """Return the rows of one frontier."""
    arms = part.assign(arm=part["train_resolution"] + "→" + part["eval_resolution"])
    # Of equal tokens the more accurate first, so that it is what the next is measured against.
    arms = arms.sort_values(["mean_visual_tokens", "accuracy"], ascending=[True, False])
    rows = []
    for row in arms.itertuples():
        others = arms[
            (arms["mean_visual_tokens"] <= row.mean_visual_tokens * (1 + 1e-9))
            & (arms["arm"] != row.arm)
        ]
        cheaper = arms[arms["mean_visual_tokens"] < row.mean_visual_tokens * (1 - 1e-9)]
        verdict, because = _verdict(row, others, gaps)
        rows.append(
            {
                **{name: getattr(row, name) for name in COLUMNS if hasattr(row, name)},
                "family": family,
                "verdict": verdict,
                "because": because,
                "n_family": next(iter(gaps.values())).n_family,
                **_price(row, cheaper, gaps),
            }
        )
    return rows


def _verdict(row: Any, others: pd.DataFrame, gaps: Gaps) -> tuple[str, str]:
    """Return where an arm stands among those that cost no more, and why."""
    to_others = {
        other.arm: gaps[row.arm, other.arm]
        for other in others.itertuples()
        if not (
            gaps[row.arm, other.arm].is_same
            and math.isclose(other.mean_visual_tokens, row.mean_visual_tokens)
        )
    }
    if not to_others:
        return ON, "no other arm costs as little"
    kinds = {
        DOMINATED: [
            name for name, gap in to_others.items() if gap.is_decided and gap.difference < 0
        ],
        MAY_BE_DOMINATED: [name for name, gap in to_others.items() if gap.difference <= 0],
        MAY_BE_ON: [name for name, gap in to_others.items() if not gap.is_decided],
    }
    for verdict, names in kinds.items():
        if names:
            worst = min(names, key=lambda name: to_others[name].difference)
            return verdict, _said(worst, to_others[worst])
    return ON, "beats every arm that costs no more"


def _said(name: str, gap: Gap) -> str:
    """Return how another arm that costs no more compares, in words."""
    if gap.difference == 0:
        said = f"{name} is level with it ({points(-gap.upper)} to {points(-gap.lower)})"
    elif gap.difference < 0:
        verb = "beats it" if gap.is_decided else "is ahead"
        ahead = percent(-gap.difference)
        said = f"{name} {verb} by {ahead} points ({points(-gap.upper)} to {points(-gap.lower)})"
    else:
        ahead = percent(gap.difference)
        said = (
            f"it is ahead of {name} by {ahead} points ({points(gap.lower)} to {points(gap.upper)})"
        )
    return f"{said}; {gap.reason}" if gap.reason else said


def _price(row: Any, cheaper: pd.DataFrame, gaps: Gaps) -> dict[str, Any]:
    """Return what an arm adds to the most accurate of the cheaper ones, and at how many tokens."""
    if cheaper.empty:
        return {"against": ""}
    best = cheaper.loc[cheaper["accuracy"].idxmax()]
    gap = gaps[row.arm, best["arm"]]
    more = row.mean_visual_tokens - best["mean_visual_tokens"]

    def per_point(gain: float) -> float:
        return more / (100 * gain) if gain > 0 else gain if math.isnan(gain) else math.inf

    return {
        "against": best["arm"],
        "tokens_more": more,
        "difference": gap.difference,
        "difference_lower": gap.lower,
        "difference_upper": gap.upper,
        "is_decided": gap.is_decided,
        "tokens_per_point": per_point(gap.difference)
        if gap.is_decided and gap.difference > 0
        else math.nan,
        "tokens_per_point_least": per_point(gap.upper),
        "tokens_per_point_most": per_point(gap.lower),
    }


def sentence(found: pd.DataFrame, answers: pd.DataFrame) -> str:
    """Return which arms are on the frontier of each data set and model, as lines.

    Args:
        found: As from `table`.
        answers: As from `rungs`.
    """
    lines = []
    several = set(found.loc[found["family"] == ARMS, ["dataset", "model"]].itertuples(index=False))
    for (dataset, model), part in answers.groupby(["dataset", "model"], sort=False):
        named = in_markdown(place(answers)[part.index[0]])
        rows = found[(found["dataset"] == dataset) & (found["model"] == model)]
        if rows.empty:
            only = in_markdown(str(part["eval_resolution"].iloc[0]))
            lines.append(f"* {named}: evaluated at one resolution ({only}): nothing to choose.")
            continue
        shown = rows[rows["family"] == (ARMS if (dataset, model) in several else RUNGS)]
        is_one = shown["train_resolution"].nunique() == 1
        arms = shown["eval_resolution"] if is_one else shown["arm"]
        parts = [
            _listed(arms[shown["verdict"] == verdict], verdict, n_arms=len(arms))
            for verdict in VERDICTS
        ]
        lines.append(f"* {named}: {'; '.join(filter(None, parts))}.")
        lines += _costs(rows[rows["family"] == RUNGS])
    return "\n".join(lines)


def _listed(arms: pd.Series, verdict: str, *, n_arms: int) -> str:
    """Return the arms of a verdict; of many arms those that are dominated by their number."""
    if arms.empty:
        return ""
    said = verdict if verdict in (ON, DOMINATED) else f"{verdict} (not decided)"
    if n_arms > MOST_SAID and verdict in (MAY_BE_DOMINATED, DOMINATED):
        return f"**{said}**: {len(arms)} of {n_arms} arms"
    return f"**{said}**: {', '.join(map(in_markdown, arms))}"


def _costs(rows: pd.DataFrame) -> Sequence[str]:
    """Return what a point costs on the way up, of each train resolution.

    Of many steps only those are said whose gain is decided, the others counted.
    """
    steps = rows[rows["difference"].notna()]
    is_said = steps["is_decided"].astype(bool) | (len(steps) <= MOST_SAID)
    lines = []
    for trained, part in steps[is_said].groupby("train_resolution", sort=False):
        said = [_cost(row) for row in part.itertuples()]
        begin = "not trained here" if trained == "none" else f"trained {trained}"
        lines.append(f"    * {begin}: {'; '.join(said)}.")
    if n_open := int((~is_said).sum()):
        lines.append(f"    * Of {len(steps)} steps to more tokens, the gain of {n_open} is open.")
    return lines


def _cost(row: Any) -> str:
    gain = (
        f"{points(row.difference)} points ({points(row.difference_lower)} to "
        f"{points(row.difference_upper)})"
    )
    to = f"{_eval(row.against)} to {_eval(row.arm)}, {row.tokens_more:,.0f} tokens more: {gain}"
    if not row.is_decided:
        return f"{to}, so that a gain is not decided"
    if row.difference > 0:
        least, most = row.tokens_per_point_least, row.tokens_per_point_most
        per_point = f"{_tokens(row.tokens_per_point)} tokens per point"
        limits = (
            f"{_tokens(least)} or more"
            if math.isinf(most)
            else f"{_tokens(least)} to {_tokens(most)}"
        )
        return f"{to}, {per_point} ({limits})"
    return f"{to}, which costs more and is worse"


def _eval(arm: str) -> str:
    return in_markdown(arm.partition("→")[2])


def _tokens(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"
