"""A prompt with several images is what transformers' own processor and network make of it."""

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from medres import models, resolution
from medres.inference import check, generation
from medres.models import LoadedModel, conversation, parts, tiny
from medres.models.conversation import IGNORED
from tests import contract, processors

WORDS = "The first image shows the whole. Images 2 to 3 show its parts: 2 left, 3 right."
ASKED = contract.ASKED
SHAPES = ((5, 3), (3, 5), (2, 7)), ((4, 4), (2, 2), (6, 1))
"""Columns and rows of visual tokens of the images of two prompts."""


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], LoadedModel]:
    folder = tmp_path_factory.mktemp("families")
    kept: dict[str, LoadedModel] = {}

    def by_name(name: str) -> LoadedModel:
        if name not in kept:
            kept[name] = contract.load(name, folder)
        return kept[name]

    return by_name


def _images(model: LoadedModel, prompt: int = 0) -> list[Image.Image]:
    side = model.multiple_px if model.multiple_px > 1 else 28
    return [
        contract.noise((side * columns, side * rows), 10 * prompt + number)
        for number, (columns, rows) in enumerate(SHAPES[prompt])
    ]


def _tree(model: LoadedModel, images: list[Image.Image], **told: Any) -> conversation.Tree:
    sizes = [image.size for image in images]
    ids = [str(number) for number in range(len(ASKED))]
    options = list(ASKED.values())
    return conversation.encode(model, sizes, ids, list(ASKED), options, words=WORDS, **told)


def _crops(pixels: torch.Tensor) -> torch.Tensor:
    """Return crops one after the other, without those that only fill up a batch."""
    crops = pixels.flatten(0, -4)
    return crops[crops.flatten(1).any(1)]


