"""Operations of every family, against what PyTorch counts of small networks."""

import dataclasses
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count
from transformers import PretrainedConfig

from medres.models import families, flops, shapes, trainable
from medres.models.flops import Patches
from tests.models import tiny_networks
from tests.models.tiny_networks import Tiny, shape_of

TOLERANCE = 0.01
TRAINING_TOLERANCE = 0.05


def _convolution_backward(grad_shape: Any, x_shape: Any, w_shape: Any, *rest: Any, **_: Any) -> int:
    """Count one convolution for each gradient; PyTorch counts groups as if they were mixed."""
    output_mask = rest[-1]
    return int(conv_flop_count(x_shape, w_shape, grad_shape)) * sum(output_mask[:2])


COUNTED_APART = {torch.ops.aten.convolution_backward: _convolution_backward}


def tokens_of(tiny: Tiny, inputs: dict[str, Any]) -> dict[str, int]:
    n_tokens = inputs["input_ids"].shape[1]
    return {
        "visual_tokens": tiny.visual_tokens,
        "text_tokens": n_tokens - tiny.visual_tokens,
        "n_crops": tiny.n_crops,
    }


def forward_counted(network: Any, inputs: dict[str, Any]) -> int:
    # Spelt out attention is two products; the counter does not know the CPU's fused one.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network.eval()(**inputs, use_cache=False)
    return int(counter.get_total_flops())


@pytest.mark.parametrize("n_text", [40, 8])
@pytest.mark.parametrize("name", tiny_networks.ALL)
def test_operations_of_every_family_are_what_pytorch_counts(name: str, n_text: int) -> None:
    tiny = tiny_networks.ALL[name]()
    inputs = tiny.inputs(n_text)
    counted = forward_counted(tiny.network(), inputs)
    shape = shape_of(tiny.config)
    expected = flops.forward_flops(shape, **tokens_of(tiny, inputs))
    assert expected == pytest.approx(counted, rel=TOLERANCE)


@pytest.mark.parametrize(
    ("name", "part", "changes"),
    [
        ("internvl_qwen3", "text_config", {"head_dim": 80}),
        ("internvl_qwen3", "vision_config", {"intermediate_size": 800}),
        ("qwen2_5_vl", "vision_config", {"fullatt_block_indexes": [0, 1, 2]}),
        ("qwen3_vl", "vision_config", {"deepstack_visual_indexes": [1]}),
        ("qwen3_5", "text_config", {"linear_value_head_dim": 96}),
        ("gemma3", "text_config", {"num_key_value_heads": 4}),
        ("gemma4", "text_config", {"hidden_size_per_layer_input": 120}),
        ("qwen3_vl_moe", "text_config", {"num_experts_per_tok": 5}),
    ],
)
def test_each_size_that_was_not_known_before_counts(
    name: str, part: str, changes: dict[str, Any]
) -> None:
    tiny = tiny_networks.ALL[name]()
    before = shape_of(tiny.config)
    for key, value in changes.items():
        setattr(getattr(tiny.config, part), key, value)
    tiny.config = type(tiny.config).from_dict(tiny.config.to_dict())
    inputs = tiny.inputs()
    counted = forward_counted(tiny.network(), inputs)
    tokens = tokens_of(tiny, inputs)
    assert flops.forward_flops(shape_of(tiny.config), **tokens) == pytest.approx(
        counted, rel=TOLERANCE
    )
    assert abs(flops.forward_flops(before, **tokens) / counted - 1) > TOLERANCE


def test_windows_that_the_image_does_not_fill_are_nearly_right() -> None:
    tiny = tiny_networks._grid(tiny_networks.qwen2_5_vl().config, 18, 22)
    inputs = tiny.inputs()
    counted = forward_counted(tiny.network(), inputs)
    expected = flops.forward_flops(shape_of(tiny.config), **tokens_of(tiny, inputs))
    assert counted <= expected <= 1.03 * counted


@pytest.mark.parametrize("trained", ["all", "merger", "none", "adapters"])
@pytest.mark.parametrize("name", tiny_networks.ALL)
def test_operations_of_a_training_step_are_what_pytorch_counts(name: str, trained: str) -> None:
    """Also what gradient checkpointing adds; it used to be 1.3 to 1.8 times as much."""
    tiny = tiny_networks.ALL[name]()
    inputs = tiny.inputs()
    counted = []
    is_adapted = trained == "adapters"
    for is_checkpointed in (False, True):
        network = tiny.network().train()
        if is_adapted:
            # As adapters leave it: no gradient of any weight, but all of the activations.
            network.requires_grad_(False)
            network.get_input_embeddings().weight.requires_grad_(True)
        else:
            trainable.freeze_vision(network, trained)
        if is_checkpointed:
            network.gradient_checkpointing_enable({"use_reentrant": False})
            network.disable_input_require_grads()
        counter = FlopCounterMode(display=False, custom_mapping=COUNTED_APART)
        with sdpa_kernel(SDPBackend.MATH), counter:
            network(**inputs, use_cache=False, logits_to_keep=9).logits.sum().backward()
        counted.append(int(counter.get_total_flops()))
    shape, tokens = shape_of(tiny.config), tokens_of(tiny, inputs)
    vision = "none" if is_adapted else trained
    step = flops.training_flops(
        shape, **tokens, logit_tokens=9, train_vision=vision, is_adapted=is_adapted
    )
    again = sum(flops.repeated_flops(shape, **tokens, train_vision=vision))
    assert step == pytest.approx(counted[0], rel=TRAINING_TOLERANCE)
    assert step + again == pytest.approx(counted[1], rel=TRAINING_TOLERANCE)
    if not is_adapted:
        assert again == pytest.approx(counted[1] - counted[0], rel=TRAINING_TOLERANCE)


@pytest.mark.parametrize(
    ("name", "n_weights"),
    [
        ("qwen2_vl", 0),  # a norm with weights stands before the first product
        ("qwen3_vl", 0),
        ("internvl_qwen3", 0),
        ("gemma3", 0),
        ("mistral3", 0),
        ("glm4v", 4 * 96 * 128),  # a convolution over 2 x 2 patches of 96 numbers
        ("llava_onevision", 96 * 128),
    ],
)
def test_a_frozen_tower_spares_the_gradient_of_what_leaves_it(name: str, n_weights: int) -> None:
    assert shape_of(tiny_networks.ALL[name]().config).merger_first_flops == 2 * n_weights


def test_a_family_may_say_itself_how_it_sees_an_image() -> None:
    config = tiny_networks.internvl_llama().config
    patches = families.of(config.model_type).patches(config)
    assert patches == Patches(per_token=4, per_crop=64, class_tokens=1)
    other = dataclasses.replace(patches, class_tokens=0)
    assert shapes.shape_of(config, other).class_tokens == 0


def test_an_unknown_family_is_refused_with_those_that_are_known() -> None:
    config = PretrainedConfig()
    config.model_type = "mystery"
    with pytest.raises(ValueError, match="a mystery; known families are qwen2_vl, "):
        shape_of(config)


def test_an_image_is_padded_to_the_next_budget() -> None:
    shape = shape_of(tiny_networks.gemma4().config)
    assert [shape.patches(each) // 9 for each in (63, 70, 71, 1_089)] == [70, 70, 140, 1_120]
    # More than any budget is not padded.
    assert shape.patches(2_000) == 9 * 2_000
