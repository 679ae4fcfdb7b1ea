from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from medres import models
from medres.models import LoadedModel, conversation, shared_prompt, tiny
from tests import families

ASKED: list[dict[str, list[str]]] = [
    {"is there a nodule?": ["yes", "no"], "what is it?": ["a", "golgi apparatus"]},
    {"which?": ["one"]},
    {"is it enlarged?": ["no", "yes"]},
]
SIZES_PX = ((56, 84), (28, 56), (112, 56))


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], LoadedModel]:
    """Gives a tiny model by name."""
    folder = tmp_path_factory.mktemp("shared")
    return lambda name: models.load(str(tiny.make(folder / name, name)))


def _inputs(
    model: LoadedModel, asked: list[dict[str, list[str]]] = ASKED
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Return a batch, and the places of it that any tree needs."""
    random = np.random.default_rng(0)
    images = [
        Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))
        for (width, height), _ in zip(SIZES_PX, asked, strict=False)
    ]
    trees = [
        conversation.encode(model, image.size, list(each), list(each), list(each.values()))
        for image, each in zip(images, asked, strict=True)
    ]
    batch = conversation.collate(trees, pad_token_id=model.tokenizer.pad_token_id)
    is_real = torch.zeros(batch["input_ids"].shape, dtype=torch.bool)
    for row, tree in enumerate(trees):
        is_real[row, : len(tree.token_ids)] = True
    del batch["logits_to_keep"]
    return batch | models.pixel_inputs(model, images), is_real


def _log_probabilities(model: LoadedModel, hidden: torch.Tensor) -> torch.Tensor:
    return torch.log_softmax(model.network.lm_head(hidden).double(), dim=-1)


@pytest.mark.parametrize("is_branched", [True, False])
@pytest.mark.parametrize("name", families.PAPER)
def test_the_rest_is_that_of_the_whole_rows(
    name: str, is_branched: bool, load: Callable[[str], LoadedModel]
) -> None:
    model = load(name)
    asked = ASKED if is_branched else [{"what?": ["it"]}, {"which one?": ["that one"]}]
    inputs, is_real = _inputs(model, asked)
    assert ("attention_mask" in inputs) == is_branched
    with torch.no_grad():
        whole = model.network.model(**inputs, use_cache=True)
        rest = shared_prompt.forward(
            model.network, inputs, image_token_id=model.image_token_id, use_cache=True
        )
    n_shared = rest.n_shared
    before = inputs["input_ids"][0, : n_shared + 1].tolist()
    assert before.index(model.image_token_id) == n_shared > 0
    expected = _log_probabilities(model, whole.last_hidden_state[:, n_shared:])
    given = _log_probabilities(model, rest.hidden)
    assert (expected - given)[is_real[:, n_shared:]].abs().max() < 1e-5
    for layer, other in zip(whole.past_key_values.layers, rest.cache.layers, strict=True):
        assert layer.keys.shape == other.keys.shape
        torch.testing.assert_close(
            layer.keys[is_real.nonzero(as_tuple=True)[0], :, 0],
            (other.keys[is_real.nonzero(as_tuple=True)[0], :, 0]),
        )


@pytest.mark.parametrize("name", families.PAPER)
def test_gradients_are_those_of_the_whole_rows(
    name: str, load: Callable[[str], LoadedModel]
) -> None:
    model = load(name)
    inputs, is_real = _inputs(model)
    n_shared = shared_prompt.n_shared(inputs, image_token_id=model.image_token_id)
    gradients = []
    for is_shared in (False, True):
        model.network.zero_grad()
        if is_shared:
            hidden = shared_prompt.forward(
                model.network, inputs, image_token_id=model.image_token_id
            ).hidden
        else:
            hidden = model.network.model(**inputs, use_cache=False).last_hidden_state[:, n_shared:]
        chosen = _log_probabilities(model, hidden)[..., 7]
        chosen[is_real[:, n_shared:]].mean().backward()
        weights = model.network.named_parameters()
        gradients.append(
            {name: weight.grad.clone() for name, weight in weights if weight.grad is not None}
        )
    whole, shared = gradients
    assert whole.keys() == shared.keys()
    assert any("embed_tokens" in name for name in whole)
    largest = max(float(gradient.abs().max()) for gradient in whole.values())
    for name in whole:
        assert (whole[name] - shared[name]).abs().max() < 1e-5 * largest, name
    model.network.zero_grad()


@torch.no_grad()
def test_a_beginning_computed_before_is_used_again_and_again(
    load: Callable[[str], LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(tiny.NAME)
    inputs, _ = _inputs(model)
    token = model.image_token_id
    expected = shared_prompt.forward(model.network, inputs, image_token_id=token)
    begun = shared_prompt.begin(model.network, inputs, n_tokens=expected.n_shared)
    monkeypatch.setattr(shared_prompt, "begin", None)
    for _ in range(2):
        rest = shared_prompt.forward(model.network, inputs, image_token_id=token, begun=begun)
        assert rest.n_shared == expected.n_shared
        torch.testing.assert_close(rest.hidden, expected.hidden, rtol=0, atol=0)
    one, _ = _inputs(model, ASKED[:1])
    alone = shared_prompt.forward(model.network, one, image_token_id=token, begun=begun)
    whole = model.network.model(**one).last_hidden_state[:, alone.n_shared :]
    assert alone.n_shared == expected.n_shared
    torch.testing.assert_close(alone.hidden, whole, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_nothing_is_shared_by_other_beginnings_a_single_row_or_under_checkpointing(
    load: Callable[[str], LoadedModel],
) -> None:
    model = load(tiny.NAME)
    inputs, _ = _inputs(model)
    token = model.image_token_id
    begun = shared_prompt.begin(model.network, inputs, n_tokens=5)
    inputs["input_ids"][1, 3] += 1
    assert shared_prompt.n_shared(inputs, image_token_id=token) == 3
    rest = shared_prompt.forward(model.network, inputs, image_token_id=token, begun=begun)
    # Computed anew.
    assert rest.n_shared == 3
    inputs["position_ids"][:, :, 1:] += 1
    assert shared_prompt.n_shared(inputs, image_token_id=token) == 1
    inputs["input_ids"][0, 0] += 1
    assert shared_prompt.n_shared(inputs, image_token_id=token) == 0
    one, _ = _inputs(model, ASKED[:1])
    rest = shared_prompt.forward(model.network, one, image_token_id=token)
    assert rest.n_shared == 0
    assert rest.cache is None
    model.network.gradient_checkpointing_enable({"use_reentrant": False})
    several, _ = _inputs(model)
    model.network.train()
    rest = shared_prompt.forward(model.network, several, image_token_id=token)
    assert rest.n_shared == 0
    model.network.eval()
    rest = shared_prompt.forward(model.network, several, image_token_id=token)
    assert rest.n_shared > 0
