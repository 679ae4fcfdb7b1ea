"""How a training is spread over processes: checks, and the settings of DeepSpeed."""

import os
import shutil
import socket
from typing import Any

import torch

from medres import gpus, runs
from medres.training import slurm
from medres.training.settings import TrainingSettings

MAX_GRADIENT_NORM = 1.0


def n_processes() -> int:
    """Return how many processes share the training that this one belongs to."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Return the number of this process among them, from 0."""
    return int(os.environ.get("RANK", "0"))


def has_gpu(device: str) -> bool:
    """Return whether a training with this `device` (auto or cpu) runs on GPUs.

    Raises:
        ValueError: If a GPU was planned and none is found.
    """
    return gpus.device(device) == "cuda"


def is_by_srun(settings: TrainingSettings) -> bool:
    """Return whether a training takes all nodes of the Slurm job it is started in."""
    return settings.strategy != "single" and not settings.hostfile and slurm.n_nodes() > 1


def deepspeed_settings(strategy: str, *, dtype: str) -> dict[str, Any] | None:
    """Return DeepSpeed's settings for a strategy; None where it is not used.

    Weights in bfloat16 have a 32-bit copy in the optimiser, and gradients of micro-batches are
    summed in 32 bits: in bfloat16, with 8 bits of mantissa, sums of a hundred small numbers would
    depend on the micro-batch size, and arms differ in it.
    """
    if strategy == "single":
        return None
    _, stage, *offload = strategy.split("-")
    zero: dict[str, Any] = {
        "stage": int(stage),
        "contiguous_gradients": True,
        "overlap_comm": True,
        "stage3_gather_16bit_weights_on_model_save": True,
    }
    if offload:
        zero["offload_optimizer"] = {"device": "cpu"}
    return {
        "zero_optimization": zero,
        # Non-finite gradients are not skipped silently: the next loss raises.
        "bf16": {"enabled": dtype == "bfloat16", "check_grad_overflow": False},
        "data_types": {"grad_accum_dtype": "fp32"},
        "gradient_clipping": MAX_GRADIENT_NORM,
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        # torch's AdamW: DeepSpeed's own are compiled on first use.
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 10**9,
    }


def check(settings: TrainingSettings) -> None:
    """Refuse what this machine cannot start, before a run is started.

    Raises:
        ValueError: With what is wrong and what to do.
        FileNotFoundError: If the list of nodes does not exist.
    """
    strategy, processes, hostfile = settings.strategy, settings.processes, settings.hostfile
    is_on_gpu = has_gpu(settings.device)
    if settings.dtype == "bfloat16" and settings.device == "auto" and not is_on_gpu:
        raise ValueError(
            "dtype is bfloat16, and no GPU is visible; train where there is one, or set "
            "`device: cpu`, which is slow, or `dtype: float32`"
        )
    if strategy == "single":
        if processes > 1 or hostfile:
            raise ValueError(
                f"strategy is single, with {processes} processes and hostfile {hostfile!r}; "
                "several processes need `strategy: zero-2` or another of DeepSpeed's"
            )
        if n_processes() > 1:
            raise ValueError(
                f"strategy is single, and WORLD_SIZE is {n_processes()}, as in a process of a "
                "launcher; start one notebook, unset it, and set `processes` instead"
            )
        return
    if settings.lora_rank and strategy.startswith("zero-3"):
        raise ValueError(
            f"lora_rank is {settings.lora_rank} with strategy {strategy}; adapters are merged into "
            "whole weights and do not need divided ones: use zero-2"
        )
    if hostfile:
        _check_hosts(hostfile, processes)
        if absent := [name for name in ("pdsh", "ssh") if not shutil.which(name)]:
            raise ValueError(
                f"hostfile is {hostfile}, and {' and '.join(absent)}, by which DeepSpeed reaches "
                "other nodes, is not on PATH; install it"
            )
    elif is_by_srun(settings):
        slurm.check(processes, has_gpu=is_on_gpu)
    elif is_on_gpu and processes > torch.cuda.device_count():
        raise ValueError(
            f"processes is {processes}, and this machine has {torch.cuda.device_count()} GPUs, one "
            "per process; lower it, or list more nodes in a hostfile"
        )
    if settings.port:
        _check_port(settings.port)


def _check_hosts(hostfile: str, processes: int) -> None:
    path = runs.ROOT / hostfile
    if not path.is_file():
        raise FileNotFoundError(
            f"hostfile {path} does not exist; write one line per node, such as `node1 slots=8`"
        )
    n_slots = 0
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        words = line.split("#")[0].split()
        if not words:
            continue
        name, _, slots = words[-1].partition("=")
        if len(words) != 2 or name != "slots" or not slots.isdigit():
            raise ValueError(
                f"hostfile {path}, line {number} is {line!r}; write `NODE slots=PROCESSES`"
            )
        n_slots += int(slots)
    if n_slots != processes:
        raise ValueError(
            f"hostfile {path} has {n_slots} slots, and processes is {processes}; make them equal"
        )


def _check_port(port: int) -> None:
    with socket.socket() as opened:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            opened.bind(("", port))
        except (OSError, OverflowError) as error:
            raise ValueError(
                f"port {port} cannot be used ({error}); give another, or 0 for any free one"
            ) from error
