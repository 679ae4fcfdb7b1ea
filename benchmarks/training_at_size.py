"""Training at size: Qwen2-VL-2B with random weights on a GPU, medres beside the padded Trainer.

    python -m benchmarks.training_at_size                       # a GPU with 80 GB, minutes
    python -m benchmarks.training_at_size --model tiny --sizes 224x224   # the same on a CPU

Weights and optimiser states in 32 bits, arithmetic in bfloat16, one process, no DeepSpeed; the
same pictures, one question each, the same steps. The Trainer has one picture a pass and the
same checkpointing; on a GPU eight processes read ahead for either. The first step warms up and
is not timed. Tokens are those of conversations without padding; MFU counts the operations of
the model, not those that checkpointing repeats, against the card's peak of dense bfloat16
products. Without a GPU there is no MFU and no memory.
"""

import argparse
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

from benchmarks import training as small
from benchmarks.images import draw, table
from medres import datasets, models, runs
from medres.models import LoadedModel, offline, qwen2_vl, tiny
from medres.resolution import Treatment
from medres.training import progress
from medres.training import strategy as strategies
from medres.training import trainer as answer_trainer
from medres.training.samples import Samples

BUDGET_PX = 12_000_000
READERS = 8
"""Processes that read images ahead, on both sides."""
TOKENS = "image_token_id video_token_id vision_start_token_id vision_end_token_id".split()


def build(place: str, hub_id: str, *, device: str) -> LoadedModel:
    """Return a network of a hub model's sizes with random weights, and tiny-qwen2-vl's words."""
    model = models.load(place)
    if hub_id == "tiny":
        return model
    config = copy.deepcopy(offline.config_of(hub_id))
    for name in TOKENS:
        setattr(config, name, getattr(model.config, name))
    with torch.device(device):
        network = transformers.Qwen2VLForConditionalGeneration(config)
    qwen2_vl._use_linear_patch_embedding(network)
    return replace(
        model,
        network=network,
        config=config,
        shape=qwen2_vl.shape_of(config),
        max_length=config.text_config.max_position_embeddings,
    )


def prepare(folder: Path, size_px: tuple[int, int], n_images: int) -> datasets.QuestionSet:
    """Store pictures of a size with one question each as a prepared data set."""
    pictures = folder / "drawn"
    pictures.mkdir(parents=True)
    rows = []
    drawn = np.asarray(draw(size_px, seed=0))
    for index in range(n_images + 1):
        # Moved by a few pixels: drawing each anew would take longer than training on it.
        moved = Image.fromarray(np.roll(drawn, 8 * index, axis=1))
        moved.save(pictures / f"{index}.png", compress_level=1)
        rows.append(
            {
                "image": f"{index}.png",
                "question": "is there a nodule in the lung?",
                "answer": "yes",
                "options": "yes|no",
                "modality": "microscopy",
                "split": "train" if index < n_images else "test",
            }
        )
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


def ours(samples: Samples, folder: Path, *, micro: int, checkpointing: bool, batch: int) -> Trainer:
    """Return the training as `finetune` makes it."""
    return answer_trainer.trainer_of(
        samples,
        folder,
        replace(
            small.SETTINGS,
            batch_images=batch,
            micro_batch_images=micro,
            learning_rate=1e-5,
            weight_decay=0.1,
            checkpoint_every_steps=0,
            dtype="bfloat16",
            gradient_checkpointing=checkpointing,
            threads=READERS,
        ),
    )


def theirs(
    samples: Samples, flat: Any, folder: Path, *, checkpointing: bool, batch: int
) -> Trainer:
    """Return the padded Trainer over flat conversations."""
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=len(samples) // batch,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=batch,
        learning_rate=1e-5,
        weight_decay=0.1,
        lr_scheduler_type="cosine",
        optim="adamw_torch",
        bf16=True,
        save_strategy="no",
        logging_steps=1,
        use_cpu=not strategies.has_gpu("auto"),
        remove_unused_columns=False,
        dataloader_num_workers=READERS if strategies.has_gpu("auto") else 0,
        dataloader_pin_memory=strategies.has_gpu("auto"),
        disable_tqdm=True,
        report_to=[],
    )
    network = samples.model.network
    if checkpointing:
        network.gradient_checkpointing_enable({"use_reentrant": False})
    else:
        network.gradient_checkpointing_disable()
    trainer = small._InOrder(network, arguments, train_dataset=flat, data_collator=flat.collate)
    trainer.remove_callback(answer_trainer._printer(trainer))
    return trainer


def measure(trainer: Trainer, *, tokens: np.ndarray, flops: np.ndarray) -> dict[str, float]:
    """Train; return tokens and operations per second after the first step, and peak memory."""
    steps = _Steps()
    trainer.add_callback(steps)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    trainer.train()
    found = {
        "tokens_per_s": float(tokens[1:].sum()) / steps.seconds,
        "mfu": float(flops[1:].sum()) / steps.seconds / progress.peak_flops_per_s(),
        "peak_bytes": float(torch.cuda.max_memory_allocated()) if torch.cuda.is_available() else 0,
    }
    trainer.optimizer = trainer.lr_scheduler = None
    trainer.model.zero_grad(set_to_none=True)
    return found


