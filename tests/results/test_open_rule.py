"""Open answers are judged by the study's rule when they are read; stored tables stay."""

from pathlib import Path

import pandas as pd
import pytest

from medres import runs, scoring
from medres import study as studies
from medres.results import grids


def store(project: Path, options: list[str]) -> Path:
    """Store one answer of a small study; return its table's file."""
    folder = project / "params" / "small"
    folder.mkdir()
    (folder / "study.yaml").write_text(
        "title: Small\nmodels: [tiny-qwen2-vl]\nfinetune: {}\nseeds: [0]\n"
        "train_resolutions: [none]\ndatasets: {drawn: {}}\nreports: [06_zero_shot]\n"
    )
    row = {"question_id": "a", "question": "How many?", "reference": "4", "reply": "There are 4"}
    table = pd.DataFrame([{**row, "eval_resolution": "low", "dataset": "drawn"}])
    table["options"] = [options]
    (cell,) = studies.load("small").cells("evaluate")
    run = runs.start("small", "evaluate", cell.path, parameters={}, inputs={})
    scoring.score_table(table).to_parquet(run.folder / "answers.parquet", index=False)
    run.finish(files=["answers.parquet"])
    return run.folder / "answers.parquet"


@pytest.mark.parametrize(
    ("rule", "is_right"), [("", True), ("names", True), ("exact", False), ("strict", False)]
)
def test_the_rule_of_the_study_judges_what_is_stored(
    rule: str, is_right: bool, project: Path
) -> None:
    path = store(project, [])
    before = path.read_bytes()
    if rule:
        (project / "params/small/03_evaluate.yaml").write_text(f"open_rule: {rule}\n")
    assert grids.answers(studies.load("small"))["correct"].tolist() == [is_right]
    assert path.read_bytes() == before


@pytest.mark.parametrize(("options", "is_noted"), [([], True), (["4", "5"], False)])
def test_a_page_depends_on_the_rule_only_where_questions_are_open(
    options: list[str], is_noted: bool, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(project, options)
    trace = project / "trace"
    monkeypatch.setenv(runs.TRACE, str(trace))
    grids.answers(studies.load("small"))
    assert ("params/small/03_evaluate.yaml" in trace.read_text()) == is_noted


def test_an_unknown_rule_is_refused(project: Path) -> None:
    store(project, [])
    (project / "params/small/03_evaluate.yaml").write_text("open_rule: kind\n")
    with pytest.raises(ValueError, match="open_rule is 'kind'; use names, exact, strict, paper"):
        grids.answers(studies.load("small"))
