"""Zoom: a model is asked where the answer is seen, then the question with that part beside.

Both steps are passes of the same model. A question takes the cell whose number is the most probable
answer to the first; the questions about an image that take the same cell share the second pass.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from medres import datasets, views
from medres.datasets import pixel_cache
from medres.datasets.pixel_cache import PixelCache
from medres.inference import asking, generation
from medres.inference.asking import Asked
from medres.models import LoadedModel, conversation
from medres.resolution import Geometry, Treatment

NAME = "zoom"


@torch.no_grad()
def answer(
    model: LoadedModel,
    question_set: datasets.QuestionSet,
    batch: Sequence[tuple[Geometry, Asked]],
    eval_resolution: str,
    *,
    treatment: Treatment,
    cache: PixelCache = pixel_cache.NONE,
    most_images: int = generation.MOST_IMAGES,
    **named: Any,
) -> list[dict[str, Any]]:
    """Return the answers to all questions about a batch of images, as `asking.answer` does.

    Args:
        model: From `asking.load`.
        question_set: Data set that the images belong to.
        batch: The questions of each image; what is planned for it is planned again.
        eval_resolution: Name for the rows.
        treatment: Of the model.
        cache: Of prepared pixels.
        most_images: Of one forward pass.
        **named: Further arguments of `asking.answer`.

    Returns:
        Rows with `zoom_cell`; their visual tokens and crops are those of both steps.
    """
    planned = [views.zoom(asked.size_px, treatment) for _, asked in batch]
    trees = [
        conversation.about(
            model,
            zoom.first,
            asked.question_ids,
            list(map(views.where, asked.questions)),
            [views.NUMBERS] * len(asked.questions),
            with_ends=False,
        )
        for zoom, (_, asked) in zip(planned, batch, strict=True)
    ]
    pixels = [
        pixel_cache.views_of(question_set, asked.image, zoom.first, cache)
        for zoom, (_, asked) in zip(planned, batch, strict=True)
    ]
    nothing: list[list[int]] = [[] for _ in trees]
    scores, _ = generation.score_and_reply(model, trees, pixels, nothing, most_images)
    parts: list[tuple[Geometry, Asked]] = []
    chosen: dict[str, tuple[views.Zoom, int]] = {}
    for zoom, (_, asked), (sums, _) in zip(planned, batch, scores, strict=True):
        cells = sums.reshape(-1, len(views.CELLS)).argmax(1)
        for question_id, cell in zip(asked.question_ids, cells, strict=True):
            chosen[question_id] = zoom, int(cell)
        parts += [
            (zoom.seconds[cell], _only(asked, np.flatnonzero(cells == cell)))
            for cell in np.unique(cells)
        ]
    # Of equal size beside each other, so that little is padded.
    parts.sort(key=lambda part: (part[0].visual_tokens, [each.given_px for each in part[0].each]))
    rows = asking.answer(
        model, question_set, parts, eval_resolution, cache=cache, most_images=most_images, **named
    )
    return [of_both(row, *chosen[row["question_id"]]) for row in rows]


def of_both(row: dict[str, Any], zoom: views.Zoom, cell: int) -> dict[str, Any]:
    """Return the row of a second step with its cell, and with the tokens and crops of both steps.

    Args:
        row: As of the second step alone.
        zoom: Planned for its image.
        cell: Number of the cell.
    """
    tokens = {"visual_tokens": zoom.tokens(cell)}
    crops = {"n_crops": row["n_crops"] + zoom.first.n_crops} if "n_crops" in row else {}
    return {**row, **tokens, **crops, "zoom_cell": views.CELLS[cell]}


def _only(asked: Asked, numbers: np.ndarray) -> Asked:
    """Return some of the questions about an image."""
    return replace(
        asked,
        question_ids=[asked.question_ids[number] for number in numbers],
        questions=[asked.questions[number] for number in numbers],
        options=[asked.options[number] for number in numbers],
    )
