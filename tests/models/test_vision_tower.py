import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Qwen2VLForConditionalGeneration
from transformers.activations import QuickGELUActivation

from medres import models
from medres.models import LoadedModel, vision_tower

ORDERS = {
    "one image": [(56, 84)],
    "all of one size": [(56, 84)] * 3,
    "runs of sizes": [(56, 84), (56, 84), (28, 28), (28, 28), (28, 28)],
    "sizes in turns": [(56, 84), (28, 28), (56, 84), (84, 56), (28, 28)],
}
"""84 x 56 has as many patches as 56 x 84 and follows it, but not the same positions."""


def _inputs(model: LoadedModel, sizes_px: list[tuple[int, int]]) -> dict[str, torch.Tensor]:
    random = np.random.default_rng(0)
    images = [
        Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))
        for width, height in sizes_px
    ]
    inputs = models.pixel_inputs(model, images)
    return {"hidden_states": inputs["pixel_values"], "grid_thw": inputs["image_grid_thw"]}


@pytest.fixture
def plain(tiny_model: LoadedModel) -> Qwen2VLForConditionalGeneration:
    """The same weights in the network as transformers has it."""
    network = Qwen2VLForConditionalGeneration._from_config(tiny_model.config)
    network.load_state_dict(tiny_model.network.state_dict(), strict=True)
    return network.eval()


@pytest.mark.parametrize("name", ORDERS)
def test_features_and_gradients_are_those_of_transformers(
    name: str, tiny_model: LoadedModel, plain: Qwen2VLForConditionalGeneration
) -> None:
    inputs = _inputs(tiny_model, ORDERS[name])
    towers = [each.model.visual for each in (plain, tiny_model.network)]
    features, gradients = [], []
    for tower in towers:
        tower.zero_grad()
        features.append(tower(**inputs).pooler_output)
        features[-1].square().mean().backward()
        gradients.append({key: weight.grad.clone() for key, weight in tower.named_parameters()})
        tower.zero_grad()
    torch.testing.assert_close(features[1], features[0], rtol=1e-5, atol=1e-5)
    largest = max(float(each.abs().max()) for each in gradients[0].values())
    for key, expected in gradients[0].items():
        assert (gradients[1][key] - expected).abs().max() < 1e-5 * largest, key


def test_one_frame_has_the_gradients_of_two_equal_ones(tiny_model: LoadedModel) -> None:
    sizes_px = [(56, 84), (28, 28)]
    images = [Image.effect_noise(size, 90).convert("RGB") for size in sizes_px]
    tower = tiny_model.network.model.visual
    gradients = []
    for make in (models.pixel_inputs, models.answer_inputs):
        tower.zero_grad()
        inputs = make(tiny_model, images)
        output = tower(inputs["pixel_values"], grid_thw=inputs["image_grid_thw"])
        output.pooler_output.square().mean().backward()
        gradients.append(tower.patch_embed.proj.weight.grad.clone())
    tower.zero_grad()
    two, one = gradients
    assert torch.equal(one[:, :, 0], one[:, :, 1])
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5 * float(two.abs().max()))


def test_in_16_bits_the_tower_stays_as_near_to_32_as_transformers_is(
    tiny_model: LoadedModel, plain: Qwen2VLForConditionalGeneration
) -> None:
    inputs = _inputs(tiny_model, ORDERS["runs of sizes"])
    with torch.no_grad():
        exact = plain.model.visual(**inputs).pooler_output
        with torch.autocast("cpu", torch.bfloat16):
            errors = [
                (each.model.visual(**inputs).pooler_output - exact).abs().mean()
                for each in (plain, tiny_model.network)
            ]
    assert 0 < errors[1] < 1.5 * errors[0]


@pytest.mark.parametrize("value", [-30.0, -1.0, 0.0, 0.5, 30.0])
def test_the_activation_and_its_gradient_are_transformers_s(value: float) -> None:
    ours, theirs = (torch.tensor([value], requires_grad=True) for _ in range(2))
    vision_tower.QuickGelu()(ours).sum().backward()
    QuickGELUActivation()(theirs).sum().backward()
    torch.testing.assert_close(vision_tower.QuickGelu()(ours), QuickGELUActivation()(theirs))
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_saved_weights_keep_their_names(tiny_model: LoadedModel) -> None:
    expected = Qwen2VLForConditionalGeneration._from_config(tiny_model.config).state_dict()
    assert tiny_model.network.state_dict().keys() == expected.keys()
    assert models.load("tiny-qwen2-vl").network.state_dict().keys() == expected.keys()
