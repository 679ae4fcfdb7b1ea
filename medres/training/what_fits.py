"""How many images go through the network at once on a GPU, from predicted memory."""

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch

from medres import models
from medres.models import offline
from medres.plan import memory
from medres.plan.memory import Load, Setting
from medres.training import micro_batches
from medres.training import strategy as strategies
from medres.training.samples import Samples

KEPT_FREE = 0.07
"""Share of a card left to CUDA's context, communication and fragmentation."""


def free_bytes() -> int:
    """Return what a training may take of this process's GPU.

    Alone, what is free; of several processes each takes what a whole card has, so that all
    choose the same.
    """
    torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.reset_peak_memory_stats()
    free, whole = torch.cuda.mem_get_info()
    return round((free if strategies.n_processes() == 1 else whole) * (1 - KEPT_FREE))


def micro_batch_images(samples: Samples, parameters: Mapping[str, Any], *, free: int) -> int:
    """Return how many of the largest images fit at once: as many as share out a step evenly.

    Args:
        samples: That are trained on.
        parameters: Of `training.finetune`; a `micro_batch_images` that is given is kept.
        free: Bytes of the GPU, as from `free_bytes`.

    Raises:
        ValueError: If what is given, or not even one, fits, saying what is predicted, what is
            free, and what would make it fit.
    """
    predicted, setting = _predictions(samples, parameters), memory.setting_of(parameters)
    given = int(parameters["micro_batch_images"])
    found = given if given and predicted(setting, given) <= free else 0
    if not given:
        found = _most(predicted, parameters, free)
    if found:
        return found
    raise ValueError(
        f"{parameters['dataset']} {parameters['train_resolution']} does not fit: "
        f"{short_of_memory(samples, parameters, free=free)}"
    )


def short_of_memory(samples: Samples, parameters: Mapping[str, Any], *, free: int) -> str:
    """Return what a training is predicted to take, and a remedy."""
    predicted, setting = _predictions(samples, parameters), memory.setting_of(parameters)
    images = int(parameters["micro_batch_images"]) or 1
    remedy = "nothing known makes it fit; take more GPUs or larger ones, or lower native_max_pixels"
    fewer = _most(predicted, parameters, min(free, predicted(setting, images) - 1))
    if fewer and fewer < images:
        remedy = f"it would fit with micro_batch_images: {fewer}"
    else:
        for other in memory.remedies(setting, processes=strategies.n_processes()):
            if predicted(other, 1) <= free:
                remedy = f"it would fit with {', '.join(setting.changes(other))}"
                break
    return (
        f"{images} of the largest images at once are predicted to take "
        f"{predicted(setting, images):,} bytes of each GPU with {setting}, and {free:,} are free; "
        f"{remedy}"
    )


def _most(
    predicted: Callable[[Setting, int], int], parameters: Mapping[str, Any], free: int
) -> int:
    """Return the most images at once that fit and share out a step evenly; 0 for none."""
    setting = memory.setting_of(parameters)
    found = memory.split(
        max(1, parameters["batch_images"] // strategies.n_processes()),
        processes=1,
        peak_bytes=lambda images, _: predicted(setting, images),
        free_bytes=free,
    )
    return found.micro_batch if found else 0


def _predictions(samples: Samples, parameters: Mapping[str, Any]) -> Callable[[Setting, int], int]:
    """Return what predicts bytes of a GPU from a setting and images at once."""
    dearest = int(np.argmax([len(tree.token_ids) for tree in samples.trees]))
    geometry, tree = samples.geometries[dearest], samples.trees[dearest]
    config = samples.model.config
    load = Load(
        geometry.layout or models.geometry(config, geometry.given_px),
        text_tokens=len(tree.token_ids) - geometry.visual_tokens,
        answer_tokens=0,
    )
    sizes = offline.sizes_of(config)

    @cache
    def logits_bytes(images: int) -> int:
        # Of the passes as they will be: a pass of many low images has the most, and each has
        # logits at the places of all.
        dealt, _ = micro_batches.deal(
            samples.lengths(),
            batch_images=parameters["batch_images"],
            micro_batch_images=images,
            n_processes=strategies.n_processes(),
        )
        places = max(len(part.samples) * samples.n_predictors(part.samples) for part in dealt)
        return memory.LOGIT_BYTES * places * sizes.shape.vocabulary

    def predicted(setting: Setting, images: int) -> int:
        without = memory.predict(
            sizes, load, setting=setting, micro_batch=images, processes=strategies.n_processes()
        )
        return replace(without, logits=logits_bytes(images)).peak

    return predicted
