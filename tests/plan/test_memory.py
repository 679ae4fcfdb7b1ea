"""Predicted activation bytes against what autograd keeps of small networks, and the split."""

import gc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, PretrainedConfig

from medres import models
from medres.models import LoadedModel, conversation, offline, tiny
from medres.plan import memory
from medres.plan.memory import GPUS, Load, Setting, Split
from medres.resolution import Layout
from medres.training import recomputation
from tests import families

SIZES_PX = {
    "tiny-qwen2-vl": (448, 336),
    "tiny-internvl": (168, 112),
    "tiny-llava-onevision": (168, 112),
}
ASKED = ["is there a nodule in the lung?", "what is the plane of this picture?"]
TOLERANCE = 0.1
"""Of the activations of a network of few narrow layers: what stands beside its layers counts."""
AUTOCAST_TOLERANCE = 0.2
LAYER_TOLERANCE = 0.02
"""Of what one more layer of tower and language model keeps."""


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], LoadedModel]:
    folder = tmp_path_factory.mktemp("models")
    return lambda name: models.load(str(tiny.make(folder / name, name)))


def network_of(
    config: PretrainedConfig, n_layers: int, dtype: torch.dtype = torch.bfloat16
) -> torch.nn.Module:
    """Return a random network of the family with so many layers in either part."""
    changed = type(config).from_dict(config.to_dict())
    changed.text_config.num_hidden_layers = n_layers
    changed.text_config.layer_types = ["full_attention"] * n_layers
    for name in ("depth", "num_hidden_layers"):
        if hasattr(changed.vision_config, name):
            setattr(changed.vision_config, name, n_layers)
    network = AutoModelForImageTextToText.from_config(changed).to(dtype).train()
    models.family_of(changed).prepare(network)
    return network


def kept_bytes(network: torch.nn.Module, inputs: dict[str, Any]) -> int:
    """Return the bytes of all distinct storages that a forward pass keeps, but the weights."""
    weights = {
        each.untyped_storage().data_ptr() for each in [*network.parameters(), *network.buffers()]
    }
    held: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        held[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs = network(**inputs)
    assert outputs.logits.requires_grad
    return sum(
        tensor.untyped_storage().nbytes() for place, tensor in held.items() if place not in weights
    )


def inputs_of(model: LoadedModel, size_px: tuple[int, int]) -> tuple[dict[str, Any], Load]:
    """Return a batch of one image with its questions, as training gives it, and its load."""
    ids = [str(index) for index, _ in enumerate(ASKED)]
    tree = conversation.encode(model, size_px, ids, ASKED, [["yes"], ["transverse"]])
    pixels = np.random.default_rng(0).integers(0, 256, (*size_px[::-1], 3), dtype=np.uint8)
    inputs = conversation.collate([tree], pad_token_id=0)
    inputs |= models.pixel_inputs(model, [Image.fromarray(pixels)])
    layout = models.geometry(model.config, size_px)
    n_text = len(tree.token_ids) - layout.visual_tokens
    return inputs, Load(layout, n_text, len(tree.targets))


@pytest.mark.parametrize("name", families.PAPER)
def test_predicted_activations_are_what_autograd_keeps(
    name: str, load: Callable[[str], LoadedModel]
) -> None:
    model = load(name)
    inputs, costliest = inputs_of(model, SIZES_PX[name])
    few, many = (network_of(model.config, n_layers) for n_layers in (2, 6))
    measured = [kept_bytes(network, inputs) for network in (few, many)]
    predicted = [
        memory.activation_bytes(offline.sizes_of(network.config), costliest, Setting())
        for network in (few, many)
    ]
    assert predicted == [pytest.approx(each, rel=TOLERANCE) for each in measured]
    assert predicted[1] - predicted[0] == pytest.approx(
        measured[1] - measured[0], rel=LAYER_TOLERANCE
    )


@pytest.mark.parametrize("name", families.PAPER)
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float32", 0.06), ("bfloat16", AUTOCAST_TOLERANCE)]
)
def test_without_deepspeed_weights_are_in_32_bits_and_more_is_kept(
    name: str, dtype: str, tolerance: float, load: Callable[[str], LoadedModel]
) -> None:
    model = load(name)
    inputs, costliest = inputs_of(model, SIZES_PX[name])
    setting = Setting("single", dtype)
    measured, predicted = [], []
    for n_layers in (2, 6):
        network = network_of(model.config, n_layers, torch.float32)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            n_bytes = kept_bytes(network, inputs)
        sizes = offline.sizes_of(network.config)
        # Under autocast what is kept has a copy of the weights, predicted as weights.
        copy_bytes = 2 * sizes.n_weights if dtype == "bfloat16" else 0
        measured.append(n_bytes - copy_bytes)
        predicted.append(memory.activation_bytes(sizes, costliest, setting))
    assert predicted[1] - predicted[0] == pytest.approx(measured[1] - measured[0], rel=tolerance)


