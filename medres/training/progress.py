"""How far a training is: words, progress.json, TensorBoard, and marks of whole checkpoints."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter
from transformers import TrainerCallback

from medres import runs
from medres.plan.memory import GPUS
from medres.training import launch

SAY_EVERY_S = 10.0


def peak_flops_per_s() -> float:
    """Return the peak of the GPU in use; NaN where there is none, or an unknown one."""
    if torch.cuda.is_available():
        for gpu in GPUS.values():
            if gpu.name.partition("-")[0] in torch.cuda.get_device_name():
                return gpu.flops_per_s
    return float("nan")


class Progress(TrainerCallback):  # type: ignore[misc]
    """Says how far a training is, marks whole checkpoints.

    Args:
        name: Of the training, for a person.
        folder: The run's.
        tokens: Of each optimiser step, padding not counted, shape (n_steps,).
        flops: Of each optimiser step, shape (n_steps,).
        layout: What a checkpoint depends on, written into its mark.
        launcher: Of a launched training, as in `launch.is_orphan`.
        earlier_s: Seconds spent before the checkpoint from which it goes on.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        *,
        tokens: np.ndarray,
        flops: np.ndarray,
        layout: dict[str, Any],
        launcher: dict[str, Any] | None = None,
        earlier_s: float = 0.0,
    ) -> None:
        self.name = name
        self.folder = folder
        self.tokens = tokens
        self.flops = flops
        self.layout = layout
        self.launcher = launcher
        self.earlier_s = earlier_s
        self.made = time.monotonic()
        self.first_step = 0
        self.began = self.said = time.monotonic()
        self.said_step = 0
        self.board: SummaryWriter | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Say where it begins."""
        self.first_step = self.said_step = state.global_step
        self.began = self.said = time.monotonic()
        if state.is_world_process_zero:
            self.board = SummaryWriter(
                str(self.folder / "tensorboard"), purge_step=state.global_step + 1
            )
            self._say(f"begins at step {state.global_step} of {state.max_steps}")

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop a training that nobody waits for."""
        if self.launcher and launch.is_orphan(self.folder, self.launcher):
            raise RuntimeError("nobody waits for this training any more")

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Note the loss of a step; now and then say how far it is."""
        if "loss" not in (logs or {}) or self.board is None:
            return
        for name in ("loss", "learning_rate", "grad_norm"):
            if name in logs:
                self.board.add_scalar(name, float(logs[name]), state.global_step)
        now = time.monotonic()
        if now - self.said < SAY_EVERY_S:
            return
        since, until = self.said_step, state.global_step
        tokens_per_s = float(self.tokens[since:until].sum()) / (now - self.said)
        flops_per_s = float(self.flops[since:until].sum()) / (now - self.said)
        mfu = flops_per_s / (peak_flops_per_s() * args.world_size)
        self.said, self.said_step = now, until
        self.board.add_scalar("tokens_per_s", tokens_per_s, until)
        # By operations, not by steps: those of mixed training differ.
        done = self.flops[self.first_step : until].sum() / self.flops[self.first_step :].sum()
        left_s = round((now - self.began) * (1 / done - 1))
        progress = {"step": until, "n_steps": state.max_steps, "left_s": left_s}
        progress |= {"tokens_per_s": round(tokens_per_s, 1), "flops_per_s": flops_per_s}
        runs.write_json(self.folder / "progress.json", {**progress, "loss": logs["loss"]})
        share = f"{mfu:.0%} MFU" if mfu == mfu else f"{flops_per_s / 1e9:,.0f} GFLOP/s"
        self._say(
            f"step {until} of {state.max_steps}, loss {logs['loss']:.3f}, {tokens_per_s:,.0f} "
            f"tokens/s, {share}, {left_s // 60} min {left_s % 60} s left"
        )

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Mark a checkpoint as whole."""
        # Written after everything else of the checkpoint; without it a killed save is ignored.
        if torch.distributed.is_initialized():
            torch.distributed.barrier()
        if state.is_world_process_zero:
            whole = Path(args.output_dir) / f"checkpoint-{state.global_step}" / "whole"
            spent_s = self.earlier_s + time.monotonic() - self.made
            whole.write_text(json.dumps({"layout": self.layout, "seconds": spent_s}) + "\n")

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Close what was written."""
        if self.board is not None:
            self.board.close()

    def _say(self, words: str) -> None:
        print(f"{launch.SAYS if self.launcher else ''}{self.name}: {words}", flush=True)
