"""Loaded by every Python process of a disturbed study: counts file-system calls, and dies at one.

`MEDRES_FAULTS` names the campaign's folder. Each call that changes something below `project/`
there adds a byte to `calls`, whoever makes it. The call whose number stands in `dies_at` kills the
process that makes it (`one`) or all of its group (`group`). `MEDRES_FAULTS_CLOCK_S` moves the
clock.
"""

import os
import signal
import sys
import time
from typing import Any

FOLDER = os.environ.get("MEDRES_FAULTS", "")
PROJECT = os.path.join(FOLDER, "project") + os.sep
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
CHANGES = frozenset(f"os.{name}" for name in "rename remove rmdir mkdir truncate link".split())
_busy = False


def _changes(event: str, given: tuple[Any, ...]) -> bool:
    if event == "open":
        if not isinstance(given[0], str | bytes | os.PathLike) or not given[2] & WRITES:
            return False
    elif event not in CHANGES:
        return False
    if event in ("os.remove", "os.rmdir") and given[1] != -1:  # as rmtree does
        return True
    path = os.fsdecode(given[0]) if not isinstance(given[0], int) else ""
    return os.path.abspath(path).startswith(PROJECT)


def _count(event: str, given: tuple[Any, ...]) -> None:
    global _busy
    if _busy or not (event == "os.fsync" or _changes(event, given)):
        return
    _busy = True
    try:
        calls = os.open(os.path.join(FOLDER, "calls"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(calls, b".")
        number = os.lseek(calls, 0, os.SEEK_CUR)
        os.close(calls)
        with open(os.path.join(FOLDER, "dies_at")) as file:
            dies_at, who = file.read().split()
        if number == int(dies_at):
            if who == "group":
                os.killpg(0, signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
    except OSError:
        pass
    finally:
        _busy = False


def _counted_fsync(handle: int) -> None:
    _count("os.fsync", (handle,))
    _fsync(handle)


if FOLDER:
    _fsync, os.fsync = os.fsync, _counted_fsync
    sys.addaudithook(_count)
if _shift_s := float(os.environ.get("MEDRES_FAULTS_CLOCK_S", "0")):
    _time, _time_ns = time.time, time.time_ns
    time.time = lambda: _time() + _shift_s
    time.time_ns = lambda: _time_ns() + int(_shift_s * 1e9)
