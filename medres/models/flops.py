"""Floating-point operations of a model, from its sizes alone."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from medres.resolution import Geometry

CHUNK = 64
"""Tokens that layers with a state, such as gated delta nets, take at a time."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a layer computes and keeps for one image or conversation."""

    flops_per_token: int
    """Operations of a forward pass outside attention."""
    padded_flops_per_token: int
    """Those of them that are done in whole chunks of `CHUNK` tokens."""
    repeated_flops_per_token: int
    """Operations that gradient checkpointing does again, outside attention: it stops at the last
    tensor that the backward pass needs."""
    attention_width: int
    """Heads times their width; zero for layers without attention."""
    kept_bytes: float
    """Bytes per token that are kept for the backward pass, in bf16."""
    pair_bytes: float
    """The same per pair of tokens: the mask, and probabilities where attention is spelt out."""
    float32_bytes: float
    """Bytes per token in 32 bits."""
    float32_pair_bytes: float
    padded_bytes: float
    """Of the bytes per token, those of whole chunks; a state is in 32 bits with any weights."""


@dataclass(frozen=True, kw_only=True)
class Layers(Cost):
    """Layers of equal cost, in a vision tower or a language model."""

    number: int
    width: int
    """Of what goes from layer to layer."""
    window: int = 0
    """Tokens that attend to each other; zero means all."""

    def token_flops(self, n_tokens: int) -> int:
        """Return the operations of all layers outside attention."""
        padding = -n_tokens % CHUNK
        one = n_tokens * self.flops_per_token + padding * self.padded_flops_per_token
        return self.number * one

    def attention_flops(self, n_tokens: int) -> int:
        """Return the operations of all layers' attention among so many tokens."""
        seen = min(self.window or n_tokens, n_tokens)
        return self.number * 4 * self.attention_width * n_tokens * seen


@dataclass(frozen=True)
class Patches:
    """How a family's vision tower sees an image."""

    per_token: int = 1
    """Patches that become one visual token."""
    per_crop: int = 0
    """Patches of a crop; zero if an image is encoded as a whole."""
    class_tokens: int = 0
    """Tokens of a crop beside its patches whose output is not used."""
    window: int = 0
    """Most patches that attend to each other, in layers with windows."""
    full_layers: tuple[int, ...] = ()
    """Layers without windows in a tower that has them."""
    padded_tokens: tuple[int, ...] = ()
    """Numbers of visual tokens; an image is padded to the next of them, behind a mask."""
    shares_mask: bool = False
    """Whether all layers of the tower share one mask, of numbers."""
    is_pooled_by_product: bool = False
    """Whether patches are averaged by a product with a matrix of all patches and tokens."""


@dataclass(frozen=True)
class ModelShape:
    """The sizes of a model that determine its cost; `shapes.shape_of` reads them off a config."""

    vision: tuple[Layers, ...]
    text: tuple[Layers, ...]
    patch_values: int
    """Numbers in one patch: channels x frames x patch side squared (3 x 2 x 14 x 14)."""
    patch_flops: int
    """Operations per patch before the layers of the tower."""
    merger_flops: int
    """Operations per visual token between the tower and the language model."""
    merger_first_flops: int = field(default=0, kw_only=True)
    """Those of them whose input needs no gradient if the tower is frozen: products on what leaves
    it, with no weights of the merger in between."""
    token_flops: int
    """Operations per token of the language model outside its layers, the head aside."""
    text_width: int
    vocabulary: int
    patches_per_token: int
    """Patches merged into one visual token (2 x 2)."""
    crop_patches: int = 0
    """Patches per crop of a model that tiles; zero if an image is encoded as a whole."""
    class_tokens: int = 0
    """Tokens of a crop beside its patches whose output is not used."""
    padded_tokens: tuple[int, ...] = ()
    """Numbers of visual tokens to which an image is padded in the vision tower."""
    shares_mask: bool = False
    """Whether the layers of the vision tower share one mask, of numbers."""
    is_pooled_by_product: bool = False
    """Whether patches are averaged by a product with a matrix of all patches and tokens."""

    def patches(self, visual_tokens: int) -> int:
        """Return the patches of a crop, or of an image that is encoded as a whole."""
        padded = min(
            (each for each in self.padded_tokens if each >= visual_tokens), default=visual_tokens
        )
        return self.crop_patches or padded * self.patches_per_token


