"""Training: medres beside transformers' Trainer with the usual padding collator.

    python -m benchmarks.training            # several minutes
    python -m benchmarks.training --quick    # one row of each kind, two rounds

Draws pictures and stores them as PNG. Both sides train the same tiny Qwen2-VL on the same
samples in the same steps, from file to weights, AdamW, 32-bit, one thread, in one process, in
turns: a round is a training of a few steps by each, from the same weights. Times are of the
process on its core, whatever else runs; ratios are of the two in the same round. Losses of the
first step must agree.

The other side has one flat conversation a question, padded on the right to the longest of a
micro-batch, a causal mask, the network as transformers has it, and Trainer's own loss and
accumulation. It reads files as is usual, by Pillow and transformers' image processor; with
`--reading medres` by medres' own, which shows what the training alone gains.
Useful tokens are those of the flat conversations without padding, for both sides.
"""

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import transformers
from PIL import Image
from transformers import (
    Qwen2VLForConditionalGeneration,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from benchmarks.images import draw, table
from medres import datasets, models, runs
from medres.datasets import pixel_cache
from medres.models import conversation, tiny
from medres.resolution import Treatment
from medres.training import trainer as answer_trainer
from medres.training.samples import Samples, assign
from medres.training.settings import TrainingSettings

SIDE_PX = 448
TREATMENT = Treatment(50_176, 12_000_000, "bicubic", 28)
BATCH_IMAGES = 8
N_STEPS = 2
"""Optimiser steps of a round, with every picture seen once."""
LEARNING_RATE = 1e-4
THEIR_MICRO_BATCH = 4
"""Conversations of one forward pass on the other side, which accumulates the rest."""
SETTINGS = TrainingSettings(
    study="benchmark",
    dataset="drawn",
    model=tiny.NAME,
    revision="",
    train_resolution="mixed",
    seed=0,
    low_max_pixels=TREATMENT.low_max_pixels,
    native_max_pixels=TREATMENT.native_max_pixels,
    resampling_filter=TREATMENT.resampling_filter,
    low_share=0.5,
    epochs=1,
    batch_images=BATCH_IMAGES,
    learning_rate=LEARNING_RATE,
    weight_decay=0.0,
    warmup_share=0.0,
    checkpoint_every_steps=10**6,
    threads=1,
    cache_gib=0.0,
)
"""Of our side; `replace` changes them."""
LOSS_TOLERANCE = {True: 2e-3, False: 1e-4}
"""By whether the Trainer reads as usual: then single values of pixels are 1 or 2 greys apart."""


def prepare(
    folder: Path, *, questions_an_image: int, n_images: int = BATCH_IMAGES * N_STEPS
) -> datasets.QuestionSet:
    """Store the pictures of a round with their questions as a prepared data set."""
    pictures = folder / "drawn"
    pictures.mkdir(parents=True)
    rows = []
    for index in range(n_images + 1):
        draw((SIDE_PX, SIDE_PX), seed=index).save(pictures / f"{index}.png")
        for number in range(questions_an_image):
            rows.append(
                {
                    "image": f"{index}.png",
                    "question": f"is there a nodule in part {number} of the lung?",
                    "answer": ["yes", "plasma membrane"][(index + number) % 2],
                    "options": "yes|plasma membrane",
                    "modality": "microscopy",
                    "split": "train" if index < n_images else "test",
                }
            )
    pd.DataFrame(rows).to_csv(pictures / "questions.csv", index=False)
    datasets.prepare("benchmark", "drawn", {"table": "drawn/questions.csv"})
    return datasets.load("benchmark", "drawn")


class FlatConversations(torch.utils.data.Dataset[tuple[Any, ...]]):
    """One conversation a question, in the order of the samples of the other side."""

    def __init__(self, samples: Samples, train: pd.DataFrame, *, reads_as_usual: bool) -> None:
        self.samples = samples
        self.reads_as_usual = reads_as_usual
        by_image = dict(list(train.groupby("image", sort=True)))
        self.rows = [
            (int(place), row.question, row.reference)
            for place in samples.order
            for row in by_image[samples.images[place]].itertuples()
        ]

    def __len__(self) -> int:
        """Return the number of conversations."""
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """Return the tokens of prompt and reply, and the pixels."""
        place, question, reference = self.rows[index]
        samples = self.samples
        geometry, image = samples.geometries[place], samples.images[place]
        if self.reads_as_usual:
            budget = geometry.given_px[0] * geometry.given_px[1]
            with Image.open(samples.question_set.image_folder / image) as opened:
                pixels = samples.model.image_processor(
                    images=[opened.convert("RGB")],
                    size={"shortest_edge": 28 * 28, "longest_edge": budget},
                    return_tensors="pt",
                )
            return *self.encode(question, reference, geometry.visual_tokens), pixels
        pixels = pixel_cache.pixels_of(samples.question_set, image, geometry, samples.cache)
        return *self.encode(question, reference, geometry.visual_tokens), pixels

    def encode(
        self, question: str, reference: str, visual_tokens: int
    ) -> tuple[list[int], list[int]]:
        """Return the tokens of prompt and reply."""
        tokenizer = self.samples.model.tokenizer
        content = [{"type": "image"}, {"type": "text", "text": question}]
        text = tokenizer.apply_chat_template(
            [
                {"role": "system", "content": conversation.SYSTEM_PROMPT},
                {"role": "user", "content": content},
            ],
            tokenize=False,
            add_generation_prompt=True,
        ).replace("<|image_pad|>", "<|image_pad|>" * visual_tokens)
        return tokenizer.encode(text), tokenizer.encode(reference + tokenizer.eos_token)

    def collate(self, chosen: list[tuple[Any, ...]]) -> dict[str, torch.Tensor]:
        """Return conversations padded on the right."""
        model = self.samples.model
        length = max(len(prompt) + len(reply) for prompt, reply, _ in chosen)
        ids = torch.full((len(chosen), length), model.tokenizer.pad_token_id)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, conversation.IGNORED)
        for row, (prompt, reply, _) in enumerate(chosen):
            end = len(prompt) + len(reply)
            ids[row, :end] = torch.tensor(prompt + reply)
            labels[row, len(prompt) : end] = torch.tensor(reply)
            mask[row, :end] = 1
        return {
            "input_ids": ids,
            "attention_mask": mask,
            "labels": labels,
            "mm_token_type_ids": (ids == model.image_token_id).int(),
            **self.pixel_inputs([pixels for _, _, pixels in chosen]),
        }

    def pixel_inputs(self, chosen: list[Any]) -> dict[str, torch.Tensor]:
        """Return the vision inputs of images that were read either way."""
        if not self.reads_as_usual:
            return models.pixel_inputs(self.samples.model, chosen)
        names = ("pixel_values", "image_grid_thw")
        return {name: torch.cat([pixels[name] for pixels in chosen]) for name in names}

    def n_tokens(self) -> int:
        """Return the tokens of all conversations without padding."""
        return sum(
            len(part)
            for place, question, reference in self.rows
            for part in self.encode(
                question, reference, self.samples.geometries[place].visual_tokens
            )
        )


