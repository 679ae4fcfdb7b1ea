import json
import os
import socket
import subprocess
import sys
import time

import psutil
import pytest

from medres import failures, marks, runs, status
from medres import study as studies
from medres.status.__main__ import main, report
from tests import tiny_study

HERE = socket.gethostname()
DEAD = 2**22 + 1
"""More than any process id."""


@pytest.fixture
def study(project):
    tiny_study.write(project)
    return studies.load(tiny_study.NAME)


def cell_of(study, stage, trained):
    (cell,) = [each for each in study.cells(stage) if each.train_resolution == trained]
    return cell


def finish(study, stage, name, **outcome):
    run = runs.start(study.name, stage, name, parameters={"seed": 0}, inputs={})
    run.finish(**outcome)
    return run.folder


def begin(study, cell, *, pid, host, since=0.0, begun=None, parameters=None):
    """Leave a run as a process that is at it, or was, would."""
    folder = runs.folder_of(study.name, cell.stage, cell.path)
    folder.mkdir(parents=True, exist_ok=True)
    runs.write_json(folder / "spec.json", {"digest": "", "spec": {"parameters": parameters or {}}})
    holder = folder.parent / f".{folder.name}.holder"
    if begun is None:
        begun = psutil.Process(pid).create_time() if psutil.pid_exists(pid) else 0.0
    holder.write_text(f"process {pid} on {host} (begun at {begun:.2f})\n")
    for path in (holder, folder / "spec.json", folder):
        os.utime(path, (time.time() - since,) * 2)
    return folder


def states(study):
    return {thing.name: thing.state for thing in status.look(study).things if thing.cell}


def test_counts_and_gpu_hours_are_those_of_the_records(study):
    finish(study, "questions", "mine", n_questions={"test": 6})
    on_gpus = {"device": "NVIDIA H200", "n_processes": 4, "seconds": 1800.0}
    finish(study, "finetune", cell_of(study, "finetune", "low").path, **on_gpus)
    native = cell_of(study, "finetune", "native").path
    finish(study, "finetune", native, device="cpu", n_processes=2, seconds=7200.0)
    finish(study, "evaluate", cell_of(study, "evaluate", "low").path, device="cuda:0", seconds=3600)
    old = finish(
        study, "evaluate", cell_of(study, "evaluate", "none").path, device="cuda:0", seconds=360
    )
    runs.set_aside(study.name, old, "evaluate-0123")
    said = report(status.look(study))
    assert "data sets    1 of 1 done\n" in said
    assert "trainings    2 of 2 done\n" in said
    assert "evaluations  1 of 3 done, 2 waiting" in said
    assert "GPU hours used: 3.0 in 3 finished runs, and 0.1 in superseded ones" in said


def test_a_run_is_at_work_where_its_process_lives_or_its_files_change(study):
    low, native = (cell_of(study, "finetune", name) for name in ("low", "native"))
    begin(study, low, pid=os.getpid(), host=HERE)
    begin(study, native, pid=DEAD, host=HERE)
    assert states(study)[low.page] == status.RUNNING
    assert states(study)[native.page] == status.ENDED
    begin(study, low, pid=DEAD, host="node7", since=60.0)
    begin(study, native, pid=DEAD, host="node7", since=status.SILENT_S + 60.0)
    found = states(study)
    assert (found[low.page], found[native.page]) == (status.RUNNING, status.ENDED)
    said = report(status.look(study))
    assert f"{low.page}: on node7 since" in said
    assert f"{native.page}: last sign on node7 at" in said


