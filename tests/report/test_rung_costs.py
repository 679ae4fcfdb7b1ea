"""What a question costs at each rung, by hand from records of runs."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from medres import runs, texts
from medres.models import flops, offline
from medres.plan import contents
from medres.report import rung_costs
from medres.study import Study
from tests.ladders import answers

PHANTOM = {"n_train_images": 12, "n_test_images": 8, "data_seed": 0}
TINY = "tiny-qwen2-vl"
SERVED = "served:http://127.0.0.1:8000/v1#big@pixels"
FREE = {"price_per_million_tokens": 0.0, "price_per_hour": 0.0}


@pytest.fixture
def label(monkeypatch):
    """Give the data set a name of its own in tables, which is not that of the study."""
    monkeypatch.setattr(
        rung_costs.datasets, "load", lambda study, name: SimpleNamespace(label=f"{name} (drawn)")
    )
    return "phantom-radiology (drawn)"


def study_of(*models, seeds=(0,), trained=("none",)) -> Study:
    return Study(
        "costs", "Costs", list(models), list(trained), list(seeds),
        {"phantom-radiology": PHANTOM}, {}, [],
    )  # fmt: skip


def evaluated(study: Study, outcomes, requests=None) -> None:
    """Write the runs of a study, of which each has an outcome."""
    for cell, outcome in zip(study.cells("evaluate"), outcomes, strict=True):
        run = runs.start(study.name, "evaluate", cell.path, parameters={}, inputs={})
        kept = []
        if requests is not None:
            requests.to_parquet(run.folder / rung_costs.REQUESTS)
            kept = [rung_costs.REQUESTS]
        run.finish(files=kept, **{"n_questions": 10, **outcome})


def ladder(label, model=TINY, tokens=(4.0, 250.0), trained="none") -> pd.DataFrame:
    return pd.DataFrame(
        {
            "dataset": label,
            "model": texts.named(model),
            "train_resolution": trained,
            "rung": ["low", "native"],
            "mean_visual_tokens": tokens,
        }
    )


def answered(label, model=TINY, trained="none") -> pd.DataFrame:
    """Return ten answers at each rung, six right at low and eight at native, all 90 % sure."""
    table = answers({"low": [1] * 6 + [0] * 4, "native": [1] * 8 + [0] * 2}, trained=trained)
    yes, no = math.log(0.9), math.log(0.1)
    pairs = [[no, yes] if right else [yes, no] for right in table["correct"]]
    return table.assign(
        dataset=label,
        model=texts.named(model),
        option_log_probabilities=pairs,
        reference="yes",
        width_px=448,
        height_px=448,
    )


def found(study, label, *, model=TINY, tokens=(4.0, 250.0), **prices) -> pd.DataFrame:
    return rung_costs.table(
        study, ladder(label, model, tokens), answered(label, model), **{**FREE, **prices}
    )


def test_seconds_are_those_of_a_question(project, label):
    study = study_of(TINY)
    evaluated(study, [{"seconds_by_resolution": {"low": 2.0, "native": 30.0, "blank": 9.0}}])
    rows = found(study, label)
    assert rows["seconds_per_question"].tolist() == pytest.approx([0.2, 3.0])
    assert rows["time_to_first_token_s"].isna().all()
    assert rows["price_per_1000"].isna().all(), "no rate was stated"


def test_seconds_of_several_trainings_are_their_mean(project, label):
    study = study_of(TINY, seeds=(0, 1), trained=("low",))
    seconds = [{"seconds_by_resolution": {"low": each, "native": 10.0}} for each in (1.0, 3.0)]
    evaluated(study, seconds)
    rows = rung_costs.table(
        study, ladder(label, trained="low"), answered(label, trained="low"), **FREE
    )
    assert rows["seconds_per_question"].tolist() == pytest.approx([0.2, 1.0])


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        # 4 and 250 tokens, 1,000 times; of 2 for a million.
        ({"price_per_million_tokens": 2.0}, [0.008, 0.5]),
        # 0.2 and 3 seconds, 1,000 times; of 3.6 for 3,600 seconds.
        ({"price_per_hour": 3.6}, [0.2, 3.0]),
        ({"price_per_million_tokens": 2.0, "price_per_hour": 3.6}, [0.208, 3.5]),
    ],
)
def test_price_of_a_thousand_questions(project, label, rates, expected):
    study = study_of(TINY)
    evaluated(study, [{"seconds_by_resolution": {"low": 2.0, "native": 30.0}}])
    assert found(study, label, **rates)["price_per_1000"].tolist() == pytest.approx(expected)


def test_a_price_by_the_hour_needs_no_tokens_and_one_by_tokens_no_seconds(project, label):
    study = study_of(TINY)
    evaluated(study, [{"seconds_by_resolution": {"low": 2.0, "native": 30.0}}])
    unknown = (np.nan, np.nan)
    rows = found(study, label, tokens=unknown, price_per_hour=3.6)
    assert rows["price_per_1000"].tolist() == pytest.approx([0.2, 3.0])
    rows = found(study, label, tokens=unknown, price_per_million_tokens=2.0)
    assert rows["price_per_1000"].isna().all()


def test_a_price_whose_seconds_are_not_known_is_not_said(project, label):
    study = study_of(TINY)
    evaluated(study, [{}])
    rows = found(study, label, price_per_hour=3.6)
    assert rows["seconds_per_question"].isna().all()
    assert rows["price_per_1000"].isna().all()
    assert not {"seconds_per_question", "price_per_1000"} & set(rung_costs.shown(rows))
    rows = found(study, label, price_per_million_tokens=2.0)
    assert rows["price_per_1000"].tolist() == pytest.approx([0.008, 0.5])


@pytest.mark.parametrize("name", list(FREE))
def test_a_negative_price_is_refused(project, label, name):
    with pytest.raises(ValueError, match=rf"{name} is -1; it must be 0 \(not stated\) or more"):
        found(study_of(TINY), label, **{name: -1})


def test_requests_of_a_served_model(project, label):
    requests = pd.DataFrame(
        {
            "question_id": ["a", "b", "c", "a", "b", "c"],
            "eval_resolution": ["low"] * 3 + ["native"] * 3,
            "seconds": [1.0, 2.0, 9.0, 4.0, 6.0, 0.0],
            "time_to_first_token_s": [0.1, 0.2, 0.6, 1.0, 3.0, np.nan],
            # c at native has the answer of the same picture at low.
            "n_requests": [2, 2, 2, 1, 1, 0],
            "n_attempts": [2, 2, 5, 1, 1, 0],
            "bytes_sent": [100, 200, 600, 1000, 3000, 0],
        }
    )
    study = study_of(SERVED)
    evaluated(study, [{"seconds_by_resolution": {"low": 5.0, "native": 5.0}}], requests)
    rows = found(study, label, model=SERVED).set_index("rung")
    assert rows["time_to_first_token_s"].tolist() == pytest.approx([0.2, 2.0])
    assert rows["seconds_per_question"].tolist() == pytest.approx([2.0, 5.0])
    assert rows["bytes_sent"].tolist() == pytest.approx([300, 2000])
    assert rows["n_attempts"].tolist() == pytest.approx([3, 1])
    # Of a model of which nothing is known, operations are not.
    assert rows["flops"].isna().all()
    assert "flops" not in rung_costs.shown(rows.reset_index())


def test_operations_are_those_of_a_pass_over_the_planned_image(project, label):
    study = study_of(TINY)
    evaluated(study, [{}])
    rows = found(study, label)
    side = contents.describe("costs", "phantom-radiology", PHANTOM).test
    n_text = side.text_tokens(1, offline.characters_per_token(TINY, side.texts))
    shape = offline.sizes_of(offline.config_of(TINY)).shape
    # 448 px are 16 tokens of 28 px; low has 3,136 pixels, two by two.
    assert rows["flops"].tolist() == [
        flops.forward_flops(shape, visual_tokens=each, text_tokens=n_text) for each in (4, 256)
    ]


def test_overconfidence_is_stated_confidence_minus_accuracy(project, label):
    study = study_of(TINY)
    evaluated(study, [{}])
    assert found(study, label)["overconfidence"].tolist() == pytest.approx([0.3, 0.1])


def test_columns_in_which_nothing_is_known_are_not_shown():
    rows = pd.DataFrame({name: [np.nan, np.nan] for name in rung_costs.SHOWN})
    rows["rung"] = ["low", "native"]
    rows["bytes_sent"] = [np.nan, 3.0]
    assert rung_costs.shown(rows) == ["rung", "bytes_sent"]


def test_what_was_sent_is_said_once_for_a_server_and_not_for_this_machine(project, label):
    here = study_of(TINY)
    evaluated(here, [{}])
    assert rung_costs.sent(here) == ""
    study = study_of(SERVED)
    evaluated(study, [{"traffic": {"bytes_sent": 2_500_000, "n_requests": 1234}}])
    assert rung_costs.sent(study) == (
        "Pixels, questions and options were sent to a server of this machine: 2.5 MB in 1,234 "
        "requests, without file names, ids or reference answers."
    )
    record = json.loads(next((project / "runs").rglob("run.json")).read_text())
    assert "outcome" in record
