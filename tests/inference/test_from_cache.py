"""Options and replies from copies of a cache, against the tree, flat conversations, generate."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
)

from medres import models
from medres.inference import check, decoding, from_cache, generation
from medres.models import LoadedModel, conversation, tiny, trees
from medres.models.trees import Tree

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
) -> tuple[list[np.ndarray], list[dict[int, str]]]:
    wanted = [list(range(len(tree.prompt_ends))) for tree in asked]
    return generation.score_and_reply(model, asked, pixels, wanted)


@pytest.mark.parametrize("name", tiny.NAMES)
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


@pytest.mark.parametrize("name", tiny.NAMES)
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
        assert list(texts.values()) == [_generated(model, image, each) for each in asked]


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
        eos_token_id=decoding.end_of_turn(model),
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
    assert replies == {0: _text(model, said)}
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


# Networks that no tree serves, made from their configs: a gated delta rule takes no mask of a tree,
# and in Gemma 3 the tokens of an image see each other, which the tree's mask forbids.

N_VISUAL = 4


def _qwen3_5(model: LoadedModel) -> torch.nn.Module:
    """A network of gated delta rules and attention, with positions in three rows."""
    config = Qwen3_5Config(
        text_config={
            "vocab_size": model.shape.vocabulary,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
            "layer_types": ["linear_attention", "full_attention"] * 2,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e4,
                "partial_rotary_factor": 1.0,
                "mrope_section": [4, 2, 2],
                "mrope_interleaved": True,
            },
        },
        vision_config={
            "depth": 1,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "patch_size": 4,
            "out_hidden_size": 32,
            "num_position_embeddings": 16,
        },
        image_token_id=model.image_token_id,
        video_token_id=model.tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        vision_start_token_id=model.tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        vision_end_token_id=model.tokenizer.convert_tokens_to_ids("<|vision_end|>"),
    )
    return Qwen3_5ForConditionalGeneration(config)


def _gemma3(model: LoadedModel) -> torch.nn.Module:
    """A network with sliding windows shorter than a prompt, and a head that caps its logits."""
    config = Gemma3Config(
        text_config={
            "vocab_size": model.shape.vocabulary,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "query_pre_attn_scalar": 8,
            "sliding_window": 9,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
            "final_logit_softcapping": 3.0,
        },
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 8,
            "patch_size": 4,
        },
        mm_tokens_per_image=N_VISUAL,
        image_token_index=model.image_token_id,
    )
    return Gemma3ForConditionalGeneration(config)


@dataclasses.dataclass(frozen=True)
class _Made:
    """A network with what its family would give it."""

    model: LoadedModel
    pixels: Callable[[int], torch.Tensor]
    encode: Callable[[dict[str, list[str]]], Tree]


@pytest.fixture(params=["qwen3_5", "gemma3"])
def made(
    request: pytest.FixtureRequest, tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> _Made:
    is_gemma = request.param == "gemma3"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = (_gemma3 if is_gemma else _qwen3_5)(tiny_model).eval()
        with torch.no_grad():
            for name, weight in network.named_parameters():
                # So large that every token matters, the image's too.
                if weight.ndim > 1 or "mm_input_projection" in name:
                    weight.normal_(0, 0.1)
    model = dataclasses.replace(tiny_model, network=network, sharing="cache")
    kind = "token_type_ids" if is_gemma else "mm_token_type_ids"

    def vision(_: LoadedModel, images: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        if is_gemma:
            return {"pixel_values": torch.stack(images)}
        return {
            "pixel_values": torch.cat(images),
            "image_grid_thw": torch.tensor([(1, 4, 4)] * len(images)),
        }

    def flat_inputs(_: LoadedModel, input_ids: torch.Tensor) -> dict[str, torch.Tensor]:
        return {kind: (input_ids == model.image_token_id).long()}

    for name, replacement in {
        "answer_inputs": vision,
        "pixel_inputs": vision,
        "flat_inputs": flat_inputs,
    }.items():
        monkeypatch.setattr(models, name, replacement)

    def pixels(seed: int) -> torch.Tensor:
        shape = (3, 8, 8) if is_gemma else (16, 2 * 3 * 4 * 4)
        return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).float()

    def encode(asked: dict[str, list[str]]) -> Tree:
        tree = _tree(tiny_model, (56, 56), asked, ends=False)
        assert np.sum(tree.token_ids == model.image_token_id) == N_VISUAL
        if not is_gemma:
            return tree
        n_root = tree.n_root
        below = tree.positions[:1, n_root:]
        counted = np.concatenate([np.arange(n_root)[None], below - below.min() + n_root], axis=1)
        return dataclasses.replace(tree, positions=counted)

    return _Made(model, pixels, encode)


def _alone(made: _Made, pixels: torch.Tensor, question: str, option: str) -> float:
    """Return the log-probability of an option where the network makes positions and masks."""
    (path,) = trees.flat(made.encode({question: [option]}))
    input_ids = torch.from_numpy(np.append(path.token_ids, path.target_ids[-1]))[None]
    with torch.no_grad():
        logits = made.model.network(
            input_ids=input_ids,
            attention_mask=torch.ones_like(input_ids),
            **models.flat_inputs(made.model, input_ids),
            **models.pixel_inputs(made.model, [pixels]),
            use_cache=False,
        ).logits[0]
    chosen = torch.log_softmax(logits.double(), -1)
    return float(chosen[path.predictors, path.target_ids].sum())


@pytest.mark.usefixtures("repeated")
def test_networks_that_no_tree_serves_answer_as_in_flat_conversations(made: _Made) -> None:
    asked = [ASKED["open questions too"], ASKED["four of each"], ASKED["common beginnings"]]
    encoded = [made.encode(each) for each in asked]
    pixels = [made.pixels(seed) for seed in range(3)]
    scores, replies = _answers(made.model, encoded, pixels)
    for each, image, sums, texts in zip(asked, pixels, scores, replies, strict=True):
        alone = [
            _alone(made, image, question, option)
            for question, options in each.items()
            for option in options
        ]
        np.testing.assert_allclose(sums[0], alone, rtol=0, atol=1e-5)
        vision = models.pixel_inputs(made.model, [image])
        expected = [_reply(made.model, made.encode({question: []}), vision) for question in each]
        assert list(texts.values()) == expected


def test_the_tree_would_be_wrong_there_and_pixels_matter(made: _Made) -> None:
    tree = made.encode(ASKED["four of each"])
    pixels = [made.pixels(seed) for seed in range(2)]
    by_tree = dataclasses.replace(made.model, sharing="tree")
    with torch.no_grad():
        (one,), (other,) = (generation.score(made.model, [tree], [each]) for each in pixels)
        (wrong,) = generation.score(by_tree, [tree], pixels[:1])
    assert np.abs(one - other).max() > 1e-3
    assert np.abs(wrong - one).max() > 1e-3


def test_a_cache_is_not_changed_by_what_goes_on_from_its_copies(made: _Made) -> None:
    tree = made.encode(ASKED["four of each"])
    root = from_cache._Row(0, -1, np.arange(tree.n_root), 0)
    question = from_cache._Row(0, 0, tree.path(int(tree.prompt_ends[0])), 0)
    vision = models.answer_inputs(made.model, [made.pixels(0)])
    with torch.no_grad():
        cache = from_cache._pass(made.model, [tree], [root], None, vision=vision).past_key_values
        first, second = (
            from_cache._pass(made.model, [tree], [question, question], cache).logits
            for _ in range(2)
        )
    assert torch.equal(first, second)
    torch.testing.assert_close(first[0], first[1])
