"""What of a study is made, running, failed, and how long the rest takes; see `__main__`.

Everything is read from the files of the study alone, so that any machine that sees its disk can
ask, also while others make it. Nothing is changed, and no output is read or compared: whether
what is made is still current, `make study` finds out.
"""

import os
import statistics
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from medres import failures, files, locks, runs
from medres import study as studies
from medres.failures import Failure
from medres.locks import Holder
from medres.study import Cell, Study

DONE, RUNNING, FAILED, ENDED, DAMAGED, WAITING = STATES = (
    "done running failed ended damaged waiting".split()
)
STAGES = {
    "questions": "data sets",
    "finetune": "trainings",
    "evaluate": "evaluations",
    "pages": "pages",
}
SILENT_S = 1800.0
"""Without a sign for so long, a process of another machine is not counted as running."""
HEAD_BYTES = 1 << 20
"""Of a log of answers, read to tell how many it holds."""


@dataclass(frozen=True)
class Thing:
    """A data set, training, evaluation or page of a study, as its files show it."""

    stage: str
    """One of `STAGES`."""
    name: str
    """Stem under which it may fail."""
    state: str
    """One of `STATES`."""
    cell: Cell | None = None
    holder: Holder | None = None
    """Who makes it, or made it last without an end."""
    seen: float = 0.0
    """Time of the last change in its folder, in seconds since 1970."""
    at: str = ""
    """How far it is, in words; empty if that is not known."""
    share: float = 0.0
    """How far it is, from 0 to 1."""
    left_s: float | None = None
    """Seconds that it will still take, as it said itself."""


@dataclass
class Look:
    """What the files of a study say."""

    study: Study
    at: float
    """When they were read, in seconds since 1970."""
    things: list[Thing] = field(default_factory=list)
    failures: dict[str, Failure] = field(default_factory=dict)
    like_s: dict[tuple[str, ...], list[float]] = field(default_factory=dict)
    """Seconds of finished runs by what makes runs alike (`_likes`)."""
    gpu_s: float = 0.0
    """GPU seconds of finished runs."""
    superseded_gpu_s: float = 0.0
    unreadable: list[str] = field(default_factory=list)
    """Files that hold something else than they should, or cannot be read."""

    def of(self, state: str) -> list[Thing]:
        """Return the things in a state."""
        return [thing for thing in self.things if thing.state == state]


def look(study: Study) -> Look:
    """Read what the files of a study say of it.

    Args:
        study: Read and checked; its runs may be made meanwhile.
    """
    found = Look(study, time.time(), failures=failures.read(study.name))
    folder = runs.ROOT / "runs" / study.name
    found.unreadable += [
        _shown(path)
        for path in sorted((folder / "failed").glob("*.json"))
        if path.stem not in found.failures and path.is_file()
    ]
    test_questions: dict[str, Any] = {}
    for name in study.datasets:
        stem = failures.of_questions(name)
        thing, outcome = _run(found, "questions", name, stem)
        test_questions[name] = _value(outcome, "n_questions", "test")
        found.things.append(thing)
    for stage in studies.STAGES:
        for cell in study.cells(stage):
            thing, outcome = _run(
                found, stage, cell.path, cell.page, cell, test_questions[cell.dataset]
            )
            found.things.append(thing)
            if thing.state == DONE:
                found.gpu_s += _gpu_s(outcome)
                if seconds := _number(_value(outcome, "seconds")):
                    for like in _likes(cell):
                        found.like_s.setdefault(like, []).append(seconds)
    for record in sorted((folder / "superseded").glob("*/run.json")):
        # A damaged one was put aside for that.
        with suppress(OSError, ValueError):
            found.superseded_gpu_s += _gpu_s(_value(files.read_json(record), "outcome"))
    _pages(found, folder)
    return found


def _pages(found: Look, folder: Path) -> None:
    """Add the pages: made are those with a mark that the last `make study` did not take back."""
    marked = _names(folder / "marks" / "pages")
    made = {path.removesuffix(".json") for path in marked}
    if (folder / "current" / "pages").is_dir():
        made &= _names(folder / "current" / "pages")
    broken = {thing.name for thing in found.of(FAILED)}
    cells = [thing.name for thing in found.things if thing.cell]
    for stem in [*cells, *found.study.reports, "index"]:
        # The page of a run that failed waits for it.
        fails = stem in found.failures and stem not in broken
        state = DONE if stem in made else FAILED if fails else WAITING
        found.things.append(Thing("pages", stem, state))


def _names(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))
    except OSError:
        return set()


