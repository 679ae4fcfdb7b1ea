"""What a training mixes: which of its questions are at low resolution, the others at native."""

from collections.abc import Hashable, Sequence

import numpy as np


def share_of(name: str) -> float:
    """Return the share of low questions of mixed-<percent>.

    The percentage is written in one way only, 1 to 99 without a leading zero: a resolution's name
    is a key everywhere.

    Raises:
        ValueError: If that is no such name.

    >>> share_of("mixed-25")
    0.25
    """
    for percent in range(1, 100):
        if name == f"mixed-{percent}":
            return percent / 100
    raise ValueError(f"{name!r} has no percentage of low questions from 1 to 99")


def is_mixed(resolution: str) -> bool:
    """Return whether a train or eval resolution takes some questions at low, others at native."""
    return resolution.partition("-")[0] == "mixed"


def assign_mixed(
    units: Sequence[Hashable],
    modalities: Sequence[str],
    *,
    low_share: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return which questions are low in the mixed arm: a share of each modality.

    Whole units (images) are assigned, so that questions about one image share its pixels.
    Within a modality, units are shuffled and each is set to low if that brings the low share
    of questions nearer to `low_share`: exact if units have equally many questions and the
    share allows it, otherwise as near as the order of the draw allows.

    Args:
        units: The image of each question, shape (n_questions,).
        modalities: The modality of each question, shape (n_questions,).
        low_share: Share of questions that are low, in [0, 1] (the paper: 0.5).
        rng: Source of randomness; the caller seeds it and owns it.

    Returns:
        Boolean array, shape (n_questions,): True where the question is low.

    Raises:
        ValueError: If the share is outside [0, 1], lengths differ or a unit has two modalities.
    """
    if not 0 <= low_share <= 1:
        raise ValueError(f"low_share is {low_share}; it is a share between 0 and 1")
    questions: dict[str, dict[Hashable, int]] = {}
    owner: dict[Hashable, str] = {}
    for unit, modality in zip(units, modalities, strict=True):
        if owner.setdefault(unit, modality) != modality:
            raise ValueError(f"image {unit!r} has two modalities, {owner[unit]!r} and {modality!r}")
        counts = questions.setdefault(modality, {})
        counts[unit] = counts.get(unit, 0) + 1
    low: set[Hashable] = set()
    for modality in sorted(questions):
        counts = questions[modality]
        wanted = low_share * sum(counts.values())
        names = sorted(counts, key=str)
        taken = 0
        for index in rng.permutation(len(names)):
            unit = names[index]
            if abs(taken + counts[unit] - wanted) < abs(taken - wanted):
                low.add(unit)
                taken += counts[unit]
    return np.array([unit in low for unit in units], dtype=bool)
