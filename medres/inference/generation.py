"""Scores and replies for trees of questions: log-probabilities of options, greedy decoding.

One pass gives the logits of every option. The greedy reply is taken from the same logits as long
as it matches the beginning of an option; from where it matches none, it is decoded token by token
from the keys and values of that pass, for the questions of all images at once. So the replies of
a trained model cost almost nothing, and image and prompt prefix are encoded once.

A tree with more questions and options than one pass can take is computed in several: its root
once, then at most `conversation.MAX_PASS_TOKENS` of the others at a time, each time from a copy of
the root's keys and values. Memory is bounded then, and time grows with the tokens.
"""

import copy
from collections.abc import Iterator, Sequence
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
MAX_PAIRS = 2**27
"""Most pairs of tokens in one pass, of all its images with their roots: the mask holds them all."""
MAX_LOGITS = 2**24
"""Most logits at once, but those of one token: 110 tokens of a vocabulary of 151,936."""


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
    if len(trees) > 1 and not _fits(trees):
        middle = len(trees) // 2
        (scores, texts), (more_scores, more_texts) = (
            score_and_reply(model, trees[part], pixels[part], to_reply[part])
            for part in (slice(middle), slice(middle, None))
        )
        return scores + more_scores, texts + more_texts
    if _fits(trees):
        scores, replies = _in_one_pass(model, trees, pixels, to_reply)
    else:
        scores, replies = _in_passes(model, trees[0], pixels[0], to_reply[0])
    texts = [{} for _ in trees]
    for reply in replies:
        texts[reply.tree][reply.question] = _text(model, reply.token_ids)
    return scores, texts


def _fits(trees: Sequence[Tree]) -> bool:
    """Return whether one pass can take some trees."""
    lengths = [len(tree.token_ids) for tree in trees]
    most = max(len(tree.token_ids) - tree.n_root for tree in trees)
    return most <= conversation.MAX_PASS_TOKENS and len(trees) * max(lengths) ** 2 <= MAX_PAIRS


def _in_one_pass(
    model: LoadedModel,
    trees: Sequence[Tree],
    pixels: Sequence[Any],
    to_reply: Sequence[Sequence[int]],
) -> tuple[list[np.ndarray], list[_Reply]]:
    """Return what `score_and_reply` does, the replies as tokens."""
    network, device = model.network, model.network.device
    batch = conversation.collate(trees, pad_token_id=model.tokenizer.pad_token_id)
    # The union over all trees would be large; each tree's own positions are selected below.
    del batch["logits_to_keep"]
    inputs = {
        name: value.to(device)
        for name, value in (batch | models.answer_inputs(model, list(pixels))).items()
    }
    output = network.model(**inputs, use_cache=any(to_reply))
    scores, replies = [], []
    cached = [np.arange(len(tree.token_ids)) for tree in trees]
    for index, tree in enumerate(trees):
        predicted = _Predicted(model, tree)
        predicted.read(cached[index], output.last_hidden_state[index])
        scores.append(predicted.scores())
        replies += predicted.follow(index, to_reply[index])
    unfinished = [reply for reply in replies if not reply.is_done]
    if unfinished:
        length = inputs["input_ids"].shape[1]
        _decode(model, trees, output.past_key_values, cached, length, unfinished)
    return scores, replies


def _in_passes(
    model: LoadedModel, tree: Tree, pixels: Any, to_reply: Sequence[int]
) -> tuple[list[np.ndarray], list[_Reply]]:
    """Return what `score_and_reply` does for a single tree, the replies as tokens."""
    root = np.arange(tree.n_root)
    image = {
        name: value.to(model.network.device)
        for name, value in models.answer_inputs(model, [pixels]).items()
    }
    root_cache = model.network.model(**_inputs(model, tree, root), **image).past_key_values

    def below(places: np.ndarray) -> Any:
        seen = tree.seen(places, np.concatenate([root, places]))[None, None]
        return model.network.model(
            **_inputs(model, tree, places),
            attention_mask=torch.from_numpy(seen).to(model.network.device),
            past_key_values=copy.deepcopy(root_cache),
        )

    predicted = _Predicted(model, tree)
    for places in conversation.passes(tree, n_tokens=conversation.MAX_PASS_TOKENS):
        predicted.read(places, below(places).last_hidden_state[0])
    replies = predicted.follow(0, to_reply)
    for places, group in _grouped(tree, [reply for reply in replies if not reply.is_done]):
        cached = np.concatenate([root, places])
        cache = below(places).past_key_values
        _decode(model, [tree], cache, [cached], len(cached), group)
    return [predicted.scores()], replies


