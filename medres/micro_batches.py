"""Which images of an optimiser step go through the network together, and on which process.

The samples of a step are given; only their grouping is decided here, so gradients differ by
float error alone. Images of like length meet, so that little is padded, and the processes of
a distributed training work on images of like length at the same time, so that none waits.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class MicroBatch:
    """The samples of one forward and backward pass."""

    samples: np.ndarray
    """Places in the order of all epochs, shape (n_samples,)."""
    is_counted: bool = True
    """False where a process without a sample repeats one, with no loss, to keep step."""


def count(*, batch_images: int, micro_batch_images: int, n_processes: int = 1) -> int:
    """Return the micro-batches of one process in a step whose batch is whole.

    Args:
        batch_images: Images of the step, on all processes together.
        micro_batch_images: Most images of one pass; zero is as many as a process has.
        n_processes: Processes that share the step.

    >>> count(batch_images=128, micro_batch_images=4, n_processes=8)
    4
    """
    if not micro_batch_images:
        return 1
    return math.ceil(batch_images / (micro_batch_images * n_processes))


def deal(
    lengths: np.ndarray, *, batch_images: int, micro_batch_images: int, n_processes: int = 1
) -> list[MicroBatch]:
    """Return the micro-batches of a training, as a distributed loader deals them out.

    Process `rank` takes every `n_processes`-th from `rank` on. A batch that is not split keeps
    the order of its samples; else the longest come first, so that what does not fit fails at
    once.

    Args:
        lengths: Tokens of each sample, in the order of all epochs, shape (n_samples,).
        batch_images: Images of a step, on all processes together; the last step may have fewer.
        micro_batch_images: As in `count`.
        n_processes: As in `count`.

    Returns:
        Micro-batches in order; every step has a multiple of `n_processes` of them.
    """
    n_parts = n_processes * count(
        batch_images=batch_images, micro_batch_images=micro_batch_images, n_processes=n_processes
    )
    dealt: list[MicroBatch] = []
    for start in range(0, len(lengths), batch_images):
        step = np.arange(start, min(start + batch_images, len(lengths)))
        if n_parts > 1:
            step = step[np.argsort(-lengths[step], kind="stable")]
        parts = np.array_split(step, min(n_parts, len(step)))
        dealt += [MicroBatch(part) for part in parts]
        dealt += [MicroBatch(step[-1:], is_counted=False)] * (-len(parts) % n_processes)
    return dealt


def padding_share(dealt: Sequence[MicroBatch], lengths: np.ndarray) -> float:
    """Return the share of the language model's tokens that are padding, between 0 and 1."""
    given = sum(int(lengths[each.samples].sum()) for each in dealt if each.is_counted)
    padded = sum(int(lengths[each.samples].max()) * len(each.samples) for each in dealt)
    return 1 - given / padded
