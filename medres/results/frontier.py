"""What accuracy costs in visual tokens: which arms another arm beats at no more tokens.

An arm is dominated only if a paired comparison says so, simultaneously with all others of its kind;
what the answers show without deciding it is said apart.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import pandas as pd

from medres.published.claims import Claim
from medres.results import grids, paired
from medres.results.grids import place
from medres.results.numbers import percent, points
from medres.texts import in_markdown

ON, MAY_BE_ON = "on the frontier", "may be on the frontier"
DOMINATED, MAY_BE_DOMINATED = "dominated", "may be dominated"
VERDICTS = (ON, MAY_BE_ON, MAY_BE_DOMINATED, DOMINATED)
RUNGS, ARMS = "rungs of one train resolution", "all arms"
"""What an arm is compared with; each is one family of comparisons, over all data sets and models.
"""
SHOWN = (
    "dataset model among arm mean_visual_tokens accuracy lower upper verdict because against "
    "difference difference_lower difference_upper tokens_per_point n_questions n_groups"
).split()
COLUMNS = (
    "dataset model among train_resolution eval_resolution arm mean_visual_tokens accuracy lower "
    "upper verdict because against tokens_more difference difference_lower difference_upper "
    "tokens_per_point tokens_per_point_least tokens_per_point_most n_seeds n_questions n_groups "
    "n_family"
).split()
CAPTION = (
    "On the frontier: shown to beat every arm that costs no more tokens. Dominated: such an arm is "
    "shown to beat it. Against: the arm that is given up for it, the dearest of the more accurate "
    "ones among the cheaper, with the difference in accuracy; its intervals hold together for all "
    "comparisons of the table's kind. Tokens per point: visual tokens per image that one "
    "percentage point costs there. Accuracy with 95 % confidence interval, clustered by group."
)


def rungs(answers: pd.DataFrame) -> pd.DataFrame:
    """Return the answers at resolutions to choose from, with the visual tokens that they cost.

    Blank images are left out; mixed answers, which are taken from low and native ones; and
    enlarged images, which cost the tokens of native ones. Tokens that were not planned are those
    that the server reported. A resolution without either is left out too (see `unpriced`).

    Args:
        answers: As from `grids.answers`.
    """
    found = _offered(answers)
    return found[~_is_unpriced(found)].reset_index(drop=True)


def unpriced(answers: pd.DataFrame) -> str:
    """Return which resolutions have no known tokens, as a sentence; empty if none."""
    found = _offered(answers)
    names = found.loc[_is_unpriced(found), "eval_resolution"].unique()
    if not len(names):
        return ""
    return f"Left out, because their visual tokens are not known: {', '.join(names)}. "


def _offered(answers: pd.DataFrame) -> pd.DataFrame:
    kinds = answers["eval_resolution"].str.partition("-")[0]
    found = answers[~kinds.isin(["blank", "mixed", "upsampled"])]
    tokens = found["visual_tokens"].astype(float)
    if "reported_tokens" in found:
        tokens = tokens.fillna(found["reported_tokens"].astype(float))
    return found.assign(visual_tokens=tokens)


def _is_unpriced(found: pd.DataFrame) -> pd.Series:
    of_arm = found["visual_tokens"].isna().groupby([found[name] for name in grids.CELL[:4]])
    return of_arm.transform("any")


def table(answers: pd.DataFrame) -> pd.DataFrame:
    """Return every arm with its accuracy, tokens and place, cheapest first.

    Args:
        answers: As from `rungs`.

    Returns:
        One row per arm among the rungs of its train resolution, where there are several; then, of
        models with several train resolutions, one per arm among all arms. Columns dataset, model,
        among (`RUNGS` or `ARMS`), train_resolution, eval_resolution, arm (train→eval),
        mean_visual_tokens, accuracy, lower, upper, verdict (one of `VERDICTS`), because (what it
        rests on), against (the arm that is given up for it; empty for the cheapest), tokens_more,
        difference with its limits (simultaneous), tokens_per_point with what it is at least and at
        most (inf where no gain is shown), n_seeds, n_questions, n_groups, n_family (comparisons
        that hold together).
    """
    if answers.empty:
        return pd.DataFrame(columns=COLUMNS)
    cells = grids.over_trainings(answers)
    rows: list[dict[str, Any]] = []
    for among, keys in ((RUNGS, ["dataset", "model", "train_resolution"]), (ARMS, keys_of_model)):
        parts = [part for _, part in cells.groupby(keys, sort=False) if _is_choice(part, among)]
        if not parts:
            continue
        pairs = {
            pair
            for part in parts
            for pair in combinations(_names(part), 2)
            if among == ARMS or pair[0][0] == pair[1][0]
        }
        found = paired.comparisons(answers, _claims(pairs, among))
        of_model = dict(iter(found.groupby(["dataset", "model"], sort=False)))
        for part in parts:
            dataset, model = part["dataset"].iloc[0], part["model"].iloc[0]
            rows += _placed(part, _Compared.of(of_model[(dataset, model)]), among)
    return pd.DataFrame(rows, columns=COLUMNS)


keys_of_model = ["dataset", "model"]


def _is_choice(part: pd.DataFrame, among: str) -> bool:
    return len(part) > 1 and (among == RUNGS or part["train_resolution"].nunique() > 1)


def _names(part: pd.DataFrame) -> list[tuple[str, str]]:
    names = part[["train_resolution", "eval_resolution"]]
    return sorted(names.itertuples(index=False, name=None))


def _claims(pairs: set[tuple[tuple[str, str], tuple[str, str]]], among: str) -> tuple[Claim, ...]:
    return tuple(Claim("", "", first, second, +1, among) for first, second in sorted(pairs))


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


@dataclass(frozen=True)
class _Compared:
    """All pairs of arms of one model on one data set."""

    gaps: dict[tuple[str, str], Gap]

    @staticmethod
    def of(rows: pd.DataFrame) -> "_Compared":
        gaps = {}
        for row in rows.itertuples():
            is_decided = row.verdict in (paired.SUPPORTED, paired.CONTRADICTED)
            is_same = row.n_first_only + row.n_second_only == 0
            rest = is_decided, is_same, row.reason, row.n_family
            gaps[row.second, row.first] = Gap(row.difference, row.lower, row.upper, *rest)
            gaps[row.first, row.second] = Gap(-row.difference, -row.upper, -row.lower, *rest)
        return _Compared(gaps)


def _placed(part: pd.DataFrame, compared: _Compared, among: str) -> list[dict[str, Any]]:
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
        verdict, because = _verdict(row, others, compared)
        rows.append(
            {
                **{name: getattr(row, name) for name in COLUMNS if hasattr(row, name)},
                "among": among,
                "verdict": verdict,
                "because": because,
                "n_family": next(iter(compared.gaps.values())).n_family,
                **_price(row, cheaper, compared),
            }
        )
    return rows


def _verdict(row: Any, others: pd.DataFrame, compared: _Compared) -> tuple[str, str]:
    """Return where an arm stands among those that cost no more, and why."""
    gaps = {
        other.arm: compared.gaps[row.arm, other.arm]
        for other in others.itertuples()
        if not (
            compared.gaps[row.arm, other.arm].is_same
            and math.isclose(other.mean_visual_tokens, row.mean_visual_tokens)
        )
    }
    if not gaps:
        return ON, "no other arm costs as little"
    beaten_by = {name: gap for name, gap in gaps.items() if gap.is_decided and gap.difference < 0}
    if beaten_by:
        return DOMINATED, _said(beaten_by, "beats it by")
    ahead = {name: gap for name, gap in gaps.items() if gap.difference <= 0}
    if ahead:
        return MAY_BE_DOMINATED, _said(ahead, "is ahead by")
    open_ = {name: gap for name, gap in gaps.items() if not gap.is_decided}
    if open_:
        return MAY_BE_ON, _said(open_, "is behind by", sign=1)
    return ON, "beats every arm that costs no more"


def _said(gaps: dict[str, Gap], verb: str, *, sign: int = -1) -> str:
    """Return the worst of some gaps in words."""
    name, gap = min(gaps.items(), key=lambda each: each[1].difference)
    limits = sorted((sign * gap.lower, sign * gap.upper))
    reason = f"; {gap.reason}" if gap.reason else ""
    said = percent(sign * gap.difference)
    return f"{name} {verb} {said} points ({points(limits[0])} to {points(limits[1])}){reason}"


def _price(row: Any, cheaper: pd.DataFrame, compared: _Compared) -> dict[str, Any]:
    """Return what an arm adds to the most accurate of the cheaper ones, and at how many tokens."""
    if cheaper.empty:
        return {"against": ""}
    best = cheaper.loc[cheaper["accuracy"].idxmax()]
    gap = compared.gaps[row.arm, best["arm"]]
    more = row.mean_visual_tokens - best["mean_visual_tokens"]

    def per_point(gain: float) -> float:
        if math.isnan(gain):
            return math.nan
        return more / (100 * gain) if gain > 0 else math.inf

    return {
        "against": best["arm"],
        "tokens_more": more,
        "difference": gap.difference,
        "difference_lower": gap.lower,
        "difference_upper": gap.upper,
        "tokens_per_point": per_point(gap.difference),
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
    several = set(found.loc[found["among"] == ARMS, ["dataset", "model"]].itertuples(index=False))
    for (dataset, model), part in answers.groupby(["dataset", "model"], sort=False):
        named = in_markdown(place(answers)[part.index[0]])
        rows = found[(found["dataset"] == dataset) & (found["model"] == model)]
        if rows.empty:
            only = in_markdown(str(part["eval_resolution"].iloc[0]))
            lines.append(f"* {named}: evaluated at one resolution ({only}): nothing to choose.")
            continue
        among = ARMS if (dataset, model) in several else RUNGS
        shown = rows[rows["among"] == among]
        parts = [_listed(shown, verdict) for verdict in VERDICTS]
        lines.append(f"* {named}: {'; '.join(filter(None, parts))}.")
        lines += _costs(rows[rows["among"] == RUNGS])
    return "\n".join(lines)


def _listed(shown: pd.DataFrame, verdict: str) -> str:
    names = shown.loc[shown["verdict"] == verdict, "arm"].map(in_markdown)
    if names.empty:
        return ""
    said = verdict if verdict in (ON, DOMINATED) else f"{verdict} (not decided)"
    return f"**{said}**: {', '.join(names)}"


def _costs(rows: pd.DataFrame) -> Sequence[str]:
    """Return what a point costs on the way up, of each train resolution."""
    lines = []
    for trained, part in rows.groupby("train_resolution", sort=False):
        steps = part[part["difference"].notna()]
        said = [_cost(row) for row in steps.itertuples()]
        begin = "not trained here" if trained == "none" else f"trained {trained}"
        lines.append(f"    * {begin}: {'; '.join(said)}.")
    return lines


def _cost(row: Any) -> str:
    gain = (
        f"{points(row.difference)} points ({points(row.difference_lower)} to "
        f"{points(row.difference_upper)})"
    )
    to = f"{_eval(row.against)} to {_eval(row.arm)}, {row.tokens_more:,.0f} tokens more: {gain}"
    if row.difference_lower > 0:
        least, most = row.tokens_per_point_least, row.tokens_per_point_most
        return f"{to}, {_tokens(row.tokens_per_point)} tokens a point ({_tokens(least)} to {_tokens(most)})"
    if row.difference_upper < 0:
        return f"{to}, which costs more and is worse"
    return f"{to}, so that a gain is not decided"


def _eval(arm: str) -> str:
    return in_markdown(arm.partition("→")[2])


def _tokens(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"
