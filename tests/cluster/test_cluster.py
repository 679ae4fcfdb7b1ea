"""The smoke study on a real Slurm of one node: jobs die, and nothing comes out differently."""

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.cluster import slurm_node
from tests.test_study_run import environment, new_project

ENDS_WITHIN_S = 1200
STUDY = "smoke"
EPOCHS = 24
"""For 4, so that a training can be stopped in its middle."""
TIMED = ("10_choose_resolution.html", "tables/runs.csv", "tables/rung_costs.csv")
"""Files of the reports that print seconds as they were measured."""
CELL = "phantom-radiology/tiny-qwen2-vl/{}/seed0"
CANCELLED, REQUEUED = "low", "native"
"""Trainings that are stopped in their middle, and how."""
UNKNOWN_TO_SLURM = """
slurm-no-account: true
slurm-status-command: squeue
slurm-init-seconds-before-status-checks: 1
"""
"""Options that docs/cluster.md names for a Slurm without accounting."""

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.notebook]


def write_project(folder: Path) -> Path:
    project = new_project(folder)
    path = project / "params" / STUDY / "02_finetune.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"epochs": EPOCHS}))
    with (project / "profiles" / "slurm" / "config.yaml").open("a") as profile:
        profile.write(UNKNOWN_TO_SLURM)
    return project


def make(project: Path, *options: str) -> subprocess.Popen[str]:
    # Into a file: a pipe that nobody reads fills up.
    with (project / "make.log").open("w") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "medres.make", STUDY, *options],
            cwd=project,
            env=environment(),
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
        )


def job_in_its_middle(project: Path, train_resolutions: set[str], until: float) -> tuple[str, str]:
    """Return the first of some trainings that has a checkpoint to go on from, and its Slurm job."""
    while time.monotonic() < until:
        for train_resolution in train_resolutions:
            folder = project / "runs" / STUDY / "finetune" / CELL.format(train_resolution)
            assert not (folder / "run.json").exists(), "it was done before it could be stopped"
            if any(folder.glob("resume/*/whole")):
                jobs = squeue("--states=RUNNING", "--format=%i %k")
                job = next(job for job, name in jobs if f"-{train_resolution}-seed" in name)
                return train_resolution, job
        time.sleep(0.1)
    raise AssertionError(f"no checkpoint of {train_resolutions} in time")


def squeue(*options: str) -> list[tuple[str, str]]:
    """The two columns that a format asks for, of each Slurm job that has not ended."""
    command = ["squeue", "--noheader", *options]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [(line.split()[0], line.split()[1]) for line in said.splitlines()]


def digests_of(project: Path) -> dict[str, str]:
    """The digests of all files that runs of the study keep and, but for `TIMED`, of its reports."""
    found = {
        f"{path.parent.relative_to(project)}/{name}": digest
        for path in sorted((project / "runs" / STUDY).rglob("run.json"))
        for name, digest in json.loads(path.read_text())["files"].items()
    }
    reports = project / "reports" / STUDY
    found |= {
        str(path.relative_to(project)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(reports.rglob("*"))
        if path.is_file() and str(path.relative_to(reports)) not in TIMED
    }
    return found


def on_slurm(project: Path, until: float) -> str:
    """Make the study on Slurm, one training cancelled and one requeued; return what it said."""
    prepare = [sys.executable, "-m", "medres.datasets", "prepare", STUDY, "phantom-radiology"]
    subprocess.run(prepare, cwd=project, env=environment(), check=True, capture_output=True)
    made = make(project, "--profile", "slurm", "--gpu", "none")
    try:
        whole = {CANCELLED, REQUEUED}
        while whole:
            train_resolution, job = job_in_its_middle(project, whole, until)
            whole.remove(train_resolution)
            ends = ["scancel"] if train_resolution == CANCELLED else ["scontrol", "requeue"]
            subprocess.run([*ends, job], check=True)
            if train_resolution == REQUEUED:
                requeued = job
        while (requeued, "PENDING") not in squeue("--format=%i %T"):
            assert time.monotonic() < until
            time.sleep(0.1)
        # By itself it would begin again after two minutes.
        subprocess.run(["scontrol", "update", f"JobId={requeued}", "StartTime=now"], check=True)
        made.wait(until - time.monotonic())
    finally:
        made.kill()
    said = (project / "make.log").read_text()
    assert made.returncode == 0, said
    return said


def test_a_cancelled_and_a_requeued_training_end_as_on_one_machine(tmp_path):
    until = time.monotonic() + ENDS_WITHIN_S
    here, there = write_project(tmp_path / "here"), write_project(tmp_path / "there")
    try:
        with slurm_node.started(tmp_path / "slurm"):
            at_once = make(here, "--cores", "1")
            try:
                said = on_slurm(there, until)
                assert at_once.wait(until - time.monotonic()) == 0
            finally:
                at_once.kill()
    except slurm_node.UnavailableError as error:
        pytest.skip(str(error))
    last = f"medres: study {STUDY} is current: open reports/{STUDY}/index.html"
    assert said.splitlines()[-1] == last
    for train_resolution in (CANCELLED, REQUEUED):
        record = there / "runs" / STUDY / "finetune" / CELL.format(train_resolution) / "run.json"
        assert json.loads(record.read_text())["outcome"]["resumed_at_step"] > 0
    assert digests_of(there) == digests_of(here)
