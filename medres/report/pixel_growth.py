"""By how much an image's operations grow from low to native, beside its pixels.

The paper says that cost is proportional to pixels (section 3.4). What every patch and token costs
is; attention grows with the square of their number.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from medres import resolution
from medres.datasets import REAL
from medres.models import flops, offline
from medres.models.flops import ModelShape
from medres.report import counted
from medres.resolution import Geometry, Treatment
from medres.study import Study
from medres.texts import in_markdown, listed

PAPER_MODEL = "Qwen/Qwen2-VL-2B-Instruct"
PAPER_TREATMENT = {
    "low_max_pixels": 50_176,
    "native_max_pixels": 12_000_000,
    "resampling_filter": "bicubic",
    "tiling": "information",
}
"""What low and native are in the paper."""
PAPER_TEXT_TOKENS = 64
"""A short question with its answer; the image's own operations hardly depend on it."""
OF_STUDY, OF_PAPER = "this study", "the paper's model and image sizes"
READS = ["image", "width_px", "height_px"]
"""Columns of answers that are read beside `stored.COUNTED`."""
MOST_SAID = 3
"""Rows that a sentence names one by one; of more, the range."""
PROPORTIONAL = 0.005
"""An exponent this near to 1 is called proportional."""
COLUMNS = (
    "family dataset model low_pixels native_pixels low_tokens native_tokens times_pixels "
    "times_operations exponent attention_low attention_native times_question"
).split()
SHOWN = [name for name in COLUMNS if name not in ("low_pixels", "native_pixels")]
CAPTION = (
    "From low to native, the mean test image. Operations: what the image adds to a question's, "
    "vision tower and language model, from the model's config. Exponent: operations grow as "
    "pixels to that power; 1 is proportional. Attention: its share of these operations. Whole "
    "question: text included, which costs the same at both."
)


def table(study: Study, answers: pd.DataFrame) -> pd.DataFrame:
    """Return how operations grow with pixels, for a study and for the paper's model and sizes.

    Args:
        study: Read and checked.
        answers: All of the study, for the sizes of its test images.

    Returns:
        `COLUMNS`, a row per data set and model whose config is at hand, then one per image size
        that the paper states: family (`OF_STUDY` or `OF_PAPER`), mean pixels given and visual
        tokens at both resolutions, times_pixels, times_operations and times_question (native
        over low), exponent (log of times_operations over log of times_pixels; NaN if low and
        native are the same pixels), attention_low and attention_native (shares).
    """
    rows = [*_of_study(study, answers), *_of_paper()]
    return pd.DataFrame(rows, columns=COLUMNS)


def _of_study(study: Study, answers: pd.DataFrame) -> list[dict[str, Any]]:
    rows = []
    for (label, model), known in counted.of_study(study).items():
        asked = answers[answers["dataset"] == label].drop_duplicates("image")
        sizes = asked[["width_px", "height_px"]].value_counts(sort=False)
        if sizes.empty:
            continue
        growth = _growth(
            known.shape,
            known.treatment,
            dict(zip(sizes.index, sizes, strict=True)),
            known.text_tokens,
        )
        rows.append({"family": OF_STUDY, "dataset": label, "model": model} | growth)
    return rows


def _of_paper() -> list[dict[str, Any]]:
    named: dict[tuple[int, int], list[str]] = {}
    for name, module in REAL.items():
        if module.SOURCE.paper_image_px:
            width, height = map(int, module.SOURCE.paper_image_px.split(" x "))
            named.setdefault((width, height), []).append(name)
    shape = offline.sizes_of(offline.config_of(PAPER_MODEL)).shape
    treatment = offline.treatment_of(PAPER_MODEL, PAPER_TREATMENT)
    return [
        {
            "family": OF_PAPER,
            "dataset": f"{', '.join(names)} ({size_px[0]:,} x {size_px[1]:,})",
            "model": PAPER_MODEL.rpartition("/")[2],
        }
        | _growth(shape, treatment, {size_px: 1}, PAPER_TEXT_TOKENS)
        for size_px, names in named.items()
    ]


