"""Operations of a rung: those of every image, with the crops that its own size gives."""

from types import SimpleNamespace

import pandas as pd
import pytest

from medres import models, resolution
from medres.models import flops, shapes
from medres.report import counted, rung_costs


@pytest.mark.parametrize("model", ["tiny-qwen2-vl", "tiny-internvl", "tiny-smolvlm"])
def test_operations_are_those_of_each_image_with_its_crops(model, monkeypatch):
    meaning = {"low_max_pixels": 3136, "native_max_pixels": 10**6, "resampling_filter": "bicubic"}
    meaning |= {"tiling": "information", "low_share": 0.5}
    side = SimpleNamespace(texts=[], text_tokens=lambda n, per_token: 40)
    monkeypatch.setattr(counted.studies, "treatment", lambda study: meaning)
    monkeypatch.setattr(counted.contents, "describe", lambda *given: SimpleNamespace(test=side))
    monkeypatch.setattr(
        counted.datasets, "load", lambda study, name: SimpleNamespace(label="drawn, labelled")
    )
    study = SimpleNamespace(name="s", datasets={"drawn": {}}, models=[model])
    sizes = [(168, 56), (168, 56), (112, 112)]
    answers = pd.DataFrame(
        {
            "dataset": "drawn, labelled", "model": model, "train_resolution": "none",
            "eval_resolution": "native", "question_id": ["a", "b", "c"],
            "width_px": [width for width, _ in sizes], "height_px": [high for _, high in sizes],
        }
    )  # fmt: skip
    rungs = pd.DataFrame(
        {"dataset": ["drawn, labelled"] * 2, "model": model, "rung": ["native", "low"]}
    )
    found = rung_costs._operations(study, rungs, pd.concat([answers, answers]))
    config = models.config_alone(model)
    treatment = models.treatment(config, **{name: meaning[name] for name in models.TREATMENT})
    expected = []
    for size_px in sizes:
        layout = resolution.plan(size_px, "native", treatment).layout
        expected.append(
            flops.forward_flops(
                shapes.shape_of(config),
                visual_tokens=layout.visual_tokens,
                text_tokens=40 + layout.mark_tokens,
                n_crops=layout.n_crops,
            )
        )
    assert found[0] == pytest.approx(sum(expected) / 3)
    assert pd.isna(found[1])  # nobody was asked at low
