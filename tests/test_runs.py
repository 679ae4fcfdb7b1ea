import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from medres import datasets, runs, study
from medres.datasets import own, preparation

REPOSITORY = Path(__file__).resolve().parent.parent
HOST = socket.gethostname()
GIVEN = {"dataset": "cells", "epochs": 3, "learning_rate": 1e-3, "study": "s", "threads": 1}
CELL = "cells/tiny/low/seed0"


def _parameters() -> set[str]:
    """Every parameter that can reach a run."""
    notebooks = (
        REPOSITORY / "notebooks" / f"{name}.ipynb" for name in ("02_finetune", "03_evaluate")
    )
    names = {name for path in notebooks for name in study.notebook_parameters(path)}
    for module in datasets.REAL.values():
        names |= set(module.OPTIONS)
    for defaults in (own.DEFAULTS, preparation.PHANTOM_DEFAULTS, preparation.REAL_DEFAULTS):
        names |= set(defaults)
    return names | {"dataset"}


def _start(given: dict = GIVEN, inputs: dict | None = None, cell: str = CELL) -> runs.Run:
    return runs.start("s", "finetune", cell, parameters=given, inputs=inputs or {"weights": "w1"})


def _finished(**changes: object) -> runs.Run:
    run = _start(GIVEN | changes)
    (run.folder / "loss.csv").write_text("a result")
    run.finish(files=["loss.csv"], accuracy=0.5)
    return run


def test_every_parameter_decides_the_result_or_only_how_it_is_made() -> None:
    assert _parameters() <= runs.IDENTITY | runs.RUNTIME


def test_no_parameter_is_both() -> None:
    assert runs.IDENTITY & runs.RUNTIME == frozenset()


def test_no_classified_parameter_is_stale() -> None:
    # images_sha256 and n_pairs stood there and no run had them.
    assert (runs.IDENTITY | runs.RUNTIME) - _parameters() == set()


def test_an_unclassified_parameter_stops_the_run(project: Path) -> None:
    with pytest.raises(ValueError, match=r"\['n_epochs'\] are neither in runs\.IDENTITY nor in"):
        _start(GIVEN | {"n_epochs": 3})
    assert not (project / "runs").exists()


@pytest.mark.parametrize("name", sorted(runs.RUNTIME))
def test_a_runtime_parameter_leaves_the_digest_alone(project: Path, name: str) -> None:
    first = _start(GIVEN | {name: 1}, cell="a")
    assert first.digest == _start(GIVEN | {name: 2}, cell="a").digest
    assert name not in first.spec["parameters"]


@pytest.mark.parametrize("name", sorted(runs.IDENTITY))
def test_an_identity_parameter_changes_the_digest(project: Path, name: str) -> None:
    digests = {_start(GIVEN | {name: value}).digest for value in (1, "1")}
    assert len(digests) == 2
    assert _start({key: GIVEN[key] for key in GIVEN if key != name}).digest not in digests


