"""Questions of own data that a training has seen are left out, and counted."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medres import datasets, runs

TRAINING = "runs/before/finetune/old/tiny-qwen2-vl/low/seed0"


def _image(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    blocks = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    Image.fromarray(blocks).resize((96, 96), Image.Resampling.NEAREST).save(path)


def _table(path: Path, rows: list[tuple[str, str, str]]) -> None:
    table = pd.DataFrame(rows, columns=["image", "group", "split"])
    table["question"], table["answer"] = "is it bright?", "yes"
    table.to_csv(path, index=False)


@pytest.fixture
def trained(project: Path) -> Path:
    """A project with a training on images 0 to 3 of patients A and B; 4 and 5 were its test."""
    old = project / "old"
    for seed in range(6):
        _image(old / f"{seed}.png", seed)
    patients = ["A", "A", "B", "B", "C", "C"]
    rows = [
        (f"{seed}.png", patient, "train" if seed < 4 else "test")
        for seed, patient in enumerate(patients)
    ]
    _table(old / "questions.csv", rows)
    made = datasets.prepare("before", "old", {"table": "old/questions.csv"})
    _, _, study, stage, cell = "", *TRAINING.split("/", 3)
    inputs = {"questions": made.record["outcome"]["fingerprint"]}
    runs.start(study, stage, cell, parameters={}, inputs=inputs).finish()
    return project


def _prepared(project: Path, rows: list[tuple[str, str, str]]) -> datasets.QuestionSet:
    _table(project / "new" / "questions.csv", rows)
    settings = {"table": "new/questions.csv", "ask": "all", "not_seen_by": TRAINING}
    datasets.prepare("now", "new", settings)
    return datasets.load("now", "new")


def _near(project: Path) -> None:
    Image.open(project / "old/0.png").resize((48, 48)).save(project / "new/near.png")


def _same_pixels(project: Path) -> None:
    Image.open(project / "old/1.png").save(project / "new/pixels.bmp")


@pytest.mark.parametrize(
    ("rows", "kept", "said"),
    [
        # The same file under another name; its patient's other image goes with it.
        (
            [("copy.png", "X", ""), ("20.png", "X", ""), ("21.png", "Y", "")],
            ["21.png"],
            [
                "1 questions about 1 images that it has seen in training (before, "
                "old/tiny-qwen2-vl/low/seed0): line 2",
                "1 questions about other images of 1 groups that it has seen",
            ],
        ),
        ([("pixels.bmp", "X", ""), ("21.png", "Y", "")], ["21.png"], ["that it has seen in tr"]),
        ([("near.png", "X", ""), ("21.png", "Y", "")], ["21.png"], ["that nearly equal one that"]),
        # A new image of a patient of the training.
        (
            [("20.png", "B", ""), ("21.png", "Y", "")],
            ["21.png"],
            ["1 questions about other images"],
        ),
        # An image and a patient of its test are not of the training.
        ([("test.png", "C", ""), ("21.png", "Y", "")], ["test.png", "21.png"], []),
        # Named as an image of the training, but another one.
        ([("0.png", "0.png", ""), ("21.png", "Y", "")], ["0.png", "21.png"], []),
    ],
)
def test_what_a_training_has_seen_is_left_out_and_counted(
    trained: Path, rows: list[tuple[str, str, str]], kept: list[str], said: list[str]
) -> None:
    for name, seed in (("copy", 0), ("test", 4), ("20", 20), ("21", 21), ("0", 30)):
        _image(trained / "new" / f"{name}.png", seed)
    _near(trained)
    _same_pixels(trained)
    found = _prepared(trained, rows)
    assert found.table["image"].tolist() == kept
    assert set(found.table["split"]) == {"test"}
    assert len(found.excluded) == len(said)
    for sentence, begin in zip(found.excluded, said, strict=True):
        assert begin in sentence


def test_nothing_left_is_refused(trained: Path) -> None:
    _image(trained / "new" / "copy.png", 0)
    with pytest.raises(ValueError, match="has seen the images or groups of all 1 questions"):
        _prepared(trained, [("copy.png", "X", "")])


def test_a_training_on_other_questions_than_are_there_now_is_refused(trained: Path) -> None:
    _image(trained / "new" / "21.png", 21)
    _table(trained / "old/questions.csv", [("0.png", "A", "train"), ("4.png", "C", "test")])
    datasets.prepare("before", "old", {"table": "old/questions.csv"})
    with pytest.raises(ValueError, match=re.escape("what it has seen is not known; `make study")):
        _prepared(trained, [("21.png", "Y", "")])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"not_seen_by": "runs/before"}, "name a training, runs/<study>/finetune/<cell>"),
        ({"not_seen_by": "runs/before/finetune/old/m/low/seed9"}, "is not a finished run"),
        ({"ask": "test"}, "sets ask to 'test'; use all, or none"),
        ({"ask": True}, "sets ask to True, which is bool, not str"),
    ],
)
def test_what_names_no_training_is_refused(
    trained: Path, settings: dict[str, object], message: str
) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(message)):
        datasets.prepare("now", "old", {"table": "old/questions.csv"} | settings)


def test_without_the_new_settings_a_run_is_the_one_of_before(trained: Path) -> None:
    spec = runs.read(trained / "runs/before/questions/old")["spec"]
    assert not {"ask", "not_seen_by"} & set(spec["parameters"])
    assert "seen" not in spec["inputs"]
