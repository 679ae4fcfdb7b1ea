"""One training on several processes, GPUs or nodes: DeepSpeed's launcher, watched.

The processes run `medres.worker`. Each writes who it is and how it ended into `ranks/` of the
run, so that a training that stops says which process stopped it, and why.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from medres import runs

STRATEGIES = ("single", "zero-2", "zero-3", "zero-2-offload", "zero-3-offload")
"""One process without DeepSpeed; else DeepSpeed: 2 divides optimiser states and gradients among
processes, 3 the weights too, offload keeps the optimiser states in the computer's memory."""
DTYPES = ("float32", "bfloat16")
MAX_GRADIENT_NORM = 1.0
SAYS = "[medres] "
"""Begins the lines of a process that the notebook shows; all lines are in launch.log."""
ENDS_WITHIN_S = 30
SENT = ("MEDRES_ROOT", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "DS_ACCELERATOR")
"""Variables that other nodes are given; a token of the hub is where HF_HOME is."""
KINDS = {kind.__name__: kind for kind in (ValueError, FileNotFoundError, MemoryError)}
"""What a process raises of itself: bad input, or too little memory."""


def n_processes() -> int:
    """Return how many processes share the training that this one belongs to."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Return which of them this is, from 0."""
    return int(os.environ.get("RANK", "0"))


def has_gpu(device: str) -> bool:
    """Return whether a training with this `device` (auto or cpu) runs on GPUs."""
    return device != "cpu" and torch.cuda.is_available()


