import socket

import pytest
from filelock import FileLock

from medres import marks, runs, thin
from medres import study as studies
from tests import tiny_study


@pytest.fixture
def made(project):
    """A study whose runs are stand-ins, with all that kills and changes leave behind."""
    tiny_study.write(project)
    study = studies.load(tiny_study.NAME)
    for stage, kept in (("finetune", "checkpoint/weights"), ("evaluate", "answers.parquet")):
        for cell in study.cells(stage):
            run = runs.start(study.name, stage, cell.path, parameters={}, inputs={})
            write(run.folder / kept)
            run.finish(files=[kept.split("/")[0]], seconds=1.0)
            marks.write(marks.path_of(study.name, "pages", cell.page), marks.Mark({}))
    finetune, evaluate = (study.cells(stage)[0] for stage in studies.STAGES)
    write(runs.folder_of(study.name, "finetune", finetune.path) / "resume" / "checkpoint-3" / "a")
    write(runs.folder_of(study.name, "evaluate", evaluate.path) / "answers.jsonl")
    folder = runs.ROOT / "runs" / study.name
    for name in ("superseded/finetune-0/checkpoint/weights", "pixels/0", "pixels/1"):
        write(folder / name)
    write(folder / "notebooks" / f"{finetune.page}.ipynb")
    write(folder / "notebooks" / "05_alignment.ipynb")  # of a page that is not made
    return study


def write(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(5000))


def total(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def kinds(found):
    return {spare.kind for spare in found.spare}


def test_what_goes_is_said_first_and_removed_if_told(made, capsys):
    folder = runs.ROOT / "runs" / made.name
    before = total(folder)
    assert thin.main([made.name]) == 0
    said = capsys.readouterr().out
    assert "30.0 kB can go without losing a result, nothing was removed" in said
    assert "5.0 kB  runs put aside: of other settings, or damaged (runs/small/superseded" in said
    assert "10.0 kB  stays: weights of finished trainings" in said
    assert total(folder) == before
    assert kinds(thin.look(made)) == set(thin.KINDS)
    assert thin.main([made.name, "--yes"]) == 0
    assert "medres: removed 30.0 kB of study small" in capsys.readouterr().out
    assert before - total(folder) == 30_000
    cells = [cell for stage in studies.STAGES for cell in made.cells(stage)]
    assert all(runs.is_whole(runs.folder_of(made.name, cell.stage, cell.path)) for cell in cells)
    assert (folder / "notebooks" / "05_alignment.ipynb").is_file()
    assert thin.main([made.name]) == 0
    assert "nothing of study small can go" in capsys.readouterr().out


def test_what_an_unfinished_or_held_run_needs_stays(made):
    cells = made.cells("finetune")
    finished, unfinished = (
        runs.folder_of(made.name, cell.stage, cell.path) for cell in (cells[0], cells[1])
    )
    write(unfinished / "resume" / "checkpoint-3" / "a")
    (unfinished / "run.json").unlink()
    found = thin.look(made)
    (spare,) = [spare for spare in found.spare if spare.kind == "resume"]
    assert (spare.run, found.unfinished_bytes) == (finished, 5000)
    # Another process: a lock of one's own is given again.
    with FileLock(finished.parent / f".{finished.name}.lock"):
        assert thin.remove(found)[spare.path] == "its run is held"
    assert (finished / "resume" / "checkpoint-3" / "a").is_file()
    assert thin.remove(found) == {}
    assert not (finished / "resume").exists()
    assert (unfinished / "resume" / "checkpoint-3" / "a").is_file()


def test_prepared_pixels_stay_while_a_run_is_at_work(made):
    assert "pixels" in kinds(thin.look(made))
    run = runs.folder_of(made.name, "finetune", made.cells("finetune")[0].path)
    (run / "run.json").unlink()
    (run.parent / f".{run.name}.holder").write_text(
        f"process 1 on not-{socket.gethostname()} (begun at 0)\n"
    )
    assert "pixels" not in kinds(thin.look(made))
    assert "while runs are at work" in thin.report(made, thin.look(made))
