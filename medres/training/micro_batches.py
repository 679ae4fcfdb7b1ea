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


def deal(
    lengths: np.ndarray, *, batch_images: int, micro_batch_images: int, n_processes: int = 1
) -> tuple[list[MicroBatch], int]:
    """Return the micro-batches of a training, as a distributed loader deals them out.

    A micro-batch takes as many images as have together, padded, no more tokens than
    `micro_batch_images` of the longest: many low images pass at once beside few native ones.
    Every step has equally many, as few as the dearest step needs. Process `rank` takes every
    `n_processes`-th from `rank` on; the costly ones come first, so that what does not fit fails
    at once. A batch that is not split keeps the order of its samples.

    Args:
        lengths: Tokens of each sample, in the order of all epochs, shape (n_samples,).
        batch_images: Images of a step, on all processes together; the last step may have fewer.
        micro_batch_images: Of the longest images those of one pass; zero is as many images as a
            process has in a step.
        n_processes: Processes that share the step.

    Returns:
        Micro-batches in order, and how many of them each process has in a whole step.
    """
    steps = [
        np.arange(start, min(start + batch_images, len(lengths)))
        for start in range(0, len(lengths), batch_images)
    ]
    if not micro_batch_images:
        if n_processes == 1:
            return [MicroBatch(step) for step in steps], 1
        each = 1
    else:
        most = micro_batch_images * int(lengths.max())
        ordered = [np.sort(lengths[step])[::-1] for step in steps]
        each = max(math.ceil(len(_cut(step, most)) / n_processes) for step in ordered)
    dealt: list[MicroBatch] = []
    for step in steps:
        longest_first = step[np.argsort(-lengths[step], kind="stable")]
        parts = _split(longest_first, lengths, min(each * n_processes, len(step)))
        dealt += [MicroBatch(part) for part in parts]
        cheapest = longest_first[-1:]
        dealt += [MicroBatch(cheapest, is_counted=False)] * (-len(parts) % n_processes)
    return dealt, each


def _cut(lengths: np.ndarray, most: int) -> list[int]:
    """Return where parts begin, each filled up to a number of padded tokens, longest first."""
    starts = [0]
    for place in range(1, len(lengths)):
        if (place - starts[-1] + 1) * int(lengths[starts[-1]]) > most:
            starts.append(place)
    return starts


def _split(step: np.ndarray, lengths: np.ndarray, n_parts: int) -> list[np.ndarray]:
    """Return a step's samples, longest first, in parts whose dearest is as cheap as can be."""
    own = lengths[step]
    low, high = int(own.max()), len(own) * int(own.max())
    while low < high:
        middle = (low + high) // 2
        if len(_cut(own, middle)) <= n_parts:
            high = middle
        else:
            low = middle + 1
    parts = np.split(step, _cut(own, low)[1:])
    while len(parts) < n_parts:
        dearest = max(
            (place for place, part in enumerate(parts) if len(part) > 1),
            key=lambda place: len(parts[place]) * int(lengths[parts[place]].max()),
        )
        parts[dearest : dearest + 1] = np.array_split(parts[dearest], 2)
    return sorted(parts, key=lambda part: -len(part) * int(lengths[part].max()))


def padding_share(dealt: Sequence[MicroBatch], lengths: np.ndarray) -> float:
    """Return the share of the language model's tokens that are padding, between 0 and 1."""
    given = sum(int(lengths[each.samples].sum()) for each in dealt if each.is_counted)
    padded = sum(int(lengths[each.samples].max()) * len(each.samples) for each in dealt)
    return 1 - given / padded
