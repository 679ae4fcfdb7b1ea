"""Studies that train different weights: which are compared, in which cells, and in which words."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from medres import runs
from medres import study as studies
from medres.results import adapters, findings, grids, paired
from medres.study import Study
from tests.answer_tables import arm, first_right

N_QUESTIONS = 40
RIGHT = {"full": 30, "lora": 20, "tower": 28, "side": 24}
Write = Callable[..., Study]


@pytest.fixture
def write(project: Path) -> Write:
    """Return a function that writes a study of drawn images and reads it."""

    def written(name: str, *, asked: tuple[str, ...] = ("low", "native"), **changes: Any) -> Study:
        folder = project / "params" / name
        folder.mkdir()
        settings = {
            key: changes.pop(key) for key in ("lora_rank", "train_vision") if key in changes
        }
        content: dict[str, Any] = {
            "title": name,
            "models": ["tiny-qwen2-vl"],
            "train_resolutions": ["low", "native"],
            "seeds": [0],
            "datasets": {"drawn": {"table": "drawn.csv"}},
            "finetune": {},
            "reports": ["09_cost"],
        }
        (folder / "study.yaml").write_text(yaml.safe_dump(content | changes))
        (folder / "02_finetune.yaml").write_text(yaml.safe_dump(settings))
        evaluated = {"eval_resolutions": [*asked, "blank"]}
        (folder / "03_evaluate.yaml").write_text(yaml.safe_dump(evaluated))
        return studies.load(name)

    return written


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every study have answers to the questions of its data sets, so many of them right."""

    def answers(study: Study, columns: object = None) -> pd.DataFrame:
        parts = [
            arm(
                cell.train_resolution,
                asked,
                first_right(RIGHT.get(study.name, 1), N_QUESTIONS),
                dataset=cell.dataset,
                seed=cell.seed,
            ).assign(model=cell.model)
            for cell in study.cells("evaluate")
            for asked in study.settings(cell)["eval_resolutions"]
        ]
        return pd.concat(parts, ignore_index=True)

    monkeypatch.setattr(grids, "answers", answers)


@pytest.mark.usefixtures("answered")
def test_adapters_are_compared_as_the_paper_s_claim(write: Write) -> None:
    full, lora = write("full"), write("lora", lora_rank=4)
    found = paired.comparisons(
        adapters.answers(full, [lora]), adapters.claims(full, [lora])
    ).set_index("claim")
    assert list(found.index) == ["C15", "C15, low to low", "C15, native to native"]
    assert found["difference"].tolist() == pytest.approx([-10 / 40] * 3)
    assert found.loc["C15", "statement"] == (
        "Trained at native and evaluated at low, adapters fall short of full fine-tuning"
    )
    assert found.loc["C15", "second"] == "native (LoRA)→low"
    assert adapters.described(full, [lora]) == (
        "Compared with study full (full fine-tuning): lora (adapters)."
    )


@pytest.mark.usefixtures("answered")
def test_several_studies_are_compared_with_one_each_in_its_words(write: Write) -> None:
    full = write("full")
    others = [write("tower", train_vision="merger"), write("side", train_vision="none")]
    found = paired.comparisons(adapters.answers(full, others), adapters.claims(full, others))
    differences = found.groupby("family", sort=False)["difference"].agg(list)
    assert list(differences.index) == [
        "frozen tower against full fine-tuning",
        "frozen image side against full fine-tuning",
    ]
    # Four arms, then what misalignment loses more: nothing, as all arms lose alike.
    assert differences.iloc[0] == pytest.approx([-2 / 40] * 4 + [0, 0])
    assert differences.iloc[1] == pytest.approx([-6 / 40] * 4 + [0, 0])
    statements = found["statement"].tolist()
    assert (
        "Trained at low and evaluated at native, a frozen vision tower falls short of full "
        "fine-tuning"
    ) in statements
    assert (
        "Evaluated at low, training at native instead of low loses more with a frozen image "
        "side than with full fine-tuning"
    ) in statements
    assert "C15" not in set(found["claim"])
    assert "not decided" in findings.sentence(found)


