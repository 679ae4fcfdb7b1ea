"""transformers' Trainer, for samples whose order, grouping and loss are ours."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from peft import PeftModel
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainingArguments

from medres import models, runs
from medres.models import conversation, lora
from medres.training import strategy as strategies
from medres.training.samples import MicroBatches, Samples

MOST_NAMED = 20
"""Questions that an error names; it counts the rest."""
ADAM_BETA2 = 0.98
"""Averages gradients over some 50 steps: a training here has hundreds of steps, not 10,000s."""


def trainer_of(
    samples: Samples,
    folder: Path,
    *,
    batch_images: int,
    micro_batch_images: int,
    learning_rate: float,
    weight_decay: float,
    warmup_share: float,
    checkpoint_every_steps: int,
    seed: int,
    dtype: str = "float32",
    gradient_checkpointing: bool = False,
    strategy: str = "single",
    device: str = "auto",
    keep_checkpoints: int = 2,
    threads: int = 1,
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
        dtype: As in `finetune`.
        gradient_checkpointing: As in `finetune`.
        strategy: As in `finetune`.
        device: As in `finetune`.
        keep_checkpoints: As in `finetune`.
        threads: As in `finetune`.
    """
    total_steps = math.ceil(len(samples) / batch_images)
    split = {
        "batch_images": batch_images,
        "micro_batch_images": micro_batch_images,
        "n_processes": strategies.n_processes(),
    }
    dealt = MicroBatches(samples, **split)
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=total_steps,
        per_device_train_batch_size=1,
        # Trainer counts the answer tokens of all micro-batches of a step, on all processes, and
        # gives their number to compute_loss.
        gradient_accumulation_steps=dealt.each_step,
        average_tokens_across_devices=True,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        warmup_steps=round(warmup_share * total_steps),
        lr_scheduler_type="cosine",
        max_grad_norm=strategies.MAX_GRADIENT_NORM,
        optim="adamw_torch",
        adam_beta2=ADAM_BETA2,
        bf16=dtype == "bfloat16",
        deepspeed=strategies.deepspeed_settings(strategy, dtype=dtype),
        seed=seed,
        save_strategy="steps" if checkpoint_every_steps else "no",
        save_steps=checkpoint_every_steps or total_steps,
        save_total_limit=keep_checkpoints,
        logging_steps=1,
        logging_nan_inf_filter=False,
        use_cpu=not strategies.has_gpu(device),
        remove_unused_columns=False,
        # On a GPU images are read ahead, else it would wait for each: a 2048 x 2048 PNG takes as
        # long as a pass. On a CPU the cores have enough to do.
        dataloader_num_workers=threads if strategies.has_gpu(device) else 0,
        dataloader_pin_memory=strategies.has_gpu(device),
        accelerator_config={"non_blocking": strategies.has_gpu(device)},
        disable_tqdm=True,
        report_to=[],
    )
    if arguments.world_size != split["n_processes"]:
        raise ValueError(
            f"{arguments.world_size} processes share the training, and WORLD_SIZE is "
            f"{split['n_processes']}; start it by `strategy` and `processes` alone"
        )
    # One GPU, also where more are visible: Trainer would copy the network to all of them.
    arguments._n_gpu = min(1, arguments.n_gpu)
    if gradient_checkpointing:
        # By the network's own switch: Trainer's changes its name between versions.
        samples.model.network.gradient_checkpointing_enable({"use_reentrant": False})
    trainer = AnswerTrainer(
        model=samples.model.network,
        args=arguments,
        train_dataset=dealt,
        data_collator=_only_one,
    )
    trainer.remove_callback(_printer(trainer))
    return trainer


def _only_one(batches: list[dict[str, Any]]) -> dict[str, Any]:
    (batch,) = batches
    return batch


