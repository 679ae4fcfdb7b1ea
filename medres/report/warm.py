"""A process that imports once what the pages of a study need, and forks for each of them.

`medres.make` starts it and hands its sockets to the jobs (`handover`); it ends with `medres.make`,
however that ends. Each page is made in a fork, and its notebook runs in a second one, with the
environment, folder and streams of the command that asked. A command is sent back, to be run by
who asks, if its environment or any code differs from what was there at the imports.

There are two stages: pages that only read are forked from a process without torch; from that the
first command that may need a model forks another, which imports torch and transformers; beside a
GPU there is no such stage. Neither computes anything: a pool of threads would not survive the fork.
"""

import ast
import gc
import importlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from medres import files, gpus, handover, runs

ONE_THREAD = (
    "OMP_NUM_THREADS GOTO_NUM_THREADS OPENBLAS_NUM_THREADS MKL_NUM_THREADS VECLIB_MAXIMUM_THREADS "
    "NUMEXPR_NUM_THREADS"
).split()
"""Variables that Snakemake sets to the threads of a job, which is one; libraries read them when
they are imported."""
READ_LATE = frozenset(
    f"{handover.VARIABLE} {gpus.PLANNED} MEDRES_PLANNED TMPDIR TMP TEMP TEMPDIR PWD OLDPWD "
    "SHLVL _".split()
)
"""Variables that no import reads: a command may have other values than the warm process."""
LIBRARIES = {
    handover.READING: (
        "IPython.core.completer IPython.core.completerlib IPython.core.debugger "
        "IPython.extensions.storemagic PIL.BmpImagePlugin PIL.GifImagePlugin PIL.JpegImagePlugin "
        "PIL.PpmImagePlugin debugpy.server.api ipykernel.debugger ipykernel.ipkernel "
        "ipykernel.kernelapp ipykernel.kernelspec jinja2.ext jupyter_client.asynchronous "
        "matplotlib.backends.backend_agg matplotlib.backends.backend_svg "
        "matplotlib_inline.backend_inline mistune.plugins.def_list mistune.plugins.task_lists "
        "mistune.plugins.url nbconvert.exporters pandas.io.formats.csvs pyarrow.dataset "
        "pyarrow.pandas_compat pyarrow.parquet pyarrow.substrait sqlite3 tornado.platform.asyncio "
        "tornado.queues"
    ).split(),
    handover.COMPUTING: (
        "transformers.trainer transformers.models.qwen2_vl.modeling_qwen2_vl "
        "transformers.models.qwen2.tokenization_qwen2"
    ).split(),
}
"""Modules that pages need besides those that notebooks name: something imports them late."""


@contextmanager
def started(study: str) -> Iterator[dict[str, str]]:
    """Run the warm process meanwhile; yield the variables that hand it to commands.

    Args:
        study: Name of the study whose pages are made.
    """
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="medres-warm-"))
            # Imports may ask a GPU's driver what is there, which no fork can use afterwards.
            stages = [handover.READING] if gpus.is_here() else handover.STAGES
            sockets = [stack.enter_context(_listening(Path(folder, stage))) for stage in stages]
            numbers = [each.fileno() for each in sockets]
            process = subprocess.Popen(
                [sys.executable, "-m", "medres.report.warm", study, folder, files.package_sha256()]
                + [str(number) for number in numbers],
                cwd=runs.ROOT,
                env=os.environ | dict.fromkeys(ONE_THREAD, "1"),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=numbers,
                # Interrupted by the key that interrupts the jobs, it could not end them in order.
                start_new_session=True,
            )
        except OSError:  # such as a path too long for a socket: jobs go on without
            yield {}
            return
        for each in sockets:
            each.close()
        try:
            yield {handover.VARIABLE: folder}
        finally:
            # It may be in the middle of its imports; commands that are not done end with it.
            process.terminate()
            process.communicate()


