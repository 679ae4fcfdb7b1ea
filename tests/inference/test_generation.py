"""Replies and scores of trees against transformers' own, one question at a time."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Qwen2VLForConditionalGeneration

from medres import models, resolution
from medres.inference import asking, check, generation, predicted
from medres.models import LoadedModel, conversation, tiny
from medres.models.trees import Tree
from tests import families

SAID = {
    "is it enlarged?": "yes",
    "what is the grade?": "grade 2",
    "what is seen?": "lung nodules",
}
N_STEPS = 25
LONG = "a rather long description of what may be seen in the picture, and then some more of it"
MANY: dict[str, dict[str, list[str]]] = {
    "options": {"which compound?": [f"compound {number:03d}" for number in range(70)]},
    "long options": {"what?": ["a", LONG, "b", f"{LONG} {LONG}", "c"], "is it?": ["yes", "no"]},
    "long questions": {f"{LONG} {LONG}?": ["yes", "no", "perhaps"], "and?": ["a"], LONG: []},
    "questions": {f"question {number}?": ["yes", "no"] for number in range(40)},
    "open questions": {f"what is seen in part {number}?": [] for number in range(30)},
    "of all kinds": {
        "what?": [],
        "which?": [str(number) for number in range(60)],
        "µ-opioid?": ["α", "病変", LONG],
        "where?": ["here", "here and there", "there"],
    },
}
"""More tokens than fit into one pass of `FEW_TOKENS`."""
FEW_TOKENS = 60


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
    return [[reply.answer for reply in each.values()] for each in replies]


def _alone(model: LoadedModel, image: Image.Image, question: str) -> str:
    treatment = models.treatment(
        model.config, low_max_pixels=50_176, native_max_pixels=50_176, resampling_filter="bicubic"
    )
    geometry = resolution.plan(image.size, "native", treatment)
    assert geometry.given_px == image.size
    return generation.generate(model, geometry, image, "q", question).answer


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
    """The tokens of a row in each pass through the language model, but the shared prompt's."""
    lengths: list[int] = []

    def note(module: Any, inputs: Any, named: dict[str, Any], output: Any) -> None:
        if named.keys() & {"pixel_values", "past_key_values"}:
            lengths.append(output.last_hidden_state.shape[1])

    hook = taught.network.model.register_forward_hook(note, with_kwargs=True)
    yield lengths
    hook.remove()


@pytest.mark.parametrize("name", families.PAPER)
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
    without = _scores(taught, trees, [image])
    scores, replies = _answers(taught, trees, [image])
    assert np.array_equal(without[0], scores[0])
    assert list(replies[0]) == [0, 1]


