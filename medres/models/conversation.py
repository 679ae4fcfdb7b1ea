"""Question to tokens: the conversations about one image as a tree with a shared prefix.

The system prompt and the image, or its views, occur once, at the root; each question is a
branch; each reply (the reference in training, every option when scoring) is a leaf. A token
attends only to its own ancestors, and its position counts along its own path, so each path is
exactly the flat conversation. Training and inference build their inputs only here.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from medres import models
from medres.models import LoadedModel, loaded, prompts
from medres.models.family import Family
from medres.models.prompts import SYSTEM_PROMPT as SYSTEM_PROMPT
from medres.models.trees import ROOT, Tree
from medres.resolution import Geometry, Layout

IGNORED = -100
"""Label of a position without loss, as in transformers."""
MAX_PASS_TOKENS = 2_048
"""Most tokens of an image's questions and options in one pass of inference."""


class TooLongError(ValueError):
    """A conversation has more tokens than the model's maximum."""


def encode(
    model: LoadedModel,
    sizes_px: tuple[int, int] | Sequence[tuple[int, int]],
    question_ids: Sequence[str],
    questions: Sequence[str],
    replies: Sequence[Sequence[str]],
    *,
    with_ends: bool = True,
    budget: str | Sequence[str] = "",
    words: str = "",
) -> Tree:
    """Return the tree of the questions about one image, or about several, and their replies.

    Args:
        model: With its tokenizer, chat template and grid.
        sizes_px: Width and height of the image as given to the model, in pixels; of several images
            in the prompt one after the other, in their order.
        question_ids: For the error message, shape (n_questions,).
        questions: Texts, shape (n_questions,).
        replies: For each question the replies to train on or to score; may be empty.
        with_ends: Whether the tree holds the end-of-turn tokens. They are targets in any case but
            predict nothing, so scoring does not need them.
        budget: The model's own budget for the image, as in `Geometry.budget`; of several images
            one each, or one for all.
        words: What the prompt says of its images, on a line in front of every question; where no
            token spans its end it is read once for all of them.

    Raises:
        TooLongError: If a path is longer than the model's maximum; nothing is ever truncated.
        ValueError: If there are replies, and the chat template begins a thought in front of them.
    """
    if any(replies) and opens_reasoning(model):
        raise ValueError(
            f"question {question_ids[0]} would be answered inside a thought, which the chat "
            "template begins for every reply: neither an option nor a reference can stand there; "
            "take the checkpoint of this model that answers at once (often called Instruct), or "
            "ask open questions without training"
        )
    sizes: list[Any] = [sizes_px] if isinstance(sizes_px[0], int) else list(sizes_px)
    budgets = [budget] * len(sizes) if isinstance(budget, str) else budget
    layouts = tuple(
        models.geometry(model.config, size_px, tiling=model.tiling, budget=own, n_images=len(sizes))
        for size_px, own in zip(sizes, budgets, strict=True)
    )
    if words:
        questions = [f"{words}\n{question}" for question in questions]
    rendered = prompts.parts(
        model.tokenizer, models.family_of(model.config), questions[0], len(sizes)
    )
    shared = ""
    if words:
        shared = _shared(model, f"{words}\n", questions, len(sizes))
    root_ids, root_positions = _root(model, rendered[:-1], layouts, shared)
    n_root, after_root = len(root_ids), int(root_positions.max()) + 1
    below = _below(
        model.tokenizer,
        models.family_of(model.config),
        tuple(questions),
        tuple(map(tuple, replies)),
        n_images=len(sizes),
        n_shared=len(shared),
        with_ends=with_ends,
    )
    if n_root + below.longest.max() > model.max_length:
        first = int(np.argmax(n_root + below.longest > model.max_length))
        at = " and ".join(f"{width} x {height} px" for width, height in sizes)
        raise TooLongError(
            f"question {question_ids[first]} needs {n_root + below.longest[first]} tokens at "
            f"{at}, max_length is {model.max_length}; truncation would "
            "cut the answer"
        )
    positions = after_root + below.positions
    in_root = np.full(n_root, ROOT, dtype=np.int32)
    return Tree(
        token_ids=np.concatenate([root_ids, below.token_ids]),
        positions=np.concatenate(
            [root_positions, np.broadcast_to(positions, (len(root_positions), len(positions)))],
            axis=1,
        ),
        nodes=np.concatenate([in_root, below.nodes]),
        branches=np.concatenate([in_root, below.branches]),
        targets=np.where(below.targets < 0, -1, n_root + below.targets),
        target_ids=below.target_ids.copy(),
        predictors=n_root + below.predictors,
        replies=below.replies.copy(),
        prompt_ends=n_root + below.prompt_ends,
        layouts=layouts,
    )


