"""How many images fit into one forward pass on a GPU, by predicted memory."""

import os
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import torch

from medres import views
from medres.models import offline
from medres.plan import memory
from medres.plan.memory import Load, Setting
from medres.training import micro_batches
from medres.training import strategy as strategies
from medres.training.samples import Samples
from medres.training.settings import TrainingSettings

KEPT_FREE = 0.07
"""Share of a GPU's memory left to CUDA's context, communication and fragmentation."""


def free_bytes() -> int:
    """Return how many bytes of this process's GPU a training may use.

    A single process may use what is free. Of several processes each counts on the whole GPU, so
    that all choose the same micro-batch.
    """
    torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.reset_peak_memory_stats()
    free, whole = torch.cuda.mem_get_info()
    return round((free if strategies.n_processes() == 1 else whole) * (1 - KEPT_FREE))


def micro_batch_images(samples: Samples, settings: TrainingSettings, *, free: int) -> int:
    """Return the number of images per pass: the most that fit and divide a step evenly.

    Args:
        samples: Training samples; the largest image counts.
        settings: Of the training; its `micro_batch_images` is kept unless it is zero.
        free: Bytes of the GPU, as from `free_bytes`.

    Raises:
        ValueError: If the given number does not fit, or not even one image does; with the
            predicted bytes, the free bytes, and what would make it fit.
    """
    predicted = _predictions(samples, settings)
    given = settings.micro_batch_images
    if not given:
        found = _most(predicted, settings, free)
    else:
        found = given if predicted(settings.memory_setting, given) <= free else 0
    if found:
        return found
    raise ValueError(
        f"{settings.name} does not fit: {short_of_memory(samples, settings, free=free)}"
    )


def short_of_memory(samples: Samples, settings: TrainingSettings, *, free: int) -> str:
    """Return the predicted memory of a training beside the free one, and a remedy."""
    predicted, setting = _predictions(samples, settings), settings.memory_setting
    images = settings.micro_batch_images or 1
    remedy = "no known setting makes it fit; use more or larger GPUs, or lower native_max_pixels"
    fewer = _most(predicted, settings, min(free, predicted(setting, images) - 1))
    if fewer and fewer < images:
        remedy = f"it would fit with micro_batch_images: {fewer}"
    else:
        for other in memory.remedies(setting, processes=strategies.n_processes()):
            if predicted(other, 1) <= free:
                remedy = f"it would fit with {', '.join(setting.changes(other))}"
                break
    return (
        f"{images} of the largest images per pass are predicted to take "
        f"{predicted(setting, images):,} bytes of each GPU with {setting}, and {free:,} are free; "
        f"{remedy}"
    )


def _most(predicted: Callable[[Setting, int], int], settings: TrainingSettings, free: int) -> int:
    """Return the most images per pass that fit and divide a step evenly; 0 if none fits."""
    found = memory.split(
        max(1, settings.batch_images // strategies.n_processes()),
        processes=1,
        peak_bytes=lambda images, _: predicted(settings.memory_setting, images),
        free_bytes=free,
    )
    return found.micro_batch if found else 0


def _predictions(samples: Samples, settings: TrainingSettings) -> Callable[[Setting, int], int]:
    """Return a function that predicts the bytes of a GPU from a setting and images per pass."""
    lengths = samples.lengths()
    rows = samples.rows([int(np.argmax(lengths))])
    layout = views.summed(list(rows[0].layouts))
    assert layout is not None  # a prompt has an image
    config = samples.model.config
    load = Load(
        layout,
        text_tokens=max(len(row.token_ids) for row in rows) - layout.visual_tokens,
        answer_tokens=0,
        rows=len(rows),
    )
    sizes = offline.sizes_of(config)

    @cache
    def logits_bytes(images: int) -> int:
        # Of the passes as they will be: one of many low images has the most logits, since each
        # sample has them at the positions of all.
        groups, _ = micro_batches.group(
            lengths,
            batch_images=settings.batch_images,
            micro_batch_images=images,
            n_processes=strategies.n_processes(),
        )
        most = max(
            len(samples.rows(part.samples)) * samples.n_predictors(part.samples) for part in groups
        )
        return memory.LOGIT_BYTES * most * sizes.shape.vocabulary

    def predicted(setting: Setting, images: int) -> int:
        without = memory.predict(
            sizes,
            load,
            setting=setting,
            micro_batch=images,
            processes=strategies.n_processes(),
        )
        return replace(without, logits=logits_bytes(images)).peak

    return predicted
