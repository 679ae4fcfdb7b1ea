import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from medres import models, resolution
from medres.datasets import QuestionSet
from medres.inference import asking, generation
from medres.models import LoadedModel, conversation, tiny
from medres.models.trees import Tree, passes
from medres.resolution import Treatment
from medres.training.samples import Samples
from tests import families

ASKED = {
    "is there a nodule?": ["yes", "no"],
    "Which organelle does the green protein label?": ["golgi apparatus", "plasma membrane", "ER"],
    "µ-opioid? “naïve” 病変": ["α", "no"],
}


def _encode(
    model: LoadedModel,
    size_px: tuple[int, int],
    asked: dict[str, list[str]],
) -> Tree:
    ids = [f"q{index}" for index in range(len(asked))]
    return conversation.encode(model, size_px, ids, list(asked), list(asked.values()))


def _noise(size_px: tuple[int, int], seed: int = 0) -> Image.Image:
    width, height = size_px
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def _flat(
    model: LoadedModel, size_px: tuple[int, int], question: str, reply: str
) -> tuple[list[int], list[int]]:
    """Return prompt and reply tokens of the plain conversation, made without our module."""
    content = [{"type": "image"}, {"type": "text", "text": question}]
    text = model.tokenizer.apply_chat_template(
        [
            {"role": "system", "content": conversation.SYSTEM_PROMPT},
            {"role": "user", "content": content},
        ],
        tokenize=False,
        add_generation_prompt=True,
    )
    n_visual = size_px[0] * size_px[1] // 28**2
    text = text.replace("<|image_pad|>", "<|image_pad|>" * n_visual)
    return model.tokenizer.encode(text), model.tokenizer.encode(f"{reply}<|im_end|>")


def test_the_prompt_is_the_one_we_print(tiny_model: LoadedModel) -> None:
    """Golden: a changed prompt changes every result and must be meant."""
    tree = _encode(tiny_model, (56, 28), {"Is there a nodule?": ["yes", "no"]})
    assert tiny_model.tokenizer.decode(tree.token_ids) == (
        "<|im_start|>system\nYou are a biomedical expert.<|im_end|>\n"
        "<|im_start|>user\n<|vision_start|><|image_pad|><|image_pad|><|vision_end|>"
        "Is there a nodule?<|im_end|>\n<|im_start|>assistant\n"
        "yes<|im_end|>no<|im_end|>"
    )


@pytest.fixture(scope="module")
def model(tiny_model: LoadedModel) -> LoadedModel:
    return tiny_model


@given(st.text(min_size=1, max_size=30).filter(lambda text: "<|" not in text))
@settings(max_examples=50, deadline=None)
def test_any_question_stands_in_the_prompt_as_it_was_written(
    model: LoadedModel, question: str
) -> None:
    tree = _encode(model, (28, 28), {question: ["yes"]})
    said = model.tokenizer.decode(tree.token_ids).partition("<|vision_end|>")[2]
    assert said == f"{question}<|im_end|>\n<|im_start|>assistant\nyes<|im_end|>"


def test_a_question_that_contains_an_image_token_raises(tiny_model: LoadedModel) -> None:
    with pytest.raises(ValueError, match="exactly one image"):
        _encode(tiny_model, (28, 28), {"is <|image_pad|> a token?": ["yes"]})


def test_decoding_the_labels_gives_exactly_the_answers_and_the_ends_of_turn(
    tiny_model: LoadedModel,
) -> None:
    references = [replies[-1] for replies in ASKED.values()]
    trees = [
        _encode(
            tiny_model, size_px, {text: [each] for text, each in zip(ASKED, answers, strict=True)}
        )
        for size_px, answers in (((56, 84), references), ((28, 28), references[::-1]))
    ]
    batch = conversation.collate(trees, pad_token_id=tiny_model.tokenizer.pad_token_id)
    wanted = conversation.labels(trees, batch["logits_to_keep"])
    for row, answers in zip(wanted, (references, references[::-1]), strict=True):
        kept = row[row != conversation.IGNORED]
        assert tiny_model.tokenizer.decode(kept) == "".join(f"{each}<|im_end|>" for each in answers)


