"""The sizes that a model was asked at, as a ladder: what each gives, loses and costs.

A rung is an eval resolution that images can be sent at. Where several models were trained, each
has a ladder of its own.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from medres import mixed
from medres.results import grids, paired, stated
from medres.statistics import best, comparison
from medres.statistics.best import Loss

PLACE = ["dataset", "model", "train_resolution"]
"""What a ladder is of; its trainings are pooled."""
ARM = grids.CELL[:4]
WITHIN, MORE, UNKNOWN = "within the margin", "loses more", "cannot be told"
NOT_RUNGS = ("blank", "upsampled")
"""Kinds of resolution that nobody would send images at: no image, and native's cost for low's
detail."""
MOST_GROUPS = 50_000
"""Beyond so many groups, more of them are no advice."""
COLUMNS = (
    "dataset model train_resolution eval_resolution verdict is_chosen accuracy lower upper "
    "overconfidence tokens mean_visual_tokens reported_tokens pixels flops_per_question "
    "seconds_per_question time_to_first_token_s token_price time_price observed_loss "
    "excluded_loss shown_loss reason n_more_groups n_more_images n_seeds n_questions n_images "
    "n_groups"
).split()
OPTIONAL = (
    "reported_tokens flops_per_question seconds_per_question time_to_first_token_s token_price "
    "time_price"
).split()
"""Columns that are left out where nothing is known."""
HIDDEN = "is_chosen mean_visual_tokens reason n_more_groups".split()
"""Columns of the CSV that a page does not show."""
CAPTION = (
    "One row per size, the cheapest first. Loss: accuracy of the best size minus that of this one; "
    "observed, and the smallest loss that these questions exclude (95 % confidence, for all sizes "
    "of a ladder together), and the least that is shown. Accuracy with 95 % confidence interval, "
    "clustered by group."
)


def is_rung(resolution: str) -> bool:
    """Return whether images can be sent at an eval resolution.

    >>> [is_rung(name) for name in ("low", "pixels-50176", "mixed-25", "blank")]
    [True, True, False, False]
    """
    return not mixed.is_mixed(resolution) and resolution.partition("-")[0] not in NOT_RUNGS


def rungs(answers: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return the answers at rungs, and which rungs are left out because another is the same.

    Rungs are the same if every image of a data set became the same pixels and the same tokens.
    native, then low, stand for others.

    Args:
        answers: As from `grids.answers`.

    Returns:
        The answers, and a sentence for each data set and model with equal rungs.
    """
    names = answers["eval_resolution"].unique()
    kept = answers[answers["eval_resolution"].isin([each for each in names if is_rung(each)])]
    made = [each for each in _MADE if each in kept]
    if len(made) < len(_MADE):
        return kept.reset_index(drop=True), []
    said: list[str] = []
    dropped = pd.Series(False, index=kept.index)
    columns = ["dataset", "model", "eval_resolution", "image", *made]
    inputs = kept[columns].drop_duplicates(columns[:4])
    several = kept["model"].nunique() > 1
    for (dataset, model), part in inputs.groupby(["dataset", "model"], sort=False):
        same: dict[int, list[str]] = {}
        for name in sorted(part["eval_resolution"].unique(), key=_prominence):
            rows = part.loc[part["eval_resolution"] == name, ["image", *made]]
            found = pd.util.hash_pandas_object(rows, index=False).sort_values().to_numpy()
            same.setdefault(hash(found.tobytes()), []).append(str(name))
        for name, *others in same.values():
            if others:
                is_here = (kept["dataset"] == dataset) & (kept["model"] == model)
                dropped |= is_here & kept["eval_resolution"].isin(others)
                where = f"{dataset} ({model})" if several else str(dataset)
                verb = "is" if len(others) == 1 else "are"
                said.append(f"{where}: {', '.join(others)} {verb} {name} for every image.")
    return kept[~dropped].reset_index(drop=True), said


_MADE = ["given_width_px", "given_height_px", "resampling", "visual_tokens"]


def _prominence(name: str) -> int:
    return ("native", "low").index(name) if name in ("native", "low") else 2


