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
import pandas as pd
import torch
from torch.utils.data import Dataset, SequentialSampler
from transformers import Trainer, TrainerCallback, TrainingArguments

from medres import conversation, datasets, micro_batches, models, pixel_cache, resolution, runs
from medres.models import LoadedModel
from medres.pixel_cache import PixelCache
from medres.resolution import Treatment

SAY_EVERY_S = 10.0
MOST_NAMED = 20
"""Questions that an error names; it counts the rest."""
ADAM_BETA2 = 0.98
"""Averages gradients over some 50 steps: a training here has hundreds of steps, not 10,000s."""


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
) -> runs.Run:
    """Train all weights of a model on one data set at one resolution, or reuse the run.

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
        checkpoint_every_steps: Steps between checkpoints to resume from.
        threads: CPU threads.
        cache_gib: Disk space of the study's prepared pixels, in GiB; zero keeps none.
        micro_batch_images: Most images of one forward pass, for less memory and padding at the
            same result within float error; zero takes the whole batch at once.
        tiling: For models that tile: information or compute, as in `models.TILINGS`.

    Returns:
        The finished run: checkpoint/ (a model folder), loss.csv and resolutions.csv.

    Raises:
        ValueError: If an argument is impossible, or the loss is not finite.
        FileNotFoundError: If the data set is not prepared.
    """
    parameters = dict(locals())
    if train_resolution not in ("low", "native", "mixed"):
        raise ValueError(f"train_resolution is {train_resolution!r}; use low, native or mixed")
    for name in ("epochs", "batch_images", "checkpoint_every_steps", "threads"):
        if parameters[name] < 1:
            raise ValueError(f"{name} is {parameters[name]}; it must be at least 1")
    if micro_batch_images < 0:
        raise ValueError(
            f"micro_batch_images is {micro_batch_images}; give the images of one forward pass, or "
            "0 for the whole batch at once"
        )
    for name in ("low_share", "warmup_share"):
        if not 0 <= parameters[name] <= 1:
            raise ValueError(f"{name} is {parameters[name]}; it is a share between 0 and 1")
    if not 0 < learning_rate < math.inf:
        raise ValueError(f"learning_rate is {learning_rate}; it must be positive")
    # Before a run is begun, since that would put an older one aside.
    Treatment(low_max_pixels, native_max_pixels, resampling_filter, multiple_px=1)
    config = models.config_of(model, revision=revision)
    treatment = models.treatment(config, **{name: parameters[name] for name in models.TREATMENT})
    if not models.tiles(config):
        del parameters["tiling"]
    cache = pixel_cache.of_study(study, gib=cache_gib)
    question_set = datasets.load(study, dataset)
    train = question_set.split("train")
    if train.empty:
        raise ValueError(
            f"data set {dataset!r} has no train question; evaluate it untrained "
            "(`train_resolutions: [none]`), or draw a split with `split: grouped`"
        )
    run = runs.start(
        study,
        "finetune",
        f"{dataset}/{model.replace('/', '--')}/{train_resolution}/seed{seed}",
        parameters=parameters,
        inputs={
            "questions": question_set.fingerprint,
            "base_weights": models.fingerprint(model, revision=revision),
            "resampler": resolution.resampler(),
        },
    )
    if run.is_done:
        return run
    began = time.monotonic()
    torch.set_num_threads(threads)
    loaded = models.load(model, revision=revision, tiling=tiling)
    is_low = assign(train, train_resolution, low_share=low_share, seed=seed)
    samples = Samples(
        loaded, question_set, train, is_low, treatment, epochs=epochs, seed=seed, cache=cache
    )
    with runs.replacing(run.folder / "resolutions.csv") as part:
        train.assign(resolution=np.where(is_low, "low", "native"))[
            ["question_id", "image", "modality", "resolution"]
        ].to_csv(part, index=False)
    trainer = trainer_of(
        samples,
        run.folder / "resume",
        batch_images=batch_images,
        micro_batch_images=micro_batch_images,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        warmup_share=warmup_share,
        checkpoint_every_steps=checkpoint_every_steps,
        seed=seed,
    )
    trainer.add_callback(_Progress(f"{dataset} {train_resolution} seed {seed}", run.folder))
    checkpoint = last_checkpoint(run.folder / "resume")
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    log = pd.DataFrame([row for row in trainer.state.log_history if "loss" in row])
    with runs.replacing(run.folder / "loss.csv") as part:
        log[["step", "loss", "learning_rate"]].to_csv(part, index=False)
    models.save(loaded, str(run.folder / "checkpoint"))
    run.finish(
        files=["checkpoint", "loss.csv", "resolutions.csv"],
        weights_sha256=models.weights_sha256(run.folder / "checkpoint"),
        n_steps=trainer.args.max_steps,
        n_train_questions=len(train),
        n_train_images=int(train["image"].nunique()),
        n_low_questions=int(is_low.sum()),
        n_images_seen=len(samples),
        mean_visual_tokens=samples.mean_visual_tokens(),
        training_flops=samples.training_flops(),
        padding_share=trainer.train_dataset.padding_share(),
        final_loss=float(log["loss"].tail(10).mean()),
        resumed_at_step=int(checkpoint.name.split("-")[1]) if checkpoint else 0,
        seconds=round(time.monotonic() - began, 1),
    )
    shutil.rmtree(run.folder / "resume", ignore_errors=True)
    return run


