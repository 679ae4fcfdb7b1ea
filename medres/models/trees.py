"""The tokens of an image and its questions as a tree: who attends to whom, and what to predict."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from medres.resolution import Layout

ROOT = -1
"""Node of the tokens that all questions of an image share."""


@dataclass(frozen=True)
class Tree:
    """The tokens of one image and its questions."""

    token_ids: np.ndarray
    """Shape (n_tokens,)."""
    positions: np.ndarray
    """Rotary positions; shape (3, n_tokens), time, height and width, or (1, n_tokens)."""
    nodes: np.ndarray
    """Question or reply that each token belongs to, counted along the tree; -1 in the root; shape
    (n_tokens,)."""
    branches: np.ndarray
    """The question above each token, by its number in `nodes`; -1 in the root; shape
    (n_tokens,)."""
    targets: np.ndarray
    """Places of the reply tokens, -1 for an end of turn that is left out; (n_targets,)."""
    target_ids: np.ndarray
    """The reply tokens, end-of-turn tokens included; shape (n_targets,)."""
    predictors: np.ndarray
    """Place of the token that predicts each target; shape (n_targets,)."""
    replies: np.ndarray
    """Number of the reply that each target belongs to, over all questions; shape (n_targets,)."""
    prompt_ends: np.ndarray
    """Place of the last prompt token of each question, which predicts the first token of its
    replies; shape (n_questions,)."""
    layouts: tuple[Layout, ...]
    """Of each image of the prompt, in their order."""

    @property
    def layout(self) -> Layout:
        """Of the only image."""
        (only,) = self.layouts
        return only

    @property
    def n_root(self) -> int:
        """Number of tokens that all questions share."""
        return int(np.searchsorted(self.nodes, 0))

    @property
    def attends(self) -> np.ndarray:
        """Whether token i attends to token j; computed anew, shape (n_tokens, n_tokens), bool."""
        every = np.arange(len(self.token_ids))
        return self.seen(every, every)

    def seen(self, places: np.ndarray, among: np.ndarray) -> np.ndarray:
        """Return which tokens some tokens attend to: those before them on their own path.

        Args:
            places: The tokens that attend, shape (n_places,).
            among: The tokens that they may attend to, shape (n_among,).

        Returns:
            Shape (n_places, n_among), bool.
        """
        node, branch, other = self.nodes[places], self.branches[places], self.nodes[among]
        seen = other == node[:, None]
        seen |= other == branch[:, None]
        seen |= other == ROOT
        seen &= among <= places[:, None]
        return np.asarray(seen)

    def path(self, place: int) -> np.ndarray:
        """Return the tokens below the root from the question of one of them to itself.

        Args:
            place: Of a token below the root.

        Returns:
            Places in ascending order, shape (n_places,).
        """
        node, branch = int(self.nodes[place]), int(self.branches[place])
        first, after, own = np.searchsorted(self.nodes, [branch, branch + 1, node])
        question = np.arange(first, min(after, place + 1))
        return question if node == branch else np.concatenate([question, np.arange(own, place + 1)])


def passes(tree: Tree, *, n_tokens: int) -> list[np.ndarray]:
    """Return the tokens below the root in groups, each of which can be computed by itself.

    A group holds whole questions and replies. Where the replies to a question are in several
    groups, each of these has the question too.

    Args:
        tree: From `encode`.
        n_tokens: Most tokens of a group, repeated questions not counted; a single question or
            reply may have more.

    Returns:
        Places in ascending order, each of shape (n_places,).
    """
    starts = tree.n_root + np.flatnonzero(np.diff(tree.nodes[tree.n_root :], prepend=ROOT))
    groups: list[np.ndarray] = []
    held: list[np.ndarray] = []
    n_held = 0
    question = np.zeros(0, dtype=np.int64)
    for start, end in itertools.pairwise([*starts.tolist(), len(tree.token_ids)]):
        node, is_question = np.arange(start, end), tree.nodes[start] == tree.branches[start]
        if n_held and n_held + len(node) > n_tokens:
            groups.append(np.concatenate(held))
            held, n_held = [] if is_question else [question], 0
        question = node if is_question else question
        held.append(node)
        n_held += len(node)
    return [*groups, np.concatenate(held)] if held else groups


def in_order(trees: Sequence[Tree], pixels: Sequence[Any]) -> tuple[list[Any], list[Layout]]:
    """Return the images of some trees one after the other, and the layout of each.

    Args:
        trees: From `encode`.
        pixels: Of each tree its image, or the list of its images.
    """
    images = [image for each in pixels for image in (each if isinstance(each, list) else [each])]
    layouts = [layout for tree in trees for layout in tree.layouts]
    if len(images) != len(layouts):
        raise ValueError(f"{len(images)} images are given, the prompts have {len(layouts)}")
    return images, layouts


def flat(tree: Tree) -> list[Tree]:
    """Return each path of a tree as a tree of its own, that is, as a flat conversation.

    Args:
        tree: From `encode`.

    Returns:
        One for each reply, and for each question without one, in their order.
    """
    firsts = np.flatnonzero(np.diff(tree.replies, prepend=-1))
    question_of = np.searchsorted(tree.prompt_ends, tree.predictors[firsts])
    found = []
    for question, end in enumerate(tree.prompt_ends.tolist()):
        prompt = np.concatenate([np.arange(tree.n_root), tree.path(end)])
        replies = [
            np.flatnonzero(tree.replies == n) for n in np.flatnonzero(question_of == question)
        ]
        found += [_path_alone(tree, prompt, own) for own in replies or [np.zeros(0, np.int64)]]
    return found


def _path_alone(tree: Tree, prompt: np.ndarray, reply: np.ndarray) -> Tree:
    """Return a prompt with one of its replies, given by its targets' numbers."""
    targets = tree.targets[reply]
    places = np.concatenate([prompt, targets[targets >= 0]])
    # The question is node 0, its reply node 1.
    nodes = np.repeat([ROOT, 0, 1], [tree.n_root, len(prompt) - tree.n_root, np.sum(targets >= 0)])
    return replace(
        tree,
        token_ids=tree.token_ids[places],
        positions=tree.positions[:, places],
        nodes=nodes.astype(np.int32),
        branches=np.minimum(nodes, 0).astype(np.int32),
        targets=np.where(targets < 0, -1, np.searchsorted(places, targets)),
        target_ids=tree.target_ids[reply],
        predictors=np.searchsorted(places, tree.predictors[reply]),
        replies=np.zeros(len(reply), dtype=np.int64),
        prompt_ends=np.array([len(prompt) - 1]),
    )
