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
GRID_COLUMNS = (
    "dataset model train_resolution eval_resolution seed n_questions n_correct n_unparsable "
    "accuracy lower upper mean_visual_tokens n_groups"
).split()

pytestmark = [pytest.mark.slow, pytest.mark.notebook]


def new_project(folder):
    folder.mkdir()
    for name in ("notebooks", "params"):
        shutil.copytree(REPOSITORY / name, folder / name)
    shutil.copy(REPOSITORY / "Snakefile", folder)
    (folder / "medres").symlink_to(REPOSITORY / "medres")
    return folder


def command(*targets, options=()):
    flags = "--cores 2 --nolock --rerun-incomplete --rerun-triggers mtime --quiet rules"
    return [
        sys.executable, "-m", "snakemake", *flags.split(), *options, "--config", "study=smoke",
        *(["--", *targets] if targets else []),
    ]  # fmt: skip


def snakemake(project, *targets, options=()):
    environment = {k: v for k, v in os.environ.items() if k != "MEDRES_ROOT"}
    done = subprocess.run(
        command(*targets, options=options),
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def kill_when(project, target, condition):
    """Start a target and SIGKILL the whole process group as soon as the condition holds."""
    environment = {k: v for k, v in os.environ.items() if k != "MEDRES_ROOT"}
    process = subprocess.Popen(
        command(target),
        cwd=project,
        env=environment,
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
    }


def changed(before, after):
    return {name for name in after if before.get(name) != after[name]}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    project = new_project(tmp_path_factory.mktemp("uninterrupted") / "project")
    snakemake(project)
    return project


def test_every_notebook_runs_and_the_grid_is_whole(finished):
    reports = finished / "reports" / "smoke"
    for stem in ("index", *yaml.safe_load(STUDY.read_text())["reports"]):
        assert "http" not in (reports / f"{stem}.html").read_text()
    assert len(list(reports.glob("02_finetune-*.html"))) == 3
    assert len(list(reports.glob("03_evaluate-*.html"))) == 4
    grid = pd.read_csv(reports / "tables" / "grid.csv")
    assert list(grid.columns) == GRID_COLUMNS
    assert len(grid) == 4 * 4
    assert (grid["n_questions"] == 32).all()


def test_page_rendered_again_from_the_same_runs_is_the_same_bytes(finished):
    page = finished / "reports" / "smoke" / "05_alignment.html"
    before = page.read_bytes()
    page.unlink()
    snakemake(finished, "reports/smoke/05_alignment.html")
    assert page.read_bytes() == before


def test_second_run_computes_nothing(finished):
    before = times(finished)
    began = time.monotonic()
    assert "Nothing to be done" in snakemake(finished, options=["--verbose"])
    assert time.monotonic() - began < 15
    assert times(finished) == before


def test_deleted_evaluation_alone_is_remade_with_the_reports_that_read_it(finished):
    before = times(finished)
    answers = finished / "runs" / "smoke" / "evaluate" / CELL / "none" / "seed0"
    content = (answers / "answers.parquet").read_bytes()
    shutil.rmtree(answers)
    said = snakemake(finished)
    assert changed(before, times(finished)) == {f"runs/smoke/evaluate/{CELL}/none/seed0/run.json"}
    assert (answers / "answers.parquet").read_bytes() == content
    assert "12_findings.html" in said


def test_added_seed_asks_for_that_seed_alone(finished):
    study = finished / "params" / "smoke" / "study.yaml"
    text = study.read_text()
    study.write_text(yaml.safe_dump(yaml.safe_load(text) | {"seeds": [0, 1]}))
    planned = snakemake(finished, options=["--dry-run"])
    study.write_text(text)
    rules = [line.split() for line in planned.splitlines() if line.startswith(("fine", "eval"))]
    assert {rule: int(count) for rule, count in rules} == {
        "finetune": 2,
        "finetune_native": 1,
        "evaluate": 3,
    }


def test_killed_in_training_and_in_evaluation_ends_in_the_same_bytes(finished, tmp_path):
    project = new_project(tmp_path / "project")
    target = f"runs/smoke/made/evaluate/{CELL}/mixed/seed0"
    trained = project / "runs" / "smoke" / "finetune" / CELL / "mixed" / "seed0"
    asked = project / "runs" / "smoke" / "evaluate" / CELL / "mixed" / "seed0"

    kill_when(project, target, lambda: any(trained.glob("resume/checkpoint-*/whole")))
    assert not (trained / "run.json").exists()

    def is_answering():
        log = asked / "answers.jsonl"
        return log.is_file() and log.stat().st_size > 0

    kill_when(project, target, is_answering)
    assert not (asked / "run.json").exists()
    snakemake(project, target)
    resumed = yaml.safe_load((trained / "run.json").read_text())["outcome"]["resumed_at_step"]
    assert resumed > 0
    for name in ("finetune", "evaluate"):
        ours = project / "runs" / "smoke" / name / CELL / "mixed" / "seed0"
        theirs = finished / "runs" / "smoke" / name / CELL / "mixed" / "seed0"
        files = {"finetune": "checkpoint/model.safetensors", "evaluate": "answers.parquet"}
        assert (ours / files[name]).read_bytes() == (theirs / files[name]).read_bytes()
