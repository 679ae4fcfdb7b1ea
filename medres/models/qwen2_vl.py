"""Qwen2-VL: variable resolution, one visual token per 28 x 28 px.

The paper's models are Qwen/Qwen2-VL-2B-Instruct and Qwen/Qwen2-VL-7B-Instruct. Inputs are
built from tokenizer, chat template and our own pixels, never through AutoProcessor, whose video
part needs torchvision: code path and pixels are the same with and without it.
"""

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from transformers import (
    PretrainedConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
)

from medres.models import loaded, shapes, vision_tower
from medres.models.flops import ModelShape
from medres.models.loaded import LoadedModel, save
from medres.resolution import Layout, visual_token_count

__all__ = ["LoadedModel", "geometry", "image_positions", "load", "pixel_inputs", "save", "shape_of"]

IMAGE_TOKEN = "<|image_pad|>"
IMAGE = f"<|vision_start|>{IMAGE_TOKEN}<|vision_end|>"
TILES = False


def load(
    place: str, *, revision: str = "", tiling: str = "information", dtype: str = "float32"
) -> LoadedModel:
    """Return Qwen2-VL from a checkpoint folder or hub id, in evaluation mode.

    Args:
        place: Folder or Hub id, as in `loaded.read`.
        revision: As in `loaded.read`.
        tiling: Without effect: nothing is tiled.
        dtype: Precision of the weights, as in `loaded.read`.

    Raises:
        OSError: If a file is missing, with its name.
        ValueError: If the tokenizer does not know the image token of the config.
    """
    parts = loaded.read(
        Qwen2VLForConditionalGeneration,
        place,
        revision=revision,
        dtype=dtype,
        image_token=IMAGE_TOKEN,
        image_in_template=IMAGE,
        processor_class=Qwen2VLImageProcessorPil,
    )
    vision_tower.use(parts.network)
    config, processor = parts.network.config, parts.image_processor
    vision = config.vision_config
    patches = (vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size)
    made = (processor.patch_size, processor.merge_size, processor.temporal_patch_size)
    if made != patches or not (processor.do_normalize and processor.do_rescale):
        raise ValueError(
            f"{parts.name}: the image processor makes patches of {made} (side, merged, frames), "
            f"the config says {patches}, both normalised; they belong to different models"
        )
    return parts.together(
        multiple_px=multiple_px(config),
        image_in_prompt=IMAGE,
    )


def check_config(config: PretrainedConfig, name: str) -> None:
    """Refuse a config whose rotary sections do not fill the heads.

    Raises:
        ValueError: With the sections, the width of a head, and the remedy.
    """
    text = config.text_config
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    sections = (text.rope_parameters or {}).get("mrope_section")
    if not sections or 2 * sum(sections) != head:
        raise ValueError(
            f"{name}: config.json gives mrope_section {sections}, which does not fill heads of "
            f"{head}; its rope_scaling (or rope_parameters) is missing or of another model, copy "
            "config.json from the model it was made from"
        )


def multiple_px(config: PretrainedConfig) -> int:
    """Return the side of one visual token, in pixels."""
    side: int = config.vision_config.patch_size * config.vision_config.spatial_merge_size
    return side


def geometry(
    config: PretrainedConfig, given_px: tuple[int, int], *, tiling: str = "information"
) -> Layout:
    """Return the layout of pixels on the model's grid: they are used as they are.

    Args:
        config: Of the model; no weights are needed.
        given_px: Width and height handed to the model, in pixels.
        tiling: Without effect.

    Raises:
        ValueError: If a side is off the grid.
    """
    n_tokens = visual_token_count(given_px, multiple_px=multiple_px(config))
    return Layout(visual_tokens=n_tokens, canvas_px=given_px)


def shape_of(config: PretrainedConfig) -> ModelShape:
    """Return the sizes that determine the cost of a model, from its config."""
    return shapes.shape_of(config)


def pixel_inputs(model: LoadedModel, images: list[Image.Image]) -> dict[str, torch.Tensor]:
    """Return the vision inputs of images that already lie on the model's grid.

    Bit-identical to the image processor without its own resizing, in a third of the time: bytes
    are cut into patches before they are converted to floating point.

    Args:
        model: With the image processor's mean, standard deviation and patch size.
        images: RGB, from `resolution.apply`.

    Returns:
        pixel_values of shape (n_patches, patch_values) and image_grid_thw of (n_images, 3).

    Raises:
        ValueError: If an image is off the grid; it is never resampled a second time.
    """
    return _patches(model, images, n_frames=model.image_processor.temporal_patch_size)


def answer_inputs(model: LoadedModel, images: list[Image.Image]) -> dict[str, torch.Tensor]:
    """Return `pixel_inputs` with one frame of each image instead of two equal ones.

    Only for the network of `load`: its patch embedding adds the weights of both frames, which
    halves the multiplications. Equal up to rounding, the gradients too: both frames' weights get
    the same one, as they do from two equal frames.
    """
    return _patches(model, images, n_frames=1)


def _patches(
    model: LoadedModel, images: list[Image.Image], *, n_frames: int
) -> dict[str, torch.Tensor]:
    processor = model.image_processor
    side, merged = processor.patch_size, processor.merge_size
    grids = [(image.height // side, image.width // side) for image in images]
    values = torch.empty(sum(rows * columns for rows, columns in grids), 3, n_frames, side * side)
    mean, std = (
        torch.tensor(each, dtype=torch.float32)[:, None]
        for each in (processor.image_mean, processor.image_std)
    )
    rescaled = _rescaling(processor.rescale_factor)
    start = 0
    for image, (rows, columns) in zip(images, grids, strict=True):
        if image.width % (side * merged) or image.height % (side * merged):
            raise ValueError(
                f"an image of {image.width} x {image.height} px is off the grid of "
                f"{side * merged} px; plan its size first"
            )
        windows = (rows // merged, merged, side, columns // merged, merged, side, 3)
        cut = np.asarray(image).reshape(windows).transpose(0, 3, 1, 4, 6, 2, 5)
        patches = torch.from_numpy(cut.reshape(rows * columns, 3, side * side))
        first, *others = values[start : start + len(patches)].unbind(2)
        rescaled(first.copy_(patches)).sub_(mean).div_(std)
        for frame in others:
            frame.copy_(first)
        start += len(patches)
    return {
        "pixel_values": values.flatten(1),
        "image_grid_thw": torch.tensor([(1, rows, columns) for rows, columns in grids]),
    }


def _rescaling(factor: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what rescales bytes in place to the last bit as the processor does, in 64 bits."""
    every = torch.arange(256)
    expected = every.double().mul_(factor).float()
    divisor = round(1 / factor)
    if torch.equal(every.float().div_(divisor), expected):
        return lambda values: values.div_(divisor)
    return lambda values: values.copy_(values.double().mul_(factor))


def flat_inputs(model: LoadedModel, input_ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the input from which the network derives the positions of a flat conversation."""
    return {"mm_token_type_ids": (input_ids == model.image_token_id).int()}


def image_positions(size_px: tuple[int, int], *, multiple_px: int, start: int) -> np.ndarray:
    """Return the rotary positions of an image's visual tokens, shape (3, n_tokens).

    Rows are time, height and width; time is constant, height and width count from `start`. The
    text after the image continues at the largest position plus one.
    """
    width, height = size_px[0] // multiple_px, size_px[1] // multiple_px
    rows, columns = np.divmod(np.arange(width * height), width)
    return start + np.stack([np.zeros_like(rows), rows, columns])
