import errno
import io
import json
import os
import signal
import subprocess
import sys

import pytest

from medres import failures, make, runs
from medres.plan import jobs
from medres.plan.jobs import Job
from medres.report import current
from tests.plan.test_plan import write_study
from tests.test_study_run import REPOSITORY

STEM = "03_evaluate-mine"
CANCELLED = "SLURM-job '7' failed, SLURM status is: 'CANCELLED'."


def test_the_reason_of_a_job_on_another_machine_is_said_with_its_log(project, monkeypatch):
    before = failures.read("small")
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    failures.record("small", STEM, "no room left")
    log = runs.ROOT / "runs" / "small" / "logs" / "rule_evaluate" / "mine" / "12.log"
    log.parent.mkdir(parents=True)
    log.touch()
    (reason,) = make._recorded("small", before)
    assert reason.startswith(f"{STEM} on ")
    assert reason.endswith("log runs/small/logs/rule_evaluate/mine/12.log: no room left")


def test_a_job_that_is_no_number_is_looked_for_nowhere(project, monkeypatch):
    (runs.ROOT / "runs" / "small" / "logs").mkdir(parents=True)
    for job in ("**", "/x", "../.."):
        monkeypatch.setenv("SLURM_JOB_ID", job)
        failures.record("small", STEM, "no room left")
        (reason,) = make._recorded("small", {})
        assert reason.endswith(": no room left")
        assert "log" not in reason


def test_a_failure_from_before_is_no_reason(project):
    failures.record("small", STEM, "no room left")
    assert make._recorded("small", failures.read("small")) == []


def test_how_a_job_was_ended_is_kept_beside_the_reasons_of_commands_of_ours():
    said = (
        "Error in rule finetune:\n"
        f"    message: {CANCELLED}For further error details see the cluster/cloud log\n"
        "medres: no room left\n"
    )
    reasons: list[str] = []
    ended: list[str] = []
    make._pass_on(io.StringIO(said), reasons, ended)
    assert (reasons, ended) == (["no room left"], [CANCELLED])


def test_lines_that_cannot_be_shown_are_read_to_their_end(monkeypatch):
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(sys, "stderr", Full())
    stream, reasons = io.StringIO("a line\nmedres: no room left\nanother\n"), []
    make._pass_on(stream, reasons, [])
    assert (stream.read(), reasons) == ("", ["no room left"])


@pytest.mark.parametrize(
    ("does", "code", "n_reasons"),
    [("exec sleep 300", -signal.SIGKILL, 1), ("sleep 4; exit 3", 3, 0)],
    ids=["stands still", "waits for a job"],
)
def test_a_snakemake_that_stands_still_is_ended_and_one_that_waits_is_not(
    does, code, n_reasons, monkeypatch
):
    monkeypatch.setattr(make, "STANDS_STILL_S", 2.0)
    reasons: list[str] = []
    process = subprocess.Popen(["sh", "-c", does])
    assert (make._ended(process, reasons), len(reasons)) == (code, n_reasons)


def test_what_failed_first_is_the_reason(project, monkeypatch):
    for stem in ("b", "a"):
        failures.record("small", stem, "no room left")
        path = runs.ROOT / "runs" / "small" / "failed" / f"{stem}.json"
        at = {"b": "2026-11-29T09:00:00+00:00", "a": "2026-11-29T10:00:00+00:00"}[stem]
        path.write_text(json.dumps(json.loads(path.read_text()) | {"at": at}))
    assert [each.partition(" ")[0] for each in make._recorded("small", {})] == ["b", "a"]


def test_jobs_ask_for_what_was_planned(project):
    study = write_study(project, train_resolutions=["native"], seeds=[0])
    stems = [failures.of_questions("phantom-radiology"), *current.pages_of(study)]
    jobs.write(study.name, dict.fromkeys(stems, Job(5_000, 42, 8, 16)))
    options = ["-n", "--config", f"study='{study.name}'", "is_planned=True"]
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), *options],
        cwd=project,
        env=os.environ | {make.PLANNED: study.name},
        capture_output=True,
        text=True,
        check=True,
    )
    said = done.stdout + done.stderr
    asked = [line for line in said.splitlines() if "runtime=" in line]
    assert len(asked) == len(stems), said
    for each in ("mem_mb=5000", "runtime=42", "gpu=8", "cpus_per_task=16", "turns=1"):
        assert all(each in line for line in asked), asked