def assign(
    train: pd.DataFrame, train_resolution: str, *, low_share: float, seed: int
) -> np.ndarray:
    """Return which training questions are low, shape (n_questions,), bool."""
    if train_resolution != "mixed":
        return np.full(len(train), train_resolution == "low")
    return resolution.assign_mixed(
        train["image"].tolist(),
        train["modality"].tolist(),
        low_share=low_share,
        rng=np.random.default_rng([seed, 1]),
    )


def trainer_of(
    samples: "Samples",
    folder: Path,
    *,
    batch_images: int,
    micro_batch_images: int,
    learning_rate: float,
    weight_decay: float,
    warmup_share: float,
    checkpoint_every_steps: int,
    seed: int,
) -> Trainer:
    """Return the Trainer that walks the samples once, ready to train.

    Args:
        samples: In the order in which all epochs see them; they hold the model.
        folder: Where checkpoints to resume from are written.
        batch_images: Images of one optimiser step, on all processes together.
        micro_batch_images: As in `finetune`.
        learning_rate: As in `finetune`.
        weight_decay: As in `finetune`.
        warmup_share: As in `finetune`.
        checkpoint_every_steps: As in `finetune`.
        seed: Trainer's own; nothing of the training is drawn from it.
    """
    total_steps = math.ceil(len(samples) / batch_images)
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=total_steps,
        per_device_train_batch_size=1,
        average_tokens_across_devices=True,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        warmup_steps=round(warmup_share * total_steps),
        lr_scheduler_type="cosine",
        max_grad_norm=1.0,
        optim="adamw_torch",
        adam_beta2=ADAM_BETA2,
        seed=seed,
        save_steps=checkpoint_every_steps,
        save_total_limit=2,
        logging_steps=1,
        logging_nan_inf_filter=False,
        use_cpu=not torch.cuda.is_available(),
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        disable_tqdm=True,
        report_to=[],
    )
    split = {
        "batch_images": batch_images,
        "micro_batch_images": micro_batch_images,
        "n_processes": arguments.world_size,
    }
    # Trainer counts the answer tokens of all micro-batches of a step, on all processes, and
    # gives their number to compute_loss.
    arguments.gradient_accumulation_steps = micro_batches.count(**split)
    trainer = _AnswerTrainer(
        model=samples.model.network,
        args=arguments,
        train_dataset=MicroBatches(samples, **split),
        data_collator=_only_one,
    )
    trainer.remove_callback(_printer(trainer))
    return trainer


