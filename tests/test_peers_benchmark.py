"""`benchmarks.peers` without environments of peers, and what its cells say."""

import argparse
import sys
from pathlib import Path

import pytest

from benchmarks import peer_environments, peer_studies, peer_work, peers

ROW = peer_work.Row("answer", (448, 448), "low", 1, 2, "5")
OF_TRAINING = peer_work.Row("train", (448, 448), "mixed", 1, 2, "1.35")


def test_a_ratio_is_of_the_two_in_the_same_round() -> None:
    taken = {peers.TODAY: [1.0, 2.0, 1.0], "transformers": [3.0, 4.0, 4.0]}
    assert peers.ratios(taken, "transformers") == "3.00 (2.00 to 4.00)"


def test_the_best_peer_is_the_fastest_that_follows_the_same_rule() -> None:
    sides = {
        name: peers.Worker(name, [], {}, Path())
        for name in (*peers.OURS, "transformers", "ms_swift", "glance")
    }
    taken = {
        peers.TODAY: [1.0],
        peers.EARLIER: [1.5],
        "transformers": [4.0],
        "ms_swift": [3.0],
        "glance": [2.0],
    }
    first = {name: {"replies": ["yes", "no"]} for name in (*peers.OURS, "transformers")}
    first[peers.TODAY]["chosen"] = ["yes", "yes"]
    first["ms_swift"] = {"replies": ["yes", "yes "]}
    first["glance"] = {"chosen": ["yes", "yes"]}
    cells = peers.columns(ROW, taken, first, sides)
    assert cells["best peer"] == "ms-swift 3.00 (3.00 to 3.00)"
    assert cells["before"] == "1.50 (1.50 to 1.50)"
    assert cells["same"] == ("medres before 2/2; transformers 2/2; ms-swift 1/2; glance-vlm 2/2")


def test_losses_are_compared_over_all_steps() -> None:
    ours, theirs = {"losses": [2.0, 1.0]}, {"losses": [2.0, 1.25]}
    assert peers.same(OF_TRAINING, ours, theirs, 2) == "losses within 0.2500"


def test_an_environment_that_is_not_there_is_no_peer(tmp_path: Path) -> None:
    python = tmp_path / "trl" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    assert set(peer_environments.interpreters(tmp_path)) == {"transformers", "trl"}
    assert set(peer_environments.interpreters(None)) == {"transformers"}


def test_a_worker_that_ends_says_why(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such model')"]
    worker = peers.Worker("glance-vlm", command, {}, tmp_path)
    with pytest.raises(RuntimeError, match="glance-vlm ended: no such model"):
        worker.do({"kind": "answer"})


def test_studies_run_in_copies_of_both_states(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tmp_path / "project"
    before.mkdir()
    (before / "sum.py").write_text("sum(range(20_000_000))")
    (before / "runs").mkdir()
    monkeypatch.setattr(peer_studies, "copied", lambda project, folder: before)
    monkeypatch.setattr(peer_studies, "STUDIES", {"sum": (("sum.py",), ("sum.py",))})
    (row,) = peer_studies.compare(tmp_path / "work", str(before), ["sum"])
    assert row.keys() == {
        "study", "before, CPU s", "before, wall s", "today, CPU s", "today, wall s"
    }  # fmt: skip
    assert float(row["before, CPU s"]) > 0.2
    assert not (tmp_path / "work" / "studies-before" / "runs").exists()


@pytest.mark.slow
def test_before_and_today_are_compared_without_any_peer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = str(Path(__file__).parent.parent)
    asked = argparse.Namespace(
        environments=None,
        before=project,
        peers=["trl"],
        rows=["answer"],
        rounds=3,
        quick=True,
        study=[],
    )
    peers.run(tmp_path, asked)
    printed = capsys.readouterr().out
    assert "no environment, not compared: TRL, lmms-eval, ms-swift, glance-vlm" in printed
    assert "medres before 16/16" in printed
