"""Train resolutions: at which resolutions a training takes its questions, and what it begins from.

Their names are keys everywhere, each written in one way only:

* none: nothing is trained;
* mixed, or mixed-<percent>: that share of the questions at low, the others at native;
* any resolution that makes pixels (`resolution.parse`), for all questions;
* <a>-then-<b>: the study's own training at <a>, trained on for a while at <b>.
"""

from collections.abc import Sequence

from medres import mixed, resolution

NAMES = ("none", "low", "native", "mixed")
"""Those of the paper."""
THEN = "-then-"
UNTRAINABLE = ("blank", "mixed", "zoom")
"""Kinds of eval resolutions that nothing is trained at: without an image, assembled from the
answers at others, or decided by a first answer."""


def check(train_resolution: object) -> None:
    """Refuse what is no train resolution.

    Raises:
        ValueError: With the name and what to use.
    """
    if train_resolution in NAMES:
        return
    name = str(train_resolution)
    try:
        before, at = earlier(name), last(name)
        if THEN in name:
            if THEN in before or before == "none":
                raise ValueError(f"{before!r} is no training to go on from")
            check(before)
        if not mixed.is_mixed(at) and resolution.parse(at)[0] in UNTRAINABLE:
            raise ValueError(f"nothing is trained at {at!r}")
        shares(name, low_share=0.5)
    except ValueError as error:
        raise ValueError(
            f"train resolution {train_resolution!r} is none: {error}; use {', '.join(NAMES)}, "
            "mixed-<percent> with the percentage of low questions, 1 to 99, any resolution that "
            "makes pixels of an image, or <a>-then-<b> to train on from the study's training <a>"
        ) from None


def check_all(train_resolutions: Sequence[object]) -> None:
    """Refuse train resolutions of a study that are none, or go on from one that it lacks.

    Raises:
        ValueError: With the first that is wrong and what to do.
    """
    for each in train_resolutions:
        check(each)
        if (before := earlier(str(each))) and before not in train_resolutions:
            raise ValueError(
                f"train_resolutions has {each!r} without {before!r}, which it goes on from; add it"
            )


def check_adapters(train_resolution: str, lora_rank: int) -> None:
    """Refuse adapters where a training goes on from another.

    Raises:
        ValueError: With both and what to do.
    """
    if earlier(train_resolution) and lora_rank:
        raise ValueError(
            f"train_resolution is {train_resolution!r} with lora_rank {lora_rank}: adapters are "
            "merged when a training ends; use adapt_layers, or lora_rank 0"
        )


def shares(train_resolution: str, *, low_share: float) -> dict[str, float]:
    """Return which share of its questions a training takes at which resolution, in its last step.

    Args:
        train_resolution: As `check` knows them.
        low_share: Share of `mixed` in the study, 0 to 1.

    Returns:
        Shares by resolution; empty for none.

    Raises:
        ValueError: If mixed-<percent> has no percentage from 1 to 99.

    >>> shares("mixed-25", low_share=0.5)
    {'low': 0.25, 'native': 0.75}
    >>> shares("low-then-scale-0.5", low_share=0.5)
    {'scale-0.5': 1.0}
    """
    at = last(train_resolution)
    if at == "none":
        return {}
    if not mixed.is_mixed(at):
        return {at: 1.0}
    low = low_share if at == "mixed" else mixed.share_of(at)
    return {"low": low, "native": 1 - low}


def taken(train_resolutions: Sequence[str]) -> list[str]:
    """Return the resolutions of images that trainings take, each once.

    >>> taken(["none", "mixed-25", "low-then-tokens-64"])
    ['low', 'native', 'tokens-64']
    """
    return list(
        dict.fromkeys(name for each in train_resolutions for name in shares(each, low_share=0.5))
    )


def earlier(train_resolution: str) -> str:
    """Return the train resolution that a training goes on from; empty for the base model.

    >>> earlier("low-then-native")
    'low'
    """
    return train_resolution.rpartition(THEN)[0]


def low_share(train_resolution: str, *, low_share: float) -> float | None:
    """Return the share of low questions, None for trainings not of low and native alone."""
    found = shares(train_resolution, low_share=low_share)
    if not found or set(found) - {"low", "native"} or earlier(train_resolution):
        return None
    return found.get("low", 0.0)


def last(train_resolution: str) -> str:
    """Return what a training was at in the end: its name without what it goes on from.

    >>> last("low-then-native")
    'native'
    """
    return train_resolution.rpartition(THEN)[2]