def about(
    model: LoadedModel,
    geometry: Geometry,
    question_ids: Sequence[str],
    questions: Sequence[str],
    replies: Sequence[Sequence[str]],
    *,
    with_ends: bool = True,
) -> Tree:
    """Return the tree of `encode` for an image, or its views, as they are planned."""
    return encode(
        model,
        [view.given_px for view in geometry.each],
        question_ids,
        questions,
        replies,
        with_ends=with_ends,
        budget=[view.budget for view in geometry.each],
        words=geometry.words,
    )


@dataclass(frozen=True)
class _Below:
    """A tree without its root: places and positions count from the root's end."""

    token_ids: np.ndarray
    positions: np.ndarray
    nodes: np.ndarray
    branches: np.ndarray
    targets: np.ndarray
    target_ids: np.ndarray
    predictors: np.ndarray
    replies: np.ndarray
    prompt_ends: np.ndarray
    longest: np.ndarray
    """Tokens of each question with its longest reply, shape (n_questions,)."""


@functools.lru_cache(maxsize=1024)
def _below(
    tokenizer: PreTrainedTokenizerBase,
    family: Family,
    questions: tuple[str, ...],
    replies: tuple[tuple[str, ...], ...],
    *,
    n_images: int,
    n_shared: int,
    with_ends: bool,
) -> _Below:
    """Return a tree's questions, each followed by its replies.

    The first `n_shared` characters behind the last image are in the root. Cached: an image is asked
    the same at every resolution, and often the same as other images.
    """
    ids: list[np.ndarray] = []
    branches, firsts, reply_ids, longest = [], [], [], []
    for question, texts in zip(questions, replies, strict=True):
        *_, prompt = prompts.parts(tokenizer, family, question, n_images)
        branch, prompt_ids = len(ids), prompts.token_ids(tokenizer, prompt[n_shared:])
        leaves = [prompts.token_ids(tokenizer, family.reply(text)) for text in texts]
        ids += [prompt_ids, *(leaf if with_ends else leaf[:-1] for leaf in leaves)]
        branches += [branch] * (1 + len(leaves))
        firsts += [0] + [len(prompt_ids)] * len(leaves)
        reply_ids += leaves
        longest.append(len(prompt_ids) + max(map(len, leaves), default=0))
    lengths, of_question = np.array(list(map(len, ids))), np.array(branches)
    starts = lengths.cumsum() - lengths
    node_of = np.repeat(np.arange(len(ids)), lengths)
    is_question = of_question == np.arange(len(ids))
    prompt_ends = starts + lengths - 1
    n_reply = np.array(list(map(len, reply_ids)), dtype=np.int64)
    nth = np.arange(n_reply.sum()) - np.repeat(n_reply.cumsum() - n_reply, n_reply)
    targets = np.repeat(starts[~is_question], n_reply) + nth
    before = np.repeat(prompt_ends[of_question[~is_question]], n_reply)
    predictors = np.where(nth == 0, before, targets - 1)
    if not with_ends:
        targets[n_reply.cumsum() - 1] = -1
    below = _Below(
        token_ids=np.concatenate(ids),
        positions=np.arange(len(node_of)) + np.repeat(firsts - starts, lengths),
        nodes=node_of.astype(np.int32),
        branches=of_question[node_of].astype(np.int32),
        targets=targets,
        target_ids=np.concatenate([*reply_ids, np.zeros(0, dtype=np.int64)]),
        predictors=predictors,
        replies=np.repeat(np.arange(len(reply_ids)), n_reply),
        prompt_ends=prompt_ends[is_question],
        longest=np.array(longest),
    )
    for array in vars(below).values():
        array.flags.writeable = False
    return below


def prompt_lengths(model: LoadedModel, question: str) -> tuple[int, int]:
    """Return the tokens of a prompt before the question, without the image's, and those after.

    A path of `encode` is as long as both, the image and its reply.

    Raises:
        ValueError: If the chat template cannot be used.
    """
    family = models.family_of(model.config)
    before, prompt = prompts.parts(model.tokenizer, family, question, 1)
    smallest_px = (model.multiple_px, model.multiple_px)
    layout = models.geometry(model.config, smallest_px, tiling=model.tiling)
    root_ids, _ = _root(model, [before], (layout,))
    n_before = len(root_ids) - layout.visual_tokens - layout.mark_tokens
    return n_before, len(prompts.token_ids(model.tokenizer, prompt))


def reply_length(model: LoadedModel, reply: str) -> int:
    """Return the tokens of a reply, its end of turn included."""
    return len(prompts.token_ids(model.tokenizer, models.family_of(model.config).reply(reply)))


def opens_reasoning(model: LoadedModel) -> bool:
    """Return whether the prompt ends inside the model's reasoning, though it is switched off."""
    family = models.family_of(model.config)
    if family.reasoning is None:
        return False
    return family.reasoning.is_open_after(
        prompts.rendered(model.tokenizer, family, loaded.PROBE, 1)
    )


