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
"""

import math

import torch
from PIL import Image
from transformers import (
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessorPil,
    PretrainedConfig,
)
from transformers.image_processing_utils import select_best_resolution

from medres.models import loaded, shapes
from medres.models.flops import ModelShape
from medres.models.loaded import LoadedModel, save
from medres.resolution import Layout

__all__ = ["geometry", "load", "pixel_inputs", "save", "shape_of"]

IMAGE_TOKEN = "<image>"
TILES = True
SHRUNK_ABOVE = 1.1
"""Features are shrunk if their sides exceed the limit by more than this factor."""


def load(
    place: str, *, revision: str = "", tiling: str = "information", dtype: str = "float32"
) -> LoadedModel:
    """Return LLaVA-OneVision from a checkpoint folder or hub id, in evaluation mode.

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
        LlavaOnevisionForConditionalGeneration,
        place,
        revision=revision,
        dtype=dtype,
        image_token=IMAGE_TOKEN,
        image_in_template=IMAGE_TOKEN,
        processor_class=LlavaOnevisionImageProcessorPil,
    )
    config, processor = parts.network.config, parts.image_processor
    side = config.vision_config.image_size
    made = (processor.size["height"], processor.size["width"], _pinpoints(processor))
    if made != (side, side, _pinpoints(config)):
        raise ValueError(
            f"{parts.name}: the image processor's size or image_grid_pinpoints are not the "
            "config's; they belong to different models"
        )
    return parts.together(
        multiple_px=1,
        image_in_prompt=IMAGE_TOKEN,
        tiling=tiling,
    )


def geometry(
    config: PretrainedConfig, given_px: tuple[int, int], *, tiling: str = "information"
) -> Layout:
    """Return the canvas, crops and visual tokens of an image.

    Args:
        config: Of the model; no weights are needed.
        given_px: Width and height handed to the model, in pixels.
        tiling: information or compute.
    """
    side = config.vision_config.image_size
    patches = side // config.vision_config.patch_size
    canvas = _canvas(config, given_px, tiling)
    rows, columns = canvas[0] // side, canvas[1] // side
    height, width = _unpadded(
        (rows * patches, columns * patches), _size_for_network(given_px, canvas, tiling)
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
    )


def shape_of(config: PretrainedConfig) -> ModelShape:
    """Return the sizes that determine the cost of a model, from its config."""
    return shapes.shape_of(config)


def pixel_inputs(model: LoadedModel, images: list[Image.Image]) -> dict[str, torch.Tensor]:
    """Return the base views and tiles of images of any size, by the model's own processor.

    Returns:
        pixel_values of shape (n_images, most crops, 3, side, side), zeros where an image has
        fewer, and image_sizes, height and width, of (n_images, 2).
    """
    crops, sizes = [], []
    for image in images:
        canvas = _canvas(model.config, image.size, model.tiling)
        made = model.image_processor(
            image,
            image_grid_pinpoints=[list(canvas)],
            resample=Image.Resampling.BICUBIC,
            return_tensors="pt",
        )
        crops.append(made["pixel_values"][0])
        sizes.append(_size_for_network(image.size, canvas, model.tiling))
    padded = torch.nn.utils.rnn.pad_sequence(crops, batch_first=True)
    return {"pixel_values": padded, "image_sizes": torch.tensor(sizes)}


answer_inputs = pixel_inputs


def _pinpoints(owner: PretrainedConfig) -> list[tuple[int, int]]:
    return [(height, width) for height, width in owner.image_grid_pinpoints]


def _canvas(config: PretrainedConfig, given_px: tuple[int, int], tiling: str) -> tuple[int, int]:
    """Return height and width of the canvas."""
    allowed = _pinpoints(config)
    if tiling == "compute":
        most = max(given_px[0] * given_px[1], config.vision_config.image_size**2)
        allowed = [pinpoint for pinpoint in allowed if pinpoint[0] * pinpoint[1] <= most]
    height, width = select_best_resolution(given_px[::-1], allowed)
    return height, width


def _size_for_network(
    given_px: tuple[int, int], canvas: tuple[int, int], tiling: str
) -> tuple[int, int]:
    """Return the height and width from which the network derives the canvas by itself."""
    width, height = given_px
    if tiling == "information":
        return height, width
    # The network chooses among all canvases and would choose a larger one for the given size. The
    # size at which the processor fits the image into the smaller canvas leads to that one.
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
