"""One training on several processes, GPUs or nodes: DeepSpeed's launcher, watched.

The processes run `medres.training.worker`. Each writes who it is and how it ended into `ranks/`
of the run, so that a training that stops says which process stopped it, and why.
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

from medres import runs
from medres.training import strategy as strategies

SAYS = "[medres] "
"""Begins the lines of a process that the notebook shows; all lines are in launch.log."""
ENDS_WITHIN_S = 30
SENT = ("MEDRES_ROOT", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "DS_ACCELERATOR")
"""Variables that other nodes are given; a token of the hub is where HF_HOME is."""
KINDS = {kind.__name__: kind for kind in (ValueError, FileNotFoundError, MemoryError)}
"""What a process raises of itself: bad input, or too little memory."""


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
        if strategies.has_gpu(parameters["device"]) and all(card.isdigit() for card in cards):
            # By number of GPUs it would take the first ones, whichever are ours.
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(cards[: parameters["processes"]])
        else:
            command += ["--num_gpus", str(parameters["processes"])]
    command += ["--master_port", str(port), "--no_local_rank", "--module", "medres.training.worker"]
    if not strategies.has_gpu(parameters["device"]):
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
    runs.write_json(folder / "ranks" / f"{strategies.rank()}.json", who | what)


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
