"""Predicted GPU memory of a training, and the split of a total batch that fits into it.

Arithmetic only. Bytes per layer are what autograd keeps for transformers' own layers, traced
without values (`medres.models.layer_costs`) and measured on small networks of every family
(`tests/plan/test_memory.py`), not a rule of thumb.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from medres.models.flops import CHUNK, Layers
from medres.models.offline import Sizes
from medres.resolution import Layout

STRATEGIES = ("single", "zero-2", "zero-3", "zero-2-offload", "zero-3-offload")
"""single: one process without DeepSpeed. Others are DeepSpeed's: zero-2 divides optimiser states
and gradients among processes, zero-3 the weights too; offload keeps the optimiser states in the
computer's main memory."""
LORA_RANK = 8
"""Rank of the adapters that are proposed if nothing larger fits."""
BUCKET_VALUES = 500_000_000
"""DeepSpeed's default for the gradients reduced at a time; it holds two such buckets."""
AUTOCAST_FACTOR = 1.25
"""What layers keep under autocast to bf16, relative to bf16 throughout."""
LOGSUMEXP_BYTES = 1 / 16
"""Kept beside the output of attention, per unit of width: 32 bits per head of at least 64."""
LOGIT_BYTES = 14
"""Bytes per logit: in bf16, and in 32 bits the logit, its log-probability and its gradient."""


@dataclass(frozen=True)
class Gpu:
    """A GPU; its memory beyond `memory_bytes` is left to CUDA and the network."""

    name: str
    flops_per_s: float
    """Peak for dense bf16 matrix products."""
    memory_bytes: int
    utilisation: float
    """Share of the peak that a training is assumed to reach, including recomputation."""


def _gpus() -> dict[str, Gpu]:
    """Return the known GPUs.

    Dense matrix products in bf16, summed in 32 bits, from NVIDIA's documents: data sheets of the
    A10 (125 TFLOP/s; 24 GB), the RTX A6000 (309.7 with sparsity, so 154.8; 48 GB), the L40S
    (362.05; 48 GB), the A100 (312; 40 and 80 GB), the H100 SXM (1,979 with sparsity, so 989;
    80 GB) and the H200 SXM (the same; 141 GB); white papers of Ada for the RTX 4090 (165.2;
    24 GB) and of RTX Blackwell for the RTX 5090 (209.5; 32 GB), which are twice as fast only if
    sums are in 16 bits. A GB is taken as 10^9 bytes. GPUs count in 2^30: the difference of 7 % is
    left to the CUDA context, communication buffers and fragmentation.

    Utilisation was measured on an H200 with Qwen2-VL 2B: 24 % at 1280 x 1024, 31 % at 2048 x
    2048. The H100 has the same arithmetic. All others are assumed: the A100, with a third of the
    arithmetic and the same attention kernels, to reach more, and cards of its speed the same.
    """
    cards = (
        ("A100-40GB", 312e12, 40, 0.4),
        ("A100-80GB", 312e12, 80, 0.4),
        ("H100-80GB", 989e12, 80, 0.25),
        ("H200", 989e12, 141, 0.25),
        ("A10", 125e12, 24, 0.4),
        ("RTX-4090", 165.2e12, 24, 0.4),
        ("RTX-5090", 209.5e12, 32, 0.4),
        ("A6000", 154.8e12, 48, 0.4),
        ("L40S", 362.05e12, 48, 0.4),
    )
    return {
        name: Gpu(name, flops, gigabytes * 10**9, utilisation)
        for name, flops, gigabytes, utilisation in cards
    }


GPUS = _gpus()


def gpu_named(device: str) -> Gpu | None:
    """Return a known GPU by the name that its driver gives it; None if it is not known.

    >>> gpu_named("NVIDIA A100-SXM4-80GB").flops_per_s
    312000000000000.0
    """
    words = set(re.split("[ -]", device))
    for gpu in GPUS.values():
        product = {word for word in gpu.name.split("-") if not word.endswith("GB")}
        if product <= words and "Laptop" not in words:
            return gpu
    return None


