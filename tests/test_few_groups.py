"""Test groups that are too few to decide anything are said before anything is trained."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from medres import datasets, make
from medres import study as studies
from medres.datasets.__main__ import main as prepare_main
from medres.plan import table as plan
from medres.plan.memory import GPUS
from medres.report import overview

FEW = "too few groups to decide anything: an exact test of 4 groups cannot reach p < 0.125"
TAKES = "A difference of 10 points would take about 68 test groups of 5 questions each"


def write_study(project: Path, *, test_groups: list[int], limit: int = 0) -> str:
    """Write a study of own images: ten to train on, and test groups of the given sizes."""
    folder = project / "own"
    folder.mkdir()
    groups = [f"plate-{number}" for number, size in enumerate(test_groups) for _ in range(size)]
    table = pd.DataFrame({"group": ["train"] * 10 + groups})
    table["split"] = ["train"] * 10 + ["test"] * len(groups)
    table["image"] = [f"{number}.png" for number in table.index]
    table["question"], table["answer"] = "is it bright?", ["yes", "no"] * (len(table) // 2)
    table.to_csv(folder / "questions.csv", index=False)
    for number, name in enumerate(table["image"]):
        noise = np.random.default_rng(number).integers(0, 256, (28, 28, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / name)
    params = project / "params" / "mine"
    params.mkdir()
    own = yaml.safe_load((project / "params" / "own" / "study.yaml").read_text())
    own["datasets"] = {"mine": {"table": "own/questions.csv"}}
    (params / "study.yaml").write_text(yaml.safe_dump(own))
    (params / "03_evaluate.yaml").write_text(f"limit: {limit}\n")
    return "mine"


def test_it_is_said_by_prepare_check_plan_and_make_before_any_training(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = write_study(project, test_groups=[7, 6, 4, 3])
    assert prepare_main(["prepare", name, "mine"]) == 0
    said = capsys.readouterr().out
    assert "20 test questions in 4 groups (effective number 3.6, the largest holds 35 %)" in said
    assert FEW in said
    assert TAKES in said
    assert studies.main(["check", name]) == 0
    assert FEW in capsys.readouterr().err
    assert FEW in plan.report(studies.load(name), gpu=GPUS[plan.GPU])
    monkeypatch.chdir(project)
    assert make.main([name, "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert told.index(FEW) < told.index("to be made")


def test_the_page_of_data_sets_says_it_with_numbers(project: Path) -> None:
    name = write_study(project, test_groups=[7, 6, 4, 3])
    datasets.prepare(name, "mine", studies.load(name).datasets["mine"])
    question_sets = [datasets.load(name, "mine")]
    counts = overview.counts(question_sets).set_index("split").loc["test"]
    assert (counts["n_questions"], counts["n_groups"]) == (20, 4)
    # 20^2 / (49 + 36 + 16 + 9) by hand.
    assert counts["n_effective_groups"] == pytest.approx(400 / 110)
    assert counts["largest_share"] == 0.35
    said = overview.decided(question_sets)
    assert said.startswith("* **mine**: **too few groups to decide anything**: an exact")


def test_enough_groups_give_no_warning(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = write_study(project, test_groups=[1] * 30)
    assert prepare_main(["prepare", name, "mine"]) == 0
    said = capsys.readouterr().out
    assert "too few" not in said
    assert "a difference of about 29 points between two resolutions of one training" in said
    assert studies.main(["check", name]) == 0
    assert capsys.readouterr().err == ""
    assert "too few" not in overview.decided([datasets.load(name, "mine")])


def test_only_questions_that_are_evaluated_count(project: Path) -> None:
    name = write_study(project, test_groups=[1] * 30, limit=5)
    study = studies.load(name)
    assert studies.group_sizes(study) == {}, "nothing is prepared yet"
    datasets.prepare(name, "mine", study.datasets["mine"])
    assert studies.group_sizes(study) == {"mine": [1] * 5}
    (said,) = studies.too_few_groups(study)
    assert said.startswith("data set mine has too few groups to decide anything: an exact")
