"""Evaluation and training: medres of today beside medres of before and beside other programs.

    python -m benchmarks.peers --install FOLDER          # once: environments of the peers
    python -m benchmarks.peers --environments FOLDER     # the table, several minutes
    python -m benchmarks.peers --quick                   # one small row of each kind, one round

All answer the same questions about the same files with the same checkpoint, greedily, or train
it on the same samples in the same steps; 32-bit, one thread. Every program is a process of its
own in an environment of its own, loads once and then waits for its turn: a round is one task by
each, in an order that changes, and a ratio is of two in the same round. Counted are the CPU
seconds of the process from the first file to the last reply, or of the training loop: loading and
imports are left out, and are in the rows of whole programs alone, which are of new processes
from command to result.

Of medres the whole of `inference.evaluate` is counted, with scoring every option, rules for
replies, and the table it writes; of a peer the answering alone. "Before" is a commit (`--before`),
run by this interpreter; "today" is this working tree. Peers have a batch of 8 in evaluation,
passes of 4 conversations in training; low pictures of a training are small files for them already.

What cannot be made equal is said below the table.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import peer_environments, peer_studies, peer_work
from benchmarks.images import table
from benchmarks.peer_work import Row, Task

BEFORE = "d5d4fdc"
WORKERS = Path(__file__).parent / "peer_workers"
TODAY, EARLIER = "medres today", "medres before"
OURS = (TODAY, EARLIER)
CAN = {
    "transformers": ("answer", "train"),
    "trl": ("train",),
    "lmms_eval": ("answer",),
    "ms_swift": ("answer", "train"),
    "glance": ("answer",),
}
"""What each peer does here."""
SHOWN = {
    "transformers": "transformers",
    "trl": "TRL",
    "lmms_eval": "lmms-eval",
    "ms_swift": "ms-swift",
    "glance": "glance-vlm",
}
READ_ONCE = "glance"
"""A peer that reads an image once for all its questions, by a rule of its own for the reply: it is
beside the others, and not one that the aim is set against."""
REMARKS = """\
lmms-eval stores every picture as a JPEG of quality 85 before it reads it; its limit of pixels is
set to that of the row. ms-swift has the token numbers of the published model, which are replaced
by those of the checkpoint, and a line break after the reply, which is taken away. glance-vlm reads
an image once and compares the first tokens of the options, image by image: its choices are
compared with the options that medres chose."""


@dataclass
class Worker:
    """A program that waits for tasks."""

    name: str
    command: list[str]
    environment: dict[str, str]
    folder: Path
    """Its own, for what it writes."""
    process: "subprocess.Popen[str] | None" = None
    failed: str = ""

    def start(self) -> "subprocess.Popen[str]":
        """Start a process, with its messages in a file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("a") as log:
            return subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=self.environment,
                cwd=self.folder,
            )

    @property
    def log(self) -> Path:
        """File of its messages."""
        return self.folder / "messages.log"

    def do(self, given: Task) -> dict[str, Any]:
        """Return the result of a task.

        Raises:
            RuntimeError: If the process ends.
        """
        self.process = self.process or self.start()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps({**given, "folder": str(self.folder)}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        line = self.process.stdout.readline()
        if not line:
            said = self.log.read_text().strip().splitlines()
            raise RuntimeError(f"{self.name} ended: {said[-1] if said else ''} ({self.log})")
        found: dict[str, Any] = json.loads(line)
        return found

    def whole(self, given: Task) -> float:
        """Return the CPU seconds of a new process for one task, with all it imports and loads."""
        process = self.start()
        assert process.stdin is not None
        process.stdin.write(json.dumps({**given, "folder": str(self.folder / "whole")}) + "\n")
        process.stdin.close()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"{self.name} ended with {process.returncode} ({self.log})")
        return used.ru_utime + used.ru_stime

    def stop(self) -> None:
        """Let the process end."""
        if self.process and self.process.stdin:
            self.process.stdin.close()
            self.process.wait()