@pytest.mark.parametrize("name", families.PAPER)
def test_with_gradient_checkpointing_each_layer_keeps_its_input(
    name: str, load: Callable[[str], LoadedModel]
) -> None:
    model = load(name)
    inputs, costliest = inputs_of(model, SIZES_PX[name])
    measured, predicted = [], []
    for n_layers in (2, 6):
        network = network_of(model.config, n_layers)
        network.gradient_checkpointing_enable({"use_reentrant": True})
        network.enable_input_require_grads()
        measured.append(kept_bytes(network, inputs))
        sizes = offline.sizes_of(network.config)
        predicted.append(
            memory.activation_bytes(
                sizes, costliest, Setting("zero-3", gradient_checkpointing=True)
            )
        )
    # What the layer that is computed again keeps is predicted once, however many there are.
    assert predicted[1] - predicted[0] == pytest.approx(
        measured[1] - measured[0], rel=LAYER_TOLERANCE
    )


def held_bytes(network: torch.nn.Module, inputs: dict[str, Any]) -> int:
    """Return the bytes of all distinct storages that a forward pass leaves in Python's hands.

    What checkpointing keeps is held there, unseen by the hooks of `kept_bytes`. Left out are
    states of random numbers (5 kB a layer, all that is in bytes).
    """

    def storages() -> dict[int, int]:
        gc.collect()
        return {
            each.untyped_storage().data_ptr(): each.untyped_storage().nbytes()
            for each in gc.get_objects()
            if type(each) is torch.Tensor and each.dtype != torch.uint8
        }

    before = storages()
    outputs = network(**inputs, use_cache=False)
    after = storages()
    assert outputs.logits.requires_grad
    return sum(size for place, size in after.items() if place not in before)


def require_predicted_layers(
    networks: list[Any], setting: Setting, inputs: dict[str, Any], costliest: Any
) -> None:
    """Compare what the layers that one network has more keep under checkpointing, as predicted."""
    measured, predicted = [], []
    for network in networks:
        recomputation.enable(network, setting)
        measured.append(held_bytes(network, inputs))
        sizes = offline.sizes_of(network.config)
        predicted.append(memory.activation_bytes(sizes, costliest, setting))
    assert predicted[1] - predicted[0] == pytest.approx(
        measured[1] - measured[0], rel=LAYER_TOLERANCE
    )


@pytest.mark.parametrize("name", families.PAPER)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_with_gradient_checkpointing_each_layer_also_keeps_its_attention(
    name: str, dtype: str, load: Callable[[str], LoadedModel]
) -> None:
    model = load(name)
    inputs, costliest = inputs_of(model, SIZES_PX[name])
    setting = Setting("zero-2", dtype, gradient_checkpointing=True)
    networks = [network_of(model.config, n_layers, models.DTYPES[dtype]) for n_layers in (2, 6)]
    require_predicted_layers(networks, setting, inputs, costliest)


@pytest.mark.parametrize("name", families.PAPER)
def test_a_frozen_tower_keeps_nothing_with_gradient_checkpointing(
    name: str, load: Callable[[str], LoadedModel]
) -> None:
    model = load(name)
    inputs, costliest = inputs_of(model, SIZES_PX[name])
    setting = Setting("single", "float32", gradient_checkpointing=True, lora_rank=4)
    networks = [network_of(model.config, n_layers, torch.float32) for n_layers in (2, 6)]
    for network in networks:
        tower = getattr(network.model, "vision_tower", None) or network.model.visual
        tower.requires_grad_(False)
    require_predicted_layers(networks, setting, inputs, costliest)


SIZES = offline.sizes_of(offline.config_of("Qwen/Qwen2-VL-2B-Instruct"))
N_WEIGHTS = 2_208_985_600
LOAD = Load(Layout(5_329, (2044, 2044)), text_tokens=64, answer_tokens=16)


def predict(setting: Setting, *, micro_batch: int = 1, processes: int = 1) -> memory.Memory:
    return memory.predict(
        SIZES, LOAD, setting=setting, micro_batch=micro_batch, processes=processes
    )


