"""What to paste into a client or a server for a chosen resolution, as Markdown for a page."""

from collections.abc import Iterable, Mapping
from math import isqrt
from typing import Any

import pandas as pd

from medres import resolution, texts
from medres import study as studies
from medres.models import offline, served, setting
from medres.resolution import Treatment
from medres.study import Study

EVERYWHERE = (
    "Images that already have the size when they are sent are the one setting that every server "
    "and every library obeys:"
)
ONE_STEP = (
    "Or leave it to the model's own processor, whose sides may differ from these by one step of "
    "its grid:"
)
OWN = "The size that the model sees is set in its own processor:"
UNDECIDED = "Nothing is decided yet. Until then, images of native size lose no detail:"
NO_BUDGET = "How it is set outside of this program is not known here: see the model's own page."


def in_words(name: str, treatment: Treatment) -> str:
    """Return what a resolution asks for, for a reader.

    Args:
        name: As in `resolution.plan`.
        treatment: Of the study.
    """
    kind, argument = resolution.parse(name)
    if kind == "native":
        return f"native size (up to {treatment.native_max_pixels:,} pixels)"
    if kind in ("low", "pixels"):
        pixels = treatment.low_max_pixels if kind == "low" else int(argument)
        side = isqrt(pixels)
        called = "low, " if kind == "low" else ""
        by = f", shrunk with {argument}" if kind == "low" and argument else ""
        return f"{called}at most {pixels:,} pixels (about {side:,} x {side:,}){by}"
    if kind == "scale":
        return f"{float(argument):g} times the width and height"
    if kind == "mpp":
        return f"{argument} microns per pixel, finer pixels shrunk"
    if kind == "tokens":
        return f"{int(argument):,} visual tokens"
    if kind == "crops":
        return f"the whole at low and its {argument} parts, each at most at low's pixels"
    if kind == "zoom":
        return "the whole at low, then with it the part that the model asks for"
    if kind == "plain":
        return f"the whole image at no more visual tokens than {argument}"
    if kind == "tiles":
        return f"{argument} tile{'s' * (argument != '1')}"
    return name


def words(study: Study, names: Iterable[str]) -> dict[str, str]:
    """Return what each resolution of a study asks for, for a reader."""
    given = studies.treatment(study)
    pixels = given["low_max_pixels"], given["native_max_pixels"], given["resampling_filter"]
    treatment = Treatment(*pixels, multiple_px=1)
    return {name: in_words(name, treatment) for name in names}


def of_study(study: Study, chosen: pd.DataFrame) -> str:
    """Return what to paste for every model's resolutions: chosen, used until then, or native.

    Args:
        study: Read and checked.
        chosen: As from `choice_tables.table`.
    """
    settings = {cell.model: study.settings(cell) for cell in study.cells("evaluate")}
    said = []
    for model in study.models:
        rows = chosen[chosen["model"] == texts.named(model)]
        names = {
            row.chosen or row.until_then or "native": bool(row.chosen or row.until_then)
            for row in rows.itertuples()
        }
        for name, is_decided in names.items():
            said += [] if is_decided else [UNDECIDED]
            said.append(_text(model, name, settings[model]))
    return "\n\n".join(said)


def _text(model: str, name: str, settings: Mapping[str, Any]) -> str:
    called = texts.in_markdown(texts.named(model))
    if not (served.is_plain(model) or offline.is_at_hand(model)):
        return f"The config of {called} is not available here: send images of the chosen size."
    treatment = offline.treatment_of(model, settings)
    config = None if served.is_plain(model) else offline.config_of(model)
    found = setting.of(name, treatment, config)
    lines = [f"**{called}, {in_words(name, treatment)}.** {found.rule}"]
    if not found.is_own:
        lines += [EVERYWHERE, f"```python\n{found.code.rstrip()}\n```"]
    if found.options:
        lines.append(OWN if found.is_own else ONE_STEP)
        lines += [f"{where}:\n\n```text\n{line}\n```" for where, line in found.options]
    elif found.is_own:
        lines.append(NO_BUDGET)
    return "\n\n".join(lines)
