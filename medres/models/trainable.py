"""Which weights of a network a training may change."""

import re
from typing import Any

import torch

from medres.models import parts

LAST = re.compile(r"last-([1-9]\d{0,3})")
VISION = ("all", "merger", "none")
"""What of the image side may be trained: vision tower and merger, the merger alone, or nothing."""


def check(layers: str, *, n_layers: int | None = None) -> None:
    """Refuse what is no choice of layers, or more layers than there are.

    Args:
        layers: As in `only`.
        n_layers: Layers of the language model; None checks the name alone.

    Raises:
        ValueError: With the value and what to use.
    """
    if layers not in ("all", "norms") and not LAST.fullmatch(layers):
        raise ValueError(
            f"adapt_layers is {layers!r}; use all, norms, or last-<n> for the last n layers of the "
            "language model"
        )
    last = LAST.fullmatch(layers)
    if last and n_layers is not None and int(last[1]) > n_layers:
        raise ValueError(
            f"adapt_layers is {layers}, but the language model has {n_layers} layers; use at most "
            f"last-{n_layers}, or all"
        )


def only(network: torch.nn.Module, layers: str) -> None:
    """Freeze all weights of a network but those that are named.

    Args:
        network: Of a loaded model; it is modified.
        layers: all; norms, the weights of every normalisation, tower and language model; or
            last-<n>, the last n layers of the language model and its last normalisation.

    Raises:
        ValueError: If the language model has fewer layers.
    """
    check(layers)
    if layers == "all":
        return
    if layers == "norms":
        kept = [each for each in network.modules() if "Norm" in type(each).__name__]
    else:
        text = parts.language_model(network)
        found = list(text.layers)
        check(layers, n_layers=len(found))
        kept = [*found[-int(layers.removeprefix("last-")) :], text.norm]
    network.requires_grad_(False)
    for module in kept:
        module.requires_grad_(True)


def check_vision(train_vision: str, *, lora_rank: int) -> None:
    """Refuse what is no choice of the image side, or none with adapters.

    Raises:
        ValueError: With the value and what to use.
    """
    if train_vision not in VISION:
        raise ValueError(
            f"train_vision is {train_vision!r}; use all (vision tower and merger), merger (the "
            "merger alone) or none"
        )
    if lora_rank and train_vision == "merger":
        raise ValueError(
            f"train_vision is merger with lora_rank {lora_rank}: adapters leave all other weights "
            "as they are, the merger's too; use train_vision none, or lora_rank 0"
        )


def freeze_vision(network: torch.nn.Module, train_vision: str) -> None:
    """Freeze what is not trained of a network's image side; no gradient is computed for it.

    Args:
        network: Of a loaded model; it is modified. What is frozen already stays so.
        train_vision: One of `VISION`.
    """
    tower, merger = parts.vision_weights(network)
    frozen = {"all": {}, "merger": tower, "none": tower | merger}[train_vision]
    for weight in frozen.values():
        weight.requires_grad_(False)


def vision_of(network: Any) -> str:
    """Return which of `VISION` a training of a network computes gradients of."""
    tower, merger = parts.vision_weights(network)
    if any(weight.requires_grad for weight in tower.values()):
        return "all"
    return "merger" if any(weight.requires_grad for weight in merger.values()) else "none"


def vision_planned(train_vision: str, *, lora_rank: int, adapt_layers: str = "all") -> str:
    """Return what `vision_of` will be for the parameters of a training.

    Args:
        train_vision: One of `VISION`.
        lora_rank: Of adapters, which leave the image side as it is.
        adapt_layers: Of a training that goes on from another; `all` for others.

    >>> vision_planned("all", lora_rank=8)
    'none'
    """
    return "none" if lora_rank or LAST.fullmatch(adapt_layers) else train_vision
