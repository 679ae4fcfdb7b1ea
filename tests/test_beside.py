from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from answer_tables import arm

from medres import answer_rules, beside, grids
from medres.datasets import QuestionSet
from medres.study import Study

QWEN = "Qwen/Qwen2-VL-2B-Instruct"
NO_RULES = pd.DataFrame(columns=[*grids.CELL, "accuracy_paper"])


def study(models: list[str], datasets: dict[str, dict[str, object]]) -> Study:
    return Study("s", "S", models, ["native"], [0], datasets, {}, [])


def known_set(label: str, source: str) -> QuestionSet:
    return QuestionSet(label, pd.DataFrame({"dataset": [label]}), Path(), "", source=source)


def grid_of(*parts: pd.DataFrame, model: str = QWEN) -> pd.DataFrame:
    return grids.grid(pd.concat(parts, ignore_index=True).assign(model=model))


FETCHED = study([QWEN], {"cells": {"folder": "data/subcellular", "source": "subcellular"}})
SETS = {"cells": known_set("cells, leaky split", "subcellular")}
ASKED = [
    arm("native", name, [1, 1, 0, 1], dataset="cells, leaky split")
    for name in ("native", "low", "blank")
]


def test_a_cell_stands_beside_the_published_one() -> None:
    table = beside.cells(FETCHED, grid_of(*ASKED), NO_RULES, pd.DataFrame(), SETS)
    assert list(table.columns) == beside.COLUMNS
    assert table["eval_resolution"].tolist() == ["low", "native"]
    low, native = table.to_dict("records")
    assert (native["table"], native["published"]) == (2, pytest.approx(0.972))
    assert low["published"] == pytest.approx(0.485)
    assert (native["n_questions"], native["n_published"]) == (4, 2000)
    assert native["over_published"] == pytest.approx(0.75 - 0.972)
    assert np.isnan(native["accuracy_paper"])
    assert np.isnan(native["open_recall"])


def test_the_authors_rule_and_recall_stand_beside_it_where_they_are_known() -> None:
    grid = grid_of(*ASKED)
    known = grid[grid["eval_resolution"] == "native"]
    table = beside.cells(
        FETCHED, grid, known.assign(accuracy_paper=0.5), grid.assign(open_recall=0.25), SETS
    )
    assert table["accuracy_paper"].tolist() == pytest.approx([np.nan, 0.5], nan_ok=True)
    assert table["open_recall"].tolist() == [0.25, 0.25]


@pytest.mark.parametrize("folder", [QWEN, "models/Qwen2-VL-2B-Instruct"])
def test_a_model_is_known_by_the_last_part_of_its_name(folder: str) -> None:
    grid = grid_of(*ASKED, model=folder)
    assert len(beside.cells(FETCHED, grid, NO_RULES, pd.DataFrame(), SETS)) == 2


def test_a_drawn_twin_and_another_model_have_no_published_cell() -> None:
    drawn = study([QWEN], {"cells": {"n_test_images": 4}})
    assert beside.cells(drawn, grid_of(*ASKED), NO_RULES, pd.DataFrame(), SETS).empty
    tiny = grid_of(*ASKED, model="tiny-qwen2-vl")
    assert beside.cells(FETCHED, tiny, NO_RULES, pd.DataFrame(), SETS).empty


def test_every_model_of_the_paper_is_known_by_its_published_name() -> None:
    from medres import paper

    assert set(beside.MODELS.values()) == set(paper.accuracy()["model"])


def test_the_tables_of_rules_and_metrics_have_what_is_looked_up() -> None:
    assert {*grids.CELL, "accuracy_paper"} <= set(answer_rules.SHOWN)


def test_a_study_of_drawings_says_that_the_paper_has_none() -> None:
    drawn = study(["tiny-qwen2-vl"], {"phantom-radiology": {}, "phantom-subcellular": {}})
    assert beside.nothing(drawn) == (
        "No published accuracy is of a cell of this study: the paper has neither tiny-qwen2-vl "
        "nor drawn or own images like those of phantom-radiology and phantom-subcellular."
    )
    assert "whose models are Qwen" in beside.nothing(FETCHED)
