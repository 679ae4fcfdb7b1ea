"""What traced layers keep, against what autograd keeps of the same layers with values."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from medres.models import families, layer_costs, parts
from medres.models.flops import ModelShape
from medres.models.offline import Sizes
from medres.plan import memory
from medres.plan.memory import Load, Setting
from medres.resolution import Layout
from tests.models import tiny_networks

TOLERANCE = 0.1
SETTINGS = {"bfloat16": Setting("zero-2"), "float32": Setting("single", "float32")}


def kept_bytes(network: Any, part: Any, inputs: dict[str, Any]) -> int:
    """Return the bytes of all distinct storages that the layers of a part keep, but weights."""
    known = {each.untyped_storage().data_ptr() for each in network.parameters()}
    held: dict[int, torch.Tensor] = {}
    inside = [False]

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if inside[0]:
            held[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    for layer in parts.layers_of(part):
        layer.register_forward_pre_hook(lambda *_: inside.__setitem__(0, True))
        layer.register_forward_hook(lambda *_: inside.__setitem__(0, False))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = network(**inputs, use_cache=False)
    assert output.logits.requires_grad
    return sum(
        tensor.untyped_storage().nbytes() for place, tensor in held.items() if place not in known
    )


def masked(tiny: tiny_networks.Tiny) -> dict[str, Any]:
    """Return the inputs of a conversation with a mask of yes and no, as in a training."""
    inputs = tiny.inputs()
    n_tokens = inputs["input_ids"].shape[1]
    mask = torch.ones(n_tokens, n_tokens, dtype=torch.bool).tril()[None, None]
    inputs["attention_mask"] = mask
    if tiny.config.model_type in ("gemma3", "gemma4"):
        inputs["attention_mask"] = dict.fromkeys(("full_attention", "sliding_attention"), mask)
    if "image_grid_thw" in inputs:
        inputs["position_ids"] = torch.arange(n_tokens).expand(3, 1, n_tokens)
    return inputs


@pytest.mark.parametrize("dtype", SETTINGS)
@pytest.mark.parametrize("name", tiny_networks.ALL)
def test_predicted_bytes_are_what_autograd_keeps_of_every_family(name: str, dtype: str) -> None:
    tiny = tiny_networks.ALL[name]()
    inputs = masked(tiny)
    shape = tiny_networks.shape_of(tiny.config)
    n_text = inputs["input_ids"].shape[1] - tiny.visual_tokens
    layout = Layout(tiny.visual_tokens, (0, 0), n_crops=tiny.n_crops)

    def predicted(only: ModelShape) -> int:
        load = Load(layout, n_text, 0)
        return memory.activation_bytes(Sizes(only, 0, 0), load, SETTINGS[dtype])

    network = tiny.network().to(getattr(torch, dtype)).train()
    if tiny.config.model_type in families.MODEL_TYPES:
        families.of(tiny.config.model_type).prepare(network)
    for names, only in (
        (parts.TOWERS, replace(shape, text=(), patch_values=0)),
        (parts.LANGUAGE_MODELS, replace(shape, vision=(), patch_values=0, shares_mask=False)),
    ):
        measured = kept_bytes(network, parts.part_of(network.model, names), inputs)
        assert predicted(only) == pytest.approx(measured, rel=TOLERANCE)


def test_a_layer_that_takes_what_nothing_is_known_about_is_named() -> None:
    class StrangeLayer(torch.nn.Module):
        def forward(self, hidden_states: torch.Tensor, moon_phase: torch.Tensor) -> torch.Tensor:
            return hidden_states * moon_phase

    inputs = layer_costs.Inputs(None, 8, is_text=False, has_mask=False)
    with pytest.raises(ValueError, match="a layer of StrangeLayer takes 'moon_phase'"):
        layer_costs.trace(StrangeLayer(), inputs)


def test_what_a_plain_layer_costs_is_counted_by_hand() -> None:
    class PlainLayer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up = torch.nn.Linear(8, 32, bias=False)
            self.down = torch.nn.Linear(32, 8, bias=False)

        def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
            made: torch.Tensor = self.down(torch.relu(self.up(hidden_states)))
            return made

    with torch.device("meta"):
        layer = PlainLayer()
    inputs = layer_costs.Inputs(None, 8, is_text=False, has_mask=False)
    assert layer_costs.trace(layer, inputs) == layer_costs.Cost(
        flops_per_token=2 * (8 * 32 + 32 * 8),
        padded_flops_per_token=0,
        # The second product is not needed again: the backward pass needs its input.
        repeated_flops_per_token=2 * 8 * 32,
        attention_width=0,
        # The input, and the output of ReLU, which is the second product's input as well.
        kept_bytes=2 * (8 + 32),
        pair_bytes=0.0,
        float32_bytes=4 * (8 + 32),
        float32_pair_bytes=0.0,
        padded_bytes=0.0,
    )