class Samples(Dataset[tuple[conversation.Tree, Any]]):
    """Images with their questions, in the order in which all epochs see them."""

    def __init__(
        self,
        model: LoadedModel,
        question_set: datasets.QuestionSet,
        train: pd.DataFrame,
        is_low: np.ndarray,
        treatment: Treatment,
        *,
        epochs: int,
        seed: int,
        cache: PixelCache = pixel_cache.NONE,
    ) -> None:
        self.model = model
        self.question_set = question_set
        self.cache = cache
        self.images: list[str] = []
        self.geometries: list[resolution.Geometry] = []
        self.trees: list[conversation.Tree] = []
        self.question_ids: list[list[str]] = []
        too_long: list[conversation.TooLongError] = []
        n_images = train["image"].nunique()
        for image, rows in train.assign(is_low=is_low).groupby("image", sort=True):
            first = rows.iloc[0]
            geometry = resolution.plan(
                (int(first["width_px"]), int(first["height_px"])),
                "low" if first["is_low"] else "native",
                treatment,
            )
            question_ids = rows["question_id"].tolist()
            try:
                tree = conversation.encode(
                    model,
                    geometry.given_px,
                    question_ids,
                    rows["question"].tolist(),
                    [[reference] for reference in rows["reference"]],
                )
            except conversation.TooLongError as error:
                too_long.append(error)
                continue
            self.images.append(str(image))
            self.geometries.append(geometry)
            self.trees.append(tree)
            self.question_ids.append(question_ids)
        if too_long:
            raise ValueError(
                f"{len(too_long)} of {n_images} training images have questions that are too long; "
                "lower low_max_pixels or native_max_pixels, or leave them out of the data set; "
                f"first, {too_long[0]}"
            )
        rng = np.random.default_rng([seed, 2])
        self.order = np.concatenate([rng.permutation(len(self.images)) for _ in range(epochs)])

    def __len__(self) -> int:
        """Return the number of samples of all epochs."""
        return len(self.order)

    def __getitem__(self, step: int) -> tuple[conversation.Tree, Any]:
        """Return the tree and the pixels of one sample."""
        index = self.order[step]
        image, geometry = self.images[index], self.geometries[index]
        pixels = pixel_cache.pixels_of(self.question_set, image, geometry, self.cache)
        return self.trees[index], pixels

    def collate(self, samples: list[tuple[conversation.Tree, Any]]) -> dict[str, torch.Tensor]:
        """Return the samples of one step as the network takes them, with labels."""
        trees = [tree for tree, _ in samples]
        batch = conversation.collate(trees, pad_token_id=self.model.tokenizer.pad_token_id)
        wanted = conversation.labels(trees, batch["logits_to_keep"])
        # Trainer counts labels from the second column on, as if they were still to be shifted.
        ahead = torch.full((len(trees), 1), conversation.IGNORED)
        batch["labels"] = torch.cat([ahead, wanted], dim=1)
        return batch | models.pixel_inputs(self.model, [pixels for _, pixels in samples])

    def asked(self, place: int) -> list[str]:
        """Return the ids of the questions of a sample."""
        return self.question_ids[self.order[place]]

    def lengths(self) -> np.ndarray:
        """Return the tokens of each sample in order, shape (n_samples,)."""
        each = np.array([len(tree.token_ids) for tree in self.trees], dtype=np.int64)
        return np.take(each, self.order)

    def mean_visual_tokens(self) -> float:
        """Return the visual tokens of a training image, on average."""
        return float(np.mean([geometry.visual_tokens for geometry in self.geometries]))

    def training_flops(self) -> int:
        """Return the operations of the whole training, as counted by `resolution`."""
        per_image = [
            resolution.training_flops(
                self.model.shape,
                visual_tokens=geometry.visual_tokens,
                text_tokens=len(tree.token_ids) - geometry.visual_tokens,
                n_crops=geometry.n_crops,
            )
            for geometry, tree in zip(self.geometries, self.trees, strict=True)
        ]
        return int(sum(per_image[index] for index in self.order))


class MicroBatches(Dataset[dict[str, Any]]):
    """Samples in the groups that go through the network together, collated."""

    def __init__(
        self, samples: Samples, *, batch_images: int, micro_batch_images: int, n_processes: int
    ) -> None:
        self.samples = samples
        self.dealt = micro_batches.deal(
            samples.lengths(),
            batch_images=batch_images,
            micro_batch_images=micro_batch_images,
            n_processes=n_processes,
        )

    def __len__(self) -> int:
        """Return the number of micro-batches of all epochs, on all processes."""
        return len(self.dealt)

    def __getitem__(self, place: int) -> dict[str, Any]:
        """Return one micro-batch as the network takes it, with labels."""
        dealt = self.dealt[place]
        batch = self.samples.collate([self.samples[index] for index in dealt.samples])
        batch["places"] = torch.from_numpy(dealt.samples)
        if not dealt.is_counted:
            batch["labels"].fill_(conversation.IGNORED)
        return batch

    def padding_share(self) -> float:
        """Return the share of the language model's tokens that are padding."""
        return micro_batches.padding_share(self.dealt, self.samples.lengths())


