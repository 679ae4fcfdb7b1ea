"""How a step is split decides neither its loss nor its gradient, on one process or two."""

from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from transformers import Trainer

from medres import datasets, models, runs
from medres.models import conversation, tiny
from medres.training import micro_batches
from medres.training import trainer as answer_trainer
from medres.training.micro_batches import MicroBatch
from medres.training.samples import Samples, assign
from medres.training.settings import TrainingSettings
from tests.training.test_training import SETTINGS, TREATMENT, prepare

LENGTHS = np.random.default_rng(0).integers(20, 400, 50)
N_EPOCHS = 4
BATCH_IMAGES = 8


def group(lengths: np.ndarray = LENGTHS, **changes: int) -> tuple[list[MicroBatch], int]:
    given = {"batch_images": 16, "micro_batch_images": 4, "n_processes": 1}
    return micro_batches.group(lengths, **given | changes)


def padded_tokens(part: MicroBatch, lengths: np.ndarray = LENGTHS) -> int:
    return len(part.samples) * int(lengths[part.samples].max())


def steps_of(groups: list[MicroBatch], *, batch_images: int) -> list[list[int]]:
    """Return the counted samples of each step, sorted."""
    places = [place for each in groups if each.is_counted for place in each.samples]
    return [sorted(places[at : at + batch_images]) for at in range(0, len(places), batch_images)]


@pytest.mark.parametrize("n_processes", [1, 2, 3])
@pytest.mark.parametrize("micro_batch_images", [0, 1, 3, 5])
@pytest.mark.parametrize("batch_images", [7, 16])
def test_every_step_has_its_own_samples_however_it_is_split(
    batch_images: int, micro_batch_images: int, n_processes: int
) -> None:
    given = {"batch_images": batch_images, "micro_batch_images": micro_batch_images}
    groups, n_per_step = group(**given, n_processes=n_processes)
    whole, _ = group(batch_images=batch_images, micro_batch_images=0)
    assert steps_of(groups, batch_images=batch_images) == [list(each.samples) for each in whole]
    assert len(groups) % n_processes == 0
    if micro_batch_images:
        assert max(map(padded_tokens, groups)) <= micro_batch_images * LENGTHS.max()
    n_parts = n_processes * n_per_step
    n_whole_steps = len(LENGTHS) // batch_images
    for step in range(n_whole_steps):
        parts = groups[step * n_parts : (step + 1) * n_parts]
        assert sum(len(each.samples) for each in parts if each.is_counted) == batch_images


def test_many_short_samples_pass_at_once_where_few_long_ones_do() -> None:
    """By number, sixty-four passes of two; by tokens, the short ones need two or three."""
    lengths = np.random.default_rng(1).permutation(np.repeat([60, 1700], 64))
    groups, n_per_step = group(lengths, batch_images=128, micro_batch_images=2)
    assert n_per_step == len(groups) == 34
    sizes = [len(each.samples) for each in groups if lengths[each.samples].max() == 60]
    assert sum(sizes) == 64
    assert len(sizes) == 2
    assert micro_batches.padding_share(groups, lengths) == 0


def test_the_parts_of_a_step_are_as_even_as_whole_samples_allow() -> None:
    """Against every way to cut eight samples, longest first, into three."""
    rng = np.random.default_rng(2)
    for _ in range(50):
        lengths = rng.integers(1, 60, 8)
        own = np.sort(lengths)[::-1]
        best = min(
            max((end - start) * own[start] for start, end in pairwise((0, first, second, 8)))
            for first, second in combinations(range(1, 8), 2)
        )
        parts = micro_batches._split(np.argsort(-lengths, kind="stable"), lengths, 3)
        assert len(parts) == 3
        assert max(len(part) * int(lengths[part].max()) for part in parts) == best


