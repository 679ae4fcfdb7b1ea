"""Scores and replies for trees of questions: log-probabilities of options, greedy decoding.

One pass gives the logits of every option. The greedy reply is taken from the same logits as long
as it matches the beginning of an option; from where it matches none, it is decoded token by token
from the keys and values of that pass, for the questions of all images at once. So the replies of
a trained model cost almost nothing, and image and prompt prefix are encoded once.

A tree with more questions and options than one pass can take is computed in several: its root
once, then at most `conversation.MAX_PASS_TOKENS` of the others at a time, each time from a copy of
the root's keys and values. Memory is bounded then, and time grows with the tokens.

Families whose networks a tree's mask does not reach are computed by `from_cache`.
"""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from medres import models
from medres.inference import from_cache, said
from medres.inference.decoding import Reply, Waiting, stops
from medres.inference.predicted import Predicted, read
from medres.inference.said import Said
from medres.models import LoadedModel, conversation, last_layer, shared_prompt
from medres.models.shared_prompt import Beginning
from medres.models.trees import Tree, in_order, passes
from medres.resolution import Geometry

MAX_NEW_TOKENS = 32
"""Of a reply if nothing else is said, end of turn included."""
MOST_IMAGES = 16
"""Images of a pass."""
CPU_PASS_TOKENS = 2_048
"""Most tokens of a pass of several images on a CPU, padding included: more leave its cache."""
MAX_PAIRS = 2**27
"""Most pairs of tokens in one pass, of all its images with their roots: the mask holds them all."""


