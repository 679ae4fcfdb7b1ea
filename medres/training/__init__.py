"""Fine-tuning: transformers' Trainer over images and all their questions.

One sample is one image with its training questions, at the resolution its arm gives it. The
order of all epochs is drawn once, by seed, and walked from start to end, so that a killed
training goes on with the very sample it had reached.
"""

import math
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medres import datasets, models, resolution, runs
from medres.datasets import pixel_cache
from medres.models import lora
from medres.resolution import Treatment
from medres.training import launch, what_fits
from medres.training import strategy as strategies
from medres.training.progress import Progress
from medres.training.samples import Samples, assign
from medres.training.trainer import keep, last_checkpoint, trainer_of

OF_TRAINER = (
    "batch_images micro_batch_images learning_rate weight_decay warmup_share "
    "checkpoint_every_steps seed dtype gradient_checkpointing strategy device keep_checkpoints "
    "threads"
).split()
"""Parameters of `finetune` that `trainer_of` takes."""


def finetune(
    *,
    study: str,
    dataset: str,
    model: str,
    revision: str,
    train_resolution: str,
    seed: int,
    low_max_pixels: int,
    native_max_pixels: int,
    resampling_filter: str,
    low_share: float,
    epochs: int,
    batch_images: int,
    learning_rate: float,
    weight_decay: float,
    warmup_share: float,
    checkpoint_every_steps: int,
    threads: int,
    cache_gib: float,
    micro_batch_images: int = 0,
    tiling: str = "information",
    dtype: str = "float32",
    lora_rank: int = 0,
    gradient_checkpointing: bool = False,
    strategy: str = "single",
    processes: int = 1,
    hostfile: str = "",
    port: int = 0,
    device: str = "auto",
    keep_checkpoints: int = 2,
) -> runs.Run:
    """Train a model on one data set at one resolution, or reuse the run.

    The loss is the mean over the answer tokens of a batch, the end of the turn included,
    whatever the micro-batches it is split into.
    AdamW (second beta 0.98), linear warm-up, cosine decay to zero, gradients clipped at norm 1.

    Args:
        study: Folder of the study.
        dataset: Stored question table; its train split is used.
        model: Base model, as in `models.load`.
        revision: Commit of a hub model.
        train_resolution: low, native or mixed.
        seed: For the order of the images and the draw of the mixed resolution.
        low_max_pixels: Budget of a low image, in pixels.
        native_max_pixels: Budget of a native image, in pixels.
        resampling_filter: Filter of every shrinking.
        low_share: Share of questions that are low in the mixed arm.
        epochs: Times each image is seen.
        batch_images: Images of one optimiser step, with all their questions.
        learning_rate: Peak.
        weight_decay: On all weights but norms and biases.
        warmup_share: Share of the steps that warm up.
        checkpoint_every_steps: Steps between checkpoints to resume from; zero writes none.
        threads: CPU threads; on a GPU as many processes as well, which read images ahead.
        cache_gib: Disk space of the study's prepared pixels, in GiB; zero keeps none.
        micro_batch_images: Of the largest images those of one forward pass, for less memory and
            padding at the same result within float error; zero takes what fits by prediction on
            a GPU, the whole batch at once on a CPU.
        tiling: For models that tile: information or compute, as in `models.TILINGS`.
        dtype: float32, or bfloat16 with weights and optimiser states in 32 bits beside it.
        lora_rank: Of adapters on the language model, all else frozen; zero trains all weights.
        gradient_checkpointing: Compute layers again in the backward pass, for less memory.
        strategy: single, or DeepSpeed's, as in `memory.STRATEGIES`.
        processes: Of the training, one a GPU, on all nodes together.
        hostfile: DeepSpeed's list of nodes, relative to the project; empty for this machine.
        port: For processes to meet at; zero takes a free one.
        device: auto takes a GPU where there is one; cpu does not.
        keep_checkpoints: Checkpoints to resume from that are kept, at least 2.

    Returns:
        The finished run: checkpoint/ (a model folder), loss.csv and resolutions.csv.

    Raises:
        ValueError: If an argument is impossible, or the loss is not finite.
        FileNotFoundError: If the data set is not prepared.
        MemoryError: If a GPU's memory ran out.
        RuntimeError: If a process of the training died.
    """
    parameters = dict(locals())
    if train_resolution not in ("low", "native", "mixed"):
        raise ValueError(f"train_resolution is {train_resolution!r}; use low, native or mixed")
    if keep_checkpoints < 2:
        raise ValueError(
            f"keep_checkpoints is {keep_checkpoints}; give at least 2: the last one may be cut "
            "off while it is written"
        )
    for name in ("epochs", "batch_images", "threads"):
        if parameters[name] < 1:
            raise ValueError(f"{name} is {parameters[name]}; it must be at least 1")
    for name in ("micro_batch_images", "checkpoint_every_steps", "lora_rank"):
        if parameters[name] < 0:
            raise ValueError(f"{name} is {parameters[name]}; it must be at least 0")
    for name in ("low_share", "warmup_share"):
        if not 0 <= parameters[name] <= 1:
            raise ValueError(f"{name} is {parameters[name]}; it is a share between 0 and 1")
    if not 0 < learning_rate < math.inf:
        raise ValueError(f"learning_rate is {learning_rate}; it must be positive")
    strategies.check(
        strategy=strategy,
        processes=processes,
        hostfile=hostfile,
        port=port,
        dtype=dtype,
        device=device,
        lora_rank=lora_rank,
    )
    # Before a run is begun, since that would put an older one aside.
    Treatment(low_max_pixels, native_max_pixels, resampling_filter, multiple_px=1)
    config = models.config_of(model, revision=revision)
    models.treatment(config, **{name: parameters[name] for name in models.TREATMENT})
    pixel_cache.of_study(study, gib=cache_gib)
    question_set = datasets.load(study, dataset)
    train = question_set.split("train")
    if train.empty:
        raise ValueError(
            f"data set {dataset!r} has no train question; evaluate it untrained "
            "(`train_resolutions: [none]`), or draw a split with `split: grouped`"
        )
    inputs = {
        "questions": question_set.fingerprint,
        "base_weights": models.fingerprint(model, revision=revision),
        "resampler": resolution.resampler(),
    }
    if dtype == "bfloat16":
        # Not the same numbers: weights in 32 bits cast at each use, or in 16 beside 32.
        inputs["arithmetic"] = "autocast" if strategy == "single" else "weights in 16 bits"
    run = runs.start(
        study,
        "finetune",
        f"{dataset}/{model.replace('/', '--')}/{train_resolution}/seed{seed}",
        parameters=_deciding(parameters, does_tile=models.tiles(config)),
        inputs=inputs,
    )
    if run.is_done:
        return run
    is_low = assign(train, train_resolution, low_share=low_share, seed=seed)
    with runs.replacing(run.folder / "resolutions.csv") as part:
        train.assign(resolution=np.where(is_low, "low", "native"))[
            ["question_id", "image", "modality", "resolution"]
        ].to_csv(part, index=False)
    make = train_here if strategy == "single" else launch.launch
    outcome = make(run.folder, parameters)
    run.finish(files=["checkpoint", "loss.csv", "resolutions.csv"], **outcome)
    shutil.rmtree(run.folder / "resume", ignore_errors=True)
    return run


