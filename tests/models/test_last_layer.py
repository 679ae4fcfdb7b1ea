from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from medres import models
from medres.models import LoadedModel, conversation, last_layer, shared_prompt, tiny
from tests import families

SIZES_PX = ((56, 84), (28, 56))
ASKED = {
    "one path": [{"is there a nodule?": ["yes"]}, {"which?": ["golgi apparatus"]}],
    "branches": [
        {"is there a nodule?": ["yes"], "what is it?": ["golgi apparatus"]},
        {"which?": ["one"], "is it enlarged?": ["no"]},
    ],
}


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], LoadedModel]:
    """Gives a tiny model by name."""
    folder = tmp_path_factory.mktemp("last")
    return lambda name: models.load(str(tiny.make(folder / name, name)))


def _inputs(model: LoadedModel, asked: list[dict[str, list[str]]]) -> dict[str, Any]:
    random = np.random.default_rng(0)
    images = [
        Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))
        for width, height in SIZES_PX
    ]
    trees = [
        conversation.encode(model, image.size, list(each), list(each), list(each.values()))
        for image, each in zip(images, asked, strict=True)
    ]
    batch = conversation.collate(trees, pad_token_id=model.tokenizer.pad_token_id)
    return batch | models.pixel_inputs(model, images)


def _gradients(model: LoadedModel, logits: torch.Tensor) -> dict[str, torch.Tensor]:
    model.network.zero_grad()
    torch.log_softmax(logits, dim=-1)[..., 7].mean().backward()
    weights = model.network.named_parameters()
    return {name: weight.grad.clone() for name, weight in weights if weight.grad is not None}


@pytest.mark.parametrize("is_shared", [False, True])
@pytest.mark.parametrize("kind", ASKED)
@pytest.mark.parametrize("name", families.PAPER)
def test_logits_and_gradients_are_those_of_the_whole_layer(
    name: str, kind: str, is_shared: bool, load: Callable[[str], LoadedModel]
) -> None:
    model = load(name)
    inputs = _inputs(model, ASKED[kind])
    expected = model.network(**inputs, use_cache=False).logits
    wanted = _gradients(model, expected)
    with last_layer.only_at(model.network, inputs.pop("logits_to_keep")):
        if is_shared:
            hidden = shared_prompt.forward(
                model.network, inputs, image_token_id=model.image_token_id
            ).hidden
            found = model.network.lm_head(hidden)
        else:
            found = model.network(**inputs, use_cache=False).logits
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-5)
    given = _gradients(model, found)
    assert given.keys() == wanted.keys()
    largest = max(float(each.abs().max()) for each in wanted.values())
    for key, gradient in wanted.items():
        assert (given[key] - gradient).abs().max() < 1e-5 * largest, key


def test_a_layer_that_is_not_known_is_computed_whole(
    tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = _inputs(tiny_model, ASKED["branches"])
    expected = tiny_model.network(**inputs).logits
    monkeypatch.setattr(last_layer, "KNOWN", ())
    with last_layer.only_at(tiny_model.network, inputs.pop("logits_to_keep")):
        found = tiny_model.network(**inputs).logits
    assert torch.equal(found, expected)


def test_afterwards_the_network_is_as_before_also_after_an_error(
    tiny_model: LoadedModel,
) -> None:
    inputs = _inputs(tiny_model, ASKED["one path"])
    expected = tiny_model.network(**inputs).logits
    with (
        pytest.raises(KeyError, match="stopped"),
        last_layer.only_at(tiny_model.network, inputs["logits_to_keep"]),
    ):
        raise KeyError("stopped")
    assert torch.equal(tiny_model.network(**inputs).logits, expected)


def test_a_forward_pass_that_the_layer_had_before_is_given_back(tiny_model: LoadedModel) -> None:
    layer = tiny_model.network.model.language_model.layers[-1]
    own = layer.forward
    layer.forward = own
    try:
        with last_layer.only_at(tiny_model.network, torch.tensor([1])):
            assert layer.forward is not own
        assert layer.__dict__["forward"] is own
    finally:
        del layer.forward
