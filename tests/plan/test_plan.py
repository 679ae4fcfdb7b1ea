import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from medres import datasets
from medres import study as studies
from medres.datasets import phantoms
from medres.plan import contents, costs
from medres.plan import table as plan
from medres.plan.__main__ import main
from medres.plan.costs import Arm
from medres.plan.memory import GPUS, Setting
from medres.study import Study

A100 = GPUS["A100-80GB"]
CURRENT = (
    "current-gemma-4-e4b",
    "current-internvl3.5-2b",
    "current-medgemma-4b",
    "current-qwen3-vl-4b",
)
TINY = "tiny-qwen2-vl"
PAPER = ("paper-internvl2.5-2b", "paper-llava-onevision", "paper-qwen2-vl-2b", "paper-qwen2-vl-7b")
ANSWER_TOKENS = 3
HAND_TOLERANCE = 0.02
"""Arithmetic by weights and tokens, without the embedding of patches."""


def arms_of(study: Study, **changes: Any) -> list[Arm]:
    return costs.arms(study, costs.describe(study), gpu=A100, changes=changes)


def arm_of(planned: list[Arm], dataset: str, train_resolution: str) -> Arm:
    (arm,) = (
        each
        for each in planned
        if (each.cell.dataset, each.cell.train_resolution) == (dataset, train_resolution)
    )
    return arm


def write_study(project: Path, **changes: Any) -> Study:
    """Write and read a study of drawn images that trains in seconds."""
    folder = project / "params" / "small"
    folder.mkdir(exist_ok=True)
    content = {
        "title": "A small study",
        "models": [TINY],
        "train_resolutions": ["none", "low", "native", "mixed"],
        "seeds": [0],
        "datasets": {"phantom-radiology": {"n_train_images": 24, "n_test_images": 4}},
        "finetune": {},
        "reports": ["04_native_vs_low"],
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(content | changes))
    (folder / "02_finetune.yaml").write_text("study: small\nepochs: 2\n")
    (folder / "03_evaluate.yaml").write_text("study: small\n")
    return studies.load("small")


# Of Qwen2-VL 2B by its architecture: a tower of 32 layers, 1,280 wide, on patches of 14 px; a
# merger of four patches; a language model of 28 layers, 1,536 wide; a vocabulary of 151,936.
TOWER_WEIGHTS = 32 * (4 * 1280**2 + 2 * 1280 * 5120)
MERGER_WEIGHTS = 5120 * 5120 + 5120 * 1536
TEXT_WEIGHTS = 28 * (2 * 1536**2 + 2 * 1536 * 256 + 3 * 1536 * 8960) + 151_936 * 1536
# Images, epochs, visual tokens at native and low.
CELLS = {
    "subcellular": (15_744, 1, 5_329, 64),
    "compound": (10_000, 10, 1_620, 56),
    "cervical": (770, 9, 3_942, 54),
}


@pytest.mark.parametrize("dataset", CELLS)
def test_the_paper_s_2b_study_costs_what_arithmetic_by_weights_gives(
    dataset: str, project: Path
) -> None:
    n_images, epochs, native, low = CELLS[dataset]
    planned = arms_of(studies.load("paper-qwen2-vl-2b"))
    for train_resolution, visual_tokens in (("native", native), ("low", low)):
        patches, tokens = 4 * visual_tokens, visual_tokens + 64
        # The head works where an answer is predicted alone: a few of 64 tokens.
        of_layers = TEXT_WEIGHTS - 1536 * 151_936
        by_weights = 6 * (
            TOWER_WEIGHTS * patches + MERGER_WEIGHTS * visual_tokens + of_layers * tokens
        )
        by_weights += 6 * 1536 * 151_936 * ANSWER_TOKENS
        attention = 3 * 4 * (32 * 1280 * patches**2 + 28 * 1536 * tokens**2)
        by_hand = epochs * n_images * (by_weights + attention)
        arm = arm_of(planned, dataset, train_resolution)
        assert arm.train_flops == pytest.approx(by_hand, rel=HAND_TOLERANCE)
        assert arm.max_tokens == visual_tokens
        hours = by_hand / (0.4 * 312e12) / 3600
        # Checkpointing repeats the layers up to their last product, and attention with zero-3.
        repeated = 2 * (
            (TOWER_WEIGHTS - 32 * 1280 * 5120) * patches + (of_layers - 28 * 1536 * 8960) * tokens
        )
        kept = repeated / (by_weights + attention)
        whole = (repeated + attention / 3) / (by_weights + attention)
        for setting, again in (
            (Setting(), 0.0),
            (Setting(gradient_checkpointing=True), kept),
            (Setting("zero-3", gradient_checkpointing=True), whole),
        ):
            planned_s, _ = dataclasses.replace(arm, setting=setting).seconds(A100, 0.4)
            assert planned_s / 3600 == pytest.approx((1 + again) * hours, rel=HAND_TOLERANCE)


