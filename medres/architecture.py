"""A model's sizes, read from its config alone: tokens, operations and parameters.

Nothing is loaded, so that a study can be planned without weights, hub or GPU. The configs of
the paper's models lie in `models/configs`, each with the source of its sizes.
"""

import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from medres import runs
from medres.resolution import ModelShape, forward_flops

CONFIGS = Path(__file__).resolve().parent / "models" / "configs"
FAMILIES = ("qwen2_vl", "internvl", "llava_onevision")
CROPS_A_SIDE = 6
"""LLaVA-OneVision's canvases: each of 1 to 6 crops wide and high."""


@dataclass(frozen=True)
class Architecture:
    """The sizes of a model that decide its cost."""

    family: str
    shape: ModelShape
    """Widths, layers and vocabulary; `patches_per_token` is 1 where no patches are merged."""
    tile_px: int
    """Side of the square tiles that the tower sees; 0 where it takes any size."""
    patch_px: int
    max_tiles: int
    """Most tiles of an image, its overview apart (InternVL), or tokens in tiles (LLaVA)."""
    is_tied: bool
    """Whether input and output embedding are one."""
    has_attention_bias: bool
    """Whether the language model's queries, keys and values have a bias."""

    @property
    def multiple_px(self) -> int:
        """Side of one visual token in pixels; 1 for a model that tiles, which takes any size."""
        return 1 if self.tile_px else self.patch_px * math.isqrt(self.shape.patches_per_token)


@dataclass(frozen=True)
class View:
    """What a model makes of one image."""

    tiles: int
    """Separate images in the vision tower."""
    patches: int
    """Positions of one of them, a class token included."""
    visual_tokens: int
    """Tokens of the image that the language model sees."""


def find(model: str) -> Architecture:
    """Return the sizes of a model, by the name it has in a study.

    Args:
        model: A hub id whose config is kept in the package, the stem of such a config, a
            checkpoint folder, or a tiny model that medres makes.

    Raises:
        ValueError: If no config is known, or it lacks a size or is of another family.
    """
    for path in sorted(CONFIGS.glob("*.json")):
        if model == path.stem or model in _read(path)["hub_ids"]:
            return parse(_read(path), source=str(path))
    folder = runs.ROOT / model
    if model.startswith("tiny-") and not folder.is_dir():
        from medres import models  # takes seconds, and the paper's models do without

        folder = Path(models.locate(model))
    if (folder / "config.json").is_file():
        return parse(runs.read_json(folder / "config.json"), source=str(folder / "config.json"))
    known = [model for path in sorted(CONFIGS.glob("*.json")) for model in _read(path)["hub_ids"]]
    raise ValueError(
        f"no config of model {model!r} is kept in the package; known are {', '.join(known)}; give "
        "a checkpoint folder with a config.json, or add one to medres/models/configs"
    )


@cache
def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def parse(config: dict[str, Any], *, source: str) -> Architecture:
    """Return the sizes that a checkpoint's config.json states.

    Raises:
        ValueError: If the family is unknown or a size is missing, naming the file.
    """
    family = config.get("model_type")
    if family not in FAMILIES:
        raise ValueError(
            f"{source}: model_type is {family!r}, whose cost is not known; known are "
            f"{', '.join(FAMILIES)}"
        )
    try:
        return _parse(family, config)
    except KeyError as error:
        raise ValueError(f"{source}: lacks {error}; take the checkpoint's whole config") from error


