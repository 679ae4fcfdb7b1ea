"""Replies and scores of trees against transformers' own, one question at a time."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Qwen2VLForConditionalGeneration

from medres import models, resolution
from medres.inference import asking, generation
from medres.models import conversation, tiny
from medres.models.conversation import Tree
from medres.models.qwen2_vl import LoadedModel

SAID = {
    "is it enlarged?": "yes",
    "what is the grade?": "grade 2",
    "what is seen?": "lung nodules",
}
N_STEPS = 25


def _noise(size_px: tuple[int, int], seed: int = 0) -> Image.Image:
    width, height = size_px
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def _tree(model: LoadedModel, image: Image.Image, asked: dict[str, list[str]]) -> Tree:
    return conversation.encode(model, image.size, list(asked), list(asked), list(asked.values()))


@torch.no_grad()
def _replies(
    model: LoadedModel, images: list[Image.Image], asked: list[dict[str, list[str]]]
) -> list[list[str]]:
    trees = [_tree(model, image, each) for image, each in zip(images, asked, strict=True)]
    wanted = [list(range(len(each))) for each in asked]
    _, replies = generation.score_and_reply(model, trees, images, wanted)
    return [list(each.values()) for each in replies]


def _alone(model: LoadedModel, image: Image.Image, question: str) -> str:
    treatment = models.treatment(
        model.config, low_max_pixels=50_176, native_max_pixels=50_176, resampling_filter="bicubic"
    )
    geometry = resolution.plan(image.size, "native", treatment)
    assert geometry.given_px == image.size
    return generation.generate(model, geometry, image, "q", question)


@pytest.fixture(scope="module")
def taught() -> LoadedModel:
    """A tiny model that was taught to say `SAID`, so that its replies end by themselves."""
    model = models.load(tiny.NAME)
    image = _noise((56, 56))
    tree = _tree(model, image, {question: [reply] for question, reply in SAID.items()})
    batch = conversation.collate([tree], pad_token_id=model.tokenizer.pad_token_id)
    wanted = conversation.labels([tree], batch["logits_to_keep"])
    inputs = batch | models.pixel_inputs(model, [image])
    optimizer = torch.optim.Adam(model.network.parameters(), lr=2e-3)
    for _ in range(N_STEPS):
        logits = model.network(**inputs, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits[0], wanted[0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch, taught: LoadedModel) -> Iterator[list[int]]:
    """The tokens of a row in each pass through the language model."""
    lengths: list[int] = []

    def note(module: Any, inputs: Any, named: dict[str, Any], output: Any) -> None:
        lengths.append(output.last_hidden_state.shape[1])

    hook = taught.network.model.register_forward_hook(note, with_kwargs=True)
    yield lengths
    hook.remove()


@pytest.mark.parametrize("name", tiny.NAMES)
def test_replies_of_many_questions_and_images_are_those_of_each_asked_alone(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random weights: replies wander, and none follows an option."""
    monkeypatch.setattr(generation, "MAX_NEW_TOKENS", 6)
    model = models.load(name)
    images = [_noise((56, 84), 1), _noise((28, 56), 2), _noise((112, 56), 3)]
    asked = [
        {"is it?": ["yes", "no"], "what is seen?": [], "µ-opioid?": ["α", "no", "none"]},
        {"what is seen?": []},
        {"which organ is it?": ["lung", "brain"], "where?": ["left", "right"]},
    ]
    alone = [
        [_alone(model, image, question) for question in each]
        for image, each in zip(images, asked, strict=True)
    ]
    assert _replies(model, images, asked) == alone
    assert len({reply for each in alone for reply in each}) > 1


def test_a_reply_that_is_an_option_takes_no_further_pass(
    taught: LoadedModel, passes: list[int]
) -> None:
    image = _noise((56, 56))
    asked = {
        "is it enlarged?": ["no", "yes"],
        "what is the grade?": ["grade 1", "grade 2 and more", "grade 3"],
        "what is seen?": ["lung", "lung nodules"],
    }
    assert _replies(taught, [image], [asked]) == [list(SAID.values())]
    assert len(passes) == 1
    assert [_alone(taught, image, question) for question in asked] == list(SAID.values())


