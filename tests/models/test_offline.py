import json
from pathlib import Path

import pytest

from medres import models, resolution
from medres.models import lora, offline, tiny

TWO_B, SEVEN_B = "Qwen/Qwen2-VL-2B-Instruct", "Qwen/Qwen2-VL-7B-Instruct"
INTERNVL, LLAVA = "OpenGVLab/InternVL2_5-2B-MPO-hf", "llava-hf/llava-onevision-qwen2-0.5b-ov-hf"
PAPER = {
    "low_max_pixels": 50_176,
    "native_max_pixels": 12_000_000,
    "resampling_filter": "bicubic",
    "tiling": "information",
    "low_share": 0.5,
}


def text_weights(width: int, mlp: int, key_value: int, layers: int, *, has_bias: bool) -> int:
    """Return the weights of a language model's layers and last norm, without embeddings."""
    attention = 2 * width * width + 2 * width * key_value
    attention += (width + 2 * key_value) if has_bias else 0
    return layers * (attention + 3 * width * mlp + 2 * width) + width


def qwen_vision_weights(text_width: int) -> int:
    width, mlp, layers, merged = 1280, 5120, 32, 4 * 1280
    layer = 4 * width * width + 4 * width + 2 * width * mlp + mlp + width + 2 * 2 * width
    merger = 2 * width + merged * merged + merged + merged * text_width + text_width
    return 3 * 2 * 14 * 14 * width + layers * layer + merger


def internvl_vision_weights(text_width: int) -> int:
    width, mlp, layers, merged = 1024, 4096, 24, 4 * 1024
    # Norms and, beside them, one scale for what attention adds and one for what the MLP adds.
    layer = 4 * width * width + 4 * width + 2 * width * mlp + mlp + width + 2 * 2 * width
    layer += 2 * width
    embedding = 3 * 14 * 14 * width + width + width + (32 * 32 + 1) * width
    projector = 2 * merged + merged * text_width + text_width + text_width**2 + text_width
    return embedding + layers * layer + projector


def llava_vision_weights(text_width: int) -> int:
    width, mlp, layers = 1152, 4304, 26
    layer = 4 * width * width + 4 * width + 2 * width * mlp + mlp + width + 2 * 2 * width
    embedding = 3 * 14 * 14 * width + width + 27 * 27 * width
    projector = width * text_width + text_width + text_width**2 + text_width
    # The norm after the last layer, and the token that ends a row.
    return embedding + layers * layer + 2 * width + projector + text_width


@pytest.mark.parametrize(
    ("model", "by_hand"),
    [
        (
            TWO_B,
            qwen_vision_weights(1536)
            + text_weights(1536, 8960, 256, 28, has_bias=True)
            + 151_936 * 1536,
        ),
        (
            SEVEN_B,
            qwen_vision_weights(3584)
            + text_weights(3584, 18_944, 512, 28, has_bias=True)
            + 2 * 152_064 * 3584,
        ),
        (
            INTERNVL,
            internvl_vision_weights(2048)
            + text_weights(2048, 8192, 1024, 24, has_bias=False)
            + 2 * 92_553 * 2048,
        ),
        (
            LLAVA,
            llava_vision_weights(896)
            + text_weights(896, 4864, 128, 24, has_bias=True)
            + 152_000 * 896,
        ),
    ],
)
def test_the_weights_of_a_kept_config_are_those_counted_by_hand(model: str, by_hand: int) -> None:
    assert offline.sizes_of(offline.config_of(model)).n_weights == by_hand


def test_the_weights_are_those_that_the_checkpoints_are_known_to_have() -> None:
    counts = {
        model: offline.sizes_of(offline.config_of(model)).n_weights for model in (TWO_B, SEVEN_B)
    }
    assert counts == {TWO_B: 2_208_985_600, SEVEN_B: 8_291_375_616}


# As public listings of the checkpoints state them; InternVL3.5 is listed with 2.348 billion alone.
@pytest.mark.parametrize(
    ("model", "published"),
    [
        ("Qwen/Qwen3-VL-4B-Instruct", 4_437_815_808),
        ("google/medgemma-4b-it", 4_300_079_472),
        ("google/medgemma-1.5-4b-it", 4_300_079_472),
        ("OpenGVLab/InternVL3_5-2B-HF", 2_348_347_392),
        ("google/gemma-4-E4B-it", 7_941_100_832),
        ("Qwen/Qwen2.5-VL-3B-Instruct", 3_754_622_976),
        ("lingshu-medical-mllm/Lingshu-7B", 8_292_166_656),
        ("HuggingFaceTB/SmolVLM2-2.2B-Instruct", 2_246_784_880),
        ("zai-org/GLM-4.1V-9B-Thinking", 10_292_777_472),
    ],
)
def test_the_weights_of_a_model_of_today_are_the_published_number(
    model: str, published: int
) -> None:
    assert offline.sizes_of(offline.config_of(model)).n_weights == published