def _parse(family: str, config: dict[str, Any]) -> Architecture:
    # Older files of Qwen2-VL keep the language model's sizes at the top.
    vision, text = config["vision_config"], config.get("text_config", config)
    head_width = text["hidden_size"] // text["num_attention_heads"]
    patch_px = _side(vision["patch_size"])
    channels = vision.get("in_channels", vision.get("num_channels", 3))
    if family == "qwen2_vl":
        layers, width = vision["depth"], vision["embed_dim"]
        mlp_width = int(width * vision["mlp_ratio"])
        frames, merged = vision.get("temporal_patch_size", 2), vision.get("spatial_merge_size", 2)
        tile_px = max_tiles = 0
    else:
        layers, width = vision["num_hidden_layers"], vision["hidden_size"]
        mlp_width, frames = vision["intermediate_size"], 1
        tile_px = _side(vision["image_size"])
        merged, max_tiles = 1, int(config.get("vision_aspect_ratio", "anyres_max_9")[11:])
        if family == "internvl":
            merged = round(1 / config.get("downsample_ratio", 0.5))
            max_tiles = config.get("max_patches", 12)
    return Architecture(
        family=family,
        shape=ModelShape(
            vision_layers=layers,
            vision_width=width,
            vision_mlp_width=mlp_width,
            patch_values=channels * frames * patch_px**2,
            patches_per_token=merged**2,
            text_layers=text["num_hidden_layers"],
            text_width=text["hidden_size"],
            text_mlp_width=text["intermediate_size"],
            text_key_value_width=text["num_key_value_heads"] * head_width,
            vocabulary=text["vocab_size"],
        ),
        tile_px=tile_px,
        patch_px=patch_px,
        max_tiles=max_tiles,
        is_tied=bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False))),
        has_attention_bias=text.get("model_type") != "llama",
    )


def _side(size: Any) -> int:
    return int(size[0] if isinstance(size, list) else size)


