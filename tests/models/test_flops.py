import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from medres import models
from medres.inference import generation
from medres.models import LoadedModel, conversation, flops, offline, shapes
from medres.resolution import Treatment, plan

SMALL = Treatment(3_136, 50_176, "bicubic", 28)
QWEN2_VL_2B = shapes.shape_of(offline.config_of("Qwen/Qwen2-VL-2B-Instruct"))


def _noise(size_px: tuple[int, int], seed: int = 0) -> Image.Image:
    shape = (size_px[1], size_px[0], 3)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


@pytest.mark.parametrize("size", [(56, 56), (224, 140)])
def test_operations_equal_what_pytorch_counts(tiny_model: LoadedModel, size: tuple) -> None:
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    geometry = plan(size, "native", SMALL)
    tree = conversation.encode(tiny_model, geometry.given_px, ["q"], ["is it?"], [["yes"]])
    inputs = {
        "input_ids": torch.from_numpy(tree.token_ids)[None],
        "position_ids": torch.from_numpy(tree.positions)[:, None],
        "attention_mask": torch.ones(1, len(tree.token_ids), dtype=torch.long),
        **models.pixel_inputs(tiny_model, [_noise(geometry.given_px)]),
    }
    # The counter does not know the CPU's fused attention; spelt out it is two products. Equal
    # to the operation: the patch embedding is a matrix product to both (as a convolution it
    # would count the same), and neither counts norms, activations and rotary angles.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        tiny_model.network(**inputs, use_cache=False)
    n_tokens = len(tree.token_ids)
    counted = flops.forward_flops(
        tiny_model.shape,
        visual_tokens=geometry.visual_tokens,
        text_tokens=n_tokens - geometry.visual_tokens,
    )
    assert counter.get_total_flops() == counted


def test_operations_of_several_passes_are_near_what_pytorch_counts(
    tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in one pass, 5,000 options would be planned at several times their cost."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    monkeypatch.setattr(conversation, "MAX_PASS_TOKENS", 256)
    geometry = plan((224, 140), "native", SMALL)
    options = [f"compound number {number:03d}" for number in range(200)]
    tree = conversation.encode(
        tiny_model, geometry.given_px, ["q"], ["which?"], [options], with_ends=False
    )
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        generation.score(tiny_model, [tree], [_noise(geometry.given_px)])
    tokens = {
        "visual_tokens": geometry.visual_tokens,
        "text_tokens": len(tree.token_ids) - geometry.visual_tokens,
    }
    counted = flops.forward_flops(tiny_model.shape, **tokens, pass_tokens=256)
    assert counted == pytest.approx(counter.get_total_flops(), rel=0.1)
    assert flops.forward_flops(tiny_model.shape, **tokens) > 2 * counted
    assert counted < flops.forward_flops(tiny_model.shape, **tokens, pass_tokens=512)
    usual = flops.forward_flops(tiny_model.shape, visual_tokens=40, text_tokens=256)
    assert usual == flops.forward_flops(
        tiny_model.shape, visual_tokens=40, text_tokens=256, pass_tokens=256
    )


@pytest.mark.parametrize(("visual_tokens", "expected"), [(64, 0.66e12), (256, 2.4e12)])
def test_operations_of_qwen2_vl_2b_are_those_of_the_cost_table(
    visual_tokens: int, expected: float
) -> None:
    counted = flops.forward_flops(QWEN2_VL_2B, visual_tokens=visual_tokens, text_tokens=40)
    assert counted == pytest.approx(expected, rel=0.02)


def test_the_sizes_of_qwen2_vl_2b_are_those_of_its_config() -> None:
    (vision,), (text,) = QWEN2_VL_2B.vision, QWEN2_VL_2B.text
    assert (vision.number, vision.width, vision.attention_width) == (32, 1280, 1280)
    # Queries, keys, values and output; two layers of four times the width.
    assert vision.flops_per_token == 2 * (4 * 1280**2 + 2 * 1280 * 5120)
    assert (text.number, text.width, text.attention_width) == (28, 1536, 1536)
    products = 2 * 1536**2 + 2 * 1536 * 256 + 3 * 1536 * 8960
    assert text.flops_per_token == 2 * products
    # The last product of a layer is not done again.
    assert vision.repeated_flops_per_token == vision.flops_per_token - 2 * 1280 * 5120
    assert text.repeated_flops_per_token == text.flops_per_token - 2 * 1536 * 8960
    assert (text.padded_flops_per_token, text.window) == (0, 0)
    assert QWEN2_VL_2B.patch_flops == 2 * 1176 * 1280
    assert QWEN2_VL_2B.merger_flops == 2 * (5120**2 + 5120 * 1536)
    assert (QWEN2_VL_2B.text_width, QWEN2_VL_2B.vocabulary) == (1536, 151_936)


def test_a_training_step_costs_three_forward_passes_but_gradients_of_pixels() -> None:
    tokens = {"visual_tokens": 64, "text_tokens": 40}
    forward = flops.forward_flops(QWEN2_VL_2B, **tokens)
    embedding = 4 * 64 * QWEN2_VL_2B.patch_flops
    assert flops.training_flops(QWEN2_VL_2B, **tokens) == 3 * forward - embedding


def test_logits_are_counted_where_they_are_computed() -> None:
    tokens = {"visual_tokens": 64, "text_tokens": 40}
    everywhere = flops.forward_flops(QWEN2_VL_2B, **tokens)
    some = flops.forward_flops(QWEN2_VL_2B, **tokens, logit_tokens=9)
    assert everywhere - some == 2 * (64 + 40 - 9) * 1536 * 151_936
    assert everywhere == flops.forward_flops(QWEN2_VL_2B, **tokens, logit_tokens=104)


def test_adapters_cost_no_backward_pass_of_the_vision_side_and_no_gradient_of_weights() -> None:
    tokens = {"visual_tokens": 64, "text_tokens": 40}
    blind = dataclasses.replace(QWEN2_VL_2B, vision=(), patch_flops=0, merger_flops=0)
    wordless = dataclasses.replace(QWEN2_VL_2B, text=(), vocabulary=0)
    seen = flops.forward_flops(wordless, **tokens)
    assert flops.training_flops(wordless, **tokens, is_adapted=True) == seen
    said = flops.forward_flops(blind, **tokens)
    attention = 28 * 4 * (64 + 40) ** 2 * 1536
    found = flops.training_flops(blind, **tokens, is_adapted=True)
    assert found == 2 * (said - attention) + 3 * attention


def test_attention_is_what_grows_with_the_square_of_tokens() -> None:
    """Without text: twice the tokens, four times the attention; the rest doubles."""
    rests = []
    for tokens in (1000, 2000):
        seen = {"visual_tokens": tokens, "text_tokens": 0}
        attention = flops.attention_flops(QWEN2_VL_2B, **seen)
        rests.append(flops.forward_flops(QWEN2_VL_2B, **seen) - attention)
        # 32 layers of width 1280 over four patches a token, 28 layers of width 1536.
        assert attention == 4 * (32 * 1280 * (4 * tokens) ** 2 + 28 * 1536 * tokens**2)
    assert rests[1] == 2 * rests[0]
