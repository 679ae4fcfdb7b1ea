"""Low-rank adapters on a model's language model; everything else stays as it is."""

from dataclasses import replace

import torch
from peft import LoraConfig, PeftModel, get_peft_model

from medres.models.loaded import LoadedModel

LINEAR = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
"""Layers that are adapted: all linear ones of the language model."""


def adapt(model: LoadedModel, *, rank: int, seed: int) -> LoadedModel:
    """Return the model with adapters to train, drawn by seed; they change nothing yet.

    The adapter's product is scaled by 2 (alpha twice the rank), without dropout.

    Args:
        model: From `models.load`; its network is changed.
        rank: Of each adapter.
        seed: For the first of its two factors; the second is zero.
    """
    settings = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=LINEAR)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = get_peft_model(model.network, settings, autocast_adapter_dtype=False)
    return replace(model, network=network)


def is_adapted(model: LoadedModel) -> bool:
    """Return whether a model has adapters that are not merged."""
    return isinstance(model.network, PeftModel)


def merge(model: LoadedModel) -> LoadedModel:
    """Return the model with its adapters added into its weights, of the same architecture."""
    return replace(model, network=model.network.merge_and_unload())
