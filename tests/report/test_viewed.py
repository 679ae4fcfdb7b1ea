"""Page 14: what views are, what they cost, and the page itself."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from medres import resolution, runs, views
from medres import study as studies
from medres.report import render, viewed
from medres.resolution import Treatment
from tests import tiny_study

TREATMENT = Treatment(784, 3136, "bicubic", 28)
REPOSITORY = Path(__file__).resolve().parent.parent.parent
ASKED = "low native crops-4 plain-crops-4 crops-2 zoom plain-zoom blank".split()
TRAINED = ["none", "crops-4", "plain-crops-4"]


def noise(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_pictures_are_the_prompt_s_images_and_the_plain_one() -> None:
    stored = noise(112, 56)
    shown = viewed.pictures(stored, "crops-2", TREATMENT, cell="middle centre")
    assert [title for title, _, _ in shown] == ["whole", "left", "right", "plain"]
    assert [below for _, _, below in shown] == [
        "28 × 28 px\n1 token",
        "28 × 28 px\n1 token",
        "28 × 28 px\n1 token",
        "84 × 28 px\n3 tokens",
    ]
    planned = resolution.plan((112, 56), "crops-2", TREATMENT)
    for (_, pixels, _), view in zip(shown, planned.views, strict=False):
        assert np.array_equal(pixels, np.asarray(resolution.apply(stored, view)))


def test_pictures_of_zoom_are_those_of_the_cell() -> None:
    shown = viewed.pictures(noise(90, 90), "zoom", TREATMENT, cell="lower right")
    assert [title for title, _, _ in shown] == ["whole", "lower right", "plain"]


def test_many_parts_are_named_by_row_and_column() -> None:
    shown = viewed.pictures(noise(200, 100), "crops-8", TREATMENT, cell="middle centre")
    assert [shown[1][0], shown[8][0]] == ["row 1, column 1", "row 2, column 4"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory):
    """A study of trainings on views and on their plain images, asked at both, and its page."""
    root = tmp_path_factory.mktemp("viewed") / "project"
    for name in ("notebooks", "params"):
        shutil.copytree(REPOSITORY / name, root / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "ROOT", root)
        patch.setenv("MEDRES_ROOT", str(root))
        patch.setattr(render, "_execute", tiny_study.in_this_process)
        tiny_study.write(root)
        path = root / "params" / tiny_study.NAME / "study.yaml"
        study = yaml.safe_load(path.read_text())
        study |= {"train_resolutions": TRAINED, "reports": ["14_views"]}
        tiny_study.write_params(root, "study", study)
        tiny_study.change_params(root, "03_evaluate", eval_resolutions=ASKED)
        tiny_study.make()
        yield root / "reports" / tiny_study.NAME


def test_the_page_is_made_of_a_study_s_answers(made: Path) -> None:
    compared = pd.read_csv(made / "tables" / "views.csv")
    found = set(compared[["first", "second"]].itertuples(index=False, name=None))
    same = {
        (f"{each}→plain-{at}", f"{each}→{at}") for each in TRAINED for at in ("crops-4", "zoom")
    }
    assert found == {*same, ("plain-crops-4→plain-crops-4", "crops-4→crops-4")}
    assert len(compared) == 7
    assert compared["n_questions"].eq(6).all()
    assert (made / "figures" / "views.png").is_file()
    assert (made / "figures" / "views-mine-tiny-qwen2-vl.png").is_file()
    # The plain image of crops-2 was not asked.
    assert "crops-2" not in set(compared["views"])


def test_every_answer_of_zoom_is_counted_in_one_of_nine_cells(made: Path) -> None:
    cells = pd.read_csv(made / "tables" / "zoom_cells.csv")
    assert cells["cell"].tolist() == [*views.CELLS] * 3
    for _, rows in cells.groupby("train_resolution"):
        assert rows["n_answers"].sum() == 6
        assert rows["share"].sum() == pytest.approx(1)
    assert (made / "figures" / "zoom_cells.png").is_file()


def test_costs_are_counted_for_both_arms(made: Path) -> None:
    costs = pd.read_csv(made / "tables" / "view_costs.csv").set_index("views")
    row = costs.loc["crops-4"]
    # Images of 60 x 60 px: whole and quarters are 28 x 28 px, one token each; plain is 2 x 2.
    assert (row["tokens_views"], row["tokens_plain"]) == (5, 4)
    assert row["token_ratio"] == pytest.approx(1.25)
    # The words about five images are read too, for each question.
    assert 1.25 < row["flop_ratio"] < 4
    assert row["n_questions"] == 6
    # Zoom: the whole twice and a cell of 28 x 28 px.
    assert (costs.loc["zoom", "tokens_views"], costs.loc["zoom", "tokens_plain"]) == (3, 2)
    assert costs.loc["zoom", "flop_ratio"] > 1


def test_zoom_costs_two_passes_at_the_cell_that_it_chose(made: Path) -> None:
    study = studies.load(tiny_study.NAME)
    names = ["zoom", "plain-zoom"]
    tiny_study.change_params(made.parent.parent, "03_evaluate", eval_resolutions=names)
    study = studies.load(tiny_study.NAME)
    rows = [
        {
            "dataset": "mine", "model": "tiny-qwen2-vl", "eval_resolution": name,
            "question_id": "q", "width_px": 600, "height_px": 300, "visual_tokens": n,
            "zoom_cell": cell,
        }
        for name, n, cell in (("zoom", 3, "middle centre"), ("plain-zoom", 3, None))
    ]  # fmt: skip
    (row,) = viewed.costs(study, pd.DataFrame(rows)).to_dict("records")
    (once,) = viewed.costs(
        study, pd.DataFrame(rows).assign(eval_resolution=["low", "plain-zoom"])
    ).to_dict("records")
    assert row["flop_ratio"] > 1.2
    assert np.isnan(once["flops_views"])
    assert row["views"] in views.NAMES
