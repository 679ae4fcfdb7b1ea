"""Qwen3.5: the vision of Qwen3-VL, and a language model that mostly keeps a state, no keys.

Layers with a state ignore any mask, so that questions never share a sequence.
"""

from typing import Any

from transformers import PretrainedConfig, Qwen3_5Config

from medres.models import tiny_sizes
from medres.models.families import qwen2_vl, qwen3_vl


class Qwen35(qwen3_vl.Qwen3VL):
    """Qwen3.5."""

    network = "Qwen3_5ForConditionalGeneration"
    sharing = "cache"

    def tiny_config(self, text: dict[str, Any], ids: dict[str, int]) -> PretrainedConfig:
        """Return a config with one layer of either kind."""
        rope = {
            **tiny_sizes.ROPE,
            "mrope_section": [2, 3, 3],
            "mrope_interleaved": True,
            "partial_rotary_factor": 0.5,
        }
        return Qwen3_5Config(
            text_config=text
            | {
                "rope_parameters": rope,
                "head_dim": 32,
                "layer_types": ["linear_attention", "full_attention"],
                "linear_num_key_heads": 2,
                "linear_num_value_heads": 4,
                "linear_key_head_dim": 16,
                "linear_value_head_dim": 16,
            },
            vision_config=tiny_sizes.GRID_VISION
            | {"patch_size": 16, "num_position_embeddings": 64},
            **qwen2_vl.token_ids(ids),
            tie_word_embeddings=True,
        )


FAMILY = Qwen35()
