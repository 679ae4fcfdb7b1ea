"""Options and replies from copies of a cache, against the tree, flat conversations, generate."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from medres import models
from medres.inference import check, decoding, from_cache, generation
from medres.inference.said import Said
from medres.models import LoadedModel, conversation
from medres.models.trees import Tree
from tests import families

ASKED: dict[str, dict[str, list[str]]] = {
    "four of each": {
        "which modality is it?": ["CT", "MRI", "X-ray", "ultrasound"],
        "which organ is it??": ["lung", "liver", "the heart", "brain"],
        "is there a nodule?": ["yes", "no", "perhaps", "cannot tell"],
        "where?": ["left", "right", "left and right", "nowhere"],
    },
    "open questions too": {
        "what is seen?": [],
        "is it??": ["yes", "no"],
        "µ-opioid?": ["α", "病変", "a rather long description of what may be seen here"],
        "and what else?": [],
    },
    "common beginnings": {
        "where?": ["here", "here and there", "there", "here"],
        "one option": ["a"],
        "an empty one": ["", "no"],
        "only that": [""],
    },
    "many options": {"which?": [f"compound {number:02d}" for number in range(30)]},
}
SIZES = [(56, 84), (28, 56), (84, 56), (56, 84)]
"""Of a batch; the first, third and last have as many visual tokens."""
N_NEW_TOKENS = 5


@pytest.fixture(autouse=True)
def few_new_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "MAX_NEW_TOKENS", N_NEW_TOKENS)


@pytest.fixture(params=[0, from_cache.PASS_TOKENS, 100_000], ids=["once", "both", "repeated"])
def repeated(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Questions computed once, or in front of each of their options."""
    monkeypatch.setattr(from_cache, "PASS_TOKENS", request.param)


def _noise(size_px: tuple[int, int], seed: int) -> Image.Image:
    width, height = size_px
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def _tree(
    model: LoadedModel, size_px: tuple[int, int], asked: dict[str, list[str]], *, ends: bool
) -> Tree:
    texts = list(asked)
    return conversation.encode(model, size_px, texts, texts, list(asked.values()), with_ends=ends)


def _by_cache(model: LoadedModel) -> LoadedModel:
    return dataclasses.replace(model, sharing="cache")


@torch.no_grad()
def _answers(
    model: LoadedModel, asked: Sequence[Tree], pixels: Sequence[Any]
) -> tuple[list[np.ndarray], list[dict[int, Said]]]:
    wanted = [list(range(len(tree.prompt_ends))) for tree in asked]
    return generation.score_and_reply(model, asked, pixels, wanted)


@pytest.mark.parametrize("name", families.PAPER)
@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.usefixtures("repeated")
def test_scores_and_replies_are_those_of_the_tree(name: str, ends: bool) -> None:
    model = models.load(name)
    assert model.sharing == "tree"
    images = [_noise(size_px, seed) for seed, size_px in enumerate(SIZES)]
    asked = [
        _tree(model, image.size, each, ends=ends)
        for image, each in zip(images, ASKED.values(), strict=True)
    ]
    expected, replies = _answers(model, asked, images)
    found, ours = _answers(_by_cache(model), asked, images)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)
    assert ours == replies
    assert [list(each) for each in ours] == [list(each) for each in replies]


@pytest.mark.parametrize("name", families.PAPER)
def test_scores_and_replies_are_those_of_flat_conversations(name: str) -> None:
    model = _by_cache(models.load(name))
    images = [_noise(size_px, seed) for seed, size_px in enumerate(SIZES[1:3])]
    asked = ASKED["open questions too"]
    encoded = [_tree(model, image.size, asked, ends=False) for image in images]
    scores, replies = _answers(model, encoded, images)
    for image, sums, texts in zip(images, scores, replies, strict=True):
        alone = [
            check.score_alone(model, image.size, image, question, option)
            for question, options in asked.items()
            for option in options
        ]
        np.testing.assert_allclose(sums[0], alone, rtol=0, atol=1e-5)
        said = [each.answer for each in texts.values()]
        assert said == [_generated(model, image, each) for each in asked]


def _generated(model: LoadedModel, image: Image.Image, question: str) -> str:
    tree = _tree(model, image.size, {question: []}, ends=False)
    return _reply(model, tree, models.pixel_inputs(model, [image]))


def _reply(model: LoadedModel, tree: Tree, vision: dict[str, torch.Tensor]) -> str:
    return _text(model, _reply_ids(model, tree, vision))


def _text(model: LoadedModel, ids: list[int]) -> str:
    return str(model.tokenizer.decode(ids, skip_special_tokens=True)).strip()


