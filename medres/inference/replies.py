"""What the answer of a server holds: the tokens of the prompt, and the reply in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

UNKNOWN = -1
"""Id of a prompt's first token, for which servers give nothing."""


@dataclass(frozen=True)
class Words:
    """A reply in words, its reasoning apart."""

    text: str
    reasoning: str | None
    reasoning_tokens: int
    n_tokens: int
    is_cut: bool


@dataclass(frozen=True)
class Tokens:
    """The tokens of a prompt, as a server tells them."""

    ids: list[int]
    log_probabilities: list[float]
    texts: list[str]


def prompt_tokens(said: Mapping[str, Any]) -> Tokens | None:
    """Return the tokens of a prompt from a server's answer, None if it does not tell them."""
    places = said.get("prompt_logprobs")
    if places is None:
        choices = said.get("choices")
        first = choices[0] if isinstance(choices, list) and choices else {}
        places = first.get("prompt_logprobs") if isinstance(first, dict) else None
    if not isinstance(places, list) or len(places) < 2:
        return None
    ids, values, texts = [], [], []
    try:
        for place in places:
            # The token itself comes first, others only if they were asked for.
            number, about = next(iter(place.items())) if place else (UNKNOWN, {"logprob": 0.0})
            ids.append(int(number))
            values.append(float(about["logprob"]))
            texts.append(str(about.get("decoded_token") or ""))
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    return Tokens(ids, values, texts)


def words_of(said: Mapping[str, Any]) -> Words | None:
    """Return the reply in a server's answer, None if there is none."""
    try:
        choice = said["choices"][0]
        message = choice["message"]
        text = message.get("content")
    except (KeyError, IndexError, TypeError, AttributeError):
        return None
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    if text is None and reasoning:
        text = ""
    if not isinstance(text, str):
        return None
    if reasoning is None and "</think>" in text:
        reasoning, _, text = text.rpartition("</think>")
        reasoning = reasoning.replace("<think>", "", 1).strip()
    usage = usage_of(said)
    details = usage.get("completion_tokens_details")
    return Words(
        text=text.strip(),
        reasoning=str(reasoning) if reasoning else None,
        reasoning_tokens=_count(details, "reasoning_tokens"),
        n_tokens=_count(usage, "completion_tokens"),
        is_cut=choice.get("finish_reason") == "length",
    )


def usage_of(said: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a server says of the tokens of a request; nothing if it does not."""
    usage = said.get("usage")
    return usage if isinstance(usage, dict) else {}


def _count(table: Any, name: str) -> int:
    found = table.get(name) if isinstance(table, dict) else None
    return found if isinstance(found, int) else 0


def common_end(first: Sequence[int], second: Sequence[int]) -> int:
    """Return how many tokens two prompts have in common at their ends."""
    n = 0
    while n < min(len(first), len(second)) and first[-1 - n] == second[-1 - n]:
        n += 1
    return n
