"""The tiny model of every family through training, evaluation and comparison, as a user runs it."""

import html
import re
import resource

import pandas as pd
import pytest

from medres import study
from medres.models import tiny
from tests.test_study_run import REPOSITORY, new_project, run_make

NAME = "smoke-families"
CHECKED = re.compile(
    r"(\d+) stored answers were recomputed, one image, question and option per pass: "
    r"log-probabilities differ by at most (\S+), (\d+) answers and (\d+) generated replies change"
)
MOST_DIFFERENCE = 1e-4
MOST_CPU_S = 360


def test_the_study_has_every_family() -> None:
    models = study.read_params(REPOSITORY / "params" / NAME / "study.yaml")["models"]
    assert models == list(tiny.NAMES)


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    project = new_project(tmp_path_factory.mktemp("families") / "project")
    before = _children_cpu_s()
    run_make(project, study=NAME)
    return project, _children_cpu_s() - before


@pytest.mark.slow
@pytest.mark.notebook
def test_every_family_is_in_the_grid_within_the_time(made) -> None:
    project, cpu_s = made
    grid = pd.read_csv(project / "reports" / NAME / "tables" / "grid.csv")
    rows = grid[["model", "train_resolution", "eval_resolution"]].itertuples(index=False, name=None)
    arms = ("low", "native")
    assert sorted(rows) == sorted(
        (model, trained, asked) for model in tiny.NAMES for trained in arms for asked in arms
    )
    assert (grid["n_questions"] == 16).all()
    assert (grid["n_unparsable"] == 0).all()
    assert cpu_s < MOST_CPU_S


@pytest.mark.slow
@pytest.mark.notebook
@pytest.mark.parametrize("train_resolution", ["low", "native"])
@pytest.mark.parametrize("model", tiny.NAMES)
def test_recomputed_answers_do_not_change(made, model, train_resolution) -> None:
    project, _ = made
    stem = f"03_evaluate-phantom-radiology-{model}-{train_resolution}-seed0"
    page = html.unescape((project / "reports" / NAME / f"{stem}.html").read_text())
    ((n_checked, difference, n_answers, n_replies),) = CHECKED.findall(page)
    assert int(n_checked) == 4
    assert float(difference) < MOST_DIFFERENCE
    assert (int(n_answers), int(n_replies)) == (0, 0)


@pytest.mark.slow
@pytest.mark.notebook
@pytest.mark.parametrize("model", tiny.NAMES)
def test_a_training_changes_with_the_resolution_of_its_images(made, model) -> None:
    """Equal weights would mean that no pixel reached the network."""
    project, _ = made
    folder = project / "runs" / NAME / "finetune" / "phantom-radiology" / model
    weights = [
        (folder / arm / "seed0" / "checkpoint" / "model.safetensors").read_bytes()
        for arm in ("low", "native")
    ]
    assert weights[0] != weights[1]
