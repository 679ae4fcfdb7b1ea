"""Configs of the paper's models, stored in the package: a model's cost without its weights.

`configs/<name>.json` holds only the sizes, with their `source` and the hub ids that have them.
Weights are never allocated: networks are built on the meta device to count them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from transformers import (
    AutoConfig,
    AutoTokenizer,
    PretrainedConfig,
)

from medres import models, runs
from medres.models import adapters, checkpoint, parts, places, served, shapes, tiny
from medres.models.flops import ModelShape
from medres.resolution import Treatment

CONFIGS = Path(__file__).resolve().parent / "configs"
CHARACTERS_PER_TOKEN = 4.0
"""Approximate value of the families' tokenizers for English."""


@dataclass(frozen=True)
class Sizes:
    """The sizes that determine a model's memory and arithmetic."""

    shape: ModelShape
    n_weights: int
    text_linear_sides: int
    """Sum of inputs and outputs over the language model's linear layers: adapters of rank r on all
    of them have r times as many weights."""
    tower_weights: int = 0
    """Weights of the vision tower."""
    merger_weights: int = 0
    """Weights between the tower and the language model."""

    def frozen_weights(self, train_vision: str) -> int:
        """Return how many weights a training leaves as they are, by `trainable.VISION`."""
        of_tower = 0 if train_vision == "all" else self.tower_weights
        return of_tower + (self.merger_weights if train_vision == "none" else 0)


def config_of(model: str) -> PretrainedConfig:
    """Return a model's config, from the package, a folder or a tiny model; never from the hub.

    Args:
        model: As in `models.locate`.

    Raises:
        ValueError: If its config is not available offline, with those that are.
    """
    if served.is_served(model):
        return _config_of_like(model)
    if (base := _base(model)) in hub_ids():
        stored = dict(_read()[hub_ids()[base]])
        return AutoConfig.for_model(stored.pop("model_type"), **stored)
    if is_at_hand(model):
        return models.config_alone(model)
    raise ValueError(
        f"the config of model {model!r} is not available offline; the package has those of "
        f"{', '.join(hub_ids())}; give one of them, "
        f"{', '.join(tiny.NAMES)}, or a folder with the model's config.json"
    )


def _config_of_like(model: str) -> PretrainedConfig:
    address = served.parse(model)
    if address.like == served.PLAIN:
        raise ValueError(
            f"how model {address.name!r} of {address.host} sees an image is not known, since its "
            f"name ends in @{served.PLAIN}: nothing can be planned but pixels; name a model that "
            f"sees images alike instead: {', '.join(tiny.NAMES)}, a folder with its config.json, "
            f"or one of {', '.join(hub_ids())}"
        )
    if not is_at_hand(address.like):
        raise ValueError(
            f"how model {address.name!r} of {address.host} sees an image is not known: "
            f"{address.like!r} is no model whose config is at hand; write behind the name @ and "
            f"one that sees images alike: {', '.join(tiny.NAMES)}, a folder with its config.json, "
            f"or one of {', '.join(hub_ids())}; @{served.PLAIN} plans without tokens"
        )
    return config_of(address.like)


def is_at_hand(model: str) -> bool:
    """Return whether `config_of` has a model's config."""
    base = _base(model)
    return base in hub_ids() or base in tiny.NAMES or places.is_model(runs.ROOT / base)


def _base(model: str) -> str:
    """Return the model that decides a config: an adapter's base, what a served one is like."""
    if served.is_served(model):
        return _base(served.parse(model).like)
    folder = runs.ROOT / model
    if model in tiny.NAMES or not (folder / places.ADAPTER_CONFIG).is_file():
        return model
    return str(adapters.settings_of(folder, model).get("base_model_name_or_path") or model)


def characters_per_token(model: str, texts: Sequence[str]) -> float:
    """Return the mean number of characters of texts per token of a model.

    Counted with the tokenizer of a tiny model or of a whole folder; `CHARACTERS_PER_TOKEN` for
    other models, and for a folder with the config alone.
    """
    if _base(model) in hub_ids() or not is_at_hand(model) or not texts:
        return CHARACTERS_PER_TOKEN
    if served.is_served(model):
        return characters_per_token(served.parse(model).like, texts)
    try:
        folder = checkpoint.opened(models.locate(model), revision="").tokenizer
    except FileNotFoundError:
        return CHARACTERS_PER_TOKEN
    tokenizer = AutoTokenizer.from_pretrained(
        str(folder), trust_remote_code=False, local_files_only=True
    )
    n_tokens = sum(len(tokenizer.encode(text, add_special_tokens=False)) for text in texts)
    return sum(map(len, texts)) / max(1, n_tokens)


def treatment_of(model: str, settings: Mapping[str, Any]) -> Treatment:
    """Return the pixel budgets of a study as they apply to a model, without access to the hub.

    Args:
        model: As in `config_of`.
        settings: Parameters of a study or a cell, with those of `models.TREATMENT`.

    Raises:
        ValueError: If the model's config is not available offline, or a setting is impossible.
    """
    if served.is_plain(model):
        pixels = settings["low_max_pixels"], settings["native_max_pixels"]
        return served.plain_treatment(*pixels, settings["resampling_filter"])
    return models.treatment(config_of(model), **{name: settings[name] for name in models.TREATMENT})


def hub_ids() -> dict[str, str]:
    """Return the hub ids whose configs the package has, each with the name of its file."""
    return {
        hub_id: path.stem
        for path in sorted(CONFIGS.glob("*.json"))
        for hub_id in json.loads(path.read_text())["hub_ids"]
    }


@cache
def _read() -> dict[str, dict[str, Any]]:
    about = ("source", "hub_ids")
    return {
        path.stem: {
            key: value for key, value in json.loads(path.read_text()).items() if key not in about
        }
        for path in CONFIGS.glob("*.json")
    }


def sizes_of(config: PretrainedConfig) -> Sizes:
    """Return the sizes that determine the cost of a model, from a network on the meta device."""
    network = parts.without_values(config)
    tower, merger = parts.vision_weights(network)
    linear = [network.get_submodule(name) for name in parts.linear_layers(network)]
    return Sizes(
        shape=shapes.shape_of(config),
        n_weights=sum(weight.numel() for weight in network.parameters()),
        text_linear_sides=sum(layer.in_features + layer.out_features for layer in linear),
        tower_weights=sum(weight.numel() for weight in tower.values()),
        merger_weights=sum(weight.numel() for weight in merger.values()),
    )
