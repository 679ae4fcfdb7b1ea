"""What to paste into a client or a server for a chosen size, as Markdown for a page."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from medres import study as studies
from medres import texts
from medres.models import offline, setting
from medres.models.setting import Setting
from medres.results import choice
from medres.results.ladder import label
from medres.study import Study

EVERYWHERE = (
    "Sending images that already have the size is the one setting that every server and every "
    "library obeys:"
)
ONE_STEP = (
    "Or leave it to the model's own processor, whose sides may differ from these by one step of "
    "its grid:"
)
OWN = "The size that the model sees is set in its own processor:"
NO_BUDGET = "How it is set outside of this program is not known here: see the model's own page."
NONE_KNOWN = "No setting of the model's own processor is known that has the same effect."


def text(study: Study, choices: pd.DataFrame) -> str:
    """Return what to paste for the chosen sizes, and for native to compare.

    Args:
        study: Whose treatment and models count.
        choices: As from `choice.table`.
    """
    meaning = studies.treatment(study)
    several = len(study.models) > 1
    said = []
    for model in study.models:
        part = choices[choices["model"] == texts.named(model)]
        for name, why in _rungs(part).items():
            of = f"{texts.in_markdown(texts.named(model))}, " if several else ""
            heading = f"**{of}{label(name)}**: {why}."
            said += [heading, *_lines(name, model, meaning)]
    return "\n\n".join(said)


def _rungs(choices: pd.DataFrame) -> dict[str, str]:
    """Return the sizes that are shown, and why."""
    found: dict[str, list[str]] = {}
    for row in choices.to_dict("records"):
        where = choice.named_place(row, choices)
        if row["chosen"]:
            found.setdefault(row["chosen"], []).append(f"chosen ({where})" if where else "chosen")
        elif row["would_choose"]:
            said = "would be chosen on what was seen"
            found.setdefault(row["would_choose"], []).append(f"{said} ({where})" if where else said)
    why = {name: texts.in_markdown("; ".join(said)) for name, said in found.items()}
    return why if "native" in why else why | {"native": "to compare"}


def _lines(name: str, model: str, meaning: Mapping[str, Any]) -> list[str]:
    if not offline.is_at_hand(model):
        return [
            f"How {texts.in_markdown(texts.named(model))} lays out images is not known here: send "
            "images of the size that the table gives, shape kept."
        ]
    treatment = offline.treatment_of(model, meaning)
    try:
        config = offline.config_of(model)
    except ValueError:  # served, of an unknown kind: pixels alone are planned
        config = None
    found = setting.of(name, treatment, config)
    everywhere = [] if found.is_own else [EVERYWHERE]
    return [found.rule, *everywhere, _block("python", found.code), *_own(found)]


def _own(found: Setting) -> list[str]:
    if not found.options:
        return [NO_BUDGET if found.is_own else NONE_KNOWN]
    begin = OWN if found.is_own else ONE_STEP
    return [begin, *(f"{where}:\n\n{_block('text', line)}" for where, line in found.options)]


def _block(kind: str, content: str) -> str:
    return f"```{kind}\n{content.rstrip()}\n```"
