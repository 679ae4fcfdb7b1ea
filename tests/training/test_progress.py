from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from medres.training.progress import Progress

N_STEPS, WARMUP = 60, 6


def told(losses: list[float], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return what a training with these losses says besides its progress."""
    progress = Progress(
        "small",
        tmp_path,
        tokens=np.ones(N_STEPS),
        flops=np.ones(N_STEPS),
        layout={},
        chance_loss=0.35,
    )
    arguments = SimpleNamespace(warmup_steps=WARMUP, world_size=1)
    state = SimpleNamespace(
        global_step=0, max_steps=N_STEPS, log_history=[], is_world_process_zero=True
    )
    progress.on_train_begin(arguments, state, None)
    for loss in losses:
        state.global_step += 1
        state.log_history.append({"loss": loss})
        progress.on_log(arguments, state, None, logs={"loss": loss})
    progress.on_train_end(arguments, state, None)
    return [line for line in capsys.readouterr().out.splitlines() if "learnt" in line]


def test_a_training_that_has_learnt_nothing_says_so_once_after_a_third_of_its_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stays = [7.0] * 3 + [0.35] * 57
    assert told(stays[: WARMUP + 19], tmp_path, capsys) == []
    (line,) = told(stays, tmp_path, capsys)
    assert line.startswith("small: has learnt nothing from the images so far: the loss per answer")


def test_a_training_whose_loss_falls_says_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told(np.geomspace(7.0, 0.05, N_STEPS).tolist(), tmp_path, capsys) == []
    assert told([7.0] * 6 + [0.3] * 54, tmp_path, capsys) == []