@dataclass(frozen=True)
class Prices:
    """What a user states; 0 means nothing is stated."""

    per_million_tokens: float = 0.0
    per_hour: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no price.

        Raises:
            ValueError: With the parameter and its value.
        """
        for name, value in (
            ("price_per_million_tokens", self.per_million_tokens),
            ("price_per_hour", self.per_hour),
        ):
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} is {value}; a price is a number from 0 on, 0 for none")


def table(
    answers: pd.DataFrame,
    *,
    margin: float,
    taken: pd.DataFrame | None = None,
    operations: pd.DataFrame | None = None,
    prices: Prices | None = None,
) -> pd.DataFrame:
    """Return one row per rung, the cheapest of a ladder first.

    Args:
        answers: As from `rungs`.
        margin: Loss of accuracy that does not matter, a fraction.
        taken: Seconds, as from `spent.of_study`.
        operations: As from `spent.operations`.
        prices: Stated rates.

    Returns:
        `COLUMNS`. verdict is WITHIN if the excluded loss is at most the margin, MORE if the shown
        loss is above it, else UNKNOWN; reason says why nothing may rest on a rung. tokens is what
        a rung is charged for: those that the server reports, else those planned, NaN if neither is
        known. token_price and time_price are of 1,000 questions. n_more_groups and n_more_images
        are what it would take, about, to show that a rung is within the margin if all is as
        observed (80 % power); NaN if it is decided, if no number does, or if several trainings are
        pooled, where more images alone decide nothing.

    Raises:
        ValueError: If the margin is not in (0, 1), or arms answered different questions.
    """
    if not 0 < margin < 1:
        raise ValueError(f"margin is {margin}; it must be between 0 and 1, such as 0.05")
    if answers.empty:
        return pd.DataFrame(columns=COLUMNS)
    cells = grids.over_trainings(answers)
    found = cells.merge(_measured(answers), on=ARM, how="left")
    for extra in (taken, operations):
        if extra is not None and len(extra):
            key = [name for name in ARM if name in extra]
            found = found.merge(extra, on=key, how="left")
    found = found.reindex(columns=[*found, *(set(COLUMNS) - set(found))])
    stated_prices = prices or Prices()
    if stated_prices.per_million_tokens:
        found["token_price"] = stated_prices.per_million_tokens * found["tokens"] / 1000
    if stated_prices.per_hour:
        found["time_price"] = stated_prices.per_hour * found["seconds_per_question"] * 1000 / 3600
    arms = paired.arms_of(answers)
    parts = []
    for place, part in found.groupby(PLACE, sort=False):
        ladder = part.sort_values(["tokens", "pixels"], kind="stable").reset_index(drop=True)
        correct, groups = paired.stacked(
            [arms[(*map(str, place), str(name))] for name in ladder["eval_resolution"]]
        )
        parts.append(ladder.assign(**_judged(correct, groups, ladder, margin)))
    result: pd.DataFrame = pd.concat(parts, ignore_index=True)[COLUMNS]
    return result


def _measured(answers: pd.DataFrame) -> pd.DataFrame:
    """Return tokens, pixels, images and overconfidence of each arm."""
    by_arm = answers.groupby(ARM, sort=False)
    found = by_arm.agg(planned=("visual_tokens", "mean"), n_images=("image", "nunique"))
    found["reported_tokens"] = np.nan
    if "reported_tokens" in answers:
        reported = answers["reported_tokens"].astype("Float64").astype(float)
        is_known = reported.notna().groupby([answers[name] for name in ARM]).all()
        means = reported.groupby([answers[name] for name in ARM]).mean()
        found["reported_tokens"] = means.where(is_known)
    if {"given_width_px", "given_height_px"} <= set(answers):
        areas = answers["given_width_px"] * answers["given_height_px"]
        found["pixels"] = areas.groupby([answers[name] for name in ARM]).mean()
    else:
        found["pixels"] = np.nan
    planned = found["planned"].where(found["planned"] > 0)
    found["tokens"] = found["reported_tokens"].fillna(planned)
    # Of rungs of which some have no known tokens, pixels are the cost.
    places = [found.index.get_level_values(name) for name in PLACE]
    is_whole = found["tokens"].notna().groupby(places).transform("all")
    found["tokens"] = found["tokens"].where(is_whole)
    sure = {
        tuple(arm.key[name] for name in ARM): np.mean(
            [stated.confidence(each).mean() for each in arm.log_probabilities]
        )
        - arm.correct.mean()
        for arm in stated.arms(answers)
    }
    found["overconfidence"] = [sure.get(tuple(map(str, key)), np.nan) for key in found.index]
    return found.drop(columns="planned").reset_index()


def _judged(
    correct: np.ndarray, groups: Sequence[str], ladder: pd.DataFrame, margin: float
) -> dict[str, list[Any]]:
    """Return the losses of a ladder's rungs, what is said of them, and which is chosen.

    Args:
        correct: Shape (n_trainings, n_rungs, n_questions).
        groups: Shape (n_questions,).
        ladder: Its rungs, the cheapest first.
        margin: As in `table`.
    """
    losses = best.losses(correct, groups)
    chosen = best.choose(losses, costs_of(ladder), margin) if len(losses) > 1 else None
    more = [
        _more_groups(correct, groups, rung, loss, margin)
        if len(losses) > 1 and len(correct) == 1 and _verdict(loss, margin) == UNKNOWN
        else math.nan
        for rung, loss in enumerate(losses)
    ]
    images_each = ladder["n_images"].iloc[0] / ladder["n_groups"].iloc[0]
    return {
        "verdict": [_verdict(each, margin) if len(losses) > 1 else "" for each in losses],
        "is_chosen": [rung == chosen for rung in range(len(losses))],
        "observed_loss": [each.observed for each in losses],
        "excluded_loss": [each.excluded for each in losses],
        "shown_loss": [each.at_least for each in losses],
        "reason": [each.refusal for each in losses],
        "n_more_groups": more,
        "n_more_images": [
            each if math.isnan(each) else math.ceil(each * images_each) for each in more
        ],
    }


def costs_of(ladder: pd.DataFrame) -> list[int]:
    """Return the place of each rung by what it costs, equal for equal costs.

    Args:
        ladder: Rungs with tokens and pixels, the cheapest first.
    """
    pairs = ladder[["tokens", "pixels"]].round(6)
    is_dearer = (pairs != pairs.shift()) & ~(pairs.isna() & pairs.shift().isna())
    return [int(each) for each in is_dearer.any(axis=1).cumsum()]


def _verdict(loss: Loss, margin: float) -> str:
    if loss.refusal:
        return UNKNOWN
    return WITHIN if loss.excluded <= margin else MORE if loss.at_least > margin else UNKNOWN


def _more_groups(
    correct: np.ndarray, groups: Sequence[str], rung: int, loss: Loss, margin: float
) -> float:
    """Return about how many groups more would show that a rung is within the margin.

    By the discordance with the best other rung, and by the likeness within groups, as observed;
    at least as many as would bring the bound to the margin if nothing else changed.
    """
    others = [each for each in range(correct.shape[1]) if each != rung]
    rival = max(others, key=lambda each: float(correct[0, each].mean()))
    compared = comparison.compare(correct[0, rung], correct[0, rival], groups)
    questions_each = compared.n_questions / compared.n_groups
    discordance = compared.first_only + compared.second_only
    lost = max(0.0, compared.difference)
    likeness = 0.0
    if questions_each > 1 and compared.n_effective > 0:
        likeness = (compared.n_questions / compared.n_effective - 1) / (questions_each - 1)
    if not lost < margin:
        return math.nan
    needed = best.groups_to_decide(
        questions_each,
        n_arms=correct.shape[1],
        margin=margin,
        discordance=discordance,
        loss=lost,
        correlation=min(1.0, max(0.0, likeness)),
        most=MOST_GROUPS,
    )
    if needed is None:
        return math.nan
    # Groups of unequal size tell less than as many of equal size.
    enough = needed * compared.n_groups / compared.n_effective_groups
    if not math.isnan(loss.excluded):
        stretch = (loss.excluded - loss.observed) / (margin - loss.observed)
        enough = max(enough, compared.n_groups * stretch**2)
    return float(max(1, math.ceil(enough - compared.n_groups)))


def shown(ladder: pd.DataFrame) -> list[str]:
    """Return the columns that a page shows: those that say anything."""
    dull = {name for name in OPTIONAL if ladder[name].isna().all()}
    return [name for name in COLUMNS if name not in {*HIDDEN, *dull}]


def label(name: str, treatment: Mapping[str, Any] | None = None) -> str:
    """Return a short name of a rung for readers.

    Args:
        name: An eval resolution.
        treatment: From `study.treatment`, for the pixels of low; none leaves them out.

    >>> label("pixels-50176")
    '50,176 px'
    """
    kind, _, argument = name.partition("-")
    if kind == "pixels":
        return f"{int(argument):,} px"
    if kind in ("tokens", "tiles"):
        return f"{int(argument):,} {kind if argument != '1' else kind[:-1]}"
    if kind == "scale":
        return f"sides x {argument}"
    if name == "low" and treatment:
        return f"low ({treatment['low_max_pixels']:,} px)"
    return name
