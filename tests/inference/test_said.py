"""What is read of generated replies: the answer behind the reasoning, and where a reply ends."""

import dataclasses
import functools
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from medres import inference, models, runs
from medres.inference import check, decoding, generation, said
from medres.models import LoadedModel, conversation, families, tiny
from medres.models.reasoning import THINK
from medres.results import findings
from tests.inference.test_inference import SETTINGS, draw, store

OPENED = "{%- if add_generation_prompt %}{{ 'THOUGHT' }}{% endif -%}"
ANSWERS = [
    ("qwen3-vl", "<think>\nIt is bright.\n</think>\n\nyes", "It is bright.", "yes"),
    ("qwen3-vl", "<think>\n\n</think>\n\nno", "", "no"),
    ("qwen3-5", "<think>yes or no?</think>no", "yes or no?", "no"),
    ("qwen2-5-vl", "<think>A nodule.</think><answer>lung</answer>", "A nodule.", "lung"),
    ("qwen2-vl", "<think>a</think>yes<think>b</think>no", "a</think>yes<think>b", "no"),
    ("internvl", "<think>Grey.</think>\n<answer>left", "Grey.", "left"),
    ("glm4v", "<think>So.</think><answer>yes</answer>", "So.", "yes"),
    (
        "glm4v",
        "<think>So.</think>\nIt is <|begin_of_box|>T2<|end_of_box|>.",
        "So.",
        "T2",
    ),
    (
        "glm46v",
        "<think>So.</think><answer>It is <|begin_of_box|>T2<|end_of_box|></answer>",
        "So.",
        "T2",
    ),
    ("gemma3", "<unused94>thought\nThe image shows.\n<unused95>no", "The image shows.", "no"),
    ("gemma3", "<unused94> thought\nThe image.<unused95>\n\nno", "The image.", "no"),
    ("gemma4", "<|channel>thought\nIt is.<channel|>no", "It is.", "no"),
    ("gemma4", "<|channel>thought\n<channel|>yes", "", "yes"),
    ("mistral3", "[THINK]Grey.[/THINK]yes", "Grey.", "yes"),
    # Without reasoning the reply is the answer, whatever the family.
    ("qwen3-vl", "yes", None, "yes"),
    ("glm46v", "<|begin_of_box|>no<|end_of_box|>", None, "no"),
    ("gemma3", "thought to be benign", None, "thought to be benign"),
    ("smolvlm", "<think>a</think>yes", None, "<think>a</think>yes"),
    ("llava-onevision", "a < b > c", None, "a < b > c"),
]
UNFINISHED = [
    ("qwen3-vl", "<think>\nyes, it", "yes, it"),
    ("qwen2-vl", "<think>a</think>yes<think>but", "a</think>yes<think>but"),
    ("gemma3", "<unused94>thought\nyes", "yes"),
    ("gemma4", "<|channel>thought\nno", "no"),
    ("mistral3", "[THINK]yes", "yes"),
    ("glm4v", "<think>yes</think>", "yes"),
]


@functools.cache
def _loaded(family: str) -> LoadedModel:
    return models.load(f"tiny-{family}")


def _with_special(model: LoadedModel) -> LoadedModel:
    """Return the model with the marks as special tokens, as some checkpoints have them."""
    family = models.family_of(model.config)
    tokenizer = type(model.tokenizer)(
        tokenizer_object=type(model.tokenizer.backend_tokenizer).from_str(
            model.tokenizer.backend_tokenizer.to_str()
        )
    )
    marks = [*([family.reasoning] if family.reasoning else []), *family.answer_marks]
    tokens = [token for each in marks for token in (each.begin, each.end)]
    tokenizer.add_special_tokens({"additional_special_tokens": tokens})
    tokenizer.chat_template = model.tokenizer.chat_template
    return dataclasses.replace(model, tokenizer=tokenizer)


def _ids(model: LoadedModel, text: str) -> list[int]:
    return list(model.tokenizer.encode(text, add_special_tokens=False))


@pytest.mark.parametrize("is_special", [False, True])
@pytest.mark.parametrize(("family", "reply", "reasoning", "answer"), ANSWERS)
def test_the_answer_is_what_follows_the_reasoning(
    family: str, reply: str, reasoning: str | None, answer: str, is_special: bool
) -> None:
    model = _loaded(family)
    if is_special and models.family_of(model.config).reasoning:
        model = _with_special(model)
    ids = _ids(model, reply + model.end_of_turn)
    found = said.read(model, ids)
    assert (found.answer, found.reasoning) == (answer, reasoning)
    assert not found.is_cut
    assert found.reply_tokens == len(ids)
    assert (found.reasoning_tokens > 0) == (reasoning is not None)


@pytest.mark.parametrize(("family", "reply", "reasoning"), UNFINISHED)
def test_a_reply_that_ends_inside_its_reasoning_has_no_answer(
    family: str, reply: str, reasoning: str
) -> None:
    model = _loaded(family)
    ids = _ids(model, reply)
    found = said.read(model, ids)
    assert found == said.Said("", reasoning, len(ids), len(ids), is_cut=True)


