"""Configs of the paper's models, kept in the package: what a model costs without its weights.

`configs/<name>.json` holds the sizes alone, with where each was read (`source`) and the hub ids
they are of. Weights are never made: networks are built without memory to count them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoTokenizer,
    PretrainedConfig,
)

from medres import models, runs
from medres.models import tiny
from medres.models.flops import ModelShape
from medres.resolution import Treatment

CONFIGS = Path(__file__).resolve().parent / "configs"
CHARACTERS_PER_TOKEN = 4.0
"""Roughly what the families' tokenizers make of English."""


@dataclass(frozen=True)
class Sizes:
    """What decides a model's memory and arithmetic."""

    family: str
    shape: ModelShape
    n_weights: int
    text_linear_sides: int
    """Inputs and outputs of the language model's linear layers, added up: an adapter of rank r
    on all of them has r times as many weights."""


def config_of(model: str) -> PretrainedConfig:
    """Return a model's config, from the package, a folder or a tiny model; never from the hub.

    Args:
        model: As in `models.locate`.

    Raises:
        ValueError: If its config is not at hand, saying which are.
    """
    if model in hub_ids():
        kept = dict(_read()[hub_ids()[model]])
        return AutoConfig.for_model(kept.pop("model_type"), **kept)
    if is_at_hand(model):
        return models.config_of(model)
    raise ValueError(
        f"no config of model {model!r} is known; kept are those of {', '.join(hub_ids())}; give "
        f"one of them, {', '.join(tiny.NAMES)}, or a folder with the model's config.json"
    )


def is_at_hand(model: str) -> bool:
    """Return whether `config_of` gives a model's config."""
    is_folder = (runs.ROOT / model / "config.json").is_file()
    return model in hub_ids() or model in tiny.NAMES or is_folder


def characters_per_token(model: str, texts: Sequence[str]) -> float:
    """Return how many characters of texts a token of a model holds, on average.

    The tokenizer is asked where it is at hand, with a tiny model or a folder; else it is taken to
    be `CHARACTERS_PER_TOKEN`.
    """
    if model in hub_ids() or not is_at_hand(model) or not texts:
        return CHARACTERS_PER_TOKEN
    tokenizer = AutoTokenizer.from_pretrained(models.locate(model))
    n_tokens = sum(len(tokenizer.encode(text, add_special_tokens=False)) for text in texts)
    return sum(map(len, texts)) / max(1, n_tokens)


def treatment_of(model: str, settings: Mapping[str, Any]) -> Treatment:
    """Return what the resolutions of a study mean for a model, without asking the hub.

    Args:
        model: As in `config_of`.
        settings: Parameters of a study or a cell, with those of `models.TREATMENT`.

    Raises:
        ValueError: If the model's config is not at hand, or the settings are impossible.
    """
    return models.treatment(config_of(model), **{name: settings[name] for name in models.TREATMENT})


def hub_ids() -> dict[str, str]:
    """Return the hub ids whose configs are kept, each with the name of its file."""
    return {
        hub_id: path.stem
        for path in sorted(CONFIGS.glob("*.json"))
        for hub_id in json.loads(path.read_text())["hub_ids"]
    }


@cache
def _read() -> dict[str, dict[str, Any]]:
    unasked = ("source", "hub_ids")
    return {
        path.stem: {
            key: value for key, value in json.loads(path.read_text()).items() if key not in unasked
        }
        for path in CONFIGS.glob("*.json")
    }


def sizes_of(config: PretrainedConfig) -> Sizes:
    """Return what decides the cost of a model, counted on a network without memory."""
    with torch.device("meta"):
        network = AutoModelForImageTextToText.from_config(config)
    linear = [
        layer
        for layer in network.model.language_model.modules()
        if isinstance(layer, torch.nn.Linear)
    ]
    return Sizes(
        family=config.model_type,
        shape=models.FAMILIES[config.model_type].shape_of(config),
        n_weights=sum(weight.numel() for weight in network.parameters()),
        text_linear_sides=sum(layer.in_features + layer.out_features for layer in linear),
    )