def _deciding(parameters: dict[str, Any], *, does_tile: bool) -> dict[str, Any]:
    """Return the parameters without those that say nothing here, so that no digest has them."""
    silent = {"dtype": "float32", "lora_rank": 0}
    if not does_tile:
        silent["tiling"] = parameters["tiling"]
    return {
        name: value
        for name, value in parameters.items()
        if name not in silent or silent[name] != value
    }


def train_here(
    folder: Path, parameters: dict[str, Any], *, launcher: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Train in this process, alone or as one of several; return what was measured.

    The first process writes checkpoint/ and loss.csv.

    Args:
        folder: The run's, with what an earlier process that was stopped left in it.
        parameters: Of `finetune`, checked.
        launcher: Host and process id of what started this, if it was started for the training.

    Raises:
        ValueError: If the input cannot be trained on, or the loss is not finite.
        MemoryError: If a GPU's memory runs out.
    """
    began = time.monotonic()
    torch.set_num_threads(parameters["threads"])
    samples = _samples(parameters)
    free = what_fits.free_bytes() if strategies.has_gpu(parameters["device"]) else None
    if free is not None:
        chosen = what_fits.micro_batch_images(samples, parameters, free=free)
        parameters = parameters | {"micro_batch_images": chosen}
    trainer = trainer_of(
        samples, folder / "resume", **{name: parameters[name] for name in OF_TRAINER}
    )
    layout = {"strategy": parameters["strategy"], "n_processes": strategies.n_processes()}
    checkpoint, earlier_s = last_checkpoint(folder / "resume", layout=layout)
    tokens, flops = samples.lengths(), samples.training_flops()
    steps = np.arange(0, len(samples), parameters["batch_images"])
    progress = Progress(
        f"{parameters['dataset']} {parameters['train_resolution']} seed {parameters['seed']}",
        folder,
        tokens=np.add.reduceat(tokens, steps),
        flops=np.add.reduceat(flops, steps),
        layout=layout,
        launcher=launcher,
        earlier_s=earlier_s,
    )
    trainer.add_callback(progress)
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except torch.OutOfMemoryError as error:
        raise MemoryError(
            f"{parameters['dataset']} {parameters['train_resolution']} ran out of GPU memory: "
            f"{what_fits.short_of_memory(samples, parameters, free=free or 0)}"
        ) from error
    return keep(trainer, folder) | {
        "n_train_questions": sum(len(ids) for ids in samples.question_ids),
        "n_train_images": len(samples.images),
        "n_low_questions": samples.n_low_questions,
        "n_images_seen": len(samples),
        "mean_visual_tokens": samples.mean_visual_tokens(),
        "training_flops": int(flops.sum()),
        "n_tokens": int(tokens.sum()),
        "n_processes": strategies.n_processes(),
        "micro_batch_images": parameters["micro_batch_images"],
        "strategy": parameters["strategy"],
        "gradient_checkpointing": parameters["gradient_checkpointing"],
        "device": torch.cuda.get_device_name() if free is not None else "cpu",
        "resumed_at_step": int(checkpoint.name.split("-")[1]) if checkpoint else 0,
        "seconds": round(earlier_s + time.monotonic() - began, 1),
    }


def _samples(parameters: dict[str, Any]) -> Samples:
    """Return what is trained on, with the model to train."""
    question_set = datasets.load(parameters["study"], parameters["dataset"])
    train = question_set.split("train")
    loaded = models.load(
        parameters["model"], revision=parameters["revision"], tiling=parameters["tiling"]
    )
    if parameters["lora_rank"]:
        loaded = lora.adapt(loaded, rank=parameters["lora_rank"], seed=parameters["seed"])
    share, seed = parameters["low_share"], parameters["seed"]
    return Samples(
        loaded,
        question_set,
        train,
        assign(train, parameters["train_resolution"], low_share=share, seed=seed),
        models.treatment(loaded.config, **{name: parameters[name] for name in models.TREATMENT}),
        epochs=parameters["epochs"],
        seed=seed,
        cache=pixel_cache.of_study(parameters["study"], gib=parameters["cache_gib"]),
    )