def workers(
    folder: Path, trees: dict[str, Path], interpreters: dict[str, str], *, only: Sequence[str] = ()
) -> dict[str, Worker]:
    """Return the programs that are compared.

    Args:
        folder: Of the work.
        trees: Where the two states of medres are.
        interpreters: Of the peers, as from `peer_environments.interpreters`.
        only: Peers to take, all that are there if none is named.
    """
    plain = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    plain |= {
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    made = {}
    for name, tree in trees.items():
        command = [sys.executable, str(WORKERS / "medres_side.py")]
        environment = plain | {"PYTHONPATH": str(tree)}
        made[name] = Worker(name, command, environment, folder / name.replace(" ", "-"))
    for name, python in interpreters.items():
        if not only or name in only:
            command = [python, str(WORKERS / f"{name}_side.py")]
            made[name] = Worker(SHOWN[name], command, plain, folder / name)
    return made


def compare(
    folder: Path, row: Row, place: Path, sides: dict[str, Worker], *, n_rounds: int
) -> dict[str, str]:
    """Return one row of the table: all sides in turns.

    A peer that fails is left out of the rows from there on, and the table says so.

    Args:
        folder: Of the work.
        row: What is done.
        place: The checkpoint.
        sides: From `workers`.
        n_rounds: After one that warms up and whose results are compared.
    """
    mine = peer_work.task(folder, row, place)
    first = {TODAY: sides[TODAY].do(mine)}
    theirs = mine
    if row.kind == "train":
        theirs = peer_work.with_low_files(folder, mine, first[TODAY]["low"])
    names = [
        name
        for name, side in sides.items()
        if not side.failed and (name in OURS or row.kind in CAN[name])
    ]
    for name in names[1:]:
        try:
            first[name] = sides[name].do(mine if name in OURS else theirs)
        except RuntimeError as error:
            if name in OURS:
                raise
            sides[name].failed = str(error)
            print(f"\nleft out: {error}", flush=True)
    names = [name for name in names if name in first]
    taken: dict[str, list[float]] = {name: [] for name in names}
    for number in range(n_rounds):
        for nth in range(len(names)):
            name = names[(nth + number) % len(names)]
            result = sides[name].do(mine if name in OURS else theirs)
            taken[name].append(result["cpu_s"])
        print(".", end="", flush=True)
    return columns(row, taken, first, sides)


def columns(
    row: Row,
    taken: dict[str, list[float]],
    first: dict[str, dict[str, Any]],
    sides: dict[str, Worker],
) -> dict[str, str]:
    """Return the cells of a row."""
    n_questions = row.n_images * row.n_questions
    cells = {
        "work": f"{'evaluation' if row.kind == 'answer' else 'training'}, "
        f"{row.size_px[0]} {row.resolution}, {row.n_questions} q "
        f"({row.n_images} images)",
        "medres today, CPU s": f"{statistics.median(taken[TODAY]):.2f}",
        "before": ratios(taken, EARLIER),
    }
    for name in CAN:
        if name in sides:
            cells[SHOWN[name]] = ratios(taken, name) if name in taken else "-"
    rivals = [name for name in taken if name not in (*OURS, READ_ONCE)]
    best = min(rivals, key=lambda name: statistics.median(times(taken, name)), default="")
    cells["best peer"] = f"{SHOWN[best]} {ratios(taken, best)}" if best else "none"
    cells["aim"] = row.aim
    agree = {
        name if name in OURS else SHOWN[name]: same(row, first[TODAY], first[name], n_questions)
        for name in first
        if name != TODAY
    }
    cells["same"] = "; ".join(f"{name} {text}" for name, text in agree.items()) or "-"
    return cells


def times(taken: dict[str, list[float]], name: str) -> list[float]:
    """Return how many times the time of medres another takes, in each round."""
    return [theirs / ours for theirs, ours in zip(taken[name], taken[TODAY], strict=True)]


def ratios(taken: dict[str, list[float]], name: str) -> str:
    """Return how many times the time of medres another takes: median and range of rounds."""
    found = times(taken, name)
    return f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"


def same(row: Row, ours: dict[str, Any], theirs: dict[str, Any], n_questions: int) -> str:
    """Return how many replies are the same, or how far losses are apart."""
    if row.kind == "answer":
        key = "replies" if "replies" in theirs else "chosen"
        pairs = zip(ours[key], theirs[key], strict=True)
        n_same = sum(mine.strip() == their.strip() for mine, their in pairs)
        return f"{n_same}/{n_questions}"
    pairs = zip(ours["losses"], theirs["losses"], strict=True)
    return "losses within " + f"{max(abs(mine - their) for mine, their in pairs):.4f}"


def whole_programs(
    folder: Path, row: Row, place: Path, sides: dict[str, Worker], *, n_rounds: int
) -> dict[str, str]:
    """Return a row of new processes, from command to result, imports and loading included."""
    given = peer_work.task(folder, row, place)
    names = [
        name
        for name, side in sides.items()
        if not side.failed and (name in OURS or row.kind in CAN[name])
    ]
    taken: dict[str, list[float]] = {name: [] for name in names}
    for number in range(n_rounds):
        for nth in range(len(names)):
            name = names[(nth + number) % len(names)]
            taken[name].append(sides[name].whole(given))
        print(".", end="", flush=True)
    cells = columns(row, taken, {}, sides)
    return cells | {"work": f"whole program: {cells['work']}", "aim": "-"}


def trees(folder: Path, before: str) -> dict[str, Path]:
    """Return where medres is as it is now, and as it was.

    Args:
        folder: Of the work.
        before: A commit, or a folder that holds the project.
    """
    project = Path(__file__).parent.parent
    if Path(before).is_dir():
        return {TODAY: project, EARLIER: Path(before).resolve()}
    return {TODAY: project, EARLIER: peer_studies.exported(project, before, folder / "before")}


def main() -> None:
    """Start the programs, run the rounds, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--install", type=Path, metavar="FOLDER", help="make the environments")
    parser.add_argument("--environments", type=Path, metavar="FOLDER", help="use these")
    parser.add_argument("--peers", nargs="+", choices=list(CAN), default=[], help="only these")
    parser.add_argument("--rows", nargs="+", default=[], help="only rows with this in their name")
    parser.add_argument("--before", default=BEFORE, help="commit, or folder of the project")
    parser.add_argument("--folder", type=Path, help="keep pictures and checkpoint here")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one small row of each kind, a round")
    parser.add_argument(
        "--study",
        nargs="+",
        choices=list(peer_studies.STUDIES),
        default=[],
        help="also whole studies of medres, before and today",
    )
    asked = parser.parse_args()
    if asked.install:
        peer_environments.install(asked.install.resolve())
        return
    with tempfile.TemporaryDirectory() as temporary:
        # Not resolved further: a task names its files by these paths.
        folder = (asked.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        run(folder, asked)


def run(folder: Path, asked: argparse.Namespace) -> None:
    """Do what the command asks for, in a folder."""
    environments = asked.environments.resolve() if asked.environments else None
    interpreters = peer_environments.interpreters(environments)
    sides = workers(folder, trees(folder, asked.before), interpreters, only=asked.peers)
    missing = [SHOWN[name] for name in CAN if name not in interpreters]
    if missing:
        print(f"no environment, not compared: {', '.join(missing)}; make them with --install")
    rows, n_steps = [*peer_work.ANSWERING, *peer_work.TRAINING], peer_work.CHECKPOINT_STEPS
    if asked.quick:
        small = [peer_work.ANSWERING[0], peer_work.TRAINING[0]]
        rows, n_steps, asked.rounds = [replace(row, n_images=4) for row in small], 8, 1
    rows = [row for row in rows if any(part in row.name for part in asked.rows or [""])]
    place = peer_work.checkpoint(folder, n_steps=n_steps)
    found = []
    try:
        for row in rows:
            found.append(compare(folder, row, place, sides, n_rounds=asked.rounds))
            # A long command that is stopped has said what it found.
            print(
                f"\n{'; '.join(f'{name}: {cell}' for name, cell in found[-1].items())}", flush=True
            )
    finally:
        for side in sides.values():
            side.stop()
    if not asked.quick and rows:
        found.append(whole_programs(folder, rows[0], place, sides, n_rounds=1))
    print(
        f"\nBefore is {asked.before}. Times as slow as medres today: median and range of "
        f"{asked.rounds} rounds (of whole programs one), CPU time, one thread.\n{table(found)}"
        f"\n\n{REMARKS}"
    )
    for side in sides.values():
        if side.failed:
            print(f"left out: {side.failed}")
    if asked.study:
        print(f"\n{table(peer_studies.compare(folder, asked.before, asked.study))}")


if __name__ == "__main__":
    main()
