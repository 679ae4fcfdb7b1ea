"""Commands handed to a process that has imported all they need (`report.warm`), if there is one.

`python -m medres.handover MODULE ARGUMENT ...` runs `python -m MODULE ARGUMENT ...` there, with the
folder, the environment and the streams of this process, and ends with its exit code. Without such
a process, or where it holds other code than the files have by now, the command runs here.
"""

import importlib
import json
import os
import signal
import socket
import sys
from typing import Any

VARIABLE = "MEDRES_WARM"
"""Variable that names the folder with the sockets of the warm process."""
READING, COMPUTING = STAGES = ("reading", "computing")
"""Names of the sockets: for pages made of what is there, and for all that may need a model."""
COMPUTES = ("01_", "02_", "03_", "09_cost", "10_", "14_")
"""How the stems of pages begin that need a model, its sizes or its config."""
ELSEWHERE, TAKEN = b"elsewhere\n", b"taken\n"
"""The first answers: the process that asks must run the command itself, or it is run now."""


def asked(module: str, arguments: list[str]) -> int | None:
    """Return the exit code of a command that the warm process ran; None if it did not.

    Args:
        module: With a `main` in its `__main__`: medres.report or medres.datasets.
        arguments: Of the command.
    """
    folder = os.environ.get(VARIABLE, "")
    if not folder or not arguments or sys.stdout is None or sys.stderr is None:
        return None
    reads = module == "medres.report" and not arguments[-1].startswith(COMPUTES)
    is_taken = False
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(os.path.join(folder, READING if reads else COMPUTING))
            socket.send_fds(connection, [b"\n"], [1, 2])
            connection.sendall(json.dumps(_request(module, arguments)).encode() + b"\n")
            answers = connection.makefile("rb")
            is_taken = answers.readline() == TAKEN
            answer = answers.readline() if is_taken else b""
    except KeyboardInterrupt:
        return 130  # the other side ends what it does when it sees this one gone
    except OSError:
        answer = b""
    if not is_taken:
        return None
    if not answer.endswith(b"\n"):
        return _failed(arguments, "was ended from outside; the same command goes on from there")
    code = int(answer)
    if code < 0:
        why = "; memory often ran out: see what else runs, or try a smaller batch_images"
        return _failed(arguments, f"was ended by signal {-code}{why * (code == -signal.SIGKILL)}")
    return code


def _failed(arguments: list[str], why: str) -> int:
    from medres import texts  # takes longer than all else here

    texts.say(f"medres: {' '.join(arguments)}: its process {why}", file=sys.stderr)
    return 1


def _request(module: str, arguments: list[str]) -> dict[str, Any]:
    mask = os.umask(0)
    os.umask(mask)
    return {
        "module": module,
        "arguments": arguments,
        "umask": mask,
        "environment": dict(os.environ),
        "executable": sys.executable,
        "path": sys.path,
        "folder": os.getcwd(),
    }


def run(module: str, arguments: list[str]) -> int:
    """Run a command in the warm process if there is one, else here; return its exit code."""
    code = asked(module, arguments)
    if code is not None:
        return code
    return int(importlib.import_module(f"{module}.__main__").main(arguments))


if __name__ == "__main__":
    sys.exit(run(sys.argv[1], sys.argv[2:]))
