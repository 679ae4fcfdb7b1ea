"""The parts of a network, by whatever name its architecture has for them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, PretrainedConfig
from transformers.integrations import deepspeed

TOWERS = ("visual", "vision_tower", "vision_model")
LANGUAGE_MODELS = ("language_model", "text_model")
"""Names of the two parts with layers, in transformers' networks."""
MERGERS = (
    "downsample",  # GLM's, which makes one patch of four before its merger
    "merger",
    "deepstack_merger_list",
    "multi_modal_projector",
    "connector",
    "embed_vision",
    "image_newline",
)
"""Names of what makes visual tokens of the patches that leave the tower, inside it or beside it, in
the order in which they follow each other."""
ATTENTION = {
    "": "sdpa",
    "text_config": "sdpa",
    "vision_config": "sdpa",
    "audio_config": "eager",  # Gemma 4's tower of sound, which is never run, has no other
}
"""PyTorch's own attention, whatever a config names: it takes the masks of our trees, and a config
could name one to be fetched and run."""


def without_values(config: PretrainedConfig) -> Any:
    """Return a network on the meta device, where a weight has a size and no values."""
    with _undivided(), torch.device("meta"):
        return AutoModelForImageTextToText.from_config(
            config, attn_implementation=ATTENTION, trust_remote_code=False
        )


@contextmanager
def _undivided() -> Iterator[None]:
    """Keep transformers from dividing a network among processes, as it does under ZeRO-3."""
    kept = deepspeed._hf_deepspeed_config_weak_ref
    held = kept() if kept else None
    deepspeed.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        if held is not None:
            deepspeed.set_hf_deepspeed_config(held)


def part_of(model: Any, names: tuple[str, ...]) -> Any:
    """Return the tower or the language model of a network, by the names that it may have."""
    return next(getattr(model, name) for name in names if hasattr(model, name))


def layers_of(part: torch.nn.Module) -> list[torch.nn.Module]:
    """Return the layers of a tower or language model: the longest list whose members attend."""

    def lists() -> Iterator[list[torch.nn.Module]]:
        for module in part.modules():
            if isinstance(module, torch.nn.ModuleList) and len(module):
                is_layer = type(module[0]).__name__.endswith(("Layer", "Block"))
                yield list(module) if is_layer else []

    return max(lists(), key=len, default=[])


def language_model(network: Any) -> Any:
    """Return the language model of a network, without its head."""
    return part_of(network.model, LANGUAGE_MODELS)


def is_merger(name: str) -> bool:
    """Return whether a weight or module of `network.model` belongs to the merger, by its name."""
    first, second, *_ = [*name.split("."), ""]
    return first in MERGERS or (first in TOWERS and second in MERGERS)


def vision_weights(network: Any) -> tuple[dict[str, torch.nn.Parameter], ...]:
    """Return the weights of a network's vision tower and those of its merger, by name.

    Raises:
        ValueError: If one of the two is not found, with the architecture.
    """
    tower, merger = {}, {}
    for name, weight in network.model.named_parameters():
        if is_merger(name):
            merger[name] = weight
        elif name.partition(".")[0] in TOWERS:
            tower[name] = weight
    if not tower or not merger:
        missing = "vision tower" if merger else "merger"
        raise ValueError(f"the {missing} of {type(network).__name__} has no name that is known")
    return tower, merger


def linear_layers(network: torch.nn.Module) -> list[str]:
    """Return the names of all linear layers in the blocks of the language model."""
    text = language_model(network)
    prefix = next(name for name, layer in network.named_modules() if layer is text)
    return [
        f"{prefix}.layers.{name}"
        for name, layer in text.layers.named_modules()
        if isinstance(layer, torch.nn.Linear)
    ]
