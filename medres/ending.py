"""How a command ends when it is told to, and takes along whatever it started."""

import ctypes
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

import psutil  # type: ignore[import-untyped]

TOLD_BY = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals by which a key, a scheduler or a closed terminal ends a command."""
SUBREAPER = 36
"""`PR_SET_CHILD_SUBREAPER` of Linux: orphans of what this process began become its children."""
DIES_WITH_PARENT = 1
"""`PR_SET_PDEATHSIG` of Linux."""
LIBRARY = ctypes.CDLL(None) if sys.platform == "linux" else None
ENDS_WITHIN_S = 10.0


def heed_signals() -> None:
    """Have each of `TOLD_BY` raise KeyboardInterrupt with its name, unless it is ignored."""
    for number in TOLD_BY:
        # Such as by `nohup`.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    # Once: what follows is not to be interrupted.
    for each in TOLD_BY:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt(signal.Signals(number).name)


@contextmanager
def no_child_left() -> Iterator[None]:
    """End all processes that were begun meanwhile, also those whose parent died (Linux)."""
    _adopt_orphans(True)
    before = set(_children())
    try:
        yield
    finally:
        for how in (psutil.Process.terminate, psutil.Process.kill):
            begun = [child for child in _children() if child not in before]
            for child in begun:
                with suppress(psutil.NoSuchProcess):
                    how(child)
            psutil.wait_procs(begun, ENDS_WITHIN_S)
        _adopt_orphans(False)


def with_parent() -> None:
    """Have this process, which was just begun, killed when its parent dies however (Linux)."""
    _control(DIES_WITH_PARENT, signal.SIGKILL)


def _adopt_orphans(does: bool) -> None:
    _control(SUBREAPER, int(does))


def _control(option: int, value: int) -> None:
    if LIBRARY is not None:
        LIBRARY.prctl(option, value, 0, 0, 0)


def _children() -> list[psutil.Process]:
    return list(psutil.Process().children(recursive=True))
