"""A notebook's kernel, forked from a process that has imported what notebooks import.

The process is forked before anything else runs beside it, and waits for the connection file that
Jupyter writes when a notebook starts. Where none is waiting, Jupyter starts a kernel as always.
"""

import atexit
import json
import logging
import os
import signal
import sys
import traceback
from typing import Any, cast

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

_waiting: list[tuple[int, int]] = []
"""Process and pipe of the kernel that waits, if one does."""


def fork() -> None:
    """Fork the kernel of the one notebook that this process will run."""
    there, here = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(here)
        leave(_kernel(there))
    os.close(there)
    _waiting.append((process, here))


def options() -> dict[str, Any]:
    """Return what papermill is told to use the kernel that waits; nothing if none does."""
    return {"kernel_manager_class": Manager} if _waiting else {}


def leave(code: int) -> None:
    """End a forked process as any other ends, but without undoing what its parent imported."""
    for step in (atexit._run_exitfuncs, sys.stdout.flush, sys.stderr.flush):
        try:
            step()
        except BaseException:
            traceback.print_exc()
    os._exit(code)


def _kernel(source: int) -> int:
    """Wait for a kernel's arguments, then be that kernel until it is shut down."""
    with os.fdopen(source) as pipe:
        told = pipe.read()
    if not told:
        return 0
    from ipykernel.kernelapp import IPKernelApp

    asked = json.loads(told)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    # Between two cells, an interrupt would lose an answer for which papermill waits for ever.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        handlers = _handlers()
        app = IPKernelApp.instance(parent_handle=os.getppid())
        app.initialize(asked["arguments"])
        for handler in handlers:
            if handler.stream in (sys.__stdout__, sys.__stderr__):
                handler.setStream(sys.stdout if handler.stream is sys.__stdout__ else sys.stderr)
        app.start()
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _handlers() -> "list[logging.StreamHandler[Any]]":
    """Return what loggers that were made at the imports write with, to the streams of then."""
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    every = [each for logger in loggers for each in getattr(logger, "handlers", [])]
    return [each for each in every if isinstance(each, logging.StreamHandler)]


class Process:
    """A forked process with the methods of `subprocess.Popen` that Jupyter calls."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return how the process ended; None if it runs."""
        return self._waited(os.WNOHANG)

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for the end of the process; return how it ended."""
        return self._waited(0)

    def _waited(self, how: int) -> int | None:
        if self.returncode is None:
            found, status = os.waitpid(self.pid, how)
            if found:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End the process at once."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask the process to end."""
        self.send_signal(signal.SIGTERM)


class Forked(LocalProvisioner):
    """Hands the kernel's arguments to the process that waits for them."""

    async def send_signal(self, signum: int) -> None:
        """Send a signal, but for the interrupt before a shutdown: nothing runs, so it is noise."""
        if signum != signal.SIGINT:
            await super().send_signal(signum)

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Let the process that waits become the kernel."""
        pid, pipe = _waiting.pop()
        told = {
            "arguments": cmd[cmd.index("-f") :],
            "folder": str(kwargs.get("cwd") or os.getcwd()),
            "environment": dict(kwargs.get("env") or os.environ),
        }
        with os.fdopen(pipe, "w") as there:
            json.dump(told, there)
        self.process = cast(Any, Process(pid))
        self.pid = pid
        return self.connection_info


class Manager(AsyncKernelManager):
    """Jupyter's manager of kernels, whose kernel is the process that waits."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.provisioner = Forked(parent=self, kernel_id="", kernel_spec=self.kernel_spec)