def test_who_makes_what_failed_before_is_at_work_and_a_page_that_is_made_has_not_failed(study):
    cell = cell_of(study, "finetune", "low")
    failures.record(study.name, cell.page, "no room left")
    begin(study, cell, pid=DEAD, host="node7")
    assert states(study)[cell.page] == status.FAILED
    begin(study, cell, pid=os.getpid(), host=HERE)
    assert states(study)[cell.page] == status.RUNNING
    failures.record(study.name, "05_alignment", "no answers")
    mark = runs.ROOT / "runs" / study.name / "marks" / "pages" / "05_alignment.json"
    mark.parent.mkdir(parents=True)
    mark.touch()
    (page,) = (each for each in status.look(study).things if each.name == "05_alignment")
    assert page.state == status.DONE


def test_a_process_id_given_to_another_process_later_is_not_the_holder(study):
    cell = cell_of(study, "finetune", "low")
    begin(study, cell, pid=os.getpid(), host=HERE, begun=time.time() - 10**6)
    assert states(study)[cell.page] == status.ENDED


def test_a_disk_whose_clock_is_behind_ends_no_process(study):
    cell = cell_of(study, "finetune", "low")
    begin(study, cell, pid=os.getpid(), host=HERE, since=10**6)
    assert states(study)[cell.page] == status.RUNNING


def test_a_training_says_its_step_and_the_time_that_it_said_itself(study):
    cell = cell_of(study, "finetune", "native")
    folder = begin(study, cell, pid=1, host="node7", since=60.0)
    runs.write_json(folder / "progress.json", {"step": 5, "n_steps": 20, "left_s": 7200})
    said = report(status.look(study))
    assert "step 5 of 20, about 2.0 h left, last sign" in said
    # By a disk whose clock is two hours ahead.
    os.utime(folder / "progress.json", (time.time() + 7200,) * 2)
    assert "about 2.0 h left" in report(status.look(study))
    # Written by the attempt before: the step it had reached stands, the time does not.
    os.utime(folder / "progress.json", (time.time() - 100,) * 2)
    (thing,) = status.look(study).of(status.RUNNING)
    assert (thing.at, thing.left_s) == ("step 5 of 20", None)


def test_an_evaluation_says_its_share_of_answers(study):
    finish(study, "questions", "mine", n_questions={"test": 6})
    cell = cell_of(study, "evaluate", "none")
    asked = {"eval_resolutions": ["low", "native", "mixed"], "limit": 5}
    folder = begin(study, cell, pid=1, host="node7", since=100.0, parameters=asked)
    (folder / "answers.jsonl").write_text('{"a": 1}\n' * 4)
    found = status.look(study)
    (thing,) = found.of(status.RUNNING)
    assert (thing.at, thing.share) == ("about 40% of 10 answers", 0.4)
    # None like it is finished: by its own share of the time since it was begun.
    assert status.left_s(found, thing) == pytest.approx(150.0, abs=5.0)


def test_time_left_is_that_of_finished_runs_alike_and_unknown_without(study):
    said = report(status.look(study))
    assert "time left: not known: for 5 runs nothing tells" in said
    finish(study, "evaluate", cell_of(study, "evaluate", "none").path, device="cpu", seconds=600.0)
    said = report(status.look(study))
    assert "time left: about 20.0 min, for 20.0 min of work, 1 at a time, in 2 runs" in said
    assert "also, for 2 runs nothing tells" in said