@pytest.mark.parametrize("name", families.PAPER)
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
        assert all(isinstance(reply.answer, str) for each in replies for reply in each.values())
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


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The tokens of each pass below a root; few are allowed."""
    monkeypatch.setattr(conversation, "MAX_PASS_TOKENS", FEW_TOKENS)
    monkeypatch.setattr(generation, "MAX_NEW_TOKENS", 6)
    lengths: list[int] = []
    split = generation.passes

    def note(tree: Tree, *, n_tokens: int) -> list[np.ndarray]:
        found = split(tree, n_tokens=n_tokens)
        lengths.extend(map(len, found))
        return found

    monkeypatch.setattr(generation, "passes", note)
    return lengths


@torch.no_grad()
def _answers(
    model: LoadedModel, trees: list[Tree], images: list[Image.Image]
) -> tuple[list[np.ndarray], list[dict[int, str]]]:
    wanted = [list(range(len(tree.prompt_ends))) for tree in trees]
    return generation.score_and_reply(model, trees, images, wanted)


@torch.no_grad()
def _scores(model: LoadedModel, trees: list[Tree], images: list[Image.Image]) -> list[np.ndarray]:
    return generation.score(model, trees, images)


def _without_ends(model: LoadedModel, image: Image.Image, asked: dict[str, list[str]]) -> Tree:
    texts = list(asked)
    return conversation.encode(
        model, image.size, texts, texts, list(asked.values()), with_ends=False
    )


@pytest.mark.parametrize("name", families.PAPER)
@pytest.mark.parametrize("kind", MANY)
def test_several_passes_answer_as_one_does(
    name: str, kind: str, groups: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """113 options took 1.45 GB, and 1,000 were computed at once with a mask of their square."""
    model, image = models.load(name), _noise((84, 56), 1)
    for encode in (_tree, _without_ends):
        tree = encode(model, image, MANY[kind])
        before = len(groups)
        (scores,), (replies,) = _answers(model, [tree], [image])
        assert len(groups) > before + 1
        with monkeypatch.context() as patch:
            patch.setattr(conversation, "MAX_PASS_TOKENS", 100_000)
            after = len(groups)
            (expected,), (at_once,) = _answers(model, [tree], [image])
            assert len(groups) == after, "one pass is not split"
        np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-5)
        assert replies == at_once


@pytest.mark.parametrize("name", families.PAPER)
def test_several_passes_score_each_option_as_a_pass_of_its_own(
    name: str, groups: list[int]
) -> None:
    model, image = models.load(name), _noise((56, 84), 2)
    asked = MANY["of all kinds"]
    (scores,), (replies,) = _answers(model, [_tree(model, image, asked)], [image])
    assert len(groups) > 3
    flat = [
        check.score_alone(model, image.size, image, question, option)
        for question, options in asked.items()
        for option in options
    ]
    np.testing.assert_allclose(scores[0], flat, rtol=0, atol=1e-5)
    assert list(replies.values()) == [_alone(model, image, question) for question in asked]


@pytest.mark.parametrize("name", families.PAPER)
def test_a_batch_of_few_and_many_questions_answers_as_each_image_does(
    name: str, groups: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = models.load(name)
    images = [_noise((28 * n, 56), n) for n in (1, 3, 2, 1)]
    asked = [{"is it?": ["yes", "no"]}, MANY["options"], {"what?": []}, MANY["questions"]]
    trees = [_tree(model, image, each) for image, each in zip(images, asked, strict=True)]
    scores, replies = _answers(model, trees, images)
    assert len(groups) > 4
    monkeypatch.setattr(conversation, "MAX_PASS_TOKENS", 100_000)
    for tree, image, score, reply in zip(trees, images, scores, replies, strict=True):
        (expected,), (alone,) = _answers(model, [tree], [image])
        np.testing.assert_allclose(score, expected, rtol=0, atol=1e-5)
        assert reply == alone


def test_a_batch_of_large_images_is_computed_in_parts(
    taught: LoadedModel, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [_noise((112, 112), seed) for seed in range(3)]
    trees = [_tree(taught, image, {"is it enlarged?": ["no", "yes"]}) for image in images]
    expected = _scores(taught, trees, images)
    assert len(passes) == 1
    after_shared = passes.pop()
    monkeypatch.setattr(generation, "MAX_PAIRS", 2 * len(trees[0].token_ids) ** 2)
    found = _scores(taught, trees, images)
    assert passes == [after_shared] * 2, "of two images and of one"
    monkeypatch.setattr(generation, "MAX_PAIRS", len(trees[0].token_ids) ** 2 - 1)
    alone = _scores(taught, trees, images)
    assert len(passes) == 2 + 2 * 3, "root and rest of each"
    for one, two, three in zip(expected, found, alone, strict=True):
        np.testing.assert_allclose(two, one, rtol=0, atol=1e-5)
        np.testing.assert_allclose(three, one, rtol=0, atol=1e-5)


@pytest.mark.parametrize("place", [0, 24, 69])
def test_a_reply_that_is_an_option_of_any_pass_takes_no_further_pass(
    taught: LoadedModel, passes: list[int], groups: list[int], place: int
) -> None:
    image = _noise((56, 56))
    question = "is it enlarged?"
    options = [f"option {number}" for number in range(70)]
    options[place] = SAID[question]
    assert _replies(taught, [image], [{question: options}]) == [[SAID[question]]]
    assert len(passes) == 1 + len(groups), "the root and the options"


def test_a_reply_goes_on_from_the_option_where_it_left(
    taught: LoadedModel, passes: list[int], groups: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "MAX_NEW_TOKENS", 32)
    image = _noise((56, 56))
    question = "what is the grade?"
    options = [*(f"option {number}" for number in range(40)), "grade 1", "grade 2 and more"]
    asked = {"what is seen?": [], question: options, "is it enlarged?": ["no"]}
    assert _replies(taught, [image], [asked]) == [[SAID[each] for each in asked]]
    prompts = [len(taught.tokenizer.encode(each)) for each in asked]
    assert max(passes[1 + len(groups) :]) < FEW_TOKENS + max(prompts)


def test_replies_are_decoded_for_as_many_questions_as_a_pass_can_take(
    taught: LoadedModel, passes: list[int], groups: list[int]
) -> None:
    image, asked = _noise((56, 56)), MANY["questions"]
    tree = _tree(taught, image, asked)
    _answers(taught, [tree], [image])
    decoded = passes[1 + len(groups) :]
    assert len(decoded) > 20, "most replies are no option"
    assert max(decoded) <= FEW_TOKENS


@pytest.mark.parametrize("n_logits", [1, 3_000])
def test_logits_that_are_computed_in_slices_are_the_same(
    taught: LoadedModel, monkeypatch: pytest.MonkeyPatch, n_logits: int
) -> None:
    image = _noise((56, 56))
    tree = _tree(taught, image, MANY["of all kinds"])
    (expected,), (at_once,) = _answers(taught, [tree], [image])
    most: list[int] = []
    hook = taught.network.lm_head.register_forward_hook(
        lambda module, inputs, output: most.append(output.numel())
    )
    monkeypatch.setattr(predicted, "MAX_LOGITS", n_logits)
    (scores,) = _scores(taught, [tree], [image])
    hook.remove()
    _, (replies,) = _answers(taught, [tree], [image])
    vocabulary = taught.vocabulary
    assert sum(most) == len(np.unique([*tree.predictors, *tree.prompt_ends])) * vocabulary
    assert max(most) == max(1, n_logits // vocabulary) * vocabulary
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-5)
    assert replies == at_once


def test_memory_and_work_of_a_pass_do_not_grow_with_the_options(
    taught: LoadedModel, passes: list[int], groups: list[int]
) -> None:
    image, question = _noise((56, 56)), "which compound?"
    n_tokens = []
    for n_options in (100, 200, 400):
        passes.clear()
        options = [f"compound {number:03d}" for number in range(n_options)]
        tree = _tree(taught, image, {question: options})
        _scores(taught, [tree], [image])
        n_prompt = int((tree.nodes == 0).sum())
        assert max(passes) <= max(FEW_TOKENS + n_prompt, tree.n_root)
        n_tokens.append(sum(passes))
    first, second, third = n_tokens
    assert third - second == pytest.approx(2 * (second - first), rel=0.03)
