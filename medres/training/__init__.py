"""Fine-tuning: transformers' Trainer over images and all their questions.

One sample is one image with its training questions, at the resolution that its arm assigns to
it. The order of all epochs is drawn once, from the seed, and followed from start to end, so that
a killed training resumes with the sample it had reached.
"""

import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PretrainedConfig

from medres import csv_files, datasets, inference, models, resolution, runs, trained_at
from medres.datasets import pixel_cache
from medres.datasets.pixel_cache import HELD_BYTES
from medres.models import lora, trainable
from medres.resolution import Treatment
from medres.training import checkpoints, launch, micro_batches, what_fits
from medres.training import strategy as strategies
from medres.training.progress import Progress
from medres.training.samples import Samples, assign
from medres.training.settings import TrainingSettings
from medres.training.trainer import keep, trainer_of

__all__ = ["TrainingSettings", "finetune", "train_here"]


def finetune(**parameters: Any) -> runs.Run:
    """Train a model on one data set at one resolution, or reuse the finished run.

    The loss is the mean over the answer tokens of a batch, end-of-turn tokens included, however
    the batch is split into micro-batches. AdamW, linear warm-up, cosine decay
    to zero, gradients clipped at norm 1.

    Args:
        parameters: The fields of `TrainingSettings`, where each is explained.

    Returns:
        The finished run: checkpoint/ (a model folder), loss.csv and resolutions.csv.

    Raises:
        TypeError: If a parameter is missing or unknown, with its name.
        ValueError: If a parameter is impossible, or the loss is not finite.
        FileNotFoundError: If the data set is not prepared.
        MemoryError: If a GPU runs out of memory.
        RuntimeError: If a process of the training dies.
    """
    settings = TrainingSettings(**parameters)
    strategies.check(settings)
    # Before a run is started, since that would move an older one aside.
    config = models.config_of(settings.model, revision=settings.revision)
    treatment = settings.treatment(config)
    _refuse(settings, config, treatment)
    pixel_cache.of_study(settings.study, gib=settings.cache_gib)
    question_set = datasets.load(settings.study, settings.dataset)
    train = question_set.split("train")
    if train.empty:
        raise ValueError(
            f"data set {settings.dataset!r} has no training questions; evaluate it untrained "
            "(`train_resolutions: [none]`), or split it with `split: grouped`"
        )
    _, base = _base(settings)
    inputs = {
        "questions": question_set.fingerprint,
        **base,
        "resampler": resolution.resampler(),
    }
    if settings.dtype == "bfloat16":
        # Different numbers: weights in 32 bits cast at each use, or in 16 bits beside 32.
        is_cast = settings.strategy == "single"
        inputs["arithmetic"] = "autocast" if is_cast else "weights in 16 bits"
    run = runs.start(
        settings.study,
        "finetune",
        settings.cell,
        parameters=settings.recorded(does_tile=models.tiles(config)),
        inputs=inputs,
    )
    if run.is_done:
        _remove_checkpoints(run)  # of a process that was killed when all else was done
        return run
    drawn = train.assign(
        resolution=assign(
            train, settings.train_resolution, low_share=settings.low_share, seed=settings.seed
        )
    )
    with runs.replacing(run.folder / "resolutions.csv") as part:
        csv_files.write(drawn[["question_id", "image", "modality", "resolution"]], part)
    make = train_here if settings.strategy == "single" else launch.launch
    outcome = make(run.folder, settings)
    run.finish(files=["checkpoint", "loss.csv", "resolutions.csv"], **outcome)
    _remove_checkpoints(run)
    return run


def _remove_checkpoints(run: runs.Run) -> None:
    shutil.rmtree(run.folder / "resume", ignore_errors=True)


