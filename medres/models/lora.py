"""Low-rank adapters on a model's language model; all other weights stay frozen."""

from dataclasses import replace

import torch
from peft import LoraConfig, PeftModel, get_peft_model

from medres.models.loaded import LoadedModel

LINEAR = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
"""Adapted layers: all linear layers of the language model."""


def adapt(model: LoadedModel, *, rank: int, seed: int) -> LoadedModel:
    """Return the model with adapters to train, initialised so that its output is unchanged.

    The adapter's product is scaled by 2 (alpha twice the rank), without dropout.

    Args:
        model: From `models.load`; its network is modified.
        rank: Of each adapter.
        seed: For the random first factor of each adapter; the second factor is zero.
    """
    settings = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=LINEAR)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = get_peft_model(model.network, settings, autocast_adapter_dtype=False)
    return replace(model, network=network)


def is_adapted(model: LoadedModel) -> bool:
    """Return whether a model has unmerged adapters."""
    return isinstance(model.network, PeftModel)


def merge(model: LoadedModel) -> LoadedModel:
    """Return the model with its adapters merged into its weights, of the original architecture."""
    return replace(model, network=model.network.merge_and_unload())