def test_mixed_costs_half_of_low_and_half_of_native(project: Path) -> None:
    planned = arms_of(studies.load("paper-qwen2-vl-2b"))
    low, native, mixed = (arm_of(planned, "wsi", name) for name in ("low", "native", "mixed"))
    assert mixed.train_flops == pytest.approx((low.train_flops + native.train_flops) / 2, rel=1e-9)
    assert mixed.base == native.base


def test_seeds_and_epochs_multiply_a_training(project: Path) -> None:
    once = arms_of(write_study(project))
    thrice = arms_of(write_study(project, seeds=[0, 1, 2]))
    longer = arms_of(write_study(project, finetune={"phantom-radiology": {"epochs": 4}}))
    for planned, factor in ((thrice, 3), (longer, 2)):
        for before, after in zip(once, planned, strict=True):
            assert after.train_flops == pytest.approx(factor * before.train_flops, rel=1e-6)
    assert arm_of(thrice, "phantom-radiology", "none") == arm_of(once, "phantom-radiology", "none")


def test_questions_that_bring_their_image_cost_more_only_where_an_image_has_several(
    project: Path,
) -> None:
    planned = arms_of(studies.load("paper-qwen2-vl-2b"))
    one, several = (arm_of(planned, name, "native") for name in ("compound", "wsi"))
    assert one.unshared_flops == one.train_flops
    assert several.unshared_flops > 7 * several.train_flops


@pytest.mark.parametrize(("gpu", "gpus"), [("A100-40GB", 1), ("A100-80GB", 8)])
def test_what_is_said_to_fit_fits(gpu: str, gpus: int, project: Path) -> None:
    study = studies.load("paper-qwen2-vl-2b")
    holds, card = costs.describe(study), GPUS[gpu]
    n_changed = 0
    for arm in costs.arms(study, holds, gpu=card, changes={"processes": gpus}):
        if arm.split is None or arm.setting is None:
            continue
        n_changed += arm.setting != arm.requested_setting
        one = dataclasses.replace(
            study,
            datasets={arm.cell.dataset: study.datasets[arm.cell.dataset]},
            finetune={arm.cell.dataset: study.finetune[arm.cell.dataset]},
            train_resolutions=[arm.cell.train_resolution],
        )
        changes = dataclasses.asdict(arm.setting) | {
            "micro_batch_images": arm.split.micro_batch,
            "processes": arm.split.processes,
        }
        again = costs.arms(one, holds, gpu=card, changes=changes)
        assert not plan.misfits(again, gpu=card)
        assert again[0].requested is not None
        assert again[0].requested.peak <= card.memory_bytes
    assert n_changed or gpus > 1


def test_an_arm_that_does_not_fit_is_named_with_bytes_and_remedy(project: Path) -> None:
    study = studies.load("paper-qwen2-vl-2b")
    assert not plan.misfits(arms_of(study), gpu=A100)
    lines = plan.misfits(arms_of(study, gradient_checkpointing=False), gpu=A100)
    (wsi,) = (line for line in lines if line.startswith("wsi native"))
    assert "wsi native does not fit: zero-2 in bfloat16 needs 193" in wsi
    assert "A100-80GB has 80.0 GB; fits with `gradient_checkpointing: true`, `micro_batch" in wsi


def test_drawings_that_are_sampled_are_those_that_would_be_drawn(project: Path) -> None:
    declared = {"n_train_images": 64, "n_test_images": 6, "data_seed": 3}
    for name in ("phantom-radiology", "twin-vqa-rad"):
        sampled = contents.describe("small", name, declared)
        assert "not drawn yet" in sampled.origin
        datasets.prepare("small", name, declared)
        prepared = contents.describe("small", name, declared)
        assert prepared.origin == "as prepared"
        assert sampled.train == prepared.train
        assert sum(each.n_images for each in sampled.test.images) == pytest.approx(6)


def test_a_sample_of_more_images_stands_for_all(project: Path) -> None:
    few, many = (
        contents.describe("small", "twin-slake", {"n_train_images": n, "n_test_images": 8})
        for n in (contents.SAMPLED_IMAGES, 10 * contents.SAMPLED_IMAGES)
    )
    assert [each.size_px for each in few.train.images] == [
        each.size_px for each in many.train.images
    ]
    assert sum(each.n_images for each in many.train.images) == pytest.approx(640)


@pytest.mark.parametrize("name", phantoms.PHANTOMS)
def test_every_drawn_data_set_can_be_planned(
    name: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "SAMPLED_IMAGES", 8)
    holds = contents.describe("small", name, {"n_train_images": 80, "n_test_images": 16})
    assert sum(each.n_images for each in holds.train.images) == pytest.approx(80)
    assert 10 < holds.train.question_characters < 80
    assert holds.train.n_replies == 1 <= holds.test.n_replies


@pytest.mark.parametrize("name", [*PAPER, *CURRENT, "demo", "smoke"])
def test_the_plan_of_a_study_is_narrow_and_rounds_nothing_to_nought(
    name: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name]) == 0
    said = capsys.readouterr().out
    _, _, rest = said.partition("data set trained ")
    rows = ("data set trained " + rest.partition("\n\n")[0]).splitlines()
    assert len(rows) == 1 + 4 * len(studies.load(name).datasets)
    assert max(len(line) for line in rows) <= 160
    assert not any(cell in ("0.0", "0.00", "0") for line in rows for cell in line.split())
    assert "The whole study: " in said