@dataclass(frozen=True)
class _Parts:
    """Operations of a forward pass over one conversation."""

    vision: int
    """Of patch embedding, and of pooling, which has no weights."""
    merger: int
    merger_first: int
    """Of the merger's operations, those on what leaves the tower."""
    vision_layers: int
    vision_repeated: int
    vision_attention: int
    text: int
    """Of what stands beside the layers, and of the head."""
    text_layers: int
    text_repeated: int
    text_attention: int

    @property
    def all(self) -> int:
        return self.tower + self.merger + self.language

    @property
    def tower(self) -> int:
        return self.vision + self.vision_layers + self.vision_attention

    @property
    def language(self) -> int:
        return self.text + self.text_layers + self.text_attention


def of_image(geometry: Geometry) -> dict[str, Any]:
    """Return `visual_tokens`, `n_crops` and `views` of what follows, as they are planned.

    What a geometry has beyond its views, as the first step of zoom, counts as one more image.
    """
    each = [(view.visual_tokens, view.n_crops) for view in geometry.views]
    beyond = geometry.visual_tokens - sum(n_tokens for n_tokens, _ in each)
    if each and beyond:
        each.append((beyond, geometry.n_crops - sum(n_crops for _, n_crops in each)))
    return {
        "visual_tokens": geometry.visual_tokens,
        "n_crops": geometry.n_crops,
        "views": tuple(each),
    }


def forward_flops(
    shape: ModelShape,
    *,
    visual_tokens: int,
    text_tokens: int,
    n_crops: int = 1,
    views: Sequence[tuple[int, int]] = (),
    pass_tokens: int = 0,
    logit_tokens: int | None = None,
) -> int:
    """Return the floating-point operations of one forward pass over one conversation.

    Counts matrix products and attention (a multiply-add is two operations), with attention among
    all patches in the vision tower or in a window of it, and full instead of causal attention in
    the language model; norms and activations are not counted, as in PyTorch's FlopCounterMode.

    Args:
        shape: Sizes of the model.
        visual_tokens: Tokens of the image, or of all views.
        text_tokens: All other tokens of the conversation.
        n_crops: Crops that the vision tower encodes separately.
        views: Visual tokens and crops of each image, if there are several.
        pass_tokens: Most text tokens at once; more attend to the image in several passes. Zero
            means all.
        logit_tokens: Tokens at which logits are computed; None means all.

    Returns:
        Operations of vision tower, merger, language model and head together.
    """
    seen = tuple(views) or ((visual_tokens, n_crops),)
    parts = _parts(shape, seen, text_tokens, logit_tokens)
    attention = parts.text_attention
    if 0 < pass_tokens < text_tokens:
        pairs = visual_tokens**2 + text_tokens * (visual_tokens + pass_tokens)
        attention = attention * pairs // (visual_tokens + text_tokens) ** 2
    return parts.all - parts.text_attention + attention


def attention_flops(
    shape: ModelShape,
    *,
    visual_tokens: int,
    text_tokens: int,
    n_crops: int = 1,
    views: Sequence[tuple[int, int]] = (),
) -> int:
    """Return the operations of attention in `forward_flops`, which grow with the square of tokens.

    Those of the vision tower and the language model together, all text tokens in one pass.
    """
    seen = tuple(views) or ((visual_tokens, n_crops),)
    parts = _parts(shape, seen, text_tokens, 0)
    return parts.vision_attention + parts.text_attention