def test_what_failed_for_the_same_reason_is_one_line(study, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    cells = study.cells("finetune")
    for cell in cells:
        failures.record(study.name, cell.page, f"no GPU (see runs/{cell.page}.ipynb)")
    failures.record(study.name, "05_alignment", "no answers")
    finish(study, "evaluate", cell_of(study, "evaluate", "none").path, device="cpu", seconds=1.0)
    failures.record(study.name, cell_of(study, "evaluate", "none").page, "disk full")
    said = report(status.look(study))
    assert f"{cells[0].page}, {cells[1].page}: no GPU (see" in said
    assert said.count("no GPU") == 1
    assert f"(on {HERE}, job 17, " in said
    assert "trainings    0 of 2 done, 2 failed" in said
    # The run is whole, its page is not.
    assert "evaluations  1 of 3 done, 2 waiting" in said
    assert "pages        0 of 10 done, 2 failed, 8 waiting" in said


def test_a_page_is_made_if_the_last_plan_left_it_so(study):
    for stem in ("05_alignment", "index"):
        marks.write(marks.path_of(study.name, "pages", stem), marks.Mark({}))
    assert "pages        2 of 10 done" in report(status.look(study))
    current = runs.ROOT / "runs" / study.name / "current" / "pages"
    current.mkdir(parents=True)
    (current / "index").touch()
    assert "pages        1 of 10 done" in report(status.look(study))


TORN = [b"", b"{", b"[]", b"\xff\xfe", b"3", b'{"spec": 3}', b"[" * 5000, b'{"reason": 3}']


def test_numbers_and_times_that_are_none_here_stop_nothing(study, capsys):
    folder = begin(study, cell_of(study, "finetune", "native"), pid=1, host="node7")
    (folder / "progress.json").write_text(f'{{"step": {"9" * 400}, "n_steps": 2, "left_s": 3}}')
    failures.record(study.name, "05_alignment", "no answers")
    path = runs.ROOT / "runs" / study.name / "failed" / "05_alignment.json"
    far = json.loads(path.read_text()) | {"at": "9999-12-31T23:59:59-23:59"}
    path.write_text(json.dumps(far))
    assert main([study.name]) == 0
    assert "05_alignment: no answers" in capsys.readouterr().out


@pytest.mark.parametrize("content", TORN, ids=range(len(TORN)))
def test_damaged_files_are_said_and_stop_nothing(study, content, capsys):
    finish(study, "questions", "mine", n_questions={"test": 6})
    finish(study, "finetune", cell_of(study, "finetune", "low").path, seconds=1.0)
    folder = begin(study, cell_of(study, "finetune", "native"), pid=1, host="node7")
    runs.write_json(folder / "progress.json", {"step": 1, "n_steps": 2, "left_s": 3})
    begin(study, cell_of(study, "evaluate", "low"), pid=1, host="node7")
    failures.record(study.name, "05_alignment", "no answers")
    paths = list((runs.ROOT / "runs" / study.name).rglob("*.json"))
    paths += (runs.ROOT / "runs" / study.name).rglob(".*.holder")
    for path in paths:
        whole = path.read_bytes()
        path.write_bytes(content)
        assert main([study.name]) == 0
        if path.name in ("run.json", "05_alignment.json"):
            assert str(path.relative_to(runs.ROOT)) in capsys.readouterr().out
        path.write_bytes(whole)
    for path in paths:
        path.write_bytes(content)
    assert main([study.name]) == 0


def test_a_damaged_run_that_was_put_aside_is_not_said_again(study, capsys):
    aside = runs.ROOT / "runs" / study.name / "superseded" / "damaged-finetune-1"
    aside.mkdir(parents=True)
    (aside / "run.json").write_text("{")
    assert main([study.name]) == 0
    assert "cannot be read" not in capsys.readouterr().out


def test_looking_changes_nothing_and_imports_nothing_heavy(study):
    folder = begin(study, cell_of(study, "finetune", "low"), pid=os.getpid(), host=HERE)
    before = {path: path.stat().st_mtime_ns for path in runs.ROOT.rglob("*")}
    asked = (
        "import json, sys; from medres.status.__main__ import main; main(['small']); "
        "print(json.dumps([name for name in ('torch', 'pandas') if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert f"{folder.relative_to(runs.ROOT / 'runs' / study.name).parts[-3]}" in done.stdout
    assert json.loads(done.stdout.splitlines()[-1]) == []
    assert {path: path.stat().st_mtime_ns for path in runs.ROOT.rglob("*")} == before


def test_an_unknown_study_is_said_in_one_line(project, capsys):
    assert main(["none"]) == 1
    assert "no such study" in capsys.readouterr().err