def _run(
    found: Look,
    stage: str,
    name: str,
    stem: str,
    cell: Cell | None = None,
    n_questions: Any = None,
) -> tuple[Thing, Any]:
    """Return what the files of a run say, and its outcome if it is done."""
    folder = runs.folder_of(found.study.name, stage, name)
    try:
        return Thing(stage, stem, DONE, cell), runs.record_of(folder)["outcome"]
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (ValueError, OSError):
        found.unreadable.append(_shown(folder / "run.json"))
        return Thing(stage, stem, DAMAGED, cell), None
    state = FAILED if stem in found.failures else WAITING
    holder = locks.holder_of(folder)
    if holder is None and not (folder / "spec.json").exists():
        return Thing(stage, stem, state, cell), None
    seen = max([holder.since if holder else 0.0, *_changes(folder)])
    lives = holder is not None and holder.is_alive
    if lives is None:
        lives = state != FAILED and found.at - seen < SILENT_S
    if lives or state != FAILED:
        state = RUNNING if lives else ENDED
    thing = Thing(stage, stem, state, cell, holder, seen)
    if stage == "finetune":
        thing = _at_step(found, folder, thing)
    if stage == "evaluate":
        thing = _at_answer(found, folder, thing, n_questions)
    return thing, None


def _changes(folder: Path) -> Iterator[float]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                yield entry.stat().st_mtime
    except OSError:  # gone meanwhile
        return


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _at_step(found: Look, folder: Path, thing: Thing) -> Thing:
    """Return an unfinished training with the step that it was at last."""
    progress = _json(found, folder / "progress.json")
    step, n_steps = (_number(_value(progress, name)) for name in ("step", "n_steps"))
    if step is None or not n_steps:
        return thing
    at = f"step {step:,.0f} of {n_steps:,.0f}"
    left_s, written = _number(_value(progress, "left_s")), _changed(folder / "progress.json")
    # What the attempt before wrote says nothing of the time that this one takes.
    if thing.state != RUNNING or thing.holder is None or written < thing.holder.since:
        left_s = None
    if left_s is not None:
        left_s = max(left_s - max(found.at - written, 0.0), 0.0)
    return replace(thing, at=at, share=min(step / n_steps, 1.0), left_s=left_s)


def _at_answer(found: Look, folder: Path, thing: Thing, n_questions: Any) -> Thing:
    """Return an unfinished evaluation with the answers that it has."""
    asked = _value(_json(found, folder / "spec.json"), "spec", "parameters")
    names = _value(asked, "eval_resolutions")
    n_questions = _number(n_questions) or 0.0
    n_asked = min(n_questions, _number(_value(asked, "limit")) or n_questions)
    # Mixed answers are taken from the others.
    total = n_asked * len({*map(str, names)} - {"mixed"}) if isinstance(names, list) else 0.0
    if not total:
        return thing
    share = min(_n_answers(folder / "answers.jsonl") / total, 1.0)
    return replace(thing, at=f"about {share:.0%} of {total:,.0f} answers", share=share)


def _n_answers(path: Path) -> float:
    """Return how many lines a log has, by the length of its first ones."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            size = os.fstat(file.fileno()).st_size
    except OSError:
        return 0.0
    return head.count(b"\n") * size / len(head) if head else 0.0


def _json(found: Look, path: Path) -> Any:
    """Return what a JSON file holds, None where it is not there; what is damaged is noted."""
    try:
        return files.read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, OSError):
        found.unreadable.append(_shown(path))
        return None


def _value(content: Any, *names: str) -> Any:
    """Return a value of nested mappings, None where there is none."""
    for name in names:
        content = content.get(name) if isinstance(content, Mapping) else None
    return content


def _number(value: Any) -> float | None:
    """Return a finite number of at least 0, None for anything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value <= sys.float_info.max else None


def _gpu_s(outcome: Any) -> float:
    """Return the GPU seconds of a finished run: none where it ran on a CPU or at a server's."""
    device = _value(outcome, "device")
    if not isinstance(device, str) or device == "cpu":
        return 0.0
    processes = _number(_value(outcome, "n_processes")) or 1.0
    return (_number(_value(outcome, "seconds")) or 0.0) * processes


def _likes(cell: Cell) -> list[tuple[str, ...]]:
    """Return by what runs are alike in what they take, the closest likeness first.

    Evaluations ask the same whatever was trained; a training depends on its resolution.
    """
    same = (cell.stage, cell.dataset, cell.model)
    return [(*same, cell.train_resolution), *([same] if cell.stage == "evaluate" else [])]


def _shown(path: Path) -> str:
    return str(path.relative_to(runs.ROOT))


def left_s(found: Look, thing: Thing) -> float | None:
    """Return the seconds that a run will still take; None if nothing tells.

    By what it said itself, else by finished runs like it, else by its own share in the time since
    it was begun.
    """
    if thing.left_s is not None or thing.cell is None:
        return thing.left_s
    for like in _likes(thing.cell):
        if known := found.like_s.get(like):
            return statistics.median(known) * (1 - thing.share)
    if thing.state == RUNNING and thing.share and thing.holder:
        return (found.at - thing.holder.since) * (1 / thing.share - 1)
    return None
