"""Qwen2-VL's vision tower as it is, in fewer and larger operations.

The weights, their names and the results, up to rounding, are those of transformers.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.activations import QuickGELUActivation

from medres.models import rotary


def use(network: PreTrainedModel) -> None:
    """Give a network of transformers' Qwen2-VL the operations of this module."""
    tower: Any = network.model.visual
    _use_linear_patch_embedding(tower.patch_embed)
    for block in tower.blocks:
        _use_attention_by_size(block.attn)
        if isinstance(block.mlp.act, QuickGELUActivation):
            block.mlp.act = QuickGelu()


def _use_linear_patch_embedding(embedding: Any) -> None:
    # A patch is one convolution window, so the convolution is a matrix product with
    # a cheaper backward pass on a CPU. The weight keeps its name and shape.
    def forward(patches: torch.Tensor) -> torch.Tensor:
        weight = embedding.proj.weight
        if patches.shape[-1] < weight[0].numel():
            # One frame instead of two equal ones.
            weight = weight.sum(2)
        return torch.nn.functional.linear(patches.to(weight.dtype), weight.flatten(1))

    embedding.forward = forward


def _use_attention_by_size(attention: Any) -> None:
    # Images of one size that follow each other attend together, not one by one.
    n_heads = attention.num_heads

    def forward(
        hidden_states: torch.Tensor,
        cu_seqlens: torch.Tensor,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        **_: Any,
    ) -> torch.Tensor:
        cos, sin = (each.float()[:, None] for each in position_embeddings)
        of_heads = attention.qkv(hidden_states).view(len(hidden_states), 3 * n_heads, -1)
        turned, values = of_heads.split((2 * n_heads, n_heads), dim=1)
        queries, keys = rotary.turn(turned, cos, sin).chunk(2, dim=1)
        sizes = [(length, len(list(same))) for length, same in groupby(cu_seqlens.diff().tolist())]
        n_patches = [length * n_images for length, n_images in sizes]
        split = [_split(each, n_patches) for each in (queries, keys, values)]
        attended = []
        for (length, n_images), *parts in zip(sizes, *split, strict=True):
            query, key, value = (
                each.view(n_images, length, n_heads, -1).transpose(1, 2) for each in parts
            )
            part = torch.nn.functional.scaled_dot_product_attention(
                query, key, value, scale=attention.scaling
            )
            attended.append(part.transpose(1, 2).flatten(0, 1))
        whole = attended[0] if len(attended) == 1 else torch.cat(attended)
        output: torch.Tensor = attention.proj(whole.flatten(1))
        return output

    attention.forward = forward


def _split(states: torch.Tensor, lengths: list[int]) -> Sequence[torch.Tensor]:
    # The gradient of a split is a copy, also of one into one part.
    return [states] if len(lengths) == 1 else states.split_with_sizes(lengths)


class QuickGelu(torch.nn.Module):
    """x sigmoid(1.702 x), as transformers' QuickGELUActivation, whose way back has five steps."""

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return the activation of each value."""
        activated: torch.Tensor = _QuickGelu.apply(states)  # type: ignore[no-untyped-call]
        return activated


class _QuickGelu(torch.autograd.Function):
    # With y = silu(f x) / f the derivative is silu'(f x).
    FACTOR = 1.702

    @staticmethod
    def forward(ctx: Any, states: torch.Tensor) -> torch.Tensor:
        scaled = states * _QuickGelu.FACTOR
        ctx.save_for_backward(scaled)
        return torch.nn.functional.silu(scaled).mul_(1 / _QuickGelu.FACTOR)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        (scaled,) = ctx.saved_tensors
        derived: torch.Tensor = torch.ops.aten.silu_backward(gradient, scaled)
        return derived
