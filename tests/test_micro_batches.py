"""How a step is split decides neither its loss nor its gradient, on one process or two."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_training import TREATMENT, prepare
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from transformers import Trainer

from medres import datasets, micro_batches, models, runs, training
from medres.micro_batches import MicroBatch
from medres.models import tiny

LENGTHS = np.random.default_rng(0).integers(20, 400, 50)
N_EPOCHS = 4
BATCH_IMAGES = 8


def deal(**changes: int) -> list[MicroBatch]:
    given = {"batch_images": 16, "micro_batch_images": 4, "n_processes": 1}
    return micro_batches.deal(LENGTHS, **given | changes)


def steps_of(dealt: list[MicroBatch], *, batch_images: int) -> list[list[int]]:
    """Return the counted samples of each step, sorted."""
    places = [place for each in dealt if each.is_counted for place in each.samples]
    return [sorted(places[at : at + batch_images]) for at in range(0, len(places), batch_images)]


@pytest.mark.parametrize("n_processes", [1, 2, 3])
@pytest.mark.parametrize("micro_batch_images", [0, 1, 3, 5])
@pytest.mark.parametrize("batch_images", [7, 16])
def test_every_step_has_its_own_samples_however_it_is_split(
    batch_images: int, micro_batch_images: int, n_processes: int
) -> None:
    given = {"batch_images": batch_images, "micro_batch_images": micro_batch_images}
    dealt = deal(**given, n_processes=n_processes)
    whole = deal(batch_images=batch_images, micro_batch_images=0)
    assert steps_of(dealt, batch_images=batch_images) == [list(each.samples) for each in whole]
    assert len(dealt) % n_processes == 0
    most = micro_batch_images or math.ceil(batch_images / n_processes)
    assert max(len(each.samples) for each in dealt) <= most
    n_parts = n_processes * micro_batches.count(**given, n_processes=n_processes)
    n_whole_steps = len(LENGTHS) // batch_images
    for step in range(n_whole_steps):
        parts = dealt[step * n_parts : (step + 1) * n_parts]
        assert sum(len(each.samples) for each in parts if each.is_counted) == batch_images


def test_processes_work_on_samples_of_like_length_at_the_same_time() -> None:
    rng = np.random.default_rng(1)
    lengths = np.where(rng.random(512) < 0.5, 60, 1700)
    dealt = micro_batches.deal(lengths, batch_images=128, micro_batch_images=1, n_processes=4)
    together = lengths[[int(each.samples[0]) for each in dealt]].reshape(-1, 4)
    shuffled = lengths.reshape(-1, 4)
    assert shuffled.max(axis=1).mean() > 1.7 * lengths.mean()
    assert together.max(axis=1).mean() < 1.05 * lengths.mean()


def test_a_process_without_a_sample_repeats_one_that_does_not_count() -> None:
    lengths = np.array([5, 3, 9])
    dealt = micro_batches.deal(lengths, batch_images=2, micro_batch_images=1, n_processes=2)
    assert [(each.samples.tolist(), each.is_counted) for each in dealt] == [
        ([0], True),
        ([1], True),
        ([2], True),
        ([2], False),
    ]


def test_splitting_by_length_pads_less() -> None:
    shares = [
        micro_batches.padding_share(deal(micro_batch_images=images), LENGTHS)
        for images in (0, 8, 4, 1)
    ]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0.4
    assert shares[-1] == 0


def trainer_for(folder: Path, *, micro_batch_images: int) -> Trainer:
    """Return a training of twenty samples in steps of 8, 8 and 4."""
    loaded = models.load(str(tiny.make(folder / "tiny")))
    question_set = datasets.load("small", "drawn")
    train = question_set.split("train")
    is_low = training.assign(train, "mixed", low_share=0.5, seed=0)
    samples = training.Samples(
        loaded, question_set, train, is_low, TREATMENT, epochs=N_EPOCHS, seed=0
    )
    return training.trainer_of(
        samples,
        folder / "resume",
        batch_images=BATCH_IMAGES,
        micro_batch_images=micro_batch_images,
        learning_rate=1e-3,
        weight_decay=0.1,
        warmup_share=0.0,
        checkpoint_every_steps=1000,
        seed=0,
    )


def trajectory(folder: Path, *, micro_batch_images: int) -> dict[str, Any]:
    """Train; return losses and gradient norms of all steps, and the weights at the end."""
    trainer = trainer_for(folder, micro_batch_images=micro_batch_images)
    trainer.train()
    log = [row for row in trainer.state.log_history if "loss" in row]
    return {
        "losses": [row["loss"] for row in log],
        "norms": [float(row["grad_norm"]) for row in log],
        "weights": {name: value.clone() for name, value in trainer.model.state_dict().items()},
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The project, and the trajectory of whole batches."""
    root = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "ROOT", root)
        prepare(root)
        return root, trajectory(root / "whole", micro_batch_images=0)


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    for name in ("losses", "norms"):
        assert len(expected[name]) == 3
        assert found[name] == pytest.approx(expected[name], rel=1e-5)
    # Adam blows up what float error leaves of a gradient near nought: 3e-5 was seen.
    torch.testing.assert_close(found["weights"], expected["weights"], rtol=0, atol=2e-4)


@pytest.mark.parametrize("micro_batch_images", [1, 2, 3])
def test_the_micro_batch_changes_neither_loss_nor_weights(
    whole: tuple[Path, dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    micro_batch_images: int,
) -> None:
    monkeypatch.setattr(runs, "ROOT", whole[0])
    assert_same(trajectory(tmp_path, micro_batch_images=micro_batch_images), whole[1])


def test_the_trajectory_tests_would_notice_a_mean_of_micro_batch_means(
    whole: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(runs, "ROOT", whole[0])
    real = training._AnswerTrainer.compute_loss

    def of_itself(trainer: Any, model: Any, inputs: dict[str, Any], **_: Any) -> Any:
        return real(trainer, model, inputs) / trainer.args.gradient_accumulation_steps

    monkeypatch.setattr(training._AnswerTrainer, "compute_loss", of_itself)
    found = trajectory(tmp_path, micro_batch_images=2)
    assert found["losses"] != pytest.approx(whole[1]["losses"], rel=1e-3)


def _train_a_share(folder: str) -> None:
    """What each of two processes does; the first keeps what came out."""
    found = {images: trajectory(Path(folder), micro_batch_images=images) for images in (0, 1)}
    if torch.distributed.get_rank() == 0:
        assert torch.distributed.get_world_size() == 2
        torch.save(found, Path(folder) / "found.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_train_as_one(
    whole: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Four images each at once, and one at a time with gradients exchanged after the last."""
    monkeypatch.setenv("MEDRES_ROOT", str(whole[0]))
    tiny.make(tmp_path / "tiny")
    launch = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=2,
        run_id="two",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        start_method="spawn",
    )
    elastic_launch(launch, _train_a_share)(str(tmp_path))
    found = torch.load(tmp_path / "found.pt")
    assert_same(found[0], whole[1])
    assert_same(found[1], whole[1])
