from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medres.datasets import QuestionSet
from medres.published import paper
from medres.results import beside_paper
from medres.study import Study
from tests.answer_tables import arm

QWEN = "Qwen/Qwen2-VL-2B-Instruct"


def study(models: list[str], datasets: dict[str, dict[str, object]]) -> Study:
    return Study("s", "S", models, ["native"], [0], datasets, {}, [])


def known_set(label: str, source: str) -> QuestionSet:
    return QuestionSet(label, pd.DataFrame({"dataset": [label]}), Path(), "", source=source)


def answers_of(*parts: pd.DataFrame, model: str = QWEN) -> pd.DataFrame:
    return pd.concat(parts, ignore_index=True).assign(model=model)


FETCHED = study([QWEN], {"cells": {"folder": "data/subcellular", "source": "subcellular"}})
SETS = {"cells": known_set("cells, leaky split", "subcellular")}
ASKED = [
    arm("native", name, [1, 1, 0, 1], dataset="cells, leaky split").assign(
        options=[["actin", "nuclei"]] * 4,
        reference="actin",
        reply=["actin", "actin", "nuclei", "actin"],
        option_log_probabilities_per_token=[np.array([-1.0, -2.0])] * 4,
        generated_reply=None,
    )
    for name in ("native", "low", "blank")
]


def test_a_cell_stands_beside_the_published_one() -> None:
    table = beside_paper.cells(FETCHED, answers_of(*ASKED), SETS)
    assert list(table.columns) == beside_paper.COLUMNS
    assert table["eval_resolution"].tolist() == ["low", "native"]
    low, native = table.to_dict("records")
    assert (native["table"], native["published"]) == (2, pytest.approx(0.972))
    assert low["published"] == pytest.approx(0.485)
    assert (native["n_questions"], native["n_published"]) == (4, 2000)
    assert native["accuracy"] == 0.75
    assert native["over_published"] == pytest.approx(0.75 - 0.972)
    assert np.isnan(native["accuracy_paper"])
    assert np.isnan(native["open_recall"])


def test_the_authors_rule_stands_beside_it_where_replies_were_generated() -> None:
    native, low, _ = ASKED
    said = ["actin", "no actin", "actin?", "nuclei"]
    table = beside_paper.cells(FETCHED, answers_of(native.assign(generated_reply=said), low), SETS)
    assert table["accuracy_paper"].tolist() == pytest.approx([np.nan, 0.75], nan_ok=True)


def test_recall_stands_beside_it_where_questions_are_open() -> None:
    native = ASKED[0].assign(options=[[]] * 4, reference="left lung", reply="the left side")
    table = beside_paper.cells(FETCHED, answers_of(native), SETS)
    assert table["open_recall"].tolist() == [0.5]
    assert table["accuracy_paper"].isna().all()


def test_a_model_is_known_by_the_last_part_of_its_name() -> None:
    answers = answers_of(*ASKED, model="models/Qwen2-VL-2B-Instruct")
    assert len(beside_paper.cells(FETCHED, answers, SETS)) == 2


def test_a_drawn_twin_and_another_model_have_no_published_cell() -> None:
    drawn = study([QWEN], {"cells": {"n_test_images": 4}})
    assert beside_paper.cells(drawn, answers_of(*ASKED), SETS).empty
    assert beside_paper.cells(FETCHED, answers_of(*ASKED, model="tiny-qwen2-vl"), SETS).empty


def test_every_model_of_the_paper_is_known_by_its_published_name() -> None:
    assert set(beside_paper.MODELS.values()) == set(paper.accuracy()["model"])


def test_a_study_of_drawings_says_that_the_paper_has_none() -> None:
    drawn = study(["tiny-qwen2-vl"], {"phantom-radiology": {}, "phantom-subcellular": {}})
    assert beside_paper.nothing(drawn) == (
        "No cell of this study has a published accuracy: the paper has neither tiny-qwen2-vl "
        "nor synthetic or own images like those of phantom-radiology and phantom-subcellular."
    )
    assert "its models are Qwen" in beside_paper.nothing(FETCHED)
