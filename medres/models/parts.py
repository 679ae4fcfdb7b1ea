"""The parts of a network, by whatever name its architecture has for them."""

from typing import Any

import torch


def language_model(network: Any) -> Any:
    """Return the language model of a network, without its head."""
    inner = network.model
    return inner.language_model if hasattr(inner, "language_model") else inner.text_model


def linear_layers(network: torch.nn.Module) -> list[str]:
    """Return the names of all linear layers in the blocks of the language model."""
    text = language_model(network)
    prefix = next(name for name, layer in network.named_modules() if layer is text)
    return [
        f"{prefix}.layers.{name}"
        for name, layer in text.layers.named_modules()
        if isinstance(layer, torch.nn.Linear)
    ]