def _growth(
    shape: ModelShape,
    treatment: Treatment,
    sizes: Mapping[tuple[int, int], int],
    text_tokens: int,
) -> dict[str, float]:
    """Return what changes from low to native.

    Args:
        shape: Sizes of the model.
        treatment: What low and native are.
        sizes: Width and height of images as stored, with how many there are.
        text_tokens: Of a question, with prompt and replies.
    """
    weights = list(sizes.values())
    low, native = (
        np.average(
            [
                _cost(shape, resolution.plan(size_px, name, treatment), text_tokens)
                for size_px in sizes
            ],
            axis=0,
            weights=weights,
        )
        for name in ("low", "native")
    )
    of_pixels, of_image, of_question = (native[[0, 2, 4]] / low[[0, 2, 4]]).tolist()
    is_same = abs(of_pixels - 1) < 1e-9
    return {
        "low_pixels": low[0],
        "native_pixels": native[0],
        "low_tokens": low[1],
        "native_tokens": native[1],
        "times_pixels": of_pixels,
        "times_operations": of_image,
        "exponent": math.nan if is_same else math.log(of_image) / math.log(of_pixels),
        "attention_low": low[3] / low[2],
        "attention_native": native[3] / native[2],
        "times_question": of_question,
    }


def _cost(shape: ModelShape, geometry: Geometry, text_tokens: int) -> tuple[float, ...]:
    """Return pixels, visual tokens, and operations: the image's, its attention's, the question's.

    Logits are computed where a reply is predicted, which no image changes.
    """
    layout = geometry.layout
    assert layout is not None  # planned for a model
    seen = flops.of_image(geometry)
    text = text_tokens + layout.mark_tokens
    whole = flops.forward_flops(shape, text_tokens=text, logit_tokens=1, **seen)
    without = flops.forward_flops(
        shape, visual_tokens=0, n_crops=0, text_tokens=text_tokens, logit_tokens=1
    )
    attention = flops.attention_flops(shape, text_tokens=text, **seen)
    attention -= flops.attention_flops(shape, visual_tokens=0, n_crops=0, text_tokens=text_tokens)
    pixels = math.prod(geometry.given_px)
    return pixels, layout.visual_tokens, whole - without, attention, whole


def sentence(found: pd.DataFrame) -> str:
    """Return whether operations grow faster than pixels, one line for the study, one for the paper.

    Args:
        found: As from `table`.
    """
    lines = []
    for family, rows in found[found["exponent"].notna()].groupby("family", sort=False):
        parts = [rows.iloc[[at]] for at in range(len(rows))] if len(rows) <= MOST_SAID else [rows]
        said = [
            f"{_places(part)}{_range(part['times_operations'], '.1f')} times the operations for "
            f"{_range(part['times_pixels'], '.1f')} times the pixels (exponent "
            f"{_range(part['exponent'], '.2f')}, attention "
            f"{_range(100 * part['attention_native'], '.0f')} % at native)"
            for part in parts
        ]
        words = listed(list(dict.fromkeys(map(_word, rows["exponent"]))), "or")
        lines.append(
            f"* From low to native, {family}: what an image costs grows **{words}**: "
            f"{'; '.join(said)}."
        )
    return "\n".join(lines)


def _places(part: pd.DataFrame) -> str:
    """Return the data set of a single row, followed by a space; nothing for several."""
    return f"{in_markdown(part['dataset'].iloc[0])} " if len(part) == 1 else ""


def _range(values: pd.Series, form: str) -> str:
    ends = dict.fromkeys(f"{value:,{form}}" for value in (values.min(), values.max()))
    return " to ".join(ends)


def _word(exponent: float) -> str:
    if abs(exponent - 1) <= PROPORTIONAL:
        return "in proportion to its pixels"
    return f"{'faster' if exponent > 1 else 'more slowly'} than its pixels"