def train_here(
    folder: Path, settings: TrainingSettings, *, launcher: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Train in this process, alone or as one of several; return what was measured.

    The first process writes checkpoint/ and loss.csv.

    Args:
        folder: Folder of the run, with what an interrupted process left in it.
        settings: Of the training.
        launcher: Host and process id of the launcher, if there is one.

    Raises:
        ValueError: If the input cannot be trained on, or the loss is not finite.
        MemoryError: If a GPU runs out of memory.
    """
    began = time.monotonic()
    torch.set_num_threads(settings.threads)
    samples = _samples(settings)
    free = what_fits.free_bytes() if strategies.has_gpu(settings.device) else None
    if free is not None:
        chosen = what_fits.micro_batch_images(samples, settings, free=free)
        settings = replace(settings, micro_batch_images=chosen)
    elif not settings.micro_batch_images:
        chosen = micro_batches.images_on_a_cpu(
            samples.lengths(), batch_images=settings.batch_images
        )
        settings = replace(settings, micro_batch_images=chosen)
    trainer = trainer_of(samples, folder / "resume", settings)
    layout = {"strategy": settings.strategy, "n_processes": strategies.n_processes()}
    checkpoint, earlier_s = checkpoints.last(folder / "resume", layout=layout)
    tokens, flops = samples.lengths(), samples.training_flops()
    chance_loss = samples.chance_loss()
    steps = np.arange(0, len(samples), settings.batch_images)
    progress = Progress(
        settings.name,
        folder,
        tokens=np.add.reduceat(tokens, steps),
        flops=np.add.reduceat(flops, steps),
        layout=layout,
        chance_loss=chance_loss,
        goes_on=bool(settings.earlier),
        launcher=launcher,
        earlier_s=earlier_s,
    )
    trainer.add_callback(progress)
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except torch.OutOfMemoryError as error:
        raise MemoryError(
            f"{settings.name} ran out of GPU memory: "
            f"{what_fits.short_of_memory(samples, settings, free=free or 0)}"
        ) from error
    return keep(trainer, folder) | {
        "n_train_questions": sum(len(ids) for ids in samples.question_ids),
        "n_train_images": len(samples.images),
        "n_low_questions": samples.n_low_questions,
        "n_images_seen": len(samples),
        "mean_visual_tokens": samples.mean_visual_tokens(),
        "training_flops": int(flops.sum()),
        "n_tokens": int(tokens.sum()),
        "chance_loss": chance_loss,
        "n_processes": strategies.n_processes(),
        "micro_batch_images": settings.micro_batch_images,
        "strategy": settings.strategy,
        "gradient_checkpointing": settings.gradient_checkpointing,
        "device": torch.cuda.get_device_name() if free is not None else "cpu",
        "resumed_at_step": int(checkpoint.name.split("-")[1]) if checkpoint else 0,
        "seconds": round(earlier_s + time.monotonic() - began, 1),
    }


def _refuse(settings: TrainingSettings, config: PretrainedConfig, treatment: Treatment) -> None:
    """Refuse a training at a resolution, or on layers, that the model does not have.

    Raises:
        ValueError: With the parameter and what to use.
    """
    names = trained_at.taken([settings.train_resolution])
    try:
        resolution.check(names, treatment)
    except ValueError as error:
        raise ValueError(f"train_resolution is {settings.train_resolution!r}: {error}") from None
    if settings.earlier:
        n_layers = config.get_text_config().num_hidden_layers
        trainable.check(settings.adapt_layers, n_layers=n_layers)


def _base(settings: TrainingSettings) -> tuple[str, dict[str, str]]:
    """Return where the weights are that a training begins with, and the hashes that identify them.

    Raises:
        FileNotFoundError: If they are those of a training that is not there yet.
        ValueError: If a file of it is damaged.
    """
    if not settings.earlier:
        weights = models.fingerprint(settings.model, revision=settings.revision)
        return settings.model, {"base_weights": weights}
    where = {"model": settings.model, "revision": settings.revision}
    place, found = inference.checkpoint(settings.study, settings.earlier_cell, **where)
    return place, {"base_weights": found["weights"], "finetune": found["finetune"]}


def _samples(settings: TrainingSettings) -> Samples:
    """Return the training samples, with the model to train."""
    question_set = datasets.load(settings.study, settings.dataset)
    train = question_set.split("train")
    place, _ = _base(settings)
    loaded = models.load(place, revision=settings.revision, tiling=settings.tiling)
    if settings.earlier:
        trainable.only(loaded.network, settings.adapt_layers)
    trainable.freeze_vision(loaded.network, settings.train_vision)
    if settings.lora_rank:
        loaded = lora.adapt(loaded, rank=settings.lora_rank, seed=settings.seed)
    return Samples(
        loaded,
        question_set,
        train,
        assign(train, settings.train_resolution, low_share=settings.low_share, seed=settings.seed),
        settings.treatment(loaded.config),
        epochs=settings.n_epochs,
        seed=settings.seed,
        cache=pixel_cache.of_study(settings.study, gib=settings.cache_gib),
        # For a GPU several processes read ahead, each of which would hold its own.
        held_bytes=0
        if strategies.has_gpu(settings.device) or settings.n_epochs == 1
        else HELD_BYTES // strategies.n_processes(),
    )
