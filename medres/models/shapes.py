"""The sizes of a model that determine its cost, of any family, from a network without values.

What a network computes is read off its modules on the meta device: layers are traced
(`layer_costs`), and outside layers every weight matrix is a product. A family says only how many
patches an image has and how many of them become a visual token.
"""

import json
from dataclasses import asdict
from functools import cache
from typing import Any

import torch
from transformers import AutoConfig, PretrainedConfig

from medres.models import families, layer_costs, parts
from medres.models.flops import Layers, ModelShape, Patches

SOUND = ("audio_tower", "embed_audio")
EMBEDDING = ("embed", "patch_conv")
"""In the names of what a tower does once per patch; what it does else is done per visual token."""
MATRICES = ("mm_input_projection_weight",)
"""Weights that stand outside a linear layer and are one."""
PRODUCTS = (torch.nn.Linear, torch.nn.Conv2d, torch.nn.Conv3d)


def shape_of(config: PretrainedConfig, patches: Patches | None = None) -> ModelShape:
    """Return the sizes that determine the cost of a model, from its config.

    Args:
        config: Of the model.
        patches: How its family sees an image; None means as its file says.

    Raises:
        ValueError: If the family is not known or a layer cannot be traced.
    """
    stored = config.to_dict()
    stored["model_type"] = config.model_type
    return _shape(
        json.dumps(stored, default=str), patches or families.of(config.model_type).patches(config)
    )


@cache
def _shape(stored: str, patches: Patches) -> ModelShape:
    fields = json.loads(stored)
    config = AutoConfig.for_model(fields.pop("model_type"), **fields)
    network = parts.without_values(config)
    if config.model_type in families.MODEL_TYPES:
        families.of(config.model_type).prepare(network)
    # Layers are run backwards too, whoever asks.
    with torch.enable_grad():
        return shape_of_network(network, patches)


def shape_of_network(network: Any, patches: Patches) -> ModelShape:
    """Return the sizes of a network on the meta device, whose layers are changed by it."""
    config, model = network.config, network.model
    tower = parts.part_of(model, parts.TOWERS)
    language = parts.part_of(model, parts.LANGUAGE_MODELS)
    vision_layers, text_layers = parts.layers_of(tower), parts.layers_of(language)
    of_layers = {id(each) for layer in [*vision_layers, *text_layers] for each in layer.modules()}
    per_patch = per_visual = per_token = patch_values = 0
    of_mergers: dict[str, int] = {}
    for name, module in model.named_modules():
        if id(module) in of_layers or name.startswith(SOUND):
            continue
        is_matrix = isinstance(module, PRODUCTS)
        weights = [module.weight] if is_matrix else []
        weights += [getattr(module, each) for each in MATRICES if hasattr(module, each)]
        n_products = sum(weight.numel() for weight in weights)
        first, _, rest = name.partition(".")
        if first in parts.LANGUAGE_MODELS:
            per_token += n_products
        elif first in parts.TOWERS and any(each in rest for each in EMBEDDING):
            per_patch += n_products
            patch_values = patch_values or sum(weight[0].numel() for weight in weights)
        else:
            per_visual += n_products
            if next(module.parameters(recurse=False), None) is not None:
                # Behind a norm with weights a product needs the gradient of its input.
                merger = _merger_of(rest if first in parts.TOWERS else name)
                of_mergers.setdefault(merger, n_products if is_matrix else 0)
    text = config.get_text_config()
    return ModelShape(
        vision=_grouped(vision_layers, _inputs(config.vision_config, tower, patches), patches),
        text=_grouped(text_layers, _inputs(text, language, None), None),
        patch_values=patch_values,
        patch_flops=2 * per_patch,
        merger_flops=2 * per_visual,
        merger_first_flops=_first_flops(of_mergers),
        token_flops=2 * per_token,
        text_width=text.hidden_size,
        vocabulary=text.vocab_size,
        patches_per_token=patches.per_token,
        crop_patches=patches.per_crop,
        class_tokens=patches.class_tokens,
        padded_tokens=patches.padded_tokens,
        shares_mask=patches.shares_mask,
        is_pooled_by_product=patches.is_pooled_by_product,
    )


def _merger_of(name: str) -> str:
    """Return which merger a module belongs to; a list of them has several."""
    first, second, *_ = [*name.split("."), ""]
    return f"{first}.{second}" if second.isdigit() else first


def _first_flops(of_mergers: dict[str, int]) -> int:
    """Return the operations per visual token on what leaves the tower.

    Args:
        of_mergers: Weights of the first module of each merger, 0 if it is no product.
    """
    # What comes after a downsampling takes its input from there.
    return 2 * (of_mergers.get("downsample") or sum(of_mergers.values()))


def _inputs(config: Any, part: Any, patches: Patches | None) -> layer_costs.Inputs:
    if patches is None:
        return layer_costs.Inputs(
            config, config.hidden_size, is_text=True, has_mask=True, rotary=part.rotary_emb
        )
    width = getattr(config, "embed_dim", None) or config.hidden_size
    return layer_costs.Inputs(config, width, is_text=False, has_mask=bool(patches.padded_tokens))


def _grouped(
    layers: list[torch.nn.Module], inputs: layer_costs.Inputs, patches: Patches | None
) -> tuple[Layers, ...]:
    """Return layers of equal cost together; each kind is traced once."""
    found: dict[tuple[Any, ...], list[torch.nn.Module]] = {}
    for index, layer in enumerate(layers):
        window = 0
        if patches and patches.window and index not in patches.full_layers:
            window = patches.window
        sizes = tuple((name, tuple(each.shape)) for name, each in layer.named_parameters())
        kind = getattr(getattr(layer, "self_attn", None), "layer_type", None)
        found.setdefault((window, kind, sizes), []).append(layer)
    made = []
    for (window, _, _), same in found.items():
        cost = layer_costs.trace(same[0], inputs)
        made.append(Layers(number=len(same), width=inputs.width, window=window, **asdict(cost)))
    return tuple(made)
