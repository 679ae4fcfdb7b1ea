import numpy as np
import pytest
import torch

from medres.models import rotary


def _angles(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    half = torch.from_numpy(np.random.default_rng(seed).uniform(-3, 3, shape))
    return torch.cat([half, half], dim=-1)


@pytest.mark.parametrize("shape", [(5, 3, 4), (2, 1, 6), (1, 2, 2)])
def test_pairs_turn_like_complex_numbers(shape: tuple[int, ...]) -> None:
    *before, width = shape
    states = torch.from_numpy(np.random.default_rng(1).normal(size=shape))
    angles = _angles((before[0], 1, width // 2), seed=2)
    turned = rotary.turn(states, angles.cos(), angles.sin())
    first, second = states.chunk(2, dim=-1)
    expected = torch.complex(first, second) * torch.exp(1j * angles.chunk(2, dim=-1)[0])
    torch.testing.assert_close(turned, torch.cat([expected.real, expected.imag], dim=-1))


def test_the_gradient_is_that_of_differences() -> None:
    states = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 2, 4))).requires_grad_()
    angles = _angles((3, 1, 2), seed=3)
    cos, sin = angles.cos(), angles.sin()
    assert torch.autograd.gradcheck(lambda given: rotary.turn(given, cos, sin), states)


def test_states_in_16_bits_are_turned_in_the_precision_of_the_angles() -> None:
    states = torch.tensor([[1.0, 0.0]], dtype=torch.bfloat16)
    angles = torch.tensor([[0.1, 0.1]])
    turned = rotary.turn(states, angles.cos(), angles.sin())
    assert turned.dtype == torch.bfloat16
    # cos 0.1 = 0.99500, sin 0.1 = 0.09983, rounded once to 8 bits.
    assert turned.float().tolist()[0] == pytest.approx([0.9951, 0.0998], abs=2e-3)
