import pytest
import torch

from medres import gpus, inference, runs, training
from tests.plan.test_plan import write_study

REFUSED = r"2 GPUs were planned for this and torch .* finds none on .*; .*`GPU=none`"


@pytest.fixture
def planned(monkeypatch):
    monkeypatch.setenv(gpus.PLANNED, "2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def settings_of(project, stage):
    study = write_study(project)
    return study.settings(study.cells(stage)[0])


def given(stage, project):
    notebook_only = {"check_questions", "open_rule"}
    return {
        name: value
        for name, value in settings_of(project, stage).items()
        if name not in notebook_only
    }


def test_a_planned_gpu_that_is_not_there_is_refused(planned):
    with pytest.raises(ValueError, match=REFUSED):
        gpus.device()


def test_the_cpu_is_taken_where_it_is_asked_for_or_nothing_was_planned(planned, monkeypatch):
    assert gpus.device("cpu") == "cpu"
    for none in ("0", None):
        monkeypatch.delenv(gpus.PLANNED) if none is None else monkeypatch.setenv(gpus.PLANNED, none)
        assert gpus.device() == "cpu"


def test_a_gpu_that_is_there_is_taken(planned, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert gpus.device() == "cuda"


def test_a_training_refuses_before_its_run_is_begun(planned, project):
    with pytest.raises(ValueError, match=REFUSED):
        training.finetune(**given("finetune", project))
    assert not runs.folder_of("small", "finetune", "").exists()


def test_an_evaluation_refuses_before_its_run_is_begun(planned, project):
    with pytest.raises(ValueError, match=REFUSED):
        inference.evaluate(**given("evaluate", project))
    assert not runs.folder_of("small", "evaluate", "").exists()


@pytest.mark.parametrize(
    ("tool", "hidden", "expected"),
    [
        ("echo 'GPU 0: NVIDIA A100'", None, True),
        ("echo 'GPU 0: NVIDIA A100'", "", False),
        ("echo 'No devices found.'; exit 6", None, False),
        (None, None, False),
    ],
)
def test_this_machine_has_a_gpu_where_its_tool_lists_one(
    tool, hidden, expected, tmp_path, monkeypatch
):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    if tool:
        path = tmp_path / "nvidia-smi"
        path.write_text(f"#!/bin/sh\n{tool}\n")
        path.chmod(0o755)
    assert gpus.is_here() is expected