def test_what_a_frozen_tower_adds_to_a_loss_is_a_difference_of_differences(write: Write) -> None:
    full, frozen = write("full"), write("tower", train_vision="merger")
    behind = " (frozen tower)"
    # Trained at native instead of low, evaluated at low: 5 of 40 less, and 15 less if frozen.
    n_right = {"low": 30, "native": 25, "low" + behind: 32, "native" + behind: 17}
    table = pd.concat(
        [arm(name, "low", first_right(n, N_QUESTIONS)) for name, n in n_right.items()],
        ignore_index=True,
    )
    found = paired.comparisons(table, adapters.claims(full, [frozen])).set_index("claim")
    assert found.loc["frozen tower, misaligned native to low", "difference"] == pytest.approx(
        -15 / 40 + 5 / 40
    )


@pytest.mark.usefixtures("answered")
def test_cells_that_only_one_study_has_are_left_out_and_said(write: Write) -> None:
    full = write("full", seeds=[0, 1], asked=("low", "native", "scale-0.5"))
    lora = write(
        "lora",
        lora_rank=4,
        train_resolutions=["none", "low", "mixed"],
        datasets={"drawn": {"table": "drawn.csv"}, "other": {"table": "other.csv"}},
    )
    table = adapters.answers(full, [lora])
    assert set(table["dataset"]) == {"drawn"}
    assert set(table["seed"]) == {0}
    assert set(table["train_resolution"]) == {"low", "low (LoRA)"}
    assert set(table["eval_resolution"]) == {"low", "native", "blank"}
    # Of full: 2 trainings x 2 seeds x 4 resolutions, less the three shared; of lora: 2 data sets
    # x 2 trainings x 3 resolutions, less three.
    assert adapters.described(full, [lora]).endswith(
        "Cells that are not compared: full with lora: 13 that only full has (drawn low→blank, "
        "drawn low→low, drawn low→native and 5 more arms); full with lora: 9 that only lora has "
        "(drawn mixed→blank, drawn mixed→low, drawn mixed→native and 6 more arms)."
    )


@pytest.mark.usefixtures("answered")
def test_costs_are_of_the_trainings_that_are_compared(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = write("full", seeds=[0, 1])
    others = [
        write("tower", train_vision="merger", train_resolutions=["low"]),
        write("side", train_vision="none", seeds=[1], train_resolutions=["native"]),
    ]
    monkeypatch.setattr(
        runs, "read", lambda folder: {"outcome": {"n_trained_weights": len(str(folder)) and 7}}
    )
    found = adapters.costs(full, others)
    assert found[["train_resolution", "seed"]].to_numpy().tolist() == [
        ["low", 0],
        ["low (frozen tower)", 0],
        ["native", 1],
        ["native (frozen image side)", 1],
    ]
    assert set(found["n_trained_weights"]) == {7}


@pytest.mark.usefixtures("answered")
@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ({}, {}, "studies full and other both have full fine-tuning; lora_rank or train_vision"),
        ({"lora_rank": 4}, {}, "study full trains adapters, and is the one that others"),
        (
            {"train_vision": "none"},
            {"train_vision": "none"},
            "both have a frozen image side",
        ),
        (
            {},
            {"lora_rank": 4, "seeds": [7]},
            "full and other have no trained cell in common",
        ),
        (
            {},
            {"train_vision": "none", "train_resolutions": ["mixed"]},
            "full and other have no trained cell in common",
        ),
        (
            {},
            {
                "datasets": {"drawn": {"table": "drawn.csv"}, "more": {"table": "more.csv"}},
                "finetune": {"more": {"lora_rank": 2}},
            },
            "study other trains adapters and full fine-tuning; give all its trainings the same",
        ),
        ({}, {"train_resolutions": ["none"]}, "study other trains nothing"),
    ],
)
def test_studies_that_cannot_be_compared_are_refused(
    write: Write, first: dict[str, Any], second: dict[str, Any], reason: str
) -> None:
    full, other = write("full", **first), write("other", **second)
    with pytest.raises(ValueError, match=reason):
        adapters.answers(full, [other])


def test_other_questions_of_a_shared_data_set_are_refused(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, lora = write("full"), write("lora", lora_rank=4)

    def answers(study: Study, columns: object = None) -> pd.DataFrame:
        n_questions = {"full": 5, "lora": 4}[study.name]
        made = arm("low", "low", [1] * n_questions)
        return made.assign(model="tiny-qwen2-vl")

    monkeypatch.setattr(grids, "answers", answers)
    with pytest.raises(ValueError, match=r"differ in 1 questions, first drawn-004 of drawn"):
        adapters.answers(full, [lora])
