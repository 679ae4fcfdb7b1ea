"""Locks of folders that one process at a time may make, with the name of who holds them."""

import os
import socket
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from medres import texts


def acquired(folder: Path) -> BaseFileLock:
    """Return the lock of a folder once it is ours; while it is another's, say whose.

    The kernel gives it back when the process ends, however it ends.
    """
    # A singleton, so that the same process may ask again: a notebook cell run a second time.
    lock = FileLock(folder.parent / f".{folder.name}.lock", is_singleton=True)
    holder = _holder(folder)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        who = holder.read_text().strip() if holder.is_file() else "another process"
        texts.say(f"{folder}: waits for {who}, which is making it")
        lock.acquire()
    holder.write_text(f"process {os.getpid()} on {socket.gethostname()}\n")
    return lock


def release(folder: Path, lock: BaseFileLock) -> None:
    """Let others have a folder whose lock is ours."""
    _holder(folder).unlink(missing_ok=True)
    lock.release(force=True)


def _holder(folder: Path) -> Path:
    # Not in the lock's own file, whose content is filelock's affair.
    return folder.parent / f".{folder.name}.holder"
