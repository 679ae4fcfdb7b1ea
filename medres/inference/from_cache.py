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
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from medres import models
from medres.inference.decoding import KEPT_SHARE, Reply, stops
from medres.inference.predicted import MAX_LOGITS, Predicted, read
from medres.models import LoadedModel, conversation
from medres.models.trees import Tree, in_order

MAX_CACHE_BYTES = 2**28
"""Most bytes of the copies that the rows of a pass go on from; a single row may have more."""
PASS_TOKENS = 256
"""Tokens that take about as long as the two passes that a length of questions needs."""


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
        pixels: Each image, as `resolution.apply` makes it, or the list of its views.
        to_reply: For each tree the questions that get a reply, by their number in the tree.
        most_images: Of one pass, fewer where they are large.
        most_tokens: Of a reply, end of turn included.

    Returns:
        Scores as from `generation.score`; the replies, in the order of trees and questions.
    """
    answers = _Answers(model, trees, to_reply, most_tokens)
    roots = [
        _Row(index, -1, np.arange(tree.n_root), 0)
        for index, tree in enumerate(trees)
        if len(tree.targets) or to_reply[index]
    ]
    for rows in _passes(roots, _most_rows(model, most=most_images), of_one_length=True):
        of_rows = in_order([trees[row.tree] for row in rows], [pixels[row.tree] for row in rows])
        vision = models.answer_inputs(model, *of_rows)
        answers.add(rows, _pass(model, trees, rows, None, vision=vision).past_key_values)
    replies = [answers.replies[key] for key in sorted(answers.replies)]
    return [each.scores() for each in answers.predicted], replies


class _Answers:
    """Scores and replies, gathered from the roots of one pass after the other."""

    def __init__(
        self,
        model: LoadedModel,
        trees: Sequence[Tree],
        to_reply: Sequence[Sequence[int]],
        most_tokens: int,
    ) -> None:
        self.model = model
        self.trees = trees
        self.to_reply = to_reply
        self.most_tokens = most_tokens
        self.predicted = [Predicted(model, tree) for tree in trees]
        self.replies: dict[tuple[int, int], Reply] = {}
        """By tree and question."""

    def add(self, roots: Sequence[_Row], cache: Any) -> None:
        """Compute all that lies below some roots.

        Args:
            roots: The rows of a pass.
            cache: What it leaves.
        """
        options = {row.tree: _options(self.trees[row.tree]) for row in roots}
        questions = [
            _Row(row.tree, question, self.trees[row.tree].path(end), before)
            for before, row in enumerate(roots)
            for question, end in enumerate(self.trees[row.tree].prompt_ends.tolist())
        ]
        few, many = _few_and_many(questions, options)
        most_rows = _most_rows(self.model, n_bytes=_bytes_per_row(cache, len(roots)))
        self._score(few, options, cache, len(roots))
        self._follow(few)
        again = [row for row in few if self._is_unfinished(row)]
        for asked in _passes(again, most_rows, of_one_length=True):
            self._decode(asked, _pass(self.model, self.trees, asked, cache).past_key_values)
        for asked in _passes(many, most_rows, of_one_length=True):
            of_questions = self._read(asked, cache, first=len(asked[0].places) - 1)
            kept = [replace(row, places=row.places[:0], before=n) for n, row in enumerate(asked)]
            self._score(kept, options, of_questions, len(kept))
            self._follow(kept)
            self._decode(kept, of_questions)

    def _score(
        self,
        questions: Sequence[_Row],
        options: Mapping[int, list[list[np.ndarray]]],
        cache: Any,
        n_rows: int,
    ) -> None:
        """Compute the options of questions, each behind what the cache lacks of its question."""
        rows = [
            replace(row, places=np.concatenate([row.places, places]))
            for row in questions
            for places in options[row.tree][row.question]
        ]
        n_bytes = _bytes_per_row(cache, n_rows)
        for some in _passes(rows, _most_rows(self.model, n_bytes=n_bytes, has_logits=True)):
            ends = [self.trees[row.tree].prompt_ends[row.question] for row in some]
            n_unread = [
                int(np.searchsorted(row.places, end)) for row, end in zip(some, ends, strict=True)
            ]
            self._read(some, cache, first=min(n_unread))

    def _read(self, rows: Sequence[_Row], cache: Any, *, first: int = 0) -> Any:
        """Compute rows, and read what is predicted from their `first` token on; return the cache.

        Args:
            rows: Of trees, padded at their ends.
            cache: That they go on from; copied.
            first: Token of every row at which, or behind which, all predictions are.
        """
        width = max(len(row.places) for row in rows) - first
        output = _pass(self.model, self.trees, rows, cache, logits_to_keep=width)
        of_tree: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
        for number, row in enumerate(rows):
            places = row.places[first:]
            at = width * number + np.arange(len(places))
            of_tree.setdefault(row.tree, []).append((places, at))
        all_places: list[np.ndarray] = []
        all_at: list[np.ndarray] = []
        for found in of_tree.values():
            # A question that is repeated in front of its options is read once.
            every = np.concatenate([places for places, _ in found])
            own, index = np.unique(every, return_index=True)
            all_places.append(own)
            all_at.append(np.concatenate([at for _, at in found])[index])
        predicted = [self.predicted[tree] for tree in of_tree]
        logits = output.logits.flatten(0, 1)
        read(self.model, predicted, all_places, all_at, logits, head=lambda chosen: chosen)
        return output.past_key_values

    def _follow(self, asked: Sequence[_Row]) -> None:
        """Begin the replies to questions whose options were read."""
        for row in asked:
            if row.question in self.to_reply[row.tree]:
                predicted, most_tokens = self.predicted[row.tree], self.most_tokens
                (reply,) = predicted.follow(row.tree, [row.question], most_tokens=most_tokens)
                self.replies[row.tree, row.question] = reply

    def _is_unfinished(self, row: _Row) -> bool:
        reply = self.replies.get((row.tree, row.question))
        return reply is not None and not reply.is_done

    def _decode(self, asked: Sequence[_Row], cache: Any) -> None:
        """Decode unfinished replies to their end, one token of each per pass.

        Those that an option begins with are fed again as far as it goes, so that all rows have
        one length.

        Args:
            asked: The questions of the cache, row by row.
            cache: Of which rows are copied.
        """
        kept = [number for number, row in enumerate(asked) if self._is_unfinished(row)]
        if not kept:
            return
        going = [self.replies[asked[number].tree, asked[number].question] for number in kept]
        cache = _selected(cache, kept)
        ends = stops(self.model)
        for step in range(self.most_tokens):
            # A reply that has ended but is still carried along repeats its last token.
            last = [reply.token_ids[: step + 1][-1] for reply in going]
            trees = [self.trees[reply.tree] for reply in going]
            positions = np.stack(
                [
                    tree.positions[:, tree.prompt_ends[reply.question]] + 1 + step
                    for tree, reply in zip(trees, going, strict=True)
                ],
                axis=1,
            )[:, :, None]
            output = _forward(self.model, np.array(last)[:, None], positions, cache)
            best = output.logits[:, -1].argmax(-1).tolist()
            for reply, token_id in zip(going, best, strict=True):
                if not reply.is_done and len(reply.token_ids) == step + 1:
                    reply.token_ids.append(token_id)
                    n_tokens = len(reply.token_ids)
                    reply.is_done = token_id in ends or n_tokens == self.most_tokens
            kept = [row for row, reply in enumerate(going) if not reply.is_done]
            if not kept:
                return
            cache = output.past_key_values
            if len(kept) <= KEPT_SHARE * len(going):
                going, cache = [going[row] for row in kept], _selected(cache, kept)


def _options(tree: Tree) -> list[list[np.ndarray]]:
    """Return the tokens of options that predict others: question by question, option by option."""
    places = np.setdiff1d(tree.predictors, tree.prompt_ends)
    found: list[list[np.ndarray]] = [[] for _ in tree.prompt_ends]
    starts = np.flatnonzero(np.diff(tree.nodes[places]))
    for own in np.split(places, starts + 1) if len(places) else []:
        question = np.searchsorted(tree.nodes[tree.prompt_ends], tree.branches[own[0]])
        found[question].append(own)
    return found


def _few_and_many(
    questions: Sequence[_Row], options: Mapping[int, list[list[np.ndarray]]]
) -> tuple[list[_Row], list[_Row]]:
    """Return the questions that are repeated in front of each option, and those computed once.

    Where few images are asked, or few questions have a length, a pass of its own for each length
    takes longer than the tokens that it saves.
    """
    few: list[_Row] = []
    many: list[_Row] = []
    ordered = sorted(questions, key=lambda row: len(row.places))
    for n_tokens, found in itertools.groupby(ordered, key=lambda row: len(row.places)):
        alike = list(found)
        n_options = [len(options[row.tree][row.question]) for row in alike]
        n_repeated = n_tokens * sum(max(0, n - 1) for n in n_options)
        for row, n in zip(alike, n_options, strict=True):
            (few if n and n_repeated <= PASS_TOKENS else many).append(row)
    return few, many


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
    vocabulary = model.vocabulary

    def rows(n_tokens: int) -> int:
        n_logits = vocabulary * (n_tokens if has_logits else 1)
        bounds = [conversation.MAX_PASS_TOKENS // n_tokens, MAX_LOGITS // n_logits]
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
