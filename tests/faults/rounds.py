"""A round of the campaign: a fault, what the same command made of it, and what was lost."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.faults import project
from tests.faults.commands import Command, Ended, Place

OURS = "medres: "
"""Begins the last line of each of our commands."""


@dataclass
class Round:
    """One disturbance and what came of it."""

    fault: str
    how: str
    """How it was injected."""
    said: str = ""
    """The reason that was given, if a command stopped."""
    broken: list[str] = field(default_factory=list)
    """In what the promise was broken, one phrase each."""
    lost: list[str] = field(default_factory=list)
    """What was finished before the fault and was not there, or was made again, after it."""
    seed: int = 0

    def stopped(self, ended: Ended) -> None:
        """Note how a disturbed command ended: with one line of reason, and nothing left of it."""
        self.broken += [f"left {line}" for line in ended.left]
        if ended.code == 0 or ended.code < 0:
            return
        self.said = ended.last
        if not ended.last.startswith(OURS):
            self.broken.append(f"no reason: {ended.said[-500:]}")

    def both_stopped(self, commands: list[Command]) -> None:
        """Note how two commands ended that ran at the same time."""
        for command in commands:
            command.process.wait()
        for command in commands:
            self.stopped(command.ended())

    def went_on(self, ended: Ended) -> None:
        """Note how the same command ended afterwards: well, and nothing left of it."""
        self.broken += [f"left {line}" for line in ended.left]
        if ended.code != 0:
            self.broken.append(f"does not go on: {ended.said[-500:]}")

    def same(self, found: dict[str, str], expected: dict[str, str]) -> None:
        """Note what differs from what an undisturbed study made, both as from `project.results`."""
        for name in sorted(found.keys() | expected.keys()):
            if found.get(name) != expected.get(name):
                what = "differs" if found.keys() & expected.keys() & {name} else "is missing"
                self.broken.append(f"{name} {what if name in expected else 'is left over'}")

    def kept(self, before: dict[str, tuple[str, int]], after: dict[str, tuple[str, int]]) -> None:
        """Note what had been finished and is gone, or was made again."""
        self.lost += [name for name in before if after.get(name) != before[name]]


class Rounds:
    """The rounds so far, one per line of a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path.is_file() else []
        self.all = [Round(**json.loads(line)) for line in lines]

    def add(self, done: Round) -> None:
        """Keep a round."""
        self.all.append(done)
        with self.path.open("a") as file:
            file.write(json.dumps(asdict(done)) + "\n")

    def count(self, fault: str) -> int:
        """Return how many rounds there were of faults whose name begins so."""
        return sum(each.fault.startswith(fault) for each in self.all)

    @property
    def is_broken(self) -> bool:
        """Whether the promise was broken anywhere."""
        return any(each.broken or each.lost for each in self.all)

    def table(self) -> Iterator[str]:
        """Yield a Markdown table with a row for each fault and way of injecting it."""
        yield "| fault | injected how | times | outcome | finished and lost |"
        yield "| --- | --- | --- | --- | --- |"
        for fault, how in dict.fromkeys((each.fault, each.how) for each in self.all):
            these = [each for each in self.all if (each.fault, each.how) == (fault, how)]
            stopped = [each.said for each in these if each.said]
            outcome = f"{sum(not each.broken for each in these)} identical"
            if stopped:
                outcome += f", of these {len(stopped)} after one line of reason"
            broken = [phrase for each in these for phrase in each.broken]
            outcome += f"; BROKEN: {' '.join(broken[0].split())[:200]}" if broken else ""
            lost = sum(len(each.lost) for each in these)
            yield f"| {fault} | {how} | {len(these)} | {outcome} | {lost or 'nothing'} |"


class Campaign:
    """A place with an undisturbed study beside it, and the rounds.

    Args:
        place: Where commands run.
        rounds: Where what comes of them is kept.
        seed: Of all that is drawn.
    """

    def __init__(self, place: Place, rounds: Rounds, seed: int) -> None:
        if not place.root.is_dir():
            project.write(place.root)
        self.place = place
        self.rounds = rounds
        self.seed = seed
        self.calls: dict[str, int] = {}
        """File-system calls of each stage of the undisturbed study."""
        self.cpu_s: dict[str, float] = {}
        """Seconds of CPU of each stage, without imports."""
        self.expected: dict[str, str] = {}
        self.measured = place.folder / "undisturbed.json"
        if self.is_measured:
            self.calls, self.cpu_s, self.expected = json.loads(self.measured.read_text())

    @property
    def is_measured(self) -> bool:
        """Whether the undisturbed study was made."""
        return self.measured.is_file()

    @property
    def root(self) -> Path:
        """The folder of the project."""
        return self.place.root

    def state(self, stem: str) -> Path:
        """Return where the undisturbed study lies as it was right after a stage."""
        return self.place.folder / "states" / stem

    def restore(self, stem: str) -> None:
        """Put the project into its state after a stage; without one, into that of a new one."""
        project.copy_made(self.state(stem) if stem else Path("nowhere"), self.root)

    def undisturbed(self) -> None:
        """Make the study once, stage by stage, and keep the state after each."""
        if self.is_measured:
            return
        for stem in project.STAGES:
            self.place.disarm()
            command = self.place.stage(stem)
            cpu_s = 0.0
            while command.is_running:
                cpu_s = max(cpu_s, command.cpu_s())
                time.sleep(0.01)
            ended = command.ended()
            assert ended.code == 0, ended.said
            self.calls[stem], self.cpu_s[stem] = self.place.n_calls, cpu_s
            project.copy_made(self.root, self.state(stem))
        made = self.place.make().ended()
        assert made.last.startswith(f"{OURS}nothing to be done"), made.said
        self.expected = project.results(self.root)
        self.measured.write_text(json.dumps([self.calls, self.cpu_s, self.expected]))

    @contextmanager
    def round(
        self, fault: str, how: str, *, spared: Path | None = None, study: str = project.NAME
    ) -> Iterator[Round]:
        """Keep what a round comes to, and what was finished before it and is not there after.

        Args:
            fault: What is done.
            how: It is injected.
            spared: File that the fault damages: its run and the pages may be made again.
            study: That is disturbed.
        """
        done = Round(fault, how, seed=self.seed)
        self.place.disarm()
        before = project.finished(self.root, study)
        if spared is not None:
            before = {
                name: found
                for name, found in before.items()
                if name.endswith("run.json") and (self.root / name).parent not in spared.parents
            }
        yield done
        done.kept(before, project.finished(self.root, study))
        self.rounds.add(done)

    def finish(self, done: Round, **variables: str) -> None:
        """Make the whole study with the same command, and compare it."""
        done.went_on(self.place.make(**variables).ended())
        done.same(project.results(self.root), self.expected)

    def go_on(self, done: Round, stem: str) -> None:
        """Finish a stage with the same command, and compare the study as it is then."""
        done.went_on(self.place.stage(stem).ended())
        done.same(project.results(self.root), project.results(self.state(stem)))


def before_stage(stem: str) -> str:
    """Return the stage that comes before one; nothing before the first."""
    stems = ["", *project.STAGES]
    return stems[stems.index(stem) - 1]