class _InOrder(Trainer):  # type: ignore[misc]
    def _get_train_sampler(self, train_dataset: Any = None) -> torch.utils.data.Sampler[int]:
        return torch.utils.data.SequentialSampler(self.train_dataset)


class _Clock(TrainerCallback):  # type: ignore[misc]
    """Times a training without what is made before its first and after its last step."""

    seconds = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.began = time.process_time()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.seconds = time.process_time() - self.began


def theirs(folder: Path, place: str, flat: FlatConversations, questions_an_image: int) -> Trainer:
    """Return the padded Trainer over flat conversations."""
    network = Qwen2VLForConditionalGeneration.from_pretrained(
        place, dtype=torch.float32, trust_remote_code=False
    )
    micro = min(THEIR_MICRO_BATCH, BATCH_IMAGES * questions_an_image)
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=N_STEPS,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=BATCH_IMAGES * questions_an_image // micro,
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="cosine",
        adam_beta2=SETTINGS.adam_beta2,
        optim="adamw_torch",
        save_strategy="no",
        logging_steps=1,
        use_cpu=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        disable_tqdm=True,
        report_to=[],
    )
    trainer = _InOrder(network, arguments, train_dataset=flat, data_collator=flat.collate)
    trainer.remove_callback(answer_trainer._printer(trainer))
    return trainer


def ours(folder: Path, samples: Samples, *, micro_batch_images: int) -> Trainer:
    """Return the training as `finetune` makes it."""
    return answer_trainer.trainer_of(
        samples,
        folder,
        replace(SETTINGS, micro_batch_images=micro_batch_images),
    )


