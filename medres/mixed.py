"""What a training mixes: which of its questions are at low resolution, the others at native."""

from collections.abc import Hashable, Sequence

import numpy as np

TRAIN_RESOLUTIONS = ("none", "low", "native", "mixed")
"""Train resolutions without a number; `mixed-<percent>` are the others."""


def is_train_resolution(name: object) -> bool:
    """Return whether that is a train resolution: none, low, native, mixed or mixed-<percent>.

    The percentage of low questions is written in one way only, 1 to 99 without a leading zero: a
    resolution's name is a key everywhere.
    """
    return name in (*TRAIN_RESOLUTIONS, *(f"mixed-{percent}" for percent in range(1, 100)))


def low_share_of(train_resolution: str, *, low_share: float) -> float | None:
    """Return which share of its questions a training takes at low resolution.

    Args:
        train_resolution: As `is_train_resolution` knows them.
        low_share: Share of `mixed` in the study, 0 to 1.

    Returns:
        The share, 0 to 1; None for none, where nothing is trained.

    Raises:
        ValueError: If that is not a train resolution.

    >>> low_share_of("mixed-25", low_share=0.5)
    0.25
    """
    if not is_train_resolution(train_resolution):
        known = ", ".join(TRAIN_RESOLUTIONS)
        raise ValueError(
            f"train_resolution is {train_resolution!r}; use {known}, or mixed-<percent> with the "
            "percentage of low questions, 1 to 99"
        )
    named = {"none": None, "low": 1.0, "native": 0.0, "mixed": low_share}
    if train_resolution in named:
        return named[train_resolution]
    return int(train_resolution.removeprefix("mixed-")) / 100


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
