"""The promise under faults, by a small part of the campaign; `make faults` is all of it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.commands import Ended
from tests.faults.project import REPOSITORY
from tests.faults.rounds import Round, Rounds


@pytest.mark.slow
@pytest.mark.notebook
def test_a_study_that_is_killed_and_told_to_end_goes_on_to_the_same_bytes_and_loses_nothing() -> (
    None
):
    # In a folder of its own: that of a test has a name too long for sockets.
    command = [sys.executable, "-m", "tests.faults", "--reduced"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("| nothing |") >= 5


def test_other_bytes_a_lost_run_a_missing_reason_and_a_process_left_break_the_promise(
    tmp_path: Path,
) -> None:
    rounds = Rounds(tmp_path / "rounds.jsonl")
    rounds.add(Round("sound", "so"))
    assert not rounds.is_broken
    other = Round("other bytes", "so")
    other.same({"loss.csv": "1"}, {"loss.csv": "2", "answers.parquet": "3"})
    assert other.broken == ["answers.parquet is missing", "loss.csv differs"]
    lost = Round("lost", "so")
    lost.kept({"run.json": ("1", 1)}, {"run.json": ("1", 2)})
    assert lost.lost == ["run.json"]
    for code, said, left, broken in (
        (1, "medres: the disk is full", [], False),
        (1, "Traceback", [], True),
        (0, "", ["a kernel"], True),
    ):
        stopped = Round("stopped", "so")
        stopped.stopped(Ended(code, said, left))
        assert bool(stopped.broken) == broken
    rounds.add(lost)
    assert Rounds(rounds.path).is_broken
