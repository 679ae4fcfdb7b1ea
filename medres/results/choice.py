"""Which resolution to use: the cheapest one whose loss against the best these images exclude.

No resolution is named the best because it came out best: every loss is bounded against whichever is
truly best (`statistics.best`), for all resolutions of a ladder together.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from medres import coded
from medres.results import frontier, grids, paired
from medres.statistics import best, comparison, tails
from medres.statistics.best import Loss

KEY = ["dataset", "model", "train_resolution"]
CHOSEN, UNDECIDED, NO_CHOICE = "chosen", "undecided", "nothing to choose"
WITHIN, LOSES, UNTOLD = "within the margin", "loses more", "cannot be told"
READS = (
    "image question modality given_width_px given_height_px resampling n_crops reported_tokens"
).split()
"""Columns of answers that are read beside `stored.COUNTED`."""
POWER = 0.8
"""Chance with which the images that are asked for decide."""
MOST_IMAGES = 20_000
"""Nobody collects more to choose a size: then the sizes are too alike to the margin."""


@dataclass(frozen=True)
class Ladder:
    """The answers of one model at several resolutions, the cheapest first."""

    key: tuple[str, str, str]
    """Data set, model, train resolution."""
    rungs: tuple[str, ...]
    tokens: tuple[float, ...]
    """Mean visual tokens per image at each rung, NaN where not known."""
    correct: np.ndarray
    """Right answers, shape (n_trainings, n_rungs, n_questions)."""
    groups: np.ndarray
    """Group of each question, shape (n_questions,)."""
    asked: pd.DataFrame
    """What was asked, one row per question in that order: image and what divides questions."""
    merged: Mapping[str, str]
    """Rungs that gave every image the same input as another, with that other one."""

    @property
    def n_images(self) -> int:
        """Images that the questions are about."""
        return int(self.asked["image"].nunique())

    @property
    def n_questions(self) -> int:
        """Questions that were asked at every rung."""
        return int(self.correct.shape[2])

    @property
    def n_groups(self) -> int:
        """Groups that they come from."""
        return len(set(self.groups.tolist()))

    @property
    def differs(self) -> bool:
        """Whether any question is right at one rung and wrong at another."""
        return bool((self.correct != self.correct[:, :1]).any())


def ladders(answers: pd.DataFrame) -> list[Ladder]:
    """Return the ladder of every data set, model and train resolution.

    Args:
        answers: As from `grids.answers`. Blank, mixed and enlarged images, and several
            views of one, are no rungs.
    """
    names = [*grids.CELL, "question_id", "group", "correct", "visual_tokens", *READS]
    offered = frontier.offered(answers[[name for name in names if name in answers]])
    found = coded.rows_of(offered, KEY)
    order = pd.DataFrame(list(found), columns=KEY).sort_values(KEY, key=grids.rank, kind="stable")
    keys = order.itertuples(index=False, name=None)
    return [_ladder(key, offered.iloc[found[key]]) for key in keys]


def _ladder(key: tuple[str, str, str], part: pd.DataFrame) -> Ladder:
    arms = {str(name): arm for name, arm in part.groupby("eval_resolution", sort=False)}
    pixels = part["given_width_px"].astype(float) * part["given_height_px"]
    cost = (
        part.assign(pixels=pixels)
        .groupby("eval_resolution", sort=False)[["visual_tokens", "pixels"]]
        .mean()
    )
    ordered = cost.sort_values(["visual_tokens", "pixels"], kind="stable").index
    kept, merged = _without_twins([str(name) for name in ordered], arms)
    correct, groups = paired.stacked([arms[name] for name in kept])
    first = arms[kept[0]].drop_duplicates("question_id")
    names = [name for name in ("question", "modality") if name in first]
    return Ladder(
        key=key,
        rungs=tuple(kept),
        tokens=tuple(float(cost["visual_tokens"][name]) for name in kept),
        correct=correct,
        groups=np.asarray(groups),
        asked=first[["image", *names]].reset_index(drop=True),
        merged=merged,
    )


def _without_twins(
    names: Sequence[str], arms: Mapping[str, pd.DataFrame]
) -> tuple[list[str], dict[str, str]]:
    """Return rungs without those whose input another rung gives too, and these others."""
    decided = ("given_width_px", "given_height_px", "resampling", "visual_tokens", "n_crops")
    kept: list[str] = []
    merged: dict[str, str] = {}
    seen: dict[Any, str] = {}
    # A name that says most to a reader stands for the others.
    for name in sorted(names, key=lambda each: each not in ("native", "low")):
        arm = arms[name].drop_duplicates("question_id").sort_values("question_id")
        columns = [each for each in decided if each in arm]
        same = tuple(pd.util.hash_pandas_object(arm[columns], index=False))
        if same in seen:
            merged[name] = seen[same]
        else:
            seen[same] = name
            kept.append(name)
    return [name for name in names if name in kept], merged


@dataclass(frozen=True)
class Choice:
    """What is chosen from a ladder, and what the images would have to say for more."""

    verdict: str
    """`CHOSEN`, `UNDECIDED` or `NO_CHOICE`."""
    chosen: str
    """The cheapest rung within the margin; empty unless `CHOSEN`."""
    until_then: str
    """Where undecided, a rung that is within the margin though a cheaper one may be; or empty."""
    losses: tuple[Loss, ...]
    says: tuple[str, ...]
    """Of each rung: `WITHIN`, `LOSES` or `UNTOLD`."""
    refusal: str
    """Why nothing can be decided whatever the answers; empty if something can."""
    would_be: str
    """What would be chosen if a larger sample came out as this one; empty if it is decided."""
    n_more_images: int | None
    """Images of the same kind that would decide that; None if no likely number would, or if
    several trainings are pooled, whose differences no number of images makes smaller."""


def choose(
    ladder: Ladder, *, margin: float, level: float = 0.95, asks_for_more: bool = True
) -> Choice:
    """Return the cheapest rung within the margin of the best, or what it would take to find one.

    It is undecided as long as a cheaper rung than the one within the margin may be so too.

    Args:
        ladder: As from `ladders`.
        margin: Loss of accuracy that would not matter, a fraction.
        level: At which the losses are bounded, for all rungs together.
        asks_for_more: Whether, where undecided, the images that would decide are counted.
    """
    found = best.losses(ladder.correct, ladder.groups, level=level)
    refusal = next((each.refusal for each in found if each.refusal), "")
    says = tuple(_says(each, margin) for each in found)
    alike = (tuple(found), says, refusal)
    if len(ladder.rungs) == 1:
        return Choice(NO_CHOICE, "", "", *alike, "", None)
    costs = range(len(found))
    at = best.choose(found, costs, margin)
    untold = best.open_arms(found, costs, margin)
    if at is not None and not untold:
        return Choice(CHOSEN, ladder.rungs[at], "", *alike, "", None)
    until_then = "" if at is None else ladder.rungs[at]
    if refusal:
        return Choice(UNDECIDED, "", until_then, *alike, "", None)
    small = [place for place in untold if found[place].observed < margin]
    would_be = ladder.rungs[small[0]] if small else until_then
    if len(ladder.correct) > 1 or not asks_for_more:
        return Choice(UNDECIDED, "", until_then, *alike, would_be, None)
    more = (
        _to_exclude(ladder, small[0], found[small[0]].observed, margin, level)
        if small
        else _to_show(ladder, untold, found, margin, level)
    )
    return Choice(UNDECIDED, "", until_then, *alike, would_be, more)


def _says(loss: Loss, margin: float) -> str:
    if loss.refusal:
        return UNTOLD
    if loss.excluded <= margin:
        return WITHIN
    return LOSES if loss.at_least > margin else UNTOLD


def _to_exclude(ladder: Ladder, rung: int, loss: float, margin: float, level: float) -> int | None:
    """Return how many further images would show that a rung loses less than the margin.

    If it loses what was observed, at the largest share of questions on which it and another rung
    differ, and with questions of a group as alike as they were seen to be. Rungs that were worse
    by more than the margin do not count: against them nothing is left to exclude.
    """
    accuracies = ladder.correct.mean(axis=(0, 2))
    others = [place for place in range(len(ladder.rungs)) if place != rung]
    rivals = [place for place in others if accuracies[place] >= accuracies[rung] - margin]
    compared = [
        comparison.compare(ladder.correct[:, other], ladder.correct[:, rung], ladder.groups)
        for other in rivals or [max(others, key=lambda place: float(accuracies[place]))]
    ]
    widest = max(compared, key=lambda each: each.first_only + each.second_only)
    discordance = max(widest.first_only + widest.second_only, loss, 1 / widest.n_questions)
    each = widest.n_questions / widest.n_effective_groups
    needed = best.groups_to_decide(
        each,
        n_arms=len(ladder.rungs),
        margin=margin,
        discordance=min(1.0, discordance),
        loss=loss,
        correlation=_likeness(widest, each),
        level=level,
        power_wanted=POWER,
    )
    return None if needed is None else _further(ladder, needed / widest.n_effective_groups)


def _to_show(
    ladder: Ladder, rungs: Sequence[int], found: Sequence[Loss], margin: float, level: float
) -> int | None:
    """Return how many further images would show that each of some rungs loses more than the margin.

    If they lose what was observed, by the normal approximation.
    """
    leader = int(ladder.correct.mean(axis=(0, 2)).argmax())
    n_pairs = len(ladder.rungs) * (len(ladder.rungs) - 1)
    reach = tails.normal_quantile((1 - level) / n_pairs) + tails.normal_quantile(1 - POWER)
    times = 0.0
    for rung in rungs:
        compared = comparison.compare(
            ladder.correct[:, rung], ladder.correct[:, leader], ladder.groups
        )
        gap = found[rung].observed - margin
        times = max(times, (reach * compared.standard_error / gap) ** 2 if gap > 0 else math.inf)
    return _further(ladder, times)


def _further(ladder: Ladder, times: float) -> int | None:
    """Return how many images more make so many times as many; at least as many again."""
    # Where chance alone kept these images from deciding, so many should suffice.
    more = (times - 1 if times > 1 else 1.0) * ladder.n_images
    return _rounded_up(more) if more <= MOST_IMAGES else None


def _likeness(compared: comparison.Comparison, questions_each: float) -> float:
    """Return the correlation of the gains of two questions of a group, as seen; 0 to 1."""
    if questions_each <= 1 or math.isnan(compared.n_effective):
        return 0.0
    design_effect = compared.n_questions / compared.n_effective
    return float(np.clip((design_effect - 1) / (questions_each - 1), 0.0, 1.0))


def _rounded_up(number: float) -> int:
    """Return a number of images with two leading digits: it is known no better.

    >>> _rounded_up(137.2), _rounded_up(8)
    (140, 8)
    """
    unit: int = 10 ** max(0, len(str(math.ceil(number))) - 2)
    return math.ceil(number / unit) * unit
