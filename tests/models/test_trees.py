import dataclasses

import numpy as np
import pytest
import torch

from medres.models import LoadedModel, conversation, trees
from medres.models.trees import Tree

ASKED: dict[str, list[str]] = {
    "is there a nodule?": ["yes", "no"],
    "what?": [],
    "Which organelle does the green protein label?": ["golgi apparatus", "", "ER"],
    "µ-opioid? “naïve” 病変": ["α"],
}


def _encode(model: LoadedModel, asked: dict[str, list[str]], *, with_ends: bool) -> Tree:
    texts, options = list(asked), list(asked.values())
    return conversation.encode(model, (56, 84), texts, texts, options, with_ends=with_ends)


@pytest.mark.parametrize("with_ends", [True, False])
def test_the_paths_of_a_tree_are_what_each_reply_alone_is_encoded_to(
    tiny_model: LoadedModel, with_ends: bool
) -> None:
    found = trees.flat(_encode(tiny_model, ASKED, with_ends=with_ends))
    alone = [
        _encode(tiny_model, {question: replies}, with_ends=with_ends)
        for question, options in ASKED.items()
        for replies in ([[option] for option in options] or [[]])
    ]
    assert len(found) == len(alone) == 7
    for one, other in zip(found, alone, strict=True):
        for field in dataclasses.fields(Tree):
            ours, theirs = getattr(one, field.name), getattr(other, field.name)
            assert np.array_equal(ours, theirs), field.name
            if isinstance(theirs, np.ndarray):
                assert ours.dtype == theirs.dtype, field.name


def test_paths_need_no_mask(tiny_model: LoadedModel) -> None:
    tree = _encode(tiny_model, ASKED, with_ends=True)
    assert "attention_mask" in conversation.collate([tree], pad_token_id=0)
    batch = conversation.collate(trees.flat(tree), pad_token_id=0)
    assert "attention_mask" not in batch
    assert batch["input_ids"].shape == (7, max(len(each.token_ids) for each in trees.flat(tree)))
    assert torch.equal(
        batch["input_ids"][:, : tree.n_root], batch["input_ids"][:1, : tree.n_root].expand(7, -1)
    )