def _only_one(batches: list[dict[str, Any]]) -> dict[str, Any]:
    (batch,) = batches
    return batch


class _AnswerTrainer(Trainer):  # type: ignore[misc]
    """Trainer with the loss of the answer tokens, a given order and a resume that restores."""

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        wanted = inputs.pop("labels")[:, 1:]
        places = inputs.pop("places").cpu()
        outputs = model(**inputs)
        summed = torch.nn.functional.cross_entropy(
            outputs.logits.flatten(0, 1).float(),
            wanted.flatten(),
            ignore_index=conversation.IGNORED,
            reduction="sum",
        )
        if num_items_in_batch is None:
            loss = summed / wanted.ne(conversation.IGNORED).sum()
        else:
            # Counted over all processes, whose gradients are then averaged.
            loss = summed * self.accelerator.num_processes / num_items_in_batch
        if not torch.isfinite(loss):
            each = torch.nn.functional.cross_entropy(
                outputs.logits.flatten(0, 1).float(),
                wanted.flatten(),
                ignore_index=conversation.IGNORED,
                reduction="none",
            ).view(wanted.shape)
            is_wrong = ~each.isfinite().all(dim=1).cpu()
            raise ValueError(
                f"the loss is {loss.item()} at step {self.state.global_step + 1}; lower "
                f"learning_rate, or look at the images of {self._named(places[is_wrong])}"
            )
        return (loss, outputs) if return_outputs else loss

    def _named(self, places: torch.Tensor) -> str:
        """Return the questions of samples, as an error names them."""
        names = [name for place in places for name in self.train_dataset.samples.asked(int(place))]
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        return f"questions {', '.join(names[:MOST_NAMED])}{more}"

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        # Trainer's own loader matches none of Qwen2-VL's names (checkpoints keep the hub's) and
        # goes on from the initial weights with one warning. from_pretrained renames, and strict
        # loading fails on any tensor that is left out.
        saved = type(self.model).from_pretrained(resume_from_checkpoint, dtype=self.model.dtype)
        self.model.load_state_dict(saved.state_dict(), strict=True)


def last_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint that was written whole, if any."""
    whole = [path.parent for path in folder.glob("checkpoint-*/whole")]
    return max(whole, key=lambda path: int(path.name.split("-")[1]), default=None)


def _printer(trainer: Trainer) -> Any:
    names = ("PrinterCallback", "ProgressCallback")
    return next(each for each in trainer.callback_handler.callbacks if type(each).__name__ in names)


class _Progress(TrainerCallback):  # type: ignore[misc]
    """Says how far a training is, marks whole checkpoints."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.first_step = 0
        self.began = self.said = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.first_step = state.global_step
        self.began = time.monotonic()
        print(f"{self.name}: begins at step {state.global_step} of {state.max_steps}", flush=True)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        now = time.monotonic()
        if "loss" not in (logs or {}) or now - self.said < SAY_EVERY_S:
            return
        self.said = now
        per_step = (now - self.began) / (state.global_step - self.first_step)
        left_s = round(per_step * (state.max_steps - state.global_step))
        progress = {"step": state.global_step, "n_steps": state.max_steps, "left_s": left_s}
        runs.write_json(self.folder / "progress.json", {**progress, "loss": logs["loss"]})
        print(
            f"{self.name}: step {state.global_step} of {state.max_steps}, loss "
            f"{logs['loss']:.3f}, {left_s // 60} min {left_s % 60} s left",
            flush=True,
        )

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        # Written after everything else of the checkpoint; without it a killed save is ignored.
        (Path(args.output_dir) / f"checkpoint-{state.global_step}" / "whole").touch()
