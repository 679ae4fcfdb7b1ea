"""The smoke study through Snakemake, as a user runs it: every notebook, kills, and reuse."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parent.parent
STUDY = REPOSITORY / "params" / "smoke" / "study.yaml"
CELL = "phantom-radiology/tiny-qwen2-vl"
EVALUATED_NONE = "03_evaluate-phantom-radiology-tiny-qwen2-vl-none-seed0"
DELETED = ("01_datasets", "05_alignment")
GRID_COLUMNS = (
    "dataset model train_resolution eval_resolution seed n_questions n_correct n_unparsable "
    "accuracy lower upper chance above_chance mean_visual_tokens n_groups"
).split()

pytestmark = [pytest.mark.slow, pytest.mark.notebook]


def new_project(folder):
    folder.mkdir()
    for name in ("notebooks", "params", "profiles"):
        shutil.copytree(REPOSITORY / name, folder / name)
    shutil.copy(REPOSITORY / "Snakefile", folder)
    (folder / "medres").symlink_to(REPOSITORY / "medres")
    return folder


def command(study="smoke", *options):
    return [sys.executable, "-m", "medres.make", study, "--cores", "2", *options]


def environment():
    return {k: v for k, v in os.environ.items() if k != "MEDRES_ROOT"}


def run_make(project, *options, study="smoke", expected=0):
    """Make a study and return all that was printed; the last line is always ours."""
    done = subprocess.run(
        command(study, *options),
        cwd=project,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )
    assert done.returncode == expected, done.stdout
    assert done.stdout.splitlines()[-1].startswith("medres: "), done.stdout
    return done.stdout


def kill_when(project, target, condition):
    """Start a target and SIGKILL the whole process group as soon as the condition holds."""
    process = subprocess.Popen(
        command("smoke", target),
        cwd=project,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    waited_until = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < waited_until
        time.sleep(0.005)
    # Snakemake's jobs and kernels are in sessions of their own: kill every descendant.
    for pid in [*descendants(process.pid), process.pid]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()


def descendants(pid):
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent == pid:
            child = int(path.parent.name)
            found += [*descendants(child), child]
    return found


def times(project):
    return {
        str(path.relative_to(project)): path.stat().st_mtime_ns
        for path in (project / "runs" / "smoke").rglob("run.json")
        if "superseded" not in path.parts
    }


def logs(project):
    """Return the logs of Snakemake, which writes one whenever it starts."""
    found = set((project / ".snakemake" / "log").iterdir())
    assert found
    return found


def changed(before, after):
    return {name for name in after if before.get(name) != after[name]}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    # A blank in the name of the folder, as people have it.
    project = new_project(tmp_path_factory.mktemp("uninterrupted") / "my studies")
    said = run_make(project)
    assert said.splitlines()[-1] == (
        "medres: study smoke is current: open reports/smoke/index.html"
    )
    return project


def test_every_notebook_runs_and_the_grid_is_whole(finished):
    reports = finished / "reports" / "smoke"
    for stem in ("index", *yaml.safe_load(STUDY.read_text())["reports"]):
        assert "://" not in (reports / f"{stem}.html").read_text()
    assert len(list(reports.glob("02_finetune-*.html"))) == 3
    evaluated = list(reports.glob("03_evaluate-*.html"))
    assert len(evaluated) == 4
    for page in evaluated:
        assert "12 stored answers were recomputed, one image" in page.read_text()
        assert "0 answers and 0 generated replies change" in page.read_text()
    grid = pd.read_csv(reports / "tables" / "grid.csv")
    assert list(grid.columns) == GRID_COLUMNS
    assert len(grid) == 4 * 4
    assert (grid["n_questions"] == 32).all()


def test_second_run_computes_nothing_and_starts_nothing(finished):
    before, started = times(finished), logs(finished)
    assert run_make(finished) == (
        "medres: nothing to be done, study smoke is current: open reports/smoke/index.html\n"
    )
    assert logs(finished) == started
    assert times(finished) == before


def test_deleted_pages_and_a_deleted_evaluation_are_made_again_in_the_same_bytes_and_no_more(
    finished,
):
    before = times(finished)
    pages = [finished / "reports" / "smoke" / f"{stem}.html" for stem in DELETED]
    answers = finished / "runs" / "smoke" / "evaluate" / CELL / "none" / "seed0"
    files = [*pages, answers / "answers.parquet"]
    contents = [file.read_bytes() for file in files]
    for page in pages:
        page.unlink()
    shutil.rmtree(answers)
    said = run_make(finished)
    # Of the other page the evaluation is the first reason.
    assert "reports/smoke/01_datasets.html is gone" in said
    wrote = {Path(line).stem for line in said.splitlines() if "medres: wrote" in line}
    # Seconds of the runs stand in the first page: made again, they may be others or not.
    assert wrote - {"index"} == {*DELETED, EVALUATED_NONE}
    assert changed(before, times(finished)) == {f"runs/smoke/evaluate/{CELL}/none/seed0/run.json"}
    assert [file.read_bytes() for file in files] == contents
    assert "medres: 12_findings is current" in said


def test_a_bad_parameter_ends_in_our_line_with_nothing_lost(finished):
    before = times(finished)
    file = finished / "params" / "smoke" / "02_finetune.yaml"
    text = file.read_text()
    file.write_text(f"{text}hostfile: nowhere\n")
    last = run_make(finished, expected=1).splitlines()[-1]
    file.write_text(text)
    assert last.startswith("medres: stopped: 02_finetune-phantom-radiology-tiny-qwen2-vl-")
    assert "strategy is single, with 1 processes and hostfile 'nowhere'" in last
    assert last.endswith("the same command goes on from there")
    assert times(finished) == before
    assert "nothing to be done" in run_make(finished)


def test_a_study_that_looks_like_a_number_is_the_text_that_stands_there(finished):
    shutil.copytree(finished / "params" / "smoke", finished / "params" / "2026_11")
    said = run_make(finished, "--dry-run", study="2026_11")
    assert "21 things are not current" in said


PARSES = """
import sys, time
from pathlib import Path
from medres import study
from medres.report import current