def _parts(
    shape: ModelShape,
    seen: Sequence[tuple[int, int]],
    text_tokens: int,
    logit_tokens: int | None,
) -> _Parts:
    """Return the operations of a conversation, `seen` being tokens and crops of its images."""
    vision = merger = merger_first = vision_layers = vision_repeated = vision_attention = 0
    for visual_tokens, n_crops in seen:
        patches = shape.patches(visual_tokens)
        of_crop = patches + shape.class_tokens
        merged = patches // shape.patches_per_token if shape.crop_patches else visual_tokens
        pooled = 0
        if shape.is_pooled_by_product:
            pooled = 2 * patches * (patches // shape.patches_per_token) * shape.vision[0].width
        repeated = sum(layers.number * layers.repeated_flops_per_token for layers in shape.vision)
        attention = sum(layers.attention_flops(of_crop) for layers in shape.vision)
        vision += n_crops * (patches * shape.patch_flops + pooled)
        merger += n_crops * merged * shape.merger_flops
        merger_first += n_crops * merged * shape.merger_first_flops
        vision_layers += n_crops * sum(layers.token_flops(of_crop) for layers in shape.vision)
        vision_repeated += n_crops * of_crop * repeated
        vision_attention += n_crops * attention
    tokens = sum(visual_tokens for visual_tokens, _ in seen) + text_tokens
    n_logits = tokens if logit_tokens is None else logit_tokens
    return _Parts(
        vision=vision,
        merger=merger,
        merger_first=merger_first,
        vision_layers=vision_layers,
        vision_repeated=vision_repeated,
        vision_attention=vision_attention,
        text=tokens * shape.token_flops + 2 * n_logits * shape.text_width * shape.vocabulary,
        text_layers=sum(layers.token_flops(tokens) for layers in shape.text),
        text_repeated=tokens
        * sum(layers.number * layers.repeated_flops_per_token for layers in shape.text),
        text_attention=sum(layers.attention_flops(tokens) for layers in shape.text),
    )


def training_flops(
    shape: ModelShape,
    *,
    visual_tokens: int,
    text_tokens: int,
    n_crops: int = 1,
    views: Sequence[tuple[int, int]] = (),
    logit_tokens: int | None = None,
    train_vision: str = "all",
    is_adapted: bool = False,
) -> int:
    """Return the operations of one training step over one conversation.

    The backward pass costs twice the forward pass (gradients of inputs and of weights); pixels
    have no gradient, and neither has what a frozen tower makes of them. There is no backward pass
    through what is frozen of the image side (`trainable.VISION`). With adapters that is all of it,
    and weights of the language model have no gradients; the adapters' own operations are not
    counted.
    """
    seen = tuple(views) or ((visual_tokens, n_crops),)
    parts = _parts(shape, seen, text_tokens, logit_tokens)
    if is_adapted:
        of_text = 2 * (parts.text + parts.text_layers) + 3 * parts.text_attention
        return parts.tower + parts.merger + of_text
    if train_vision == "none":
        return parts.tower + parts.merger + 3 * parts.language
    if train_vision == "merger":
        return parts.tower + 3 * parts.merger - parts.merger_first + 3 * parts.language
    patches = sum(crops * shape.patches(tokens) for tokens, crops in seen)
    return 3 * parts.all - patches * shape.patch_flops


def repeated_flops(
    shape: ModelShape,
    *,
    visual_tokens: int,
    text_tokens: int,
    n_crops: int = 1,
    views: Sequence[tuple[int, int]] = (),
    train_vision: str = "all",
) -> tuple[int, int]:
    """Return what gradient checkpointing computes again for a conversation.

    That is the layers, up to what their backward pass needs; with a frozen tower those of the
    language model alone.

    Returns:
        Operations without attention, and those of attention, which can be kept instead.
    """
    parts = _parts(shape, tuple(views) or ((visual_tokens, n_crops),), text_tokens, 0)
    if train_vision != "all":
        return parts.text_repeated, parts.text_attention
    attention = parts.vision_attention + parts.text_attention
    return parts.vision_repeated + parts.text_repeated, attention
