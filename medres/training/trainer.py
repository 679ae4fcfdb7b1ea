"""transformers' Trainer with our order and grouping of the samples, and our loss."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from peft import PeftModel
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainerCallback, TrainingArguments

from medres import models, runs
from medres.models import conversation, last_layer, lora, shared_prompt
from medres.training import recomputation
from medres.training import strategy as strategies
from medres.training.samples import MicroBatches, Samples
from medres.training.settings import TrainingSettings

MOST_NAMED = 20
"""Questions that an error lists by id; the others are counted."""


def trainer_of(samples: Samples, folder: Path, settings: TrainingSettings) -> Trainer:
    """Return the Trainer that goes through the samples once, ready to train.

    Args:
        samples: In the order of all epochs; they hold the model.
        folder: For checkpoints to resume from.
        settings: Of the training.
    """
    total_steps = math.ceil(len(samples) / settings.batch_images)
    n_processes = strategies.n_processes()
    has_gpu = strategies.has_gpu(settings.device)
    grouped = MicroBatches(
        samples,
        batch_images=settings.batch_images,
        micro_batch_images=settings.micro_batch_images,
        n_processes=n_processes,
    )
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=total_steps,
        per_device_train_batch_size=1,
        # Trainer counts the answer tokens of all micro-batches of a step, on all processes, and
        # gives their number to compute_loss.
        gradient_accumulation_steps=grouped.n_per_step,
        average_tokens_across_devices=True,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        warmup_steps=round(settings.warmup_share * total_steps),
        lr_scheduler_type="cosine",
        max_grad_norm=strategies.MAX_GRADIENT_NORM,
        # DeepSpeed divides the plain one.
        optim="adamw_torch_fused" if settings.strategy == "single" else "adamw_torch",
        adam_beta1=settings.adam_beta1,
        adam_beta2=settings.adam_beta2,
        bf16=settings.dtype == "bfloat16",
        deepspeed=strategies.deepspeed_settings(settings.strategy, dtype=settings.dtype),
        seed=settings.seed,  # of Trainer, which draws nothing from it here
        save_strategy="steps" if settings.checkpoint_every_steps else "no",
        save_steps=settings.checkpoint_every_steps or total_steps,
        save_total_limit=settings.keep_checkpoints,
        logging_steps=1,
        logging_nan_inf_filter=False,
        use_cpu=not has_gpu,
        remove_unused_columns=False,
        # Read ahead for a GPU, which would wait for each image otherwise: a 2048 x 2048 PNG takes
        # as long as a pass. On a CPU the cores are busy with the training.
        dataloader_num_workers=settings.threads if has_gpu else 0,
        dataloader_pin_memory=has_gpu,
        accelerator_config={"non_blocking": has_gpu},
        disable_tqdm=True,
        report_to=[],
    )
    if arguments.world_size != n_processes:
        raise ValueError(
            f"{arguments.world_size} processes share the training, and WORLD_SIZE is "
            f"{n_processes}; start it by `strategy` and `processes` alone"
        )
    # One GPU, even if more are visible: Trainer would copy the network to all of them.
    arguments._n_gpu = min(1, arguments.n_gpu)
    if settings.gradient_checkpointing:
        recomputation.enable(samples.model.network, settings.memory_setting)
    trainer = AnswerTrainer(
        model=samples.model.network,
        args=arguments,
        train_dataset=grouped,
        data_collator=_only_one,
        callbacks=[GivenSaveInterval()],
    )
    # Some classes say of their own loss that it cannot take the number of the step's tokens, and
    # ours would not get it.
    trainer.model_accepts_loss_kwargs = True
    trainer.is_flat = samples.is_flat
    trainer.remove_callback(_printer(trainer))
    return trainer


def _only_one(batches: list[dict[str, Any]]) -> dict[str, Any]:
    (batch,) = batches
    return batch


class GivenSaveInterval(TrainerCallback):  # type: ignore[misc]
    """Saves at the interval that is given now, also after a resume.

    Trainer takes the interval from the checkpoint that it resumes from, so that it could not be
    changed, say because the disk is full.
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Replace the interval of the checkpoint."""
        state.save_steps = args.save_steps


class AnswerTrainer(Trainer):  # type: ignore[misc]
    """Trainer with the loss of the answer tokens, a given order, and restored weights."""

    is_flat = False
    """Whether rows are plain conversations, which the network's own forward pass computes."""

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
        targets = inputs.pop("labels")[:, 1:]
        places = inputs.pop("places").cpu()
        vision = inputs.pop("vision").on(self.args.device, self._float_dtype())
        logits = self._logits(model, inputs | vision)
        summed = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1).float(),
            targets.flatten(),
            ignore_index=conversation.IGNORED,
            reduction="sum",
        )
        assert num_items_in_batch is not None  # else micro-batches would have equal weight
        # Counted over all processes; their gradients are averaged afterwards.
        loss = summed * self.accelerator.num_processes / num_items_in_batch
        if not torch.isfinite(loss):
            each = torch.nn.functional.cross_entropy(
                logits.flatten(0, 1).float(),
                targets.flatten(),
                ignore_index=conversation.IGNORED,
                reduction="none",
            ).view(targets.shape)
            is_wrong = ~each.isfinite().all(dim=1).cpu()
            raise ValueError(
                f"the loss is {loss.item()} at step {self.state.global_step + 1}; lower "
                f"learning_rate, or look at the images of {self._named(places[is_wrong])}"
            )
        return (loss, {"logits": logits}) if return_outputs else loss

    def _logits(self, model: torch.nn.Module, inputs: dict[str, Any]) -> torch.Tensor:
        """Return the logits at the positions that `inputs` asks for."""
        is_adapted = isinstance(self.model, PeftModel)
        network: Any = self.model.get_base_model() if is_adapted else self.model
        if self.is_flat or shared_prompt.recomputes(network):
            return torch.as_tensor(model(**inputs, use_cache=False).logits)
        with last_layer.only_at(network, inputs.pop("logits_to_keep")):
            if model is not self.model or self.is_deepspeed_enabled:
                # Through what wraps the network, which counts on its own forward pass.
                return torch.as_tensor(model(**inputs, use_cache=False).logits)
            image_token_id = network.config.image_token_id
            # Otherwise within the forward pass that Trainer has wrapped.
            with self.accelerator.autocast():
                rest = shared_prompt.forward(network, inputs, image_token_id=image_token_id)
                return torch.as_tensor(network.lm_head(rest.hidden))

    def _float_dtype(self) -> torch.dtype:
        """Return the dtype of pixels: float32, or bfloat16 if the weights are stored in it."""
        is_half = self.is_deepspeed_enabled and self.args.bf16
        return torch.bfloat16 if is_half else torch.float32

    def _named(self, places: torch.Tensor) -> str:
        """Return the questions of samples, for an error message."""
        samples = self.train_dataset.samples
        names = [name for place in places for name in samples.questions_at(int(place))]
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        return f"questions {', '.join(names[:MOST_NAMED])}{more}"

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if isinstance(self.model, PeftModel):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        # Trainer's own loader matches none of Qwen2-VL's names (checkpoints keep the hub's) and
        # continues from the initial weights with one warning. from_pretrained renames, and strict
        # loading fails if any tensor is missing.
        saved = type(self.model).from_pretrained(
            resume_from_checkpoint,
            dtype=self.model.dtype,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        )
        self.model.load_state_dict(saved.state_dict(), strict=True)


def keep(trainer: Trainer, folder: Path) -> dict[str, Any]:
    """Write the weights and the loss of a finished training; return what was measured.

    All processes call it; the first one writes. Weights trained in bfloat16 are stored in
    bfloat16, except those that adapters are merged into.
    """
    model = trainer.train_dataset.samples.model
    gathered = None
    if trainer.is_deepspeed_enabled and trainer.model_wrapped.zero_optimization_stage() == 3:
        # Each process holds a part of the weights.
        gathered = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    # Before adapters are merged. Under ZeRO-3 a weight holds its full size in ds_numel.
    n_trained = sum(
        getattr(weight, "ds_numel", weight.numel())
        for weight in trainer.model.parameters()
        if weight.requires_grad
    )
    log = pd.DataFrame([row for row in trainer.state.log_history if "loss" in row])
    if not trainer.is_world_process_zero():
        return {}
    if lora.is_adapted(model):
        # Merged and stored in 32 bits: small changes would be rounded away.
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
