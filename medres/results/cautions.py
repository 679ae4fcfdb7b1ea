"""What must be said before a choice of resolution, in plain words."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from medres.results import paired
from medres.results.choice import KEY, Choice, Ladder
from medres.results.numbers import percent
from medres.statistics import comparison

MANY = 0.02
"""Share of answers from which on one that is not understood, or cut off, is said."""


def of_ladders(
    found: Sequence[tuple[Ladder, Choice]], answers: pd.DataFrame
) -> dict[tuple[str, str, str], str]:
    """Return what must be said before what is chosen from each ladder; missing where nothing.

    Tokens that a server reports otherwise than planned come first: then the images that were sent
    are not what the model saw.

    Args:
        found: Ladders with what was chosen.
        answers: All of the study, blank images among them.
    """
    of_key = {
        (str(key[0]), str(key[1]), str(key[2])): part
        for key, part in answers.groupby(KEY, sort=False)
    }
    said = {}
    for ladder, choice in found:
        part = of_key[ladder.key]
        rungs = part[part["eval_resolution"].isin([*ladder.rungs, *ladder.merged])]
        sentences = [
            _resized_by_server(rungs),
            _hardly_looks(ladder, choice, part),
            _resized_by_model(ladder, rungs),
            _unclear(rungs),
        ]
        if text := " ".join(filter(None, sentences)):
            said[ladder.key] = text
    return said


def _resized_by_server(rungs: pd.DataFrame) -> str:
    """Return at which rungs the server counted other visual tokens than were planned."""
    if "reported_tokens" not in rungs:
        return ""
    planned, reported = rungs["visual_tokens"], rungs["reported_tokens"].astype(float)
    differs = reported.notna() & planned.gt(0) & reported.ne(planned)
    if not differs.any():
        return ""
    first = rungs[differs].iloc[0]
    names = list(dict.fromkeys(rungs.loc[differs, "eval_resolution"]))
    return (
        f"The server resized images on its own: at {_and(names)} it reports other visual tokens "
        f"than planned ({int(differs.sum()):,} answers, the first {first['reported_tokens']:,.0f} "
        f"instead of {first['visual_tokens']:,.0f}), so that these sizes are not what the model "
        "saw."
    )


def _hardly_looks(ladder: Ladder, choice: Choice, part: pd.DataFrame) -> str:
    """Return that the model is not shown to need the images, if it is not."""
    blank = part[part["eval_resolution"] == "blank"]
    named = choice.chosen or ("native" if "native" in ladder.rungs else ladder.rungs[-1])
    arm = part[part["eval_resolution"] == named]
    if blank.empty or arm.empty:
        return ""
    correct, groups = paired.stacked([blank, arm])
    compared = comparison.compare(correct[:, 0], correct[:, 1], groups)
    gain = compared.interval()
    if not gain.lower <= 0:
        return ""
    return (
        f"It hardly looks: with a blank image it is right in {percent(correct[:, 0].mean())} %, "
        f"at {named} in {percent(correct[:, 1].mean())} %, which is not shown to be more. No size "
        "can matter to such a model."
    )


def _resized_by_model(ladder: Ladder, rungs: pd.DataFrame) -> str:
    """Return at which rungs the model's own processor enlarges images again."""
    if "is_enlarged_by_model" not in rungs:
        return ""
    shares = rungs.groupby("eval_resolution", sort=False)["is_enlarged_by_model"].mean()
    names = [name for name in ladder.rungs if shares.get(name, 0) > 0]
    if not names:
        return ""
    return f"The model's own processor enlarges images again at {_and(names)}."


def _unclear(rungs: pd.DataFrame) -> str:
    """Return which share of answers was not understood, or cut off, if it is not small."""
    said = []
    shares = {
        "no answer could be read": rungs["parsed_answer"].isna(),
        "the reply was cut off": rungs["is_cut"].astype(bool)
        if "is_cut" in rungs
        else np.zeros(len(rungs), dtype=bool),
    }
    for what, is_so in shares.items():
        share = float(np.mean(is_so))
        if share >= MANY:
            said.append(f"in {percent(share)} % of the replies {what}")
    return f"{' and '.join(said)[:1].upper()}{' and '.join(said)[1:]}." if said else ""


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
