"""How operations grow with pixels, by hand from counts of patches and tokens."""

import math
from types import SimpleNamespace

import pandas as pd
import pytest

from medres.models import flops, offline
from medres.report import counted, pixel_growth
from medres.resolution import Treatment
from medres.study import Study
from tests.ladders import answers

PHANTOM = {"n_train_images": 12, "n_test_images": 8, "data_seed": 0}
QWEN = offline.sizes_of(offline.config_of(pixel_growth.PAPER_MODEL)).shape


def of_paper() -> pd.DataFrame:
    rows = pd.DataFrame(pixel_growth._of_paper())
    return rows.set_index(rows["dataset"].str.partition(" (")[0])


def test_the_papers_largest_square_by_hand() -> None:
    """2048 x 2048 is 73 x 73 tokens at native, 8 x 8 at low; four patches of the tower each."""
    row = of_paper().loc["subcellular"]
    assert (row["low_tokens"], row["native_tokens"]) == (64, 73**2)
    assert row["times_pixels"] == pytest.approx((73 / 8) ** 2)

    def attention(tokens: int) -> int:
        """Two products of 4 operations for each pair and width: 32 layers, then 28."""
        tower = 32 * 4 * 1280 * (4 * tokens) ** 2
        pairs = (tokens + 64) ** 2 - 64**2
        return tower + 28 * 4 * 1536 * pairs

    def whole(tokens: int) -> int:
        image = flops.forward_flops(QWEN, visual_tokens=tokens, text_tokens=64, logit_tokens=1)
        text = flops.forward_flops(QWEN, visual_tokens=0, n_crops=0, text_tokens=64, logit_tokens=1)
        return image - text

    assert row["attention_native"] == pytest.approx(attention(73**2) / whole(73**2))
    assert row["attention_low"] == pytest.approx(attention(64) / whole(64))
    assert row["times_operations"] == pytest.approx(whole(73**2) / whole(64))
    assert row["exponent"] == pytest.approx(
        math.log(whole(73**2) / whole(64)) / math.log((73 / 8) ** 2)
    )


def test_larger_images_grow_faster_and_all_faster_than_pixels() -> None:
    found = of_paper().sort_values("times_pixels")
    assert (found["exponent"] > 1).all()
    assert found["exponent"].is_monotonic_increasing
    assert found["attention_native"].is_monotonic_increasing
    assert found["times_operations"].gt(found["times_pixels"]).all()
    # Text costs the same at both, so that a whole question grows less.
    assert found["times_question"].lt(found["times_operations"]).all()


def test_without_attention_operations_would_be_proportional() -> None:
    shape = flops.ModelShape(
        **{
            **vars(QWEN),
            "vision": tuple(
                type(each)(**{**vars(each), "attention_width": 0}) for each in QWEN.vision
            ),
            "text": tuple(type(each)(**{**vars(each), "attention_width": 0}) for each in QWEN.text),
        }
    )
    treatment = offline.treatment_of(pixel_growth.PAPER_MODEL, pixel_growth.PAPER_TREATMENT)
    found = pixel_growth._growth(shape, treatment, {(2048, 2048): 1}, 64)
    assert found["exponent"] == pytest.approx(1)
    assert found["attention_native"] == 0


def test_images_below_the_low_budget_have_no_exponent() -> None:
    treatment = offline.treatment_of(pixel_growth.PAPER_MODEL, pixel_growth.PAPER_TREATMENT)
    found = pixel_growth._growth(QWEN, treatment, {(200, 200): 3}, 64)
    assert found["times_pixels"] == 1
    assert math.isnan(found["exponent"])
    table = pd.DataFrame([{"family": "this study", "dataset": "small", **found}])
    assert pixel_growth.sentence(table) == ""


def test_images_are_weighed_by_their_number() -> None:
    treatment = offline.treatment_of(pixel_growth.PAPER_MODEL, pixel_growth.PAPER_TREATMENT)
    assert isinstance(treatment, Treatment)
    found = pixel_growth._growth(QWEN, treatment, {(2048, 2048): 1, (1024, 1024): 3}, 64)
    assert found["native_tokens"] == pytest.approx((73**2 + 3 * 36**2) / 4)


def test_a_study_has_a_row_per_data_set_and_model(monkeypatch: pytest.MonkeyPatch) -> None:
    label = "phantom-radiology (drawn)"
    monkeypatch.setattr(counted.datasets, "load", lambda study, name: SimpleNamespace(label=label))
    served = "served:http://127.0.0.1:8000/v1#big@pixels"
    study = Study(
        "costs", "Costs", ["tiny-qwen2-vl", served], ["none"], [0],
        {"phantom-radiology": PHANTOM}, {}, [],
    )  # fmt: skip
    asked = answers({"low": [1] * 5, "native": [1] * 5}).assign(
        dataset=label, image="a.png", width_px=280, height_px=280
    )
    found = pixel_growth.table(study, asked)
    own = found[found["family"] == pixel_growth.OF_STUDY]
    # A server of which only pixels are known has no operations.
    assert own[["dataset", "model"]].values.tolist() == [[label, "tiny-qwen2-vl"]]
    assert own["native_tokens"].tolist() == [100]
    assert list(found) == pixel_growth.COLUMNS


ROW = {
    "family": "this study", "dataset": "cells", "times_operations": 12.0, "times_pixels": 10.0,
    "exponent": 1.08, "attention_native": 0.25,
}  # fmt: skip


@pytest.mark.parametrize(
    ("exponent", "words"),
    [
        (1.08, "**faster than its pixels**"),
        (1.004, "**in proportion to its pixels**"),
        (0.9, "**more slowly than its pixels**"),
    ],
)
def test_the_words_follow_the_exponent(exponent: float, words: str) -> None:
    said = pixel_growth.sentence(pd.DataFrame([ROW | {"exponent": exponent}]))
    assert words in said
    assert "cells 12.0 times the operations for 10.0 times the pixels" in said
    assert "attention 25 % at native" in said


def test_many_rows_are_said_as_a_range() -> None:
    rows = [ROW | {"dataset": f"set-{k}", "exponent": 1 + k / 10} for k in range(1, 5)]
    said = pixel_growth.sentence(pd.DataFrame(rows))
    assert "exponent 1.10 to 1.40" in said
    assert "set-1" not in said
