"""Progress of a training: messages, progress.json, TensorBoard, marks of whole checkpoints."""

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter
from transformers import TrainerCallback

from medres import runs, texts
from medres.plan import memory
from medres.results import losses
from medres.training import checkpoints, launch

REPORT_EVERY_S = 10.0


def peak_flops_per_s() -> float:
    """Return the peak rate of the GPU in use; NaN if there is none or it is unknown."""
    gpu = memory.gpu_named(torch.cuda.get_device_name()) if torch.cuda.is_available() else None
    return gpu.flops_per_s if gpu else float("nan")


class Progress(TrainerCallback):  # type: ignore[misc]
    """Reports the progress of a training and marks whole checkpoints.

    Args:
        name: Of the training, in messages.
        folder: Folder of the run.
        tokens: Tokens of each optimiser step, padding not counted, shape (n_steps,).
        flops: Floating-point operations of each optimiser step, shape (n_steps,).
        layout: What a checkpoint depends on, written into its mark.
        chance_loss: Loss that can be reached without the image, None if it is not known.
        launcher: Of a launched training, as in `launch.is_orphan`.
        earlier_s: Seconds of training up to the checkpoint that it resumes from.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        *,
        tokens: np.ndarray,
        flops: np.ndarray,
        layout: dict[str, Any],
        chance_loss: float | None = None,
        goes_on: bool = False,
        launcher: dict[str, Any] | None = None,
        earlier_s: float = 0.0,
    ) -> None:
        self.name = name
        self.folder = folder
        self.tokens = tokens
        self.flops = flops
        self.layout = layout
        self.chance_loss = chance_loss
        self.goes_on = goes_on
        self.launcher = launcher
        self.earlier_s = earlier_s
        self.made = time.monotonic()
        self.first_step = 0
        self.began = self.reported = time.monotonic()
        self.reported_step = 0
        self.board: SummaryWriter | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Report the first step."""
        self.first_step = self.reported_step = state.global_step
        self.began = self.reported = time.monotonic()
        if state.is_world_process_zero:
            self.board = SummaryWriter(
                str(self.folder / "tensorboard"), purge_step=state.global_step + 1
            )
            self._report(f"starts at step {state.global_step} of {state.max_steps}")

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop a training whose launcher is gone."""
        if self.launcher and launch.is_orphan(self.folder, self.launcher):
            raise RuntimeError("the launcher of this training is gone; stopping")

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Write the loss of a step; report progress every few seconds."""
        if "loss" not in (logs or {}) or self.board is None:
            return
        for name in ("loss", "learning_rate", "grad_norm"):
            if name in logs:
                self.board.add_scalar(name, float(logs[name]), state.global_step)
        if state.global_step == args.warmup_steps + math.ceil(state.max_steps / 3):
            self._warn([row["loss"] for row in state.log_history if "loss" in row])
        now = time.monotonic()
        if now - self.reported < REPORT_EVERY_S:
            return
        since, until = self.reported_step, state.global_step
        tokens_per_s = float(self.tokens[since:until].sum()) / (now - self.reported)
        flops_per_s = float(self.flops[since:until].sum()) / (now - self.reported)
        mfu = flops_per_s / (peak_flops_per_s() * args.world_size)
        self.reported, self.reported_step = now, until
        self.board.add_scalar("tokens_per_s", tokens_per_s, until)
        # By operations, not by steps: steps of mixed training differ in cost.
        done = self.flops[self.first_step : until].sum() / self.flops[self.first_step :].sum()
        left_s = round((now - self.began) * (1 / done - 1))
        progress = {"step": until, "n_steps": state.max_steps, "left_s": left_s}
        progress |= {"tokens_per_s": round(tokens_per_s, 1), "flops_per_s": flops_per_s}
        runs.write_json(self.folder / "progress.json", {**progress, "loss": logs["loss"]})
        share = f"{mfu:.0%} MFU" if mfu == mfu else f"{flops_per_s / 1e9:,.0f} GFLOP/s"
        self._report(
            f"step {until} of {state.max_steps}, loss {logs['loss']:.3f}, {tokens_per_s:,.0f} "
            f"tokens/s, {share}, {left_s // 60} min {left_s % 60} s left"
        )

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Mark a checkpoint as whole."""
        # Written after everything else of the checkpoint; without it a killed save is ignored.
        if torch.distributed.is_initialized():
            torch.distributed.barrier()
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            spent_s = self.earlier_s + time.monotonic() - self.made
            checkpoints.mark(folder, layout=self.layout, seconds=spent_s)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Close the TensorBoard file."""
        if self.board is not None:
            self.board.close()

    def _warn(self, so_far: list[float]) -> None:
        """Say that nothing has been learnt so far, if the loss shows it."""
        if reason := losses.stays(so_far, self.chance_loss, goes_on=self.goes_on):
            self._report(
                f"has learnt nothing from the images so far: {reason}; if that stays so, try more "
                "epochs, a higher learning_rate, a pretrained model or more images"
            )

    def _report(self, message: str) -> None:
        mark = launch.SHOWN if self.launcher else ""
        texts.say(f"{mark}{self.name}: {message}")
