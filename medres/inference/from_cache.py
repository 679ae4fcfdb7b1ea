"""Scores and replies from copies of a cache: image once, each question once, options from there.

For networks that the mask of a tree does not reach: recurrent and convolution layers take tokens in
the order in which they come, and some families mask the tokens of an image themselves. Here every
row is the beginning of a plain conversation, and goes on from a copy of what the network keeps of
it: images whose roots have one length in one pass, then their questions of one length, then the
options.

Nothing is padded whose cache is used again, since a recurrent layer would see the padding. Options
are, behind their last token, and their cache is thrown away. Positions are given in every step:
several families keep the offset behind an image on the network, where the next image replaces it.
"""

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from medres import models
from medres.inference import predicted as predictions
from medres.inference.decoding import KEPT_SHARE, Reply, end_of_turn
from medres.inference.predicted import Predicted
from medres.models import LoadedModel, conversation
from medres.models.trees import Tree

MAX_CACHE_BYTES = 2**28
"""Most bytes of the copies that the rows of a pass go on from; a single row may have more."""


@dataclass(frozen=True)
class _Row:
    """Tokens that one row of a pass adds to what its cache holds."""

    tree: int
    question: int
    """Number in the tree; -1 for a root."""
    places: np.ndarray
    """Of the tokens in the tree, ascending, shape (n_tokens,)."""
    before: int
    """Row of the cache that they go on from."""


def score_and_reply(
    model: LoadedModel,
    trees: Sequence[Tree],
    pixels: Sequence[Any],
    to_reply: Sequence[Sequence[int]],
    most_images: int,
    *,
    most_tokens: int,
) -> tuple[list[np.ndarray], list[Reply]]:
    """Return the log-probability of every option, and the greedy reply to some questions.

    Args:
        model: Of any family.
        trees: Questions and options of each image.
        pixels: Each image, as `resolution.apply` makes it.
        to_reply: For each tree the questions that get a reply, by their number in the tree.
        most_images: Of one pass, fewer where they are large.
        most_tokens: Of a reply, end of turn included.

    Returns:
        Scores as from `generation.score`; the replies, in the order of trees and questions.
    """
    predicted = [Predicted(model, tree) for tree in trees]
    replies: list[Reply] = []
    roots = [
        _Row(index, -1, np.arange(tree.n_root), 0)
        for index, tree in enumerate(trees)
        if len(tree.targets) or to_reply[index]
    ]
    for rows in _passes(roots, _most_rows(model, most=most_images), of_one_length=True):
        vision = models.answer_inputs(
            model, [pixels[row.tree] for row in rows], [trees[row.tree].layout for row in rows]
        )
        root = _pass(model, trees, rows, None, vision=vision).past_key_values
        questions = [
            _Row(row.tree, question, trees[row.tree].path(end), before)
            for before, row in enumerate(rows)
            for question, end in enumerate(trees[row.tree].prompt_ends.tolist())
        ]
        most_rows = _most_rows(model, n_bytes=_bytes_per_row(root, len(rows)))
        for asked in _passes(questions, most_rows, of_one_length=True):
            replies += _ask(model, predicted, asked, root, to_reply, most_tokens=most_tokens)
    replies.sort(key=lambda reply: (reply.tree, reply.question))
    return [each.scores() for each in predicted], replies


