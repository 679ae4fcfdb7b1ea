"""Whether a size that suffices for some kinds of questions loses too much for others."""

import math
from typing import Any

import numpy as np
import pandas as pd

from medres.results import choice, ladder, paired
from medres.results.by_kind import PARTS, divides
from medres.results.ladder import PLACE, label
from medres.results.numbers import percent
from medres.statistics import best
from medres.texts import in_markdown

COLUMNS = (
    "dataset model train_resolution by part n_questions n_groups chosen excluded_loss loses_more "
    "disagree"
).split()
SHOWN = [name for name in COLUMNS if name not in ("by", "disagree")]
NOTHING = "Questions cannot be divided into kinds with enough groups each."
CAPTION = (
    "The choice for each kind of question alone: the cheapest size within the margin, and the "
    "sizes that are shown to lose more; 95 % confidence for all kinds of a column together."
)


def table(answers: pd.DataFrame, rungs: pd.DataFrame, *, margin: float) -> pd.DataFrame:
    """Return the choice for each kind of question.

    Args:
        answers: As from `ladder.rungs`.
        rungs: As from `ladder.table`, for the order of costs.
        margin: As given to it.

    Returns:
        `COLUMNS`, one row per part of a division (`by_kind.PARTS`): chosen, an eval resolution,
        empty if none is shown to be within the margin, and its excluded_loss; loses_more, those
        shown to lose more than the margin, separated by commas; disagree, whether any rung is
        within the margin for one part of the division and shown to lose more for another.
    """
    rows: list[dict[str, Any]] = []
    also = [name for name in PARTS if name in answers]
    arms = paired.arms_of(answers, also=also)
    for place, part in rungs.groupby(PLACE, sort=False):
        if len(part) < 2:
            continue
        names = [str(name) for name in part["eval_resolution"]]
        each = [arms[(*map(str, place), name)] for name in names]
        correct, groups = paired.stacked(each)
        asked = each[0].drop_duplicates("question_id")
        for by in also:
            if divides(asked[by]):
                found = _of_parts(
                    correct, np.asarray(groups), asked[by].to_numpy(str), part, names, margin
                )
                named = dict(zip(PLACE, place, strict=True)) | {"by": by}
                rows += [named | row for row in found]
    return pd.DataFrame(rows, columns=COLUMNS)


def _of_parts(
    correct: np.ndarray,
    groups: np.ndarray,
    kinds: np.ndarray,
    rungs: pd.DataFrame,
    names: list[str],
    margin: float,
) -> list[dict[str, Any]]:
    """Return the choices of a division, whose bounds hold together; empty if only one has any."""
    parts = list(dict.fromkeys(kinds.tolist()))
    within: dict[str, set[str]] = {}
    rows: list[dict[str, Any]] = []
    for part in parts:
        here = kinds == part
        found = best.losses(correct[:, :, here], groups[here], level=1 - 0.05 / len(parts))
        if any(each.refusal for each in found):
            continue
        chosen = best.choose(found, ladder.costs_of(rungs), margin)
        within[part] = {
            name for name, loss in zip(names, found, strict=True) if loss.excluded <= margin
        }
        more = [name for name, loss in zip(names, found, strict=True) if loss.at_least > margin]
        rows.append(
            {
                "part": part,
                "n_questions": int(here.sum()),
                "n_groups": len(np.unique(groups[here])),
                "chosen": "" if chosen is None else names[chosen],
                "excluded_loss": math.nan if chosen is None else found[chosen].excluded,
                "loses_more": ", ".join(more),
            }
        )
    if len(rows) < 2:
        return []
    enough = set().union(*within.values())
    disagree = any(name in enough for row in rows for name in row["loses_more"].split(", "))
    return [row | {"disagree": disagree} for row in rows]


def sentence(found: pd.DataFrame, choices: pd.DataFrame) -> str:
    """Return where kinds of questions need different sizes, as lines; or that none are shown to.

    Args:
        found: As from `table`.
        choices: As from `choice.table`, for what is named.
    """
    if found.empty:
        return ""
    rows = found[found["disagree"].astype(bool)]
    if rows.empty:
        return "* By kind of question: no kind is shown to need another size than the others."
    lines = []
    for _, part in rows.groupby([*PLACE, "by"], sort=False):
        where = in_markdown(choice.named_place(part.iloc[0], choices))
        said = "; ".join(_said(row) for row in part.to_dict("records") if _says(row))
        lines.append(f"* **Kinds of questions differ**{f' ({where})' if where else ''}: {said}.")
    return "\n".join(lines)


def _says(row: dict[str, Any]) -> bool:
    return bool(row["chosen"] or row["loses_more"])


def _said(row: dict[str, Any]) -> str:
    kind = f"for *{in_markdown(row['part'])}*"
    more = " and ".join(label(name) for name in str(row["loses_more"]).split(", ") if name)
    if row["chosen"]:
        least = percent(row["excluded_loss"]).removesuffix(".0")
        need = f"{kind} {label(row['chosen'])} suffices (loses at most {least} points)"
        return f"{need}, {more} loses too much" if more else need
    return f"{kind} {more} loses too much, and no size is shown to suffice"
