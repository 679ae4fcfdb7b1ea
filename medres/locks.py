"""Locks of folders that one process at a time may make, with the name of who holds them."""

import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from medres import texts

WRITTEN = re.compile(r"process (\d+) on (\S+)\n?")


@dataclass(frozen=True)
class Holder:
    """Who took the lock of a folder last and has not given it back."""

    pid: int
    host: str
    since: float
    """In seconds since 1970, by the clock of the disk."""

    @property
    def is_alive(self) -> bool | None:
        """Whether the process lives; None where that cannot be seen: it is of another host."""
        if self.host != socket.gethostname():
            return None
        import psutil  # type: ignore[import-untyped]  # takes a while, for this alone

        try:
            # Not one that was given the number later; clocks may differ by a tick.
            return bool(psutil.Process(self.pid).create_time() <= self.since + 1)
        except psutil.Error:
            return False


def holder_of(folder: Path) -> Holder | None:
    """Return who took the lock of a folder and has not given it back, if that can be read."""
    path = _holder(folder)
    try:
        found = WRITTEN.fullmatch(path.read_text())
        return Holder(int(found[1]), found[2], path.stat().st_mtime) if found else None
    except (OSError, ValueError):
        return None


def acquired(folder: Path) -> BaseFileLock:
    """Return the lock of a folder once it is ours; while it is another's, say whose.

    The kernel gives it back when the process ends, however it ends.
    """
    lock = _lock(folder)
    holder = _holder(folder)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        who = holder.read_text().strip() if holder.is_file() else "another process"
        texts.say(f"{folder}: waits for {who}, which is making it")
        lock.acquire()
    holder.write_text(f"process {os.getpid()} on {socket.gethostname()}\n")
    return lock


def acquired_if_free(folder: Path) -> BaseFileLock | None:
    """Return the lock of a folder if nobody has it; to be given back by its own `release`."""
    lock = _lock(folder)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    return lock


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