def test_inputs_cell_stage_and_versions_change_the_digest(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = {_start().digest, _start(inputs={"weights": "w2"}).digest, _start(cell="b").digest}
    digests.add(
        runs.start("s", "evaluate", CELL, parameters=GIVEN, inputs={"weights": "w1"}).digest
    )
    digests.add(
        runs.start("t", "finetune", CELL, parameters=GIVEN, inputs={"weights": "w1"}).digest
    )
    assert len(digests) == 4, "the study's name changes nothing"
    monkeypatch.setattr(runs, "version", lambda package: f"another {package}")
    digests.add(_start().digest)
    monkeypatch.setattr(runs, "SCHEMA", runs.SCHEMA + 1)
    digests.add(_start().digest)
    assert len(digests) == 6


def test_the_order_of_parameters_does_not_matter(project: Path) -> None:
    assert _start().digest == _start(dict(reversed(GIVEN.items()))).digest


def test_a_finished_run_is_reused(project: Path, capsys: pytest.CaptureFixture) -> None:
    made = _finished()
    assert made.folder == project / "runs" / "s" / "finetune" / CELL
    before = {path: path.stat().st_mtime_ns for path in made.folder.iterdir()}
    again = _start(GIVEN | {"threads": 8})
    assert again.is_done
    assert again.record["outcome"] == {"accuracy": 0.5}
    assert {path: path.stat().st_mtime_ns for path in made.folder.iterdir()} == before
    assert capsys.readouterr().out == ""


def test_the_record_says_what_was_asked_and_by_which_code(project: Path) -> None:
    record = _finished().record
    assert record["spec"]["parameters"] == {"dataset": "cells", "epochs": 3, "learning_rate": 1e-3}
    assert record["spec"]["inputs"] == {"weights": "w1"}
    assert set(record["spec"]["versions"]) == set(runs.VERSIONS)
    assert set(record["code"]) == {"commit", "is_dirty"}
    assert record["digest"] == runs.digest_of(record["spec"])


def test_another_digest_sets_the_old_run_aside_and_says_what_changed(
    project: Path, capsys: pytest.CaptureFixture
) -> None:
    old = _finished()
    run = _start(GIVEN | {"epochs": 5}, inputs={"weights": "w2"})
    assert not run.is_done
    assert [path.name for path in run.folder.iterdir()] == ["spec.json"]
    aside = project / "runs" / "s" / "superseded" / f"finetune-{old.digest[:12]}"
    assert (aside / "loss.csv").read_text() == "a result"
    assert runs.read(aside)["digest"] == old.digest
    printed = capsys.readouterr().out
    for phrase in ("parameters.epochs was 3, is 5", "inputs.weights was 'w1', is 'w2'", str(aside)):
        assert phrase in printed
    assert "learning_rate" not in printed


def test_going_back_and_forth_keeps_one_of_each(project: Path) -> None:
    for epochs in (3, 5, 3, 5):
        _finished(epochs=epochs)
    assert len(list((project / "runs" / "s" / "superseded").iterdir())) == 2


def test_unfinished_work_of_another_digest_is_dropped(
    project: Path, capsys: pytest.CaptureFixture
) -> None:
    (_start().folder / "answers.jsonl").write_text("half")
    run = _start(GIVEN | {"epochs": 5})
    assert [path.name for path in run.folder.iterdir()] == ["spec.json"]
    assert "unfinished work is dropped, because parameters.epochs was 3, is 5" in (
        capsys.readouterr().out
    )
    assert not (project / "runs" / "s" / "superseded").exists()


def test_unfinished_work_of_the_same_digest_is_kept(project: Path) -> None:
    (_start().folder / "answers.jsonl").write_text("half")
    run = _start(GIVEN | {"threads": 4})
    assert (run.folder / "answers.jsonl").read_text() == "half"
    assert not run.is_done


def test_only_the_record_means_done(project: Path) -> None:
    run = _start()
    (run.folder / "loss.csv").write_text("a result")
    (run.folder / "spec.json").write_text(json.dumps({"digest": run.digest, "spec": run.spec}))
    assert not run.is_done
    assert not runs.is_whole(run.folder)
    with pytest.raises(
        FileNotFoundError, match="not a finished run; make it with `make study STUDY=s`"
    ):
        runs.read(run.folder)


def test_a_run_whose_result_was_removed_is_made_anew(
    project: Path, capsys: pytest.CaptureFixture
) -> None:
    run = _finished()
    (run.folder / "loss.csv").unlink()
    assert not _start().is_done
    assert not (run.folder / "run.json").exists()
    assert "made again, because files of it are gone" in capsys.readouterr().out


def test_a_torn_record_stops_with_the_remedy_and_holds_no_lock(project: Path) -> None:
    path = _finished().folder / "run.json"
    path.write_text(path.read_text()[:40])
    for _ in range(2):
        with pytest.raises(ValueError, match=r"run\.json is damaged: .*STUDY=s REPAIR=1. makes it"):
            _start()
    path.unlink()
    assert not _start().is_done


def test_unfinished_work_of_which_nothing_says_what_it_is_is_dropped(
    project: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = _start().folder
    (folder / "answers.jsonl").write_text("half")
    (folder / "spec.json").write_text((folder / "spec.json").read_text()[:40])
    run = _start()
    assert [path.name for path in run.folder.iterdir()] == ["spec.json"]
    assert "unfinished work is dropped" in capsys.readouterr().out


def test_what_a_kill_left_half_written_is_removed_at_the_next_start(project: Path) -> None:
    folder = _start().folder
    (folder / ".answers.parquet-x1").write_text("half")
    (folder / "answers.jsonl").write_text("kept")
    assert sorted(path.name for path in _start().folder.iterdir()) == ["answers.jsonl", "spec.json"]


def test_a_file_is_checked_before_it_is_read(project: Path) -> None:
    run = _finished()
    assert run.file("loss.csv").read_text() == "a result"
    with pytest.raises(FileNotFoundError, match=r"gain\.csv is not there; make it with `make stud"):
        run.file("gain.csv")
    (run.folder / "loss.csv").write_text("a resulu")
    with pytest.raises(ValueError, match=r"loss\.csv is damaged: .*STUDY=s REPAIR=1"):
        run.file("loss.csv")


def test_a_folder_s_files_are_kept_one_by_one(project: Path) -> None:
    run = _start()
    (run.folder / "checkpoint").mkdir()
    for name in ("model.safetensors", ".part"):
        (run.folder / "checkpoint" / name).write_text("weights")
    run.finish(files=["checkpoint"])
    assert list(runs.read(run.folder)["files"]) == ["checkpoint/model.safetensors"]


def test_replacing_leaves_the_old_file_and_no_litter_after_an_exception(tmp_path: Path) -> None:
    path = tmp_path / "deeper" / "file.txt"
    with runs.replacing(path) as part:
        part.write_text("old")
        assert not path.exists()

    def stop_half_way() -> None:
        with runs.replacing(path) as part:
            part.write_text("half of the n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_half_way()
    assert [each.name for each in path.parent.iterdir()] == ["file.txt"]
    assert path.read_text() == "old"
    with runs.replacing(path) as part:
        part.write_text("new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o644


def test_json_is_stable_and_readable(tmp_path: Path) -> None:
    runs.write_json(tmp_path / "a.json", {"b": 1, "a": [1.5, None]})
    runs.write_json(tmp_path / "b.json", {"a": [1.5, None], "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert runs.read_json(tmp_path / "a.json") == {"a": [1.5, None], "b": 1}


def test_changes_are_told_value_by_value() -> None:
    old = {"a": {"b": 1, "c": [1]}, "d": "x"}
    new = {"a": {"b": 2, "c": [1]}, "e": "y"}
    assert list(runs.changed(old, new)) == [
        "a.b was 1, is 2",
        "d was 'x', is None",
        "e was None, is 'y'",
    ]


def test_of_long_lists_only_what_they_do_not_share_is_told() -> None:
    shared = [f"table_{number}" for number in range(60)]
    assert list(runs.changed({"a": [*shared, "b"]}, {"a": ["c", *shared]})) == [
        "a lost ['b'] and gained ['c']"
    ]
    assert list(runs.changed({"a": shared}, {"a": ["c", *shared]})) == ["a gained ['c']"]
    assert list(runs.changed({"a": [1, 2]}, {"a": [2]})) == ["a was [1, 2], is [2]"]
    assert "was" in next(runs.changed({"a": shared}, {"a": shared[::-1]}))


HOLD = f"""
import sys
from medres import runs
run = runs.start("s", "finetune", {CELL!r}, parameters={GIVEN!r}, inputs={{"weights": "w1"}})
if "finish" in sys.argv:
    run.finish()
print("started", flush=True)
sys.stdin.read()
"""


def _other_process(*arguments: str) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, *arguments],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"MEDRES_ROOT": str(runs.ROOT)},
    )
    assert process.stdout.readline() == "started\n"
    return process


def test_a_second_process_waits_until_the_first_is_killed(
    project: Path, capsys: pytest.CaptureFixture
) -> None:
    # Locks that say who holds them outlive a killed process; the kernel's do not.
    with _other_process() as first:
        folder = runs.folder_of("s", "finetune", CELL)
        with pytest.raises(Timeout):
            FileLock(folder.parent / ".seed0.lock").acquire(timeout=0)
        got = []
        second = threading.Thread(target=lambda: got.append(_start()), daemon=True)
        second.start()
        second.join(timeout=0.2)
        assert second.is_alive()
        said = capsys.readouterr().out
        assert said == f"{folder}: waits for process {first.pid} on {HOST}, which is making it\n"
        assert got == []
        first.send_signal(signal.SIGKILL)
        second.join(timeout=10)
        assert [run.folder for run in got] == [folder]


def test_a_done_run_keeps_nobody_waiting(project: Path) -> None:
    # A notebook left open on a finished run made the same cell of `make study` wait for ever.
    with _other_process("finish") as first:
        got = []
        second = threading.Thread(target=lambda: got.append(_start()), daemon=True)
        second.start()
        second.join(timeout=10)
        first.kill()
        assert [run.is_done for run in got] == [True]


def test_a_cell_can_be_run_again_in_the_same_notebook(project: Path) -> None:
    # filelock 4 refused with "Deadlock", filelock 3 waited for ever.
    first = _start()
    second = _start()
    assert not second.is_done
    second.finish()
    third = _start()
    assert first.is_done
    assert third.is_done
    changed = _start(GIVEN | {"epochs": 5})
    assert not changed.is_done
