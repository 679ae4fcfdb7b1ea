import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medres import datasets, models, resolution, runs
from medres import study as studies
from medres.datasets import conversations
from medres.models import conversation, tiny, without_weights

ASKED: dict[str, Any] = {
    "revision": "",
    "low_max_pixels": 1_024,
    "native_max_pixels": 50_176,
    "resampling_filter": "bicubic",
    "low_share": 0.5,
    "tiling": "information",
    "trained": ["low"],
    "asked": ["low", "native"],
}


def _check(table: pd.DataFrame, model: str = "tiny-qwen2-vl", **settings: object) -> list[str]:
    facts = pd.DataFrame({"image": table["image"].unique(), "width_px": 300, "height_px": 200})
    return conversations.check("t.csv", table, facts, {model: ASKED | settings})


@pytest.fixture(scope="module")
def with_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder in which the tiny models are made once."""
    return tmp_path_factory.mktemp("with_models")


@pytest.fixture
def own_lines(
    questions: pd.DataFrame, with_models: Path, monkeypatch: pytest.MonkeyPatch
) -> pd.DataFrame:
    """A valid table with the line numbers of a user's file."""
    monkeypatch.setattr(runs, "ROOT", with_models)
    return questions.set_axis(pd.Index(range(2, 14), name="line"))


@pytest.mark.parametrize("column", ["question", "reference", "options"])
@pytest.mark.parametrize(
    ("model", "token"),
    [
        ("tiny-qwen2-vl", "<|im_end|>"),
        ("tiny-qwen2-vl", "<|image_pad|>"),
        ("tiny-internvl", "<IMG_CONTEXT>"),
        ("tiny-internvl", "<s>"),
        ("tiny-llava-onevision", "<image>"),
        ("tiny-llava-onevision", "<|endoftext|>"),
    ],
)
def test_a_reserved_token_is_refused_with_its_line(
    own_lines: pd.DataFrame, column: str, model: str, token: str
) -> None:
    assert _check(own_lines, model) == []
    text = f"a{token}b"
    own_lines.at[6, column] = ["yes", text] if column == "options" else text
    own_lines.at[9, column] = own_lines.at[6, column]
    with pytest.raises(ValueError, match=re.escape(f"t.csv has {token!r}, which model {model}")):
        _check(own_lines, model)
    with pytest.raises(ValueError, match=f"in its {column} at line 6 .*; 2 rows like it: .*a<"):
        _check(own_lines, model)


@pytest.mark.parametrize("text", ["<image>", "<s>", "< |im_end|>", "<|im_end>", "a < b > c"])
def test_what_is_no_token_of_this_model_passes(own_lines: pd.DataFrame, text: str) -> None:
    own_lines.at[6, "question"] = text
    assert _check(own_lines) == []


def _longest(table: pd.DataFrame, model: str, names: list[str]) -> int:
    """Return the tokens of the longest conversation, by encoding each of them."""
    loaded = without_weights.load(model)
    treatment = models.treatment(loaded.config, **{name: ASKED[name] for name in models.TREATMENT})
    found = []
    for row in table.itertuples():
        for name in names:
            geometry = resolution.plan((300, 200), name, treatment)
            for reply in row.options or [row.reference]:
                asked = ([row.question_id], [row.question], [[reply]])
                tree = conversation.encode(loaded, geometry.given_px, *asked)
                found.append(len(tree.token_ids))
    return max(found)


@pytest.mark.parametrize("model", tiny.NAMES)
@pytest.mark.parametrize("text", ["word " * 20, "µ" * 60, "病変" * 30], ids=["a", "µ", "病"])
def test_the_longest_conversation_that_fits_passes_and_one_token_more_is_refused(
    own_lines: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, model: str, text: str
) -> None:
    own_lines.at[9, "question"] = text
    most, at_low = (
        _longest(own_lines[own_lines["split"] == "test"], model, [name])
        for name in ("native", "low")
    )
    real = without_weights.load

    def limited(*arguments: Any, **settings: Any) -> Any:
        return replace(real(*arguments, **settings), max_length=limit)

    monkeypatch.setattr(without_weights, "load", limited)
    limit = most
    assert _check(own_lines, model, trained=[]) == []
    limit = most - 1
    with pytest.raises(
        ValueError, match=rf"a conversation of {most} tokens, {limit} being the"
    ) as e:
        _check(own_lines, model, trained=[])
    assert "at line 9 " in str(e.value)
    # At low resolution there is room again, where it costs fewer tokens.
    if at_low < most:
        assert _check(own_lines, model, trained=[], asked=["low"]) == []


