"""How to have a model see images at a resolution outside of this program: what to paste.

Sending pixels that already have the planned size works with every server and every library, so it
comes first. Beside it stand settings of a model's own processor, of those that are known to exist.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from transformers import PretrainedConfig

from medres import resolution, views
from medres.models import families
from medres.models.families import gemma3
from medres.models.grid import GridFamily
from medres.resolution import Treatment

PIXEL_LIMITS = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_5")
"""Model types whose processor takes min_pixels and max_pixels of an image."""
SOFT_TOKENS = (70, 140, 280, 560, 1120)
"""Budgets that Gemma 4 knows."""
VLLM = "vLLM, when the server is started"
TRANSFORMERS = "transformers"


@dataclass(frozen=True)
class Setting:
    """What brings images to a resolution."""

    rule: str
    """In words."""
    code: str
    """Python with Pillow that makes the pixels to send; empty if they are made by no rule here."""
    options: tuple[tuple[str, str], ...] = ()
    """Settings of the model's own processor: where, and what to write there."""
    is_own: bool = False
    """Whether the resolution is a budget of that processor, not one of pixels."""


def of(name: str, treatment: Treatment, config: PretrainedConfig | None = None) -> Setting:
    """Return what to paste for a resolution.

    Args:
        name: An eval resolution of `resolution.plan` that images can be sent at.
        treatment: Of the model; its filter, budgets and grid count.
        config: Of the model, for settings of its own processor; none is known without.

    Raises:
        ValueError: If the name is not a resolution, or no images can be sent at it.
    """
    kind, argument = resolution.parse(name)
    if kind in ("mixed", "blank", "upsampled", *views.KINDS):
        raise ValueError(f"images are not sent at {name!r}; give low, native or another size")
    side = treatment.multiple_px
    most = treatment.native_max_pixels
    shrink = treatment.resampling_filter
    given = "image.size"
    note = "never enlarged"
    if kind == "low":
        most, shrink = treatment.low_max_pixels, argument or shrink
    elif kind == "pixels":
        most = int(argument)
    elif kind == "tokens" and side > 1:
        most = int(argument) * side**2
        given = "[each * (most // min(image.size) + 1) for each in image.size]"
        note = "enlarged if it is smaller"
    elif kind == "scale":
        given = f"[max(1, round(each * {float(argument)})) for each in image.size]"
        note = f"its sides times {argument}"
    elif kind == "mpp":
        given = f"[max(1, round(each * min(1, um / {argument}))) for each in image.size]"
        note = f"shrunk to {argument} microns per pixel if its own are finer"
    options = _options(kind, argument, most, config) if config else ()
    grid = f", each side a multiple of {side} px" if side > 1 else ""
    own = kind in ("tiles", "pan-and-scan") or (kind == "tokens" and side == 1)
    rule = (
        f"{'Send' if own else 'Resize'} each image to at most {most:,} pixels, width times "
        f"height: its shape kept{grid}, {note} (filter: {shrink})."
    )
    if own:
        rule += " The size that the model sees is a setting of its own processor."
    return Setting(rule, _code(given, side, most, shrink), options, own)


def _code(given: str, side: int, most: int, resampling_filter: str) -> str:
    """Return Python that makes the pixels of `resolution.plan`, strips of a token's width too."""
    stated = "um = 0.25  # microns per pixel of this image\n" if "um /" in given else ""
    return f"""\
from math import isqrt
from PIL import Image

image = Image.open("image.png").convert("RGB")
{stated}side, most = {side}, {most}
a, b = {given}
n, m = (max(1, min(x // side, isqrt(most * x // (y * side**2)))) for x, y in ((a, b), (b, a)))
size = [side * min(each, most // (side**2 * min(n, m))) for each in (n, m)]
image.resize(size, Image.Resampling.{resampling_filter.upper()}).save("sent.png")
"""


def _options(
    kind: str, argument: str, most: int, config: PretrainedConfig
) -> tuple[tuple[str, str], ...]:
    """Return settings of the processor of a model, none where none is known."""
    model_type = config.model_type
    family = families.of(model_type)
    least = family.min_pixels if isinstance(family, GridFamily) else 0
    if model_type in PIXEL_LIMITS and kind in ("low", "pixels", "native") and most >= least:
        return _named({"max_pixels": most})
    if model_type == "gemma4" and kind == "tokens" and int(argument) in SOFT_TOKENS:
        return _named({"max_soft_tokens": int(argument)})
    if model_type == "gemma3" and kind == "pan-and-scan":
        crops = {
            "pan_and_scan_min_crop_size": gemma3.MIN_CROP_PX,
            "pan_and_scan_max_num_crops": gemma3.MAX_CROPS,
            "pan_and_scan_min_ratio_to_activate": gemma3.MIN_RATIO,
        }
        return _named({"do_pan_and_scan": True}, **crops)
    if model_type == "internvl" and kind == "tiles":
        cut = {"crop_to_patches": True, "min_patches": 1, "max_patches": int(argument)}
        return (_in_transformers(cut),)
    if model_type in ("smolvlm", "idefics3") and kind == "tiles" and argument == "1":
        return (_in_transformers({"do_image_splitting": False}),)
    return ()


def _named(setting: Mapping[str, int | bool], **more: float) -> tuple[tuple[str, str], ...]:
    values = ", ".join(f'"{name}": {str(value).lower()}' for name, value in setting.items())
    served = f"vllm serve MODEL --mm-processor-kwargs '{{{values}}}'"
    return (VLLM, served), _in_transformers({**setting, **more})


def _in_transformers(setting: Mapping[str, float]) -> tuple[str, str]:
    values = ", ".join(f"{name}={value}" for name, value in setting.items())
    return TRANSFORMERS, f"processor = AutoProcessor.from_pretrained(MODEL, {values})"
