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
from typing import Any

import numpy as np
import torch

from medres import models
from medres.inference.decoding import Reply, Waiting, end_of_turn
from medres.models import LoadedModel, conversation, last_layer, shared_prompt
from medres.models.shared_prompt import Beginning
from medres.models.trees import Tree, passes
from medres.resolution import Geometry

MAX_NEW_TOKENS = 32
"""Of a reply, end of turn included."""
MOST_IMAGES = 16
"""Images of a pass."""
CPU_PASS_TOKENS = 2_048
"""Most tokens of a pass of several images on a CPU, padding included: more leave its cache."""
MAX_PAIRS = 2**27
"""Most pairs of tokens in one pass, of all its images with their roots: the mask holds them all."""
MAX_LOGITS = 2**24
"""Most logits at once, but those of one token: 110 tokens of a vocabulary of 151,936."""


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
    most_images: int = MOST_IMAGES,
) -> tuple[list[np.ndarray], list[dict[int, str]]]:
    """Return the log-probability of every option, and the greedy reply to some questions.

    Args:
        model: From `asking.load`.
        trees: Questions and options of each image; those of like size beside each other.
        pixels: Each image, as `resolution.apply` makes it.
        to_reply: For each tree the questions that get a reply, by their number in the tree.
        most_images: Of one pass, fewer where they are large.

    Returns:
        Scores as from `score`; for each tree the replies by question, without end of turn.
    """
    scores: list[np.ndarray] = []
    waiting = Waiting(model, most_tokens=MAX_NEW_TOKENS)
    begun = _begin(model, trees[0]) if len(trees) > 1 else None
    ended: list[tuple[int, Reply]] = []
    replies: list[Reply]
    for part in _passes(model, trees, most_images=most_images):
        asked = (model, trees[part], pixels[part], to_reply[part])
        if not any(len(tree.targets) for tree in trees[part]) and not any(to_reply[part]):
            made, replies = [np.zeros((2, 0)) for _ in trees[part]], []
        elif _fits(trees[part]):
            made, replies = _in_one_pass(*asked, begun, waiting)
        else:
            made, replies = _in_passes(model, trees[part][0], pixels[part][0], to_reply[part][0])
        scores += made
        ended += [(part.start + reply.tree, reply) for reply in replies]
    waiting.finish()
    texts: list[dict[int, str]] = [{} for _ in trees]
    for index, reply in ended:
        texts[index][reply.question] = _text(model, reply.token_ids)
    return scores, texts


def _passes(model: LoadedModel, trees: Sequence[Tree], *, most_images: int) -> Iterator[slice]:
    """Yield which trees are computed in one pass."""
    on_cpu = model.network.device.type == "cpu"
    start = 0
    for end in range(1, len(trees) + 1):
        longest = max(len(tree.token_ids) for tree in trees[start : end + 1])
        n_tokens = (end + 1 - start) * longest
        if (
            end == len(trees)
            or end - start == most_images
            or not _fits(trees[start : end + 1])
            or (on_cpu and n_tokens > CPU_PASS_TOKENS)
        ):
            yield slice(start, end)
            start = end


def _begin(model: LoadedModel, tree: Tree) -> Beginning:
    """Return the prompt before the image, computed for all passes."""
    n_tokens = int(np.argmax(tree.token_ids == model.image_token_id))
    inputs = _inputs(model, tree, np.arange(n_tokens))
    return shared_prompt.begin(model.network, inputs, n_tokens=n_tokens)


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
    begun: Beginning | None,
    waiting: Waiting,
) -> tuple[list[np.ndarray], list[Reply]]:
    """Return what `score_and_reply` does, the replies as tokens; some of them still wait."""
    network, device = model.network, model.network.device
    batch = conversation.collate(trees, pad_token_id=model.tokenizer.pad_token_id)
    # The union over all trees would be large; each tree's own positions are selected below.
    del batch["logits_to_keep"]
    inputs = {
        name: value.to(device)
        for name, value in (batch | models.answer_inputs(model, list(pixels))).items()
    }
    predicted = [_Predicted(model, tree) for tree in trees]
    # Of no other token is anything read; keys and values of all of them are in the cache.
    read = np.unique(np.concatenate([each.unread() for each in predicted]))
    with last_layer.only_at(network, torch.from_numpy(read)):
        rest = shared_prompt.forward(
            network,
            inputs,
            image_token_id=model.image_token_id,
            use_cache=any(to_reply),
            begun=begun,
        )
    cached = [np.arange(len(tree.token_ids)) for tree in trees]
    _read(model, predicted, [read[read < len(tree.token_ids)] for tree in trees], rest.hidden)
    scores = [each.scores() for each in predicted]
    replies = [
        reply
        for index, each in enumerate(predicted)
        for reply in each.follow(index, to_reply[index])
    ]
    waiting.add(trees, rest.cache, cached, inputs["input_ids"].shape[1], replies)
    return scores, replies


def _in_passes(
    model: LoadedModel, tree: Tree, pixels: Any, to_reply: Sequence[int]
) -> tuple[list[np.ndarray], list[Reply]]:
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
    for places in passes(tree, n_tokens=conversation.MAX_PASS_TOKENS):
        _read(model, [predicted], [places], below(places).last_hidden_state)
    replies = predicted.follow(0, to_reply)
    for places, group in _grouped(tree, [reply for reply in replies if not reply.is_done]):
        cached = np.concatenate([root, places])
        waiting = Waiting(model, most_tokens=MAX_NEW_TOKENS)
        waiting.add([tree], below(places).past_key_values, [cached], len(cached), group)
        waiting.finish()
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


