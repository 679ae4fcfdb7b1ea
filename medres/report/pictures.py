"""What a model was given of an image, as pictures that show one field of view.

A picture is an SVG whose coordinates are pixels of the native image, so that a low image covers
exactly what the native one beside it covers. Its pixels are those that inference read.
"""

import base64
import hashlib
import html
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from medres import resolution, texts
from medres.resolution import Geometry

SHOWN_PX = 200
"""Least width of a picture on the page, reached by a whole multiple of the native pixels."""
THUMBNAIL_PX = 120
"""Longer side of the small picture of the whole image, where a part of it is shown."""
LOSSLESS_BYTES = 2**16
"""Size from which a picture is stored as JPEG instead of PNG."""
JPEG_QUALITY = 92
STEP = re.compile(r"(\d+)x(\d+) (\w+)( by the model)?")

Field = tuple[float, float, float, float]
"""Left, top, right and bottom of a part of an image, as fractions of its width and height."""


@dataclass(frozen=True)
class View:
    """An image as a model was given it, cut to a field of view."""

    caption: str
    svg: str


def geometry_of(answer: Mapping[str, Any]) -> Geometry:
    """Return the geometry that an answer was given with, from what its row records.

    Unlike a new plan it needs no config of the model. What a model that tiles does to the pixels
    after it was given them is not part of it.

    Args:
        answer: Row of `grids.answers`.

    Raises:
        ValueError: If the recorded steps do not end in the recorded size.
    """
    steps = tuple(
        ((int(width), int(height)), name)
        for width, height, name, by_model in STEP.findall(answer["resampling"])
        if not by_model
    )
    original_px = (int(answer["width_px"]), int(answer["height_px"]))
    given_px = (int(answer["given_width_px"]), int(answer["given_height_px"]))
    if (steps[-1][0] if steps else original_px) != given_px:
        raise ValueError(
            f"question {answer['question_id']} at {answer['eval_resolution']} was answered at "
            f"{given_px[0]} x {given_px[1]} px, but resampling is recorded as "
            f"{answer['resampling']!r} from {original_px[0]} x {original_px[1]} px; "
            "evaluate it again"
        )
    return Geometry(
        original_px=original_px,
        steps=steps,
        given_px=given_px,
        visual_tokens=int(answer["visual_tokens"]),
        is_capped=bool(answer["is_capped"]),
        is_enlarged=bool(answer["is_enlarged"]),
        is_blank=answer["eval_resolution"] == "blank",
    )


