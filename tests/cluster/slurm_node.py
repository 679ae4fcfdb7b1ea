"""A Slurm of one node on this machine, for as long as it is needed: `with started(folder):`.

Needs root and Debian's slurm-wlm and munge. Its slurm.conf must lie where Slurm looks by itself:
what starts the jobs of a study forgets SLURM_CONF. It is taken away again.
"""

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

CONF = Path("/etc/slurm/slurm.conf")
KEY = Path("/etc/munge/munge.key")
SOCKETS = Path("/run/munge")
TOOLS = "slurmctld slurmd munged sbatch squeue scancel scontrol srun sinfo runuser".split()
DAEMONS = ("slurmctld", "slurmd")
READY_WITHIN_S = 60.0
MADE_HERE = "# One node, for as long as a test of medres runs.\n"
SETTINGS = """\
ClusterName=medres
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SchedulerParameters=sched_interval=1
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ReturnToService=2
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
KillWait=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=64000 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


class UnavailableError(RuntimeError):
    """No Slurm can be started here; the message says why."""


@contextmanager
def started(folder: Path) -> Iterator[None]:
    """Run a Slurm meanwhile that says it has two cores and 64 GB, whatever this machine has.

    Args:
        folder: For its state and logs.

    Raises:
        UnavailableError: If the packages or rights are missing, or there is a Slurm already.
    """
    _refuse()
    host = socket.gethostname().partition(".")[0]
    text = MADE_HERE + SETTINGS.format(host=host, folder=folder)
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    has_key, has_munge = KEY.exists(), bool(_running("munged"))
    try:
        CONF.parent.mkdir(exist_ok=True)
        CONF.write_text(text)
        if not has_munge:
            _start_munge()
        for name in DAEMONS:
            subprocess.run([name], check=True)
        _wait_until_ready(folder)
        yield
    finally:
        for name in reversed(DAEMONS):
            _end(folder / f"{name}.pid")
        CONF.unlink(missing_ok=True)
        if not has_munge:
            _end(SOCKETS / "munged.pid")
        if not has_key:
            KEY.unlink(missing_ok=True)


def _refuse() -> None:
    if absent := [name for name in TOOLS if not shutil.which(name)]:
        raise UnavailableError(f"{' '.join(absent)} not on PATH; install slurm-wlm and munge")
    if os.geteuid() != 0:
        raise UnavailableError("not root, as whom alone a Slurm can be started")
    is_left = CONF.exists() and CONF.read_text().startswith(MADE_HERE) and not _running("slurmctld")
    if CONF.exists() and not is_left:
        raise UnavailableError(f"{CONF} is there: this machine has a Slurm, which is left alone")


def _running(name: str) -> list[int]:
    return [each.pid for each in psutil.process_iter(["name"]) if each.info["name"] == name]


def _start_munge() -> None:
    if not KEY.exists():
        KEY.write_bytes(secrets.token_bytes(128))
        KEY.chmod(0o400)
    SOCKETS.mkdir(exist_ok=True)
    for path in (KEY, SOCKETS):
        shutil.chown(path, "munge")
    subprocess.run(["runuser", "-u", "munge", "--", "munged"], check=True)


def _wait_until_ready(folder: Path) -> None:
    until = time.monotonic() + READY_WITHIN_S
    while "idle" not in _said_by("sinfo", "--noheader", "--format=%T"):
        if time.monotonic() > until:
            logs = [path.read_text()[-2000:] for path in sorted(folder.glob("*.log"))]
            raise UnavailableError("its node was not ready in time:\n" + "\n".join(logs))
        time.sleep(0.5)


def _said_by(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True).stdout


def _end(path: Path) -> None:
    """End the process whose number is in a file."""
    with suppress(psutil.NoSuchProcess, FileNotFoundError, ValueError):
        process = psutil.Process(int(path.read_text()))
        process.terminate()
        try:
            process.wait(10)
        except psutil.TimeoutExpired:
            process.kill()
