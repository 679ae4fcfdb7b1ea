from pathlib import Path

import pytest

from benchmarks import statistics
from medres import datasets, runs
from medres import study as studies
from medres.published import claims
from medres.results import alignment, grids, paired


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> studies.Study:
    monkeypatch.setattr(runs, "ROOT", tmp_path)
    monkeypatch.setattr(statistics, "N_QUESTIONS", {"large": 90, "small": 30})
    assert statistics.make_study(tmp_path) == 120 * 32
    return studies.load(statistics.STUDY)


def test_the_drawn_study_is_one_that_reports_can_be_made_of(drawn: studies.Study) -> None:
    answers = grids.answers(drawn)
    grid = grids.grid(answers)
    assert len(grid) == 2 * 32
    assert grid["accuracy"].between(0.3, 0.95).all()
    asked = datasets.load(drawn.name, "large").split("test")
    assert set(asked["question_id"]) == set(
        answers.loc[answers["dataset"] == "large", "question_id"]
    )
    assert (answers.groupby("group")["image"].nunique() == 2).any()
    assert (alignment.odds_ratios(answers)["note"] == "").all()
    compared = paired.comparisons(answers)
    of_its_arms = [each for each in claims.CLAIMS if each.family not in claims.RETRAINED]
    assert len(compared) == 2 * len(of_its_arms)
