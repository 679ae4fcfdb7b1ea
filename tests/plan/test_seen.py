import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from medres import study as studies
from medres.models import flops, offline
from medres.plan import costs, seen
from medres.plan import table as plan
from medres.plan.contents import Images
from medres.plan.memory import GPUS
from medres.resolution import Treatment
from medres.study import Study

PAPER = {
    "low_max_pixels": 50_176,
    "native_max_pixels": 12_000_000,
    "resampling_filter": "bicubic",
    "tiling": "information",
}
CELLS_1280 = [Images((1280, 1024), 1, 1)]


def study_of(project: Path, models: list[str], asked: list[str], **changes: Any) -> Study:
    folder = project / "params" / "small"
    folder.mkdir(exist_ok=True)
    content = {
        "title": "A small study",
        "models": models,
        "train_resolutions": ["none", "low", "native"],
        "seeds": [0],
        "datasets": {"phantom-radiology": {"n_train_images": 24, "n_test_images": 4}},
        "finetune": {},
        "reports": ["01_datasets"],
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(content | changes))
    (folder / "03_evaluate.yaml").write_text(yaml.safe_dump({"eval_resolutions": asked}))
    return studies.load("small")


def rows_of(model: str, images: list[Images], names: list[str]) -> Any:
    treatment = offline.treatment_of(model, PAPER)
    found = seen.table(images, names, treatment, flops_of=lambda layout: layout.visual_tokens)
    return found.set_index("resolution")


# Given and seen sizes and tokens by the models' published rules: grids of 28 and 32 px, at least
# 65,536 px for Qwen3-VL; 12 tiles of 448 px at most; Gemma 4 fills its budget with 48-px tokens.
@pytest.mark.parametrize(
    ("model", "name", "given", "made", "tiles", "tokens", "enlarged"),
    [
        ("Qwen/Qwen2-VL-2B-Instruct", "low", "224 x 196", "224 x 196", "", 56, ""),
        ("Qwen/Qwen2-VL-2B-Instruct", "native", "1260 x 1008", "1260 x 1008", "", 1620, ""),
        ("Qwen/Qwen2-VL-2B-Instruct", "tokens-70", "252 x 196", "252 x 196", "", 63, ""),
        ("tiny-qwen3-vl", "low", "224 x 192", "288 x 256", "", 72, "by the model"),
        ("tiny-qwen3-vl", "native", "1280 x 1024", "1280 x 1024", "", 1280, ""),
        ("tiny-gemma4", "low", "250 x 200", "864 x 672", "", 252, "by the model"),
        ("tiny-gemma4", "native", "1280 x 1024", "864 x 672", "", 252, ""),
        ("tiny-gemma4", "tokens-1120", "1280 x 1024", "1776 x 1392", "", 1073, "by the model"),
        (
            "OpenGVLab/InternVL2_5-2B-MPO-hf",
            "low",
            "250 x 200",
            "1792 x 1344",
            "4 x 3 + whole",
            3328,
            "by the model",
        ),
        (
            "OpenGVLab/InternVL2_5-2B-MPO-hf",
            "tiles-1",
            "1280 x 1024",
            "448 x 448",
            "",
            256,
            "",
        ),
        (
            "tiny-qwen2-vl",
            "tokens-2000",
            "1400 x 1120",
            "1400 x 1120",
            "",
            2000,
            "before the model",
        ),
    ],
)
def test_what_a_model_makes_of_a_micrograph(
    model: str, name: str, given: str, made: str, tiles: str, tokens: int, enlarged: str,
    project: Path,
) -> None:  # fmt: skip
    row = rows_of(model, CELLS_1280, [name]).loc[name]
    assert row["stored_px"] == "1280 x 1024"
    shown = ("given_px", "seen_px", "tiles", "visual_tokens", "enlarged")
    assert tuple(row[list(shown)]) == (given, made, tiles, tokens, enlarged)
    assert row["flops_per_question"] == tokens
    assert math.isnan(row["training_bytes"])