class AnswerTrainer(Trainer):  # type: ignore[misc]
    """Trainer with the loss of the answer tokens, a given order and a resume that restores."""

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Return the loss of a micro-batch: its share of the mean over the step's tokens."""
        wanted = inputs.pop("labels")[:, 1:]
        places = inputs.pop("places").cpu()
        seen = inputs.pop("seen").on(self.args.device, self._float_dtype())
        outputs = model(**inputs, **seen)
        summed = torch.nn.functional.cross_entropy(
            outputs.logits.flatten(0, 1).float(),
            wanted.flatten(),
            ignore_index=conversation.IGNORED,
            reduction="sum",
        )
        assert num_items_in_batch is not None  # else micro-batches would be weighted alike
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

    def _float_dtype(self) -> torch.dtype:
        """Return the dtype of pixels: 32 bits, but for weights that are kept in 16."""
        is_half = self.is_deepspeed_enabled and self.args.bf16
        return torch.bfloat16 if is_half else torch.float32

    def _named(self, places: torch.Tensor) -> str:
        """Return the questions of samples, as an error names them."""
        names = [name for place in places for name in self.train_dataset.samples.asked(int(place))]
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        return f"questions {', '.join(names[:MOST_NAMED])}{more}"

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if isinstance(self.model, PeftModel):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        # Trainer's own loader matches none of Qwen2-VL's names (checkpoints keep the hub's) and
        # goes on from the initial weights with one warning. from_pretrained renames, and strict
        # loading fails on any tensor that is left out.
        saved = type(self.model).from_pretrained(resume_from_checkpoint, dtype=self.model.dtype)
        self.model.load_state_dict(saved.state_dict(), strict=True)


def last_checkpoint(folder: Path, *, layout: dict[str, Any]) -> tuple[Path | None, float]:
    """Return the newest checkpoint that was written whole, if any, and the seconds up to it.

    Args:
        folder: Of checkpoints.
        layout: What a checkpoint depends on: strategy and number of processes.

    Raises:
        ValueError: If it was written under another layout, saying which.
    """
    marks = folder.glob("checkpoint-*/whole")
    newest = max(marks, key=lambda path: int(path.parent.name.split("-")[1]), default=None)
    if newest is None:
        return None, 0.0
    written = runs.read_json(newest)
    if written["layout"] != layout:
        raise ValueError(
            f"{newest.parent} was written with {written['layout']}, and this training has "
            f"{layout}; go on as it was begun, or remove {folder} to begin anew"
        )
    return newest.parent, float(written["seconds"])


def keep(trainer: Trainer, folder: Path) -> dict[str, Any]:
    """Write the weights and the loss of a finished training; return what was measured of it.

    All processes call it; the first writes. Weights trained in bfloat16 are kept in it, but for
    those that adapters are merged into.
    """
    model = trainer.train_dataset.samples.model
    gathered = None
    if trainer.is_deepspeed_enabled and trainer.model_wrapped.zero_optimization_stage() == 3:
        # Each process has a part of the weights.
        gathered = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    # Before adapters are merged, by its own count: a part of ZeRO-3's knows its whole.
    n_trained = sum(
        getattr(weight, "ds_numel", weight.numel())
        for weight in trainer.model.parameters()
        if weight.requires_grad
    )
    log = pd.DataFrame([row for row in trainer.state.log_history if "loss" in row])
    if not trainer.is_world_process_zero():
        return {}
    if lora.is_adapted(model):
        # In 32 bits, and kept in them: small changes would be rounded away.
        model.network.float()
        model = lora.merge(model)
    elif trainer.args.bf16 and gathered is None:
        model.network.to(torch.bfloat16)
    models.save(model, str(folder / "checkpoint"), weights=gathered)
    with runs.replacing(folder / "loss.csv") as part:
        log[["step", "loss", "learning_rate"]].to_csv(part, index=False)
    peak = torch.cuda.max_memory_allocated() if not trainer.args.use_cpu else None
    return {
        "weights_sha256": models.weights_sha256(folder / "checkpoint"),
        "n_steps": trainer.args.max_steps,
        "n_trained_weights": n_trained,
        "padding_share": trainer.train_dataset.padding_share(),
        "final_loss": float(log["loss"].tail(10).mean()),
        "peak_memory_bytes": peak,
    }


def _printer(trainer: Trainer) -> Any:
    names = ("PrinterCallback", "ProgressCallback")
    return next(each for each in trainer.callback_handler.callbacks if type(each).__name__ in names)
