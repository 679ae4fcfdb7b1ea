"""Scores and replies for trees of questions: log-probabilities of options, greedy decoding.

One pass gives the logits of every option. The greedy reply is taken from the same logits as long
as it matches the beginning of an option; from where it matches none, it is decoded token by token
from the keys and values of that pass, for the questions of all images at once. So the replies of
a trained model cost almost nothing, and image and prompt prefix are encoded once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from medres import models
from medres.models import LoadedModel, conversation
from medres.models.conversation import Tree
from medres.resolution import Geometry

MAX_NEW_TOKENS = 32
"""Of a reply, end of turn included."""


@dataclass
class _Reply:
    """A greedy reply, as far as it has been decoded."""

    tree: int
    question: int
    place: int
    """Place in the tree of the last token that the reply shares with it."""
    token_ids: list[int]
    is_done: bool


def score(model: LoadedModel, trees: Sequence[Tree], pixels: Sequence[Any]) -> list[np.ndarray]:
    """Return the log-probability of every option of every tree.

    Args:
        model: From `asking.load`.
        trees: Questions and options of each image.
        pixels: Each image, as `resolution.apply` makes it.

    Returns:
        For each tree shape (2, n_replies): sums over the option's tokens, and means per token.
    """
    scores, _ = score_and_reply(model, trees, pixels, [[] for _ in trees])
    return scores


def score_and_reply(
    model: LoadedModel,
    trees: Sequence[Tree],
    pixels: Sequence[Any],
    to_reply: Sequence[Sequence[int]],
) -> tuple[list[np.ndarray], list[dict[int, str]]]:
    """Return the log-probability of every option, and the greedy reply to some questions.

    Args:
        model: From `asking.load`.
        trees: Questions and options of each image.
        pixels: Each image, as `resolution.apply` makes it.
        to_reply: For each tree the questions that get a reply, by their number in the tree.

    Returns:
        Scores as from `score`; for each tree the replies by question, without end of turn.
    """
    if not any(len(tree.targets) for tree in trees) and not any(to_reply):
        return [np.zeros((2, 0)) for _ in trees], [{} for _ in trees]
    network, device = model.network, model.network.device
    batch = conversation.collate(trees, pad_token_id=model.tokenizer.pad_token_id)
    # The union over all trees would be large; each tree's own positions are selected below.
    del batch["logits_to_keep"]
    inputs = {
        name: value.to(device)
        for name, value in (batch | models.answer_inputs(model, list(pixels))).items()
    }
    output = network.model(**inputs, use_cache=any(to_reply))
    end_of_turn = _end_of_turn(model)
    scores, replies = [], []
    for index, tree in enumerate(trees):
        needed = np.unique(np.concatenate([tree.predictors, tree.prompt_ends]))
        hidden = output.last_hidden_state[index, torch.from_numpy(needed).to(device)]
        logits = network.lm_head(hidden)
        scores.append(_scores(tree, needed, logits))
        if to_reply[index]:
            best = dict(zip(needed.tolist(), logits.argmax(-1).tolist(), strict=True))
            replies += _follow(tree, index, to_reply[index], best, end_of_turn)
    unfinished = [reply for reply in replies if not reply.is_done]
    if unfinished:
        length = inputs["input_ids"].shape[1]
        _decode(model, trees, output.past_key_values, length, unfinished)
    texts: list[dict[int, str]] = [{} for _ in trees]
    for reply in replies:
        texts[reply.tree][reply.question] = _text(model, reply.token_ids)
    return scores, texts


def _scores(tree: Tree, needed: np.ndarray, logits: torch.Tensor) -> np.ndarray:
    """Return the scores of a tree's replies from the logits at the needed places."""
    rows = torch.from_numpy(np.searchsorted(needed, tree.predictors)).to(logits.device)
    tokens = torch.from_numpy(tree.target_ids).to(logits.device)
    exact = torch.log_softmax(logits.double(), dim=-1)
    each = exact[rows, tokens].cpu().numpy()
    sums = np.bincount(tree.replies, weights=each)
    return np.stack([sums, sums / np.maximum(1, np.bincount(tree.replies))])


