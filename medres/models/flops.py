"""Floating-point operations of a model, from its sizes alone."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelShape:
    """The sizes of a model that determine its cost."""

    vision_layers: int
    vision_width: int
    vision_mlp_width: int
    patch_values: int
    """Numbers in one patch: channels x frames x patch side squared (3 x 2 x 14 x 14)."""
    patches_per_token: int
    """Patches merged into one visual token (2 x 2)."""
    text_layers: int
    text_width: int
    text_mlp_width: int
    text_key_value_width: int
    vocabulary: int
    crop_patches: int = 0
    """Patches per crop of a model that tiles; zero if an image is encoded as a whole."""
    class_tokens: int = 0
    """Tokens of a crop beside its patches whose output is not used."""
    merger_width: int = 0
    """Width between the merger's two layers; zero means that of the merged patches."""


def forward_flops(
    shape: ModelShape,
    *,
    visual_tokens: int,
    text_tokens: int,
    n_crops: int = 1,
    pass_tokens: int = 0,
) -> int:
    """Return the floating-point operations of one forward pass over one conversation.

    Counts matrix products and attention (a multiply-add is two operations), with full attention
    in the vision tower, full instead of causal attention in the language model, and logits at
    every position; norms and activations are not counted, as in PyTorch's FlopCounterMode.

    Args:
        shape: Sizes of the model.
        visual_tokens: Tokens of the image.
        text_tokens: All other tokens of the conversation.
        n_crops: Crops that the vision tower encodes separately.
        pass_tokens: Most text tokens at once; more attend to the image in several passes. Zero
            means all.

    Returns:
        Operations of vision tower, merger, language model and head together.
    """
    vision, _, weights, attention = _parts(shape, visual_tokens, text_tokens, n_crops)
    if 0 < pass_tokens < text_tokens:
        pairs = visual_tokens**2 + text_tokens * (visual_tokens + pass_tokens)
        attention = attention * pairs // (visual_tokens + text_tokens) ** 2
    return vision + weights + attention


def _parts(
    shape: ModelShape, visual_tokens: int, text_tokens: int, n_crops: int
) -> tuple[int, int, int, int]:
    """Return operations of vision (with merger), its attention, and the language model's two."""
    patches = shape.crop_patches or visual_tokens * shape.patches_per_token
    width = shape.vision_width
    merged = width * shape.patches_per_token
    tokens_of_crop = patches + shape.class_tokens
    crop = 2 * patches * shape.patch_values * width
    in_attention = shape.vision_layers * 4 * tokens_of_crop**2 * width
    crop += in_attention + shape.vision_layers * (
        2 * tokens_of_crop * (4 * width**2 + 2 * width * shape.vision_mlp_width)
    )
    hidden = shape.merger_width or merged
    crop += 2 * (patches // shape.patches_per_token) * hidden * (merged + shape.text_width)
    tokens = visual_tokens + text_tokens
    text = shape.text_layers * (
        2 * tokens * shape.text_width * (2 * shape.text_width + 2 * shape.text_key_value_width)
        + 6 * tokens * shape.text_width * shape.text_mlp_width
    )
    attention = shape.text_layers * 4 * tokens**2 * shape.text_width
    head = 2 * tokens * shape.text_width * shape.vocabulary
    return n_crops * crop, n_crops * in_attention, text + head, attention


def training_flops(
    shape: ModelShape,
    *,
    visual_tokens: int,
    text_tokens: int,
    n_crops: int = 1,
    is_adapted: bool = False,
) -> int:
    """Return the operations of one training step over one conversation.

    The backward pass costs twice the forward pass (gradients of inputs and of weights). With
    adapters there is no backward pass through vision tower and merger, and weights of the
    language model have no gradients; the adapters' own operations are not counted.
    """
    vision, _, weights, attention = _parts(shape, visual_tokens, text_tokens, n_crops)
    if is_adapted:
        return vision + 2 * weights + 3 * attention
    return 3 * (vision + weights + attention)


def repeated_flops(
    shape: ModelShape,
    *,
    visual_tokens: int,
    text_tokens: int,
    n_crops: int = 1,
    is_adapted: bool = False,
) -> tuple[int, int]:
    """Return what gradient checkpointing computes again for a conversation.

    With adapters that is the language model alone.

    Returns:
        Operations without attention, and those of attention, which can be kept instead.
    """
    vision, of_vision, weights, attention = _parts(shape, visual_tokens, text_tokens, n_crops)
    if is_adapted:
        return weights, attention
    return vision - of_vision + weights, of_vision + attention
