"""One row of `benchmarks.training_at_size`: a network, pictures, a training, what it measured."""

import contextlib
import copy
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import transformers
from PIL import Image
from transformers import Trainer, TrainerCallback, TrainingArguments

from benchmarks import levers
from benchmarks import training as small
from benchmarks.images import draw
from benchmarks.levers import Row
from medres import datasets, models, runs
from medres.models import LoadedModel, offline, vision_tower
from medres.resolution import Treatment
from medres.training import progress, what_fits
from medres.training import strategy as strategies
from medres.training import trainer as answer_trainer
from medres.training.samples import Samples
from medres.training.settings import TrainingSettings

BUDGET_PX = 12_000_000
READERS = 8
"""Processes that read images ahead, on both sides."""
TOKENS = "image_token_id video_token_id vision_start_token_id vision_end_token_id".split()


def build(place: str, hub_id: str, *, device: str, as_is: bool = False) -> LoadedModel:
    """Return a network of a hub model's sizes with random weights, and tiny-qwen2-vl's words.

    Args:
        place: Folder of tiny-qwen2-vl.
        hub_id: Of the model whose config the package has, or `tiny`.
        device: On which the network is made.
        as_is: Whether the network computes as transformers has it.
    """
    model = models.load(place)
    network_class = transformers.Qwen2VLForConditionalGeneration
    if hub_id == "tiny":
        network = network_class.from_pretrained(place, dtype=torch.float32, trust_remote_code=False)
        return replace(model, network=network) if as_is else model
    config = copy.deepcopy(offline.config_of(hub_id))
    for name in TOKENS:
        setattr(config, name, getattr(model.config, name))
    torch.manual_seed(0)
    with torch.device(device):
        network = network_class(config)
    if not as_is:
        vision_tower.use(network)
    return replace(
        model,
        network=network,
        config=config,
        max_length=config.text_config.max_position_embeddings,
    )


def prepare(
    folder: Path, size_px: tuple[int, int], *, n_images: int, questions: int = 1
) -> datasets.QuestionSet:
    """Store pictures of a size with some questions each as a prepared data set."""
    pictures = folder / "drawn"
    pictures.mkdir(parents=True)
    rows = []
    drawn = np.asarray(draw(size_px, seed=0))
    for index in range(n_images + 1):
        # Moved by a few pixels: drawing each anew would take longer than training on it.
        moved = Image.fromarray(np.roll(drawn, 8 * index, axis=1))
        moved.save(pictures / f"{index}.png", compress_level=1)
        rows += [
            {
                "image": f"{index}.png",
                "question": f"is there a nodule in part {number} of the lung?",
                "answer": "yes",
                "options": "yes|no",
                "modality": "microscopy",
                "split": "train" if index < n_images else "test",
            }
            for number in range(questions)
        ]
    pd.DataFrame(rows).to_csv(pictures / "questions.csv", index=False)
    datasets.prepare("benchmark", "drawn", {"table": "drawn/questions.csv"})
    return datasets.load("benchmark", "drawn")


class _Steps(TrainerCallback):  # type: ignore[misc]
    """Times the steps after the first."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        if state.global_step == 1:
            self.began = now
        self.seconds = now - self.began


def settings_of(row: Row, *, batch: int, micro: int, dtype: str) -> TrainingSettings:
    """Return the settings of a training."""
    return replace(
        small.SETTINGS,
        batch_images=batch,
        micro_batch_images=micro,
        learning_rate=1e-5,
        weight_decay=0.1,
        checkpoint_every_steps=0,
        dtype=dtype,
        gradient_checkpointing=row.checkpointing != "none",
        threads=READERS,
    )


def theirs(flat: Any, folder: Path, *, batch: int, dtype: str) -> Trainer:
    """Return the padded Trainer over flat conversations."""
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=len(flat) // batch,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=batch,
        learning_rate=1e-5,
        weight_decay=0.1,
        lr_scheduler_type="cosine",
        adam_beta2=small.SETTINGS.adam_beta2,
        optim="adamw_torch",
        bf16=dtype == "bfloat16",
        save_strategy="no",
        logging_steps=1,
        use_cpu=not strategies.has_gpu("auto"),
        remove_unused_columns=False,
        dataloader_num_workers=READERS if strategies.has_gpu("auto") else 0,
        dataloader_pin_memory=strategies.has_gpu("auto"),
        disable_tqdm=True,
        report_to=[],
    )
    network = flat.samples.model.network
    trainer = small._InOrder(network, arguments, train_dataset=flat, data_collator=flat.collate)
    trainer.remove_callback(answer_trainer._printer(trainer))
    return trainer


class _BranchedTrainer(answer_trainer.AnswerTrainer):
    """Gives the network only those rows of a tree's mask that are not causal."""

    def compute_loss(self, model: Any, inputs: dict[str, Any], *rest: Any, **named: Any) -> Any:
        if "attention_mask" in inputs:
            inputs["attention_mask"] = levers.without_shared_rows(inputs["attention_mask"])
        return super().compute_loss(model, inputs, *rest, **named)