def test_the_image_of_median_area_stands_for_all_and_the_range_is_said(project: Path) -> None:
    images = [
        Images((4000, 20), 1, 1),
        Images((280, 280), 3, 1),
        Images((28, 28), 3, 1),
        Images((56, 28), 1, 4),
        Images((56, 28), 1, 2),
    ]
    assert seen.typical_px(images) == (56, 28)
    row = rows_of("tiny-qwen2-vl", images, ["native"]).loc["native"]
    assert (row["stored_px"], row["visual_tokens"]) == ("56 x 28", 2)
    assert (row["least_tokens"], row["most_tokens"]) == (1, 142)
    assert row["tokens_range"] == "1 to 142"
    # The strip alone is too thin for a token: its height grows to 28 px.
    assert row["share_enlarged"] == pytest.approx(1 / 9)
    assert row["enlarged"] == "before the model (11 %)"


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([((10, 10), 1)], (10, 10)),
        ([((10, 10), 2), ((30, 30), 1)], (10, 10)),
        ([((10, 10), 0.2), ((20, 20), 0.2), ((30, 30), 0.3)], (20, 20)),
        ([((30, 30), 5), ((10, 10), 1), ((20, 20), 1)], (30, 30)),
    ],
)
def test_the_median_counts_images(sizes: Any, expected: tuple[int, int]) -> None:
    assert seen.typical_px([Images(size, n, 1) for size, n in sizes]) == expected


@pytest.mark.parametrize(
    ("model", "asked", "rows", "pictured"),
    [
        (
            "tiny-qwen2-vl",
            ["low", "native", "mixed", "blank", "upsampled-bicubic", "upsampled-nearest"],
            "low native upsampled-<filter> tokens-70 tokens-280 tokens-1120",
            "low native tokens-1120 tokens-280",
        ),
        (
            "tiny-gemma4",
            ["tokens-560", "native"],
            "low native tokens-560 tokens-70 tokens-280 tokens-1120",
            "low native tokens-560 tokens-1120",
        ),
        ("tiny-smolvlm", ["low"], "low native tiles-1 tiles-4", "low native tiles-4 tiles-1"),
        (
            "tiny-gemma3",
            ["native", "low"],
            "low native pan-and-scan",
            "low native pan-and-scan scale-0.5",
        ),
        (
            "tiny-gemma3",
            ["pan-and-scan", "scale-2"],
            "low native pan-and-scan scale-2",
            "low native pan-and-scan scale-2",
        ),
    ],
)
def test_rows_are_those_of_the_study_and_the_model_s_own(
    model: str, asked: list[str], rows: str, pictured: str, project: Path
) -> None:
    treatment = offline.treatment_of(model, PAPER)
    assert seen.resolutions(asked, treatment) == rows.split()
    assert seen.pictured(asked, treatment) == pictured.split()


def test_a_model_without_a_budget_of_its_own_is_filled_up() -> None:
    plain = Treatment(50_176, 12_000_000, "bicubic", 28)
    assert seen.resolutions(["low"], plain) == ["low", "native"]
    assert seen.resolutions(["low-lanczos", "upsampled-bilinear"], plain) == [
        *("low", "native", "upsampled-<filter>")
    ]
    assert "low-lanczos" not in seen.pictured(["low-lanczos"], plain)
    filled = ["low", "native", "scale-0.5", "upsampled-bicubic"]
    assert seen.pictured(["low"], plain) == filled


def test_operations_and_memory_are_those_of_the_plan(project: Path) -> None:
    """Of a data set with one size, an arm of the plan is about the very same image."""
    study = studies.load("paper-qwen2-vl-2b")
    holds = {"subcellular": costs.describe(study)["subcellular"]}
    made = seen.of_study(study, holds).set_index("resolution")
    changes = {"micro_batch_images": 1}
    planned = costs.arms(study, costs.describe(study), gpu=GPUS["A100-80GB"], changes=changes)
    for arm in planned:
        if arm.cell.dataset == "subcellular" and arm.cell.train_resolution in ("low", "native"):
            row = made.loc[arm.cell.train_resolution]
            assert arm.requested is not None
            assert row["training_bytes"] == arm.requested.peak
            assert row["visual_tokens"] == arm.max_tokens
    sizes = offline.sizes_of(offline.config_of(study.models[0]))
    text_tokens = holds["subcellular"].test.text_tokens(1, offline.CHARACTERS_PER_TOKEN)
    by_hand = flops.forward_flops(sizes.shape, visual_tokens=5329, text_tokens=text_tokens)
    assert made.loc["native", "flops_per_question"] == by_hand