@dataclass(frozen=True)
class Setting:
    """The parameters of `training.finetune` that determine its memory."""

    strategy: str = "zero-2"
    dtype: str = "bfloat16"
    gradient_checkpointing: bool = False
    lora_rank: int = 0
    train_vision: str = "all"
    """Of the image side; with adapters nothing of it is trained."""

    @property
    def is_tower_trained(self) -> bool:
        """Whether gradients pass through the vision tower."""
        return self.train_vision == "all" and not self.lora_rank

    @property
    def zero_stage(self) -> int:
        """DeepSpeed's ZeRO stage: 2 or 3; 0 without DeepSpeed."""
        return 0 if self.strategy == "single" else int(self.strategy.split("-")[1])

    @property
    def is_offloaded(self) -> bool:
        """Whether optimiser states and gradients are in the computer's main memory."""
        return self.strategy.endswith("-offload")

    @property
    def is_autocast(self) -> bool:
        """Whether weights stay in 32 bits and are cast to bf16 at each use."""
        return self.strategy == "single" and self.dtype == "bfloat16"

    @property
    def keeps_attention(self) -> bool:
        """Whether gradient checkpointing keeps the outputs of attention.

        Not with zero-3, which gathers weights at other moments in the second computation.
        """
        return self.gradient_checkpointing and self.zero_stage != 3

    @property
    def short(self) -> str:
        """Name in a narrow table."""
        is_frozen = not self.is_tower_trained and not self.lora_rank
        flags = {"c": self.gradient_checkpointing, "f": is_frozen, "l": self.lora_rank}
        return " ".join([self.strategy, *(flag for flag in flags if flags[flag])])

    def __str__(self) -> str:
        """Return the name for a reader."""
        parts = [f"{self.strategy} in {self.dtype}"]
        parts += ["gradient checkpointing"] if self.gradient_checkpointing else []
        if not self.is_tower_trained and not self.lora_rank:
            parts += [f"train_vision {self.train_vision}"]
        parts += [f"LoRA of rank {self.lora_rank}"] if self.lora_rank else []
        return " + ".join(parts)

    def changes(self, other: "Setting") -> list[str]:
        """Return the parameters to change for another setting, as written in a parameter file."""
        names = ("strategy", "gradient_checkpointing", "lora_rank", "train_vision")
        return [
            f"{name}: {str(getattr(other, name)).lower()}"
            for name in names
            if getattr(self, name) != getattr(other, name)
        ]


def setting_of(settings: Mapping[str, Any]) -> Setting:
    """Return the setting of a training with these parameters."""
    names = ("strategy", "dtype", "gradient_checkpointing", "lora_rank", "train_vision")
    return Setting(**{name: settings[name] for name in names})


@dataclass(frozen=True)
class Memory:
    """Predicted bytes on one GPU."""

    weights: int
    gradients: int
    optimiser: int
    buffers: int
    activations: int
    logits: int
    update: int
    """Gradients in 32 bits while weights are updated, when activations are already freed."""

    @property
    def states(self) -> int:
        """Bytes that are kept from step to step."""
        return self.weights + self.gradients + self.optimiser

    @property
    def peak(self) -> int:
        """Largest number of bytes at any time."""
        passing = self.buffers + self.activations + self.logits
        return self.states + max(passing, self.update)


@dataclass(frozen=True)
class Load:
    """The costliest image of an arm, which determines its memory."""

    layout: Layout
    text_tokens: int
    answer_tokens: int
    """Text tokens whose logits are computed."""
    rows: int = 1
    """Rows of a pass that an image takes: more than one where each of its questions is a row."""


@dataclass(frozen=True)
class Split:
    """A total batch as images per pass, passes per process, and processes."""

    micro_batch: int
    accumulation: int
    processes: int

    @property
    def total(self) -> int:
        """Images per optimiser step."""
        return self.micro_batch * self.accumulation * self.processes

    def __str__(self) -> str:
        """Return the three factors."""
        return f"{self.micro_batch} x {self.accumulation} x {self.processes}"


def predict(
    sizes: Sizes,
    load: Load,
    *,
    setting: Setting,
    micro_batch: int,
    processes: int,
) -> Memory:
    """Return the bytes that a training takes on each GPU.

    With DeepSpeed in bf16 a weight takes 2 bytes, its gradient 4 (it is accumulated in 32 bits),
    and its 32-bit copy with AdamW's two averages 12. Without DeepSpeed a weight takes 4, its
    gradient 4 and the averages 8; autocast keeps an additional copy in bf16. A frozen weight has
    neither gradient nor averages.

    Args:
        sizes: Sizes of the model.
        load: The costliest image; every image of a pass is assumed to be like it.
        setting: Strategy, number format, gradient checkpointing, adapters.
        micro_batch: Images per pass.
        processes: GPUs that share the states.
    """
    n_weights = sizes.n_weights
    n_trained = n_weights - sizes.frozen_weights(setting.train_vision)
    if setting.lora_rank:
        n_trained = setting.lora_rank * sizes.text_linear_sides
        n_weights += n_trained
    on_gpu = 0 if setting.is_offloaded else 1
    is_half = setting.dtype == "bfloat16" and not setting.is_autocast
    weight_bytes = 2 if is_half else 6 if setting.is_autocast else 4
    n_buffered = min(BUCKET_VALUES, n_trained) if setting.zero_stage else 0
    return Memory(
        weights=weight_bytes * n_weights // (processes if setting.zero_stage == 3 else 1),
        gradients=on_gpu * 4 * n_trained // processes,
        optimiser=on_gpu * (12 if setting.zero_stage else 8) * n_trained // processes,
        buffers=2 * (2 if is_half else 4) * n_buffered,
        activations=micro_batch * load.rows * activation_bytes(sizes, load, setting),
        logits=micro_batch * load.rows * LOGIT_BYTES * load.answer_tokens * sizes.shape.vocabulary,
        update=on_gpu * 4 * n_trained // processes,
    )