def score(model: LoadedModel, trees: Sequence[Tree], pixels: Sequence[Any]) -> list[np.ndarray]:
    """Return the log-probability of every option of every tree.

    Args:
        model: From `asking.load`.
        trees: Questions and options of each image.
        pixels: Each image, as `resolution.apply` makes it, or the list of its views.

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
    max_new_tokens: int | None = None,
) -> tuple[list[np.ndarray], list[dict[int, Said]]]:
    """Return the log-probability of every option, and the greedy reply to some questions.

    Args:
        model: From `asking.load`.
        trees: Questions and options of each image; those of like size beside each other.
        pixels: Each image, as `resolution.apply` makes it, or the list of its views.
        to_reply: For each tree the questions that get a reply, by their number in the tree.
        most_images: Of one pass, fewer where they are large.
        max_new_tokens: Of a reply, end of turn included; None means `MAX_NEW_TOKENS`.

    Returns:
        Scores as from `score`; for each tree the replies by question.
    """
    most_tokens = max_new_tokens or MAX_NEW_TOKENS
    way = from_cache.score_and_reply if model.sharing == "cache" else _from_trees
    scores, replies = way(model, trees, pixels, to_reply, most_images, most_tokens=most_tokens)
    found: list[dict[int, Said]] = [{} for _ in trees]
    for reply in replies:
        found[reply.tree][reply.question] = said.read(model, reply.token_ids)
    return scores, found


def _from_trees(
    model: LoadedModel,
    trees: Sequence[Tree],
    pixels: Sequence[Any],
    to_reply: Sequence[Sequence[int]],
    most_images: int,
    *,
    most_tokens: int,
) -> tuple[list[np.ndarray], list[Reply]]:
    """Return what `score_and_reply` does, the replies as tokens."""
    scores: list[np.ndarray] = []
    waiting = Waiting(model, most_tokens=most_tokens)
    begun = _begin(model, trees[0]) if len(trees) > 1 else None
    ended: list[Reply] = []
    replies: list[Reply]
    for part in _passes(model, trees, most_images=most_images):
        asked = (model, trees[part], pixels[part], to_reply[part])
        if not any(len(tree.targets) for tree in trees[part]) and not any(to_reply[part]):
            made, replies = [np.zeros((2, 0)) for _ in trees[part]], []
        elif _fits(trees[part]):
            made, replies = _in_one_pass(*asked, begun, waiting)
        else:
            tree, image, wanted = trees[part][0], pixels[part][0], to_reply[part][0]
            made, replies = _in_passes(model, tree, image, wanted, most_tokens)
        scores += made
        for reply in replies:
            reply.tree += part.start
        ended += replies
    waiting.finish()
    return scores, ended


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
    vision = models.answer_inputs(model, *in_order(trees, pixels))
    inputs = {name: value.to(device) for name, value in (batch | vision).items()}
    predicted = [Predicted(model, tree) for tree in trees]
    # Of no other token is anything read; keys and values of all of them are in the cache.
    needed = np.unique(np.concatenate([each.unread() for each in predicted]))
    with last_layer.only_at(network, torch.from_numpy(needed)):
        rest = shared_prompt.forward(
            network,
            inputs,
            image_token_id=model.image_token_id,
            use_cache=any(to_reply),
            begun=begun,
        )
    cached = [np.arange(len(tree.token_ids)) for tree in trees]
    places = [needed[needed < len(tree.token_ids)] for tree in trees]
    rows = [rest.hidden.shape[1] * number + np.arange(len(at)) for number, at in enumerate(places)]
    read(model, predicted, places, rows, rest.hidden.flatten(0, 1), head=network.lm_head)
    scores = [each.scores() for each in predicted]
    replies = [
        reply
        for index, each in enumerate(predicted)
        for reply in each.follow(index, to_reply[index], most_tokens=waiting.most_tokens)
    ]
    waiting.add(trees, rest.cache, cached, inputs["input_ids"].shape[1], replies)
    return scores, replies


def _in_passes(
    model: LoadedModel, tree: Tree, pixels: Any, to_reply: Sequence[int], most_tokens: int
) -> tuple[list[np.ndarray], list[Reply]]:
    """Return what `score_and_reply` does for a single tree, the replies as tokens."""
    root = np.arange(tree.n_root)
    image = {
        name: value.to(model.network.device)
        for name, value in models.answer_inputs(model, *in_order([tree], [pixels])).items()
    }
    root_cache = model.network.model(**_inputs(model, tree, root), **image).past_key_values

    def below(places: np.ndarray) -> Any:
        seen = tree.seen(places, np.concatenate([root, places]))[None, None]
        return model.network.model(
            **_inputs(model, tree, places),
            attention_mask=torch.from_numpy(seen).to(model.network.device),
            past_key_values=copy.deepcopy(root_cache),
        )

    predicted = Predicted(model, tree)
    for places in passes(tree, n_tokens=conversation.MAX_PASS_TOKENS):
        (hidden,) = below(places).last_hidden_state
        rows = np.arange(len(places))
        read(model, [predicted], [places], [rows], hidden, head=model.network.lm_head)
    replies = predicted.follow(0, to_reply, most_tokens=most_tokens)
    unfinished = [reply for reply in replies if not reply.is_done]
    for places, group in _grouped(tree, unfinished, most_tokens):
        cached = np.concatenate([root, places])
        waiting = Waiting(model, most_tokens=most_tokens)
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


def _grouped(
    tree: Tree, replies: list[Reply], most_tokens: int
) -> Iterator[tuple[np.ndarray, list[Reply]]]:
    """Yield replies that are decoded together, with the tokens below the root that they need."""
    group: list[Reply] = []
    needed = np.zeros(0, dtype=np.int64)
    for reply in replies:
        both = np.union1d(needed, tree.path(reply.place))
        # Every reply also writes its own tokens.
        if group and len(both) + most_tokens * (len(group) + 1) > conversation.MAX_PASS_TOKENS:
            yield needed, group
            group, both = [], tree.path(reply.place)
        group, needed = [*group, reply], both
    if group:
        yield needed, group


def generate(
    model: LoadedModel,
    geometry: Geometry,
    image: Any,
    question_id: str,
    question: str,
    max_new_tokens: int | None = None,
) -> Said:
    """Return the greedy reply to a single question, by transformers' `generate`.

    Args:
        model: From `asking.load`.
        geometry: Planned for the image.
        image: As `resolution.apply` makes it, or the list of its views.
        question_id: For the error message.
        question: Its text.
        max_new_tokens: Of the reply; None means `MAX_NEW_TOKENS`.
    """
    tree = conversation.about(model, geometry, [question_id], [question], [[]])
    input_ids = torch.from_numpy(tree.token_ids)[None].to(model.network.device)
    pixels = models.pixel_inputs(model, *in_order([tree], [image]))
    output = model.network.generate(
        input_ids=input_ids,
        attention_mask=torch.ones_like(input_ids),
        **models.flat_inputs(model, input_ids),
        **{name: value.to(model.network.device) for name, value in pixels.items()},
        max_new_tokens=max_new_tokens or MAX_NEW_TOKENS,
        do_sample=False,
        eos_token_id=sorted(stops(model)),
    )
    return said.read(model, output[0, input_ids.shape[1] :].tolist())