@pytest.mark.parametrize("option", ["grade 1", "grade", "none", ""])
def test_a_reply_that_leaves_the_options_goes_on_from_where_it_left(
    taught: LoadedModel, passes: list[int], option: str
) -> None:
    image = _noise((56, 56))
    asked = {"is it enlarged?": ["yes", "no"], "what is the grade?": [option] if option else []}
    expected = [[SAID[question] for question in asked]]
    assert _replies(taught, [image], [asked]) == expected
    n_tokens = len(taught.tokenizer.encode("grade 2<|im_end|>"))
    assert 2 <= len(passes) <= n_tokens
    assert set(passes[1:]) == {1}


def test_decoding_goes_on_only_for_the_images_that_need_it(
    taught: LoadedModel, passes: list[int]
) -> None:
    images = [_noise((56, 56), seed) for seed in (0, 1, 2)]
    question = "is it enlarged?"
    asked = [{question: ["yes", "no"]}, {question: ["none", "no"]}, {question: ["no", "yes"]}]
    assert _replies(taught, images, asked) == [
        [_alone(taught, image, question)] for image in images
    ]


def test_a_reply_that_never_ends_is_cut_where_generate_cuts_it(
    taught: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "MAX_NEW_TOKENS", 1)
    image = _noise((56, 56))
    asked = {"what is seen?": ["lung nodules"], "is it enlarged?": []}
    assert _replies(taught, [image], [asked]) == [
        [_alone(taught, image, question) for question in asked]
    ]


def test_scores_do_not_depend_on_whether_replies_are_wanted(taught: LoadedModel) -> None:
    image = _noise((84, 56))
    trees = [_tree(taught, image, {"is it?": ["yes", "no"], "what is seen?": []})]
    with torch.no_grad():
        without = generation.score(taught, trees, [image])
        scores, replies = generation.score_and_reply(taught, trees, [image], [[0, 1]])
    assert np.array_equal(without[0], scores[0])
    assert list(replies[0]) == [0, 1]


@pytest.mark.parametrize("name", tiny.NAMES)
def test_bfloat16_scores_are_near_and_log_probabilities_are_whole(name: str) -> None:
    images = [_noise((112, 84), 1), _noise((56, 56), 2)]
    found = {}
    for dtype in models.DTYPES:
        model = asking.load(name, revision="", tiling="information", dtype=dtype)
        assert model.network.dtype == models.DTYPES[dtype]
        trees = [
            _tree(model, image, {"is it?": ["yes", "no"], "what is seen?": ["lung", "a nodule"]})
            for image in images
        ]
        wanted = [[0, 1]] * len(trees)
        with torch.no_grad():
            scores, replies = generation.score_and_reply(model, trees, images, wanted)
        assert all(isinstance(reply, str) for each in replies for reply in each.values())
        found[dtype] = np.concatenate([each[0] for each in scores])
    difference = np.abs(found["bfloat16"] - found["float32"]).max()
    assert 1e-6 < difference < 0.15


def test_bfloat16_is_what_transformers_loads_in_bfloat16() -> None:
    """Rotary frequencies in 16 bits would misplace every token of a long conversation."""
    model = asking.load(tiny.NAME, revision="", tiling="information", dtype="bfloat16")
    theirs = Qwen2VLForConditionalGeneration.from_pretrained(
        models.locate(tiny.NAME), dtype=torch.bfloat16
    )
    image = _noise((224, 224))
    inputs = models.pixel_inputs(model, [image])
    tree = _tree(model, image, {"is it?": ["yes"]})
    given = conversation.collate([tree], pad_token_id=0) | inputs
    with torch.no_grad():
        ours, expected = (
            network(**{name: value.to(network.device) for name, value in given.items()}).logits
            for network in (model.network, theirs.eval().to(model.network.device))
        )
    assert torch.allclose(ours, expected, rtol=0, atol=0.05)
    buffers = dict(theirs.named_buffers())
    for name, buffer in model.network.named_buffers():
        assert buffer.dtype == buffers[name].dtype, name


@pytest.mark.parametrize("dtype", ["float16", "bf16", ""])
def test_unknown_numbers_raise(dtype: str) -> None:
    with pytest.raises(ValueError, match=f"dtype is '{dtype}'; use float32 or bfloat16"):
        asking.load(tiny.NAME, revision="", tiling="information", dtype=dtype)