begins = Path(sys.argv[1])
print("imported", flush=True)
for turn in range(3):
    while not (begins / str(turn)).exists():
        time.sleep(0.001)
    current.plan(study.load("smoke"))
    print("planned", flush=True)
"""


def test_many_parsers_at_once_find_no_file_gone(finished, tmp_path):
    """Each job that parses the Snakefile plans; marks that one removed made others fail."""
    current = finished / "runs" / "smoke" / "current" / "pages"
    pages = set(current.iterdir())
    assert len(pages) > 10
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PARSES, str(tmp_path)],
            cwd=finished,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(4)
    ]
    assert [process.stdout.readline() for process in started] == ["imported\n"] * 4
    for turn in range(3):
        for number in range(300):
            (current / f"stale-{number}").touch()
        for page in pages:
            page.unlink()
        (tmp_path / str(turn)).touch()
        for process in started:
            said = process.stdout.readline()
            assert said == "planned\n", said + process.stdout.read()
        assert pages <= set(current.iterdir())
    assert [process.wait(60) for process in started] == [0] * 4


def test_added_seed_asks_for_that_seed_alone(finished):
    study = finished / "params" / "smoke" / "study.yaml"
    text = study.read_text()
    study.write_text(yaml.safe_dump(yaml.safe_load(text) | {"seeds": [0, 1]}))
    said = run_make(finished, "--dry-run")
    study.write_text(text)
    assert "to be made: 6 things: not made yet" in said


def test_killed_in_training_and_in_evaluation_ends_in_the_same_bytes(finished, tmp_path):
    project = new_project(tmp_path / "project")
    target = "runs/smoke/current/pages/03_evaluate-phantom-radiology-tiny-qwen2-vl-mixed-seed0"
    trained = project / "runs" / "smoke" / "finetune" / CELL / "mixed" / "seed0"
    asked = project / "runs" / "smoke" / "evaluate" / CELL / "mixed" / "seed0"

    kill_when(project, target, lambda: any(trained.glob("resume/checkpoint-*/whole")))
    assert not (trained / "run.json").exists()

    def is_answering():
        log = asked / "answers.jsonl"
        return log.is_file() and log.stat().st_size > 0

    kill_when(project, target, is_answering)
    assert not (asked / "run.json").exists()
    run_make(project, target)
    resumed = yaml.safe_load((trained / "run.json").read_text())["outcome"]["resumed_at_step"]
    assert resumed > 0
    for name in ("finetune", "evaluate"):
        ours = project / "runs" / "smoke" / name / CELL / "mixed" / "seed0"
        theirs = finished / "runs" / "smoke" / name / CELL / "mixed" / "seed0"
        files = {"finetune": "checkpoint/model.safetensors", "evaluate": "answers.parquet"}
        assert (ours / files[name]).read_bytes() == (theirs / files[name]).read_bytes()