def deepspeed_settings(strategy: str, *, dtype: str) -> dict[str, Any] | None:
    """Return what DeepSpeed is told for a strategy; None where it is not used.

    Weights in bfloat16 have a 32-bit copy in the optimiser, and gradients of micro-batches are
    added up in 32 bits: sums of a hundred small numbers in 8 bits of mantissa would make arms
    with other micro-batches differ.
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
        # A gradient that is not finite is not skipped without a word: the next loss raises.
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


def check(
    *,
    strategy: str,
    processes: int,
    hostfile: str,
    port: int,
    dtype: str,
    device: str,
    lora_rank: int = 0,
) -> None:
    """Refuse what cannot be started, before a run is begun.

    Args:
        strategy: One of `STRATEGIES`.
        processes: Of the training, on all nodes together.
        hostfile: DeepSpeed's list of nodes, relative to the project; empty for this machine.
        port: For the processes to meet at; zero takes a free one.
        dtype: One of `DTYPES`.
        device: auto or cpu.
        lora_rank: Of adapters; zero for none.

    Raises:
        ValueError: Saying what is wrong and what to do.
        FileNotFoundError: If the list of nodes is not there.
    """
    for name, value, known in (
        ("strategy", strategy, STRATEGIES),
        ("dtype", dtype, DTYPES),
        ("device", device, ("auto", "cpu")),
    ):
        if value not in known:
            raise ValueError(f"{name} is {value!r}; use {', '.join(known)}")
    if processes < 1:
        raise ValueError(f"processes is {processes}; it must be at least 1")
    if dtype == "bfloat16" and device == "auto" and not torch.cuda.is_available():
        raise ValueError(
            "dtype is bfloat16, and no GPU is visible; train where there is one, or say "
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
                "launcher; start one notebook, unset it, and say `processes` instead"
            )
        return
    if lora_rank and strategy.startswith("zero-3"):
        raise ValueError(
            f"lora_rank is {lora_rank} with strategy {strategy}; adapters need no divided weights, "
            "and are merged from whole ones: use zero-2"
        )
    if not has_gpu(device) and not shutil.which(os.environ.get("CXX", "c++")):
        raise ValueError(
            f"strategy is {strategy}, for which DeepSpeed compiles its communication between CPU "
            "processes, and no C++ compiler is on PATH; install g++, or take `strategy: single`"
        )
    if hostfile:
        _check_hosts(hostfile, processes)
        if absent := [name for name in ("pdsh", "ssh") if not shutil.which(name)]:
            raise ValueError(
                f"hostfile is {hostfile}, and {' and '.join(absent)}, by which DeepSpeed reaches "
                "other nodes, is not on PATH; install it"
            )
    elif has_gpu(device) and processes > torch.cuda.device_count():
        raise ValueError(
            f"processes is {processes}, and this machine has {torch.cuda.device_count()} GPUs; a "
            "process takes one: lower it, or name more nodes in a hostfile"
        )
    if port:
        _check_port(port)


def _check_hosts(hostfile: str, processes: int) -> None:
    path = runs.ROOT / hostfile
    if not path.is_file():
        raise FileNotFoundError(
            f"hostfile {path} is not there; write one line a node, such as `node1 slots=8`"
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
                f"port {port} cannot be used ({error}); name another, or 0 for any free one"
            ) from error


def _free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("", 0))
        port: int = opened.getsockname()[1]
    return port


def launch(folder: Path, parameters: dict[str, Any]) -> dict[str, Any]:
    """Train in processes of their own; return what the first of them measured.

    Their words appear here as they come. Interrupted, it ends them first.

    Args:
        folder: The run's, on a disk that all nodes share.
        parameters: Of `training.finetune`, checked.

    Raises:
        ValueError: If a process refused its input, with its words.
        FileNotFoundError: If one misses a file.
        MemoryError: If one ran out of GPU memory.
        RuntimeError: If one ended otherwise, saying which, where, and what to do.
    """
    shutil.rmtree(folder / "ranks", ignore_errors=True)
    (folder / "trained.json").unlink(missing_ok=True)
    here = {"host": socket.gethostname(), "pid": os.getpid(), "id": uuid.uuid4().hex}
    runs.write_json(folder / "launch.json", {"parameters": parameters, "launcher": here})
    port = parameters["port"] or _free_port()
    command = [sys.executable, "-m", "deepspeed.launcher.runner"]
    environment = os.environ | {"MEDRES_ROOT": str(runs.ROOT)}
    if parameters["hostfile"]:
        command += ["--hostfile", str(runs.ROOT / parameters["hostfile"])]
        environment["DS_ENV_FILE"] = _write_environment(folder, environment)
    else:
        command += ["--hostfile", os.devnull]
        cards = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        if has_gpu(parameters["device"]) and all(card.isdigit() for card in cards):
            # By number of GPUs it would take the first ones, whichever are ours.
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(cards[: parameters["processes"]])
        else:
            command += ["--num_gpus", str(parameters["processes"])]
    command += ["--master_port", str(port), "--no_local_rank", "--module", "medres.worker"]
    if not has_gpu(parameters["device"]):
        environment["DS_ACCELERATOR"] = "cpu"
    with (folder / "launch.log").open("a") as log:
        process = subprocess.Popen(
            [*command, str(folder)],
            cwd=runs.ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            for line in process.stdout or ():
                log.write(line)
                log.flush()
                # On another node its name stands before it.
                _, mark, words = line.partition(SAYS)
                if mark:
                    print(words, end="", flush=True)
            process.wait()
        finally:
            _end(process)
    # Not by the exit code: a process may fall over while it is taken down, its work done.
    if not (folder / "trained.json").is_file():
        raise _stopped(folder)
    return runs.read_json(folder / "trained.json")


def _write_environment(folder: Path, environment: Mapping[str, str]) -> str:
    """Write what DeepSpeed is to set on other nodes, in its form; return where."""
    path = folder / "environment"
    lines = [f"{name}={environment[name]}" for name in SENT if name in environment]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def _end(process: subprocess.Popen[str]) -> None:
    """End the launcher and all that it started, if they still run."""
    for sent in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sent)
        except ProcessLookupError:
            return
        try:
            process.wait(timeout=ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            continue


def _stopped(folder: Path) -> Exception:
    """Return what to raise for a training that stopped: which process, where, why."""
    ranks = {
        int(path.stem): json.loads(path.read_text()) for path in (folder / "ranks").glob("*.json")
    }
    log = folder / "launch.log"

    def of(state: str, **more: Any) -> list[str]:
        return [
            f"process {number} on {found['host']}"
            for number, found in sorted(ranks.items())
            if found["state"] == state and more.items() <= found.items()
        ]

    # What a process refused is the cause. Else one that is killed says nothing, and the others
    # fail because it no longer answers.
    for found in ranks.values():
        if found["state"] == "failed" and found["kind"] in KINDS:
            (who, *_) = of("failed", error=found["error"])
            return KINDS[found["kind"]](f"{found['error']} ({who}; see {log})")
    if silent := of("training"):
        return RuntimeError(
            f"{', '.join(silent)} ended without a word: killed, out of memory, or the node died; "
            f"the last lines are in {log}; started again, the training goes on from its last "
            "checkpoint"
        )
    if failed := of("failed"):
        error = next(found for found in ranks.values() if found["state"] == "failed")
        return RuntimeError(f"{error['kind']}: {error['error']} ({', '.join(failed)}; see {log})")
    if of("stopped"):
        return RuntimeError(
            f"the training was told to stop (SIGTERM; see {log}); started again, it goes on from "
            "its last checkpoint"
        )
    (*_, last) = ["nothing", *(line for line in log.read_text().splitlines() if line.strip())]
    return RuntimeError(f"no process began to train; {log} ends with: {last}")


def begin(folder: Path) -> None:
    """Write who this process is, in the run's `ranks/`."""
    _record(folder, state="training")


def end(folder: Path, *, state: str, error: str = "", kind: str = "") -> None:
    """Write how this process ended: done, stopped or failed.

    Args:
        folder: The run's.
        state: One of these.
        error: What was wrong, for a person.
        kind: Name of the exception.
    """
    _record(folder, state=state, error=error, kind=kind)


def _record(folder: Path, **what: Any) -> None:
    who = {"host": socket.gethostname(), "pid": os.getpid()}
    runs.write_json(folder / "ranks" / f"{rank()}.json", who | what)


def is_orphan(folder: Path, launcher: dict[str, Any]) -> bool:
    """Return whether nobody waits for this process, as far as can be seen here.

    Its launcher is gone, or the training was launched again, which on another node is the only
    sign of that.
    """
    if runs.read_json(folder / "launch.json")["launcher"] != launcher:
        return True
    if launcher["host"] != socket.gethostname():
        return False
    try:
        os.kill(launcher["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