@pytest.mark.parametrize("name", tiny.NAMES)
def test_tokens_and_pixels_are_those_of_the_processor(
    name: str, load: Callable[[str], LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(name)
    processor, images = processors.own(model, monkeypatch), _images(model)
    for question, options in ASKED.items():
        asked = f"{WORDS}\n{question}"
        theirs = processors.inputs(model, processor, images, asked, options[0])
        sizes = [image.size for image in images]
        tree = conversation.encode(model, sizes, ["q"], [question], [options[:1]], words=WORDS)
        assert tree.token_ids.tolist() == theirs["input_ids"][0].tolist()
        ours = models.pixel_inputs(model, images, list(tree.layouts))
        assert ours.keys() <= theirs.keys()
        for key, value in ours.items():
            other = torch.as_tensor(theirs[key])
            if other.shape[:-3] != value.shape[:-3] and key == "pixel_values":
                value, other = _crops(value), _crops(other)
            if key != "pixel_attention_mask":  # of crops that are all whole
                assert torch.equal(value, other), key


@pytest.mark.parametrize("name", tiny.NAMES)
def test_positions_are_those_that_the_network_derives(
    name: str, load: Callable[[str], LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(name)
    processor, images = processors.own(model, monkeypatch), _images(model)
    ((question, options),) = list(ASKED.items())[:1]
    theirs = processors.inputs(model, processor, images, f"{WORDS}\n{question}", options[0])
    given: list[Any] = []
    text: Any = parts.language_model(model.network)
    hook = text.register_forward_pre_hook(
        lambda _, __, named: given.append(named["position_ids"]), with_kwargs=True
    )
    with torch.no_grad():
        model.network(**theirs, use_cache=False)
    hook.remove()
    sizes = [image.size for image in images]
    tree = conversation.encode(model, sizes, ["q"], [question], [options[:1]], words=WORDS)
    (found,) = given
    if found is None:
        found = torch.arange(len(tree.token_ids))[None]
    assert tree.positions.tolist() == found.flatten(0, -2)[-len(tree.positions) :].tolist()


@pytest.mark.parametrize("name", tiny.NAMES)
@torch.no_grad()
def test_options_are_as_probable_as_the_network_says(
    name: str, load: Callable[[str], LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(name)
    processor = processors.own(model, monkeypatch)
    prompts = [_images(model, prompt) for prompt in range(len(SHAPES))]
    trees = [_tree(model, images, with_ends=False) for images in prompts]
    scores = generation.score(model, trees, prompts)
    for images, (sums, _) in zip(prompts, scores, strict=True):
        flat, alone = [], []
        sizes = [image.size for image in images]
        for question, options in ASKED.items():
            for option in options:
                asked = f"{WORDS}\n{question}"
                prompt = processors.inputs(model, processor, images, asked)
                whole = processors.inputs(model, processor, images, asked, option)
                n_prompt = prompt["input_ids"].shape[1]
                logits = model.network(**whole, use_cache=False).logits[0].double()
                reply = whole["input_ids"][0, n_prompt:]
                each = torch.log_softmax(logits, -1)[n_prompt - 1 : -1]
                flat.append(float(each.gather(1, reply[:, None]).sum()))
                alone.append(check.score_alone(model, sizes, images, question, option, words=WORDS))
        assert np.abs(sums - flat).max() < 1e-5
        assert np.abs(sums - alone).max() < 1e-5
        assert np.ptp(flat) > 1e-3


@pytest.mark.parametrize("name", tiny.NAMES)
@torch.no_grad()
def test_replies_are_those_of_generate(
    name: str, load: Callable[[str], LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(name)
    processor = processors.own(model, monkeypatch)
    prompts = [_images(model, prompt) for prompt in range(len(SHAPES))]
    trees = [_tree(model, images, with_ends=False) for images in prompts]
    to_reply = [list(range(len(ASKED)))] * len(prompts)
    _, replies = generation.score_and_reply(model, trees, prompts, to_reply, max_new_tokens=8)
    for images, found in zip(prompts, replies, strict=True):
        for number, question in enumerate(ASKED):
            theirs = processors.inputs(model, processor, images, f"{WORDS}\n{question}")
            made = model.network.generate(
                **theirs,
                max_new_tokens=8,
                do_sample=False,
                eos_token_id=sorted(generation.stops(model)),
            )
            own = made[0, theirs["input_ids"].shape[1] :].tolist()
            assert found[number] == generation.said.read(model, own)
            assert found[number].reply_tokens == len(own)


@pytest.mark.parametrize("name", tiny.NAMES)
@torch.no_grad()
def test_the_training_loss_of_crops_is_that_of_the_network(
    name: str, load: Callable[[str], LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(name)
    processor, picture = processors.own(model, monkeypatch), contract.noise((300, 200))
    treatment = models.treatment(model.config, **contract.PIXELS, tiling=model.tiling)
    geometry = resolution.plan(picture.size, "crops-4", treatment)
    images = [resolution.apply(picture, view) for view in geometry.views]
    first = {question: options[0] for question, options in ASKED.items()}
    replies = [[reply] for reply in first.values()]
    tree = conversation.about(model, geometry, ["0", "1"], list(first), replies)
    assert len(images) == len(tree.layouts) == 5
    assert sum(tree.token_ids == model.image_token_id) == geometry.visual_tokens
    ours = float(contract._loss(model, [(tree, images)]))
    theirs = 0.0
    for question, reply in first.items():
        asked = f"{geometry.words}\n{question}"
        whole = processors.inputs(model, processor, images, asked, reply)
        prompt = processors.inputs(model, processor, images, asked)
        labels = whole["input_ids"].clone()
        labels[:, : prompt["input_ids"].shape[1]] = IGNORED
        n_targets = int((labels != IGNORED).sum())
        loss = model.network(**whole, labels=labels, use_cache=False).loss
        theirs += n_targets * float(loss)
    assert ours == pytest.approx(theirs, abs=1e-4)


def test_an_image_too_few_is_refused(load: Callable[[str], LoadedModel], tmp_path: Path) -> None:
    model = load("tiny-qwen2-vl")
    images = _images(model)
    with pytest.raises(ValueError, match="2 images are given, the prompts have 3"):
        generation.score(model, [_tree(model, images)], [images[:2]])


def test_a_template_that_takes_one_image_alone_is_refused(
    load: Callable[[str], LoadedModel],
) -> None:
    model = load("tiny-qwen2-vl")
    tokenizer = copy.copy(model.tokenizer)
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "{%- for part in message.content -%}",
        "{%- for part in message.content[-2:] -%}",
    )
    other = dataclasses.replace(model, tokenizer=tokenizer)
    conversation.encode(other, (56, 56), ["q"], ["is it?"], [["yes"]])
    with pytest.raises(ValueError, match="must place exactly 3 images, before the question"):
        _tree(other, _images(other))
