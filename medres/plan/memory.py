"""Predicted GPU memory of a training, and the split of a total batch that fits into it.

Arithmetic only. Bytes per layer are what autograd keeps of transformers' own layers in bf16,
measured on small ones (`tests/test_memory.py` measures them again), not a rule of thumb.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from medres.models.offline import Sizes
from medres.resolution import Layout

STRATEGIES = ("single", "zero-2", "zero-3", "zero-2-offload", "zero-3-offload")
"""One process without DeepSpeed; else DeepSpeed: 2 divides optimiser states and gradients among
processes, 3 the weights too, offload keeps the optimiser states in the computer's memory."""
LORA_RANK = 8
"""Of the adapters that are proposed where nothing larger fits."""
BUCKET_VALUES = 500_000_000
"""DeepSpeed's default for the gradients it reduces at a time; it holds two such buckets."""
VISION_BYTES = {"qwen2_vl": (22, 6), "internvl": (20, 4), "llava_onevision": (16, 4)}
"""Kept in a layer of the tower for each patch: bytes per unit of width, and of MLP width."""
TEXT_BYTES = (24, 8)
"""The same for a token in a layer of the language model; keys and values are repeated to all
heads there, because attention is masked."""
FLOAT32_FACTOR, AUTOCAST_FACTOR = 1.9, 1.25
"""What layers keep in 32 bits, and under autocast to bf16, against bf16 throughout."""
LOGIT_BYTES = 14
"""A logit in bf16, and in 32 bits itself, its log-probability and its gradient."""


@dataclass(frozen=True)
class Gpu:
    """A graphics card; what it has beyond `memory_bytes` is left to CUDA and the network."""

    name: str
    flops_per_s: float
    """Peak of dense bf16 matrix products."""
    memory_bytes: int
    utilisation: float
    """Share of the peak that a training is taken to reach, recomputation included."""


def _gpus() -> dict[str, Gpu]:
    """Return the known cards.

    From NVIDIA's data sheets of the A100 (312 TFLOP/s in bf16; 40 and 80 GB), the H100 SXM
    (1,979 TFLOP/s with sparsity, so 989 dense; 80 GB) and the H200 SXM (the same; 141 GB). A GB
    is taken as 10^9 bytes. The cards count in 2^30: the 7 % between is left to the CUDA context,
    communication buffers and fragmentation. Utilisation was measured on an H200 with Qwen2-VL 2B:
    24 % at 1280 x 1024, 31 % at 2048 x 2048. The H100 has the same arithmetic; the A100, with a
    third of it and the same attention kernels, is assumed to reach more.
    """
    cards = (
        ("A100-40GB", 312e12, 40, 0.4),
        ("A100-80GB", 312e12, 80, 0.4),
        ("H100-80GB", 989e12, 80, 0.25),
        ("H200", 989e12, 141, 0.25),
    )
    return {
        name: Gpu(name, flops, gigabytes * 10**9, utilisation)
        for name, flops, gigabytes, utilisation in cards
    }


GPUS = _gpus()


@dataclass(frozen=True)
class Setting:
    """How a training is kept in memory, in the words of `training.finetune`."""

    strategy: str = "zero-2"
    dtype: str = "bfloat16"
    gradient_checkpointing: bool = False
    lora_rank: int = 0

    @property
    def zero_stage(self) -> int:
        """DeepSpeed's: 2 divides optimiser states and gradients, 3 weights too; 0 without it."""
        return 0 if self.strategy == "single" else int(self.strategy.split("-")[1])

    @property
    def is_offloaded(self) -> bool:
        """Whether optimiser states and gradients are in the computer's memory."""
        return self.strategy.endswith("-offload")

    @property
    def is_autocast(self) -> bool:
        """Whether weights stay in 32 bits and are cast to bf16 at each use."""
        return self.strategy == "single" and self.dtype == "bfloat16"

    @property
    def short(self) -> str:
        """Its name in a narrow table."""
        flags = {"c": self.gradient_checkpointing, "l": self.lora_rank}
        return " ".join([self.strategy, *(flag for flag in flags if flags[flag])])

    def __str__(self) -> str:
        """Return its name for a person."""
        parts = [f"{self.strategy} in {self.dtype}"]
        parts += ["gradient checkpointing"] if self.gradient_checkpointing else []
        parts += [f"LoRA of rank {self.lora_rank}"] if self.lora_rank else []
        return " + ".join(parts)

    def changes(self, other: "Setting") -> list[str]:
        """Return the parameters to change for another setting, as a parameter file has them."""
        names = ("strategy", "gradient_checkpointing", "lora_rank")
        return [
            f"{name}: {str(getattr(other, name)).lower()}"
            for name in names
            if getattr(self, name) != getattr(other, name)
        ]


def setting_of(settings: Mapping[str, Any]) -> Setting:
    """Return how a training with these parameters is kept in memory."""
    names = ("strategy", "dtype", "gradient_checkpointing", "lora_rank")
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
    """Gradients in 32 bits, while weights are updated and activations are gone."""

    @property
    def states(self) -> int:
        """What lasts from step to step."""
        return self.weights + self.gradients + self.optimiser

    @property
    def peak(self) -> int:
        """The most at any time."""
        passing = self.buffers + self.activations + self.logits
        return self.states + max(passing, self.update)