def _follow(
    tree: Tree, index: int, questions: Sequence[int], best: dict[int, int], end_of_turn: int
) -> list[_Reply]:
    """Return greedy replies up to the first token that no option has at its place.

    Args:
        tree: With the options.
        index: Number of the tree in the batch.
        questions: Numbers of the questions in the tree.
        best: The most probable next token at every place that predicts one.
        end_of_turn: Token that ends a reply.
    """
    # Options with a common beginning repeat it in the tree: the first one represents all.
    same: dict[int, int] = {}
    steps: dict[tuple[int, int], int] = {}
    for target, predictor, token in zip(
        tree.targets.tolist(), tree.predictors.tolist(), tree.target_ids.tolist(), strict=True
    ):
        same[target] = steps.setdefault((same.get(predictor, predictor), token), target)
    replies = []
    for question in questions:
        place = int(tree.prompt_ends[question])
        token_ids = [best[place]]
        while token_ids[-1] != end_of_turn and len(token_ids) < MAX_NEW_TOKENS:
            if (place, token_ids[-1]) not in steps:
                break
            place = steps[place, token_ids[-1]]
            token_ids.append(best[place])
        is_done = token_ids[-1] == end_of_turn or len(token_ids) == MAX_NEW_TOKENS
        replies.append(_Reply(index, question, place, token_ids, is_done))
    return replies


def _decode(
    model: LoadedModel, trees: Sequence[Tree], cache: Any, length: int, replies: list[_Reply]
) -> None:
    """Decode replies to their end, one token of each per pass.

    Args:
        model: From `asking.load`.
        trees: All trees of the first pass.
        cache: Keys and values of that pass; modified.
        length: Tokens per tree in the cache, padding included.
        replies: Unfinished replies.
    """
    device, end_of_turn = model.network.device, _end_of_turn(model)
    kept = sorted({reply.tree for reply in replies})
    if len(kept) < len(trees):
        cache.batch_select_indices(torch.tensor(kept, device=device))
    rows = [[reply for reply in replies if reply.tree == index] for index in kept]
    width = max(map(len, rows))
    n_position_rows = len(trees[0].positions)
    attends = np.zeros((len(rows), width, length), dtype=bool)
    positions = np.zeros((n_position_rows, len(rows), width), dtype=np.int64)
    input_ids = np.full((len(rows), width), end_of_turn)
    slots = [
        (row, column, reply) for row, each in enumerate(rows) for column, reply in enumerate(each)
    ]
    for row, column, reply in slots:
        tree = trees[reply.tree]
        # The last token comes right after its place, and attends to what that place attends to.
        attends[row, column, : len(tree.token_ids)] = tree.attends[reply.place]
        positions[:, row, column] = tree.positions[:, reply.place] + 1
    own = np.broadcast_to(np.eye(width, dtype=bool), (len(rows), width, width))
    while not all(reply.is_done for reply in replies):
        for row, column, reply in slots:
            input_ids[row, column] = reply.token_ids[-1]
        attends = np.concatenate([attends, own], axis=-1)
        output = model.network.model(
            input_ids=torch.from_numpy(input_ids).to(device),
            position_ids=torch.from_numpy(positions if n_position_rows > 1 else positions[0]).to(
                device
            ),
            attention_mask=torch.from_numpy(attends[:, None]).to(device),
            past_key_values=cache,
            use_cache=True,
        )
        best = model.network.lm_head(output.last_hidden_state).argmax(-1).tolist()
        for row, column, reply in slots:
            if not reply.is_done:
                reply.token_ids.append(best[row][column])
                reply.is_done = (
                    reply.token_ids[-1] == end_of_turn or len(reply.token_ids) == MAX_NEW_TOKENS
                )
        positions = positions + 1


def generate(
    model: LoadedModel, geometry: Geometry, image: Any, question_id: str, question: str
) -> str:
    """Return the greedy reply to a single question, by transformers' `generate`."""
    tree = conversation.encode(model, geometry.given_px, [question_id], [question], [[]])
    input_ids = torch.from_numpy(tree.token_ids)[None].to(model.network.device)
    pixels = models.pixel_inputs(model, [image])
    output = model.network.generate(
        input_ids=input_ids,
        attention_mask=torch.ones_like(input_ids),
        **models.flat_inputs(model, input_ids),
        **{name: value.to(model.network.device) for name, value in pixels.items()},
        max_new_tokens=MAX_NEW_TOKENS,
        do_sample=False,
        eos_token_id=_end_of_turn(model),
    )
    return _text(model, output[0, input_ids.shape[1] :].tolist())


def _end_of_turn(model: LoadedModel) -> int:
    return int(model.tokenizer.convert_tokens_to_ids(model.end_of_turn))


def _text(model: LoadedModel, token_ids: list[int]) -> str:
    return str(model.tokenizer.decode(token_ids, skip_special_tokens=True)).strip()