def _listening(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(128)
    return listener


def main(arguments: list[str]) -> int:
    """Serve the commands of a study until `medres.make`, at the other end of stdin, is gone."""
    study, folder, package, *numbers = arguments
    sockets = [socket.socket(fileno=int(number)) for number in numbers]
    held = _place() | {"package": package, "versions": _versions(), "study": study}
    # As a kernel has it before its first import.
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    tempfile.tempdir = folder
    # Of Python 3.12 and later, which counts a thread that pyarrow's allocator looks after itself.
    warnings.filterwarnings("ignore", "This process .*is multi-threaded", DeprecationWarning)
    _serve(dict(zip(handover.STAGES, sockets, strict=False)), held)
    shutil.rmtree(folder, ignore_errors=True)
    return 0


def _place() -> dict[str, Any]:
    """Return what of a process decides how its imports turn out, besides the files."""
    return {
        "environment": dict(os.environ),
        "executable": sys.executable,
        "path": list(sys.path),
        "folder": os.getcwd(),
    }


def _versions() -> dict[str, str]:
    from medres.report import current

    return {name: version(name) for name in (*runs.VERSIONS, *current.DRAWING)}


def _is_same_code(held: dict[str, Any]) -> bool:
    """Return whether the files of all code are those that were imported."""
    files.package_sha256.cache_clear()
    return bool(files.package_sha256() == held["package"] and _versions() == held["versions"])


def fits(request: dict[str, Any], held: dict[str, Any]) -> bool:
    """Return whether a command would import here what it would import where it was given."""

    def early(environment: dict[str, str]) -> dict[str, str]:
        return {name: value for name, value in environment.items() if name not in READ_LATE}

    return bool(
        early(request["environment"]) == early(held["environment"])
        and all(request[name] == held[name] for name in ("executable", "path", "folder"))
        and _is_same_code(held)
    )


def warm_up(stage: str, study: str) -> None:
    """Import what the pages of a stage need."""
    from medres import study as studies

    importlib.import_module("medres.report.render")
    stems = "01_datasets 02_finetune 03_evaluate 09_cost 10_choose_resolution 14_views".split()
    if stage == handover.READING:
        stems = [stem for stem in studies.load(study).reports if stem not in stems]
    names = {name for stem in stems for name in imported(studies.notebook_path(stem))}
    if stage == handover.COMPUTING:
        names |= {"medres.datasets.__main__", "medres.models.offline"}
    for name in [*sorted(names), *LIBRARIES[stage]]:
        with suppress(Exception):  # a command says better what is wrong with its own imports
            importlib.import_module(name)


def imported(notebook: Path) -> set[str]:
    """Return the modules of ours that a notebook imports."""
    cells = json.loads(notebook.read_text())["cells"]
    (setup,) = ["".join(cell["source"]) for cell in cells if cell.get("id") == "setup"]
    found = set()
    for node in ast.walk(ast.parse(setup)):
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "medres":
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@contextmanager
def _silent() -> Iterator[None]:
    """Keep what libraries say at their import from the terminal of `medres.make`."""
    before, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nothing)


def _serve(listeners: dict[str, socket.socket], held: dict[str, Any]) -> None:
    """Fork for each command until stdin ends; the first of `listeners` is of this stage."""
    stage = next(iter(listeners))
    with suppress(Exception), _silent():
        warm_up(stage, held["study"])
    try:
        if not _is_same_code(held):
            return
    except (OSError, PackageNotFoundError):
        return
    gc.collect()
    gc.freeze()
    ended, end = os.pipe()
    os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(end, warn_on_full_buffer=False)
    alive, _ = lives = os.pipe()
    connections: dict[int, socket.socket] = {}
    while True:
        numbers = {each.fileno(): name for name, each in listeners.items()}
        ready, _, _ = select.select([0, ended, *numbers], [], [])
        if 0 in ready:
            # Commands that are not done end by themselves (`_end_with`), as does the other stage.
            os.close(lives[1])
            with suppress(ChildProcessError):
                while True:
                    os.wait()
            return
        if ended in ready:
            os.read(ended, 4096)
            _reap(connections)
        for name in [numbers[each] for each in ready if each in numbers]:
            listener = listeners[name]
            connection = listener.accept()[0] if name == stage else None
            try:
                process = os.fork()
            except OSError:  # such as too many processes: who asks does it itself
                (connection or listener.accept()[0]).close()
                continue
            if process == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                others = [each for each in listeners.values() if each is not listener]
                for each in (*connections.values(), *others):
                    each.close()
                for number in (ended, end, lives[1]):
                    os.close(number)
                if connection is not None:
                    listener.close()
                    _leave(_run(connection, alive, held))
                os.close(alive)
                _serve({name: listener}, held)
                _leave(0)
            if connection is not None:
                connections[process] = connection
            else:
                listeners.pop(name).close()


def _reap(connections: dict[int, socket.socket]) -> None:
    """Tell those who asked for what has ended how it ended."""
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            process, status = found
            if process in connections:
                # What its kernel started, where it could not end that itself.
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process, signal.SIGKILL)
                with connections.pop(process) as connection, suppress(OSError):
                    connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def _leave(code: int) -> None:
    from medres.report import forked_kernel

    forked_kernel.leave(code)


def _run(connection: socket.socket, alive: int, held: dict[str, Any]) -> int:
    """Run one command in this process, which is a fork; return its exit code."""
    from medres.report import forked_kernel

    # Of its own group: all that it starts ends with it.
    os.setpgid(0, 0)
    try:
        _, (said, failed), _, _ = socket.recv_fds(connection, 1, 2)
        request = json.loads(connection.makefile("rb").readline())
        is_fit = fits(request, held)
        if is_fit:
            connection.sendall(handover.TAKEN)
    except Exception:  # who asks meets the same, and says it
        is_fit = False
    if not is_fit:
        with suppress(OSError):
            connection.sendall(handover.ELSEWHERE)
        return 0
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, source in enumerate((nothing, said, failed)):
        os.dup2(source, number)
        os.close(source)
    os.chdir(request["folder"])
    os.umask(request["umask"])
    os.environ.clear()
    os.environ.update(request["environment"])
    tempfile.tempdir = None
    if request["module"] == "medres.report":
        forked_kernel.fork()
    threading.Thread(target=_end_with, args=(connection, alive), daemon=True).start()
    try:
        main_of = importlib.import_module(f"{request['module']}.__main__").main
        return int(main_of(request["arguments"]))
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1


def _end_with(connection: socket.socket, alive: int) -> None:
    """End this process and all that it started when who asked, or the warm process, is gone."""
    select.select([connection.fileno(), alive], [], [])
    # Also what has a session of its own, such as a launcher of several processes.
    with suppress(psutil.Error):
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                child.kill()
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
