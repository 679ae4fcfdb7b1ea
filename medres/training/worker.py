"""One process of a launched training; its launcher starts it with the folder of the run."""

import signal
import sys
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import deepspeed.ops
import torch

from medres import runs, training
from medres.training import launch, slurm
from medres.training import strategy as strategies
from medres.training.settings import TrainingSettings


def main(arguments: list[str]) -> int:
    """Train this process's share; record in the folder of the run how it ended."""
    folder = Path(arguments[0])
    if slurm.STARTED_BY_SRUN in arguments:
        slurm.take_rank()
    launched = runs.read_json(folder / "launch.json")
    signal.signal(signal.SIGTERM, lambda *_: _stop(folder))
    sys.excepthook = partial(_fail, folder)
    # For inference, and compiled: a build that is killed leaves a lock for which all later
    # trainings would wait, and each process would leave 69 MB of main memory taken.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    launch.begin(folder, launched)
    settings = TrainingSettings(**launched["parameters"])
    outcome = training.train_here(folder, settings, launcher=launched["launcher"])
    if strategies.rank() == 0:
        runs.write_json(folder / "trained.json", outcome)
    launch.end(folder, state="done")
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    return 0


def _fail(
    folder: Path, kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    message = " ".join(str(error).split())
    launch.end(folder, state="failed", error=message, kind=kind.__name__)
    sys.__excepthook__(kind, error, trace)


def _stop(folder: Path) -> Any:
    # Not the cause of a stopped training: the launcher ends all processes when one is gone.
    launch.end(folder, state="stopped")
    sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
