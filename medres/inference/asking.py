"""Answers of a model about a batch of images: one row per question, with its model input."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from transformers import PretrainedConfig

from medres import datasets, gpus, models
from medres.datasets import pixel_cache
from medres.datasets.pixel_cache import PixelCache
from medres.inference import generation
from medres.inference.said import Said
from medres.models import LoadedModel, conversation
from medres.resolution import Geometry


def load(place: str, *, revision: str, tiling: str, dtype: str) -> LoadedModel:
    """Return a model for inference at a precision, on the GPU if there is one.

    Args:
        place: As in `models.load`.
        revision: As in `models.load`.
        tiling: As in `models.load`.
        dtype: One of `models.DTYPES`.

    Raises:
        ValueError: If dtype is unknown, a GPU was planned and none is found, or as `models.load`.
    """
    device = gpus.device()
    model = models.load(place, revision=revision, tiling=tiling, dtype=dtype)
    model.network.to(device)
    return model


@dataclass(frozen=True)
class Asked:
    """The questions about one image."""

    image: str
    """Path as the question table names it."""
    size_px: tuple[int, int]
    """Width and height as stored, in pixels."""
    question_ids: list[str]
    questions: list[str]
    options: list[list[str]]
    """Of each question; empty for an open one."""
    mpp_um: float = math.nan
    """Microns per pixel as stored; NaN if they are not known."""


def by_image(questions: pd.DataFrame) -> list[Asked]:
    """Return the questions of a table image by image, in the order of the images' names.

    Args:
        questions: Columns image, width_px, height_px, question_id, question, options, and mpp_um
            where it is known of any.
    """
    found: dict[str, Asked] = {}
    names = ("image", "width_px", "height_px", "mpp_um", "question_id", "question", "options")
    if "mpp_um" not in questions:
        questions = questions.assign(mpp_um=math.nan)
    columns = (questions[name].tolist() for name in names)
    for image, width_px, height_px, um, question_id, question, options in zip(
        *columns, strict=True
    ):
        asked = found.get(image)
        if asked is None:
            size_px = int(width_px), int(height_px)
            asked = found[image] = Asked(image, size_px, [], [], [], mpp_um=um)
        asked.question_ids.append(question_id)
        asked.questions.append(question)
        asked.options.append(options)
    return [found[image] for image in sorted(found)]


@torch.no_grad()
def answer(
    model: LoadedModel,
    question_set: datasets.QuestionSet,
    batch: Sequence[tuple[Geometry, Asked]],
    eval_resolution: str,
    *,
    cache: PixelCache = pixel_cache.NONE,
    generate_closed: bool = True,
    most_images: int = generation.MOST_IMAGES,
    max_new_tokens: int | None = None,
) -> list[dict[str, Any]]:
    """Return the answers to all questions about a batch of images, one row per question.

    Blank images of one size that are asked the same are computed once.

    Args:
        model: From `load`.
        question_set: Data set that the images belong to.
        batch: Planned geometry and questions of each image.
        eval_resolution: Name for the rows.
        cache: Of prepared pixels.
        generate_closed: Whether closed questions also get a generated reply.
        most_images: Of one forward pass.
        max_new_tokens: Of a reply, as in `generation.score_and_reply`.
    """
    places: dict[Hashable, int] = {}
    place_of = [places.setdefault(_key(*each), number) for number, each in enumerate(batch)]
    computed = sorted(set(place_of))
    distinct = [batch[place] for place in computed]
    pixels = [
        pixel_cache.views_of(question_set, asked.image, geometry, cache)
        for geometry, asked in distinct
    ]
    trees = [
        conversation.about(
            model, geometry, asked.question_ids, asked.questions, asked.options, with_ends=False
        )
        for geometry, asked in distinct
    ]
    to_reply = [
        [number for number, options in enumerate(asked.options) if generate_closed or not options]
        for _, asked in distinct
    ]
    scores, replies = generation.score_and_reply(
        model, trees, pixels, to_reply, most_images, max_new_tokens
    )
    result = []
    for (geometry, asked), place in zip(batch, place_of, strict=True):
        number = computed.index(place)
        result += _rows(model, geometry, asked, eval_resolution, scores[number], replies[number])
    return result


def _key(geometry: Geometry, asked: Asked) -> Hashable:
    """Return what decides the answers: for a blank image neither its file nor its own size."""
    if not geometry.is_blank:
        return asked.image, geometry
    texts = tuple(asked.questions), tuple(map(tuple, asked.options))
    return geometry.given_px, geometry.layout, texts


def _rows(
    model: LoadedModel,
    geometry: Geometry,
    asked: Asked,
    eval_resolution: str,
    scores: np.ndarray,
    replies: dict[int, Said],
) -> list[dict[str, Any]]:
    """Return the answers about one image, as `answer` does."""
    shared = of_geometry(geometry, model.config, tiling=model.tiling)
    rows = []
    taken = 0
    for number, options in enumerate(asked.options):
        sums, per_token = scores[:, taken : taken + len(options)].tolist()
        taken += len(options)
        said = replies.get(number)
        answer = said.answer if said else None
        rows.append(
            {
                "question_id": asked.question_ids[number],
                "eval_resolution": eval_resolution,
                "reply": options[int(np.argmax(sums))] if options else answer,
                "generated_reply": answer,
                "reasoning": said.reasoning if said else None,
                "reasoning_tokens": said.reasoning_tokens if said else 0,
                "reply_tokens": said.reply_tokens if said else 0,
                "is_cut": bool(said and said.is_cut),
                "option_log_probabilities": sums,
                "option_log_probabilities_per_token": per_token,
                **shared,
            }
        )
    return rows


def of_geometry(
    geometry: Geometry, config: PretrainedConfig | None, *, tiling: str
) -> dict[str, Any]:
    """Return what a row says of the image as it was given to the model.

    Of several views that is the size and the tiles of the first, the tokens and crops of all, and
    their number as `n_views`.

    Args:
        geometry: As planned.
        config: Of the model; none if its kind is unknown.
        tiling: One of `models.TILINGS`.
    """
    return {
        "given_width_px": geometry.given_px[0],
        "given_height_px": geometry.given_px[1],
        "resampling": "; ".join(map(_resampling, geometry.each)),
        "visual_tokens": geometry.visual_tokens,
        "is_capped": geometry.is_capped,
        "is_enlarged": geometry.is_enlarged,
        "is_enlarged_by_model": geometry.is_enlarged_by_model,
        "budget": geometry.budget,
        **(_tiles(config, tiling, geometry) if config else {}),
        **({"n_views": len(geometry.views)} if geometry.views else {}),
    }


def _resampling(geometry: Geometry) -> str:
    steps = [] if geometry.box_px is None else ["x".join(map(str, geometry.box_px)) + " cut out"]
    steps += [f"{width}x{height} {name}" for (width, height), name in geometry.steps]
    if geometry.layout and geometry.layout.canvas_px != geometry.given_px:
        width, height = geometry.layout.canvas_px
        steps.append(f"{width}x{height} {geometry.layout.resampling_filter} by the model")
    return " then ".join(steps)


def _tiles(config: PretrainedConfig, tiling: str, geometry: Geometry) -> dict[str, Any]:
    """Return the tiles of an image for a model that cuts it; nothing for other models."""
    family = models.family_of(config)
    layout = geometry.each[0].layout
    if not (family.cuts and layout):
        return {}
    return {
        **({"tiling": tiling} if family.tiles else {}),
        "tile_columns": layout.columns,
        "tile_rows": layout.rows,
        "n_crops": geometry.n_crops,
    }
