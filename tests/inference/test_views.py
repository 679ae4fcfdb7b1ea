"""Several views of an image are asked about as planned, and zoom in its two steps."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medres import datasets, inference, models, resolution, runs, views
from medres.inference import asking, check, zoom
from medres.models import LoadedModel

SIZES_PX = ((300, 200), (180, 260), (224, 224), (90, 400))
CLOSED = {
    "is it?": ("yes", "no"),
    "which organelle is labelled?": ("golgi", "plasma membrane", "mitochondria"),
    "is there a nodule in the right lung?": ("no", "yes"),
}
SETTINGS: dict[str, Any] = {
    "study": "views",
    "dataset": "drawn",
    "model": "tiny-qwen2-vl",
    "revision": "",
    "train_resolution": "none",
    "eval_resolutions": ["low", "crops-2", "crops-4", "zoom"],
    "seed": 0,
    "low_max_pixels": 3_136,
    "native_max_pixels": 50_176,
    "resampling_filter": "bicubic",
    "low_share": 0.5,
    "limit": 0,
    "batch_images": 2,
    "threads": 1,
    "cache_gib": 0.0,
}

CELLS = ("yqr", "xpu", "vfb", "hhw", "xam", "vdu", "dmv", "hih", "sgz")
"""Options for the parts, of one length each, that random weights choose between."""


def _prepare(root: Path) -> datasets.QuestionSet:
    folder = root / "drawn"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(5)
    rows = []
    for index, (width, height) in enumerate(SIZES_PX):
        # Each part of an image has a colour of its own.
        cells = rng.integers(0, 256, (3, 3, 3), dtype=np.uint8)
        picture = Image.fromarray(cells).resize((width, height), Image.Resampling.NEAREST)
        noisy = np.asarray(picture) // 2 + rng.integers(0, 128, (height, width, 3), dtype=np.uint8)
        Image.fromarray(noisy).save(folder / f"{index}.png")
        asked = {**CLOSED, "what is seen?": ()}
        rows += [
            {
                "question_id": f"q{index}-{number}",
                "image": f"{index}.png",
                "question": question,
                "answer": options[0] if options else "a cell",
                "options": "|".join(options),
                "modality": "microscopy",
                "split": "test",
            }
            for number, (question, options) in enumerate(asked.items())
        ]
    pd.DataFrame(rows).to_csv(folder / "questions.csv", index=False)
    datasets.prepare("views", "drawn", {"table": "drawn/questions.csv"})
    return datasets.load("views", "drawn")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("views")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "ROOT", folder)
        _prepare(folder)
    return folder


@pytest.fixture(autouse=True)
def _in_root(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "ROOT", root)
    monkeypatch.setattr(inference, "PASSES_AT_ONCE", 1)
    monkeypatch.setattr(views, "NUMBERS", CELLS)
    # Short, so that what random weights choose depends on the image.
    monkeypatch.setattr(views, "WHERE", "Where is the answer to this seen? {question}")


def _evaluate(**changes: Any) -> runs.Run:
    return inference.evaluate(**{**SETTINGS, **changes})


def _answers(run: runs.Run) -> pd.DataFrame:
    table = pd.read_parquet(run.file("answers.parquet"))
    return table.set_index(["eval_resolution", "question_id"]).sort_index()


def _treatment(config: Any) -> resolution.Treatment:
    names = ("low_max_pixels", "native_max_pixels", "resampling_filter")
    return models.treatment(config, **{name: SETTINGS[name] for name in names})


def test_rows_say_what_views_were_given(tiny_model: LoadedModel) -> None:
    answers = _answers(_evaluate())
    treatment = _treatment(tiny_model.config)
    for (name, _), row in answers.iterrows():
        planned = resolution.plan((row["width_px"], row["height_px"]), name, treatment)
        assert row["n_views"] == {"low": 1, "crops-2": 3, "crops-4": 5, "zoom": 2}[name]
        assert (row["given_width_px"], row["given_height_px"]) == planned.each[0].given_px
        if name != "zoom":
            assert row["visual_tokens"] == sum(view.visual_tokens for view in planned.each)
            assert row["zoom_cell"] == ""
        else:
            both = views.zoom((row["width_px"], row["height_px"]), treatment)
            assert row["visual_tokens"] == both.tokens(views.CELLS.index(row["zoom_cell"]))
    assert answers["n_views"].dtype == "int64"
    low = _answers(_evaluate(eval_resolutions=["low"], study="views"))
    assert not {"n_views", "zoom_cell"} & set(low.columns)


@pytest.mark.parametrize("name", ["tiny-qwen2-vl", "tiny-llava-onevision", "tiny-gemma3"])
def test_recomputed_one_by_one_the_answers_are_the_same(name: str) -> None:
    run = _evaluate(model=name)
    checked = check.recompute(run, n_questions=100)
    assert len(checked) == 4 * 4 * len(SIZES_PX)
    assert not checked[["is_other_answer", "is_other_reply"]].any().any()
    assert checked["log_probability_difference"].max() < 1e-5
    cells = _answers(run).loc["zoom", "zoom_cell"]
    assert cells.nunique() > 1, "the check could not see a wrong cell"


def test_questions_that_take_one_cell_share_the_second_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parts: list[tuple[Any, int, Any]] = []
    real = asking.answer

    def noted(model: Any, question_set: Any, batch: Any, name: str, **named: Any) -> Any:
        if name == "zoom":
            parts.extend(
                (asked.image, len(asked.questions), made.each[1].box_px) for made, asked in batch
            )
        return real(model, question_set, batch, name, **named)

    monkeypatch.setattr(asking, "answer", noted)
    zoomed = _answers(_evaluate(seed=1)).loc["zoom"]
    wanted = zoomed.groupby(["image", "zoom_cell"]).size()
    assert len(parts) == len(wanted) < len(zoomed)
    for image, n_questions, box_px in parts:
        (size_px,) = {size for name, size in _sizes(zoomed) if name == image}
        boxes = [views.cell_box(size_px, number) for number in range(len(views.CELLS))]
        assert wanted[image, views.CELLS[boxes.index(box_px)]] == n_questions


def _sizes(table: pd.DataFrame) -> list[tuple[str, tuple[int, int]]]:
    columns = (table[name].tolist() for name in ("image", "width_px", "height_px"))
    return [(image, (width, height)) for image, width, height in zip(*columns, strict=True)]


def test_after_a_kill_zoom_goes_on_with_the_same_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _answers(_evaluate())
    real, n_asked = zoom.answer, []

    def stopping(*arguments: Any, **named: Any) -> Any:
        n_asked.append(1)
        if len(n_asked) == 2:
            raise KeyboardInterrupt
        return real(*arguments, **named)

    monkeypatch.setattr(zoom, "answer", stopping)
    with pytest.raises(KeyboardInterrupt):
        _evaluate(seed=2)
    again = _answers(_evaluate(seed=2))
    assert len(n_asked) == 3  # two batches, one of them twice
    pd.testing.assert_frame_equal(whole, again)