def middle(size_px: tuple[int, int], crop_px: int) -> Field:
    """Return the middle of an image, at most `crop_px` wide and high, on whole pixels.

    Args:
        size_px: Width and height of the image.
        crop_px: Most pixels of a side.

    Raises:
        ValueError: If crop_px is below 1.
    """
    if crop_px < 1:
        raise ValueError(f"crop_px is {crop_px}; it must be at least 1")
    starts = [(side - min(side, crop_px)) // 2 for side in size_px]
    ends = [start + min(side, crop_px) for start, side in zip(starts, size_px, strict=True)]
    (left, top), (right, bottom) = (
        [place / side for place, side in zip(places, size_px, strict=True)]
        for places in (starts, ends)
    )
    return left, top, right, bottom


def full_px(rows: pd.DataFrame) -> tuple[int, int]:
    """Return the width and height of the largest image that answers were given with.

    Args:
        rows: Of `grids.answers`, of one question and model.
    """
    row = rows.loc[(rows["given_width_px"] * rows["given_height_px"]).idxmax()]
    return int(row["given_width_px"]), int(row["given_height_px"])


def views(
    stored: np.ndarray,
    answers: Sequence[Mapping[str, Any]],
    *,
    full_px: tuple[int, int],
    crop_px: int,
    embedded: set[str],
) -> list[View]:
    """Return an image as a model was given it, once per answer, all with one field of view.

    Args:
        stored: The image as `QuestionSet.read` returns it.
        answers: Rows of `grids.answers` of one question, each of another resolution.
        full_px: Width and height that say how large the field of view is: those of the native
            image.
        crop_px: Most pixels of a side of that size that are shown, from its middle.
        embedded: Pictures that the page has; those that it has not yet are added.
    """
    field = middle(full_px, crop_px)
    shown = [
        View(
            caption(answer),
            svg(
                resolution.apply(stored, geometry_of(answer)),
                field,
                full_px,
                alt=f"{answer['image']} at {answer['eval_resolution']} resolution",
                embedded=embedded,
            ),
        )
        for answer in answers
    ]
    return shown if field == (0, 0, 1, 1) else [*shown, _whole(stored, field, crop_px)]


def caption(answer: Mapping[str, Any]) -> str:
    """Return what the model was given, in words: resolution, pixels and visual tokens."""
    said = (
        f"{answer['eval_resolution']}: {answer['given_width_px']:,} × "
        f"{answer['given_height_px']:,} px, {_counted(int(answer['visual_tokens']))}"
    )
    for width, height, _, by_model in STEP.findall(answer["resampling"]):
        if by_model:
            said += f"; the model resizes it to {int(width):,} × {int(height):,} px"
    return said


def _counted(n_tokens: int) -> str:
    return f"{n_tokens:,} visual token{'' if n_tokens == 1 else 's'}"


def svg(
    image: Image.Image,
    field: Field,
    full_px: tuple[int, int],
    *,
    alt: str,
    embedded: set[str],
    mark: str = "",
) -> str:
    """Return a part of an image as an SVG; pixels are enlarged as squares.

    Args:
        image: RGB image of any size that covers the whole field.
        field: Part of it that is shown, exactly.
        full_px: Size that the whole image has in the coordinates of the SVG.
        alt: What a reader who cannot see it needs to know.
        embedded: Ids of the pictures that the page has; a new one is added, others are referred to.
        mark: SVG drawn over the image.
    """
    left, top, right, bottom = field
    width, height = full_px[0] * (right - left), full_px[1] * (bottom - top)
    # Whole pixels that cover the field; what sticks out is cut off by the SVG's own frame.
    box = (
        math.floor(left * image.width + 1e-6),
        math.floor(top * image.height + 1e-6),
        math.ceil(right * image.width - 1e-6),
        math.ceil(bottom * image.height - 1e-6),
    )
    across, down = full_px[0] / image.width, full_px[1] / image.height
    place = (
        f'x="{box[0] * across - left * full_px[0]:.6g}" y="{box[1] * down - top * full_px[1]:.6g}" '
        f'width="{(box[2] - box[0]) * across:.6g}" height="{(box[3] - box[1]) * down:.6g}"'
    )
    uri = data_uri(image.crop(box))
    name = f"picture-{hashlib.sha256((uri + place).encode()).hexdigest()[:16]}"
    picture = f'<use href="#{name}"/>'
    if name not in embedded:
        embedded.add(name)
        picture = f'<image id="{name}" {place} preserveAspectRatio="none" href="{uri}"/>'
    scale = 1 if mark else math.ceil(SHOWN_PX / width)
    return (
        f'<svg role="img" viewBox="0 0 {width:.6g} {height:.6g}" width="{width * scale:.6g}" '
        f'height="{height * scale:.6g}"><title>{escaped(alt)}</title>{picture}{mark}</svg>'
    )


def _whole(stored: np.ndarray, field: Field, crop_px: int) -> View:
    image = Image.fromarray(stored)
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    left, top, right, bottom = (
        part * side for part, side in zip(field, image.size * 2, strict=True)
    )
    frame = (
        f'<rect x="{left:.6g}" y="{top:.6g}" width="{right - left:.6g}" '
        f'height="{bottom - top:.6g}" fill="none" stroke="#fff" stroke-width="3"/>'
        f'<rect x="{left:.6g}" y="{top:.6g}" width="{right - left:.6g}" '
        f'height="{bottom - top:.6g}" fill="none" stroke="#a3341a" stroke-width="1.5"/>'
    )
    drawn = svg(image, (0, 0, 1, 1), image.size, alt="the whole image", embedded=set(), mark=frame)
    return View(f"framed: what is shown, at most {crop_px:,} px wide and high", drawn)


def escaped(words: object) -> str:
    """Return a text as HTML shows it; characters that would act are written out."""
    return html.escape(texts.visible(words, keep=texts.LINES))


def data_uri(image: Image.Image) -> str:
    """Return an RGB image as text for a page: PNG, or JPEG above `LOSSLESS_BYTES`."""
    pixels = np.asarray(image)
    is_grey = (pixels == pixels[..., :1]).all()
    stored = Image.fromarray(pixels[..., 0]) if is_grey else image
    kind, content = "png", io.BytesIO()
    stored.save(content, format="png", optimize=True)
    if content.tell() > LOSSLESS_BYTES:
        kind, content = "jpeg", io.BytesIO()
        stored.save(content, format="jpeg", quality=JPEG_QUALITY, subsampling=0)
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"
