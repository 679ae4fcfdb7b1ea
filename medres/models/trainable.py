"""Which weights of a network a training may change."""

import re

import torch

from medres.models import parts

LAST = re.compile(r"last-([1-9]\d{0,3})")


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
