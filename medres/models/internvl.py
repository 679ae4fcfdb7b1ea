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
"""

import numpy as np
import torch
from PIL import Image
from transformers import (
    GotOcr2ImageProcessorPil,
    InternVLForConditionalGeneration,
    PretrainedConfig,
)
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import get_optimal_tiled_canvas

from medres.models import loaded, shapes
from medres.models.flops import ModelShape
from medres.models.loaded import LoadedModel, save
from medres.resolution import Layout

__all__ = ["geometry", "load", "pixel_inputs", "save", "shape_of"]

IMAGE_TOKEN = "<IMG_CONTEXT>"
IMAGE = f"<img>{IMAGE_TOKEN}</img>"
TILES = True
MAX_TILES = 12
"""In training and evaluation of all InternVL2.5 and 3; the thumbnail comes on top."""


def load(
    place: str, *, revision: str = "", tiling: str = "information", dtype: str = "float32"
) -> LoadedModel:
    """Return InternVL from a checkpoint folder or hub id, in evaluation mode.

    Args:
        place: Folder or Hub id, as in `loaded.read`.
        revision: As in `loaded.read`.
        tiling: information or compute, as above.
        dtype: Precision of the weights, as in `loaded.read`.

    Raises:
        OSError: If a file is missing, with its name.
        ValueError: If tokenizer or image processor do not fit the config.
    """
    parts = loaded.read(
        InternVLForConditionalGeneration,
        place,
        revision=revision,
        dtype=dtype,
        image_token=IMAGE_TOKEN,
        image_in_template=IMAGE_TOKEN,
        processor_class=GotOcr2ImageProcessorPil,
    )
    config = parts.network.config
    size = parts.image_processor.size
    if (size["height"], size["width"]) != tuple(config.vision_config.image_size):
        raise ValueError(
            f"{parts.name}: the image processor makes tiles of {size}, the config says "
            f"{config.vision_config.image_size} px; they belong to different models"
        )
    return parts.together(
        multiple_px=1,
        image_in_prompt=IMAGE,
        tiling=tiling,
    )


def geometry(
    config: PretrainedConfig, given_px: tuple[int, int], *, tiling: str = "information"
) -> Layout:
    """Return the tiles and visual tokens of an image.

    Args:
        config: Of the model; no weights are needed.
        given_px: Width and height handed to the model, in pixels.
        tiling: information or compute.
    """
    height_px, width_px = config.vision_config.image_size
    columns, rows = get_optimal_tiled_canvas(
        given_px[::-1], (height_px, width_px), 1, _max_tiles(config, given_px, tiling)
    )
    n_tiles = columns * rows
    n_crops = n_tiles + 1 if n_tiles > 1 else 1
    return Layout(
        visual_tokens=n_crops * int(_crop_patches(config) * config.downsample_ratio**2),
        canvas_px=(columns * width_px, rows * height_px),
        columns=columns,
        rows=rows,
        n_crops=n_crops,
        resampling_filter="bicubic",
    )


def shape_of(config: PretrainedConfig) -> ModelShape:
    """Return the sizes that determine the cost of a model, from its config."""
    return shapes.shape_of(config)


def pixel_inputs(model: LoadedModel, images: list[Image.Image]) -> dict[str, torch.Tensor]:
    """Return the tiles of images of any size, cut by the model's own processor.

    Returns:
        pixel_values of shape (n_crops of all images, 3, height, width).
    """
    crops = [
        model.image_processor(
            image,
            crop_to_patches=True,
            min_patches=1,
            max_patches=_max_tiles(model.config, image.size, model.tiling),
            resample=Image.Resampling.BICUBIC,
            return_tensors="pt",
        )["pixel_values"]
        for image in images
    ]
    return {"pixel_values": torch.cat(crops)}


answer_inputs = pixel_inputs


def _crop_patches(config: PretrainedConfig) -> int:
    sides = zip(config.vision_config.image_size, config.vision_config.patch_size, strict=True)
    return int(np.prod([side // patch for side, patch in sides]))


def _max_tiles(config: PretrainedConfig, given_px: tuple[int, int], tiling: str) -> int:
    if tiling == "information":
        return MAX_TILES
    height_px, width_px = config.vision_config.image_size
    n_filled: int = given_px[0] * given_px[1] // (width_px * height_px)
    return min(MAX_TILES, max(1, n_filled))
