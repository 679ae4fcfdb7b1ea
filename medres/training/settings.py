"""The settings of a training: every parameter with its meaning, its checks, and its digest."""

import dataclasses
import math
from dataclasses import dataclass, replace
from typing import Any

from transformers import PretrainedConfig

from medres import models, texts, trained_at
from medres.models import trainable
from medres.plan import memory
from medres.resolution import Treatment

ADAPTING = ("adapt_layers", "adapt_epochs")
"""Parameters that count only where a training goes on from another."""


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """All parameters of a training; a set of them that makes no sense cannot be built.

    What depends on the machine (GPUs, ports, other nodes) is checked by `strategy.check`.

    Raises:
        ValueError: If a value is impossible, with its name and what to give instead.
    """

    study: str
    """Folder of the study."""
    dataset: str
    """Stored question table; its train split is used."""
    model: str
    """Base model, as in `models.load`."""
    revision: str
    """Commit of a hub model; empty for other models."""
    train_resolution: str
    """As `trained_at` says: low, native, mixed, mixed-<percent>, any resolution that makes pixels,
    or <a>-then-<b> to train on from the study's training <a>."""
    seed: int
    """For the order of the images and the random assignment of the mixed resolution."""
    low_max_pixels: int
    """Budget of a low image, in pixels (width x height)."""
    native_max_pixels: int
    """Budget of a native image, in pixels (width x height)."""
    resampling_filter: str
    """Filter with which images are shrunk: nearest, bilinear, bicubic or lanczos."""
    tiling: str = "information"
    """For models that tile: information or compute, as in `models.TILINGS`."""
    low_share: float
    """Share of the questions that are trained at low resolution in mixed training, 0 to 1."""
    epochs: int
    """Passes over all training images."""
    adapt_layers: str = "all"
    """Of <a>-then-<b>, what is trained on: all, norms or last-<n>, as in `trainable.only`."""
    adapt_epochs: int = 1
    """Of <a>-then-<b>, passes over all training images."""
    batch_images: int
    """Images per optimiser step, with all their questions, on all processes together."""
    micro_batch_images: int = 0
    """Images per forward pass, counted in images of the largest size; the result is the same
    within rounding, with less memory and padding. 0: on a GPU the most that are predicted to
    fit, on a CPU as many as its cache suits (`micro_batches.CPU_TOKENS`)."""
    learning_rate: float
    """Peak learning rate, reached after the warm-up."""
    weight_decay: float
    """AdamW's, on all weights but norms and biases."""
    warmup_share: float
    """Share of the steps over which the learning rate rises, 0 to 1."""
    adam_beta1: float = 0.9
    """AdamW's decay of the mean gradient, from step to step."""
    adam_beta2: float = 0.98
    """AdamW's decay of the mean squared gradient. 0.98 averages over about 50 steps: trainings of
    the tiny models have hundreds."""
    dtype: str = "float32"
    """float32, or bfloat16 with weights and optimiser states kept in 32 bits as well."""
    lora_rank: int = 0
    """Rank of adapters on the language model, all other weights frozen. 0: no adapters."""
    train_vision: str = "all"
    """What of the image side is trained: all (vision tower and merger), merger (the merger alone)
    or none, as in `trainable.VISION`. With adapters nothing of it is, whether all or none."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""
    strategy: str = "single"
    """single, or a ZeRO stage of DeepSpeed, as in `memory.STRATEGIES`."""
    processes: int = 1
    """Processes of the training, one per GPU, on all nodes together."""
    hostfile: str = ""
    """DeepSpeed's list of nodes, relative to the project. Empty: all nodes of the Slurm job, or
    this machine."""
    port: int = 0
    """TCP port at which the processes meet. 0: any free one."""
    device: str = "auto"
    """auto (a GPU if there is one) or cpu."""
    threads: int
    """CPU threads; on a GPU also the number of processes that read images ahead."""
    cache_gib: float
    """Disk space for prepared pixels of the study, in GiB. 0: none are kept."""
    checkpoint_every_steps: int
    """Optimiser steps between checkpoints to resume from. 0: none are written."""
    keep_checkpoints: int = 2
    """Checkpoints to resume from that are kept, the newest ones; at least 2."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        for name, value, known in (
            ("strategy", self.strategy, memory.STRATEGIES),
            ("dtype", self.dtype, tuple(models.DTYPES)),
            ("device", self.device, ("auto", "cpu")),
        ):
            if value not in known:
                choice = f"{', '.join(known[:-1])} or {known[-1]}"
                raise ValueError(f"{name} is {value!r}; use {choice}")
        trained_at.check(self.train_resolution)
        if self.train_resolution == "none":
            raise ValueError("train_resolution is 'none', where nothing is trained; use another")
        trainable.check(self.adapt_layers)
        trained_at.check_adapters(self.train_resolution, self.lora_rank)
        trainable.check_vision(self.train_vision, lora_rank=self.lora_rank)
        for name, number, least in (
            ("epochs", self.epochs, 1),
            ("adapt_epochs", self.adapt_epochs, 1),
            ("batch_images", self.batch_images, 1),
            ("threads", self.threads, 1),
            ("processes", self.processes, 1),
            ("micro_batch_images", self.micro_batch_images, 0),
            ("checkpoint_every_steps", self.checkpoint_every_steps, 0),
            ("lora_rank", self.lora_rank, 0),
        ):
            if number < least:
                raise ValueError(f"{name} is {number}; it must be at least {least}")
        if self.keep_checkpoints < 2:
            raise ValueError(
                f"keep_checkpoints is {self.keep_checkpoints}; give at least 2: the newest may be "
                "incomplete if the training is killed while writing it"
            )
        for name, share in (("low_share", self.low_share), ("warmup_share", self.warmup_share)):
            if not 0 <= share <= 1:
                raise ValueError(f"{name} is {share}; it is a share between 0 and 1")
        for name, beta in (("adam_beta1", self.adam_beta1), ("adam_beta2", self.adam_beta2)):
            if not 0 <= beta < 1:
                raise ValueError(f"{name} is {beta}; it is at least 0 and less than 1")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate is {self.learning_rate}; it must be positive")
        # Without the model's own grid, which `treatment` checks.
        Treatment(self.low_max_pixels, self.native_max_pixels, self.resampling_filter, 1)

    @property
    def name(self) -> str:
        """Name of the training in messages."""
        return f"{self.dataset} {self.train_resolution} seed {self.seed}"

    @property
    def cell(self) -> str:
        """Path of the training's run below its stage."""
        model = texts.named(self.model).replace("/", "--")
        return f"{self.dataset}/{model}/{self.train_resolution}/seed{self.seed}"

    @property
    def earlier(self) -> str:
        """Train resolution of the study's training that this one goes on from; empty for none."""
        return trained_at.earlier(self.train_resolution)

    @property
    def earlier_cell(self) -> str:
        """Path of that training's run below its stage."""
        return replace(self, train_resolution=self.earlier).cell

    @property
    def n_epochs(self) -> int:
        """Passes over all training images, of this training."""
        return self.adapt_epochs if self.earlier else self.epochs

    @property
    def memory_setting(self) -> memory.Setting:
        """The part that decides how much memory the training takes."""
        return memory.Setting(
            strategy=self.strategy,
            dtype=self.dtype,
            gradient_checkpointing=self.gradient_checkpointing,
            lora_rank=self.lora_rank,
            train_vision=self.train_vision,
        )

    def treatment(self, config: PretrainedConfig) -> Treatment:
        """Return what low and native mean for a model.

        Args:
            config: Of the model, from `models.config_of`.

        Raises:
            ValueError: If a budget is less than one visual token, or the tiling is unknown or
                without effect for the model.
        """
        return models.treatment(
            config,
            low_max_pixels=self.low_max_pixels,
            native_max_pixels=self.native_max_pixels,
            resampling_filter=self.resampling_filter,
            tiling=self.tiling,
        )

    def as_parameters(self) -> dict[str, Any]:
        """Return every parameter by name, as JSON can hold it; the class takes it back."""
        return dataclasses.asdict(self)

    def recorded(self, *, does_tile: bool) -> dict[str, Any]:
        """Return the parameters for `runs.start`, which picks those of the digest.

        Parameters added later are left out at the value that changes nothing, so that the
        digests of earlier trainings stay what they were.

        Args:
            does_tile: Whether the model tiles, so that `tiling` has an effect.
        """
        without_effect: dict[str, Any] = {
            "dtype": "float32",
            "lora_rank": 0,
            "train_vision": self.train_vision if self.lora_rank else "all",
            "adam_beta1": 0.9,
            "adam_beta2": 0.98,
        }
        if not self.earlier:
            without_effect |= {name: getattr(self, name) for name in ADAPTING}
        if not does_tile:
            without_effect["tiling"] = self.tiling
        return {
            name: value
            for name, value in self.as_parameters().items()
            if name not in without_effect or without_effect[name] != value
        }
