"""What to set so that a model gets the size that was chosen: for a client, a server, a processor.

Only settings that are known to exist. Pixels of the chosen size, sent by the client, work
everywhere; what a processor or a server can be told depends on the model.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from transformers import PretrainedConfig

from medres import models, resolution, texts
from medres import study as studies
from medres.models import offline
from medres.models.grid import GridFamily
from medres.resampling import FILTERS
from medres.resolution import Treatment
from medres.study import Study

PIXELS_TAKEN = ("qwen2_vl", "qwen2_5_vl")
"""Families whose processor takes min_pixels and max_pixels."""
AREAS_TAKEN = ("qwen3_vl", "qwen3_5")
"""Families whose processor takes pixel areas as shortest_edge and longest_edge."""
CODE = '''\
from math import isqrt
from PIL import Image

def resized(image, pixels, unit={unit}, times=1):
    """Return an image of its shape, of at most so many pixels, sides multiples of unit."""
    size = [max(1, round(side * times)) for side in image.size]
    wide, high = (
        unit * max(1, (side if side * other <= pixels else isqrt(pixels * side // other)) // unit)
        for side, other in (size, size[::-1])
    )
    if wide * high > pixels:  # a strip that is narrower than one unit
        if wide >= high:
            wide = pixels // (high * unit) * unit
        else:
            high = pixels // (wide * unit) * unit
    return image.convert("RGB").resize((wide, high), Image.Resampling.{filter})
'''


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
        side = round(pixels**0.5)
        called = "low, " if kind == "low" else ""
        return f"{called}at most {pixels:,} pixels (as {side:,} x {side:,})"
    if kind == "scale":
        return f"{float(argument):g} times the width and height"
    if kind == "tokens":
        return f"{int(argument):,} visual tokens"
    if kind == "tiles":
        return f"{argument} tile{'s' * (argument != '1')}"
    return name


def call(name: str, treatment: Treatment) -> str:
    """Return the call of the function in `CODE` that makes the size a resolution gives.

    Empty for budgets of a model's own, which get native pixels.

    Args:
        name: low, native, pixels-<n> or scale-<factor>.
        treatment: Of the model.
    """
    kind, argument = resolution.parse(name)
    most = {"low": treatment.low_max_pixels, "native": treatment.native_max_pixels}
    most |= {"scale": treatment.native_max_pixels}
    pixels = int(argument) if kind == "pixels" else most.get(kind)
    times = f", times={float(argument):g}" if kind == "scale" else ""
    return "" if pixels is None else f"resized(image, pixels={pixels:_}{times})"


def code(treatment: Treatment) -> str:
    """Return Python that resizes an image as an evaluation did, with Pillow."""
    filter_name = FILTERS[treatment.resampling_filter].name
    return CODE.format(unit=treatment.multiple_px, filter=filter_name)


def told(name: str, config: PretrainedConfig, treatment: Treatment) -> dict[str, Any]:
    """Return what a processor, or a server's, can be told instead, with the same result.

    Nothing where that is not known, or where the model enlarges what it is sent: then only images
    that were made smaller before are what was evaluated.

    Args:
        name: As in `resolution.plan`.
        config: Of the model.
        treatment: Of the model.
    """
    kind, argument = resolution.parse(name)
    pixels = {
        "low": treatment.low_max_pixels,
        "pixels": int(argument or 0) if kind == "pixels" else 0,
    }
    family = models.family_of(config)
    if kind in pixels and isinstance(family, GridFamily) and pixels[kind] >= family.min_pixels:
        least = max(family.min_pixels, treatment.multiple_px**2)
        edges = {"shortest_edge": least, "longest_edge": pixels[kind]}
        if config.model_type in PIXELS_TAKEN:
            return dict(zip(("min_pixels", "max_pixels"), edges.values(), strict=True))
        if config.model_type in AREAS_TAKEN:
            return {"size": edges}
    if kind == "tokens" and config.model_type == "gemma4":
        return {"max_soft_tokens": int(argument)}
    if kind == "tiles" and config.model_type == "internvl":
        return {"max_patches": int(argument)}
    if kind == "pan-and-scan" and config.model_type == "gemma3":
        return {"do_pan_and_scan": True}
    return {}


def markdown(model: str, names: Sequence[str], settings: Mapping[str, Any]) -> str:
    """Return the settings to paste for rungs of a model, as Markdown.

    Args:
        model: As the study names it.
        names: The rungs.
        settings: Parameters of an evaluation of the model.
    """
    called = texts.in_markdown(texts.named(model))
    if not offline.is_at_hand(model):
        return f"The config of {called} is not available here: send images of the chosen size."
    treatment, config = offline.treatment_of(model, settings), offline.config_of(model)
    lines = []
    calls = [
        f"{call(name, treatment)}  # {in_words(name, treatment)}"
        for name in names
        if call(name, treatment)
    ]
    if calls:
        lines += [
            f"**{called}**: in the client, before an image is sent. This works everywhere.",
            "",
        ]
        lines += ["```python", code(treatment), *calls, "```", ""]
    for name in names:
        if values := told(name, config, treatment):
            given = ", ".join(f"{key}={value!r}" for key, value in values.items())
            lines += [f"**{called}, {in_words(name, treatment)}**: where the model is loaded.", ""]
            lines += ["```", f"AutoProcessor.from_pretrained(..., {given})  # transformers"]
            lines += [f"vllm serve ... --mm-processor-kwargs '{json.dumps(values)}'", "```", ""]
    return "\n".join(lines)


def words(study: Study, names: Iterable[str]) -> dict[str, str]:
    """Return what each resolution of a study asks for, for a reader."""
    given = studies.treatment(study)
    pixels = given["low_max_pixels"], given["native_max_pixels"], given["resampling_filter"]
    treatment = Treatment(*pixels, multiple_px=1)
    return {name: in_words(name, treatment) for name in names}


def of_study(study: Study, chosen: pd.DataFrame) -> str:
    """Return the setting to paste for every model and chosen rung of a study, as Markdown.

    Args:
        study: Read and checked.
        chosen: As from `choice_tables.table`.
    """
    named = {texts.named(model): model for model in study.models}
    settings = {cell.model: study.settings(cell) for cell in study.cells("evaluate")}
    used = chosen["chosen"].where(chosen["chosen"] != "", chosen["until_then"])
    said = [
        markdown(named[str(model)], list(dict.fromkeys(rungs)), settings[named[str(model)]])
        for model, rungs in used[used != ""].groupby(chosen["model"], sort=False)
    ]
    return "\n\n".join(said) if said else "Nothing is chosen, so there is nothing to set."