def _ask(
    model: LoadedModel,
    predicted: Sequence[Predicted],
    asked: Sequence[_Row],
    root: Any,
    to_reply: Sequence[Sequence[int]],
    *,
    most_tokens: int,
) -> list[Reply]:
    """Score the options of some questions of one length; return the replies to them."""
    trees = [each.tree for each in predicted]
    output = _pass(model, trees, asked, root)
    ends = [row.places[-1:] for row in asked]
    _read(model, predicted, asked, ends, output.logits)
    cache = output.past_key_values
    options = [
        _Row(row.tree, row.question, places, before)
        for before, row in enumerate(asked)
        for places in _options(trees[row.tree], int(row.places[-1]))
    ]
    n_bytes = _bytes_per_row(cache, len(asked))
    for rows in _passes(options, _most_rows(model, n_bytes=n_bytes, has_logits=True)):
        logits = _pass(model, trees, rows, cache, logits_to_keep=0).logits
        _read(model, predicted, rows, [row.places for row in rows], logits)
    replies, unfinished = [], []
    for before, row in enumerate(asked):
        if row.question not in to_reply[row.tree]:
            continue
        (reply,) = predicted[row.tree].follow(row.tree, [row.question], most_tokens=most_tokens)
        replies.append(reply)
        if not reply.is_done:
            unfinished.append((before, reply))
    if unfinished:
        kept, going = zip(*unfinished, strict=True)
        _decode(model, trees, going, _selected(cache, kept), most_tokens=most_tokens)
    return replies


def _decode(
    model: LoadedModel,
    trees: Sequence[Tree],
    going: Sequence[Reply],
    cache: Any,
    *,
    most_tokens: int,
) -> None:
    """Decode replies to their end, one token of each per pass.

    Args:
        model: Of any family.
        trees: Of all replies.
        going: Unfinished replies. Those that an option begins with are given as far as it goes.
        cache: Of their questions, a row for each reply; modified.
        most_tokens: Of a reply, end of turn included.
    """
    end = end_of_turn(model)
    for step in range(most_tokens):
        # A reply that has ended, but is still carried along, repeats its last token.
        last = [reply.token_ids[: step + 1][-1] for reply in going]
        positions = [
            trees[reply.tree].positions[:, trees[reply.tree].prompt_ends[reply.question]]
            for reply in going
        ]
        output = _forward(
            model,
            np.array(last)[:, None],
            np.stack(positions, axis=1)[:, :, None] + 1 + step,
            cache,
        )
        best = output.logits[:, -1].argmax(-1).tolist()
        for reply, token_id in zip(going, best, strict=True):
            if not reply.is_done and len(reply.token_ids) == step + 1:
                reply.token_ids.append(token_id)
                reply.is_done = token_id == end or len(reply.token_ids) == most_tokens
        kept = [row for row, reply in enumerate(going) if not reply.is_done]
        if not kept:
            return
        cache = output.past_key_values
        if len(kept) <= KEPT_SHARE * len(going):
            going, cache = [going[row] for row in kept], _selected(cache, kept)


def _options(tree: Tree, prompt_end: int) -> list[np.ndarray]:
    """Return the tokens of a question's options that predict others, option by option."""
    (own,) = np.nonzero(tree.branches == tree.nodes[prompt_end])
    places = own[own > prompt_end]
    places = places[np.isin(places, tree.predictors)]
    starts = np.flatnonzero(np.diff(tree.nodes[places]))
    return np.split(places, starts + 1) if len(places) else []


def _read(
    model: LoadedModel,
    predicted: Sequence[Predicted],
    rows: Sequence[_Row],
    places: Sequence[np.ndarray],
    logits: torch.Tensor,
) -> None:
    of_rows = [predicted[row.tree] for row in rows]
    predictions.read(model, of_rows, places, logits, head=lambda chosen: chosen)


def _passes(
    rows: Sequence[_Row], most_rows: Callable[[int], int], *, of_one_length: bool = False
) -> Iterator[list[_Row]]:
    """Yield rows that are computed in one pass, those of like length together.

    Args:
        rows: Of any length.
        most_rows: Of a pass, by the tokens of its longest row.
        of_one_length: Whether no row of a pass may be padded.
    """
    held: list[_Row] = []
    for row in sorted(rows, key=lambda row: len(row.places)):
        n_tokens = len(row.places)
        is_other = of_one_length and held and len(held[0].places) != n_tokens
        if held and (is_other or len(held) >= most_rows(n_tokens)):
            yield held
            held = []
        held.append(row)
    if held:
        yield held


