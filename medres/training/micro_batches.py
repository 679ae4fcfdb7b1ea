"""Which images of an optimiser step share a forward pass, and on which process.

The samples of a step are fixed; only their grouping is decided here, so gradients differ by
rounding alone. Images of similar length are batched together, so that little is padded, and the
processes of a distributed training work on images of similar length at the same time, so that
none waits for another.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CPU_TOKENS = 1_280
"""Most tokens of a pass on a CPU: what it works on then stays in the cache. More make a pass no
cheaper by the image, fewer pay for more calls (LOG.md)."""


@dataclass(frozen=True)
class MicroBatch:
    """The samples of one forward and backward pass."""

    samples: np.ndarray
    """Places in the order of all epochs, shape (n_samples,)."""
    is_counted: bool = True
    """False for a repeated sample without loss, given to a process that has none left."""


def images_on_a_cpu(lengths: np.ndarray, *, batch_images: int) -> int:
    """Return how many images of the greatest length share a pass on a CPU, at least one.

    Args:
        lengths: Tokens of each sample, shape (n_samples,).
        batch_images: Images of a step.
    """
    return max(1, min(batch_images, CPU_TOKENS // int(lengths.max())))


def group(
    lengths: np.ndarray, *, batch_images: int, micro_batch_images: int, n_processes: int = 1
) -> tuple[list[MicroBatch], int]:
    """Return the micro-batches of a training, in the order of a distributed loader.

    A micro-batch has at most as many tokens, padding included, as `micro_batch_images` of the
    longest images, so that it holds more low-resolution images than native ones. All steps have
    the same number of micro-batches, as few as the costliest step needs. Process `rank` takes
    every `n_processes`-th, starting at `rank`; the costliest come first, so that a training that
    does not fit into memory fails at once. A batch that is not split keeps the order of its
    samples.

    Args:
        lengths: Tokens of each sample, in the order of all epochs, shape (n_samples,).
        batch_images: Images of a step, on all processes together; the last step may have fewer.
        micro_batch_images: Images per pass, counted in images of the greatest length; zero
            means all images of a step on one process.
        n_processes: Processes that share the step.

    Returns:
        Micro-batches in order, and the number of them per process in a complete step.
    """
    steps = [
        np.arange(start, min(start + batch_images, len(lengths)))
        for start in range(0, len(lengths), batch_images)
    ]
    if not micro_batch_images:
        if n_processes == 1:
            return [MicroBatch(step) for step in steps], 1
        n_per_step = 1
    else:
        most = micro_batch_images * int(lengths.max())
        ordered = [np.sort(lengths[step])[::-1] for step in steps]
        n_per_step = max(math.ceil(len(_cut(step, most)) / n_processes) for step in ordered)
    groups: list[MicroBatch] = []
    for step in steps:
        longest_first = step[np.argsort(-lengths[step], kind="stable")]
        parts = _split(longest_first, lengths, min(n_per_step * n_processes, len(step)))
        groups += [MicroBatch(part) for part in parts]
        cheapest = longest_first[-1:]
        groups += [MicroBatch(cheapest, is_counted=False)] * (-len(parts) % n_processes)
    return groups, n_per_step


def _cut(lengths: np.ndarray, most: int) -> list[int]:
    """Return where parts begin, each with at most a number of padded tokens, longest first."""
    starts = [0]
    for place in range(1, len(lengths)):
        if (place - starts[-1] + 1) * int(lengths[starts[-1]]) > most:
            starts.append(place)
    return starts


def _split(step: np.ndarray, lengths: np.ndarray, n_parts: int) -> list[np.ndarray]:
    """Return a step's samples, longest first, in parts with the least maximum cost."""
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
        costliest = max(
            (place for place, part in enumerate(parts) if len(part) > 1),
            key=lambda place: len(parts[place]) * int(lengths[parts[place]].max()),
        )
        parts[costliest : costliest + 1] = np.array_split(parts[costliest], 2)
    return sorted(parts, key=lambda part: -len(part) * int(lengths[part].max()))


def padding_share(groups: Sequence[MicroBatch], lengths: np.ndarray) -> float:
    """Return the share of the language model's tokens that are padding, between 0 and 1."""
    given = sum(int(lengths[each.samples].sum()) for each in groups if each.is_counted)
    padded = sum(int(lengths[each.samples].max()) * len(each.samples) for each in groups)
    return 1 - given / padded
