"""Predicted cost of a study's trainings and evaluations: tokens, operations, memory, seconds.

Arithmetic only: needs no GPU, no weights, no Hub and no data.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from transformers import PretrainedConfig

from medres import models, resolution, trained_at
from medres.models import conversation, flops, offline, trainable
from medres.models.offline import Sizes
from medres.plan import contents, memory, seen
from medres.plan.contents import Described, Images, Side
from medres.plan.memory import Gpu, Load, Memory, Setting, Split
from medres.resolution import Geometry, Layout, Treatment
from medres.study import Cell, Study


@dataclass(frozen=True)
class Arm:
    """One model trained on one data set at one resolution, and its evaluation."""

    cell: Cell
    """The cell of the first seed."""
    mean_tokens: float
    """Visual tokens per training image; per native test image if nothing is trained."""
    max_tokens: int
    eval_flops: int
    """Operations of all eval resolutions and seeds together."""
    epochs: int = 0
    """Zero if nothing is trained."""
    train_flops: int = 0
    """Operations of all seeds together; an image's questions share one pass, as medres trains,
    where the model allows it."""
    repeated_flops: tuple[int, int] = (0, 0)
    """What gradient checkpointing would add: without attention, and attention."""
    unshared_flops: int = 0
    """The same if every question has a pass with its image, as in other trainers."""
    base: Memory | None = None
    """Memory with one image per pass; None if nothing is trained."""
    with_checkpointing: Memory | None = None
    """The same with gradient checkpointing."""
    requested: Memory | None = None
    """Memory with the study's own setting and number of images per pass."""
    processes: int = 1
    """GPUs that share a training."""
    requested_setting: Setting | None = None
    """The study's own setting."""
    setting: Setting | None = None
    """The first setting that fits; None if none does, or nothing is trained."""
    split: Split | None = None
    """The largest micro-batch that fits with that setting."""

    def seconds(self, gpu: Gpu, utilisation: float) -> tuple[float, float]:
        """Return the GPU seconds of training and of evaluation.

        Gradient checkpointing computes forward passes once more, without attention where that is
        kept.
        """
        again = 0
        if self.setting and self.setting.gradient_checkpointing:
            weights, attention = self.repeated_flops
            again = weights if self.setting.keeps_attention else weights + attention
        per_s = gpu.flops_per_s * utilisation
        return (self.train_flops + again) / per_s, self.eval_flops / per_s


@dataclass(frozen=True)
class _Costed:
    """A model, with all that is needed to count tokens and operations on a data set."""

    config: Any
    sizes: Sizes
    treatment: Treatment
    characters_per_token: float

    def layout(self, geometry: Geometry) -> Layout:
        assert geometry.layout is not None  # planned for a model
        return geometry.layout

    def forward_flops(
        self, side: Side, geometry: Geometry, n_questions: float, *, pass_tokens: int = 0
    ) -> int:
        """Return the operations of one image's questions, which share the image."""
        tokens = self._tokens(side, geometry, n_questions)
        return flops.forward_flops(self.sizes.shape, **tokens, pass_tokens=pass_tokens)

    def training_flops(
        self, side: Side, geometry: Geometry, n_questions: float, **of_training: Any
    ) -> int:
        """Return the same for a training step."""
        return flops.training_flops(
            self.sizes.shape,
            **self._tokens(side, geometry, n_questions),
            **of_training,
        )

    def repeated_flops(
        self, side: Side, geometry: Geometry, n_questions: float, *, train_vision: str
    ) -> tuple[int, int]:
        """Return what gradient checkpointing computes again: without attention, and attention."""
        tokens = self._tokens(side, geometry, n_questions)
        del tokens["logit_tokens"]  # never computed again
        return flops.repeated_flops(self.sizes.shape, **tokens, train_vision=train_vision)

    def _tokens(self, side: Side, geometry: Geometry, n_questions: float) -> dict[str, Any]:
        layout = self.layout(geometry)
        return {
            **flops.of_image(geometry),
            "text_tokens": layout.mark_tokens
            + side.text_tokens(n_questions, self.characters_per_token)
            + round(len(geometry.words) / self.characters_per_token),
            # Logits are computed where a reply is predicted.
            "logit_tokens": round(side.reply_tokens(self.characters_per_token) * n_questions),
        }


