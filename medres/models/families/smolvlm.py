"""SmolVLM and SmolVLM2: every image is enlarged or shrunk to the same longer side, then cut.

The longer side is a number of tiles, 4 for the published checkpoints, whatever pixels are given:
`low` costs what `native` costs. The resolution `tiles-<n>` takes the longest side at which there
are at most n tiles; with 1 the whole image is a single tile.
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
import transformers
from PIL import Image
from transformers import PretrainedConfig, SmolVLMConfig

from medres.models import family, tiny_sizes
from medres.models.family import Family, budget_number, square_patches
from medres.models.flops import Patches
from medres.models.loaded import LoadedModel
from medres.resolution import Layout

LARGEST_PX = 4_096
"""Longest side of the processor."""
MOST_LONG = 6
"""Tiles of a side at most: tokenizers have no marks for more."""
AROUND, WHOLE = "<fake_token_around_image>", "<global-img>"
# As in the real checkpoints: the role with a capital, a colon, a space unless an image follows.
TEMPLATE = """\
<|im_start|>
{%- for message in messages -%}
{{- message.role | capitalize -}}
{{- ':' if message.content[0].type == 'image' else ': ' -}}
{%- for part in message.content -%}
{%- if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif -%}
{%- endfor -%}
{{- '<end_of_utterance>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt %}{{ 'Assistant:' }}{% endif -%}
"""


class SmolVLM(Family):
    """SmolVLM and SmolVLM2."""

    network = "SmolVLMForConditionalGeneration"
    processor = "SmolVLMImageProcessorPil"
    config: ClassVar[Any] = SmolVLMConfig
    image_token = "<image>"
    end_of_turn = "<end_of_utterance>"
    before_reply = " "
    stops = ("<|im_end|>",)
    sharing = "tree"
    cuts = True
    budgets = ("tiles",)
    tiles_long: ClassVar[int] = 4
    """Tiles of the longer side of an image in the published checkpoints."""
    tiny_tokens = (
        "<|im_end|>",
        "<|im_start|>",
        "<end_of_utterance>",
        AROUND,
        WHOLE,
        "<image>",
        *(f"<row_{r + 1}_col_{c + 1}>" for r in range(MOST_LONG) for c in range(MOST_LONG)),
    )
    tiny_template = TEMPLATE

    def check(self, config: PretrainedConfig, processor: Any, name: str) -> None:
        """Refuse tiles of another side than the config's, and another number of them."""
        tile = config.vision_config.image_size
        made, is_plain = processor.max_image_size, processor.do_normalize and processor.do_rescale
        if made["longest_edge"] != tile or not is_plain:
            raise ValueError(
                f"{name}: the image processor makes tiles of {made}, the config says {tile} px, "
                "normalised; they belong to different models"
            )
        longest, asked = processor.size["longest_edge"], "tiles-<n>"
        family.require(name, "size", longest, self.tiles_long * tile, asked)
        family.require(name, "do_image_splitting", processor.do_image_splitting, True, asked)

    def layout(
        self,
        config: PretrainedConfig,
        given_px: tuple[int, int],
        *,
        tiling: str = "information",
        budget: str = "",
    ) -> Layout:
        """Return the tiles and visual tokens of an image."""
        tile = config.vision_config.image_size
        longest = self.tiles_long
        if budget:
            most = budget_number(budget)
            longest = next(
                (each for each in range(min(MOST_LONG, LARGEST_PX // tile), 1, -1)
                 if math.prod(_tiles(given_px, each, tile)) <= most),
                1,
            )  # fmt: skip
        columns, rows = _tiles(given_px, longest, tile)
        is_cut = longest > 1
        n_crops = columns * rows + 1 if is_cut else 1
        patches = square_patches(config)
        return Layout(
            visual_tokens=n_crops * (patches // config.scale_factor**2),
            canvas_px=(columns * tile, rows * tile),
            columns=columns,
            rows=rows,
            n_crops=n_crops,
            resampling_filter="lanczos",
            budget=budget,
            # Two marks per tile, a line break per row and one more, three around the whole.
            mark_tokens=2 * columns * rows + rows + 3 if is_cut else 3,
        )

    def image_in_prompt(self, layout: Layout) -> str:
        """Return rows of tiles, then the whole image, each with its marks."""
        whole = f"{AROUND}{WHOLE}{self.image_token}{AROUND}"
        if layout.n_crops == 1:
            return whole
        rows = [
            "".join(
                f"{AROUND}<row_{row + 1}_col_{column + 1}>{self.image_token}"
                for column in range(layout.columns)
            )
            for row in range(layout.rows)
        ]
        return "".join(f"{row}\n" for row in rows) + f"\n{whole}"

    def runs(self, layout: Layout) -> list[int]:
        """Return the tokens of each crop."""
        return [layout.visual_tokens // layout.n_crops] * layout.n_crops

    def patches(self, config: PretrainedConfig) -> Patches:
        """Return that crops of one size are encoded, and their patches merged."""
        return Patches(per_token=config.scale_factor**2, per_crop=square_patches(config))

    def pixel_inputs(
        self, model: LoadedModel, images: Sequence[Image.Image], layouts: Sequence[Layout]
    ) -> dict[str, torch.Tensor]:
        """Return the tiles of images of any size, cut by the model's own processor.

        Returns:
            pixel_values of shape (n_images, most crops, 3, side, side) and pixel_attention_mask
            without the third axis, zeros where an image has fewer crops.
        """
        tile = model.config.vision_config.image_size
        made = []
        for image, layout in zip(images, layouts, strict=True):
            is_cut = layout.n_crops > 1
            longest = max(layout.columns, layout.rows) * tile
            made.append(
                model.image_processor(
                    image,
                    do_image_splitting=is_cut,
                    size={"longest_edge": longest},
                    max_image_size={"longest_edge": tile},
                    resample=Image.Resampling.LANCZOS,
                    return_tensors="np",
                )
            )
        return {
            name: torch.nn.utils.rnn.pad_sequence(
                [torch.from_numpy(np.asarray(each[name][0])) for each in made], batch_first=True
            )
            for name in ("pixel_values", "pixel_attention_mask")
        }

    def tiny_config(self, text: dict[str, Any], ids: dict[str, int]) -> PretrainedConfig:
        """Return the config of the tiny model."""
        return self.config(
            text_config={"model_type": "llama", **text},
            vision_config=tiny_sizes.VISION,
            image_token_id=ids["<image>"],
            scale_factor=2,
            pad_token_id=ids["<|im_end|>"],
            tie_word_embeddings=True,
        )

    def tiny_processor(self) -> Any:
        """Return the processor that cuts tiles of the tiny size."""
        tile_px = tiny_sizes.TILE_PX
        return getattr(transformers, self.processor)(
            size={"longest_edge": self.tiles_long * tile_px},
            max_image_size={"longest_edge": tile_px},
            **tiny_sizes.NORMALISED,
        )


FAMILY = SmolVLM()


def _tiles(given_px: tuple[int, int], longest: int, tile: int) -> tuple[int, int]:
    """Return columns and rows of tiles of an image whose longer side is some tiles long."""
    width, height = given_px
    long_px = longest * tile
    # As the processor: the other side is cut off to a whole even number, then filled up to tiles.
    short_px = (
        int(long_px / (width / height)) if width >= height else int(long_px * (width / height))
    )
    short_px += short_px % 2
    sides = (longest, max(1, math.ceil(_filled(short_px, long_px, width >= height) / tile)))
    return sides if width >= height else sides[::-1]


def _filled(short_px: int, long_px: int, is_wide: bool) -> int:
    """Return the shorter side that the processor computes anew from the longer one."""
    short_px = max(short_px, 1)
    aspect = long_px / short_px if is_wide else short_px / long_px
    return int(long_px / aspect) if is_wide else int(long_px * aspect)