def _inputs(model: LoadedModel, tree: Tree, places: np.ndarray) -> dict[str, Any]:
    """Return some tokens of a tree, in ascending order, as inputs of the network."""
    positions = torch.from_numpy(tree.positions[:, None, places])
    inputs = {
        "input_ids": torch.from_numpy(tree.token_ids[None, places]),
        "position_ids": positions if len(positions) > 1 else positions[0],
    }
    device = model.network.device
    return {name: value.to(device) for name, value in inputs.items()} | {"use_cache": True}


def _grouped(tree: Tree, replies: list[_Reply]) -> Iterator[tuple[np.ndarray, list[_Reply]]]:
    """Yield replies that are decoded together, with the tokens below the root that they need."""
    group: list[_Reply] = []
    needed = np.zeros(0, dtype=np.int64)
    for reply in replies:
        both = np.union1d(needed, tree.path(reply.place))
        # Every reply also writes its own tokens.
        if group and len(both) + MAX_NEW_TOKENS * (len(group) + 1) > conversation.MAX_PASS_TOKENS:
            yield needed, group
            group, both = [], tree.path(reply.place)
        group, needed = [*group, reply], both
    if group:
        yield needed, group


class _Predicted:
    """What the network predicts at the places of a tree, gathered pass by pass."""

    def __init__(self, model: LoadedModel, tree: Tree) -> None:
        self.model = model
        self.tree = tree
        self._best: dict[int, int] = {}
        self._log_probabilities = np.zeros(len(tree.targets))
        self._order = np.argsort(tree.predictors, kind="stable")
        self._is_due = np.zeros(len(tree.token_ids), dtype=bool)
        self._is_due[tree.predictors] = True
        self._is_due[tree.prompt_ends] = True

    def read(self, places: np.ndarray, hidden: torch.Tensor) -> None:
        """Add the predictions made at the tokens of a pass, where there are none yet.

        Args:
            places: The tokens, in ascending order, shape (n_places,).
            hidden: Their last hidden states, shape (n_places or more, width).
        """
        rows = np.flatnonzero(self._is_due[places])
        self._is_due[places] = False
        n_at_once = max(1, MAX_LOGITS // self.model.shape.vocabulary)
        for start in range(0, len(rows), n_at_once):
            some = rows[start : start + n_at_once]
            kept = hidden[torch.from_numpy(some).to(hidden.device)]
            self._add(places[some], self.model.network.lm_head(kept))

    def _add(self, places: np.ndarray, logits: torch.Tensor) -> None:
        best = logits.argmax(-1).tolist()
        self._best.update(zip(places.tolist(), best, strict=True))
        # Of each place the targets that it predicts, and for each of these its row of logits.
        ordered = self.tree.predictors[self._order]
        first, after = (np.searchsorted(ordered, places, side=side) for side in ("left", "right"))
        n_each = after - first
        rows = np.repeat(np.arange(len(places)), n_each)
        nth = np.arange(len(rows)) - np.repeat(n_each.cumsum() - n_each, n_each)
        targets = self._order[np.repeat(first, n_each) + nth]
        tokens = torch.from_numpy(self.tree.target_ids[targets]).to(logits.device)
        exact = torch.log_softmax(logits.double(), dim=-1)
        each = exact[torch.from_numpy(rows).to(logits.device), tokens]
        self._log_probabilities[targets] = each.cpu().numpy()

    def scores(self) -> np.ndarray:
        """Return the scores of the tree's replies, as `score` does, once all places are read."""
        sums = np.bincount(self.tree.replies, weights=self._log_probabilities)
        return np.stack([sums, sums / np.maximum(1, np.bincount(self.tree.replies))])

    def follow(self, index: int, questions: Sequence[int]) -> list[_Reply]:
        """Return greedy replies up to the first token that no option has at its place.

        Args:
            index: Number of the tree in the batch.
            questions: Numbers of the questions in the tree.
        """
        tree, best, end_of_turn = self.tree, self._best, _end_of_turn(self.model)
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
    model: LoadedModel,
    trees: Sequence[Tree],
    cache: Any,
    cached: Sequence[np.ndarray],
    length: int,
    replies: list[_Reply],
) -> None:
    """Decode replies to their end, one token of each per pass.

    Args:
        model: From `asking.load`.
        trees: All trees of the pass before.
        cache: Keys and values of the roots and of that pass; modified.
        cached: Places of each tree whose keys and values these are, in ascending order.
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
        attends[row, column, : tree.n_root] = True
        path = np.searchsorted(cached[reply.tree], tree.path(reply.place))
        attends[row, column, path] = True
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
