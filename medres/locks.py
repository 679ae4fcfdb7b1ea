"""Locks of folders that one process at a time may make, with the name of who holds them."""

import math
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from medres import texts

WRITTEN = re.compile(r"process (\d+) on (\S+) \(begun at ([\d.]+)\)\n?")
SAME_WITHIN_S = 2.0
"""By so much two looks at when a process was begun may differ."""


@dataclass(frozen=True)
class Holder:
    """Who took the lock of a folder last and has not given it back."""

    pid: int
    host: str
    begun: float
    """When the process was, in seconds since 1970, by the clock of its host."""
    since: float
    """In seconds since 1970, by the clock of the disk."""

    @property
    def is_alive(self) -> bool | None:
        """Whether the process lives; None where that cannot be seen: it is of another host."""
        if self.host != socket.gethostname():
            return None
        # Not one that was given the number later.
        return abs(_begun(self.pid) - self.begun) < SAME_WITHIN_S


def holder_of(folder: Path) -> Holder | None:
    """Return who took the lock of a folder and has not given it back, if that can be read."""
    path = _holder(folder)
    try:
        found = WRITTEN.fullmatch(path.read_text())
        if not found:
            return None
        return Holder(int(found[1]), found[2], float(found[3]), path.stat().st_mtime)
    except (OSError, ValueError):
        return None


def acquired(folder: Path) -> BaseFileLock:
    """Return the lock of a folder once it is ours; while it is another's, say whose.

    The kernel gives it back when the process ends, however it ends.
    """
    lock = _lock(folder)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        found = holder_of(folder)
        who = f"process {found.pid} on {found.host}" if found else "another process"
        texts.say(f"{folder}: waits for {who}, which is making it")
        lock.acquire()
    pid = os.getpid()
    who = f"process {pid} on {socket.gethostname()} (begun at {_begun(pid):.2f})\n"
    _holder(folder).write_text(who)
    return lock


def acquired_if_free(folder: Path) -> BaseFileLock | None:
    """Return the lock of a folder if nobody has it; to be given back by its own `release`."""
    lock = _lock(folder)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    return lock


def _begun(pid: int) -> float:
    """Return when a process was begun, in seconds since 1970; infinity where there is none."""
    import psutil  # type: ignore[import-untyped]  # takes a while, for this alone

    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return math.inf


def _lock(folder: Path) -> BaseFileLock:
    # A singleton, so that the same process may ask again: a notebook cell run a second time.
    return FileLock(folder.parent / f".{folder.name}.lock", is_singleton=True)


def release(folder: Path, lock: BaseFileLock) -> None:
    """Let others have a folder whose lock is ours."""
    _holder(folder).unlink(missing_ok=True)
    lock.release(force=True)


def _holder(folder: Path) -> Path:
    # Not in the lock's own file, whose content is filelock's affair.
    return folder.parent / f".{folder.name}.holder"
