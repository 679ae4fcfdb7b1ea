"""Greedy decoding of replies that no option begins with, the replies of several passes together.

A pass leaves the keys and values of its images here. Once enough are waiting, or at the end, all
their replies are decoded side by side, one token of each at a time; those that have ended leave.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from medres.models import LoadedModel
from medres.models.trees import Tree

MAX_WAITING_BYTES = 2**28
"""Most keys, values and logits of replies that wait for each other."""
ALIKE = 1.5
"""Most times as many tokens as the shortest that a row may have in the same decoding."""
KEPT_SHARE = 0.75
"""Share of unfinished rows from which none is removed: that copies all keys and values."""


@dataclass
class Reply:
    """A greedy reply, as far as it has been decoded."""

    tree: int
    """Number of its tree in the pass."""
    question: int
    place: int
    """Place in the tree of the last token that the reply shares with it."""
    token_ids: list[int]
    is_done: bool


@dataclass
class _Slot:
    """A reply that is being decoded."""

    reply: Reply
    attends: np.ndarray
    """Which keys of its row it attends to, shape (length,)."""
    position: np.ndarray
    """Of its last token, shape (n_position_rows,)."""


@dataclass
class _Rows:
    """Unfinished replies of a pass: one row of keys and values for each of their trees."""

    cache: Any
    length: int
    """Tokens per row in the cache, padding included."""
    slots: list[list[_Slot]]


class Waiting:
    """Replies of several passes that wait to be decoded together."""

    def __init__(self, model: LoadedModel, *, most_tokens: int) -> None:
        self.model = model
        self.most_tokens = most_tokens
        self._rows: list[_Rows] = []
        self._n_bytes = 0

    def add(
        self,
        trees: Sequence[Tree],
        cache: Any,
        cached: Sequence[np.ndarray],
        length: int,
        replies: Sequence[Reply],
    ) -> None:
        """Add the unfinished replies of a pass; decode all that wait if they are many.

        Args:
            trees: All trees of the pass.
            cache: Keys and values of the roots and of that pass; modified.
            cached: Places of each tree whose keys and values these are, in ascending order.
            length: Tokens per tree in the cache, padding included.
            replies: Of the pass; those that are done are left alone.
        """
        unfinished = [reply for reply in replies if not reply.is_done]
        if not unfinished:
            return
        kept = sorted({reply.tree for reply in unfinished})
        if len(kept) < len(trees):
            cache.batch_select_indices(torch.tensor(kept, device=self.model.network.device))
        slots: dict[int, list[_Slot]] = {index: [] for index in kept}
        for reply in unfinished:
            tree = trees[reply.tree]
            # The last token comes right after its place, and attends to what that attends to.
            attends = np.zeros(length, dtype=bool)
            attends[: tree.n_root] = True
            attends[np.searchsorted(cached[reply.tree], tree.path(reply.place))] = True
            position = tree.positions[:, reply.place] + 1
            slots[reply.tree].append(_Slot(reply, attends, position))
        rows = _Rows(cache, length, list(slots.values()))
        values = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
        logits = 4 * self.model.vocabulary * len(kept) * max(map(len, rows.slots))
        if self._rows and self._n_bytes + values + logits > MAX_WAITING_BYTES:
            self.finish()
        self._rows.append(rows)
        self._n_bytes += values + logits

    def finish(self) -> None:
        """Decode all replies that wait."""
        self._rows.sort(key=lambda rows: rows.length)
        while self._rows:
            n_alike = sum(rows.length <= ALIKE * self._rows[0].length for rows in self._rows)
            alike, self._rows = self._rows[:n_alike], self._rows[n_alike:]
            rows = _joined(alike)
            alike.clear()  # or the parts would be held beside what they were joined to
            self._decode(rows)
        self._n_bytes = 0

    def _decode(self, rows: _Rows) -> None:
        """Decode replies to their end, one token of each per pass."""
        model, cache, slots = self.model, rows.cache, rows.slots
        device, end, ends = model.network.device, end_of_turn(model), stops(model)
        while slots:
            width, n_position_rows = max(map(len, slots)), len(slots[0][0].position)
            input_ids = np.full((len(slots), width), end)
            positions = np.zeros((n_position_rows, len(slots), width), dtype=np.int64)
            attends = np.zeros((len(slots), width, rows.length + width), dtype=bool)
            for row, each in enumerate(slots):
                for column, slot in enumerate(each):
                    input_ids[row, column] = slot.reply.token_ids[-1]
                    positions[:, row, column] = slot.position
                    attends[row, column, : rows.length] = slot.attends
            # Each attends to itself: a place without a reply too, which would become NaN.
            attends[:, range(width), range(rows.length, rows.length + width)] = True
            output = model.network.model(
                input_ids=torch.from_numpy(input_ids).to(device),
                position_ids=torch.from_numpy(
                    positions if n_position_rows > 1 else positions[0]
                ).to(device),
                attention_mask=torch.from_numpy(attends[:, None]).to(device),
                past_key_values=cache,
                use_cache=True,
            )
            best = model.network.lm_head(output.last_hidden_state).argmax(-1).tolist()
            rows.length += width
            for row, each in enumerate(slots):
                for column, slot in enumerate(each):
                    reply = slot.reply
                    if reply.is_done:
                        continue
                    reply.token_ids.append(best[row][column])
                    n_tokens = len(reply.token_ids)
                    reply.is_done = reply.token_ids[-1] in ends or n_tokens == self.most_tokens
                    slot.attends = attends[row, column]
                    slot.position = slot.position + 1
            slots = self._unfinished(cache, slots, rows.length)

    def _unfinished(self, cache: Any, slots: list[list[_Slot]], length: int) -> list[list[_Slot]]:
        """Return the replies to go on with, one row at least for each row kept in the cache."""
        alive = [[slot for slot in each if not slot.reply.is_done] for each in slots]
        kept = [row for row, each in enumerate(alive) if each]
        if len(kept) > KEPT_SHARE * len(slots):
            # A row without replies goes on with one that has ended, and is not read.
            slots = [each or old[:1] for each, old in zip(alive, slots, strict=True)]
            for slot in (slot for each in slots for slot in each if slot.reply.is_done):
                slot.attends = np.ones(length, dtype=bool)
            return slots
        if kept:
            cache.batch_select_indices(torch.tensor(kept, device=self.model.network.device))
        return [alive[row] for row in kept]


def _joined(parts: list[_Rows]) -> _Rows:
    """Return the rows of several passes as one, padded behind their tokens."""
    first = parts[0]
    if len(parts) == 1:
        return first
    length = max(part.length for part in parts)
    for number, layer in enumerate(first.cache.layers):
        layers = [part.cache.layers[number] for part in parts]
        layer.keys = torch.cat([_padded(each.keys, length) for each in layers])
        layer.values = torch.cat([_padded(each.values, length) for each in layers])
    slots = [slots for part in parts for slots in part.slots]
    for slot in (slot for each in slots for slot in each):
        slot.attends = np.pad(slot.attends, (0, length - len(slot.attends)))
    return _Rows(first.cache, length, slots)


def _padded(values: torch.Tensor, length: int) -> torch.Tensor:
    return torch.nn.functional.pad(values, (0, 0, 0, length - values.shape[-2]))


def end_of_turn(model: LoadedModel) -> int:
    """Return the token that ends every reply in the chat template."""
    return int(model.tokenizer.convert_tokens_to_ids(model.end_of_turn))


def stops(model: LoadedModel) -> frozenset[int]:
    """Return the tokens at which a reply is over: the end of turn, and the family's others."""
    further = model.tokenizer.convert_tokens_to_ids(list(model.stops))
    return frozenset([end_of_turn(model), *further])