def test_a_model_that_is_not_at_hand_is_said_and_stops_nothing(own_lines: pd.DataFrame) -> None:
    (said,) = _check(own_lines, "organisation/model")
    assert said.startswith("texts and lengths are not checked for model organisation/model: ")
    assert len(_check(own_lines, "made/absent")) == 1


def test_what_a_study_asks_is_read_from_its_files(project: Path) -> None:
    study = studies.load("smoke")
    (dataset,) = list(study.datasets)[:1]
    asked = datasets.asked_of(study, dataset)
    assert list(asked) == study.models
    (first, *_) = asked.values()
    assert {"revision", "low_max_pixels", "native_max_pixels", "tiling"} <= set(first)
    assert set(first["trained"]) <= {"low", "native"}
    assert "mixed" not in first["asked"]


def test_another_model_is_checked_against_the_stored_table(project: Path) -> None:
    folder = project / "own"
    folder.mkdir()
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    lines = [f"{number}.png,is it <image>?,{'yes' if number % 2 else 'no'}" for number in range(4)]
    (folder / "q.csv").write_text("\n".join(["image,question,answer", "", *lines]))
    prepare = lambda name: datasets.prepare(  # noqa: E731
        "s", "mine", {"table": "own/q.csv", "test_share": 0.5}, models={name: ASKED}
    )
    run = prepare("tiny-qwen2-vl")
    written = (run.folder / "run.json").stat().st_mtime_ns
    assert prepare("tiny-internvl").is_done
    with pytest.raises(
        ValueError, match=r"own/q\.csv has '<image>', which model tiny-llava.* line 3"
    ):
        prepare("tiny-llava-onevision")
    assert (run.folder / "run.json").stat().st_mtime_ns == written
    assert runs.is_whole(run.folder)


def test_a_served_model_is_checked_by_the_one_that_it_is_like(own_lines: pd.DataFrame) -> None:
    served = "served:http://127.0.0.1:9/v1#any@"
    assert _check(own_lines, served + "tiny-qwen2-vl") == []
    held = own_lines.assign(question="is it <|im_end|>?")
    with pytest.raises(ValueError, match=r"'<\|im_end\|>', which model served:.* keeps for itself"):
        _check(held, served + "tiny-qwen2-vl")


@pytest.mark.parametrize("like", ["pixels", "Qwen/Qwen2-VL-2B-Instruct", "models/none"])
def test_nothing_is_fetched_to_check_a_served_model(own_lines: pd.DataFrame, like: str) -> None:
    (said,) = _check(own_lines, f"served:http://127.0.0.1:9/v1#any@{like}", revision="c0" * 20)
    assert "no tokenizer of a model like it is on this machine" in said


def test_the_words_about_views_count_as_tokens_of_the_prompt(own_lines: pd.DataFrame) -> None:
    model = without_weights.load(models.locate("tiny-qwen2-vl"), revision="", tiling="information")
    treatment = models.treatment(model.config, **{name: ASKED[name] for name in models.TREATMENT})
    planned = resolution.plan((300, 200), "crops-4", treatment)
    sizes = [view.given_px for view in planned.views]
    trees = [
        conversation.encode(model, sizes, ["q"], ["is it?"], [["yes"]], words=words)
        for words in (planned.words, "")
    ]
    longer = len(trees[0].token_ids) - len(trees[1].token_ids)
    counted = conversations._image_tokens(planned, model)
    assert counted == planned.visual_tokens + longer