def train_once(trainer: Trainer, initial: dict[str, torch.Tensor], folder: Path) -> list[float]:
    """Train from the first weights; return seconds and the first step's loss."""
    clock = _Clock()
    trainer.model.load_state_dict(initial)
    trainer.optimizer = trainer.lr_scheduler = None
    # The last checkpoint of a training is no part of what is timed.
    trainer.args.save_strategy = transformers.trainer_utils.SaveStrategy.NO
    trainer.add_callback(clock)
    trainer.train()
    trainer.remove_callback(clock)
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    return [clock.seconds, losses[0]]


def compare(
    place: str,
    arm: str,
    *,
    questions_an_image: int,
    micro: int,
    n_rounds: int,
    reads_as_usual: bool,
) -> dict[str, str]:
    """Return the rates of both sides and their ratio over the rounds."""
    model = models.load(place)
    with tempfile.TemporaryDirectory() as name:
        folder = runs.ROOT = Path(name)
        question_set = prepare(folder, questions_an_image=questions_an_image)
        train = question_set.split("train")
        names = assign(train, arm, low_share=0.5, seed=0)
        samples = Samples(model, question_set, train, names, TREATMENT, epochs=1, seed=0)
        flat = FlatConversations(samples, train, reads_as_usual=reads_as_usual)
        sides = [
            ours(folder / "ours", samples, micro_batch_images=micro),
            theirs(folder / "theirs", place, flat, questions_an_image),
        ]
        initial = [
            {key: value.clone() for key, value in side.model.state_dict().items()} for side in sides
        ]
        rounds = []
        for number in range(n_rounds + 1):
            taken = {
                side: train_once(sides[side], initial[side], folder)
                for side in ((0, 1) if number % 2 else (1, 0))
            }
            apart = abs(taken[0][1] - taken[1][1])
            if apart > LOSS_TOLERANCE[reads_as_usual]:
                raise ValueError(
                    f"losses of the first step are {taken[0][1]} and {taken[1][1]}, "
                    f"{apart:.1e} apart; the sides do not train the same"
                )
            rounds.append((taken[0][0], taken[1][0]))
        rounds = rounds[1:]  # the first warms up
        mine, their = (statistics.median(column) for column in zip(*rounds, strict=True))
        ratios = [slow / fast for fast, slow in rounds]
        n_tokens = flat.n_tokens()
        share = sides[0].train_dataset.padding_share()
    return {
        "arm": arm,
        "questions an image": str(questions_an_image),
        "images at once": str(micro or BATCH_IMAGES),
        "medres, samples/s": f"{len(flat) / mine:.1f}",
        "Trainer, samples/s": f"{len(flat) / their:.1f}",
        "medres, tokens/s": f"{n_tokens / mine:,.0f}",
        "Trainer, tokens/s": f"{n_tokens / their:,.0f}",
        "ratio, median": f"{statistics.median(ratios):.2f}",
        "min to max": f"{min(ratios):.2f} to {max(ratios):.2f}",
        "padding": f"{share:.0%}",
    }


def main() -> None:
    """Draw the pictures, run the rounds, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--questions", type=int, nargs="+", default=[1, 4, 10])
    parser.add_argument("--micro", type=int, nargs="+", default=[0, 4], help="images at once")
    parser.add_argument("--reading", choices=["usual", "medres"], default="usual")
    parser.add_argument("--quick", action="store_true", help="one question an image, two rounds")
    asked = parser.parse_args()
    if asked.quick:
        asked.rounds, asked.questions, asked.micro = 2, [1], [0]
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    print(
        f"transformers {transformers.__version__}, torch {torch.__version__}, one thread, 32-bit; "
        f"{SIDE_PX} px, {BATCH_IMAGES} images a step, {N_STEPS} steps a round, "
        f"{asked.rounds} rounds; the Trainer reads files as {asked.reading}"
    )
    rows = []
    with tempfile.TemporaryDirectory() as name:
        place = str(tiny.make(Path(name) / tiny.NAME))
        for questions_an_image in asked.questions:
            for arm in ("low", "native", "mixed"):
                for micro in asked.micro:
                    rows.append(
                        compare(
                            place,
                            arm,
                            questions_an_image=questions_an_image,
                            micro=micro,
                            n_rounds=asked.rounds,
                            reads_as_usual=asked.reading == "usual",
                        )
                    )
    print(table(rows))


if __name__ == "__main__":
    main()
