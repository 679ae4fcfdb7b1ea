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

from medres.results import frontier, grids, paired
from medres.results.grids import place
from medres.results.numbers import percent
from medres.statistics import best, comparison
from medres.statistics.best import Loss
from medres.texts import in_markdown

KEY = ["dataset", "model", "train_resolution"]
CHOSEN, UNDECIDED, NO_CHOICE = "chosen", "undecided", "nothing to choose"
WITHIN, LOSES, UNTOLD = "within the margin", "loses more", "cannot be told"
POWER = 0.8
"""Chance with which the images that are asked for decide."""
MOST_IMAGES = 20_000
"""Nobody collects more to choose a size: then the sizes are too alike to the margin."""
SHOWN_LADDER = (
    "dataset model train_resolution rung verdict mean_visual_tokens accuracy lower upper "
    "observed_loss excluded_loss n_questions n_groups"
).split()
SHOWN = (
    "dataset model train_resolution verdict chosen excluded_loss would_be n_more_images n_rungs "
    "n_questions n_groups"
).split()
CAPTION = (
    "Cheapest first. Observed: what a rung loses against the one that came out best. Excluded: the "
    "smallest loss against the truly best rung that these questions exclude, with 95 % confidence "
    "for all rungs together, clustered by group; in percentage points. Accuracy with 95 % interval."
)


@dataclass(frozen=True)
class Ladder:
    """The answers of one model at several resolutions, the cheapest first."""

    key: tuple[str, str, str]
    """Data set, model, train resolution."""
    rungs: tuple[str, ...]
    tokens: tuple[float, ...]
    """Mean visual tokens per image at each rung."""
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


def ladders(answers: pd.DataFrame) -> list[Ladder]:
    """Return the ladder of every data set, model and train resolution.

    Args:
        answers: As from `grids.answers`. Blank, mixed and enlarged images are no rungs.
    """
    offered = frontier.rungs(answers)
    found = {
        (str(key[0]), str(key[1]), str(key[2])): part
        for key, part in offered.groupby(KEY, sort=False)
    }
    order = pd.DataFrame(list(found), columns=KEY).sort_values(KEY, key=grids.rank, kind="stable")
    return [_ladder(key, found[key]) for key in order.itertuples(index=False, name=None)]


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
    """A rung; empty unless one is chosen."""
    losses: tuple[Loss, ...]
    says: tuple[str, ...]
    """Of each rung: `WITHIN`, `LOSES` or `UNTOLD`."""
    refusal: str
    """Why nothing can be decided whatever the answers; empty if something can."""
    would_be: str
    """The cheapest rung that more images might show to be within the margin; empty if none."""
    n_more_images: int | None
    """Images of the same kind that would decide about it; None if no number of them would."""


def choose(ladder: Ladder, *, margin: float, level: float = 0.95) -> Choice:
    """Return the cheapest rung within the margin of the best, or what it would take to find one.

    Args:
        ladder: As from `ladders`.
        margin: Loss of accuracy that would not matter, a fraction.
        level: At which the losses are bounded, for all rungs together.
    """
    found = best.losses(ladder.correct, ladder.groups, level=level)
    refusal = next((each.refusal for each in found if each.refusal), "")
    says = tuple(_says(each, margin) for each in found)
    if len(ladder.rungs) == 1:
        return Choice(NO_CHOICE, "", tuple(found), says, refusal, "", None)
    at = best.choose(found, range(len(found)), margin)
    open_ = [
        place
        for place, (loss, said) in enumerate(zip(found, says, strict=True))
        if said == UNTOLD and loss.observed < margin and (at is None or place < at)
    ]
    would_be, more = "", None
    if open_:
        would_be = ladder.rungs[open_[0]]
        more = _more_images(ladder, open_[0], found[open_[0]].observed, margin, level)
    return Choice(
        verdict=UNDECIDED if at is None else CHOSEN,
        chosen="" if at is None else ladder.rungs[at],
        losses=tuple(found),
        says=says,
        refusal=refusal,
        would_be=would_be,
        n_more_images=more,
    )


def _says(loss: Loss, margin: float) -> str:
    if loss.refusal:
        return UNTOLD
    if loss.excluded <= margin:
        return WITHIN
    return LOSES if loss.at_least > margin else UNTOLD


