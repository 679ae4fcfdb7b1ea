"""Families that encode an image as a whole, on a grid of patches that are merged to tokens.

Their pixels are cut into patches here. Sizes are planned on the grid beforehand, so that nothing
is resampled a second time, except by a model whose published processor enlarges small images.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from transformers import PretrainedConfig

from medres.models import family
from medres.models.family import Family
from medres.models.flops import Patches
from medres.models.loaded import LoadedModel
from medres.resolution import Layout, visual_token_count


class GridFamily(Family):
    """A family with the inputs of Qwen2-VL: patches in rows of merged squares, and their grid."""

    budgets = ("tokens",)
    min_pixels: ClassVar[int] = 0
    """Width x height to which the published image processor enlarges smaller images."""
    frames_counted: ClassVar[int] = 1
    """Frames of a still picture that the processor's limits count."""
    max_pixels: ClassVar[float] = math.inf
    """Width x height to which it shrinks larger ones."""

    def check(self, config: PretrainedConfig, processor: Any, name: str) -> None:
        """Refuse patches of other sides than the config's."""
        vision = config.vision_config
        patches = (vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size)
        made = (processor.patch_size, processor.merge_size, processor.temporal_patch_size)
        if made != patches or not (processor.do_normalize and processor.do_rescale):
            raise ValueError(
                f"{name}: the image processor makes patches of {made} (side, merged, frames), "
                f"the config says {patches}, both normalised; they belong to different models"
            )

        if self.min_pixels:
            smallest = processor.size["shortest_edge"] // self.frames_counted
            family.require(name, "shortest_edge", smallest, self.min_pixels, "tokens-<n>")

    def check_config(self, config: PretrainedConfig, name: str) -> None:
        """Refuse a config whose rotary sections do not fill the heads."""
        text = config.text_config
        head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        rope = text.rope_parameters or {}
        sections = rope.get("mrope_section")
        filled = int(head * rope.get("partial_rotary_factor", 1))
        if not sections or 2 * sum(sections) != filled:
            raise ValueError(
                f"{name}: config.json gives mrope_section {sections}, which does not fill heads of "
                f"{filled}; its rope_scaling (or rope_parameters) is missing or of another model, "
                "copy config.json from the model it was made from"
            )

    def multiple_px(self, config: PretrainedConfig) -> int:
        """Return the side of one visual token, in pixels."""
        side: int = config.vision_config.patch_size * config.vision_config.spatial_merge_size
        return side

    def layout(
        self,
        config: PretrainedConfig,
        given_px: tuple[int, int],
        *,
        tiling: str = "information",
        budget: str = "",
    ) -> Layout:
        """Return the layout of pixels on the grid: used as they are within the model's limits.

        Raises:
            ValueError: If a side is off the grid.
        """
        side = self.multiple_px(config)
        n_tokens = visual_token_count(given_px, multiple_px=side)
        n_pixels = given_px[0] * given_px[1]
        # The smallest size is no part of the network: who asks for few tokens gets them.
        if self.min_pixels <= n_pixels <= self.max_pixels or budget:
            return Layout(visual_tokens=n_tokens, canvas_px=given_px, budget=budget)
        is_small = n_pixels < self.min_pixels
        factor = math.sqrt((self.min_pixels if is_small else self.max_pixels) / n_pixels)
        rounded = math.ceil if is_small else math.floor
        width, height = (max(1, rounded(each * factor / side)) * side for each in given_px)
        return Layout(
            visual_tokens=visual_token_count((width, height), multiple_px=side),
            canvas_px=(width, height),
            resampling_filter="bicubic",
            budget=budget,
        )

    def patches(self, config: PretrainedConfig) -> Patches:
        """Return that patches are merged."""
        return Patches(per_token=config.vision_config.spatial_merge_size**2)

    def positions(
        self, config: PretrainedConfig, is_image: np.ndarray, *layouts: Layout
    ) -> np.ndarray:
        """Return time, height and width of each token; text goes on after the larger side."""
        side = self.multiple_px(config)
        of_images = np.flatnonzero(is_image)
        # What is not overwritten below is text behind the last image.
        found = np.broadcast_to(np.arange(len(is_image)), (3, len(is_image))).copy()
        n_before = 0
        for layout in layouts:
            width, height = layout.canvas_px[0] // side, layout.canvas_px[1] // side
            place = int(of_images[n_before])
            end, start = place + width * height, int(found[0, place])
            rows, columns = np.divmod(np.arange(width * height), width)
            found[:, place:end] = start + np.stack([np.zeros_like(rows), rows, columns])
            found[:, end:] = start + max(width, height) + np.arange(len(is_image) - end)
            n_before += width * height
        return found

    def pixel_inputs(
        self, model: LoadedModel, images: Sequence[Image.Image], layouts: Sequence[Layout]
    ) -> dict[str, torch.Tensor]:
        """Return the patches of images that already lie on the grid.

        Bit-identical to the image processor without its own resizing, in a third of the time:
        bytes are cut into patches before they are converted to floating point.

        Returns:
            pixel_values of shape (n_patches, patch_values) and image_grid_thw of (n_images, 3).

        Raises:
            ValueError: If an image is off the grid; it is never resampled a second time.
        """
        n_frames = model.image_processor.temporal_patch_size
        return cut(model, self._on_canvas(images, layouts), n_frames=n_frames)

    def _on_canvas(
        self, images: Sequence[Image.Image], layouts: Sequence[Layout]
    ) -> list[Image.Image]:
        return [
            image
            if image.size == layout.canvas_px
            else image.resize(layout.canvas_px, Image.Resampling.BICUBIC)
            for image, layout in zip(images, layouts, strict=True)
        ]

    def flat_inputs(self, model: LoadedModel, input_ids: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the input from which the network derives the positions of a conversation."""
        return {"mm_token_type_ids": (input_ids == model.image_token_id).int()}


def cut(
    model: LoadedModel, images: Sequence[Image.Image], *, n_frames: int
) -> dict[str, torch.Tensor]:
    """Return the patches of images on a model's grid, and the grids.

    Args:
        model: With the image processor's mean, standard deviation and patch size.
        images: RGB.
        n_frames: Equal frames of each patch.

    Returns:
        pixel_values of shape (n_patches, patch_values) and image_grid_thw of (n_images, 3).

    Raises:
        ValueError: If an image is off the grid.
    """
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