def test_tokens_of_the_reasoning_are_counted_with_its_marks() -> None:
    model = _with_special(_loaded("qwen3-vl"))
    thought, answer = _ids(model, "<think>It is grey.</think>"), _ids(model, "yes")
    found = said.read(model, [*thought, *answer])
    assert found.reasoning_tokens == len(thought) == len(_ids(model, "It is grey.")) + 2
    assert found.reply_tokens == len(thought) + len(answer)


def _opening(model: LoadedModel, thought: str) -> LoadedModel:
    """Return the model with a chat template that writes the beginning of a reply."""
    changed = _with_special(model)
    changed.tokenizer.chat_template += OPENED.replace("THOUGHT", thought)
    return changed


@pytest.mark.parametrize(
    ("family", "written", "is_open"),
    [
        ("qwen3-vl", "<think>\\n", True),
        ("qwen3-vl", "<think>\\n\\n</think>\\n\\n", False),
        ("qwen3-vl", "", False),
        ("gemma4", "<|channel>thought\\n", True),
        ("gemma4", "<|channel>thought\\n<channel|>", False),
        ("smolvlm", "<think>\\n", False),
    ],
)
def test_a_thought_that_the_prompt_begins_is_known(
    family: str, written: str, is_open: bool
) -> None:
    assert conversation.opens_reasoning(_opening(_loaded(family), written)) == is_open


def test_a_reply_to_a_prompt_that_begins_a_thought_is_read_from_its_end_mark() -> None:
    model = _opening(_loaded("qwen3-vl"), "<think>\\n")
    found = said.read(model, _ids(model, "It is grey.</think>yes"))
    assert (found.answer, found.reasoning) == ("yes", "It is grey.")
    found = said.read(model, _ids(model, "yes"))
    assert (found.answer, found.reasoning) == ("", "yes")


def test_options_and_references_are_refused_inside_a_thought() -> None:
    model = _opening(_loaded("qwen3-vl"), "<think>\\n")
    with pytest.raises(ValueError, match="question q would be answered inside a thought"):
        conversation.encode(model, (64, 64), ["q"], ["is it?"], [["yes", "no"]])
    assert len(conversation.encode(model, (64, 64), ["q"], ["is it?"], [[]]).prompt_ends) == 1


def test_a_template_that_can_leave_the_thought_out_does() -> None:
    """As in Qwen3.5 and GLM-4.6V: thinking is on unless it is switched off."""
    model = _with_special(_loaded("qwen3-vl"))
    model.tokenizer.chat_template += (
        "{%- if enable_thinking is defined and enable_thinking is false -%}"
        "{{ '<think>\\n\\n</think>\\n\\n' }}{%- else -%}{{ '<think>\\n' }}{%- endif -%}"
    )
    assert not conversation.opens_reasoning(model)
    tree = conversation.encode(model, (64, 64), ["q"], ["is it?"], [["yes", "no"]])
    prompt = model.tokenizer.decode(tree.token_ids[: tree.prompt_ends[0] + 1])
    assert prompt.endswith("<think>\n\n</think>\n\n")


@pytest.mark.parametrize("name", tiny.NAMES)
def test_every_family_ends_a_reply_at_its_end_of_turn_and_its_further_stops(name: str) -> None:
    model = models.load(name)
    family = families.of(tiny.family_of(name))
    wanted = {model.tokenizer.convert_tokens_to_ids(each) for each in (family.end_of_turn,)}
    wanted |= {model.tokenizer.get_vocab()[each] for each in model.stops}
    assert decoding.stops(model) == wanted
    assert set(model.stops) <= set(family.stops)


SAID = {
    "is it?": ("<think>it is grey</think>yes", "it is grey", "yes"),
    "what is seen?": ("<think>look</think><answer>lung nodules</answer>", "look", "lung nodules"),
}
N_STEPS = 120