@dataclass(frozen=True)
class Load:
    """The costliest image of an arm, which decides its memory."""

    layout: Layout
    text_tokens: int
    answer_tokens: int
    """Of the text those whose logits are computed."""


@dataclass(frozen=True)
class Split:
    """A total batch as processes, passes of one process, and images of a pass."""

    micro_batch: int
    accumulation: int
    processes: int

    @property
    def total(self) -> int:
        """Images of one optimiser step."""
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

    With DeepSpeed in bf16 a weight takes 2 bytes, its gradient 4, for it is added up in 32 bits,
    and its 32-bit copy with AdamW's two averages 12. Without, it takes 4, its gradient 4 and the
    averages 8; autocast holds a copy in bf16 beside it.

    Args:
        sizes: Of the model.
        load: The costliest image; every image of a pass is taken to be like it.
        setting: Strategy, number format, gradient checkpointing, adapters.
        micro_batch: Images of one pass.
        processes: GPUs that share the states.
    """
    n_weights = sizes.n_weights
    n_trained = n_weights
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
        activations=micro_batch * activation_bytes(sizes, load, setting),
        logits=micro_batch * LOGIT_BYTES * load.answer_tokens * sizes.shape.vocabulary,
        update=on_gpu * 4 * n_trained // processes,
    )


def activation_bytes(sizes: Sizes, load: Load, setting: Setting) -> int:
    """Return what the layers keep of one image for the backward pass, in bytes.

    With gradient checkpointing that is each layer's input, and everything of the one layer that
    is being computed again. A frozen tower (LoRA) keeps nothing.
    """
    shape = sizes.shape
    patches = load.layout.visual_tokens * shape.patches_per_token
    if shape.crop_patches:
        patches = load.layout.n_crops * (shape.crop_patches + shape.class_tokens)
    tokens = load.layout.visual_tokens + load.text_tokens
    per_width, per_mlp = VISION_BYTES[sizes.family]
    vision = patches * (per_width * shape.vision_width + per_mlp * shape.vision_mlp_width)
    per_width, per_mlp = TEXT_BYTES
    # Masked attention keeps its mask in bf16, in every layer.
    text = tokens * (per_width * shape.text_width + per_mlp * shape.text_mlp_width + 2 * tokens)
    pixels = 4 * patches * shape.patch_values
    if setting.lora_rank:
        vision = 0
    factor = 1.0
    if setting.is_autocast or setting.dtype == "float32":
        factor = AUTOCAST_FACTOR if setting.is_autocast else FLOAT32_FACTOR
    if not setting.gradient_checkpointing:
        return pixels + round(factor * (shape.vision_layers * vision + shape.text_layers * text))
    number_bytes = 2 if factor == 1 else 4
    inputs = shape.text_layers * number_bytes * tokens * shape.text_width
    if vision:
        inputs += shape.vision_layers * number_bytes * patches * shape.vision_width
    return pixels + inputs + round(factor * max(vision, text))


def split(
    total: int, *, processes: int, peak_bytes: Callable[[int, int], int], free_bytes: int
) -> Split | None:
    """Return how a total batch is split, from predicted memory.

    As many processes as divide the batch, up to those there are; then the most images a pass
    that divide the rest and fit. Where that leaves none, fewer processes are tried.

    Args:
        total: Images of one optimiser step, on all processes.
        processes: GPUs there are.
        peak_bytes: Bytes on each GPU, from images of a pass and processes.
        free_bytes: Bytes that a GPU has.

    Returns:
        The split, whose factors' product is `total`; None if not even one image a pass fits.

    Raises:
        ValueError: If the batch or the number of processes is not positive.

    >>> split(128, processes=8, peak_bytes=lambda micro, _: 10 * micro, free_bytes=60)
    Split(micro_batch=4, accumulation=4, processes=8)
    """
    if total < 1 or processes < 1:
        raise ValueError(f"a total batch of {total} on {processes} processes; both are at least 1")
    for used in range(min(total, processes), 0, -1):
        if total % used:
            continue
        share = total // used
        for micro_batch in range(share, 0, -1):
            if share % micro_batch == 0 and peak_bytes(micro_batch, used) <= free_bytes:
                return Split(micro_batch, share // micro_batch, used)
    return None


def remedies(setting: Setting, *, processes: int) -> list[Setting]:
    """Return what may make a training fit that does not, the cheapest first."""
    again = replace(setting, gradient_checkpointing=True)
    strategies = ["zero-3"] if processes > 1 else []
    strategies += ["zero-2-offload"]
    strategies += ["zero-3-offload"] if processes > 1 else []
    tried = [again, *(replace(again, strategy=strategy) for strategy in strategies)]
    undivided = again.strategy.replace("zero-3", "zero-2")
    tried += [replace(again, strategy=undivided, lora_rank=setting.lora_rank or LORA_RANK)]
    if setting.lora_rank:
        tried = [each for each in tried if each.zero_stage != 3]
    return [each for each in dict.fromkeys(tried) if each != setting]
