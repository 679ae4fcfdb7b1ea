"""What the network predicts at the tokens of a tree, whichever passes compute them."""

import functools
from collections.abc import Callable, Sequence

import numpy as np
import torch

from medres.inference.decoding import Reply, stops
from medres.models import LoadedModel
from medres.models.trees import Tree

MAX_LOGITS = 2**24
"""Most logits at once, but those of one token: 110 tokens of a vocabulary of 151,936."""


class Predicted:
    """What the network predicts at the places of a tree, gathered pass by pass."""

    def __init__(self, model: LoadedModel, tree: Tree) -> None:
        self.model = model
        self.tree = tree
        self._best: dict[int, int] = {}
        self._log_probabilities = np.zeros(len(tree.targets))
        self._order = np.argsort(tree.predictors, kind="stable")
        self._ordered = tree.predictors[self._order]
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
        first, after = (
            np.searchsorted(self._ordered, places[rows], side=side) for side in ("left", "right")
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

    def follow(self, index: int, questions: Sequence[int], *, most_tokens: int) -> list[Reply]:
        """Return greedy replies up to the first token that no option has at its place.

        Args:
            index: Number of the tree in the batch.
            questions: Numbers of the questions in the tree.
            most_tokens: Of a reply, end of turn included.
        """
        tree, best, steps, ends = self.tree, self._best, self._steps, stops(self.model)
        replies = []
        for question in questions:
            place = int(tree.prompt_ends[question])
            token_ids = [best[place]]
            while token_ids[-1] not in ends and len(token_ids) < most_tokens:
                if (place, token_ids[-1]) not in steps:
                    break
                place = steps[place, token_ids[-1]]
                token_ids.append(best[place])
            is_done = token_ids[-1] in ends or len(token_ids) == most_tokens
            replies.append(Reply(index, question, place, token_ids, is_done))
        return replies

    @functools.cached_property
    def _steps(self) -> dict[tuple[int, int], int]:
        """Where a token leads from a place, if an option goes on with it."""
        tree = self.tree
        # Options with a common beginning repeat it in the tree: the first one represents all.
        same: dict[int, int] = {}
        steps: dict[tuple[int, int], int] = {}
        for target, predictor, token in zip(
            tree.targets.tolist(), tree.predictors.tolist(), tree.target_ids.tolist(), strict=True
        ):
            same[target] = steps.setdefault((same.get(predictor, predictor), token), target)
        return steps


def read(
    model: LoadedModel,
    predicted: Sequence[Predicted],
    places: Sequence[np.ndarray],
    rows: Sequence[np.ndarray],
    states: torch.Tensor,
    *,
    head: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    """Add what a pass predicts to what is known of its trees.

    Args:
        model: From `asking.load`.
        predicted: Of each tree.
        places: The tokens of each tree in the pass, each of shape (n_places,).
        rows: The row of `states` of each of these tokens, of the same shapes.
        states: What `head` takes, shape (n_rows, width).
        head: Makes logits of states.
    """
    due = [each.due(at) for each, at in zip(predicted, places, strict=True)]
    n_each = [len(read_at) for read_at, _, _ in due]
    starts = np.cumsum([0, *n_each])
    # All needed rows one after the other, and the targets by the row that predicts them.
    needed = np.concatenate([own[read_at] for own, (read_at, _, _) in zip(rows, due, strict=True)])
    of_row = torch.from_numpy(needed).to(states.device)
    at = np.concatenate([start + at for start, (_, _, at) in zip(starts[:-1], due, strict=True)])
    tokens = np.concatenate(
        [each.tree.target_ids[own] for each, (_, own, _) in zip(predicted, due, strict=True)]
    )
    best: list[int] = []
    values = np.zeros(len(at))
    n_at_once = max(1, MAX_LOGITS // model.vocabulary)
    for start in range(0, len(of_row), n_at_once):
        some = slice(start, start + n_at_once)
        logits = head(states[of_row[some]])
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
    for number, (tree, (read_at, own, _)) in enumerate(zip(predicted, due, strict=True)):
        tree.add(
            places[number][read_at].tolist(),
            best[starts[number] : starts[number + 1]],
            own,
            values[taken[number] : taken[number + 1]],
        )