def test_an_adapter_on_every_linear_layer_is_counted_by_hand() -> None:
    width, mlp, key_value = 1536, 8960, 256
    layer = 2 * (2 * width) + 2 * (width + key_value) + 3 * (width + mlp)
    assert offline.sizes_of(offline.config_of(TWO_B)).text_linear_sides == 28 * layer


@pytest.mark.parametrize("name", tiny.NAMES)
def test_adapters_have_the_weights_that_a_training_with_them_trains(
    name: str, project: object
) -> None:
    sides = offline.sizes_of(offline.config_of(name)).text_linear_sides
    adapted = lora.adapt(models.load(name), rank=4, seed=0).network
    trained = sum(weight.numel() for weight in adapted.parameters() if weight.requires_grad)
    assert trained == 4 * sides


@pytest.mark.parametrize("name", tiny.NAMES)
def test_a_tiny_model_has_the_sizes_of_its_loaded_network(name: str, project: object) -> None:
    loaded = models.load(name)
    sizes = offline.sizes_of(offline.config_of(name))
    assert sizes.shape == loaded.shape
    assert sizes.n_weights == sum(weight.numel() for weight in loaded.network.parameters())


# Low and native tokens of the paper's image sizes.
@pytest.mark.parametrize(
    ("model", "size_px", "low", "native"),
    [
        (TWO_B, (2048, 2048), 64, 5_329),
        (SEVEN_B, (4000, 3000), 54, 15_194),
        (INTERNVL, (2048, 2048), 256, 2_560),
        (INTERNVL, (1280, 1024), 3_328, 3_328),
        (LLAVA, (2048, 2048), 1_485, 7_371),
        (LLAVA, (750, 400), 1_149, 2_269),
    ],
)
def test_a_kept_config_gives_the_visual_tokens_of_the_model(
    model: str, size_px: tuple[int, int], low: int, native: int
) -> None:
    treatment = offline.treatment_of(model, PAPER)
    tokens = [resolution.plan(size_px, name, treatment).visual_tokens for name in ("low", "native")]
    assert tokens == [low, native]


def test_compute_gives_a_low_image_one_tile() -> None:
    treatment = offline.treatment_of(INTERNVL, PAPER | {"tiling": "compute"})
    assert resolution.plan((1280, 1024), "low", treatment).visual_tokens == 256


def test_each_kept_file_says_where_it_is_from_and_names_no_id_twice() -> None:
    files = [json.loads(path.read_text()) for path in offline.CONFIGS.glob("*.json")]
    ids = [hub_id for content in files for hub_id in content["hub_ids"]]
    assert len(ids) == len(set(ids)) == len(offline.hub_ids())
    assert all(content["source"] for content in files)
    assert {offline.config_of(hub_id).model_type for hub_id in ids} <= set(models.FAMILIES)


def test_a_config_that_is_not_at_hand_is_said_with_those_that_are() -> None:
    with pytest.raises(
        ValueError,
        match=r"config of model 'org/model' is not available offline; the package has .*2B",
    ):
        offline.config_of("org/model")
    assert not offline.is_at_hand("org/model")
    assert offline.is_at_hand(SEVEN_B)


def test_a_folder_with_the_config_alone_can_be_planned_with(project: Path) -> None:
    folder = tiny.make(project / "runs" / "whole")
    (project / "alone").mkdir()
    (project / "alone" / "config.json").write_text((folder / "config.json").read_text())
    sizes = [offline.sizes_of(offline.config_of(each)) for each in ("alone", "runs/whole")]
    assert sizes[0] == sizes[1]
    texts = ["Is there a nodule?"]
    assert offline.characters_per_token("alone", texts) == offline.CHARACTERS_PER_TOKEN
    assert offline.characters_per_token("runs/whole", texts) != offline.CHARACTERS_PER_TOKEN
    with pytest.raises(FileNotFoundError, match="alone holds no weights"):
        models.config_of("alone")
