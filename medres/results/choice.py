"""Which size to send images at: the cheapest that is shown to lose no more than a margin."""

import math
from typing import Any

import pandas as pd

from medres.results.ladder import MORE, PLACE, UNKNOWN, label
from medres.results.numbers import percent
from medres.texts import in_markdown

CHOSEN, UNDECIDED, NOTHING = "chosen", "undecided", "nothing to choose"
VERDICTS = (CHOSEN, UNDECIDED, NOTHING)
COLUMNS = (
    "dataset model train_resolution verdict chosen would_choose margin excluded_loss "
    "observed_loss tokens share_of_native n_more_images n_more_groups n_rungs n_seeds n_questions "
    "n_images n_groups sentence"
).split()


def table(ladder: pd.DataFrame, *, margin: float) -> pd.DataFrame:
    """Return one choice for each ladder.

    Args:
        ladder: As from `ladder.table`.
        margin: As given to it.

    Returns:
        `COLUMNS`. chosen is the eval resolution, empty if none is shown to be within the margin;
        would_choose the cheapest that would be chosen if more images confirm what was seen, empty
        if there is none or it is the chosen one. excluded_loss, observed_loss, tokens and
        share_of_native (of tokens, or of pixels where tokens are not known) are of the chosen
        rung, or else of the one that would be. n_more_images and n_more_groups are about what it
        takes to decide for would_choose.
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
        "share_of_native": _share_of_native(shown, rungs),
        **{
            name: math.nan if would is None else would[name]
            for name in ("n_more_images", "n_more_groups")
        },
    }
    return row | {"sentence": _sentence(row, rungs, shown)}


def _share_of_native(rung: pd.Series | None, rungs: pd.DataFrame) -> float:
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
    return f"{label(str(rung['eval_resolution']))}{_tokens(rung, ' (', ')')}"


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
    }.get(kind, f"Send images at {in_markdown(name)}")
    return f"{what}{_tokens(rung, ' (', ' each)' if kind not in ('tokens',) else ' on average)')}."


def _loses(row: dict[str, Any], rung: pd.Series, rungs: pd.DataFrame) -> str:
    against = f"Against the best of the {row['n_rungs']} sizes"
    sure = f"95 % confidence; {_asked(row)}"
    if rung["excluded_loss"] == 0:
        said = f"It is the best of the {row['n_rungs']} sizes ({sure})"
    else:
        said = f"{against} this loses at most {_points(rung['excluded_loss'])} points ({sure})"
    share = row["share_of_native"]
    if not math.isnan(share) and rung["eval_resolution"] != "native":
        of = "pixels" if rungs["tokens"].isna().all() else "visual tokens"
        said += f", and costs {_share(share)} of the {of} of native"
    smaller = rungs.loc[: rung.name].iloc[:-1]
    if len(smaller) and (smaller["verdict"] == MORE).all():
        what = "every smaller size" if len(smaller) > 1 else "the smaller size"
        said += f"; {what} is shown to lose more than {_points(row['margin'])} points"
    return f"{said}."


def _cheaper(row: dict[str, Any]) -> str:
    """Return what more images might allow, if something."""
    name = row["would_choose"]
    if not name or math.isnan(row["n_more_images"]):
        return ""
    return f"About {_more(row)} might allow {label(name)}."


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
        lines.append(f"* **{where}**")
        for trained, row in zip(part["train_resolution"], part.to_dict("records"), strict=True):
            name = "not trained here" if trained == "none" else f"trained at {trained}"
            lines.append(f"    * {name}: {in_markdown(str(row['sentence']))}")
    return "\n".join(lines)
