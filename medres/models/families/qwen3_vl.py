"""Qwen3-VL: one visual token per 32 x 32 px, features of several vision layers.

The published image processor enlarges images of less than 65,536 px (256 x 256) to that area, so
that the paper's low image of 50,176 px is made larger again: `low` costs more than it would need.
"""

from typing import Any

from transformers import PretrainedConfig, Qwen2VLImageProcessorPil, Qwen3VLConfig

from medres.models import tiny_sizes
from medres.models.families import qwen2_vl


class Qwen3VL(qwen2_vl.QwenVL):
    """Qwen3-VL."""

    network = "Qwen3VLForConditionalGeneration"
    min_pixels = 65_536
    max_pixels = 16_777_216

    def tiny_config(self, text: dict[str, Any], ids: dict[str, int]) -> PretrainedConfig:
        """Return a config with heads wider than the hidden width divided by their number."""
        rope = {**tiny_sizes.ROPE, "mrope_section": [8, 8, 8], "mrope_interleaved": True}
        return Qwen3VLConfig(
            text_config=text | {"rope_parameters": rope, "head_dim": 48},
            vision_config=tiny_sizes.GRID_VISION
            | {"patch_size": 16, "deepstack_visual_indexes": [0], "num_position_embeddings": 64},
            **qwen2_vl.token_ids(ids),
            tie_word_embeddings=True,
        )

    def tiny_processor(self) -> Qwen2VLImageProcessorPil:
        """Return the image processor of the tiny model, with the published smallest size."""
        return Qwen2VLImageProcessorPil(
            patch_size=16,
            size={"shortest_edge": self.min_pixels, "longest_edge": self.max_pixels},
            **tiny_sizes.NORMALISED,
        )


FAMILY = Qwen3VL()
