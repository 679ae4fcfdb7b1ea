"""From a table and a model to a study, its plan and its answers."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from medres import choose, datasets, names, runs
from medres import study as studies
from medres.choose import asked, written
from medres.choose.__main__ import main, verdicts

MODEL = "tiny-qwen2-vl"
STUDY = "choose-nuclei-tiny-qwen2-vl"


def _rows(n_images: int = 6) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "image": [f"{number}.png" for number in range(n_images)],
            "question": "is it bright?",
            "answer": ["yes", "no"] * (n_images // 2),
            "group": [f"P{number}" for number in range(n_images)],
            "split": ["train"] + ["test"] * (n_images - 1),
        }
    )


@pytest.fixture
def table(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six images of 112 x 84 px with a question each, in a project where the user stands."""
    folder = project / "nuclei"
    folder.mkdir()
    for number in range(6):
        blocks = np.random.default_rng(number).integers(0, 255, (6, 8, 3), dtype=np.uint8)
        image = Image.fromarray(blocks).resize((112, 84), Image.Resampling.NEAREST)
        image.save(folder / f"{number}.png")
    path = folder / "questions.csv"
    _rows().to_csv(path, index=False)
    monkeypatch.chdir(project)
    return path


def _params(project: Path, stem: str, study: str = STUDY) -> dict:
    return yaml.safe_load((project / "params" / study / f"{stem}.yaml").read_text())


