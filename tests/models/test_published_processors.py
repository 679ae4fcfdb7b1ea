"""What the image processors of published checkpoints say, and what the plan makes of it.

A wrong guess here would be the costliest mistake: a study at a resolution that its model never
sees. Values are those of the checkpoints' own files, not of transformers' classes, whose defaults
are often others (`DEFAULTS`).
"""

import pytest
import transformers
from transformers import PretrainedConfig

from medres import models, resolution
from medres.models import families, offline
from medres.models.families import gemma3, gemma4, internvl

PAPER = {"low_max_pixels": 50_176, "native_max_pixels": 12_845_056, "resampling_filter": "bicubic"}

# Family, what its constant is, its value, and the file that says so.
PUBLISHED = [
    (
        "qwen2_5_vl",
        "min_pixels",
        3_136,
        "preprocessor_config.json of Qwen2.5-VL-3B and 7B",
    ),
    ("qwen2_5_vl", "max_pixels", 12_845_056, "the same files"),
    ("qwen3_vl", "min_pixels", 65_536, "preprocessor_config.json of Qwen3-VL-2B-Instruct"),
    ("qwen3_vl", "max_pixels", 16_777_216, "the same file"),
    ("qwen3_5", "min_pixels", 65_536, "preprocessor_config.json of Qwen3.5-2B-Base, as printed"),
    ("qwen3_5", "max_pixels", 16_777_216, "the same file"),
    # Both count two frames of a still picture.
    ("glm4v", "min_pixels", 12_544 // 2, "preprocessor_config.json of GLM-4.1V-9B-Thinking"),
    ("glm4v", "max_pixels", 9_633_792 // 2, "the same file"),
    (
        "glm46v",
        "min_pixels",
        12_544 // 2,
        "that of GLM-OCR, of this class; 4.6V's was not seen",
    ),
    ("glm46v", "max_pixels", 9_633_792 // 2, "the same file"),
    ("mistral3", "longest_px", 1_540, "preprocessor_config.json of Mistral-Small-3.1-24B, in part"),
    ("llava", "longest_px", 1_024, "transformers' PixtralImageProcessor; the file was not seen"),
    ("smolvlm", "tiles_long", 1_536 // 384, "preprocessor_config.json of SmolVLM-Instruct (2.2B)"),
    ("smolvlm", "tiles_long", 2_048 // 512, "that of SmolVLM-256M and 500M"),
    ("idefics3", "tiles_long", 1_456 // 364, "transformers' conversion of Idefics3-8B-Llama3"),
]


@pytest.mark.parametrize(("family", "name", "value", "source"), PUBLISHED)
def test_constants_are_those_of_the_published_files(
    family: str, name: str, value: int, source: str
) -> None:
    assert getattr(families.of(family), name) == value, source


def test_constants_of_tiles_and_budgets_are_those_of_the_published_files() -> None:
    # preprocessor_config.json of InternVL3, printed when it was loaded.
    assert internvl.MAX_TILES == 12
    # The file of Gemma 3 leaves them empty, so that those of transformers' Gemma3Processor count.
    told = transformers.models.gemma3.processing_gemma3.Gemma3Processor.images_kwargs
    assert (gemma3.MIN_CROP_PX, gemma3.MAX_CROPS, gemma3.MIN_RATIO) == (256, 4, 1.2)
    assert told["pan_and_scan_min_crop_size"] == gemma3.MIN_CROP_PX
    assert told["pan_and_scan_max_num_crops"] == gemma3.MAX_CROPS
    assert told["pan_and_scan_min_ratio_to_activate"] == gemma3.MIN_RATIO
    # processor_config.json of Gemma 4 E2B and E4B: max_soft_tokens.
    assert (gemma4.OWN_BUDGET, gemma4.BUDGETS) == (280, (70, 140, 280, 560, 1120))


# Class of transformers, what its default is, and what the checkpoints' files say instead.
DEFAULTS = [
    ("SmolVLMImageProcessorPil", "size", {"longest_edge": 1_456}, {"longest_edge": 1_536}),
    ("Glm4vImageProcessorPil", "size", {"longest_edge": 11_760_000}, {"longest_edge": 9_633_792}),
    ("Gemma3ImageProcessorPil", "size", {"height": 224}, {"height": 896}),
    ("GotOcr2ImageProcessorPil", "size", {"height": 384}, {"height": 448}),
    ("PixtralImageProcessorPil", "size", {"longest_edge": 1_024}, {"longest_edge": 1_540}),
    ("Qwen2VLImageProcessorPil", "size", {"longest_edge": 1_003_520}, {"longest_edge": 12_845_056}),
]


@pytest.mark.parametrize(("processor", "name", "default", "published"), DEFAULTS)
def test_a_class_s_default_is_not_what_the_checkpoints_say(
    processor: str, name: str, default: dict[str, int], published: dict[str, int]
) -> None:
    """So that nobody plans by it; where this fails, transformers has caught up."""
    ((key, value),) = default.items()
    found = getattr(getattr(transformers, processor)(), name)
    assert found[key] == value != published[key]


SIZES_PX = ((252, 196), (448, 448), (1280, 1024), (2048, 2048))
# Visual tokens of images of these sizes. On a grid sides are rounded down here, where the published
# processors round to the nearest: 1,620 are 1,702 there, and 72 are 80.
TOKENS = {
    "Qwen/Qwen2-VL-2B-Instruct": (63, 256, 1_620, 5_329),
    "Qwen/Qwen2.5-VL-7B-Instruct": (63, 256, 1_620, 5_329),
    "Qwen/Qwen3-VL-4B-Instruct": (72, 196, 1_280, 4_096),
    "OpenGVLab/InternVL3_5-2B-HF": (3_328, 256, 3_328, 2_560),
    "google/medgemma-4b-it": (256, 256, 256, 256),
    "google/gemma-4-E4B-it": (252, 256, 252, 256),
    "HuggingFaceTB/SmolVLM2-2.2B-Instruct": (1_377, 1_377, 1_377, 1_377),
}


def _config(hub_id: str) -> PretrainedConfig:
    if hub_id not in offline.hub_ids():
        pytest.fail(f"{hub_id} is not among {', '.join(offline.hub_ids())}")
    return offline.config_of(hub_id)


@pytest.mark.parametrize("hub_id", TOKENS)
def test_visual_tokens_of_published_models_are_those_of_their_processors(hub_id: str) -> None:
    config = _config(hub_id)
    side = models.family_of(config).multiple_px(config)
    found = []
    for width, height in SIZES_PX:
        on_grid = (width // side * side, height // side * side)
        found.append(models.geometry(config, on_grid).visual_tokens)
    assert tuple(found) == TOKENS[hub_id]


@pytest.mark.parametrize(
    ("size_px", "patches"), [((6000, 4000), 128 * 192), ((4000, 3000), 134 * 180)]
)
def test_large_images_are_shrunk_to_glm_s_limit_as_was_measured(
    size_px: tuple[int, int], patches: int
) -> None:
    """Grids that a published program for GLM-OCR lists; sizes that lie on no grid differ by one."""
    config = _config("zai-org/GLM-4.1V-9B-Thinking")
    treatment = models.treatment(config, **PAPER | {"native_max_pixels": 24_000_000})
    geometry = resolution.plan(size_px, "native", treatment)
    assert geometry.layout is not None
    assert abs(4 * geometry.visual_tokens / patches - 1) < 0.02


def test_the_paper_s_low_image_is_enlarged_or_saves_nothing_where_it_is_said_to() -> None:
    said = {}
    for hub_id in TOKENS:
        config = _config(hub_id)
        treatment = models.treatment(config, **PAPER)
        low, native = (resolution.plan((1280, 1024), name, treatment) for name in ("low", "native"))
        said[hub_id.split("/")[1]] = (
            low.is_enlarged_by_model,
            low.visual_tokens >= 0.9 * native.visual_tokens,
        )
    assert said == {
        "Qwen2-VL-2B-Instruct": (False, False),
        "Qwen2.5-VL-7B-Instruct": (False, False),
        "Qwen3-VL-4B-Instruct": (True, False),
        "InternVL3_5-2B-HF": (True, True),
        "medgemma-4b-it": (True, True),
        "gemma-4-E4B-it": (True, True),
        "SmolVLM2-2.2B-Instruct": (True, True),
    }
