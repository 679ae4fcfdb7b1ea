"""What a generated reply says: its answer, apart from the reasoning in front of it.

Rules of scoring see the answer alone. Marks are searched in the text with special tokens, since
some families have marks that are special and would be lost; a reply of a family without marks is
its answer.
"""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from medres import models
from medres.inference.decoding import stops
from medres.models import LoadedModel, conversation
from medres.models.reasoning import Marks


@dataclass(frozen=True)
class Said:
    """A reply, read."""

    answer: str
    """What follows the reasoning; empty where the reply ended inside it."""
    reasoning: str | None
    """Without its marks; None where the reply has none."""
    reasoning_tokens: int
    """Marks included."""
    reply_tokens: int
    """Of the whole reply, the token that ended it included."""
    is_cut: bool
    """Whether the reply was cut off before it ended."""


def read(model: LoadedModel, token_ids: Sequence[int]) -> Said:
    """Return what a reply says.

    Args:
        model: That wrote it.
        token_ids: As generated, up to a token that ends a reply or to the budget.
    """
    family, tokenizer = models.family_of(model.config), model.tokenizer
    is_cut = not token_ids or token_ids[-1] not in stops(model)
    ids = list(token_ids if is_cut else token_ids[:-1])
    reasoning, n_reasoning, begun = None, 0, ""
    if family.reasoning is not None:
        is_open = conversation.opens_reasoning(model)
        reasoning, n_reasoning, begun = _reasoning(tokenizer, ids, family.reasoning, is_open)
    answer = _answer(tokenizer, ids[n_reasoning:], family.answer_marks, begun)
    return Said(answer, reasoning, n_reasoning, len(token_ids), is_cut)


def _reasoning(
    tokenizer: PreTrainedTokenizerBase, ids: list[int], marks: Marks, is_open: bool
) -> tuple[str | None, int, str]:
    """Return the reasoning, its number of tokens, and what its last token holds of the answer.

    The reasoning is None where there is none.
    """
    whole = _decoded(tokenizer, ids)
    thought, end, after = whole.rpartition(marks.end)
    n_tokens, begun = len(ids), ""
    if marks.begin in after or (is_open and not end):
        thought = whole
    elif end:
        # The shortest beginning of the reply with all its marks: they may be several tokens.
        n_ends = whole.count(marks.end)
        n_tokens = bisect.bisect_left(
            range(len(ids)),
            n_ends,
            key=lambda n: _decoded(tokenizer, ids[:n]).count(marks.end),
        )
        begun = _decoded(tokenizer, ids[:n_tokens]).rpartition(marks.end)[2]
    else:
        return None, 0, ""
    text = thought.replace(marks.begin, "", 1).strip()
    first, _, rest = text.partition("\n")
    is_heading = bool(marks.heading) and first.strip() == marks.heading
    return (rest if is_heading else text).strip(), n_tokens, begun


def _answer(
    tokenizer: PreTrainedTokenizerBase, ids: list[int], around: Sequence[Marks], begun: str
) -> str:
    """Return a text without special tokens, of it what stands between the marks if any do."""
    whole, is_marked = begun + _decoded(tokenizer, ids), False
    for marks in around:
        _, begin, after = whole.rpartition(marks.begin)
        if begin:
            whole, is_marked = after.partition(marks.end)[0], True
    if not is_marked:
        return (begun + str(tokenizer.decode(ids, skip_special_tokens=True))).strip()
    for token in tokenizer.all_special_tokens:
        whole = whole.replace(token, "")
    return whole.strip()


def _decoded(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False))
