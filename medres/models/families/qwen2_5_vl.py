"""Qwen2.5-VL: pixels and tokens as in Qwen2-VL, with windows of attention in the vision tower.

Also Lingshu and HuatuoGPT-Vision on Qwen2.5-VL, and other models trained from it.
"""

from typing import Any

from transformers import PretrainedConfig, Qwen2_5_VLConfig, Qwen2VLImageProcessorPil

from medres.models import tiny_sizes
from medres.models.families import qwen2_vl
from medres.models.flops import Patches


class Qwen25VL(qwen2_vl.QwenVL):
    """Qwen2.5-VL."""

    network = "Qwen2_5_VLForConditionalGeneration"
    min_pixels = 3_136
    max_pixels = 12_845_056

    def patches(self, config: PretrainedConfig) -> Patches:
        """Return that most layers attend within windows."""
        vision = config.vision_config
        side = vision.window_size // vision.spatial_merge_size // vision.patch_size
        return Patches(
            per_token=vision.spatial_merge_size**2,
            window=(side * vision.spatial_merge_size) ** 2,
            full_layers=tuple(vision.fullatt_block_indexes),
        )

    def tiny_config(self, text: dict[str, Any], ids: dict[str, int]) -> PretrainedConfig:
        """Return a config whose second vision layer sees the whole image, the first windows."""
        rope = {"rope_parameters": {**tiny_sizes.ROPE, "mrope_section": [4, 6, 6]}}
        return Qwen2_5_VLConfig(
            text_config=text | rope,
            vision_config=tiny_sizes.GRID_VISION
            | {"window_size": 56, "fullatt_block_indexes": [1], "hidden_act": "silu"},
            **qwen2_vl.token_ids(ids),
            tie_word_embeddings=True,
        )

    def tiny_processor(self) -> Qwen2VLImageProcessorPil:
        """Return the image processor of the tiny model."""
        return Qwen2VLImageProcessorPil(
            size={"shortest_edge": self.min_pixels, "longest_edge": self.max_pixels},
            **tiny_sizes.NORMALISED,
        )


FAMILY = Qwen25VL()
