"""What must be said before a choice of resolution, in plain words."""

from collections.abc import Sequence

import pandas as pd

from medres.results import paired, servers
from medres.results.choice import KEY, Choice, Ladder
from medres.results.numbers import percent
from medres.statistics import comparison
from medres.statistics import groups as of_groups

FEW_GROUPS = 12
"""With fewer, groups that happen to be alike are likely."""
MANY = 0.02
"""Share of answers from which on one that is not understood is said."""


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
    for ladder, _ in found:
        part = of_key[ladder.key]
        rungs = part[part["eval_resolution"].isin([*ladder.rungs, *ladder.merged])]
        sentences = [
            servers.mismatch(rungs).strip(),
            _hardly_looks(ladder, part),
            _few_groups(ladder),
            _resized_by_model(ladder, rungs),
            _read_from_words(rungs),
            _unclear(rungs),
        ]
        if text := " ".join(filter(None, sentences)):
            said[ladder.key] = text
    return said


def _hardly_looks(ladder: Ladder, part: pd.DataFrame) -> str:
    """Return that the model is not shown to need the images, if it is not."""
    blank = part[part["eval_resolution"] == "blank"]
    named = "native" if "native" in ladder.rungs else ladder.rungs[-1]
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
        f"at {named} in {percent(correct[:, 1].mean())} %, which is not shown to be more. "
        "Whatever the size: this comes first."
    )


def _few_groups(ladder: Ladder) -> str:
    """Return that groups are few, if they are but not so few that nothing is decided."""
    n_groups = len(set(ladder.groups.tolist()))
    if not of_groups.LEAST_GROUPS <= n_groups < FEW_GROUPS:
        return ""
    return f"There are only {n_groups} groups, and what they share may not hold for others."


def _read_from_words(rungs: pd.DataFrame) -> str:
    """Return that closed questions were judged by words, where a server gave nothing else."""
    own = servers.asked(rungs)
    closed = own[own["options"].map(len) > 0] if len(own) else own
    share = float(closed["answered_by"].eq("words").mean()) if len(closed) else 0.0
    if not share:
        return ""
    return (
        f"Of the closed questions {percent(share)} % were answered in words and read by the rule "
        "strict: a reply that hedges counts as wrong."
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
    """Return which share of answers was not understood, if it is not small."""
    share = float(rungs["parsed_answer"].isna().mean())
    if share < MANY:
        return ""
    return f"In {percent(share)} % of the replies no answer could be read; they count as wrong."


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
