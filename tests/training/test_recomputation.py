"""Gradient checkpointing that keeps attention: the same numbers, attention computed once."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel

from medres import models
from medres.models import LoadedModel, conversation, lora, tiny
from medres.plan.memory import Setting
from medres.training import recomputation
from tests import families

SIZE_PX = 168, 112
ASKED = ["is there a nodule in the lung?", "what is the plane of this picture?"]
REPLIES = ["yes", "transverse"]
SINGLE = Setting("single", "float32", gradient_checkpointing=True)
ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


@pytest.fixture(scope="module", params=families.PAPER)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return models.load(str(tiny.make(tmp_path_factory.mktemp("models") / "one", request.param)))


class _Counting(TorchDispatchMode):
    """Counts operators, those of a backward pass and of recomputation included."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[Any] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls[func.overloadpacket] += 1
        return func(*args, **(kwargs or {}))


def inputs_of(model: LoadedModel, n_questions: int) -> dict[str, torch.Tensor]:
    ids = [str(index) for index in range(n_questions)]
    tree = conversation.encode(
        model, SIZE_PX, ids, ASKED[:n_questions], [[each] for each in REPLIES[:n_questions]]
    )
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE_PX[::-1], 3), dtype=np.uint8)
    inputs = conversation.collate([tree], pad_token_id=0)
    return inputs | models.pixel_inputs(model, [Image.fromarray(pixels)])


def gradients(
    network: PreTrainedModel, inputs: dict[str, torch.Tensor], *, dtype: torch.dtype
) -> tuple[list[torch.Tensor | None], Counter[Any]]:
    """Return the gradients of all weights, and how often each operator ran."""
    network.zero_grad(set_to_none=True)
    with _Counting() as counting:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            logits = network(**inputs, use_cache=False).logits
        logits.float().log_softmax(-1)[..., 5].sum().backward()
    return [weight.grad for weight in network.parameters()], counting.calls


@pytest.mark.parametrize("n_questions", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_is_computed_once_and_gradients_are_equal_to_the_bit(
    model: LoadedModel, n_questions: int, dtype: torch.dtype
) -> None:
    network, inputs = model.network.train(), inputs_of(model, n_questions)
    network.gradient_checkpointing_disable()
    plain, once = gradients(network, inputs, dtype=dtype)
    network.gradient_checkpointing_enable({"use_reentrant": False})
    _, twice = gradients(network, inputs, dtype=dtype)
    recomputation.enable(network, SINGLE)
    found, kept = gradients(network, inputs, dtype=dtype)
    torch.testing.assert_close(found, plain, rtol=0, atol=0)
    assert twice[ATTENTION] == 2 * once[ATTENTION] > 0
    assert kept[ATTENTION] == once[ATTENTION]
    # The rest is computed again: products of queries, keys, values and half of the MLP.
    products = [calls[torch.ops.aten.addmm] + calls[torch.ops.aten.mm] for calls in (once, kept)]
    assert products[1] > products[0]


@pytest.mark.parametrize("name", families.PAPER)
def test_with_adapters_the_frozen_tower_is_computed_once_and_not_backward(
    name: str, tmp_path: Path
) -> None:
    base = models.load(str(tiny.make(tmp_path / "one", name)))
    inputs, network = inputs_of(base, 1), lora.adapt(base, rank=2, seed=0).network.train()
    plain, once = gradients(network, inputs, dtype=torch.float32)
    recomputation.enable(network, SINGLE)
    found, kept = gradients(network, inputs, dtype=torch.float32)
    torch.testing.assert_close(found, plain, rtol=0, atol=0)
    assert any(each is not None and each.any() for each in found)
    backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
    n_layers = base.config.text_config.num_hidden_layers
    assert kept[backward] == once[backward] == n_layers
    assert kept[ATTENTION] == once[ATTENTION]


def test_zero_3_computes_everything_again(model: LoadedModel) -> None:
    network, inputs = model.network.train(), inputs_of(model, 1)
    recomputation.enable(network, Setting("zero-3", gradient_checkpointing=True))
    _, calls = gradients(network, inputs, dtype=torch.float32)
    network.gradient_checkpointing_disable()
    _, once = gradients(network, inputs, dtype=torch.float32)
    assert calls[ATTENTION] == 2 * once[ATTENTION]


@pytest.mark.parametrize(
    ("operator", "is_kept"),
    [
        ("aten._scaled_dot_product_flash_attention.default", True),
        ("aten._scaled_dot_product_efficient_attention.default", True),
        ("aten._scaled_dot_product_cudnn_attention.default", True),
        ("aten._scaled_dot_product_flash_attention_for_cpu.default", True),
        ("flash_attn._flash_attn_varlen_forward.default", True),
        ("torch_attn._varlen_attn.default", True),
        ("aten.mm.default", False),
        ("aten.addmm.default", False),
        ("aten._softmax.default", False),
        ("aten.native_layer_norm.default", False),
        ("aten.gelu.default", False),
    ],
)
def test_attention_of_any_device_is_kept_and_nothing_else(operator: str, is_kept: bool) -> None:
    policy = recomputation.policy(None, operator)
    assert (policy == recomputation.CheckpointPolicy.MUST_SAVE) == is_kept
