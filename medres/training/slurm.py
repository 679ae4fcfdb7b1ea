"""A training on all nodes of a Slurm job, started by `srun`."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import torch

STARTED_BY_SRUN = "--by-srun"


def n_nodes() -> int:
    """Return how many nodes the Slurm job has that this process belongs to; 1 outside of one."""
    return int(os.environ.get("SLURM_JOB_NUM_NODES", "1"))


def check(processes: int, *, has_gpu: bool) -> None:
    """Refuse processes that the nodes of the job cannot share evenly.

    Raises:
        ValueError: With what is wrong and what to do.
    """
    per_node, left = divmod(processes, n_nodes())
    if left:
        raise ValueError(
            f"processes is {processes}, and the Slurm job has {n_nodes()} nodes, which share them "
            f"evenly; give a multiple of {n_nodes()}, or ask for another number of nodes"
        )
    if has_gpu and per_node > torch.cuda.device_count():
        raise ValueError(
            f"processes is {processes} on {n_nodes()} nodes of the Slurm job, {per_node} each, and "
            f"this node has {torch.cuda.device_count()} GPUs, one per process; lower it, or ask "
            "for more GPUs or nodes"
        )
    if absent := [name for name in ("srun", "scontrol") if not shutil.which(name)]:
        raise ValueError(
            f"the Slurm job has {n_nodes()} nodes, and {' and '.join(absent)} is not on PATH; "
            "load Slurm's commands, or ask for one node"
        )


def command(folder: Path, processes: int) -> list[str]:
    """Return the command that starts the processes of a training, evenly over the job's nodes."""
    return [
        "srun",
        f"--nodes={n_nodes()}",
        f"--ntasks={processes}",
        f"--ntasks-per-node={processes // n_nodes()}",
        "--distribution=block",
        # The command that waits here may be a step of the job itself, which has all of it.
        "--overlap",
        "--overcommit",
        "--mem=0",
        "--cpu-bind=none",
        "--kill-on-bad-exit=1",
        "--export=ALL",
        *(sys.executable, "-u", "-m", "medres.training.worker", str(folder), STARTED_BY_SRUN),
    ]


def environment(inherited: Mapping[str, str], *, processes: int, port: int) -> dict[str, str]:
    """Return the environment of `srun` and of the processes.

    Args:
        inherited: Environment of this process. What it asks for each task, GPU or node is of the
            task that started it, and is left out.
        processes: On all nodes together.
        port: TCP port at which they meet, on the first node.
    """
    nodes = subprocess.run(
        ["scontrol", "show", "hostnames", inherited["SLURM_JOB_NODELIST"]],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    kept = {
        name: value
        for name, value in inherited.items()
        if not (name.startswith(("SLURM_", "SRUN_")) and "_PER_" in name)
    }
    return kept | {
        "MASTER_ADDR": nodes.stdout.split()[0],
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(processes),
        "LOCAL_SIZE": str(processes // n_nodes()),
    }


def take_rank() -> None:
    """Give torch the numbers that `srun` has given to this process."""
    os.environ["RANK"] = os.environ["SLURM_PROCID"]
    os.environ["LOCAL_RANK"] = os.environ["SLURM_LOCALID"]