def _most_rows(
    model: LoadedModel, *, most: int | None = None, n_bytes: int = 0, has_logits: bool = False
) -> Callable[[int], int]:
    """Return how many rows of some tokens a pass can take; one is always taken.

    Args:
        model: With the size of its vocabulary.
        most: Rows at any length.
        n_bytes: Of the cache that a row goes on from.
        has_logits: Whether every token has logits, instead of the last.
    """
    vocabulary = model.shape.vocabulary

    def rows(n_tokens: int) -> int:
        n_logits = vocabulary * (n_tokens if has_logits else 1)
        bounds = [conversation.MAX_PASS_TOKENS // n_tokens, predictions.MAX_LOGITS // n_logits]
        bounds += [MAX_CACHE_BYTES // n_bytes] if n_bytes else []
        bounds += [most] if most is not None else []
        return min(bounds)

    return rows


def _pass(
    model: LoadedModel,
    trees: Sequence[Tree],
    rows: Sequence[_Row],
    cache: Any,
    *,
    vision: Mapping[str, torch.Tensor] | None = None,
    logits_to_keep: int = 1,
) -> Any:
    """Return the network's output for rows of trees; what they go on from is copied."""
    length = max(len(row.places) for row in rows)
    n_position_rows = len(trees[rows[0].tree].positions)
    token_ids = np.full((len(rows), length), model.tokenizer.pad_token_id, dtype=np.int64)
    positions = np.zeros((n_position_rows, len(rows), length), dtype=np.int64)
    for number, row in enumerate(rows):
        tree, n_tokens = trees[row.tree], len(row.places)
        token_ids[number, :n_tokens] = tree.token_ids[row.places]
        positions[:, number, :n_tokens] = tree.positions[:, row.places]
    before = None if cache is None else _selected(cache, [row.before for row in rows])
    return _forward(
        model, token_ids, positions, before, vision=vision or {}, logits_to_keep=logits_to_keep
    )


def _forward(
    model: LoadedModel,
    token_ids: np.ndarray,
    positions: np.ndarray,
    cache: Any,
    *,
    vision: Mapping[str, torch.Tensor] | None = None,
    logits_to_keep: int = 1,
) -> Any:
    """Return the output of the network's own forward pass, which knows what its head does.

    Args:
        model: Of any family.
        token_ids: Shape (n_rows, n_tokens).
        positions: Shape (3, n_rows, n_tokens), or (1, n_rows, n_tokens).
        cache: That the rows go on from, None at a beginning; modified.
        vision: Vision inputs, at a beginning.
        logits_to_keep: How many tokens at the end have logits, 0 for all.
    """
    input_ids = torch.from_numpy(token_ids)
    inputs = {
        "input_ids": input_ids,
        "position_ids": torch.from_numpy(positions if len(positions) > 1 else positions[0]),
        **models.flat_inputs(model, input_ids),
        **(vision or {}),
    }
    device = model.network.device
    return model.network(
        **{name: value.to(device) for name, value in inputs.items()},
        past_key_values=cache,
        logits_to_keep=logits_to_keep,
        use_cache=True,
    )


def _selected(cache: Any, rows: Sequence[int]) -> Any:
    """Return a copy of some rows of a cache, each as often as it is named.

    `batch_select_indices` would be the name for it, but recurrent layers do not have it.
    """
    copied = copy.copy(cache)
    copied.layers = [copy.copy(layer) for layer in cache.layers]
    for layer in copied.layers:
        # Recurrent layers hold their states in dictionaries, which both copies would share.
        held = {name: dict(value) for name, value in vars(layer).items() if isinstance(value, dict)}
        vars(layer).update(held)
    copied.reorder_cache(torch.tensor(rows))
    return copied


def _bytes_per_row(cache: Any, n_rows: int) -> int:
    """Return the bytes that a cache holds of each of its rows."""
    values = itertools.chain.from_iterable(vars(layer).values() for layer in cache.layers)
    held = itertools.chain.from_iterable(
        value.values() if isinstance(value, dict) else [value] for value in values
    )
    n_bytes = sum(value.nbytes for value in held if isinstance(value, torch.Tensor))
    return int(n_bytes // n_rows)
