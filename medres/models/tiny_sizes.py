"""The sizes that the tiny models have in common: two layers each, tiles of 56 px."""

from typing import Any

# For dark images with fine detail and training from scratch: patches reach the first layer with a
# standard deviation of about one, and the initial weights of narrow layers preserve it (LOG.md).
NORMALISED = {"image_mean": [0.1] * 3, "image_std": [0.1] * 3}
INITIALIZER_RANGE = 0.08
TILE_PX = 56
ROPE = {"rope_type": "default", "rope_theta": 10_000.0}
TEXT = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": INITIALIZER_RANGE,
    "max_position_embeddings": 32_768,
    "rope_parameters": ROPE,
    "tie_word_embeddings": True,
}
VISION = {
    "hidden_size": 96,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "patch_size": 14,
    "image_size": TILE_PX,
    "initializer_range": INITIALIZER_RANGE,
}
PIXELS: dict[str, Any] = {"size": {"height": TILE_PX, "width": TILE_PX}, **NORMALISED}
GRID_VISION = {
    "depth": 2,
    "hidden_size": 96,
    "intermediate_size": 192,
    "num_heads": 3,
    "out_hidden_size": TEXT["hidden_size"],
    "patch_size": 14,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "initializer_range": INITIALIZER_RANGE,
}
"""Of vision towers that encode an image as a whole, on a grid."""
