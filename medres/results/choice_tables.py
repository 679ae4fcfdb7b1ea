"""The choice of a resolution in tables and in words."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from medres.results import grids
from medres.results.choice import CHOSEN, KEY, NO_CHOICE, UNTOLD, Choice, Ladder
from medres.results.grids import place
from medres.results.numbers import percent
from medres.statistics.best import Loss
from medres.texts import in_markdown, listed

SHOWN_LADDER = (
    "dataset model train_resolution rung verdict mean_visual_tokens accuracy lower upper "
    "observed_loss excluded_loss n_questions n_groups"
).split()
SHOWN = (
    "dataset model train_resolution verdict chosen until_then excluded_loss would_be "
    "n_more_images n_rungs n_questions n_groups"
).split()
TRAININGS_DIFFER = "How much trainings differ counts too: more of them would tell more than images."
CAPTION = (
    "Cheapest first. Observed: what a rung loses against the one that came out best. Excluded: the "
    "smallest loss against the truly best rung that these questions exclude, with 95 % confidence "
    "for all rungs together, clustered by group; in percentage points. Accuracy with 95 % interval."
)


def by_rung(found: Sequence[tuple[Ladder, Choice]], answers: pd.DataFrame) -> pd.DataFrame:
    """Return the ladders as a table, one row per rung.

    Args:
        found: Ladders with what was chosen.
        answers: Those that they were made of.

    Returns:
        Columns of `KEY`, rung, verdict (what is said of it), is_chosen (or used until
        then), mean_visual_tokens, accuracy with lower and upper, observed_loss, excluded_loss (an
        upper bound, NaN where
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
                    "is_chosen": rung == (choice.chosen or choice.until_then),
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
        Columns of `KEY`, verdict, chosen, until_then, margin, excluded_loss (of either), would_be,
        n_more_images, n_rungs, n_questions, n_images, n_groups, warning, sentence.
    """
    rows = []
    keys = pd.DataFrame([ladder.key for ladder, _ in found], columns=KEY)
    names = place(keys) if len(keys) else []
    for (ladder, choice), named in zip(found, names, strict=True):
        of = "" if ladder.key[2] == "none" else f", trained {ladder.key[2]}"
        excluded = dict(zip(ladder.rungs, choice.losses, strict=True))
        used = choice.chosen or choice.until_then
        rows.append(
            {
                **dict(zip(KEY, ladder.key, strict=True)),
                "verdict": choice.verdict,
                "chosen": choice.chosen,
                "until_then": choice.until_then,
                "margin": margin,
                "excluded_loss": excluded[used].excluded if used else math.nan,
                "would_be": choice.would_be,
                "n_more_images": choice.n_more_images,
                "n_rungs": len(ladder.rungs),
                "n_questions": ladder.n_questions,
                "n_images": ladder.n_images,
                "n_groups": ladder.n_groups,
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
        why = choice.refusal[:1].upper() + choice.refusal[1:]
        return f"**{name}: these images cannot tell.** {why} ({basis})."
    losses = dict(zip(ladder.rungs, choice.losses, strict=True))
    least = f"{_percent(margin)} points"
    if choice.verdict == CHOSEN:
        at = ladder.rungs.index(choice.chosen)
        lose = f" Cheaper sizes are shown to lose more than {least}." if at else ""
        said = in_words.get(choice.chosen, choice.chosen)
        return f"**{name}: use {said}.** {_bound(ladder, choice.chosen, losses)}{lose}"
    if not choice.until_then:
        nearest = min(losses, key=lambda rung: losses[rung].excluded)
        return (
            f"**{name}: these images cannot tell.** No size is shown to lose at most {least} "
            f"against {sizes}; the smallest loss that is excluded is "
            f"{percent(losses[nearest].excluded)} points, for {in_words.get(nearest, nearest)} "
            f"({basis}). {_more(ladder, choice, in_words)}"
        )
    at = ladder.rungs.index(choice.until_then)
    untold = [
        rung for rung, said in zip(ladder.rungs[:at], choice.says, strict=False) if said == UNTOLD
    ]
    if choice.would_be in ("", choice.until_then):
        said = in_words.get(choice.until_then, choice.until_then)
        more = (
            f"About {choice.n_more_images:,} more images like these would show it."
            if choice.n_more_images
            else TRAININGS_DIFFER
            if len(ladder.correct) > 1
            else "No likely number of images would show it."
        )
        return (
            f"**{name}: use {said}, as far as these images tell.** "
            f"{_bound(ladder, choice.until_then, losses)} Of the cheaper sizes, "
            f"{listed(untold)} lost {least} or more here, but not provably. {more}"
        )
    return (
        f"**{name}: these images cannot tell whether {listed(untold, 'or')} would do.** "
        f"{_more(ladder, choice, in_words)} Until then use "
        f"{in_words.get(choice.until_then, choice.until_then)}. "
        f"{_bound(ladder, choice.until_then, losses)}"
    )


def _bound(ladder: Ladder, rung: str, losses: Mapping[str, Loss]) -> str:
    """Return what a rung within the margin loses at most, and what it costs."""
    sizes, excluded = f"the best of {len(ladder.rungs)} sizes", losses[rung].excluded
    at_most = (
        f"Against {sizes} it loses at most {percent(excluded)} points"
        if excluded > 0
        else f"It is {sizes}"
    )
    at = ladder.rungs.index(rung)
    cost = f" It costs {ladder.tokens[at]:,.0f} visual tokens per image{_of_native(ladder, at)}."
    if math.isnan(ladder.tokens[at]):
        cost = ""
    return f"{at_most} (95 % confidence; {_basis(ladder)}).{cost}"


def _basis(ladder: Ladder) -> str:
    n_questions, n_groups = ladder.n_questions, ladder.n_groups
    n_seeds = ladder.correct.shape[0]
    trainings = f", {n_seeds} trainings" if n_seeds > 1 else ""
    groups = "" if n_groups == ladder.n_images else f" of {n_groups:,} groups"
    images = "1 image" if ladder.n_images == 1 else f"{ladder.n_images:,} images"
    return f"{n_questions:,} questions about {images}{groups}{trainings}"


def _of_native(ladder: Ladder, at: int) -> str:
    if "native" not in ladder.rungs or ladder.rungs[at] == "native":
        return ""
    native = ladder.tokens[ladder.rungs.index("native")]
    return "" if math.isnan(native) else f", {100 * ladder.tokens[at] / native:.0f} % of native's"


def _more(ladder: Ladder, choice: Choice, in_words: Mapping[str, str]) -> str:
    if not choice.would_be:
        return ""
    said = in_words.get(choice.would_be, choice.would_be)
    if len(ladder.correct) > 1:
        return f"{TRAININGS_DIFFER} On what was seen {said} would be chosen."
    if choice.n_more_images is None:
        return "What was seen is too near the margin for any likely number of images to decide."
    if not ladder.differs:
        return (
            f"No answer differed between sizes; if 1 of {ladder.n_questions:,} did, about "
            f"{choice.n_more_images:,} more images would decide, and {said} would be chosen."
        )
    return (
        f"About {choice.n_more_images:,} more images like these would decide, and on what was seen "
        f"{said} would be chosen."
    )


def _percent(fraction: float) -> str:
    return f"{100 * fraction:g}"


def sentence(chosen: pd.DataFrame) -> str:
    """Return what `table` says as lines, each caution before what it is about."""
    several = len(chosen) > 1
    names = place(chosen).map(in_markdown) if several else [""] * len(chosen)
    lines = []
    for row, name in zip(chosen.itertuples(), names, strict=True):
        of = "" if row.train_resolution == "none" else f", trained {row.train_resolution}"
        about = f" ({name}{of})" if several else ""
        lines += [f"* **Caution{about}:** {row.warning}"] if row.warning else []
        lines.append(f"* {row.sentence}")
    return "\n".join(lines)


def merged(found: Sequence[Ladder]) -> str:
    """Return which sizes were the same for every image, in words; empty if none."""
    said = {
        f"{twin} is {other} for all images"
        for ladder in found
        for twin, other in ladder.merged.items()
    }
    return f"Counted once: {'; '.join(sorted(said))}." if said else ""