def test_without_a_training_there_is_no_memory(project: Path) -> None:
    study = study_of(project, ["tiny-qwen2-vl"], ["low", "native"], train_resolutions=["none"])
    made = seen.of_study(study, costs.describe(study))
    assert made["training_bytes"].isna().all()
    shown = seen.shown(made)
    assert "training_bytes" not in shown
    assert "tiles" not in shown
    assert "NaN" not in plan.images(made)
    assert "peak" not in plan.images(made)


def test_a_model_that_is_not_at_hand_is_left_out_and_named(project: Path) -> None:
    study = study_of(project, ["org/model", "tiny-qwen2-vl"], ["low", "native"])
    made = seen.of_study(study, costs.describe(study))
    assert set(made["model"]) == {"tiny-qwen2-vl"}
    said = seen.without_config(study)
    assert said.startswith("The config of org/model is not available locally")
    assert set(seen.saved(study, costs.describe(study))["model"]) == {"tiny-qwen2-vl"}
    alone = study_of(project, ["org/model"], ["low", "native"])
    assert seen.of_study(alone, costs.describe(alone)).empty
    assert seen.saved(alone, costs.describe(alone)).empty
    assert seen.without_config(study_of(project, ["tiny-qwen2-vl"], ["low", "native"])) == ""


REFUSED = [
    (["tiny-qwen2-vl"], "tiles-4", "tiny-qwen2-vl: .*'tiles-4'.*use tokens-<n>$"),
    (["tiny-qwen3-vl"], "pan-and-scan", "tiny-qwen3-vl: .*'pan-and-scan'.*use tokens-<n>$"),
    (["tiny-internvl"], "tokens-280", "tiny-internvl: .*'tokens-280'.*use tiles-<n>$"),
    (["tiny-gemma3"], "tiles-2", "tiny-gemma3: .*'tiles-2'.*use pan-and-scan$"),
    (["tiny-gemma4"], "tokens-300", "tiny-gemma4: .*'tokens-300'.*use tokens-70, tokens-140"),
    (["tiny-gemma4", "tiny-qwen2-vl"], "pan-and-scan", "tiny-gemma4: .*'pan-and-scan'"),
    (
        ["Qwen/Qwen2-VL-2B-Instruct"],
        "tiles-1",
        "Qwen/Qwen2-VL-2B-Instruct: .*'tiles-1'.*use tokens-<n>$",
    ),
    (["org/model", "tiny-qwen2-vl"], "tiles-4", "tiny-qwen2-vl: .*'tiles-4'"),
]


@pytest.mark.parametrize(("models", "name", "message"), REFUSED)
def test_a_budget_that_a_model_lacks_is_refused_with_what_it_takes(
    models: list[str], name: str, message: str, project: Path
) -> None:
    study = study_of(project, models, ["low", "native", name])
    with pytest.raises(ValueError, match=rf"^params/small/03_evaluate.yaml: .*{message}"):
        seen.check(study)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("tiny-qwen2-vl", "tokens-5"),
        ("tiny-gemma4", "tokens-560"),
        ("tiny-gemma3", "pan-and-scan"),
        ("tiny-smolvlm", "tiles-3"),
        ("tiny-internvl", "tiles-12"),
        ("org/model", "tiles-4"),
        ("tiny-qwen2-vl", "scale-2"),
    ],
)
def test_what_a_model_takes_is_not_refused(model: str, name: str, project: Path) -> None:
    seen.check(study_of(project, [model], ["low", "native", "mixed", "blank", name]))


# Each family has a budget of its own kind, and lacks the others'.
@pytest.mark.parametrize(
    ("model", "trained", "message"),
    [
        ("tiny-qwen2-vl", "tiles-4", "'tiles-4'.*use tokens-<n>$"),
        ("tiny-internvl", "tokens-64", "'tokens-64'.*use tiles-<n>$"),
        ("tiny-gemma3", "low-then-tokens-256", "'tokens-256'.*use pan-and-scan$"),
        ("tiny-gemma4", "tokens-300", "'tokens-300'.*use tokens-70, tokens-140"),
    ],
)
def test_a_budget_that_a_model_cannot_be_trained_at_is_refused_with_what_it_takes(
    model: str, trained: str, message: str, project: Path
) -> None:
    trainings = {"train_resolutions": ["none", "low", trained]}
    study = study_of(project, ["org/model", model], ["low", "native"], **trainings)
    where = f"^params/small/study.yaml: train_resolutions, {model}: "
    with pytest.raises(ValueError, match=f"{where}.*{message}"):
        seen.check(study)


