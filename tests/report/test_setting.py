"""What a page says to paste, for a study's models and the sizes chosen for them."""

import pandas as pd
import pytest
import yaml

from medres import study as studies
from medres.report import setting
from medres.resolution import Treatment

TREATMENT = Treatment(50_176, 12_000_000, "bicubic", 28)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("native", "native size (up to 12,000,000 pixels)"),
        ("low", "low, at most 50,176 pixels (about 224 x 224)"),
        ("low-lanczos", "low, at most 50,176 pixels (about 224 x 224), shrunk with lanczos"),
        ("pixels-200704", "at most 200,704 pixels (about 448 x 448)"),
        ("pixels-9", "at most 9 pixels (about 3 x 3)"),
        ("scale-2", "2 times the width and height"),
        ("scale-0.5", "0.5 times the width and height"),
        ("mpp-0.5", "0.5 microns per pixel, finer pixels shrunk"),
        ("tokens-1120", "1,120 visual tokens"),
        ("tiles-1", "1 tile"),
        ("tiles-12", "12 tiles"),
        ("pan-and-scan", "pan-and-scan"),
        ("crops-6", "the whole at low and its 6 parts, each at most at low's pixels"),
        ("zoom", "the whole at low, then with it the part that the model asks for"),
        ("plain-crops-6", "the whole image at no more visual tokens than crops-6"),
        ("plain-zoom", "the whole image at no more visual tokens than zoom"),
    ],
)
def test_a_resolution_in_words(name, expected):
    assert setting.in_words(name, TREATMENT) == expected


def study(project, models, **evaluate) -> studies.Study:
    folder = project / "params" / "pasted"
    folder.mkdir()
    written = {
        "title": "Pasted",
        "models": models,
        "train_resolutions": ["none"],
        "seeds": [0],
        "datasets": {"phantom-radiology": {}},
        "finetune": {},
        "reports": ["10_choose_resolution"],
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(written))
    given = {"low_max_pixels": 784, "native_max_pixels": 12_544, **evaluate}
    (folder / "03_evaluate.yaml").write_text(yaml.safe_dump(given))
    return studies.load("pasted")


def chosen(*rows) -> pd.DataFrame:
    names = ["model", "chosen", "until_then", "would_be"]
    return pd.DataFrame(rows, columns=names)


def test_words_are_those_of_the_study(project):
    made = study(project, ["tiny-qwen2-vl"])
    assert setting.words(made, ["low", "native"]) == {
        "low": "low, at most 784 pixels (about 28 x 28)",
        "native": "native size (up to 12,544 pixels)",
    }


@pytest.mark.parametrize(
    ("row", "pixels"),
    [
        pytest.param(("low", "", ""), "784", id="chosen"),
        pytest.param(("", "pixels-3136", "low"), "3,136", id="used until then"),
        pytest.param(("", "", "pixels-3136"), "12,544", id="likely alone is not decided"),
        pytest.param(("", "", ""), "12,544", id="native else"),
    ],
)
def test_what_is_pasted_is_chosen_or_used_until_then(project, row, pixels):
    made = study(project, ["tiny-qwen2-vl"])
    text = setting.of_study(made, chosen(("tiny-qwen2-vl", *row)))
    assert f"Resize each image to at most {pixels} pixels" in text
    assert text.count("```python") == 1
    assert setting.EVERYWHERE in text
    assert (setting.UNDECIDED in text) == (not (row[0] or row[1]))


def test_a_size_that_is_chosen_twice_is_pasted_once(project):
    made = study(project, ["tiny-qwen2-vl"])
    rows = [("tiny-qwen2-vl", name, "", "") for name in ("low", "native", "low")]
    text = setting.of_study(made, chosen(*rows))
    assert text.count("```python") == 2
    assert text.index("784 pixels") < text.index("12,544 pixels")


def test_every_model_has_its_own_grid(project):
    made = study(project, ["tiny-qwen2-vl", "tiny-qwen3-vl"], low_max_pixels=1_024)
    text = setting.of_study(
        made, chosen(("tiny-qwen2-vl", "native", "", ""), ("tiny-qwen3-vl", "native", "", ""))
    )
    assert text.startswith("**tiny-qwen2-vl, native size (up to 12,544 pixels).**")
    assert "multiple of 28 px" in text
    assert "multiple of 32 px" in text


def test_limits_of_the_own_processor_stand_beside_the_pixels(project):
    made = study(project, ["tiny-qwen2-vl"])
    text = setting.of_study(made, chosen(("tiny-qwen2-vl", "native", "", "")))
    assert text.index(setting.EVERYWHERE) < text.index(setting.ONE_STEP)
    assert "vllm serve MODEL --mm-processor-kwargs '{\"max_pixels\": 12544}'" in text


@pytest.mark.parametrize(
    ("name", "heard", "lacks"),
    [
        ("tokens-280", '"max_soft_tokens": 280', setting.NO_BUDGET),
        ("tokens-100", setting.NO_BUDGET, "max_soft_tokens"),
    ],
)
def test_a_budget_of_the_model_is_set_in_its_processor_alone(project, name, heard, lacks):
    made = study(project, ["tiny-gemma4"], eval_resolutions=[name, "blank"])
    text = setting.of_study(made, chosen(("tiny-gemma4", name, "", "")))
    assert heard in text
    assert lacks not in text
    assert "```python" not in text, "no pixels made here are what the model sees"


def test_a_served_model_of_which_nothing_is_known_is_sent_pixels(project):
    model = "served:http://127.0.0.1:8000/v1#big@pixels"
    made = study(project, [model])
    named = setting.texts.named(model)
    text = setting.of_study(made, chosen((named, "low", "", "")))
    assert "Resize each image to at most 784 pixels" in text
    assert "multiple" not in text
    assert "127.0.0.1" not in text, "the address of a server stands on no page"


def test_a_model_whose_config_is_not_here_is_sent_the_chosen_size(project, monkeypatch):
    made = study(project, ["tiny-qwen2-vl"])
    monkeypatch.setattr(setting.offline, "is_at_hand", lambda model: False)
    assert setting.of_study(made, chosen(("tiny-qwen2-vl", "low", "", ""))) == (
        "The config of tiny-qwen2-vl is not available here: send images of the chosen size."
    )
