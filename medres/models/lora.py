"""Low-rank adapters on a model's language model; all other weights stay frozen."""

import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, set_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file
from transformers import PreTrainedModel

from medres.models import adapters, parts, weights
from medres.models.loaded import LoadedModel

PREFIX = "base_model.model."
"""Of every tensor of an adapter, before the name of the layer."""
RENAMED = (
    (r"^visual\.", "model.visual."),
    (r"^language_model\.model\.", "model.language_model."),
    (r"^language_model\.lm_head", "lm_head"),
    (r"^(vision_tower|multi_modal_projector)\.", r"model.\1."),
    (r"^model\.(layers|embed_tokens|norm)\b", r"model.language_model.\1"),
)
"""Layers as they were called before transformers 4.52, and as they are."""


def adapt(model: LoadedModel, *, rank: int, seed: int) -> LoadedModel:
    """Return the model with adapters to train, initialised so that its output is unchanged.

    All linear layers in the blocks of the language model are adapted. The adapter's product is
    scaled by 2 (alpha twice the rank), without dropout.

    Args:
        model: From `models.load`; its network is modified.
        rank: Of each adapter.
        seed: For the random first factor of each adapter; the second factor is zero.
    """
    # By whole names: some vision towers have layers with the names of the language model's.
    settings = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=0.0,
        target_modules=parts.linear_layers(model.network),
    )
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


def merged(network: PreTrainedModel, folder: Path, name: str) -> PreTrainedModel:
    """Return a network with an adapter from a folder merged into its weights.

    Each layer is merged in 32 bits, whatever the network's precision, and then rounded to it.

    Args:
        network: Of the model that the adapter was trained on; it is modified.
        folder: Of the adapter, that `adapters.check` has let through.
        name: Of the folder, for messages.

    Raises:
        ValueError: If the adapter does not fit the network, or a tensor of it finds no place.
    """
    dtype, config = network.dtype, network.config
    tensors = {_renamed(key): value for key, value in load_file(folder / weights.ADAPTER).items()}
    tied = [key for key in tensors if re.search(r"\b(lm_head|embed_tokens)\b", key)]
    if tied and (config.tie_word_embeddings or config.text_config.tie_word_embeddings):
        raise ValueError(
            f"{name}: the adapter has {tied[0]}, but input and output of its base share their "
            f"weights; {adapters.MERGE}"
        )
    settings = {
        key: value
        for key, value in adapters.settings_of(folder, name).items()
        if key in adapters.USED
    }
    layers = {_layer(key) for key in tensors if ".lora_" in key}
    targets = settings.get("target_modules")
    if isinstance(targets, str) and not any(re.fullmatch(targets, layer) for layer in layers):
        # A pattern for the names that the layers had in an older transformers.
        settings["target_modules"] = sorted(layers) if targets != "all-linear" else targets
    try:
        with torch.random.fork_rng(devices=[]):
            adapted = PeftModel(network, LoraConfig(**settings, inference_mode=True))
        report: Any = set_peft_model_state_dict(adapted, tensors)
    except (ValueError, RuntimeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{name}: the adapter does not fit its base ({' '.join(str(error).split())[:300]}); "
            "look at r, target_modules and base_model_name_or_path in its adapter_config.json"
        ) from error
    own = (".lora_", ".modules_to_save.")
    missing = [key for key in report.missing_keys if any(part in key for part in own)]
    if lost := sorted(missing) or sorted(report.unexpected_keys):
        raise ValueError(
            f"{name}: the adapter does not fit its base, {len(lost)} of its tensors "
            f"{'are missing' if missing else 'have no place'}, first {lost[0]}; look at "
            "target_modules and base_model_name_or_path in its adapter_config.json"
        )
    for layer in adapted.modules():
        if isinstance(layer, BaseTunerLayer):
            layer.float()
            layer.merge()
            layer.to(dtype)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="All adapters are already merged")
        result: PreTrainedModel = adapted.merge_and_unload()
    for weight in result.parameters():
        weight.data = weight.data.to(dtype)
    return result.requires_grad_(True)


def _renamed(key: str) -> str:
    name = key.removeprefix(PREFIX)
    for old, new in RENAMED:
        name = re.sub(old, new, name)
    return PREFIX + name


def _layer(key: str) -> str:
    return re.sub(r"\.lora_.*", "", key.removeprefix(PREFIX))