def profile(trainer: Trainer) -> str:
    """Train; return the kernels that took longest."""
    kinds = [torch.profiler.ProfilerActivity.CUDA]
    if not torch.cuda.is_available():
        kinds = [torch.profiler.ProfilerActivity.CPU]
    began = time.perf_counter()
    with torch.profiler.profile(activities=kinds) as profiled:
        trainer.train()
    found = profiled.key_averages()
    times = [(each.self_device_time_total or each.self_cpu_time_total, each) for each in found]
    whole_s = time.perf_counter() - began
    lines = [f"busy {sum(spent for spent, _ in times) / 1e6:.1f} of {whole_s:.1f} s"]
    for spent, each in sorted(times, key=lambda pair: -pair[0])[:14]:
        lines.append(f"{spent / 1e6:7.2f} s {each.count:7} x {each.key[:110]}")
    return "\n".join(lines)


def row_of(
    model: LoadedModel,
    size_px: tuple[int, int],
    *,
    micro: int,
    batch: int,
    n_steps: int,
    checkpointing: bool,
    is_profiled: bool,
) -> dict[str, str]:
    """Return both sides' figures for pictures of one size; print the profile of ours, if asked."""
    row = {"pixels": f"{size_px[0]} x {size_px[1]}", "images a pass": str(micro)}
    with tempfile.TemporaryDirectory() as name:
        runs.ROOT = Path(name)
        question_set = prepare(runs.ROOT, size_px, batch * n_steps)
        train = question_set.split("train")
        treatment = Treatment(28 * 28, BUDGET_PX, "bicubic", 28)
        is_low = np.zeros(len(train), dtype=bool)
        samples = Samples(model, question_set, train, is_low, treatment, epochs=1, seed=0)
        flat = small.FlatConversations(samples, train, reads_as_usual=True)
        split = {"checkpointing": checkpointing, "batch": batch}
        steps = np.arange(0, len(samples), batch)
        counted = {
            "tokens": np.add.reduceat(samples.lengths(), steps),
            "flops": np.add.reduceat(samples.training_flops(), steps),
        }
        found = {}
        for side, make in (
            ("medres", lambda: ours(samples, runs.ROOT / "ours", micro=micro, **split)),
            ("Trainer", lambda: theirs(samples, flat, runs.ROOT / "theirs", **split)),
        ):
            try:
                found[side] = measure(make(), **counted)
            except torch.OutOfMemoryError:
                row[f"{side}, tokens/s"] = "out of memory"
                model.network.zero_grad(set_to_none=True)
                continue
            row[f"{side}, tokens/s"] = f"{found[side]['tokens_per_s']:,.0f}"
            if torch.cuda.is_available():
                row[f"{side}, MFU"] = f"{found[side]['mfu']:.1%}"
                row[f"{side}, GB"] = f"{found[side]['peak_bytes'] / 1e9:.1f}"
        if is_profiled:
            print(profile(ours(samples, runs.ROOT / "again", micro=micro, **split)), flush=True)
    if len(found) == 2:
        ratio = found["medres"]["tokens_per_s"] / found["Trainer"]["tokens_per_s"]
        row["ratio"] = f"{ratio:.2f}"
    return row


def main() -> None:
    """Build the model, train on each size by both, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="Qwen/Qwen2-VL-2B-Instruct", help="or tiny")
    parser.add_argument("--sizes", nargs="+", default=["224x224", "1280x1024", "2048x2048"])
    parser.add_argument("--micro", type=int, nargs="+", default=[8, 2, 1], help="one for each size")
    parser.add_argument("--batch", type=int, default=16, help="images of a step")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--profile", action="store_true", help="of ours: kernels of one more run")
    asked = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    where = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    print(
        f"{asked.model} with random weights on {where}, transformers {transformers.__version__}, "
        f"torch {torch.__version__}; {asked.batch} images a step, {asked.steps} steps, the first "
        f"not timed; gradient checkpointing {'on' if asked.checkpointing else 'off'}",
        flush=True,
    )
    rows = []
    with tempfile.TemporaryDirectory() as name:
        place = str(tiny.make(Path(name) / tiny.NAME))
        model = build(place, asked.model, device=device)
        for size, micro in zip(asked.sizes, asked.micro, strict=False):
            width, height = (int(side) for side in size.split("x"))
            rows.append(
                row_of(
                    model,
                    (width, height),
                    micro=micro,
                    batch=asked.batch,
                    n_steps=asked.steps,
                    checkpointing=asked.checkpointing,
                    is_profiled=asked.profile,
                )
            )
            print(rows[-1], flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