def _grouped(tree: Tree, replies: list[Reply]) -> Iterator[tuple[np.ndarray, list[Reply]]]:
    """Yield replies that are decoded together, with the tokens below the root that they need."""
    group: list[Reply] = []
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

    def unread(self) -> np.ndarray:
        """Return the places whose predictions are still needed, ascending."""
        return np.flatnonzero(self._is_due)

    def due(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return what is to be read at the tokens of a pass, where nothing was read yet.

        Args:
            places: The tokens, in ascending order, shape (n_places,).

        Returns:
            Rows of `places` whose predictions are needed, shape (n_due,); the targets predicted
            there, shape (n,); and for each of these its number among the rows.
        """
        rows = np.flatnonzero(self._is_due[places])
        self._is_due[places] = False
        # Of each place the targets that it predicts.
        ordered = self.tree.predictors[self._order]
        first, after = (
            np.searchsorted(ordered, places[rows], side=side) for side in ("left", "right")
        )
        n_each = after - first
        at = np.repeat(np.arange(len(rows)), n_each)
        nth = np.arange(len(at)) - np.repeat(n_each.cumsum() - n_each, n_each)
        return rows, self._order[np.repeat(first, n_each) + nth], at

    def add(
        self, places: list[int], best: list[int], targets: np.ndarray, values: np.ndarray
    ) -> None:
        """Add the most probable token of some places, and the log-probabilities of targets."""
        self._best.update(zip(places, best, strict=True))
        self._log_probabilities[targets] = values

    def scores(self) -> np.ndarray:
        """Return the scores of the tree's replies, as `score` does, once all places are read."""
        sums = np.bincount(self.tree.replies, weights=self._log_probabilities)
        return np.stack([sums, sums / np.maximum(1, np.bincount(self.tree.replies))])

    def follow(self, index: int, questions: Sequence[int]) -> list[Reply]:
        """Return greedy replies up to the first token that no option has at its place.

        Args:
            index: Number of the tree in the batch.
            questions: Numbers of the questions in the tree.
        """
        tree, best, end = self.tree, self._best, end_of_turn(self.model)
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
            while token_ids[-1] != end and len(token_ids) < MAX_NEW_TOKENS:
                if (place, token_ids[-1]) not in steps:
                    break
                place = steps[place, token_ids[-1]]
                token_ids.append(best[place])
            is_done = token_ids[-1] == end or len(token_ids) == MAX_NEW_TOKENS
            replies.append(Reply(index, question, place, token_ids, is_done))
        return replies


def _read(
    model: LoadedModel,
    predicted: Sequence[_Predicted],
    places: Sequence[np.ndarray],
    hidden: torch.Tensor,
) -> None:
    """Add what a pass predicts to what is known of its trees.

    Args:
        model: From `asking.load`.
        predicted: Of each tree.
        places: The tokens of each tree in the pass, in ascending order.
        hidden: Last hidden states, shape (n_trees, n_places or more, width).
    """
    due = [each.due(at) for each, at in zip(predicted, places, strict=True)]
    n_each = [len(rows) for rows, _, _ in due]
    starts = np.cumsum([0, *n_each])
    # All needed rows one after the other, and the targets by the row that predicts them.
    of_tree = torch.from_numpy(np.repeat(np.arange(len(due)), n_each)).to(hidden.device)
    of_row = torch.from_numpy(np.concatenate([rows for rows, _, _ in due])).to(hidden.device)
    at = np.concatenate([start + at for start, (_, _, at) in zip(starts[:-1], due, strict=True)])
    tokens = np.concatenate(
        [each.tree.target_ids[own] for each, (_, own, _) in zip(predicted, due, strict=True)]
    )
    best: list[int] = []
    values = np.zeros(len(at))
    n_at_once = max(1, MAX_LOGITS // model.vocabulary)
    for start in range(0, len(of_row), n_at_once):
        some = slice(start, start + n_at_once)
        logits = model.network.lm_head(hidden[of_tree[some], of_row[some]])
        best += logits.argmax(-1).tolist()
        # Targets are in the order of their rows within a tree, hence over all trees.
        first, after = np.searchsorted(at, [start, start + n_at_once])
        exact = torch.log_softmax(logits.double(), dim=-1)
        found = exact[
            torch.from_numpy(at[first:after] - start).to(logits.device),
            torch.from_numpy(tokens[first:after]).to(logits.device),
        ]
        values[first:after] = found.cpu().numpy()
    taken = np.cumsum([0, *(len(own) for _, own, _ in due)])
    for number, (tree, (rows, own, _)) in enumerate(zip(predicted, due, strict=True)):
        tree.add(
            places[number][rows].tolist(),
            best[starts[number] : starts[number + 1]],
            own,
            values[taken[number] : taken[number + 1]],
        )


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
        eos_token_id=end_of_turn(model),
    )
    return _text(model, output[0, input_ids.shape[1] :].tolist())


def _text(model: LoadedModel, token_ids: list[int]) -> str:
    return str(model.tokenizer.decode(token_ids, skip_special_tokens=True)).strip()
