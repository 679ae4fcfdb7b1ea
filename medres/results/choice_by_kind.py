"""Whether kinds of questions need different resolutions."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from medres.results.by_kind import MOST_PARTS, PARTS
from medres.results.choice import KEY, LOSES, WITHIN, Choice, Ladder, choose
from medres.results.grids import place
from medres.results.numbers import percent
from medres.statistics import groups as of_groups
from medres.texts import in_markdown

LEVEL = 0.95
COLUMNS = [
    *KEY,
    *"by part n_questions n_groups chosen excluded_loss loses_more disagrees".split(),
]
SHOWN = [name for name in COLUMNS if name != "disagrees"]
NOTHING = "No kind of question is shown to need another size than the others."
CAPTION = (
    "What would be chosen for each kind of question, with bounds that hold together for all kinds "
    "and rungs of a row's model. Empty: its questions cannot tell."
)


def table(ladders: Sequence[Ladder], *, margin: float) -> pd.DataFrame:
    """Return what would be chosen for each kind of question, one row per kind.

    Args:
        ladders: As from `choice.ladders`.
        margin: As in `choice.choose`.

    Returns:
        `COLUMNS`: excluded_loss is the bound of the chosen rung's loss; loses_more the rungs that
        are shown to lose more than the margin, separated by commas; disagrees is whether a rung is
        within the margin for this kind and shown to lose more for another, or the other way round.
    """
    rows: list[dict[str, Any]] = []
    for ladder in ladders:
        for by in PARTS:
            if by in ladder.asked and len(ladder.rungs) > 1:
                rows += _of_parts(ladder, by, margin)
    return pd.DataFrame(rows, columns=COLUMNS)


def _of_parts(ladder: Ladder, by: str, margin: float) -> list[dict[str, Any]]:
    values = ladder.asked[by].to_numpy(str)
    names = list(dict.fromkeys(values.tolist()))
    if not 1 < len(names) <= min(MOST_PARTS, len(values) // 2):
        return []
    parts = {name: _part(ladder, values == name) for name in names}
    parts = {
        name: part
        for name, part in parts.items()
        if not of_groups.shortage(pd.Series(part.groups).value_counts().to_numpy())
    }
    if len(parts) < 2:
        return []
    found = {
        name: choose(part, margin=margin, level=1 - (1 - LEVEL) / len(parts), asks_for_more=False)
        for name, part in parts.items()
    }
    return [
        {
            **dict(zip(KEY, ladder.key, strict=True)),
            "by": by,
            "part": name,
            "n_questions": parts[name].n_questions,
            "n_groups": parts[name].n_groups,
            "chosen": each.chosen or each.until_then,
            "excluded_loss": each.losses[
                ladder.rungs.index(each.chosen or each.until_then)
            ].excluded
            if each.chosen or each.until_then
            else float("nan"),
            "loses_more": ", ".join(
                rung for rung, said in zip(ladder.rungs, each.says, strict=True) if said == LOSES
            ),
            "disagrees": _disagrees(name, found),
        }
        for name, each in found.items()
    ]


def _part(ladder: Ladder, inside: Any) -> Ladder:
    return Ladder(
        key=ladder.key,
        rungs=ladder.rungs,
        tokens=ladder.tokens,
        correct=ladder.correct[:, :, inside],
        groups=ladder.groups[inside],
        asked=ladder.asked[inside].reset_index(drop=True),
        merged=ladder.merged,
    )


def _disagrees(name: str, found: Mapping[str, Choice]) -> bool:
    """Return whether a rung is within the margin for a kind and shown to lose more for another."""
    here = found[name].says
    return any(
        {mine, theirs} == {WITHIN, LOSES}
        for other, each in found.items()
        if other != name
        for mine, theirs in zip(here, each.says, strict=True)
    )


def sentence(found: pd.DataFrame, in_words: Mapping[str, str]) -> str:
    """Return where kinds of questions need different sizes, one line per model; empty if nowhere.

    Args:
        found: As from `table`.
        in_words: As in `choice_tables.table`.
    """
    lines = []
    rows = found[found["disagrees"].astype(bool)]
    rows = rows.assign(named=place(rows).map(in_markdown)) if len(rows) else rows
    for (_, _, trained, by), parts in rows.groupby([*KEY, "by"], sort=False):
        of = "" if trained == "none" else f", trained {trained}"
        said = "; ".join(_said(row, in_words) for row in parts.itertuples())
        what = "kinds of questions" if by != "modality" else "modalities"
        lines.append(f"* {parts['named'].iloc[0]}{of}: {what} need different sizes: {said}.")
    return "\n".join(lines)


def _said(row: Any, in_words: Mapping[str, str]) -> str:
    """Return what a kind of question needs; of one that cannot tell, what does not suffice."""
    kind = f"for {in_markdown(row.part)}"
    if row.chosen:
        need = in_words.get(row.chosen, row.chosen)
        return f"{kind} {need} (loses at most {percent(row.excluded_loss)} points)"
    more = str(row.loses_more).replace(", ", " and ")
    return f"{kind} not {more}, which loses more, and no size is shown to suffice"