def describe(study: Study) -> dict[str, Described]:
    """Return what each data set of a study holds, prepared or not.

    Raises:
        ValueError: If nothing is known about one, saying what to do.
    """
    return {
        dataset: contents.describe(study.name, dataset, parameters)
        for dataset, parameters in study.datasets.items()
    }


def arms(
    study: Study,
    holds: Mapping[str, Described],
    *,
    gpu: Gpu,
    changes: Mapping[str, Any] | None = None,
) -> list[Arm]:
    """Return what each arm of a study costs, all seeds together, the costly ones first.

    Args:
        study: Read and checked.
        holds: What its data sets hold, from `describe`.
        gpu: GPU that it is to run on.
        changes: Parameters of its trainings to change, such as processes.

    Raises:
        ValueError: If a model is unknown or lacks a resolution, a data set is empty, or processes
            cannot share a training, saying what to do.
    """
    configs = {model: offline.config_of(model) for model in study.models}
    seen.check(study)
    sizes = {model: offline.sizes_of(config) for model, config in configs.items()}
    cells: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in study.cells("evaluate"):
        cells.setdefault((cell.dataset, cell.model, cell.train_resolution), []).append(cell)
    planned = []
    for (dataset, model, train_resolution), same in cells.items():
        settings = study.settings(same[0])
        costed = _Costed(
            configs[model],
            sizes[model],
            offline.treatment_of(model, settings | dict(changes or {})),
            offline.characters_per_token(model, holds[dataset].train.texts),
        )
        arm = _evaluated(costed, holds[dataset], same, settings)
        if train_resolution != "none":
            training = study.settings(replace(same[0], stage="finetune")) | dict(changes or {})
            arm, load = _trained(arm, costed, holds[dataset].train, training, n_seeds=len(same))
            arm = _fitted(arm, costed.sizes, load, training, gpu)
        planned.append(arm)
    return planned


def of_answers(
    model: str, config: PretrainedConfig, side: Side, treatment: Treatment
) -> Callable[[Geometry, float], float]:
    """Return what counts the operations of an image and so many questions about it, asked once.

    Args:
        model: As in `offline.config_of`; its tokenizer counts the texts where it is at hand.
        config: Of the model.
        side: The questions.
        treatment: Of the model.
    """
    per_token = offline.characters_per_token(model, side.texts)
    costed = _Costed(config, offline.sizes_of(config), treatment, per_token)
    return partial(costed.forward_flops, side, pass_tokens=conversation.MAX_PASS_TOKENS)


def _evaluated(
    costed: _Costed, holds: Described, cells: Sequence[Cell], settings: dict[str, Any]
) -> Arm:
    """Return an arm with the cost of its evaluation, and the tokens of native test images."""
    native = _views(holds.test, {"native": 1.0}, costed.treatment)
    if not native:
        raise ValueError(f"data set {cells[0].dataset!r} has no test questions")
    # Mixed answers are assembled from the low and the native ones.
    of = partial(costed.forward_flops, holds.test, pass_tokens=conversation.MAX_PASS_TOKENS)
    flops = sum(
        images.n_images * of(geometry, images.questions_each)
        for name in settings["eval_resolutions"]
        if name != "mixed"
        for images, geometry in _views(holds.test, {name: 1.0}, costed.treatment)
    )
    return Arm(cells[0], *_tokens(native), eval_flops=round(flops) * len(cells))


