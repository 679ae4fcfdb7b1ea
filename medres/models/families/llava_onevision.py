"""LLaVA-OneVision: an image is fitted into a canvas of square tiles, beside a view of the whole.

The paper's "LLaVA-OneVision 2B" does not exist on the hub: the smallest language model of the
family is Qwen2 0.5B, so llava-hf/llava-onevision-qwen2-0.5b-ov-hf is the one meant. The others
are -7b- and -72b-. LLaVA-OneVision-1.5 and -2 have other architectures and are not substitutes.

The processor chooses the canvas (a "pinpoint", at most 6 x 6 tiles of 384 px) that keeps most of
the image's pixels with the least waste, enlarges the image to fill it, pads it, and adds a base
view of one tile. Features of more than 9 tiles are shrunk, so that the cost lies in the vision
tower: 2048 x 2048 px are 37 crops and 7,371 tokens. Two kinds of arm:

* `information`: as in the model's training, every canvas is allowed.
* `compute`: only canvases of at most the tiles that the pixels of the image fill, at least one.

The resolution `tiles-<n>` allows canvases of at most n tiles instead, for native pixels.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionImageProcessorPil,
    PretrainedConfig,
)
from transformers.image_processing_utils import select_best_resolution

from medres.models import tiny_sizes
from medres.models.family import Family, budget_number, square_patches
from medres.models.flops import Patches
from medres.models.loaded import LoadedModel
from medres.models.tiny_sizes import TILE_PX
from medres.resolution import Layout

SHRUNK_ABOVE = 1.1
"""Features are shrunk if their sides exceed the limit by more than this factor."""
# As in the real checkpoints: images before text, a space after the role, no string contents.
TEMPLATE = (
    "{%- for message in messages %}{{ '<|im_start|>' + message.role + ' ' }}"
    "{%- for part in message.content if part.type == 'image' %}{{ '<image>' }}{% endfor %}"
    "{%- for part in message.content if part.type == 'text' %}{{ '\\n' + part.text }}{% endfor %}"
    "{{- '<|im_end|>' }}{% endfor %}"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
TINY_PINPOINTS = [
    [rows * TILE_PX, columns * TILE_PX] for rows in range(1, 7) for columns in range(1, 7)
]


class LlavaOnevision(Family):
    """LLaVA-OneVision with SigLIP and Qwen2."""

    network = "LlavaOnevisionForConditionalGeneration"
    processor = "LlavaOnevisionImageProcessorPil"
    image_token = "<image>"
    sharing = "tree"
    tiles = True
    cuts = True
    budgets = ("tiles",)
    tiny_tokens = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>")
    tiny_template = TEMPLATE

    def check(self, config: PretrainedConfig, processor: Any, name: str) -> None:
        """Refuse tiles or canvases other than the config's."""
        side = config.vision_config.image_size
        made = (processor.size["height"], processor.size["width"], _pinpoints(processor))
        if made != (side, side, _pinpoints(config)):
            raise ValueError(
                f"{name}: the image processor's size or image_grid_pinpoints are not the "
                "config's; they belong to different models"
            )

    def layout(
        self,
        config: PretrainedConfig,
        given_px: tuple[int, int],
        *,
        tiling: str = "information",
        budget: str = "",
    ) -> Layout:
        """Return the canvas, crops and visual tokens of an image."""
        side = config.vision_config.image_size
        patches = side // config.vision_config.patch_size
        canvas = _canvas(config, given_px, tiling, budget)
        rows, columns = canvas[0] // side, canvas[1] // side
        is_free = not budget and tiling == "information"
        height, width = _unpadded(
            (rows * patches, columns * patches),
            given_px[::-1] if is_free else _fitted(given_px, canvas),
        )
        limit = int(config.vision_aspect_ratio.removeprefix("anyres_max_"))
        ratio = math.sqrt(height * width / (limit * patches**2))
        if ratio > SHRUNK_ABOVE:
            height, width = int(height // ratio), int(width // ratio)
        return Layout(
            # One more per row: the token that ends it.
            visual_tokens=patches**2 + height * (width + 1),
            canvas_px=(canvas[1], canvas[0]),
            columns=columns,
            rows=rows,
            n_crops=rows * columns + 1,
            resampling_filter="bicubic",
            budget=budget,
            image_px=_fitted(given_px, canvas)[::-1],
        )

    def layout_of_several(
        self,
        config: PretrainedConfig,
        given_px: tuple[int, int],
        *,
        tiling: str = "information",
        budget: str = "",
    ) -> Layout:
        """Return the single square, padded with grey, that each of several images becomes."""
        side = config.vision_config.image_size
        n_tokens = (side // config.vision_config.patch_size) ** 2 + 1
        width, height = (max(1, round(side * each / max(given_px))) for each in given_px)
        return Layout(n_tokens, (side, side), 1, 1, 1, "bicubic", budget, (width, height))

    def patches(self, config: PretrainedConfig) -> Patches:
        """Return that crops of one size are encoded."""
        return Patches(per_crop=square_patches(config))

    def pixel_inputs(
        self, model: LoadedModel, images: Sequence[Image.Image], layouts: Sequence[Layout]
    ) -> dict[str, torch.Tensor]:
        """Return the base views and tiles of images of any size, by the model's own processor.

        Returns:
            pixel_values of shape (n_images, most crops, 3, side, side), zeros where an image has
            fewer, and image_sizes, height and width, of (n_images, 2). For images that are one of
            several in a prompt also batch_num_images, by which the network knows that.
        """
        if all(layout.n_crops == 1 for layout in layouts):
            # The network asks only whether prompts have one image, not how many each has.
            told = {"resample": Image.Resampling.BICUBIC, "return_tensors": "pt"}
            return dict(model.image_processor([list(images)], **told))
        crops, sizes = [], []
        for image, layout in zip(images, layouts, strict=True):
            canvas = layout.canvas_px[::-1]
            made = model.image_processor(
                image,
                image_grid_pinpoints=[list(canvas)],
                resample=Image.Resampling.BICUBIC,
                return_tensors="pt",
            )
            crops.append(made["pixel_values"][0])
            is_free = not layout.budget and model.tiling == "information"
            # The network chooses among all canvases by itself. The size at which the processor
            # fits the image into a smaller canvas leads to that one.
            sizes.append(image.size[::-1] if is_free else _fitted(image.size, canvas))
        padded = torch.nn.utils.rnn.pad_sequence(crops, batch_first=True)
        return {"pixel_values": padded, "image_sizes": torch.tensor(sizes)}

    def tiny_config(self, text: dict[str, Any], ids: dict[str, int]) -> PretrainedConfig:
        """Return a config with SigLIP and Qwen2, as that of LLaVA-OneVision 0.5B."""
        vision = tiny_sizes.VISION | {"model_type": "siglip_vision_model", "vision_use_head": False}
        return LlavaOnevisionConfig(
            text_config={"model_type": "qwen2", **text},
            vision_config=vision,
            image_token_index=ids["<image>"],
            video_token_index=ids["<video>"],
            image_grid_pinpoints=TINY_PINPOINTS,
            tie_word_embeddings=True,
            initializer_range=tiny_sizes.INITIALIZER_RANGE,
        )

    def tiny_processor(self) -> LlavaOnevisionImageProcessorPil:
        """Return the processor with the canvases of the tiny network."""
        return LlavaOnevisionImageProcessorPil(
            **tiny_sizes.PIXELS, image_grid_pinpoints=TINY_PINPOINTS
        )


FAMILY = LlavaOnevision()


def _pinpoints(owner: PretrainedConfig) -> list[tuple[int, int]]:
    return [(height, width) for height, width in owner.image_grid_pinpoints]


def _canvas(
    config: PretrainedConfig, given_px: tuple[int, int], tiling: str, budget: str
) -> tuple[int, int]:
    """Return height and width of the canvas."""
    allowed = _pinpoints(config)
    tile = config.vision_config.image_size**2
    most = math.inf
    if budget:
        most = budget_number(budget) * tile
    elif tiling == "compute":
        most = max(given_px[0] * given_px[1], tile)
    allowed = [pinpoint for pinpoint in allowed if pinpoint[0] * pinpoint[1] <= most]
    height, width = select_best_resolution(given_px[::-1], allowed)
    return height, width


def _fitted(given_px: tuple[int, int], canvas: tuple[int, int]) -> tuple[int, int]:
    """Return the height and width at which an image fills a canvas as far as its shape allows."""
    width, height = given_px
    scale_width, scale_height = canvas[1] / width, canvas[0] / height
    if scale_width < scale_height:
        return min(math.ceil(height * scale_width), canvas[0]), canvas[1]
    return canvas[0], min(math.ceil(width * scale_height), canvas[1])


def _unpadded(features: tuple[int, int], image: tuple[int, int]) -> tuple[int, int]:
    """Return rows and columns of features without the padding around the image."""
    rows, columns = features
    height, width = image
    if width / height > columns / rows:
        rows -= 2 * ((rows - int(round(height * (columns / width), 7))) // 2)
    else:
        columns -= 2 * ((columns - int(round(width * (rows / height), 7))) // 2)
    return rows, columns