@torch.no_grad()
def _reply_ids(model: LoadedModel, tree: Tree, vision: dict[str, torch.Tensor]) -> list[int]:
    """Return the greedy reply to the question of a flat conversation, by `generate`."""
    input_ids = torch.from_numpy(tree.token_ids)[None]
    found = model.network.generate(
        input_ids=input_ids,
        attention_mask=torch.ones_like(input_ids),
        **models.flat_inputs(model, input_ids),
        **vision,
        max_new_tokens=N_NEW_TOKENS,
        do_sample=False,
        eos_token_id=sorted(decoding.stops(model)),
        pad_token_id=model.tokenizer.pad_token_id,
    )
    ids: list[int] = found[0, input_ids.shape[1] :].tolist()
    return ids


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """Rows, tokens per row and logits of each pass."""
    seen: list[tuple[int, int, int]] = []
    real = from_cache._forward

    def noting(model: LoadedModel, token_ids: np.ndarray, *given: Any, **named: Any) -> Any:
        output = real(model, token_ids, *given, **named)
        seen.append((*token_ids.shape, output.logits.numel()))
        return output

    monkeypatch.setattr(from_cache, "_forward", noting)
    return seen


def test_passes_are_few(tiny_model: LoadedModel, passes: list[tuple[int, int, int]]) -> None:
    model, asked = (
        _by_cache(tiny_model),
        {"which organ is it?": ["a", "b"], "is it?": ["yes", "no"]},
    )
    images = [_noise((56, 56), seed) for seed in range(3)]
    encoded = [_tree(model, image.size, asked, ends=False) for image in images]
    with torch.no_grad():
        generation.score(model, encoded, images)
        assert [rows for rows, _, _ in passes] == [3, 12], "roots, options with their questions"
        passes.clear()
        more = {question: [*options, *"cdefghij"] for question, options in asked.items()}
        generation.score(model, [_tree(model, (56, 56), more, ends=False)] * 3, images)
    assert [rows for rows, _, _ in passes] == [3, 3, 30, 3, 30], "and questions of each length"


@pytest.mark.parametrize("n_common", range(N_NEW_TOKENS + 1))
def test_a_reply_goes_on_from_the_option_where_it_left(
    tiny_model: LoadedModel, passes: list[tuple[int, int, int]], n_common: int
) -> None:
    model, image = _by_cache(tiny_model), _noise((56, 56), 0)
    prompt = _tree(model, image.size, {"what?": []}, ends=False)
    said = _reply_ids(model, prompt, models.pixel_inputs(model, [image]))
    assert len(said) == N_NEW_TOKENS
    tree = _tree(model, image.size, {"what?": ["abcdefghijklmnopq"]}, ends=False)
    leaf = tree.targets[:N_NEW_TOKENS]
    assert (leaf > 0).all()
    token_ids, target_ids = tree.token_ids.copy(), tree.target_ids.copy()
    token_ids[leaf[:n_common]] = target_ids[:n_common] = said[:n_common]
    tree = dataclasses.replace(tree, token_ids=token_ids, target_ids=target_ids)
    _, (replies,) = _answers(model, [tree], [image])
    assert {number: each.answer for number, each in replies.items()} == {0: _text(model, said)}
    # The last token of the reply is not fed, so that the option need not go that far.
    is_followed = n_common >= N_NEW_TOKENS - 1
    n_prompt = len(prompt.token_ids) - prompt.n_root
    further = [] if is_followed else [n_prompt] + [1] * (N_NEW_TOKENS - 1)
    assert [n_tokens for _, n_tokens, _ in passes][2:] == further


@pytest.mark.usefixtures("repeated")
def test_passes_of_bounded_size_answer_as_large_ones(
    tiny_model: LoadedModel, passes: list[tuple[int, int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _by_cache(tiny_model)
    images = [_noise(size_px, seed) for seed, size_px in enumerate(SIZES)]
    asked = [
        _tree(model, image.size, each, ends=False)
        for image, each in zip(images, ASKED.values(), strict=True)
    ]
    expected, replies = _answers(model, asked, images)
    most = 9 * model.shape.vocabulary
    bounds: list[tuple[Any, str, int, Callable[[int, int, int], bool]]] = [
        (conversation, "MAX_PASS_TOKENS", 70, lambda rows, n_tokens, _: rows * n_tokens <= 70),
        (from_cache, "MAX_LOGITS", most, lambda _, __, n_logits: n_logits <= most),
        (from_cache, "MAX_CACHE_BYTES", 1, lambda _, n_tokens, __: n_tokens >= shortest_root),
    ]
    shortest_root = min(tree.n_root for tree in asked)
    for module, bound, value, is_within in bounds:
        passes.clear()
        with monkeypatch.context() as patch:
            patch.setattr(module, bound, value)
            found, ours = _answers(model, asked, images)
        assert passes
        assert all(each[0] == 1 or is_within(*each) for each in passes), bound
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)
        assert ours == replies
