"""Mistral Small 3.1 and later: one visual token per 28 x 28 px, a mark after every row of them.

The published image processor shrinks images whose longer side is above 1,540 px to that side.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from PIL import Image
from transformers import Mistral3Config, PixtralImageProcessorPil, PretrainedConfig

from medres.models import family, tiny_sizes
from medres.models.family import Family
from medres.models.flops import Patches
from medres.models.loaded import LoadedModel
from medres.models.reasoning import Marks
from medres.resolution import Layout

# As in the real checkpoints: the tokenizer's <s> is written, no word for a role.
TEMPLATE = """\
{{- bos_token }}
{%- for message in messages -%}
{%- set marks = {'system': ['[SYSTEM_PROMPT]', '[/SYSTEM_PROMPT]'],
                 'user': ['[INST]', '[/INST]'], 'assistant': ['', eos_token]}[message.role] -%}
{{- marks[0] -}}
{%- if message.content is string %}{{ message.content }}{% else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' %}[IMG]{% else %}{{ part.text }}{% endif -%}
{%- endfor -%}
{%- endif -%}
{{- marks[1] -}}
{%- endfor -%}
"""


class Mistral3(Family):
    """Mistral Small 3.1 and later."""

    network = "Mistral3ForConditionalGeneration"
    processor = "PixtralImageProcessorPil"
    image_token = "[IMG]"
    end_of_turn = "</s>"
    reasoning = Marks("[THINK]", "[/THINK]")
    sharing = "tree"
    budgets = ("tokens",)
    longest_px: ClassVar[int] = 1_540
    """Longest side of the published image processor."""
    tiny_tokens = (
        "<pad>",
        "<s>",
        "</s>",
        "[IMG]",
        "[IMG_BREAK]",
        "[IMG_END]",
        "[INST]",
        "[/INST]",
        "[SYSTEM_PROMPT]",
        "[/SYSTEM_PROMPT]",
    )
    tiny_template = TEMPLATE
    tiny_begins_with = "<s>"

    def multiple_px(self, config: PretrainedConfig) -> int:
        """Return the side of one visual token, in pixels."""
        side: int = config.vision_config.patch_size * getattr(config, "spatial_merge_size", 1)
        return side

    def check(self, config: PretrainedConfig, processor: Any, name: str) -> None:
        """Refuse another longest side, and pixels that are not normalised."""
        if not (processor.do_normalize and processor.do_rescale):
            raise ValueError(
                f"{name}: the image processor does not normalise, which the model was trained "
                "with; take the file from the model it was made from"
            )
        longest = processor.size["longest_edge"]
        family.require(name, "size", longest, self.longest_px, "tokens-<n>")

    def layout(
        self,
        config: PretrainedConfig,
        given_px: tuple[int, int],
        *,
        tiling: str = "information",
        budget: str = "",
    ) -> Layout:
        """Return the grid of an image, shrunk if a side is too long for the processor."""
        side, longest = self.multiple_px(config), max(given_px)
        canvas_px = given_px
        if longest > self.longest_px:
            sides = (each / (longest / self.longest_px) for each in given_px)
            columns, rows = (max(1, (int(each) - 1) // side + 1) for each in sides)
            canvas_px = (columns * side, rows * side)
        elif given_px == (side, side):
            # transformers' network fails on a single image of a single token.
            canvas_px = (2 * side, side)
        columns, rows = (each // side for each in canvas_px)
        return Layout(
            visual_tokens=columns * rows,
            canvas_px=canvas_px,
            resampling_filter="bicubic" if canvas_px != given_px else "",
            budget=budget,
            mark_tokens=rows,
        )

    def image_in_prompt(self, layout: Layout) -> str:
        """Return rows of the image, each with the mark of its end."""
        rows = ["[IMG]"] * layout.mark_tokens
        return "[IMG_BREAK]".join(rows) + "[IMG_END]"

    def runs(self, layout: Layout) -> list[int]:
        """Return the tokens of each row."""
        return [layout.visual_tokens // layout.mark_tokens] * layout.mark_tokens

    def told_to_processor(self, config: PretrainedConfig) -> dict[str, Any]:
        """Return the side of a visual token."""
        side = self.multiple_px(config)
        return {"patch_size": {"height": side, "width": side}}

    def patches(self, config: PretrainedConfig) -> Patches:
        """Return that patches are merged, and that all layers share a mask."""
        return Patches(per_token=getattr(config, "spatial_merge_size", 1) ** 2, shares_mask=True)

    def pixel_inputs(
        self, model: LoadedModel, images: Sequence[Image.Image], layouts: Sequence[Layout]
    ) -> dict[str, torch.Tensor]:
        """Return the pixels of images, padded to the largest, and their sizes.

        Returns:
            pixel_values of shape (n_images, 3, height, width) and image_sizes, height and width,
            of (n_images, 2).
        """
        side = self.multiple_px(model.config)
        enlarged = [
            image.resize(layout.canvas_px, Image.Resampling.BICUBIC)
            if image.size == (side, side)
            else image
            for image, layout in zip(images, layouts, strict=True)
        ]
        made = model.image_processor(
            enlarged,
            **self.told_to_processor(model.config),
            size={"longest_edge": self.longest_px},
            resample=Image.Resampling.BICUBIC,
            return_tensors="pt",
        )
        return {name: torch.as_tensor(made[name]) for name in ("pixel_values", "image_sizes")}

    def tiny_config(self, text: dict[str, Any], ids: dict[str, int]) -> PretrainedConfig:
        """Return the config of the tiny model."""
        return Mistral3Config(
            text_config={"model_type": "mistral", **text, "head_dim": 48, "sliding_window": None},
            vision_config=tiny_sizes.VISION | {"model_type": "pixtral", "image_size": 1_540},
            image_token_index=ids["[IMG]"],
            spatial_merge_size=2,
            tie_word_embeddings=True,
        )

    def tiny_processor(self) -> PixtralImageProcessorPil:
        """Return the image processor of the tiny model."""
        return PixtralImageProcessorPil(
            patch_size={"height": 14, "width": 14},
            size={"longest_edge": self.longest_px},
            **tiny_sizes.NORMALISED,
        )


FAMILY = Mistral3()
