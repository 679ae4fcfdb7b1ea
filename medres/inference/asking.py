"""Answers of a model about a batch of images: one row per question, with its model input."""

from typing import Any

import numpy as np
import pandas as pd
import torch

from medres import datasets, models
from medres.datasets import pixel_cache
from medres.datasets.pixel_cache import PixelCache
from medres.inference import generation
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
        ValueError: If dtype is unknown, or as `models.load`.
    """
    model = models.load(place, revision=revision, tiling=tiling, dtype=dtype)
    model.network.to("cuda" if torch.cuda.is_available() else "cpu")
    return model


@torch.no_grad()
def answer(
    model: LoadedModel,
    question_set: datasets.QuestionSet,
    batch: list[tuple[Geometry, pd.DataFrame]],
    eval_resolution: str,
    *,
    cache: PixelCache = pixel_cache.NONE,
    generate_closed: bool = True,
) -> list[dict[str, Any]]:
    """Return the answers to all questions about a batch of images, one row per question.

    Args:
        model: From `load`.
        question_set: Data set that the images belong to.
        batch: Planned geometry and questions of each image.
        eval_resolution: Name for the rows.
        cache: Of prepared pixels.
        generate_closed: Whether closed questions also get a generated reply.
    """
    pixels = [
        pixel_cache.pixels_of(question_set, rows["image"].iloc[0], geometry, cache)
        for geometry, rows in batch
    ]
    trees = [
        conversation.encode(
            model,
            geometry.given_px,
            rows["question_id"].tolist(),
            rows["question"].tolist(),
            rows["options"].tolist(),
            with_ends=False,
        )
        for geometry, rows in batch
    ]
    to_reply = [
        [number for number, options in enumerate(rows["options"]) if generate_closed or not options]
        for _, rows in batch
    ]
    scores, replies = generation.score_and_reply(model, trees, pixels, to_reply)
    result = []
    for (geometry, rows), tree_scores, generated in zip(batch, scores, replies, strict=True):
        taken = 0
        for number, row in enumerate(rows.itertuples()):
            options: list[str] = row.options
            sums, per_token = tree_scores[:, taken : taken + len(options)]
            taken += len(options)
            result.append(
                {
                    "question_id": row.question_id,
                    "eval_resolution": eval_resolution,
                    "reply": options[int(np.argmax(sums))] if options else generated[number],
                    "generated_reply": generated.get(number),
                    "option_log_probabilities": sums.tolist(),
                    "option_log_probabilities_per_token": per_token.tolist(),
                    "given_width_px": geometry.given_px[0],
                    "given_height_px": geometry.given_px[1],
                    "resampling": _resampling(geometry),
                    "visual_tokens": geometry.visual_tokens,
                    "is_capped": geometry.is_capped,
                    "is_enlarged": geometry.is_enlarged,
                    **_tiles(model, geometry),
                }
            )
    return result


def _resampling(geometry: Geometry) -> str:
    steps = [f"{width}x{height} {name}" for (width, height), name in geometry.steps]
    if geometry.layout and geometry.layout.canvas_px != geometry.given_px:
        width, height = geometry.layout.canvas_px
        steps.append(f"{width}x{height} {geometry.layout.resampling_filter} by the model")
    return " then ".join(steps)


def _tiles(model: LoadedModel, geometry: Geometry) -> dict[str, Any]:
    """Return the tiles of an image for a model that tiles; nothing for other models."""
    if not geometry.layout:
        return {}
    return {
        "tiling": model.tiling,
        "tile_columns": geometry.layout.columns,
        "tile_rows": geometry.layout.rows,
        "n_crops": geometry.layout.n_crops,
    }