def test_each_label_is_predicted_from_the_token_before_it(tiny_model: LoadedModel) -> None:
    tree = _encode(tiny_model, (56, 56), ASKED)
    ends = tiny_model.tokenizer.encode("assistant\n")[-1]
    for reply in range(tree.replies.max() + 1):
        where = tree.targets[tree.replies == reply]
        predictors = tree.predictors[tree.replies == reply]
        assert tree.token_ids[predictors[0]] == ends
        assert predictors[1:].tolist() == where[:-1].tolist()
        assert tree.positions[0, where].tolist() == (tree.positions[0, predictors] + 1).tolist()
        assert tree.token_ids[where[-1]] == tiny_model.tokenizer.eos_token_id


def test_an_over_long_conversation_raises_naming_the_question(tiny_model: LoadedModel) -> None:
    """zjysteven/lmms-finetune cuts silently, and with native images it is the answer that goes."""
    asked = {"short?": ["yes"], "a much longer question, is it not?": ["yes", "certainly so"]}
    lengths = [
        sum(map(len, _flat(tiny_model, (84, 56), question, replies[-1])))
        for question, replies in asked.items()
    ]
    fits = dataclasses.replace(tiny_model, max_length=lengths[1])
    tree = _encode(fits, (84, 56), asked)
    assert np.array_equal(tree.token_ids, _encode(tiny_model, (84, 56), asked).token_ids)
    tight = dataclasses.replace(tiny_model, max_length=lengths[1] - 1)
    with pytest.raises(
        ValueError, match=rf"question q1 needs {lengths[1]} tokens at 84 x 56 px, max_length is"
    ):
        _encode(tight, (84, 56), asked)
    with pytest.raises(ValueError, match="question q0 needs"):
        _encode(dataclasses.replace(tiny_model, max_length=lengths[0] - 1), (84, 56), asked)


def test_an_over_long_prompt_of_an_open_question_raises_too(tiny_model: LoadedModel) -> None:
    length = len(_flat(tiny_model, (28, 28), "what?", "")[0])
    _encode(dataclasses.replace(tiny_model, max_length=length), (28, 28), {"what?": []})
    with pytest.raises(ValueError, match="question q0 needs"):
        _encode(dataclasses.replace(tiny_model, max_length=length - 1), (28, 28), {"what?": []})


def _scores(
    model: LoadedModel, trees: Sequence[Tree], pixels: Sequence[Image.Image]
) -> list[np.ndarray]:
    with torch.no_grad():
        return [scores[0] for scores in generation.score(model, trees, pixels)]


@torch.no_grad()
def _flat_score(model: LoadedModel, image: Image.Image, question: str, reply: str) -> float:
    prompt, answer = _flat(model, image.size, question, reply)
    input_ids = torch.tensor([prompt + answer])
    logits = model.network(
        input_ids=input_ids,
        attention_mask=torch.ones_like(input_ids),
        mm_token_type_ids=(input_ids == model.image_token_id).int(),
        **models.pixel_inputs(model, [image]),
    ).logits
    chosen = torch.log_softmax(logits[0].double(), dim=-1)[len(prompt) - 1 : -1]
    return float(chosen[torch.arange(len(answer)), torch.tensor(answer)].sum())


def test_the_tree_scores_each_reply_as_its_flat_conversation_does(tiny_model: LoadedModel) -> None:
    pixels = [_noise((84, 56), 1), _noise((28, 56), 2)]
    few = {question: ASKED[question] for question in list(ASKED)[:2]}
    asked = [ASKED, few]
    trees = [
        _encode(tiny_model, image.size, each) for image, each in zip(pixels, asked, strict=True)
    ]
    assert len(trees[0].token_ids) != len(trees[1].token_ids)
    for image, each, scores in zip(pixels, asked, _scores(tiny_model, trees, pixels), strict=True):
        flat = [
            _flat_score(tiny_model, image, question, reply)
            for question, replies in each.items()
            for reply in replies
        ]
        np.testing.assert_allclose(scores, flat, rtol=0, atol=1e-4)
    assert np.ptp(flat) > 0.1


