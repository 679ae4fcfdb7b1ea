"""How many images go through the network at once on a GPU, from predicted memory."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from medres import launch, memory, models
from medres.memory import Load, Setting
from medres.models import kept
from medres.samples import Samples

KEPT_FREE = 0.07
"""Share of a card left to CUDA's context, communication and fragmentation."""


def free_bytes() -> int:
    """Return what a training may take of this process's GPU.

    Alone, what is free; of several processes each takes what a whole card has, so that all
    choose the same.
    """
    free, whole = torch.cuda.mem_get_info()
    return round((free if launch.n_processes() == 1 else whole) * (1 - KEPT_FREE))


def micro_batch_images(samples: Samples, parameters: Mapping[str, Any], *, free: int) -> int:
    """Return how many of the largest images fit at once: as many as share out a step evenly.

    Args:
        samples: That are trained on.
        parameters: Of `training.finetune`; a `micro_batch_images` that is given is kept.
        free: Bytes of the GPU, as from `free_bytes`.

    Raises:
        ValueError: If not even one fits, saying what is predicted, what is free, and what would
            make it fit.
    """
    if parameters["micro_batch_images"]:
        return int(parameters["micro_batch_images"])
    share = max(1, parameters["batch_images"] // launch.n_processes())
    predicted = _predictions(samples)
    setting = memory.setting_of(parameters)
    found = memory.split(
        share, processes=1, peak_bytes=lambda images, _: predicted(setting, images), free_bytes=free
    )
    if found:
        return found.micro_batch
    raise ValueError(
        f"{parameters['dataset']} {parameters['train_resolution']} does not fit: "
        f"{short_of_memory(samples, setting, free=free)}"
    )


def short_of_memory(samples: Samples, setting: Setting, *, free: int) -> str:
    """Return what a training is predicted to take with one image at once, and a remedy."""
    predicted = _predictions(samples)
    remedy = "nothing known makes it fit; take more GPUs or larger ones, or lower native_max_pixels"
    for other in memory.remedies(setting, processes=launch.n_processes()):
        if predicted(other, 1) <= free:
            remedy = f"it would fit with {', '.join(setting.changes(other))}"
            break
    return (
        f"one image at once is predicted to take {predicted(setting, 1):,} bytes of each GPU with "
        f"{setting}, and {free:,} are free; {remedy}"
    )


def _predictions(samples: Samples) -> Callable[[Setting, int], int]:
    """Return what predicts bytes of a GPU from a setting and images at once."""
    dearest = int(np.argmax([len(tree.token_ids) for tree in samples.trees]))
    geometry, tree = samples.geometries[dearest], samples.trees[dearest]
    config = samples.model.config
    load = Load(
        geometry.layout or models.geometry(config, geometry.given_px),
        text_tokens=len(tree.token_ids) - geometry.visual_tokens,
        answer_tokens=len(tree.predictors),
    )
    sizes = kept.sizes_of(config)

    def predicted(setting: Setting, images: int) -> int:
        return memory.predict(
            sizes, load, setting=setting, micro_batch=images, processes=launch.n_processes()
        ).peak

    return predicted