@pytest.mark.parametrize(
    ("setting", "processes", "bytes_a_weight"),
    [
        (Setting(), 1, 2 + 4 + 12),
        (Setting(), 8, 2 + (4 + 12) / 8),
        (Setting("zero-3"), 8, (2 + 4 + 12) / 8),
        (Setting("zero-2-offload"), 1, 2),
        (Setting("zero-2", "float32"), 1, 4 + 4 + 12),
        (Setting("single", "float32"), 1, 4 + 4 + 8),
        (Setting("single"), 1, 4 + 2 + 4 + 8),
    ],
)
def test_states_are_counted_by_weight(
    setting: Setting, processes: int, bytes_a_weight: float
) -> None:
    states = predict(setting, processes=processes).states
    assert states == pytest.approx(bytes_a_weight * N_WEIGHTS, rel=1e-6)


def test_lora_trains_its_adapters_alone_and_keeps_no_activation_of_the_tower() -> None:
    adapters = 16 * SIZES.text_linear_sides
    lora, whole = predict(Setting(lora_rank=16)), predict(Setting())
    assert lora.weights == 2 * (N_WEIGHTS + adapters)
    assert lora.gradients + lora.optimiser == 16 * adapters
    assert lora.activations < whole.activations / 2


def test_a_frozen_tower_has_no_gradient_no_optimiser_state_and_no_activation() -> None:
    # Of Qwen2-VL 2B: 32 blocks of 1,280 with a patch embedding; a merger of 5,120 and a norm.
    tower = 32 * (4 * 1280**2 + 2 * 1280 * 5120 + 4 * 1280 + 4 * 1280 + 5120 + 1280)
    tower += 1176 * 1280
    merger = 2 * 1280 + 5120 * 5120 + 5120 + 5120 * 1536 + 1536
    assert (SIZES.tower_weights, SIZES.merger_weights) == (tower, merger)
    whole = predict(Setting())
    for train_vision, n_frozen in (("merger", tower), ("none", tower + merger)):
        frozen = predict(Setting(train_vision=train_vision))
        assert frozen.weights == whole.weights
        assert whole.states - frozen.states == (4 + 12) * n_frozen
        lora = predict(Setting(lora_rank=16))
        assert frozen.activations == lora.activations


def test_adapters_are_proposed_with_what_may_stand_beside_them() -> None:
    *_, last = memory.remedies(Setting(train_vision="merger"), processes=1)
    assert (last.lora_rank, last.train_vision) == (8, "none")
    assert "train_vision: none" in Setting(train_vision="merger").changes(last)
    assert str(Setting(train_vision="merger")) == "zero-2 in bfloat16 + train_vision merger"
    assert Setting(train_vision="none").short == "zero-2 f"
    assert Setting(train_vision="none", lora_rank=8).short == "zero-2 l"


def test_activations_grow_with_the_images_of_a_pass_and_states_do_not() -> None:
    one, four = predict(Setting()), predict(Setting(), micro_batch=4)
    assert (four.activations, four.logits) == (4 * one.activations, 4 * one.logits)
    assert four.states == one.states
    assert four.peak == four.states + four.buffers + four.activations + four.logits


def test_the_logits_of_an_answer_are_counted_by_hand() -> None:
    assert predict(Setting()).logits == 14 * 16 * 151_936


def bytes_of_images(each: int) -> Callable[[int, int], int]:
    return lambda micro_batch, processes: each * micro_batch