def test_images_in_a_subfolder_are_found_when_that_is_said(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (table.parent / "images").mkdir()
    for image in table.parent.glob("*.png"):
        image.rename(table.parent / "images" / image.name)
    arguments = ["nuclei/questions.csv", MODEL, "--plan"]
    assert main(arguments) == 1
    assert 'say SET="find_images=by-name"' in capsys.readouterr().err
    assert main([*arguments, "--set", "find_images=by-name"]) == 0
    capsys.readouterr()
    assert main(arguments) == 0  # it is remembered


def test_a_plan_changes_no_verdict(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["nuclei/questions.csv", MODEL, "--plan"]
    assert main(arguments) == 0
    before = _params(table.parent.parent, "10_choose_resolution")
    assert main([*arguments, "--margin", "1", "--price", "3"]) == 0
    assert "price" in capsys.readouterr().out
    assert _params(table.parent.parent, "10_choose_resolution") == before


def test_a_plan_writes_the_study_and_says_what_it_takes(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["nuclei/questions.csv", MODEL, "--plan", "--price", "2"]) == 0
    said = capsys.readouterr().out
    project = table.parent.parent
    study = studies.load(STUDY)
    assert study.datasets == {
        "nuclei": {"table": "nuclei/questions.csv", "ask": "all", "unreadable": "error"}
    }
    assert study.train_resolutions == ["none"]
    # 84 x 112 px hold 3 x 4 tokens of 28 px, and low a single one.
    evaluate = _params(project, "03_evaluate")
    assert evaluate["low_max_pixels"] == 784
    assert evaluate["eval_resolutions"][0] == "low"
    assert evaluate["eval_resolutions"][-2:] == ["native", "blank"]
    assert _params(project, written.CHOICE) == {"margin": 0.05}
    # The column split does not count: all six are asked.
    assert datasets.load(STUDY, "nuclei").split("test")["image"].nunique() == 6
    assert "6 questions about 6 images of 6 groups" in said
    assert "price" in said
    for margin in (1, 2, 5, 10):
        assert f"{margin} points" in said
    assert not (project / "runs" / STUDY / "evaluate").exists()


def test_without_a_rate_no_price_is_printed(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(table), MODEL, "--plan"]) == 0
    assert "price" not in capsys.readouterr().out


def test_a_second_call_says_what_changed_and_keeps_the_rest(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = table.parent.parent

    def call(**page: float) -> None:
        choose.ready(asked.find(str(table), MODEL), rungs=["low", "native"], page=page)

    choose.ready(asked.find(str(table), MODEL), page={"price_per_million_tokens": 2.0})
    path = project / "params" / STUDY / "study.yaml"
    path.write_text(path.read_text().replace("unreadable: error", "unreadable: exclude"))
    path = project / "params" / STUDY / "03_evaluate.yaml"
    path.write_text(path.read_text() + "batch_images: 4\n")
    capsys.readouterr()
    call(margin=0.02)
    said = capsys.readouterr().out
    assert f"{STUDY}/{written.CHOICE}.yaml: margin was 0.05, is 0.02" in said
    assert "eval_resolutions was ['low'" in said
    assert _params(project, written.CHOICE)["price_per_million_tokens"] == 2.0
    assert _params(project, "study")["datasets"]["nuclei"]["unreadable"] == "exclude"
    evaluate = _params(project, "03_evaluate")
    assert evaluate["eval_resolutions"] == ["low", "native", "blank"]
    assert evaluate["batch_images"] == 4
    capsys.readouterr()
    call()
    assert f"{STUDY}/" not in capsys.readouterr().out


def test_a_notebook_s_study_is_answered_and_nothing_is_asked_twice(table: Path) -> None:
    given = {"table": str(table), "model": MODEL, "rungs": ["low", "native"]}
    assert choose.prepared(**given, margin=0.1) == STUDY
    study = studies.load(STUDY)
    folder = runs.folder_of(STUDY, "evaluate", study.cells("evaluate")[0].path)
    answers = pd.read_parquet(folder / "answers.parquet")
    assert answers.groupby("eval_resolution").size().to_dict() == dict.fromkeys(
        ["low", "native", "blank"], 6
    )
    before = (folder / "run.json").stat().st_mtime_ns
    choose.prepared(**given)
    assert (folder / "run.json").stat().st_mtime_ns == before
    assert _params(table.parent.parent, written.CHOICE)["margin"] == 0.1


def test_how_images_are_found_is_edited_in_the_study_file(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(table), MODEL, "--plan"])
    (table.parent / "5.png").rename(table.parent.parent / "5.png")
    _rows().replace("5.png", "../5.png").to_csv(table, index=False)
    assert main([str(table), MODEL, "--plan"]) == 1
    assert "outside_images" in capsys.readouterr().err
    path = table.parent.parent / "params" / STUDY / "study.yaml"
    path.write_text(
        path.read_text().replace("    ask: all", "    outside_images: allow\n    ask: all")
    )
    assert main([str(table), MODEL, "--plan"]) == 0


def _drop(column: str) -> pd.DataFrame:
    return _rows().drop(columns=column)


@pytest.mark.parametrize(
    ("arguments", "rows", "message"),
    [
        (["nuclei/question.csv", MODEL], None, r"nuclei/question.csv: no such table; give TABLE.*"),
        (["", MODEL], None, "TABLE: no such table; give TABLE"),
        (["nuclei", MODEL], None, "nuclei is a folder, not a table; it holds questions.csv; give"),
        (["nuclei/questions.csv", MODEL], _drop("answer"), "answer"),
        (["nuclei/questions.csv", MODEL], _rows().assign(answer=""), "empty reference at line 2"),
        (["nuclei/questions.csv", "tiny-qwen-vl"], None, "unknown model 'tiny-qwen-vl'"),
        (["nuclei/questions.csv", ""], None, "unknown model ''"),
        (["nuclei/questions.csv", "Qwen/Qwen2-VL-2B-Instruct"], None, "pin its commit: REVISION="),
        (["nuclei/questions.csv", "runs/demo/finetune/x/y/low/seed0"], None, "unknown model|not a"),
        (["nuclei/questions.csv", MODEL, "--margin", "0"], None, "the margin is 0 points"),
        (["nuclei/questions.csv", MODEL, "--margin", "60"], None, "the margin is 60 points"),
        (["nuclei/questions.csv", MODEL, "--price", "-1"], None, "a price is a number from 0 on"),
        (["nuclei/questions.csv", MODEL, "--ladder", "low midle"], None, "unknown resolution 'mid"),
        (
            ["nuclei/questions.csv", MODEL, "--ladder", "tiles-4"],
            None,
            "not a budget of this model",
        ),
        (
            ["nuclei/questions.csv", MODEL, "--ladder", "native"],
            None,
            "the ladder has one size, native",
        ),
        (["nuclei/questions.csv", MODEL, "--gpu", "B9000"], None, "unknown GPU 'B9000'; known are"),
        (["nuclei/questions.csv", MODEL, "--name", "a b"], None, "study 'a b' is not a name"),
        (["nuclei/questions.csv", MODEL, "--name", "demo"], None, "demo is there already and asks"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_a_model_is_loaded(
    table: Path,
    arguments: list[str],
    rows: pd.DataFrame | None,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if rows is not None:
        rows.to_csv(table, index=False)
    assert main(arguments) == 1
    # Behind what a library says of the tiny model that is made on first use.
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("medres: ")
    assert re.search(message, said), said
    assert not list((table.parent.parent / "runs").glob("*/evaluate"))


def test_few_groups_go_on_and_are_said(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _rows().assign(group=["A", "A", "B", "B", "C", "C"]).to_csv(table, index=False)
    assert main([str(table), MODEL, "--plan"]) == 0
    assert "nothing can be decided" in capsys.readouterr().out


def test_open_questions_alone_are_allowed(table: Path) -> None:
    _rows().assign(answer="a disc").to_csv(table, index=False)
    assert main([str(table), MODEL, "--plan"]) == 0


def test_a_table_is_found_from_where_the_user_stands(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(table.parent)
    assert asked.find("questions.csv", MODEL).table == "nuclei/questions.csv"
    monkeypatch.chdir("/")
    assert asked.find("nuclei/questions.csv", MODEL).table == "nuclei/questions.csv"


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("served:http://127.0.0.1:8000/v1#Qwen/Qwen2-VL-2B-Instruct", "Qwen2-VL-2B-Instruct"),
        ("served:http://127.0.0.1:8000/v1#lab:7b@tiny-qwen2-vl", "lab-7b"),
        ("Qwen/Qwen3-VL-4B-Instruct", "Qwen3-VL-4B-Instruct"),
    ],
)
def test_a_study_is_named_after_its_table_and_model(table: Path, model: str, name: str) -> None:
    found = asked.find(str(table), model)
    assert (found.study, found.model) == (f"choose-nuclei-{name}", model)


def test_the_verdict_is_read_from_the_page_s_table(table: Path) -> None:
    assert verdicts(STUDY) == []
    folder = table.parent.parent / "reports" / STUDY / "tables"
    folder.mkdir(parents=True)
    row = {"dataset": "nuclei", "model": MODEL, "train_resolution": "none"}
    row |= {"warning": "It hardly looks.", "sentence": "Send at most 784 pixels."}
    pd.DataFrame([row]).to_csv(folder / "choice.csv", index=False)
    assert verdicts(STUDY) == ["Caution: It hardly looks.", "Send at most 784 pixels."]


@pytest.fixture
def trained(table: Path) -> str:
    """A finished training whose checkpoint is the tiny model, on the first image of the table."""
    from medres import files
    from medres.models import tiny

    made = datasets.prepare("before", "old", {"table": "nuclei/questions.csv"})
    inputs = {"questions": made.record["outcome"]["fingerprint"]}
    parameters = {"revision": "", "model": MODEL}
    cell = f"old/{MODEL}/low/seed0"
    run = runs.start("before", "finetune", cell, parameters=parameters, inputs=inputs)
    tiny.make(run.folder / "checkpoint", MODEL)
    run.finish(
        files=[
            path.relative_to(run.folder).as_posix()
            for path in files.files_below(run.folder / "checkpoint")
        ]
    )
    return f"before/finetune/{cell}"


@pytest.mark.parametrize("form", ["{}", "runs/{}", "runs/{}/checkpoint", "runs/{}/"])
def test_a_training_is_not_asked_what_it_has_seen(
    table: Path, trained: str, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(table), form.format(trained), "--plan"]) == 0
    said = capsys.readouterr().out
    assert "left out: 1 questions about 1 images that it has seen in training (before, old" in said
    assert "5 questions about 5 images" in said
    study = studies.load("choose-nuclei-before-low")
    assert study.models == [f"runs/{trained}/checkpoint"]
    assert study.datasets["nuclei"]["not_seen_by"] == f"runs/{trained}"
    assert len(datasets.load(study.name, "nuclei").table) == 5


def test_the_checkpoint_of_a_long_name_is_one_that_a_study_takes(project: Path) -> None:
    for length in (40, 80):
        training = f"runs/{'s' * length}/finetune/d/m/low/seed0"
        model = asked.checkpoint_of(training)
        names.check("model", model, pattern=names.MODEL)
        assert runs.ROOT / model == project / training / "checkpoint"
