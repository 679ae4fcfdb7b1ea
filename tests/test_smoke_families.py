"""The tiny model of every family through training, evaluation and comparison, as a study.

Notebooks run in this process; through Snakemake and kernels goes the smoke study.
"""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from medres import runs, study
from medres.inference import check
from medres.models import tiny
from medres.report import render
from tests import tiny_study

REPOSITORY = Path(__file__).resolve().parent.parent
NAME = "smoke-families"
ARMS = ("low", "native")
CELL = "phantom-radiology/{}/{}/seed0"
MOST_DIFFERENCE = 1e-4

pytestmark = pytest.mark.slow


def test_the_study_has_every_family() -> None:
    models = study.read_params(REPOSITORY / "params" / NAME / "study.yaml")["models"]
    assert models == list(tiny.NAMES)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The project, what was made in it, and the recomputed answers of each evaluation by cell."""
    root = tmp_path_factory.mktemp("families")
    for name in ("notebooks", "params"):
        shutil.copytree(REPOSITORY / name, root / name)
    real, recomputed = check.recompute, {}

    def kept(run, **given):
        recomputed[run.spec["cell"]] = real(run, **given)
        return recomputed[run.spec["cell"]]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "ROOT", root)
        patch.setenv("MEDRES_ROOT", str(root))
        patch.setattr(render, "_execute", tiny_study.in_this_process)
        patch.setattr(check, "recompute", kept)
        return root, tiny_study.make(NAME), recomputed


def test_every_family_is_in_the_grid_and_nothing_else_was_made(made) -> None:
    root, done, _ = made
    grid = pd.read_csv(root / "reports" / NAME / "tables" / "grid.csv")
    rows = grid[["model", "train_resolution", "eval_resolution"]].itertuples(index=False, name=None)
    cells = [(model, trained) for model in tiny.NAMES for trained in ARMS]
    assert sorted(rows) == sorted((*cell, asked) for cell in cells for asked in ARMS)
    assert (grid["n_questions"] == 16).all()
    assert (grid["n_unparsable"] == 0).all()
    expected = {
        f"{stage}/{CELL.format(*cell)}" for stage in ("finetune", "evaluate") for cell in cells
    }
    assert done.runs == expected | {"questions/phantom-radiology"}


@pytest.mark.parametrize("train_resolution", ARMS)
@pytest.mark.parametrize("model", tiny.NAMES)
def test_recomputed_answers_do_not_change(made, model, train_resolution) -> None:
    _, _, recomputed = made
    checked = recomputed[CELL.format(model, train_resolution)]
    assert len(checked) == 4
    assert checked["log_probability_difference"].max() < MOST_DIFFERENCE
    assert not checked[["is_other_answer", "is_other_reply"]].any().any()


@pytest.mark.parametrize("model", tiny.NAMES)
def test_a_training_changes_with_the_resolution_of_its_images(made, model) -> None:
    """Equal weights would mean that no pixel reached the network."""
    root, _, _ = made
    folder = root / "runs" / NAME / "finetune" / "phantom-radiology" / model
    weights = [
        (folder / arm / "seed0" / "checkpoint" / "model.safetensors").read_bytes() for arm in ARMS
    ]
    assert weights[0] != weights[1]