def _paths(tree: Tree) -> list[np.ndarray]:
    """Return the tokens on the way to the end of each reply, from what that end sees."""
    ends = [tree.targets[tree.replies == reply][-1] for reply in range(tree.replies.max() + 1)]
    return [np.flatnonzero(tree.attends[end]) for end in ends]


@pytest.mark.parametrize("size_px", [(28, 28), (84, 28), (28, 140), (84, 56)])
def test_positions_are_the_network_s_own_for_the_flat_conversation(
    tiny_model: LoadedModel, size_px: tuple[int, int]
) -> None:
    tree = _encode(tiny_model, size_px, ASKED)
    paths = iter(_paths(tree))
    for question, replies in ASKED.items():
        for reply in replies:
            input_ids = torch.tensor(
                [[*itertools.chain(*_flat(tiny_model, size_px, question, reply))]]
            )
            expected, _ = tiny_model.network.model.get_rope_index(
                input_ids,
                mm_token_type_ids=(input_ids == tiny_model.image_token_id).int(),
                image_grid_thw=torch.tensor([[1, size_px[1] // 14, size_px[0] // 14]]),
                attention_mask=torch.ones_like(input_ids),
            )
            path = next(paths)
            assert tree.token_ids[path].tolist() == input_ids[0].tolist()
            assert np.array_equal(tree.positions[:, path], expected[:, 0].numpy())


def test_a_token_sees_nothing_that_comes_later(tiny_model: LoadedModel) -> None:
    tree = _encode(tiny_model, (56, 56), ASKED)
    assert not np.triu(tree.attends, k=1).any()
    assert tree.attends.diagonal().all()


def test_the_path_of_a_token_is_what_it_sees_below_the_root(tiny_model: LoadedModel) -> None:
    tree = _encode(tiny_model, (56, 56), ASKED | {"what is seen?": []})
    assert tree.token_ids[: tree.n_root][-1] == tiny_model.tokenizer.encode("<|vision_end|>")[0]
    for place in range(tree.n_root, len(tree.token_ids)):
        seen = np.flatnonzero(tree.attends[place])
        assert seen.tolist() == [*range(tree.n_root), *tree.path(place)]


@pytest.mark.parametrize("with_ends", [True, False])
@pytest.mark.parametrize("n_tokens", [1, 7, 30, 55, 1_000])
def test_passes_hold_every_reply_once_with_all_that_it_sees(
    tiny_model: LoadedModel, n_tokens: int, with_ends: bool
) -> None:
    asked = {"what is seen?": []} | ASKED | {"which?": [f"number {n}" for n in range(20)], "?": []}
    texts = list(asked)
    tree = conversation.encode(
        tiny_model, (56, 56), texts, texts, list(asked.values()), with_ends=with_ends
    )
    groups = passes(tree, n_tokens=n_tokens)
    below = np.arange(tree.n_root, len(tree.token_ids))
    found, n_times = np.unique(np.concatenate(groups), return_counts=True)
    assert np.array_equal(found, below)
    is_question = tree.nodes == tree.branches
    assert (n_times[~is_question[below]] == 1).all()
    for group in groups:
        assert (np.diff(group) > 0).all()
        assert not np.setdiff1d(np.concatenate(list(map(tree.path, group))), group).size
        nodes, lengths = np.unique(tree.nodes[group], return_counts=True)
        # A question may be repeated, and one node may be longer than a pass.
        repeated = lengths[0] if nodes[0] == tree.branches[group[0]] else 0
        assert len(group) <= max(n_tokens, *lengths) + repeated
    if n_tokens == 1_000:
        assert len(groups) == 1
    else:
        assert len(groups) >= len(below) / (n_tokens + 60)


def test_questions_do_not_see_each_other(tiny_model: LoadedModel) -> None:
    image = _noise((56, 56))
    (_, replies), *others = ASKED.items()
    changed = {"Something else entirely, and longer?": replies, **dict(others)}
    trees = [_encode(tiny_model, image.size, asked) for asked in (ASKED, changed)]
    first, second = (_scores(tiny_model, [tree], [image])[0] for tree in trees)
    np.testing.assert_allclose(first[2:], second[2:], rtol=0, atol=1e-5)
    assert np.abs(first[:2] - second[:2]).min() > 1e-3


def test_options_do_not_see_each_other(tiny_model: LoadedModel) -> None:
    image = _noise((56, 56))
    trees = [
        _encode(tiny_model, image.size, {"is it?": options})
        for options in (["yes", "no"], ["no", "perhaps", "yes"])
    ]
    first, second = (_scores(tiny_model, [tree], [image])[0] for tree in trees)
    np.testing.assert_allclose(first, second[[2, 0]], rtol=0, atol=1e-5)


def test_padding_changes_nothing(tiny_model: LoadedModel) -> None:
    pixels = [_noise((28, 28), 1), _noise((112, 84), 2)]
    trees = [_encode(tiny_model, image.size, {"is it?": ["yes", "no"]}) for image in pixels]
    together = _scores(tiny_model, trees, pixels)
    for tree, image, scores in zip(trees, pixels, together, strict=True):
        np.testing.assert_allclose(
            scores, _scores(tiny_model, [tree], [image])[0], rtol=0, atol=1e-5
        )


@pytest.mark.parametrize("name", families.PAPER)
def test_a_tree_that_does_not_branch_needs_no_mask(name: str, tmp_path: Path) -> None:
    model = models.load(str(tiny.make(tmp_path / name, name)))
    pixels = [_noise((56, 56), 1), _noise((112, 84), 2)]
    trees = [
        _encode(model, image.size, {question: ["yes"]})
        for image, question in zip(pixels, ("is it?", "is there a nodule in it?"), strict=True)
    ]
    batch = conversation.collate(trees, pad_token_id=model.tokenizer.pad_token_id)
    assert "attention_mask" not in batch
    inputs = batch | models.pixel_inputs(model, pixels)
    length = inputs["input_ids"].shape[1]
    masks = torch.from_numpy(conversation._masks(trees, length)[:, None])
    with torch.no_grad():
        without, masked = (
            model.network(**inputs, **more).logits for more in ({}, {"attention_mask": masks})
        )
    for row, tree in enumerate(trees):
        kept = [batch["logits_to_keep"].tolist().index(place) for place in tree.predictors]
        torch.testing.assert_close(without[row, kept], masked[row, kept], rtol=0, atol=1e-4)
    branching = _encode(model, pixels[0].size, {"is it?": ["yes", "no"]})
    mixed = conversation.collate([trees[0], branching], pad_token_id=0)
    assert mixed["attention_mask"].shape[-1] == mixed["input_ids"].shape[1]


def test_the_image_is_seen_by_every_reply(tiny_model: LoadedModel) -> None:
    tree = _encode(tiny_model, (56, 56), ASKED)
    first, second = (_scores(tiny_model, [tree], [_noise((56, 56), seed)])[0] for seed in (1, 2))
    assert np.abs(first - second).min() > 1e-5


def _question_set(folder: Path) -> QuestionSet:
    image = _noise((100, 70))
    image.save(folder / "a.png")
    table = pd.DataFrame(
        {
            "question_id": ["q0", "q1"],
            "image": "a.png",
            "question": list(ASKED)[:2],
            "reference": ["no", "golgi apparatus"],
            "options": [["yes", "no"], ["golgi apparatus", "plasma membrane"]],
            "modality": "image",
            "split": "train",
            "group": "a",
            "width_px": image.width,
            "height_px": image.height,
        }
    )
    return QuestionSet("drawn", table, folder, fingerprint="")


def without_ends(batch: dict[str, torch.Tensor], tree: Tree) -> dict[str, torch.Tensor]:
    """Return the tensors of one tree without its ends of turn, which scoring leaves out."""
    ends = [tree.targets[tree.replies == reply][-1] for reply in np.unique(tree.replies)]
    kept = torch.from_numpy(np.setdiff1d(np.arange(len(tree.token_ids)), ends))
    mask = batch["attention_mask"][..., kept, :][..., kept]
    along = {name: batch[name][..., kept] for name in ("input_ids", "position_ids")}
    return batch | along | {"attention_mask": mask}


def test_a_tree_without_ends_of_turn_predicts_the_same_from_the_same(
    tiny_model: LoadedModel,
) -> None:
    asked = ASKED | {"what is seen?": []}
    arguments = ((56, 84), list(asked), list(asked), list(asked.values()))
    whole, tree = (
        conversation.encode(tiny_model, *arguments, with_ends=with_ends)
        for with_ends in (True, False)
    )
    assert np.array_equal(whole.token_ids[whole.targets], whole.target_ids)
    is_end = tree.targets == -1
    end = tiny_model.tokenizer.eos_token_id
    assert (tree.target_ids[is_end] == end).all()
    assert is_end.sum() == tree.replies.max() + 1
    assert np.array_equal(tree.token_ids[tree.targets[~is_end]], tree.target_ids[~is_end])
    for name in ("target_ids", "replies"):
        assert np.array_equal(getattr(tree, name), getattr(whole, name))
    for name in ("predictors", "prompt_ends"):
        pairs = zip(getattr(tree, name), getattr(whole, name), strict=True)
        for here, there in pairs:
            seen, expected = tree.attends[here], whole.attends[there]
            assert np.array_equal(tree.token_ids[seen], whole.token_ids[expected])
            assert np.array_equal(tree.positions[:, seen], whole.positions[:, expected])


@pytest.mark.parametrize("name", ["low", "native"])
def test_training_and_inference_encode_the_same_tensors(
    tiny_model: LoadedModel,
    tmp_path: Path,
    name: str,
) -> None:
    question_set = _question_set(tmp_path)
    treatment = Treatment(3_136, 28_224, "bicubic", 28)
    train = question_set.split("train")
    samples = Samples(
        tiny_model,
        question_set,
        train,
        np.full(len(train), name),
        treatment,
        epochs=1,
        seed=0,
    )
    trained = samples.collate([samples[0]])
    labels, _ = trained.pop("labels"), trained.pop("logits_to_keep")
    trained |= trained.pop("vision").inputs
    asked: list[dict[str, torch.Tensor]] = []

    def note(**inputs: Any) -> object:
        inputs.pop("use_cache")
        asked.append(inputs)
        return tiny_model.network.model(**inputs)

    note.language_model = tiny_model.network.model.language_model  # type: ignore[attr-defined]
    spy = SimpleNamespace(
        device=torch.device("cpu"), model=note, lm_head=tiny_model.network.lm_head
    )
    spied = dataclasses.replace(tiny_model, network=spy)
    only_reference = train.assign(options=[[reference] for reference in train["reference"]])
    geometry = resolution.plan((100, 70), name, treatment)
    asking.answer(spied, question_set, [(geometry, *asking.by_image(only_reference))], name)
    assert trained.keys() == asked[0].keys()
    for key, value in without_ends(trained, samples.trees[samples.order[0]]).items():
        assert torch.equal(value, asked[0][key]), key
    assert tiny_model.tokenizer.decode(labels[labels != conversation.IGNORED]) == (
        "no<|im_end|>golgi apparatus<|im_end|>"
    )