def activation_bytes(sizes: Sizes, load: Load, setting: Setting) -> int:
    """Return what the layers keep per image for the backward pass, in bytes.

    With gradient checkpointing that is each layer's input, the output of its attention, and
    everything for the one layer that is being recomputed. A frozen vision tower (LoRA,
    train_vision) keeps nothing.
    """
    shape = sizes.shape
    patches = shape.patches(load.layout.visual_tokens) + shape.class_tokens
    n_crops = load.layout.n_crops if shape.crop_patches else 1
    tokens = load.layout.visual_tokens + load.text_tokens
    parts = [(layers, 1, tokens) for layers in shape.text]
    if setting.is_tower_trained:
        parts += [(layers, n_crops, patches) for layers in shape.vision]
    beside = 4 * n_crops * patches * shape.patch_values
    if shape.shares_mask and setting.is_tower_trained:
        beside += (4 if setting.dtype == "float32" else 2) * patches**2
    each = [times * _layer_bytes(layers, n_tokens, setting) for layers, times, n_tokens in parts]
    if not setting.gradient_checkpointing:
        n_bytes = sum(kept * layers.number for kept, (layers, *_) in zip(each, parts, strict=True))
        return beside + round(n_bytes)
    number_bytes = 4 if setting.is_autocast or setting.dtype == "float32" else 2
    inputs = 0.0
    for layers, times, n_tokens in parts:
        per_token = float(number_bytes * layers.width)
        if setting.keeps_attention:
            kept_bytes = (4 if setting.dtype == "float32" else 2) + LOGSUMEXP_BYTES
            per_token += kept_bytes * layers.attention_width
        inputs += layers.number * times * n_tokens * per_token
    return beside + round(inputs + max(each))


def _layer_bytes(layers: Layers, n_tokens: int, setting: Setting) -> float:
    """Return what one layer keeps for one image, or for one of its crops."""
    padding = -n_tokens % CHUNK * layers.padded_bytes
    if setting.dtype == "float32":
        per_token = layers.float32_bytes + layers.float32_pair_bytes * n_tokens
        return padding + n_tokens * per_token
    factor = AUTOCAST_FACTOR if setting.is_autocast else 1.0
    return padding + factor * n_tokens * (layers.kept_bytes + layers.pair_bytes * n_tokens)


def split(
    total: int, *, processes: int, peak_bytes: Callable[[int, int], int], free_bytes: int
) -> Split | None:
    """Return how a total batch is split, from predicted memory.

    The most processes that divide the batch, up to those available; then the most images per pass
    that divide the rest and fit. If none fit, fewer processes are tried.

    Args:
        total: Images per optimiser step, on all processes.
        processes: GPUs available.
        peak_bytes: Bytes on each GPU, as a function of images per pass and processes.
        free_bytes: Bytes that a GPU has.

    Returns:
        The split, whose factors' product is `total`; None if not even one image per pass fits.

    Raises:
        ValueError: If the batch or the number of processes is not positive.

    >>> split(128, processes=8, peak_bytes=lambda micro, _: 10 * micro, free_bytes=60)
    Split(micro_batch=4, accumulation=4, processes=8)
    """
    if total < 1 or processes < 1:
        raise ValueError(
            f"a total batch of {total} on {processes} processes; both must be at least 1"
        )
    for used in range(min(total, processes), 0, -1):
        if total % used:
            continue
        share = total // used
        for micro_batch in range(share, 0, -1):
            if share % micro_batch == 0 and peak_bytes(micro_batch, used) <= free_bytes:
                return Split(micro_batch, share // micro_batch, used)
    return None


def remedies(setting: Setting, *, processes: int) -> list[Setting]:
    """Return settings that may make a training fit that does not, the cheapest first."""
    again = replace(setting, gradient_checkpointing=True)
    strategies = ["zero-3"] if processes > 1 else []
    strategies += ["zero-2-offload"]
    strategies += ["zero-3-offload"] if processes > 1 else []
    tried = [again, *(replace(again, strategy=strategy) for strategy in strategies)]
    undivided = again.strategy.replace("zero-3", "zero-2")
    # Adapters leave the merger as it is.
    of_vision = "none" if setting.train_vision == "merger" else setting.train_vision
    rank = setting.lora_rank or LORA_RANK
    tried += [replace(again, strategy=undivided, lora_rank=rank, train_vision=of_vision)]
    if setting.lora_rank:
        tried = [each for each in tried if each.zero_stage != 3]
    return [each for each in dict.fromkeys(tried) if each != setting]
