"""InternVL: an image becomes a grid of square tiles, chosen by its shape, and a thumbnail.

The paper evaluates InternVL2.5 2B. OpenGVLab/InternVL2_5-2B itself needs remote code, which is
never run here; OpenGVLab/InternVL2_5-2B-MPO-hf has the same architecture for transformers, with
further preference training: not the paper's checkpoint. Related models in the same format are
OpenGVLab/InternVL3-1B-hf and OpenGVLab/InternVL3-2B-hf.

The processor resizes an image to a canvas of at most 12 tiles of 448 px with the nearest aspect
ratio: it enlarges small images and distorts others. A low image of 258 x 193 px becomes 4 x 3
tiles and a thumbnail, as costly as a large one. Hence two kinds of arm:

* `information`: as in the model's training, tiles by shape alone; low removes detail, not cost.
* `compute`: at most the tiles that the pixels of the image fill, at least one; low also costs
  less.

The resolution `tiles-<n>` allows at most n tiles instead, for native pixels.
"""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from transformers import GotOcr2ImageProcessorPil, InternVLConfig, PretrainedConfig
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import get_optimal_tiled_canvas

from medres.models import family, tiny_sizes
from medres.models.family import Family, budget_number, square_patches
from medres.models.flops import Patches
from medres.models.loaded import LoadedModel
from medres.models.reasoning import ANSWER, THINK
from medres.models.tiny_sizes import TILE_PX
from medres.resolution import Layout

MAX_TILES = 12
"""In training and evaluation of all InternVL2.5 and 3; the thumbnail comes on top."""
# As in the real checkpoints: an image stands on a line of its own.
TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% if message.content is string %}{{ message.content }}{% else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' %}<IMG_CONTEXT>
{% else %}{{ part.text }}{% endif -%}
{%- endfor -%}
{%- endif %}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif -%}
"""


class InternVL(Family):
    """InternVL 2.5, 3 and 3.5, with the language model of Llama, Qwen2 or Qwen3."""

    network = "InternVLForConditionalGeneration"
    processor = "GotOcr2ImageProcessorPil"
    image_token = "<IMG_CONTEXT>"
    reasoning = THINK
    answer_marks = (ANSWER,)
    sharing = "tree"
    tiles = True
    cuts = True
    budgets = ("tiles",)
    tiny_tokens = (
        "</s>",
        "<s>",
        "<|im_start|>",
        "<|im_end|>",
        "<img>",
        "</img>",
        "<IMG_CONTEXT>",
        "<video>",
    )
    tiny_template = TEMPLATE
    tiny_end_of_text = "</s>"
    tiny_begins_with = "<s>"

    def check(self, config: PretrainedConfig, processor: Any, name: str) -> None:
        """Refuse tiles of another side than the config's."""
        size = processor.size
        if (size["height"], size["width"]) != tuple(config.vision_config.image_size):
            raise ValueError(
                f"{name}: the image processor makes tiles of {size}, the config says "
                f"{config.vision_config.image_size} px; they belong to different models"
            )

        family.require(name, "max_patches", processor.max_patches, MAX_TILES, "tiles-<n>")

    def image_in_prompt(self, layout: Layout) -> str:
        """Return the image between its marks."""
        return f"<img>{self.image_token}</img>"

    def layout(
        self,
        config: PretrainedConfig,
        given_px: tuple[int, int],
        *,
        tiling: str = "information",
        budget: str = "",
    ) -> Layout:
        """Return the tiles and visual tokens of an image."""
        height_px, width_px = config.vision_config.image_size
        columns, rows = get_optimal_tiled_canvas(
            given_px[::-1], (height_px, width_px), 1, _max_tiles(config, given_px, tiling, budget)
        )
        n_tiles = columns * rows
        n_crops = n_tiles + 1 if n_tiles > 1 else 1
        return Layout(
            visual_tokens=n_crops * int(square_patches(config) * config.downsample_ratio**2),
            canvas_px=(columns * width_px, rows * height_px),
            columns=columns,
            rows=rows,
            n_crops=n_crops,
            resampling_filter="bicubic",
            budget=budget,
        )

    def told_to_processor(self, config: PretrainedConfig) -> dict[str, Any]:
        """Return that images are cut."""
        return {"crop_to_patches": True}

    def patches(self, config: PretrainedConfig) -> Patches:
        """Return that crops of one size are encoded, and their patches merged."""
        return Patches(
            per_token=round(config.downsample_ratio**-2),
            per_crop=square_patches(config),
            class_tokens=1,
        )

    def pixel_inputs(
        self, model: LoadedModel, images: Sequence[Image.Image], layouts: Sequence[Layout]
    ) -> dict[str, torch.Tensor]:
        """Return the tiles of images of any size, cut by the model's own processor.

        Returns:
            pixel_values of shape (n_crops of all images, 3, height, width).
        """
        crops = [
            model.image_processor(
                image,
                crop_to_patches=True,
                min_patches=1,
                max_patches=_max_tiles(model.config, image.size, model.tiling, layout.budget),
                resample=Image.Resampling.BICUBIC,
                return_tensors="pt",
            )["pixel_values"]
            for image, layout in zip(images, layouts, strict=True)
        ]
        return {"pixel_values": torch.cat(crops)}

    def tiny_config(self, text: dict[str, Any], ids: dict[str, int]) -> PretrainedConfig:
        """Return a config with Llama's language model, as that of InternVL2.5 2B."""
        return InternVLConfig(
            text_config={"model_type": "llama", **text},
            vision_config=tiny_sizes.VISION | {"attention_bias": True},
            image_token_id=ids["<IMG_CONTEXT>"],
            image_seq_length=(TILE_PX // 28) ** 2,
            tie_word_embeddings=True,
            initializer_range=tiny_sizes.INITIALIZER_RANGE,
        )

    def tiny_processor(self) -> GotOcr2ImageProcessorPil:
        """Return the processor that cuts tiles of the tiny size."""
        return GotOcr2ImageProcessorPil(**tiny_sizes.PIXELS)


FAMILY = InternVL()


def _max_tiles(
    config: PretrainedConfig, given_px: tuple[int, int], tiling: str, budget: str
) -> int:
    if budget:
        return budget_number(budget)
    if tiling == "information":
        return MAX_TILES
    height_px, width_px = config.vision_config.image_size
    n_filled: int = given_px[0] * given_px[1] // (width_px * height_px)
    return min(MAX_TILES, max(1, n_filled))
