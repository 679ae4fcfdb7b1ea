"""Gemma 3 and MedGemma: every image becomes one square of 896 px, distorted and 256 tokens.

`low` and `native` cost the same. The resolution `pan-and-scan` adds up to four crops of an image
that is much longer than wide or wider than long.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from transformers import (
    Gemma3Config,
    Gemma3ImageProcessorPil,
    PretrainedConfig,
    PreTrainedModel,
)

from medres.models import tiny_sizes
from medres.models.family import Family, square_patches
from medres.models.flops import Patches
from medres.models.loaded import LoadedModel
from medres.models.reasoning import Marks
from medres.resolution import Layout

MIN_CROP_PX, MAX_CROPS, MIN_RATIO = 256, 4, 1.2
"""Of pan and scan, in the published processor."""
# As in the real checkpoints: the system prompt stands before the first question, in the same turn.
TEMPLATE = """\
{{- bos_token -}}
{%- set system = messages[0].content[0].text + '\\n\\n' if messages[0].role == 'system' else '' -%}
{%- for message in messages if message.role != 'system' -%}
{{- '<start_of_turn>' + ('model' if message.role == 'assistant' else message.role) + '\\n' -}}
{{- system if loop.first else '' -}}
{%- if message.content is string %}{{ message.content | trim }}{% else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' %}<start_of_image>{% else %}{{ part.text | trim }}{% endif -%}
{%- endfor -%}
{%- endif -%}
{{- '<end_of_turn>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif -%}
"""


class Gemma3(Family):
    """Gemma 3 and MedGemma."""

    network = "Gemma3ForConditionalGeneration"
    processor = "Gemma3ImageProcessorPil"
    image_token = "<image_soft_token>"
    image_in_template = "<start_of_image>"
    after_image = "\n\n"
    end_of_turn = "<end_of_turn>"
    stops = ("<eos>",)
    reasoning = Marks("<unused94>", "<unused95>", heading="thought")
    cuts = True
    budgets = ("pan-and-scan",)
    tiny_tokens = (
        "<pad>",
        "<eos>",
        "<bos>",
        "<start_of_turn>",
        "<end_of_turn>",
        "<start_of_image>",
        "<end_of_image>",
        "<image_soft_token>",
    )
    tiny_template = TEMPLATE
    tiny_begins_with = "<bos>"

    def check(self, config: PretrainedConfig, processor: Any, name: str) -> None:
        """Refuse squares of another side than the config's."""
        side, size = config.vision_config.image_size, processor.size
        is_plain = processor.do_normalize and processor.do_rescale
        if (size["height"], size["width"]) != (side, side) or not is_plain:
            raise ValueError(
                f"{name}: the image processor makes squares of {size}, the config says {side} px, "
                "normalised; they belong to different models"
            )

    def layout(
        self,
        config: PretrainedConfig,
        given_px: tuple[int, int],
        *,
        tiling: str = "information",
        budget: str = "",
    ) -> Layout:
        """Return the squares and visual tokens of an image."""
        columns, rows = _crops(given_px) if budget else (0, 0)
        n_crops = 1 + columns * rows
        side = config.vision_config.image_size
        return Layout(
            visual_tokens=n_crops * config.mm_tokens_per_image,
            canvas_px=(max(1, columns) * side, max(1, rows) * side),
            columns=max(1, columns),
            rows=max(1, rows),
            n_crops=n_crops,
            resampling_filter="bilinear",
            budget=budget,
            # At most: what is written about crops, and the marks of each.
            mark_tokens=40 + 8 * n_crops if n_crops > 1 else 0,
        )

    def image_in_prompt(self, layout: Layout) -> str:
        """Return the image between its marks; with crops what the processor writes about them."""
        image = f"\n\n<start_of_image>{self.image_token}<end_of_image>"
        if layout.n_crops == 1:
            return image
        crops = f"{self.after_image} ".join([image] * (layout.n_crops - 1))
        return (
            f"Here is the original image {image}{self.after_image} and here are some crops to help "
            f"you see better {crops}"
        )

    def runs(self, layout: Layout) -> list[int]:
        """Return the tokens of each square."""
        return [layout.visual_tokens // layout.n_crops] * layout.n_crops

    def patches(self, config: PretrainedConfig) -> Patches:
        """Return that crops of one size are encoded, and their patches pooled."""
        per_crop = square_patches(config)
        return Patches(per_token=per_crop // config.mm_tokens_per_image, per_crop=per_crop)

    def pixel_inputs(
        self, model: LoadedModel, images: Sequence[Image.Image], layouts: Sequence[Layout]
    ) -> dict[str, torch.Tensor]:
        """Return the squares of images of any size, made by the model's own processor.

        Returns:
            pixel_values of shape (n_crops of all images, 3, side, side).
        """
        crops = [
            model.image_processor(
                image,
                do_pan_and_scan=layout.n_crops > 1,
                pan_and_scan_min_crop_size=MIN_CROP_PX,
                pan_and_scan_max_num_crops=MAX_CROPS,
                pan_and_scan_min_ratio_to_activate=MIN_RATIO,
                resample=Image.Resampling.BILINEAR,
                return_tensors="pt",
            )["pixel_values"]
            for image, layout in zip(images, layouts, strict=True)
        ]
        return {"pixel_values": torch.cat(crops)}

    def flat_inputs(self, model: LoadedModel, input_ids: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the input that lets the tokens of an image see each other both ways."""
        return {"token_type_ids": (input_ids == model.image_token_id).long()}

    def tiny_config(self, text: dict[str, Any], ids: dict[str, int]) -> PretrainedConfig:
        """Return a config with one layer of either kind of attention."""
        own = {name: text[name] for name in text if name != "rope_parameters"}
        return Gemma3Config(
            text_config=own
            | {
                "head_dim": 48,
                "query_pre_attn_scalar": 48,
                "layer_types": ["sliding_attention", "full_attention"],
                "sliding_window": 16,
            },
            vision_config=tiny_sizes.VISION
            | {"model_type": "siglip_vision_model", "vision_use_head": False},
            mm_tokens_per_image=4,
            boi_token_index=ids["<start_of_image>"],
            eoi_token_index=ids["<end_of_image>"],
            image_token_index=ids["<image_soft_token>"],
        )

    def tiny_processor(self) -> Gemma3ImageProcessorPil:
        """Return the processor that makes squares of the tiny size."""
        return Gemma3ImageProcessorPil(**tiny_sizes.PIXELS)

    def tiny_network(self, config: PretrainedConfig) -> PreTrainedModel:
        """Return the tiny network; pixels have no effect through the projection as it begins."""
        network = super().tiny_network(config)
        projection = network.model.multi_modal_projector.mm_input_projection_weight
        torch.nn.init.normal_(projection.data, std=tiny_sizes.INITIALIZER_RANGE)
        return network


FAMILY = Gemma3()


def _crops(given_px: tuple[int, int]) -> tuple[int, int]:
    """Return columns and rows of the crops of pan and scan; zeros for none."""
    longer, shorter = max(given_px), min(given_px)
    if longer / shorter < MIN_RATIO:
        return 0, 0
    n_crops = min(longer // MIN_CROP_PX, math.floor(longer / shorter + 0.5))
    n_crops = min(MAX_CROPS, max(2, n_crops))
    if min(math.ceil(longer / n_crops), shorter) < MIN_CROP_PX:
        return 0, 0
    return (n_crops, 1) if given_px[0] >= given_px[1] else (1, n_crops)
