import math
from dataclasses import replace

import pytest

from medres import failures
from medres import study as studies
from medres.plan import costs, jobs
from medres.plan.jobs import Job
from medres.plan.memory import GPUS
from tests.plan.test_plan import write_study

TRAINING = "02_finetune-phantom-radiology-tiny-qwen2-vl-native-seed{}"
A100 = GPUS["A100-80GB"]
EVALUATION = "03_evaluate-phantom-radiology-tiny-qwen2-vl-native-seed0"


def test_every_job_of_a_study_is_planned_and_seeds_ask_for_the_same(project):
    write_study(project, seeds=[0, 1])
    path = project / "params" / "small" / "02_finetune.yaml"
    path.write_text("device: cpu\n")
    study = studies.load("small")
    planned = jobs.for_study(study)
    pages = {cell.page for stage in studies.STAGES for cell in study.cells(stage)}
    expected = {*pages, *study.reports, "index", failures.of_questions("phantom-radiology")}
    assert set(planned) == expected
    assert planned[TRAINING.format(0)] == planned[TRAINING.format(1)]
    # Of these the parameters say that the CPU trains.
    gpus = [planned[page].gpus for page in (TRAINING.format(0), EVALUATION, "index")]
    assert gpus == [0, 1, 0]


@pytest.fixture(scope="module")
def paper():
    """The paper's trainings on one of its data sets, each on eight GPUs."""
    study = studies.load("paper-qwen2-vl-2b")
    study = replace(study, datasets={"slake": study.datasets["slake"]}, finetune={})
    changes = {"processes": 8, "strategy": "zero-2"}
    return study, costs.arms(study, costs.describe(study), gpu=A100, changes=changes)


def test_a_training_asks_for_its_predicted_hours_with_the_stated_margin(paper):
    study, planned = paper
    asked = jobs.of_arms(study, planned, gpu=A100)
    arm = max(planned, key=lambda each: each.train_flops)
    job = asked[replace(arm.cell, stage="finetune").page]
    hours = arm.seconds(A100, A100.utilisation)[0] / len(study.seeds) / 8 / 3600
    assert job.minutes == math.ceil(10 + 2 * 60 * hours)
    assert (job.gpus, job.cpus) == (8, 16)
    # Eight processes with a copy of 2.2 billion weights in 32 bits each.
    assert job.memory_mb > 8 * 4 * 2_200


def test_without_a_gpu_none_is_asked_for_and_work_takes_longer(paper):
    study, planned = paper
    on_gpu, on_cpu = (jobs.of_arms(study, planned, gpu=gpu) for gpu in (A100, None))
    assert {job.gpus for job in on_cpu.values()} == {0}
    for cell in study.cells("finetune"):
        assert on_cpu[cell.page].minutes > 10 * on_gpu[cell.page].minutes


def test_what_the_plan_cannot_tell_is_assumed_and_said_to_be(project):
    study = write_study(project, models=["somebody/unknown"])
    planned = jobs.for_study(study)
    training = planned["02_finetune-phantom-radiology-somebody--unknown-native-seed0"]
    assert training.is_assumed
    assert training.gpus == 1
    assert "assumed" in jobs.table(study, planned)


def test_a_served_model_asks_for_no_gpu_here(project):
    model = "served:http://127.0.0.1:8000/v1#big"
    study = write_study(
        project, models=[model], train_resolutions=["none"], reports=["06_zero_shot"]
    )
    (cell,) = study.cells("evaluate")
    assert jobs.for_study(study)[cell.page] == jobs.ASSUMED["served"]


def test_an_unknown_gpu_is_refused_with_those_that_are_known(project):
    with pytest.raises(ValueError, match=r"unknown GPU 'V100'; known are A100-40GB, .*, none"):
        jobs.for_study(write_study(project), gpu="V100")


@pytest.mark.parametrize(
    ("n", "minutes", "expected"), [(500, 12, 20), (500, 2, 25), (20, 12, 1), (500, 600, 1)]
)
def test_short_evaluations_share_a_job_and_few_or_long_ones_do_not(n, minutes, expected):
    job = Job(memory_mb=1000, minutes=minutes, gpus=1, cpus=1)
    assert jobs.together({f"03_evaluate-{number}": job for number in range(n)}) == expected


def test_what_is_written_is_read(project):
    planned = {"a": Job(1000, 10, 0, 1), "b": Job(2000, 20, 1, 2, is_assumed=True)}
    jobs.write("small", planned)
    assert jobs.read("small") == planned