def view(architecture: Architecture, size_px: tuple[int, int]) -> View:
    """Return what a model makes of an image of a given size.

    Args:
        architecture: The model.
        size_px: Width and height handed to it; on the grid for a model that does not tile.
    """
    shape, side = architecture.shape, architecture.tile_px // architecture.patch_px
    if not architecture.tile_px:
        patches = size_px[0] * size_px[1] // architecture.patch_px**2
        return View(1, patches, patches // shape.patches_per_token)
    if architecture.family == "internvl":
        columns, rows = internvl_grid(size_px, architecture.tile_px, architecture.max_tiles)
        tiles = columns * rows + (columns * rows > 1)
        return View(tiles, side**2 + 1, tiles * side**2 // shape.patches_per_token)
    canvas = llava_canvas(size_px, architecture.tile_px)
    crops = [each // architecture.tile_px for each in canvas]
    tokens = llava_tokens(size_px, (crops[0] * side, crops[1] * side), side, architecture.max_tiles)
    return View(crops[0] * crops[1] + 1, side**2, tokens)


def internvl_grid(size_px: tuple[int, int], tile_px: int, max_tiles: int) -> tuple[int, int]:
    """Return how many tiles wide and high InternVL cuts an image: those nearest in shape.

    Of grids that are equally near, the larger, unless it has twice the image's pixels or more.

    >>> internvl_grid((258, 193), 448, 12)
    (4, 3)
    """
    ratio, pixels = size_px[0] / size_px[1], size_px[0] * size_px[1]
    sides = range(1, max_tiles + 1)
    grids = [(wide, high) for wide in sides for high in sides if wide * high <= max_tiles]
    best, least = (1, 1), math.inf
    for wide, high in sorted(grids, key=math.prod):
        distance = abs(ratio - wide / high)
        is_filled = pixels > 0.5 * tile_px**2 * wide * high
        if distance < least or (distance == least and is_filled):
            best, least = (wide, high), distance
    return best


def llava_canvas(size_px: tuple[int, int], tile_px: int) -> tuple[int, int]:
    """Return width and height in pixels of the canvas that LLaVA-OneVision fits an image on.

    The one that keeps most of the image's pixels, and of those the smallest.
    """
    width, height = size_px
    sides = [tile_px * count for count in range(1, CROPS_A_SIDE + 1)]

    def worth(canvas: tuple[int, int]) -> tuple[int, int]:
        scale = min(canvas[0] / width, canvas[1] / height)
        kept = min(int(width * scale) * int(height * scale), width * height)
        return kept, kept - canvas[0] * canvas[1]

    return max(((wide, high) for high in sides for wide in sides), key=worth)


def llava_tokens(
    size_px: tuple[int, int], canvas: tuple[int, int], side: int, max_tiles: int
) -> int:
    """Return LLaVA-OneVision's tokens: overview, features without padding, and row ends.

    Args:
        size_px: Width and height of the image, in pixels.
        canvas: Width and height of the features of all crops, in patches.
        side: Side of one crop's features, in patches.
        max_tiles: Crops' worth of features above which they are shrunk.
    """
    (width, height), (columns, rows) = size_px, canvas
    if width / height > columns / rows:
        rows -= (rows - int(round(height * (columns / width), 7))) // 2 * 2
    else:
        columns -= (columns - int(round(width * (rows / height), 7))) // 2 * 2
    shrink = math.sqrt(columns * rows / (max_tiles * side**2))
    if shrink > 1.1:
        columns, rows = int(columns // shrink), int(rows // shrink)
    return columns * rows + rows + side**2


def flops(architecture: Architecture, seen: View, *, text_tokens: int) -> int:
    """Return the operations of one forward pass over one image and its questions.

    Counted as in `resolution.forward_flops`; training costs three times as much.
    """
    shape = architecture.shape
    if not architecture.tile_px:
        return forward_flops(shape, visual_tokens=seen.visual_tokens, text_tokens=text_tokens)
    width, text_width = shape.vision_width, shape.text_width
    tile = 2 * seen.patches * shape.patch_values * width + shape.vision_layers * (
        2 * seen.patches * (4 * width**2 + 2 * width * shape.vision_mlp_width)
        + 4 * seen.patches**2 * width
    )
    # InternVL projects merged patches, LLaVA-OneVision each patch before it shrinks the features.
    merged = shape.patches_per_token
    projected = seen.tiles * seen.patches // merged
    projector = 2 * projected * (merged * width * text_width + text_width**2)
    text = forward_flops(shape, visual_tokens=0, text_tokens=seen.visual_tokens + text_tokens)
    return seen.tiles * tile + projector + text


def parameter_count(architecture: Architecture) -> int:
    """Return the number of weights, as transformers builds the model."""
    shape, family = architecture.shape, architecture.family
    width, mlp, merged = shape.vision_width, shape.vision_mlp_width, shape.patches_per_token
    layer = 4 * width**2 + 2 * width * mlp + 9 * width + mlp
    tower = shape.patch_values * width
    projected = merged * width
    inner = shape.text_width
    if family == "qwen2_vl":
        inner, norm = projected, 2 * width
    else:
        positions = (architecture.tile_px // architecture.patch_px) ** 2
        tower += width + positions * width  # bias of the patches, position embedding
        norm = 2 * projected
        if family == "internvl":
            layer += 2 * width  # scales of both residual branches
            tower += 2 * width  # class token and its position
        else:
            norm = 2 * width + shape.text_width  # last norm of the tower, image_newline
    projector = norm + projected * inner + inner + inner * shape.text_width + shape.text_width
    return tower + shape.vision_layers * layer + projector + _text_parameters(architecture)


def _text_parameters(architecture: Architecture) -> int:
    shape = architecture.shape
    width, narrow = shape.text_width, shape.text_key_value_width
    layer = 2 * width * (width + narrow) + 3 * width * shape.text_mlp_width + 2 * width
    if architecture.has_attention_bias:
        layer += width + 2 * narrow
    embeddings = shape.vocabulary * width * (1 if architecture.is_tied else 2)
    return shape.text_layers * layer + embeddings + width


def lora_parameter_count(architecture: Architecture, *, rank: int) -> int:
    """Return the weights of adapters on every linear layer of the language model."""
    shape = architecture.shape
    width, narrow, mlp = shape.text_width, shape.text_key_value_width, shape.text_mlp_width
    return shape.text_layers * rank * (4 * width + 2 * (width + narrow) + 3 * (width + mlp))