@pytest.mark.parametrize("layers", ["last-2", "norms", "all"])
@pytest.mark.parametrize("model", ["tiny-qwen2-vl", "tiny-gemma3", "org/model"])
def test_no_more_layers_are_trained_on_than_a_model_has(
    layers: str, model: str, project: Path
) -> None:
    trainings = {"train_resolutions": ["low", "low-then-tokens-64"]}
    if model == "tiny-gemma3":
        trainings = {"train_resolutions": ["low", "low-then-pan-and-scan"]}
    adapted = project / "params" / "small" / "02_finetune.yaml"
    adapted.parent.mkdir(exist_ok=True)
    adapted.write_text(f"adapt_layers: {layers}")
    seen.check(study_of(project, [model], ["low", "native"], **trainings))
    adapted.write_text("adapt_layers: last-99")
    if model == "org/model":
        seen.check(study_of(project, [model], ["low", "native"], **trainings))
        return
    with pytest.raises(ValueError, match=rf"small/02_finetune.yaml, {model}: .*last-99.*at most"):
        seen.check(study_of(project, [model], ["low", "native"], **trainings))


@pytest.mark.parametrize("layers", ["last-99", "first", "last-0"])
def test_layers_of_a_later_data_set_are_checked_too(layers: str, project: Path) -> None:
    drawn = {"n_train_images": 24, "n_test_images": 4}
    changes = {
        "train_resolutions": ["low", "low-then-native"],
        "datasets": {"phantom-radiology": drawn, "phantom-cells": drawn},
        "finetune": {"phantom-cells": {"adapt_layers": layers}},
    }
    study = study_of(project, ["tiny-qwen2-vl"], ["low", "native"], **changes)
    match = f"small/study.yaml: finetune: phantom-cells, tiny-qwen2-vl: adapt_layers is .*{layers}"
    with pytest.raises(ValueError, match=match):
        seen.check(study)


def test_the_plan_says_what_arrives_and_that_low_saves_nothing(project: Path) -> None:
    study = study_of(project, ["tiny-gemma4"], ["low", "native", "tokens-70"])
    said = plan.report(study, gpu=GPUS["A100-80GB"])
    _, _, rest = said.partition("What tiny-gemma4 makes of an image:\n")
    head, *rows = rest.partition("\n\n")[0].splitlines()
    for name in ("image", "given", "seen", "tokens", "of all images", "FLOP", "peak", "enlarged"):
        assert name in head
    names = ["low", "native", "tokens-70", "tokens-280", "tokens-1120"]
    assert [name for row in rows for name in row.split() if name in names] == names
    assert "phantom-radiology: Low costs this model nearly what native costs (266 of 270" in said
    assert "The model's own processor enlarges every low image again" in said


def test_the_plan_of_a_model_that_saves_has_no_such_line(project: Path) -> None:
    study = study_of(project, ["tiny-qwen2-vl"], ["low", "native"])
    assert "Low costs" not in plan.report(study, gpu=GPUS["A100-80GB"])


def test_views_have_the_tokens_of_all_and_no_picture_of_their_own() -> None:
    # 1280 x 1024 at low is 224 x 196: 56 tokens; each quarter too.
    found = rows_of("Qwen/Qwen2-VL-2B-Instruct", CELLS_1280, ["low", "crops-4", "plain-crops-4"])
    assert found["visual_tokens"].tolist() == [56, 280, 270]
    assert found["tiles"].tolist() == ["", "5 views", ""]
    treatment = offline.treatment_of("Qwen/Qwen2-VL-2B-Instruct", PAPER)
    asked = ["low", "crops-4", "plain-crops-4", "zoom", "plain-zoom", "scale-2", "native"]
    assert "scale-2" in seen.pictured(asked, treatment)
    assert not {"crops-4", "plain-crops-4", "zoom", "plain-zoom"} & set(
        seen.pictured(asked, treatment)
    )


def test_operations_of_views_are_those_of_each_image_in_the_tower(project: Path) -> None:
    names = ["low", "native", "crops-4", "zoom"]
    study = study_of(project, ["tiny-qwen2-vl"], names)
    found = seen.of_study(study, costs.describe(study)).set_index("resolution")
    low, crops, zoom = found.loc[["low", "crops-4", "zoom"], "flops_per_question"]
    # Five small images cost less than five questions about one, and more than one.
    assert low < zoom < crops < 5 * low
    assert crops < found.loc["native", "flops_per_question"]