def trainer_of(row: Row, samples: Samples, flat: Any, settings: TrainingSettings) -> Trainer:
    """Return the Trainer of a row's side."""
    folder = runs.ROOT / "trained"
    if row.side == "Trainer":
        return theirs(flat, folder, batch=settings.batch_images, dtype=settings.dtype)
    trainer = answer_trainer.trainer_of(samples, folder, settings)
    if row.is_branched:
        trainer.__class__ = _BranchedTrainer
    return trainer


def measure(trainer: Trainer, *, tokens: np.ndarray, flops: np.ndarray) -> dict[str, float]:
    """Train; return losses, rates of the steps after the first, and peak memory."""
    steps = _Steps()
    trainer.add_callback(steps)
    has_gpu = torch.cuda.is_available()
    if has_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {
        "first_loss": losses[0],
        "last_loss": losses[-1],
        "tokens_per_s": float(tokens[1:].sum()) / steps.seconds,
        "mfu": float(flops[1:].sum()) / steps.seconds / progress.peak_flops_per_s(),
        "peak_bytes": float(torch.cuda.max_memory_allocated()) if has_gpu else 0,
    }


def profile(trainer: Trainer) -> str:
    """Train; return what the time went to, and the kernels that took longest."""
    kinds = [torch.profiler.ProfilerActivity.CUDA]
    if not torch.cuda.is_available():
        kinds = [torch.profiler.ProfilerActivity.CPU]
    began = time.perf_counter()
    with torch.profiler.profile(activities=kinds) as profiled:
        trainer.train()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        whole_s = time.perf_counter() - began
    found = profiled.key_averages()
    spent = [
        ((each.self_device_time_total or each.self_cpu_time_total) / 1e6, each) for each in found
    ]
    parts = levers.shares([(each.key, seconds) for seconds, each in spent], whole_s)
    lines = [f"{whole_s:.1f} s: " + ", ".join(f"{kind} {part:.0%}" for kind, part in parts.items())]
    for seconds, each in sorted(spent, key=lambda pair: -pair[0])[:14]:
        lines.append(f"{seconds:7.2f} s {each.count:7} x {each.key[:110]}")
    return "\n".join(lines)


def row_of(
    row: Row,
    model: LoadedModel,
    size_px: tuple[int, int],
    *,
    micro: int,
    batch: int,
    n_steps: int,
    dtype: str = "bfloat16",
    is_profiled: bool = False,
) -> dict[str, Any]:
    """Return what a row's training of pictures of one size measured.

    Args:
        row: Not `missing`.
        model: From `build`, as it is for the Trainer.
        size_px: Of the pictures.
        micro: Pictures a pass, where the row does not say otherwise.
        batch: Pictures of a step.
        n_steps: Steps, the first of which is not timed.
        dtype: As in `TrainingSettings`.
        is_profiled: Whether to print the profile of one training more.
    """
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        runs.ROOT = Path(name)
        question_set = prepare(
            runs.ROOT, size_px, n_images=batch * n_steps, questions=row.questions
        )
        train = question_set.split("train")
        treatment = Treatment(28 * 28, BUDGET_PX, "bicubic", 28)
        names = np.full(len(train), "native")
        samples = Samples(model, question_set, train, names, treatment, epochs=1, seed=0)
        flat = small.FlatConversations(samples, train, reads_as_usual=True)
        steps = np.arange(0, len(samples), batch)
        counted = {
            "tokens": np.add.reduceat(samples.lengths(), steps),
            "flops": np.add.reduceat(samples.training_flops(), steps),
        }
        settings = settings_of(row, batch=batch, micro=micro, dtype=dtype)
        predicted = what_fits._predictions(samples, settings)
        if row.fills_memory:
            settings = replace(settings, micro_batch_images=_most(samples, settings))
        predicted_bytes = predicted(settings.memory_setting, settings.micro_batch_images)
        # Not before: predicting makes a network of the same config, with PyTorch's attention.
        stack.enter_context(levers.applied(row, model.network))
        micro = 1 if row.side == "Trainer" else settings.micro_batch_images

        def made() -> Trainer:
            trainer = trainer_of(row, samples, flat, settings)
            levers.checkpoint(row, model.network)  # medres' own has just been set
            return trainer

        found = measure(made(), **counted) | {"micro": micro}
        if row.side == "medres" and row.checkpointing != "inputs":
            found["predicted_bytes"] = predicted_bytes
        if is_profiled:
            print(profile(made()), flush=True)
    return found


def _most(samples: Samples, settings: TrainingSettings) -> int:
    """Return the most pictures a pass that are predicted to fit; the whole step without a GPU."""
    if not torch.cuda.is_available():
        return settings.batch_images
    free = what_fits.free_bytes() + torch.cuda.memory_allocated()
    return what_fits.micro_batch_images(samples, replace(settings, micro_batch_images=0), free=free)
