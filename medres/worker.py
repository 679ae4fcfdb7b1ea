"""One process of a launched training: `python -m medres.worker RUN_FOLDER`, by DeepSpeed."""

import logging
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from medres import launch, runs, training


def main(arguments: list[str]) -> int:
    """Train this process's share; say in the run's folder how it ended."""
    folder = Path(arguments[0])
    asked = runs.read_json(folder / "launch.json")
    signal.signal(signal.SIGTERM, lambda *_: _stop(folder))
    launch.begin(folder)
    try:
        outcome = training.train_here(folder, asked["parameters"], launcher=asked["launcher"])
    except (ValueError, OSError, RuntimeError) as error:
        is_input = isinstance(error, ValueError | OSError) and not isinstance(
            error, ConnectionError
        )
        words = " ".join(str(error).split())
        logging.exception("this process ends")
        launch.end(folder, state="failed", error=words, is_input=is_input)
        return 1
    if launch.rank() == 0:
        runs.write_json(folder / "trained.json", outcome)
    launch.end(folder, state="done")
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    return 0


def _stop(folder: Path) -> Any:
    # Not what stopped the training: the launcher ends all processes when one is gone.
    launch.end(folder, state="stopped")
    sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