def _more_images(ladder: Ladder, rung: int, loss: float, margin: float, level: float) -> int | None:
    """Return how many further images would decide about a rung, if it loses what was observed.

    At the largest share of questions on which it and another rung differ, and with questions of a
    group as alike as they were seen to be.
    """
    compared = [
        comparison.compare(ladder.correct[:, other], ladder.correct[:, rung], ladder.groups)
        for other in range(len(ladder.rungs))
        if other != rung
    ]
    widest = max(compared, key=lambda each: each.first_only + each.second_only)
    discordance = max(widest.first_only + widest.second_only, loss, 1 / widest.n_questions)
    each = widest.n_questions / widest.n_groups
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
    per_group = ladder.n_images / widest.n_groups
    if needed is None or needed * per_group > MOST_IMAGES:
        return None
    # Where chance alone kept these images from deciding, at least as many again are asked for.
    more = needed - widest.n_groups if needed > widest.n_groups else widest.n_groups
    return _rounded_up(more * per_group)


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
    unit = 10 ** max(0, len(str(math.ceil(number))) - 2)
    return math.ceil(number / unit) * unit


def by_rung(found: Sequence[tuple[Ladder, Choice]], answers: pd.DataFrame) -> pd.DataFrame:
    """Return the ladders as a table, one row per rung.

    Args:
        found: Ladders with what was chosen.
        answers: Those that they were made of.

    Returns:
        Columns of `KEY`, rung, verdict (what is said of it), is_chosen, mean_visual_tokens,
        accuracy with lower and upper, observed_loss, excluded_loss (an upper bound, NaN where
        refused) and shown_loss (a lower bound), as fractions, n_seeds, n_questions, n_groups.
    """
    cells = grids.over_trainings(answers).set_index([*KEY, "eval_resolution"])
    rows: list[dict[str, Any]] = []
    for ladder, choice in found:
        for rung, tokens, loss, said in zip(
            ladder.rungs, ladder.tokens, choice.losses, choice.says, strict=True
        ):
            cell = cells.loc[(*ladder.key, rung)]
            rows.append(
                {
                    **dict(zip(KEY, ladder.key, strict=True)),
                    "rung": rung,
                    "verdict": said if len(ladder.rungs) > 1 else NO_CHOICE,
                    "is_chosen": rung == choice.chosen,
                    "mean_visual_tokens": tokens,
                    **{name: cell[name] for name in ("accuracy", "lower", "upper")},
                    "observed_loss": loss.observed,
                    "excluded_loss": loss.excluded,
                    "shown_loss": loss.at_least,
                    **{name: int(cell[name]) for name in ("n_seeds", "n_questions", "n_groups")},
                }
            )
    return pd.DataFrame(rows)


def table(
    found: Sequence[tuple[Ladder, Choice]],
    *,
    margin: float,
    in_words: Mapping[str, str],
    asides: Mapping[tuple[str, str, str], str],
) -> pd.DataFrame:
    """Return what is chosen from every ladder, in words.

    Args:
        found: Ladders with what was chosen.
        margin: As in `choose`.
        in_words: What a rung asks for, for a reader; the name of a rung that is missing.
        asides: What must be said before a sentence, by ladder; a missing one is nothing.

    Returns:
        Columns of `KEY`, verdict, chosen, margin, excluded_loss (of the chosen one), would_be,
        n_more_images, n_rungs, n_questions, n_images, n_groups, warning, sentence.
    """
    rows = []
    keys = pd.DataFrame([ladder.key for ladder, _ in found], columns=KEY)
    names = place(keys) if len(keys) else []
    for (ladder, choice), named in zip(found, names, strict=True):
        of = "" if ladder.key[2] == "none" else f", trained {ladder.key[2]}"
        name = f"{in_markdown(named)}{of}"
        excluded = dict(zip(ladder.rungs, choice.losses, strict=True))
        rows.append(
            {
                **dict(zip(KEY, ladder.key, strict=True)),
                "verdict": choice.verdict,
                "chosen": choice.chosen,
                "margin": margin,
                "excluded_loss": excluded[choice.chosen].excluded if choice.chosen else math.nan,
                "would_be": choice.would_be,
                "n_more_images": choice.n_more_images,
                "n_rungs": len(ladder.rungs),
                "n_questions": ladder.correct.shape[2],
                "n_images": ladder.n_images,
                "n_groups": len(set(ladder.groups.tolist())),
                "warning": asides.get(ladder.key, ""),
                "sentence": _sentence(
                    f"{in_markdown(named)}{of}", ladder, choice, margin, in_words
                ),
            }
        )
    result = pd.DataFrame(rows)
    return result.astype({"n_more_images": "Int64"}) if len(result) else result


