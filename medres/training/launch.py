"""One training on several processes, GPUs or nodes, supervised.

DeepSpeed's launcher starts the processes here or on the nodes of a hostfile, `srun` on all nodes
of a Slurm job. They run `medres.training.worker`. Each records its host, its process id and how
it ended in `ranks/` of the run, so that the error of a stopped training names the process and the
cause.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from medres import runs, texts
from medres.training import heartbeat, slurm
from medres.training import strategy as strategies
from medres.training.settings import TrainingSettings

SHOWN = "[medres] "
"""Marks the lines of a process that the notebook shows; all lines are in launch.log."""
ENDS_WITHIN_S = 30
PASSED_ON = (
    *("MEDRES_ROOT", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE"),
    *("DS_ACCELERATOR", "GLOO_SOCKET_IFNAME", "OMP_NUM_THREADS"),
)
"""Environment variables set on other nodes; a token of the hub is stored in HF_HOME."""
KINDS = {kind.__name__: kind for kind in (ValueError, FileNotFoundError, MemoryError)}
"""Errors that a process raises itself: bad input, or too little memory."""


def _free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("", 0))
        port: int = opened.getsockname()[1]
    return port


def launch(folder: Path, settings: TrainingSettings) -> dict[str, Any]:
    """Train in separate processes; return what the first of them measured.

    Their messages are shown as they arrive. An interrupt ends the processes first.

    Args:
        folder: Folder of the run, on a disk that all nodes share.
        settings: Of the training, checked by `strategy.check`.

    Raises:
        ValueError: If a process refused its input, with its message.
        FileNotFoundError: If a file is missing for a process.
        MemoryError: If a process ran out of GPU memory.
        RuntimeError: If a process ended otherwise, with its number, its host and what to do.
    """
    shutil.rmtree(folder / "ranks", ignore_errors=True)
    (folder / "trained.json").unlink(missing_ok=True)
    here = {"host": socket.gethostname(), "pid": os.getpid(), "id": uuid.uuid4().hex}
    runs.write_json(
        folder / "launch.json",
        {
            "parameters": settings.as_parameters(),
            "launcher": here,
            "silent_s": heartbeat.SILENT_S,
        },
    )
    port = settings.port or _free_port()
    command, environment = _command(folder, settings, port)
    with (folder / "launch.log").open("a") as log:
        process = subprocess.Popen(
            command,
            cwd=runs.ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        watch = heartbeat.Watch(
            folder / "ranks",
            is_done=lambda record: json.loads(record.read_text())["state"] == "done",
            end=partial(_end_everywhere, folder, process),
            silent_s=heartbeat.SILENT_S,
        )
        watch.start()
        try:
            for line in process.stdout or ():
                log.write(line)
                log.flush()
                # Lines of other nodes begin with the node's name.
                _, mark, message = line.partition(SHOWN)
                if mark:
                    texts.say(message, end="")
            process.wait()
        finally:
            watch.is_over.set()
            watch.join()
            _end(process)
    # Not by the exit code: a process may fail while it shuts down, after its work is done.
    if not (folder / "trained.json").is_file():
        raise _stopped(folder, watch.lost)
    return runs.read_json(folder / "trained.json")


def _command(
    folder: Path, settings: TrainingSettings, port: int
) -> tuple[list[str], dict[str, str]]:
    """Return the command that starts the processes, and its environment."""
    # accelerate would overrule `threads` by a number that depends on the cores of a node, and sums
    # on a CPU are rounded otherwise with another number.
    threads = {"OMP_NUM_THREADS": str(settings.threads)}
    inherited = os.environ | {"MEDRES_ROOT": str(runs.ROOT)} | threads
    if not strategies.has_gpu(settings.device):
        inherited["DS_ACCELERATOR"] = "cpu"
    if strategies.is_by_srun(settings):
        environment = slurm.environment(inherited, processes=settings.processes, port=port)
        return slurm.command(folder, settings.processes), environment
    command = [sys.executable, "-m", "deepspeed.launcher.runner"]
    if settings.hostfile:
        command += ["--hostfile", str(runs.ROOT / settings.hostfile)]
        inherited["DS_ENV_FILE"] = _write_environment(folder, inherited)
    else:
        command += ["--hostfile", os.devnull]
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        cards = visible.split(",") if visible else []
        if strategies.has_gpu(settings.device) and cards:
            if not all(card.isdigit() for card in cards):
                raise ValueError(
                    f"CUDA_VISIBLE_DEVICES is {visible!r}: DeepSpeed knows GPUs by number and "
                    "would take others; give the numbers that `nvidia-smi -L` shows"
                )
            # With --num_gpus it would use the first GPUs, not those that are visible here.
            inherited["CUDA_VISIBLE_DEVICES"] = ",".join(cards[: settings.processes])
        else:
            command += ["--num_gpus", str(settings.processes)]
    command += ["--master_port", str(port), "--no_local_rank", "--module", "medres.training.worker"]
    return [*command, str(folder)], inherited


def _write_environment(folder: Path, environment: Mapping[str, str]) -> str:
    """Write the environment of other nodes in DeepSpeed's format; return the path."""
    path = folder / "environment"
    lines = [f"{name}={environment[name]}" for name in PASSED_ON if name in environment]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def _end(process: subprocess.Popen[str]) -> None:
    """End the launcher and its processes, if they are still running."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(timeout=ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            continue


def _end_everywhere(folder: Path, process: subprocess.Popen[str]) -> None:
    """End the launcher and its processes, also those that its signals do not reach."""
    launched = runs.read_json(folder / "launch.json")
    runs.write_json(folder / "launch.json", launched | {"launcher": {}})
    _end(process)


def _stopped(folder: Path, lost: Collection[int] = ()) -> Exception:
    """Return the error for a training that stopped: which process, where, why.

    Args:
        folder: Of the run.
        lost: Numbers of the processes that gave no sign of life.
    """
    ranks: dict[int, dict[str, Any]] = {}
    signs: dict[int, float] = {}
    for path in (folder / "ranks").glob("*.json"):
        ranks[int(path.stem)] = json.loads(path.read_text())
        signs[int(path.stem)] = path.stat().st_mtime
    first = min(
        (sign for number, sign in signs.items() if ranks[number]["state"] != "done"), default=0
    )
    for number, found in ranks.items():
        if found["state"] == "training" and number in lost:
            found["state"] = "cut off"
        # Busy in a call of its libraries, a process does not hear of SIGTERM.
        elif found["state"] == "training" and signs[number] > first + heartbeat.OUTLIVES_S:
            found["state"] = "waited for others"
    log = folder / "launch.log"

    def of(state: str, **more: Any) -> list[str]:
        return [
            f"process {number} on {found['host']}"
            for number, found in sorted(ranks.items())
            if found["state"] == state and more.items() <= found.items()
        ]

    # Input that a process refused is the cause. Otherwise a killed process leaves no error, and
    # the others fail because it no longer answers.
    for found in ranks.values():
        if found["state"] == "failed" and found["kind"] in KINDS:
            (who, *_) = of("failed", error=found["error"])
            return KINDS[found["kind"]](f"{found['error']} ({who}; see {log})")
    if cut_off := of("cut off"):
        server = f" or from {ranks[0]['host']}" if 0 in ranks else ""
        return RuntimeError(
            f"{', '.join(cut_off)} gave no sign of life for {heartbeat.SILENT_S:.0f} s (its node "
            f"is down, or cut off from the shared disk{server}); see {log}; started "
            "again, the training resumes from its last checkpoint"
        )
    if silent := of("training"):
        return RuntimeError(
            f"{', '.join(silent)} died without an error (killed, out of memory, or its node is "
            f"down); the last lines are in {log}; started again, the training resumes from its "
            "last checkpoint"
        )
    if failed := of("failed"):
        error = next(found for found in ranks.values() if found["state"] == "failed")
        return RuntimeError(f"{error['kind']}: {error['error']} ({', '.join(failed)}; see {log})")
    if of("stopped"):
        return RuntimeError(
            f"the training was stopped (SIGTERM; see {log}); started again, it resumes from its "
            "last checkpoint"
        )
    (*_, last) = ["nothing", *(line for line in log.read_text().splitlines() if line.strip())]
    return RuntimeError(f"no process started to train; {log} ends with: {last}")


def begin(folder: Path, launched: dict[str, Any]) -> None:
    """Record host and id of this process in `ranks/` of the run, and give signs of life there.

    Args:
        folder: Folder of the run.
        launched: Content of launch.json.
    """
    _record(folder, state="training")
    heartbeat.begin(
        partial(_renew, folder, launched["launcher"]),
        cut_off=partial(_give_up, folder),
        silent_s=launched["silent_s"],
    )


def _renew(folder: Path, launcher: dict[str, Any]) -> None:
    if is_orphan(folder, launcher):
        os._exit(1)  # It may wait for others for long, and the record may be a later launch's.
    os.utime(_record_of(folder))


def _give_up(folder: Path, reason: str) -> None:
    """End this process at once, which waits for others that it does not reach."""
    try:
        end(folder, state="cut off", error=reason)
    finally:
        os._exit(1)


def end(folder: Path, *, state: str, error: str = "", kind: str = "") -> None:
    """Record how this process ended.

    Args:
        folder: Folder of the run.
        state: done, stopped, failed or cut off.
        error: Message of the exception, if there was one.
        kind: Name of its class.
    """
    _record(folder, state=state, error=error, kind=kind)


def _record(folder: Path, **what: Any) -> None:
    who = {"host": socket.gethostname(), "pid": os.getpid()}
    runs.write_json(_record_of(folder), who | what)


def _record_of(folder: Path) -> Path:
    return folder / "ranks" / f"{strategies.rank()}.json"


def is_orphan(folder: Path, launcher: dict[str, Any]) -> bool:
    """Return whether the launcher of this process is gone, as far as this node can tell.

    On the launcher's node its process id tells; on other nodes only a later launch does, or the
    launcher itself when it gives the training up.
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