def test_a_split_holds_the_total_batch_and_is_the_largest_that_fits() -> None:
    rng = np.random.default_rng(0)
    n_found = 0
    for total, processes, free in rng.integers(1, [200, 17, 40], (2_000, 3)):
        peak = bytes_of_images(3)
        found = memory.split(
            int(total), processes=int(processes), peak_bytes=peak, free_bytes=int(free)
        )
        if found is None:
            assert free < 3
            continue
        n_found += 1
        assert found.total == total
        assert found.micro_batch * found.accumulation * found.processes == total
        assert found.processes <= processes
        assert peak(found.micro_batch, found.processes) <= free
        larger = [
            micro_batch
            for micro_batch in range(found.micro_batch + 1, total // found.processes + 1)
            if total // found.processes % micro_batch == 0
        ]
        assert all(3 * micro_batch > free for micro_batch in larger)
        more = range(found.processes + 1, min(total, processes) + 1)
        assert all(total % used for used in more)
    assert n_found > 1_500


def test_nothing_fits_where_one_image_is_too_large() -> None:
    peak = bytes_of_images(10)
    assert memory.split(128, processes=8, peak_bytes=peak, free_bytes=9) is None
    assert memory.split(128, processes=8, peak_bytes=peak, free_bytes=10) == Split(1, 16, 8)


def test_the_paper_s_batch_on_processes_that_do_not_divide_it_uses_fewer() -> None:
    found = memory.split(128, processes=7, peak_bytes=bytes_of_images(1), free_bytes=64)
    assert found == Split(micro_batch=32, accumulation=1, processes=4)


@pytest.mark.parametrize(("total", "processes"), [(0, 1), (128, 0)])
def test_a_batch_of_nothing_is_refused(total: int, processes: int) -> None:
    with pytest.raises(
        ValueError, match=f"{total} on {processes} processes; both must be at least"
    ):
        memory.split(total, processes=processes, peak_bytes=bytes_of_images(1), free_bytes=1)


def test_remedies_take_less_memory_than_what_was_asked() -> None:
    for processes in (1, 8):
        asked = predict(Setting(), processes=processes).peak
        tried = memory.remedies(Setting(), processes=processes)
        assert all(predict(each, processes=processes).peak < asked for each in tried)
        assert any(each.zero_stage == 3 for each in tried) == (processes > 1)
        assert all(Setting().changes(each) for each in tried)
    checkpointed = Setting(gradient_checkpointing=True)
    assert checkpointed not in memory.remedies(checkpointed, processes=1)


def test_cards_have_the_bytes_and_operations_of_their_data_sheets() -> None:
    assert GPUS["A100-80GB"].memory_bytes == 80e9
    assert GPUS["A100-80GB"].flops_per_s == 312e12
    assert GPUS["H200"].flops_per_s == GPUS["H100-80GB"].flops_per_s == 989e12
    cards = {name: (card.flops_per_s / 1e12, card.memory_bytes) for name, card in GPUS.items()}
    assert cards["A6000"] == (154.8, 48e9)
    assert cards["L40S"] == (362.05, 48e9)
    assert cards["RTX-4090"] == (165.2, 24e9)
    assert cards["RTX-5090"] == (209.5, 32e9)
    assert cards["A10"] == (125, 24e9)


@pytest.mark.parametrize(
    ("device", "tflops"),
    [
        ("NVIDIA A10", 125),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A100-PCIE-40GB", 312),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H200", 989),
        ("NVIDIA L40S", 362.05),
        ("NVIDIA RTX A6000", 154.8),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("NVIDIA GeForce RTX 5090", 209.5),
    ],
)
def test_a_card_is_known_by_the_name_of_its_driver(device: str, tflops: float) -> None:
    found = memory.gpu_named(device)
    assert found is not None
    assert found.flops_per_s == pytest.approx(tflops * 1e12)


@pytest.mark.parametrize(
    "device",
    [
        "NVIDIA A10G",
        "NVIDIA L40",
        "NVIDIA RTX 6000 Ada Generation",
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA GeForce RTX 3090",
        "Tesla T4",
        "",
    ],
)
def test_another_card_is_not_taken_for_one_that_is_known(device: str) -> None:
    assert memory.gpu_named(device) is None


def test_a_setting_says_all_of_itself_and_what_to_change() -> None:
    everything = Setting("zero-3-offload", gradient_checkpointing=True, lora_rank=4)
    assert str(everything) == (
        "zero-3-offload in bfloat16 + gradient checkpointing + LoRA of rank 4"
    )
    assert (everything.zero_stage, everything.is_offloaded) == (3, True)
    assert everything.short == "zero-3-offload c l"
    assert replace(everything, strategy="zero-2", lora_rank=0).short == "zero-2 c"
    assert Setting().changes(everything) == [
        "strategy: zero-3-offload",
        "gradient_checkpointing: true",
        "lora_rank: 4",
    ]


def test_a_setting_is_read_from_the_parameters_of_a_training() -> None:
    parameters = {"strategy": "single", "dtype": "float32", "lora_rank": 0, "epochs": 3}
    further = {"gradient_checkpointing": True, "train_vision": "merger"}
    read = memory.setting_of(parameters | further)
    assert read == Setting("single", "float32", gradient_checkpointing=True, train_vision="merger")
    assert (read.zero_stage, read.is_offloaded, read.is_autocast) == (0, False, False)
