from dataclasses import fields

import numpy as np
import pytest

from medres import models, resolution
from medres.models import conversation, tiny, without_weights

QUESTIONS = ("Is it?", 'Größe <b>&amp; {{x}} {% %}\n\t"', "ﷺ \U0001d160 \u0958 病変")


@pytest.mark.parametrize("name", tiny.NAMES)
def test_conversations_are_those_of_the_model_with_its_weights(project: object, name: str) -> None:
    model, whole = without_weights.load(name), models.load(name)
    assert {weight.device.type for weight in model.network.parameters()} == {"meta"}
    same = {field.name for field in fields(model)} - {
        "network", "config", "tokenizer", "image_processor"
    }  # fmt: skip
    assert {each: getattr(model, each) for each in same} == {
        each: getattr(whole, each) for each in same
    }
    treatment = models.treatment(
        model.config, low_max_pixels=1_024, native_max_pixels=50_176, resampling_filter="bicubic"
    )
    geometry = resolution.plan((300, 200), "native", treatment)
    for question in QUESTIONS:
        asked = (geometry.given_px, ["q"], [question], [["yes", "nö"]])
        tree, expected = (conversation.encode(each, *asked) for each in (model, whole))
        assert np.array_equal(tree.token_ids, expected.token_ids)
        lengths = [conversation.reply_length(model, reply) for reply in ("yes", "nö")]
        before, after = conversation.prompt_lengths(model, question)
        image = geometry.visual_tokens + tree.layout.mark_tokens
        assert before + after + image + sum(lengths) == len(tree.token_ids)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("tiny-qwen2-vl", {"<|im_end|>", "<|image_pad|>", "<|endoftext|>"}),
        ("tiny-internvl", {"<|im_end|>", "<IMG_CONTEXT>", "<img>", "<s>", "</s>"}),
        ("tiny-llava-onevision", {"<|im_end|>", "<image>", "<|endoftext|>"}),
    ],
)
def test_reserved_tokens_are_those_a_text_must_not_hold(
    project: object, name: str, known: set[str]
) -> None:
    tokenizer = without_weights.load(name).tokenizer
    reserved = without_weights.reserved(tokenizer)
    assert known <= set(reserved)
    tokenizer.add_tokens(["melanoma", "  ", "[DOC]"])
    assert set(without_weights.reserved(tokenizer)) == {*reserved, "[DOC]"}
