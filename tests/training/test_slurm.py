"""A training on all nodes of a Slurm job: what is refused, and what `srun` is given."""

from pathlib import Path

import pytest
import torch

from medres.training import slurm


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job of two nodes, whose commands lie in a folder of their own."""
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "2")
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "scontrol").write_text("#!/bin/sh\necho node1\necho node2\n")
    (tmp_path / "srun").touch()
    for name in ("scontrol", "srun"):
        (tmp_path / name).chmod(0o755)
    return tmp_path


def test_processes_that_the_nodes_cannot_share_evenly_are_refused(programs: Path) -> None:
    slurm.check(4, has_gpu=False)
    with pytest.raises(ValueError, match="processes is 3, and the Slurm job has 2 nodes, which"):
        slurm.check(3, has_gpu=False)


def test_more_processes_than_gpus_of_a_node_are_refused(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    slurm.check(8, has_gpu=True)
    with pytest.raises(ValueError, match=r"16 on 2 nodes .*, 8 each, and this node has 4 GPUs"):
        slurm.check(16, has_gpu=True)


def test_without_the_commands_of_slurm_nothing_is_tried(programs: Path) -> None:
    (programs / "srun").unlink()
    with pytest.raises(ValueError, match="has 2 nodes, and srun is not on PATH"):
        slurm.check(2, has_gpu=False)


def test_what_the_starting_task_asked_for_is_not_asked_for_each_process(programs: Path) -> None:
    given = {
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_CPUS_PER_TASK": "16",
        "SLURM_GPUS_PER_TASK": "8",
        "SLURM_MEM_PER_NODE": "1000",
        "HF_HOME": "/hub",
    }
    made = slurm.environment(given, processes=16, port=29_500)
    assert made == {
        "SLURM_JOB_NODELIST": "node[1-2]",
        "HF_HOME": "/hub",
        "MASTER_ADDR": "node1",
        "MASTER_PORT": "29500",
        "WORLD_SIZE": "16",
        "LOCAL_SIZE": "8",
    }