def _trained(
    arm: Arm, costed: _Costed, side: Side, settings: dict[str, Any], *, n_seeds: int
) -> tuple[Arm, Load]:
    """Return the arm with the cost of its training, and the image that determines its memory."""
    trained = arm.cell.train_resolution
    shares = trained_at.shares(trained, low_share=settings["low_share"])
    epochs = settings["adapt_epochs" if trained_at.earlier(trained) else "epochs"]
    seen = _views(side, shares, costed.treatment)
    if not seen:
        raise ValueError(
            f"data set {arm.cell.dataset!r} has no train questions; use train resolution none"
        )
    lora_rank = settings["lora_rank"]
    trainable.check_vision(settings["train_vision"], lora_rank=lora_rank)
    train_vision = trainable.vision_planned(
        settings["train_vision"],
        lora_rank=lora_rank,
        adapt_layers=settings["adapt_layers"] if trained_at.earlier(trained) else "all",
    )
    of = partial(costed.training_flops, side, train_vision=train_vision, is_adapted=lora_rank > 0)
    unshared = sum(
        images.n_images * images.questions_each * of(geometry, 1.0) for images, geometry in seen
    )
    is_flat = models.family_of(costed.config).sharing_of(costed.config) == "cache"
    shared = unshared
    if not is_flat:
        shared = sum(
            images.n_images * of(geometry, images.questions_each) for images, geometry in seen
        )
    again = np.array(
        [
            [
                images.n_images * (images.questions_each if is_flat else 1) * each
                for each in costed.repeated_flops(
                    side,
                    geometry,
                    1.0 if is_flat else images.questions_each,
                    train_vision=train_vision,
                )
            ]
            for images, geometry in seen
        ]
    )
    mean_tokens, max_tokens = _tokens(seen)
    passes = epochs * n_seeds
    images, geometry = max(
        seen, key=lambda pair: costed.forward_flops(side, pair[1], pair[0].questions_each)
    )
    load = side.load(
        costed.layout(geometry),
        images.questions_each,
        costed.characters_per_token,
        is_flat=is_flat,
    )
    arm = replace(
        arm,
        mean_tokens=mean_tokens,
        max_tokens=max_tokens,
        epochs=epochs,
        train_flops=round(passes * shared),
        repeated_flops=tuple(round(each) for each in passes * again.sum(axis=0)),
        unshared_flops=round(passes * unshared),
    )
    return arm, load


def _views(
    side: Side, shares: Mapping[str, float], treatment: Treatment
) -> list[tuple[Images, Geometry]]:
    """Return the images of a split at each resolution, by the share of images that it has."""
    return [
        (
            replace(images, n_images=images.n_images * share),
            resolution.plan(images.size_px, name, treatment, mpp_um=images.mpp_um),
        )
        for images in side.images
        for name, share in shares.items()
        if share
    ]


def _tokens(seen: Sequence[tuple[Images, Geometry]]) -> tuple[float, int]:
    """Return the mean and the largest number of visual tokens per image."""
    tokens = [geometry.visual_tokens for _, geometry in seen]
    return float(np.average(tokens, weights=[images.n_images for images, _ in seen])), max(tokens)


def _fitted(arm: Arm, sizes: Sizes, load: Load, settings: dict[str, Any], gpu: Gpu) -> Arm:
    """Return the arm with its memory, and the first setting and largest split that fit."""
    total, processes = settings["batch_images"], settings["processes"]
    strategy, requested = settings["strategy"], memory.setting_of(settings)
    if strategy not in memory.STRATEGIES:
        raise ValueError(f"strategy is {strategy!r}; use {', '.join(memory.STRATEGIES)}")
    if strategy == "single" and processes > 1:
        raise ValueError(
            f"strategy is single, with {processes} processes; to share a training among GPUs, use "
            "zero-2 or another of DeepSpeed's strategies"
        )
    each = math.ceil(total / processes)

    def predict(setting: Setting, micro_batch: int, processes: int) -> Memory:
        return memory.predict(
            sizes, load, setting=setting, micro_batch=micro_batch, processes=processes
        )

    arm = replace(
        arm,
        processes=processes,
        requested_setting=requested,
        base=predict(replace(requested, gradient_checkpointing=False), 1, processes),
        with_checkpointing=predict(replace(requested, gradient_checkpointing=True), 1, processes),
        requested=predict(requested, min(settings["micro_batch_images"] or 1, each), processes),
    )
    for setting in [requested, *memory.remedies(requested, processes=processes)]:

        def peak_bytes(micro_batch: int, used: int, setting: Setting = setting) -> int:
            return predict(setting, micro_batch, used).peak

        found = memory.split(
            total, processes=processes, peak_bytes=peak_bytes, free_bytes=gpu.memory_bytes
        )
        if found and setting == requested and not settings["micro_batch_images"]:
            # Zero means as many as fit.
            arm = replace(arm, requested=predict(requested, found.micro_batch, found.processes))
        if found:
            return replace(arm, setting=setting, split=found)
    return arm