def test_the_whole_study_is_the_sum_of_its_rows(project: Path) -> None:
    planned = arms_of(studies.load("paper-qwen2-vl-2b"), processes=8)
    total_s = sum(sum(arm.seconds(A100, 0.4)) for arm in planned)
    apart_s = sum(
        train_s / 8 + eval_s if arm.train_flops else eval_s
        for arm in planned
        for train_s, eval_s in [arm.seconds(A100, 0.4)]
    )
    text = plan.report(studies.load("paper-qwen2-vl-2b"), gpu=A100, changes={"processes": 8})
    assert f"The whole study: {total_s / 3600:.1f} h of GPU time" in text
    assert f"evaluation), {apart_s / 3600:.1f} h if runs follow one another" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo", "--gpu", "A1000"], "unknown GPU 'A1000'; known are A100-40GB, A100-80GB"),
        (["demo", "--gpus", "0"], "--gpus is 0; it must be at least 1"),
        (["demo", "--utilisation", "40"], "--utilisation is 40.0; it must be between 0 and 1"),
        (
            ["paper-qwen2-vl-2b", "--strategy", "single", "--gpus", "8"],
            "strategy is single, with 8 processes; to share a training",
        ),
        (
            ["paper-qwen2-vl-2b", "--strategy", "zero-4"],
            "strategy is 'zero-4'; use single, zero-2, zero-3",
        ),
        (["nowhere"], "study.yaml: no such study; known studies are"),
        (["own"], "data set 'own' is not prepared, so its size is unknown; prepare it"),
    ],
)
def test_a_wrong_argument_is_one_line(
    arguments: list[str], message: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("medres: ")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"models": ["org/model"]},
            "config of model 'org/model' is not available offline; the package has",
        ),
        ({"datasets": {"moon": {"folder": "data/moon"}}}, "data set 'moon' is not prepared"),
        ({"datasets": {"ubench": {"folder": "data/u"}}}, "data set 'ubench' is not prepared"),
    ],
)
def test_what_is_not_known_is_one_line(
    changes: dict[str, Any], message: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_study(project, **changes)
    assert main(["small"]) == 1
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_a_table_has_one_row_an_arm_and_leaves_out_what_an_untrained_one_has_not(
    project: Path,
) -> None:
    planned = arms_of(write_study(project))
    shown = plan.table(planned, gpu=A100, utilisation=0.4)
    assert isinstance(shown, pd.DataFrame)
    assert shown["trained"].tolist() == ["native", "mixed", "low", "none"]
    untrained = shown.iloc[-1]
    assert (untrained[["epochs", "train FLOP", "peak", "fits", "train"]] == "").all()
    assert (shown[["eval", "total"]] != "").all(axis=None)


def test_the_plan_of_the_paper_s_adapters_has_the_stated_hours_beside_the_predicted(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["paper-qwen2-vl-2b-lora"]) == 0
    (line,) = [each for each in capsys.readouterr().out.splitlines() if "the paper states" in each]
    assert line.startswith(
        "vqa-rad native: the paper states 8 h with all weights (section 3.2) and 4.8 h with "
        "adapters (section 3.2); predicted here with zero-2 in bfloat16 + LoRA of rank 8, all "
        "seeds: "
    )


def test_a_frozen_tower_is_planned_cheaper_than_a_trained_one(project: Path) -> None:
    holds = costs.describe(studies.load("paper-qwen2-vl-2b"))
    found = [
        arm_of(
            costs.arms(
                studies.load("paper-qwen2-vl-2b"),
                holds,
                gpu=A100,
                changes={"train_vision": train_vision},
            ),
            "subcellular",
            "native",
        )
        for train_vision in ("all", "merger", "none")
    ]
    # Of three forward passes the tower's backward two are left out; two thirds of this arm's
    # operations are attention of the tower.
    operations = [arm.train_flops for arm in found]
    assert operations[0] > 1.5 * operations[1] > 1.5 * operations[2]
    bases = [arm.base for arm in found if arm.base]
    assert len(bases) == 3
    assert bases[0].activations > 2 * bases[1].activations
    assert bases[0].optimiser > bases[1].optimiser > bases[2].optimiser
    repeated = [sum(arm.repeated_flops) for arm in found]
    assert repeated[0] > repeated[1] == repeated[2]
    assert found[1].requested_setting == Setting(gradient_checkpointing=True, train_vision="merger")


def test_the_paper_s_studies_name_what_the_paper_does_not_state(project: Path) -> None:
    frozen = ("paper-qwen2-vl-2b-frozen", "paper-qwen2-vl-2b-lora")
    for name in (*PAPER, *frozen):
        given = studies.read_params(studies.params_path(name, "02_finetune"))
        assert (given["warmup_share"], given["adam_beta2"]) == (0.05, 0.95)
        assert given["train_vision"] == ("none" if name in frozen else "all")
        study = studies.load(name)
        assert all("epochs" in study.finetune[dataset] for dataset in study.datasets)