def _shared(model: LoadedModel, words: str, questions: Sequence[str], n_images: int) -> str:
    """Return what stands behind the last image in all prompts, up to the end of some words.

    Empty where a token would span their end: a prompt has the tokens of its whole text.
    """
    family = models.family_of(model.config)
    texts = [
        prompts.parts(model.tokenizer, family, question, n_images)[-1] for question in questions
    ]
    shared = "".join(texts[0].partition(words)[:2])
    for prompt in texts:
        begun, *both = (
            prompts.token_ids(model.tokenizer, text)
            for text in (prompt, shared, prompt.removeprefix(shared))
        )
        if not (prompt.startswith(shared) and np.array_equal(begun, np.concatenate(both))):
            return ""
    return shared


def _root(
    model: LoadedModel, before: Sequence[str], layouts: Sequence[Layout], behind: str = ""
) -> tuple[np.ndarray, np.ndarray]:
    """Return tokens and positions of what all questions about an image have in common.

    Args:
        model: With tokenizer and config.
        before: What stands in front of each image.
        layouts: Of the images.
        behind: What stands behind the last one.
    """
    family = models.family_of(model.config)
    images = map(family.image_in_prompt, layouts)
    text = "".join(map("".join, zip(before, images, strict=True)))
    texts = [prompts.token_ids(model.tokenizer, each) for each in (text, behind) if each]
    tokens = np.concatenate([prompts.opening(model.tokenizer, text), *texts])
    lengths = np.ones(len(tokens), dtype=np.int64)
    runs = [n_tokens for layout in layouts for n_tokens in family.runs(layout)]
    lengths[tokens == model.image_token_id] = runs
    token_ids = np.repeat(tokens, lengths)
    is_image = token_ids == model.image_token_id
    return token_ids, family.positions(model.config, is_image, *layouts)


def collate(trees: Sequence[Tree], *, pad_token_id: int) -> dict[str, torch.Tensor]:
    """Return trees of any length as one batch for the network.

    Returns:
        input_ids (n_trees, length), position_ids (3, n_trees, length), or (n_trees, length)
        where positions have one row, attention_mask (n_trees, 1, length, length) bool, and
        logits_to_keep: the positions, common to all trees, whose logits are needed. Trees that
        do not branch have no mask: they are causal, which networks compute faster without one,
        and padding comes last.
    """
    length = max(len(tree.token_ids) for tree in trees)
    input_ids = np.full((len(trees), length), pad_token_id, dtype=np.int64)
    n_rows = len(trees[0].positions)
    position_ids = np.zeros((n_rows, len(trees), length), dtype=np.int64)
    for index, tree in enumerate(trees):
        n_tokens = len(tree.token_ids)
        input_ids[index, :n_tokens] = tree.token_ids
        position_ids[:, index, :n_tokens] = tree.positions
        # Positions of padding continue: a restart would be read as another conversation.
        after = tree.positions[:, -1:] + 1 + np.arange(length - n_tokens)
        position_ids[:, index, n_tokens:] = after
    keep = np.unique(np.concatenate([tree.predictors for tree in trees]))
    batch = {
        "input_ids": torch.from_numpy(input_ids),
        "position_ids": torch.from_numpy(position_ids if n_rows > 1 else position_ids[0]),
        "logits_to_keep": torch.from_numpy(keep),
    }
    if not all(map(_is_one_path, trees)):
        batch["attention_mask"] = torch.from_numpy(_masks(trees, length)[:, None])
    return batch


def _is_one_path(tree: Tree) -> bool:
    every = np.arange(len(tree.token_ids))
    return bool(tree.seen(every[-1:], every).all())


def _masks(trees: Sequence[Tree], length: int) -> np.ndarray:
    # Padding attends to itself, since a row without any key would become NaN.
    masks = np.broadcast_to(np.eye(length, dtype=bool), (len(trees), length, length)).copy()
    for mask, tree in zip(masks, trees, strict=True):
        n_tokens = len(tree.token_ids)
        mask[:n_tokens, :n_tokens] = tree.attends
    return masks


def labels(trees: Sequence[Tree], logits_to_keep: torch.Tensor) -> torch.Tensor:
    """Return the token to predict at each kept position, `IGNORED` where there is no loss.

    Args:
        trees: With one reply per question, as in training.
        logits_to_keep: Positions from `collate`, shape (n_kept,).

    Returns:
        Token ids, shape (n_trees, n_kept).
    """
    column = {int(position): index for index, position in enumerate(logits_to_keep)}
    targets = torch.full((len(trees), len(column)), IGNORED, dtype=torch.long)
    for row, tree in enumerate(trees):
        for target_id, predictor in zip(tree.target_ids, tree.predictors, strict=True):
            targets[row, column[int(predictor)]] = int(target_id)
    return targets