def _sentence(
    name: str, ladder: Ladder, choice: Choice, margin: float, in_words: Mapping[str, str]
) -> str:
    basis = _basis(ladder)
    if choice.verdict == NO_CHOICE:
        return f"**{name}: nothing to choose.** There is one size, {ladder.rungs[0]}; {basis}."
    sizes = f"the best of {len(ladder.rungs)} sizes"
    if choice.refusal:
        return f"**{name}: these images cannot tell.** {choice.refusal}; {basis}."
    losses = dict(zip(ladder.rungs, choice.losses, strict=True))
    least = f"{_percent(margin)} points"
    if choice.verdict == UNDECIDED:
        nearest = min(losses, key=lambda rung: losses[rung].excluded)
        return (
            f"**{name}: these images cannot tell.** No size is shown to lose at most {least} "
            f"against {sizes}; the least that is excluded is a loss of "
            f"{percent(losses[nearest].excluded)} points, at {in_words.get(nearest, nearest)} "
            f"({basis}). {_more(choice, in_words)}"
        ).strip()
    said = in_words.get(choice.chosen, choice.chosen)
    at = ladder.rungs.index(choice.chosen)
    cost = f"{ladder.tokens[at]:,.0f} visual tokens per image{_of_native(ladder, at)}"
    excluded = losses[choice.chosen].excluded
    bound = (
        f"Against {sizes} it loses at most {percent(excluded)} points"
        if excluded > 0
        else f"It is {sizes}"
    )
    sure = f"{bound} (95 % confidence; {basis}). It costs {cost}."
    cheaper = ladder.rungs[:at]
    lose = [rung for rung, has in zip(cheaper, choice.says, strict=False) if has == LOSES]
    told = f" Cheaper sizes that are shown to lose more: {', '.join(lose)}." if lose else ""
    others = [rung for rung in cheaper if rung not in lose]
    if others:
        told += f" Whether {_names(others)} would do cannot be told. {_more(choice, in_words)}"
    return f"**{name}: use {said}.** {sure}{told}".strip()


def _basis(ladder: Ladder) -> str:
    n_questions, n_groups = ladder.correct.shape[2], len(set(ladder.groups.tolist()))
    n_seeds = ladder.correct.shape[0]
    trainings = f", {n_seeds} trainings" if n_seeds > 1 else ""
    groups = "" if n_groups == ladder.n_images else f" of {n_groups:,} groups"
    return f"{n_questions:,} questions about {ladder.n_images:,} images{groups}{trainings}"


def _of_native(ladder: Ladder, at: int) -> str:
    if "native" not in ladder.rungs or ladder.rungs[at] == "native":
        return ""
    native = ladder.tokens[ladder.rungs.index("native")]
    return f", {100 * ladder.tokens[at] / native:.0f} % of native's" if native else ""


def _more(choice: Choice, in_words: Mapping[str, str]) -> str:
    if not choice.would_be:
        return ""
    said = in_words.get(choice.would_be, choice.would_be)
    if choice.n_more_images is None:
        return f"As seen, {said} loses too nearly the margin for any likely number of images."
    return (
        f"About {choice.n_more_images:,} more images like these would decide, and on what was seen "
        f"{said} would be chosen."
    )


def _names(rungs: Sequence[str]) -> str:
    return rungs[0] if len(rungs) == 1 else f"{', '.join(rungs[:-1])} or {rungs[-1]}"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:g}"


def sentence(chosen: pd.DataFrame) -> str:
    """Return what `table` says as lines, each warning before what it is about."""
    lines = []
    for row in chosen.itertuples():
        lines += [f"* **Caution:** {row.warning}"] if row.warning else []
        lines.append(f"* {row.sentence}")
    return "\n".join(lines)


def merged(found: Sequence[Ladder]) -> str:
    """Return which sizes were the same for every image, in words; empty if none."""
    said = {
        f"{twin} is {other} for all images"
        for ladder in found
        for twin, other in ladder.merged.items()
    }
    return f"Asked once: {'; '.join(sorted(said))}." if said else ""