def test_processes_work_on_samples_of_like_length_at_the_same_time() -> None:
    rng = np.random.default_rng(1)
    lengths = np.where(rng.random(512) < 0.5, 60, 1700)
    groups, n_per_step = group(lengths, batch_images=128, micro_batch_images=1, n_processes=4)
    cost = np.array([padded_tokens(each, lengths) for each in groups]).reshape(-1, 4)
    shuffled = lengths.reshape(-1, 4)
    assert shuffled.max(axis=1).mean() > 1.7 * lengths.mean()
    waited_for = cost.max(axis=1).sum() / (len(lengths) / 4)
    assert waited_for < 1.05 * lengths.mean()
    assert n_per_step < 20


def test_a_process_without_a_sample_repeats_one_that_does_not_count() -> None:
    lengths = np.array([5, 3, 9])
    groups, _ = group(lengths, batch_images=2, micro_batch_images=1, n_processes=2)
    assert [(each.samples.tolist(), each.is_counted) for each in groups] == [
        ([0], True),
        ([1], True),
        ([2], True),
        ([2], False),
    ]


def test_splitting_by_length_pads_less() -> None:
    shares = [
        micro_batches.padding_share(group(micro_batch_images=images)[0], LENGTHS)
        for images in (0, 4, 1)
    ]
    assert shares[0] > 0.4
    assert max(shares[1:]) < 0.2


def trainer_for(folder: Path, *, micro_batch_images: int) -> Trainer:
    """Return a training of twenty samples in steps of 8, 8 and 4."""
    loaded = models.load(str(tiny.make(folder / "tiny")))
    question_set = datasets.load("small", "drawn")
    train = question_set.split("train")
    names = assign(train, "mixed", low_share=0.5, seed=0)
    samples = Samples(loaded, question_set, train, names, TREATMENT, epochs=N_EPOCHS, seed=0)
    return answer_trainer.trainer_of(
        samples,
        folder / "resume",
        TrainingSettings(
            **SETTINGS
            | {
                "epochs": N_EPOCHS,
                "batch_images": BATCH_IMAGES,
                "micro_batch_images": micro_batch_images,
                "weight_decay": 0.1,
                "warmup_share": 0.0,
                "checkpoint_every_steps": 1000,
            }
        ),
    )


def trajectory(folder: Path, *, micro_batch_images: int) -> dict[str, Any]:
    """Train; return losses and gradient norms of all steps, and the weights at the end."""
    descent = trainer_for(folder, micro_batch_images=micro_batch_images)
    descent.train()
    log = [row for row in descent.state.log_history if "loss" in row]
    return {
        "losses": [row["loss"] for row in log],
        "norms": [float(row["grad_norm"]) for row in log],
        "weights": {name: value.clone() for name, value in descent.model.state_dict().items()},
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
    real = answer_trainer.AnswerTrainer.compute_loss

    def of_itself(descent: Any, model: Any, inputs: dict[str, Any], **_: Any) -> Any:
        own = inputs["labels"][:, 1:].ne(conversation.IGNORED).sum()
        loss = real(descent, model, inputs, num_items_in_batch=own)
        return loss / descent.args.gradient_accumulation_steps

    monkeypatch.setattr(answer_trainer.AnswerTrainer, "compute_loss", of_itself)
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


@pytest.mark.parametrize(
    ("longest", "batch_images", "images"),
    [
        (77, 16, 16),  # 16 x 77 = 1,232: the whole step
        (81, 16, 15),  # 16 x 81 = 1,296 are too many, 15 x 81 = 1,215 are not
        (300, 16, 4),  # 4 x 300 = 1,200
        (1_280, 16, 1),
        (6_000, 16, 1),  # a single image is never divided
        (10, 4, 4),  # never more than a step has
    ],
)
def test_a_pass_on_a_cpu_has_at_most_1280_tokens(
    longest: int, batch_images: int, images: int
) -> None:
    lengths = np.array([5, longest, 9])
    assert micro_batches.images_on_a_cpu(lengths, batch_images=batch_images) == images
