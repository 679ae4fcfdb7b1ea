"""Commands of a disturbed study: started, watched, disturbed, and none of their processes left."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.faults.project import NAME, PREPARE, REPOSITORY

ENDS_WITHIN_S = 600.0
LINGERS_S = 5.0
"""How long what a command has started may take to notice that it ended."""


@dataclass
class Ended:
    """A command that came to its end."""

    code: int
    said: str
    left: list[str] = field(default_factory=list)
    """Command lines of processes that outlived it."""

    @property
    def last(self) -> str:
        """The last line that was printed."""
        return (self.said.splitlines() or [""])[-1]


class Place:
    """A folder with a copy of the code, a project, and what the processes of a round share.

    The environment of this process becomes that of all its commands; medres is imported later.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "project"
        # The code may be edited meanwhile, and what was made by other code is not current.
        if not (folder / "code").is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(REPOSITORY / "medres", folder / "code" / "medres", ignore=ignored)
        (folder / "tmp").mkdir(parents=True, exist_ok=True)
        hook = Path(__file__).parent / "hook"
        os.environ |= {
            "PYTHONPATH": os.pathsep.join([str(hook), str(folder / "code"), str(REPOSITORY)]),
            "MEDRES_FAULTS": str(folder),
            "MEDRES_ROOT": str(self.root),
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
            "TMPDIR": str(folder / "tmp"),
        }
        os.environ.pop("MEDRES_WARM", None)
        self.warm: list[int] = []
        self.disarm()

    def arm(self, call: int, who: str) -> None:
        """Count file-system calls anew, and have one of them kill who makes it.

        Args:
            call: Its number, from 1.
            who: one process, or the group of it.
        """
        (self.folder / "dies_at").write_text(f"{call} {who}")
        (self.folder / "calls").write_bytes(b"")

    def disarm(self) -> None:
        """Count file-system calls anew, and let nobody die of them."""
        self.arm(0, "one")

    @property
    def n_calls(self) -> int:
        """File-system calls that change the project, since `arm`."""
        return (self.folder / "calls").stat().st_size

    def started(self, *command: str, said: str = "said", **variables: str) -> "Command":
        """Start a command of ours, its output kept in a file of this name."""
        with (self.folder / said).open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=self.root,
                env=os.environ | variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return Command(process, self.folder / said, self)

    def make(self, *options: str, said: str = "said", **variables: str) -> "Command":
        """Start what makes the whole study, as users do."""
        return self.started("medres.make", NAME, "--cores", "2", *options, said=said, **variables)

    def stage(self, stem: str, *, said: str = "said", **variables: str) -> "Command":
        """Start the command that makes one thing, as Snakemake would."""
        if stem == PREPARE:
            words = ["medres.handover", "medres.datasets", "prepare", NAME, "mine"]
        else:
            words = ["medres.report", NAME, stem]
        return self.started(*words, said=said, **variables)

    def processes(self) -> list[psutil.Process]:
        """Return all processes of this campaign that run, but for its warm process."""
        mark = f"MEDRES_FAULTS={self.folder}".encode()
        found = []
        for each in psutil.process_iter():
            try:
                content = Path(f"/proc/{each.pid}/environ").read_bytes().split(b"\0")
                is_of_warm = bool(self.warm) and os.getpgid(each.pid) == self.warm[0]
                if mark in content and not is_of_warm and each.status() != psutil.STATUS_ZOMBIE:
                    found.append(each)
            except (OSError, psutil.Error):
                continue
        return found

    def end(self) -> None:
        """End all processes that still run."""
        for each in self.processes():
            with suppress(psutil.Error):
                each.kill()

    @contextmanager
    def warmed(self) -> Iterator[None]:
        """Have a warm process meanwhile, so that a stage costs no imports."""
        from medres import handover
        from medres.report import warm

        os.environ |= dict.fromkeys(warm.ONE_THREAD, "1")
        with warm.started(NAME) as variables:
            os.environ |= variables
            (process,) = psutil.Process().children()
            self.warm = [process.pid]
            try:
                yield
            finally:
                del os.environ[handover.VARIABLE]
                self.warm = []


class Command:
    """A command that was started."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path, place: Place) -> None:
        self.process = process
        self.output = output
        self.place = place

    @property
    def is_running(self) -> bool:
        """Whether it did not end yet."""
        return self.process.poll() is None

    def below(self) -> list[int]:
        """Return the processes that work for it: its own, and those of the warm process."""
        found = {each for root in (self.process.pid, *self.place.warm) for each in _tree(root)}
        kept = (0, *self.place.warm)
        return [each for each in found if _group_of(each) not in kept]

    def cpu_s(self) -> float:
        """Return the seconds of CPU that what works for it has taken."""
        nanoseconds = 0
        for each in self.below():
            with suppress(OSError):
                nanoseconds += int(Path(f"/proc/{each}/schedstat").read_text().split()[0])
        return nanoseconds / 1e9

    def ended(self) -> Ended:
        """Wait for its end, and for that of everything that it started."""
        self.process.wait(ENDS_WITHIN_S)
        until = time.monotonic() + LINGERS_S
        while (left := self.place.processes()) and time.monotonic() < until:
            time.sleep(0.05)
        lines = []
        for each in left:
            with suppress(psutil.Error):
                lines.append(" ".join(each.cmdline()))
        self.place.end()
        return Ended(self.process.returncode, self.output.read_text(errors="replace"), lines)


def _group_of(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0


def _tree(root: int) -> list[int]:
    """Return a process and all below it; psutil would look at every process of the machine."""
    found = [root]
    for parent in found:
        with suppress(OSError):  # it ended meanwhile
            for task in os.listdir(f"/proc/{parent}/task"):
                children = Path(f"/proc/{parent}/task/{task}/children").read_text()
                found += map(int, children.split())
    return found
