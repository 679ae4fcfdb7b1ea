"""Commands that are told to end: they say so, and nothing that they began outlives them."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

from medres import ending

BEGINS = """
import subprocess, time
from medres import ending
ending.heed_signals()
try:
    with ending.no_child_left():
        subprocess.run(["sh", "-c", "sleep 300 & echo $!"])
        subprocess.Popen(["sleep", "300"], start_new_session=True)
        {is_done} or time.sleep(300)
except KeyboardInterrupt as told:
    print("told by", told)
"""


def hear() -> None:
    """Heed signals to which whoever runs the tests may have been made deaf, as by `nohup`."""
    for number in ending.TOLD_BY:
        signal.signal(number, signal.SIG_DFL)


def begun(*, is_done: bool) -> tuple[subprocess.Popen[str], int]:
    """A command, and a process whose parent in between has ended."""
    command = subprocess.Popen(
        [sys.executable, "-c", BEGINS.format(is_done=is_done)],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=hear,
    )
    assert command.stdout is not None
    return command, int(command.stdout.readline())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere orphans are not adopted")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_command_that_is_told_to_end_says_so_and_takes_orphans_along(name: str) -> None:
    command, orphan = begun(is_done=False)
    command.send_signal(signal.Signals[name])
    said, _ = command.communicate()
    assert said == f"told by {name}\n"
    with pytest.raises(ProcessLookupError):
        os.kill(orphan, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere orphans are not adopted")
def test_a_command_that_is_done_leaves_no_orphan() -> None:
    command, orphan = begun(is_done=True)
    command.communicate()
    assert command.returncode == 0
    with pytest.raises(ProcessLookupError):
        os.kill(orphan, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it goes on")
def test_what_was_begun_with_its_parent_ends_with_it_however_that_ends() -> None:
    begins = (
        "import subprocess, time; from medres import ending; "
        "print(subprocess.Popen(['sleep', '300'], preexec_fn=ending.with_parent).pid, flush=True); "
        "time.sleep(300)"
    )
    with subprocess.Popen([sys.executable, "-c", begins], stdout=subprocess.PIPE) as command:
        assert command.stdout is not None
        child = psutil.Process(int(command.stdout.readline()))
        command.kill()
    child.wait(10)


def test_a_command_that_was_told_to_outlive_its_terminal_does() -> None:
    asks = "import signal; from medres import ending; ending.heed_signals(); "
    done = subprocess.run(
        [sys.executable, "-c", f"{asks}print(signal.getsignal(signal.SIGHUP).name)"],
        capture_output=True,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    assert done.stdout == "SIG_IGN\n"
