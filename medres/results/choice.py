"""Which size to send images at: the cheapest that is shown to lose no more than a margin."""

import math
from typing import Any

import pandas as pd

from medres.results.ladder import MORE, PLACE, UNKNOWN, label
from medres.results.numbers import percent
from medres.texts import in_markdown

PAGE = "10_choose_resolution"
"""Stem of the page about the choice."""
CHOSEN, UNDECIDED, NOTHING = "chosen", "undecided", "nothing to choose"
VERDICTS = (CHOSEN, UNDECIDED, NOTHING)
COLUMNS = (
    "dataset model train_resolution verdict chosen would_choose margin excluded_loss "
    "observed_loss tokens cost_share n_more_images n_more_groups n_rungs n_seeds n_questions "
    "n_images n_groups short sentence"
).split()

HIDDEN = "margin n_more_groups short sentence n_seeds".split()
"""Columns of the CSV that a page does not show: its first lines are the sentences."""


def table(ladder: pd.DataFrame, *, margin: float) -> pd.DataFrame:
    """Return one choice for each ladder.

    Args:
        ladder: As from `ladder.table`.
        margin: As given to it.

    Returns:
        `COLUMNS`. chosen is the eval resolution, empty if none is shown to be within the margin;
        would_choose the cheapest that would be chosen if more images confirm what was seen, empty
        if there is none or it is the chosen one. excluded_loss, observed_loss, tokens and
        cost_share (of tokens, or of pixels where tokens are not known) are of the chosen
        rung, or else of the one that would be. n_more_images and n_more_groups are about what it
        takes to decide for would_choose. sentence says all that; short the same without how many
        images it rests on, for where there are several choices.
    """
    rows = [_row(part, margin) for _, part in ladder.groupby(PLACE, sort=False)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _row(rungs: pd.DataFrame, margin: float) -> dict[str, Any]:
    """Return the choice from one ladder, whose rungs begin with the cheapest."""
    first = rungs.iloc[0]
    found = rungs[rungs["is_chosen"]]
    chosen = None if found.empty else found.iloc[0]
    cheaper = rungs if chosen is None else rungs.loc[: chosen.name].iloc[:-1]
    open_ = cheaper[(cheaper["verdict"] == UNKNOWN) & (cheaper["observed_loss"] < margin)]
    known = open_[open_["n_more_images"].notna()]
    pick = known if len(known) else open_ if chosen is None else known
    would = None if pick.empty else pick.iloc[0]
    verdict = NOTHING if len(rungs) == 1 else UNDECIDED if chosen is None else CHOSEN
    shown = first if verdict == NOTHING else chosen if chosen is not None else would
    row = {
        **{name: first[name] for name in PLACE},
        "verdict": verdict,
        "chosen": "" if chosen is None else chosen["eval_resolution"],
        "would_choose": "" if would is None or len(rungs) == 1 else would["eval_resolution"],
        "margin": margin,
        "n_rungs": len(rungs),
        **{name: int(first[name]) for name in ("n_seeds", "n_questions", "n_images", "n_groups")},
        **{
            name: math.nan if shown is None else shown[name]
            for name in ("excluded_loss", "observed_loss", "tokens")
        },
        "cost_share": _cost_share(shown, rungs),
        **{
            name: math.nan if would is None else would[name]
            for name in ("n_more_images", "n_more_groups")
        },
    }
    return row | {"short": _short(row, rungs, shown), "sentence": _sentence(row, rungs, shown)}


def _cost_share(rung: pd.Series | None, rungs: pd.DataFrame) -> float:
    native = rungs[rungs["eval_resolution"] == "native"]
    if rung is None or native.empty:
        return math.nan
    cost = "pixels" if rungs["tokens"].isna().all() else "tokens"
    return float(rung[cost] / native[cost].iloc[0])


def _sentence(row: dict[str, Any], rungs: pd.DataFrame, shown: pd.Series | None) -> str:
    limit = _points(row["margin"])
    if row["verdict"] == NOTHING:
        return f"The model was asked at one size ({row_label(rungs.iloc[0])}): nothing to choose."
    if row["verdict"] == CHOSEN:
        assert shown is not None
        return " ".join(filter(None, [_send(shown), _loses(row, shown, rungs), _cheaper(row)]))
    asked = _asked(row)
    begin = f"These images cannot tell which of {row['n_rungs']} sizes loses at most {limit} points"
    reasons = [each for each in dict.fromkeys(rungs["reason"]) if each]
    why = f" ({asked}{f'; {reasons[0]}' if reasons else ''})"
    if shown is None:
        return (
            f"{begin}{why}: the sizes lie too near the margin, so that no number of images is "
            "likely to tell. A wider margin might."
        )
    then = f"On what was seen, {_named(shown)} would be chosen."
    if row["n_seeds"] > 1:
        return (
            f"{begin}{why}: the {row['n_seeds']} trainings differ, so that more images alone would "
            f"not; more trainings might. {then}"
        )
    if math.isnan(row["n_more_images"]):
        return (
            f"{begin}{why}: what was seen lies too near the margin, so that no number of images is "
            f"likely to tell. {then}"
        )
    return f"{begin}{why}: about {_more(row)} would. {then}"


def row_label(rung: pd.Series) -> str:
    """Return the name of a rung with its tokens, if they are known."""
    return f"{label(str(rung['eval_resolution']))}{_tokens(rung, ', ')}"


def _named(rung: pd.Series) -> str:
    return f"{_what(str(rung['eval_resolution']))}{_tokens(rung, ' (', ')')}"


def _what(name: str) -> str:
    return {"low": "low resolution", "native": "native size"}.get(name, label(name))


def _tokens(rung: pd.Series, before: str, after: str = "") -> str:
    n_tokens = rung["tokens"]
    if pd.isna(n_tokens):
        return ""
    number = (
        f"{n_tokens:,.0f}" if n_tokens >= 10 or n_tokens == round(n_tokens) else f"{n_tokens:.1f}"
    )
    return f"{before}{number} visual token{'' if number == '1' else 's'}{after}"


def _send(rung: pd.Series) -> str:
    """Return what to do, as the first sentence."""
    name = str(rung["eval_resolution"])
    kind, _, argument = name.partition("-")
    what = {
        "native": "Send images at their native size",
        "low": "Send images at low resolution",
        "pixels": f"Send images of at most {label(name).removesuffix(' px')} pixels",
        "tokens": f"Let the model see each image in at most {label(name)}",
        "tiles": f"Let the model cut each image into at most {label(name)}",
        "pan": "Switch pan and scan on",
        "scale": f"Send images with their sides times {argument}",
    }.get(kind, f"Send images at {name}")
    each = " on average)" if kind == "tokens" else " each)"
    return f"{what}{_tokens(rung, ' (', each)}."


def _loses(row: dict[str, Any], rung: pd.Series, rungs: pd.DataFrame) -> str:
    sure = f"95 % confidence; {_asked(row)}"
    said = [
        f"It is the best of the {row['n_rungs']} sizes ({sure})"
        if rung["excluded_loss"] == 0
        else f"Against the best of the {row['n_rungs']} sizes this loses at most "
        f"{_points(rung['excluded_loss'])} points ({sure})",
        _costs(row, rung, rungs),
    ]
    return f"{', and '.join(filter(None, said))}{_smaller(row, rung, rungs)}."


def _costs(row: dict[str, Any], rung: pd.Series, rungs: pd.DataFrame) -> str:
    share = row["cost_share"]
    if math.isnan(share) or rung["eval_resolution"] == "native":
        return ""
    of = "pixels" if rungs["tokens"].isna().all() else "visual tokens"
    return f"costs {_share(share)} of the {of} of native"


def _smaller(row: dict[str, Any], rung: pd.Series, rungs: pd.DataFrame) -> str:
    smaller = rungs.loc[: rung.name].iloc[:-1]
    if smaller.empty or not (smaller["verdict"] == MORE).all():
        return ""
    what = "every smaller size" if len(smaller) > 1 else "the smaller size"
    return f"; {what} is shown to lose more than {_points(row['margin'])} points"


def _short(row: dict[str, Any], rungs: pd.DataFrame, rung: pd.Series | None) -> str:
    """Return a choice in a few words, for a list of several."""
    if row["verdict"] == NOTHING or rung is None:
        return "one size only, nothing to choose" if row["verdict"] == NOTHING else "cannot be told"
    if row["verdict"] == UNDECIDED:
        more = "" if math.isnan(row["n_more_images"]) else f"about {_more(row)} would; "
        more = "more trainings might; " if row["n_seeds"] > 1 else more
        return f"cannot be told: {more}{_named(rung)} on what was seen"
    loses = (
        f"the best of {row['n_rungs']} sizes"
        if rung["excluded_loss"] == 0
        else f"loses at most {_points(rung['excluded_loss'])} points"
    )
    cost = _costs(row, rung, rungs)
    said = f"{loses}, {cost}" if cost else loses
    return f"{_named(rung)}: {said}{_smaller(row, rung, rungs)}"


def _cheaper(row: dict[str, Any]) -> str:
    """Return what more images might allow, if something."""
    name = row["would_choose"]
    if not name or math.isnan(row["n_more_images"]):
        return ""
    return f"About {_more(row)} might allow {_what(name)}."


def _more(row: dict[str, Any]) -> str:
    images, groups = row["n_more_images"], row["n_more_groups"]
    if row["n_groups"] == row["n_images"]:
        return f"{_round(images)} more images"
    return f"{_round(images)} more images ({_round(groups)} more groups)"


def _round(number: float) -> str:
    """Return a number of at most two digits that are not zero, rounded up."""
    unit = 10 ** max(0, len(str(math.ceil(number))) - 2)
    return f"{math.ceil(number / unit) * unit:,}"


def _asked(row: dict[str, Any]) -> str:
    said = _counted(row["n_images"], "image")
    if row["n_questions"] != row["n_images"]:
        said = f"{_counted(row['n_questions'], 'question')} about {said}"
    if row["n_groups"] != row["n_images"]:
        said += f" in {_counted(row['n_groups'], 'group')}"
    if row["train_resolution"] != "none":
        many = row["n_seeds"]
        said += ", one training: another may differ" if many == 1 else f", {many} trainings"
    return said


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' if number != 1 else ''}"


def _points(fraction: float) -> str:
    return percent(fraction).removesuffix(".0")


def _share(share: float) -> str:
    """Return a share in words or percent.

    >>> [_share(each) for each in (0.333, 0.5, 0.12, 0.004)]
    ['a third', 'half', '12 %', 'less than 1 %']
    """
    for value, words in ((1 / 2, "half"), (1 / 3, "a third"), (1 / 4, "a quarter")):
        if abs(share - value) < 0.01:
            return words
    return "less than 1 %" if share < 0.01 else f"{100 * share:.0f} %"


def named_place(row: pd.Series | dict[str, Any], choices: pd.DataFrame) -> str:
    """Return of what a choice is, as far as there are several: data set, model, training."""
    parts = []
    if choices["dataset"].nunique() > 1 or choices["train_resolution"].nunique() > 1:
        parts.append(str(row["dataset"]))
    if choices["model"].nunique() > 1:
        parts.append(str(row["model"]))
    if choices["train_resolution"].nunique() > 1 or row["train_resolution"] != "none":
        trained = str(row["train_resolution"])
        parts.append("not trained here" if trained == "none" else f"trained at {trained}")
    return ", ".join(parts)


def summary(choices: pd.DataFrame) -> str:
    """Return the sentences of a study: one in bold if there is one choice, else as lines.

    Args:
        choices: As from `table`, also as read back from its CSV.
    """
    if choices.empty:
        return "No answer was given at a size that can be chosen."
    if len(choices) == 1:
        first, _, rest = str(choices["sentence"].iloc[0]).partition(". ")
        where = in_markdown(named_place(choices.iloc[0], choices))
        begin = f"{where[:1].upper()}{where[1:]}: " if where else ""
        return f"{begin}**{in_markdown(first.rstrip('.'))}.** {in_markdown(rest)}".strip()
    lines = []
    for (dataset, model), part in choices.groupby(["dataset", "model"], sort=False):
        several = choices["model"].nunique() > 1
        where = in_markdown(f"{dataset} ({model})" if several else str(dataset))
        if len(part) == 1:
            lines.append(f"* **{where}**: {in_markdown(part['sentence'].iloc[0])}")
            continue
        first = part.iloc[0].to_dict() | {"train_resolution": "none"}
        lines.append(f"* **{where}** (95 % confidence; {_asked(first)})")
        for row in part.to_dict("records"):
            trained = str(row["train_resolution"])
            name = "not trained here" if trained == "none" else f"trained at {trained}"
            many = f" ({row['n_seeds']} trainings)" if row["n_seeds"] > 1 else ""
            begin, colon, rest = in_markdown(str(row["short"])).partition(":")
            lines.append(f"    * {name}{many}: **{begin}**{colon}{rest}.")
    return "\n".join(lines)


def shown(choices: pd.DataFrame) -> list[str]:
    """Return the columns that a page shows: those that differ or say anything."""
    dull = {"model"} if choices["model"].nunique() < 2 else set()
    dull |= {name for name in ("would_choose", "n_more_images") if _is_empty(choices[name])}
    return [name for name in COLUMNS if name not in {*HIDDEN, *dull}]


def _is_empty(values: pd.Series) -> bool:
    return bool((values.isna() | values.eq("")).all())
