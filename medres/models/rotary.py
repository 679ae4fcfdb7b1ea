"""Rotary positions with a short way back.

The gradient of a turn is the turn by the opposite angle, which autograd finds with thrice the
operations when it goes back through slices and copies.
"""

from typing import Any

import torch


def turn(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Return states of heads turned by angles, computed in the angles' precision.

    Args:
        states: Shape (..., width of a head); the two values of a pair are half a head apart.
        cos: Cosines of the angles, to be broadcast to the states; their halves are equal.
        sin: The sines, likewise.
    """
    turned: torch.Tensor = _Turn.apply(states.to(cos.dtype), cos, sin)  # type: ignore[no-untyped-call]
    return turned.to(states.dtype)


class _Turn(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
    ) -> torch.Tensor:
        ctx.save_for_backward(cos, sin)
        return _turned(states, cos, sin)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turned(gradient, cos, -sin), None, None


def _turned(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    half = states.shape[-1] // 2
    turned = states * cos
    turned[..., :half].addcmul_(states[..., half:], sin[..., :half], value=-1)
    turned[..., half:].addcmul_(states[..., :half], sin[..., half:])
    return turned