@pytest.fixture(scope="module")
def reasoning(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A project whose model was taught to reason before it answers, with its settings."""
    root = tmp_path_factory.mktemp("reasoning")
    model = models.load(tiny.NAME)
    noise = np.random.default_rng(0).integers(0, 256, (56, 56, 3), dtype=np.uint8)
    replies = [[reply] for reply, _, _ in SAID.values()]
    tree = conversation.encode(model, (56, 56), list(SAID), list(SAID), replies)
    batch = conversation.collate([tree], pad_token_id=model.tokenizer.pad_token_id)
    wanted = conversation.labels([tree], batch["logits_to_keep"])
    pixels = models.pixel_inputs(model, [Image.fromarray(noise)], [tree.layout])
    optimizer = torch.optim.Adam(model.network.parameters(), lr=2e-3)
    for _ in range(N_STEPS):
        logits = model.network(**batch, **pixels, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits[0], wanted[0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    models.save(model, str(root / "reasons"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "ROOT", root)
        table = draw(root).iloc[:6].copy()
        table["question"] = ["is it?", "what is seen?"] * 3
        table["answer"] = ["yes", "lung nodules"] * 3
        table["options"] = ["yes|no", ""] * 3
        store(root, table)
        yield SETTINGS | {
            "model": str(root / "reasons"),
            "eval_resolutions": ["low", "native", "mixed"],
        }


def _answers(run: runs.Run) -> pd.DataFrame:
    return pd.read_parquet(run.file("answers.parquet"))


@pytest.mark.parametrize("max_new_tokens", [32, 128])
def test_replies_that_end_are_the_same_with_any_larger_budget(
    reasoning: dict[str, Any], max_new_tokens: int
) -> None:
    run = inference.evaluate(**reasoning | {"max_new_tokens": max_new_tokens})
    table = _answers(run)
    assert len(table) == 3 * 6
    for question, (_, thought, answer) in SAID.items():
        part = table[table["question"] == question]
        assert set(part["generated_reply"]) == {answer}
        assert set(part["reasoning"]) == {thought}
        assert part["reasoning_tokens"].between(3, 31).all()
        assert (part["reply_tokens"] > part["reasoning_tokens"]).all()
    assert not table["is_cut"].any()
    assert table.loc[table["question"] == "what is seen?", "correct"].all()
    assert findings.cut_off(table) == ""
    checked = check.recompute(run, n_questions=100)
    assert not checked[["is_other_answer", "is_other_reply"]].any().any()


def test_replies_cut_inside_their_reasoning_have_no_answer_and_are_counted(
    reasoning: dict[str, Any],
) -> None:
    run = inference.evaluate(**reasoning | {"max_new_tokens": 5})
    table = _answers(run)
    assert table["is_cut"].all()
    assert set(table["reply_tokens"]) == {5}
    assert set(table["generated_reply"]) == {""}
    is_open = table["question"] == "what is seen?"
    assert table.loc[is_open, "parsed_answer"].isna().all()
    assert not table.loc[is_open, "correct"].any()
    assert run.record["outcome"]["n_unparsable"] == is_open.sum()
    assert findings.cut_off(table) == (
        " 12 of 12 generated replies were cut off at max_new_tokens = 5 before their end, 12 of "
        "them inside their reasoning, so that they have no answer."
    )
    checked = check.recompute(run, n_questions=100)
    assert not checked[["is_other_answer", "is_other_reply"]].any().any()


def test_a_reasoning_that_was_not_written_is_noticed(
    reasoning: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = inference.evaluate(**reasoning | {"max_new_tokens": 32})
    real = generation.generate
    monkeypatch.setattr(
        generation,
        "generate",
        lambda *asked: dataclasses.replace(real(*asked), reasoning="something else"),
    )
    checked = check.recompute(run, n_questions=100)
    assert checked["is_other_reply"].all()


def test_the_default_budget_is_no_part_of_the_digest(reasoning: dict[str, Any]) -> None:
    """Or runs from before it could be set would be made again."""
    unsaid = {name: value for name, value in reasoning.items() if name != "max_new_tokens"}
    run = inference.evaluate(**unsaid)
    assert "max_new_tokens" not in run.spec["parameters"]
    assert inference.evaluate(**unsaid | {"max_new_tokens": 32}).digest == run.digest
    other = inference.evaluate(**unsaid | {"max_new_tokens": 31})
    assert other.spec["parameters"]["max_new_tokens"] == 31
    assert other.digest != run.digest


def test_a_budget_below_one_token_is_refused(reasoning: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="max_new_tokens is 0; it must be at least 1"):
        inference.evaluate(**reasoning | {"max_new_tokens": 0})


def test_a_reply_ends_at_a_further_stop_as_in_generate(reasoning: dict[str, Any]) -> None:
    """<|endoftext|> is no end of turn, but nothing is said behind it."""
    model = models.load(reasoning["model"])
    end = model.tokenizer.convert_tokens_to_ids("<|endoftext|>")
    turn = model.tokenizer.convert_tokens_to_ids(model.end_of_turn)
    with torch.no_grad():
        weight = model.network.lm_head.weight
        model.network.lm_head.weight = torch.nn.Parameter(weight.clone())
        model.network.lm_head.weight[[turn, end]] = weight[[end, turn]]
    tree = conversation.encode(model, (56, 56), ["q"], ["is it?"], [["no"]])
    noise = np.random.default_rng(1).integers(0, 256, (56, 56, 3), dtype=np.uint8)
    with torch.no_grad():
        _, (replies,) = generation.score_and_reply(model, [tree], [Image.fromarray(noise)], [[0]])
    found = replies[0]
    assert (found.answer, found.is_cut) == ("yes", False)
    assert found.reply_tokens == len(_ids(model, SAID["is it?"][0])) + 1


@pytest.mark.parametrize("text", ["<think>", "<think>\n", "x <think> \n\n"])
def test_only_an_ending_opens_a_thought(text: str) -> None:
    assert THINK.is_open_after(text)
    assert not THINK.is_open_after(f"{text}</think>")
    assert not THINK.is_open_after(f"{text} said the user<|im_end|>")
