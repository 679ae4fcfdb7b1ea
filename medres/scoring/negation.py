"""Decide of each option that a reply mentions whether the reply rejects it.

Words are looked up in `negation_words`, and clauses give their reach. Wherever the reach of a word
is not plain the mention is *doubtful*, and the reply unparsable: a wrong rejection costs an answer,
a missed one gives the opposite of what was said.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from medres.scoring.negation_words import (
    ABBREVIATIONS,
    ADVERBS,
    AUXILIARIES,
    BOUNDS,
    CONCORD,
    FIRST_WORDS,
    IDIOMS,
    JOINS,
    KINDS,
    LENGTHS,
    OR,
    PREFIXES,
    SEEN,
    STATES,
    WITH,
)
from medres.scoring.words import Words

Verdict = Literal["named", "rejected", "doubtful"]
Mention = tuple[int, int]
"""Places of the first word and after the last word of an option in a reply."""


_MOST = 32  # negations around a mention that are looked at; models can repeat themselves for ever


class _Trigger(NamedTuple):
    start: int
    end: int
    kind: str


class _Reply(NamedTuple):
    said: Words
    begins: list[int]
    """Where the clause of each word begins."""
    stops: list[int]
    """Where the clause of each word ends."""
    mentions: list[int]
    """First places of the mentions, in order."""
    triggers: list[_Trigger]
    """Negations in order."""
    places: list[int]
    """Their first places."""


def verdicts(text: str, said: Words, mentions: Sequence[Mention]) -> list[Verdict]:
    """Return of each mention whether the reply names it, rejects it, or leaves it in doubt.

    Args:
        text: The reply.
        said: Its words.
        mentions: In order of their start, none inside another.
    """
    covered = {place for start, end in mentions for place in range(start, end)}
    triggers = _find_triggers(text, said, covered)
    by_signs = [_by_signs(said, mention) for mention in mentions]
    if not triggers:
        return by_signs
    begins, stops = _clause_bounds(said)
    starts = [start for start, _ in mentions]
    reply = _Reply(said, begins, stops, starts, triggers, [trigger.start for trigger in triggers])
    return [_verdict(reply, *pair) for pair in zip(mentions, by_signs, strict=True)]


def _clause_bounds(said: Words) -> tuple[list[int], list[int]]:
    n_words, clauses = len(said.words), said.clauses
    begins, stops = list(range(n_words)), list(range(1, n_words + 1))
    for place in range(1, n_words):
        if clauses[place] == clauses[place - 1]:
            begins[place] = begins[place - 1]
    for place in reversed(range(n_words - 1)):
        if clauses[place] == clauses[place + 1]:
            stops[place] = stops[place + 1]
    return begins, stops


def _verdict(reply: _Reply, mention: Mention, by_signs: Verdict) -> Verdict:
    found = {by_signs, _by_what_precedes(reply, mention), _by_list_before(reply, mention)}
    found |= {_by_what_follows(reply, mention), _by_next_clause(reply, mention)}
    found |= {_by_list_after(reply, mention)}
    return "doubtful" if "doubtful" in found else "rejected" if "rejected" in found else "named"


def _find_triggers(text: str, said: Words, covered: set[int]) -> list[_Trigger]:
    """Return the negating words and phrases outside the mentions, in order."""
    may_contract = "'" in text or "’" in text  # isn't
    if FIRST_WORDS.isdisjoint(said.words) and not may_contract:
        return []
    found: list[_Trigger] = []
    end = 0
    for place, word in enumerate(said.words):
        if place < end or not (word in FIRST_WORDS or (may_contract and word.endswith("n't"))):
            continue
        trigger = _trigger_at(text, said, place)
        if trigger is not None and covered.isdisjoint(range(trigger.start, trigger.end)):
            found.append(trigger)
            end = trigger.end
    return found


def _trigger_at(text: str, said: Words, place: int) -> _Trigger | None:
    words, word = said.words, said.words[place]
    if word.endswith("n't"):
        return _Trigger(place, place + 1, "not")
    for length in LENGTHS.get(word, ()):
        phrase = words[place : place + length]
        if phrase not in KINDS:
            continue
        if phrase == ("non",) and place + 1 in said.joined:  # non-small, but Italian "non"
            return None
        if phrase == ("free",) and place not in said.joined:  # free fluid
            return None
        if _is_abbreviation(word, text):
            return None
        return _Trigger(place, place + len(phrase), KINDS[phrase])
    return None


def _is_abbreviation(word: str, text: str) -> bool:
    if word not in ABBREVIATIONS or text.isupper():
        return False
    written = re.findall(r"[^\W_]+", text)
    return word.upper() in written and word not in written


def _by_signs(said: Words, mention: Mention) -> Verdict:
    """Judge by the signs, hyphens and bounds that touch a mention."""
    (start, end), words, clauses = mention, said.words, said.clauses
    before = words[start - 1] if start else ""
    after = words[end] if end < len(words) else ""
    if end in said.binding:
        is_suspended = words[end + 1 : end + 2] and words[end + 1] in JOINS  # low- and high-grade
        return "rejected" if after == "-" and not is_suspended else "doubtful"
    if start in said.dashed:
        return "doubtful"
    if start in said.joined and before in PREFIXES:
        return "rejected"
    if words[start:end] == ("no",) and after in IDIOMS:
        return "doubtful"  # no idea
    is_first = start == 1 or (start > 1 and clauses[start - 2] != clauses[start])
    if before == "negative" and is_first and clauses[start - 1] == clauses[start]:
        return "doubtful"  # "negative pneumothorax", but "HER2 negative carcinoma"
    has_digits = [_is_number(word) for word in words[start:end]]
    if not any(has_digits):
        return "named"
    is_after_number = _is_number(before) and clauses[start - 1] == clauses[start]
    is_before_number = _is_number(after) and clauses[end] == clauses[end - 1]
    if (has_digits[0] and is_after_number) or (has_digits[-1] and is_before_number):
        return "doubtful"  # a range, a fraction or a grouped number: 2-3, 1½, 10 000
    return "doubtful" if before in BOUNDS else "named"


def _is_number(word: str) -> bool:
    return word[:1].isdecimal()


def _by_what_precedes(reply: _Reply, mention: Mention) -> Verdict:
    """Judge by the negations before a mention in its clause."""
    start = mention[0]
    if start < reply.places[0]:
        return "named"
    earlier = [
        trigger
        for trigger in _triggers(reply, max(0, reply.begins[start] - 1), start)[-_MOST:]
        if trigger.end <= start
        and trigger.end > reply.begins[start]
        and trigger.kind not in ("said of", "answer")
        and not (
            trigger.kind == "lacking" and _has_mention(reply, reply.begins[start], trigger.start)
        )
    ]
    if any(trigger.kind == "doubtful" for trigger in earlier):
        return "doubtful"
    if any(_is_double(reply, *pair) for pair in pairwise(earlier)):
        return "doubtful"
    return "rejected" if earlier else "named"


def _is_double(reply: _Reply, first: _Trigger, second: _Trigger) -> bool:
    """Return whether two negations may cancel: nothing parts them, and none repeats the other."""
    words = reply.said.words
    if words[second.start] in CONCORD or not JOINS.isdisjoint(words[first.end : second.start]):
        return False
    return not _has_mention(reply, first.end, second.start)


def _by_what_follows(reply: _Reply, mention: Mention) -> Verdict:
    """Judge by the negations after a mention in its clause: those of which it is the subject."""
    end, words = mention[1], reply.said.words
    if reply.places[-1] < end:
        return "named"
    stop = reply.stops[end - 1]
    for trigger in _after(reply, end, stop):
        if trigger.kind in ("answer", "doubtful"):
            continue
        run = _start_of_run(words, end, trigger.start)
        has_auxiliary = not AUXILIARIES.isdisjoint(words[run : trigger.start])
        is_verbal = has_auxiliary or words[trigger.start].endswith(("n't", "cannot"))
        if run > end and not AUXILIARIES.isdisjoint(words[end:run]):
            continue  # another predicate stands between
        if run > end and words[run - 1] in JOINS | WITH:
            if words[run - 1] in OR and trigger.end == stop:
                return "doubtful"  # malignant or not
            continue
        is_last = not _has_mention(reply, trigger.end, stop)
        if run == end and is_verbal:
            return "doubtful" if _next_cancels(reply, trigger, stop) else "rejected"
        if is_last and _rejects_subject(
            reply, trigger, stop, is_adjacent=run == end, is_verbal=is_verbal
        ):
            return "doubtful" if _next_cancels(reply, trigger, stop) else "rejected"
    return "named"


def _after(reply: _Reply, end: int, stop: int) -> list[_Trigger]:
    """Return the negations before the next mention in the clause, and those after its last."""
    later = reply.mentions[bisect_left(reply.mentions, end) : bisect_left(reply.mentions, stop)]
    if not later:
        return _triggers(reply, end, stop)[:_MOST]
    return _triggers(reply, end, later[0])[:_MOST] + _triggers(reply, later[-1], stop)[:_MOST]


def _rejects_subject(
    reply: _Reply, trigger: _Trigger, stop: int, *, is_adjacent: bool, is_verbal: bool
) -> bool:
    """Return whether a negation denies what stands before it in its clause."""
    words, is_at_end = reply.said.words, trigger.end == stop
    if trigger.kind in ("lacking", "said of"):
        return is_adjacent or is_verbal or (is_at_end and trigger.kind == "lacking")
    if trigger.kind == "not" and words[trigger.start] not in ("not", "never", "cannot"):
        if not words[trigger.start].endswith("n't"):  # German or French: it may stand anywhere
            return True
    if trigger.kind == "not" or words[trigger.start] == "no":
        is_cancelled = _next_cancels(reply, trigger, stop)
        return is_cancelled or (is_at_end and is_adjacent) or _says_seen(reply, trigger, stop)
    return is_adjacent and is_at_end


def _says_seen(reply: _Reply, trigger: _Trigger, stop: int) -> bool:
    after = _skip(reply.said.words, trigger.end, stop)
    while after < stop and reply.said.words[after] in ("the", "a", "an"):
        after += 1
    return after < stop and reply.said.words[after] in SEEN


def _next_cancels(reply: _Reply, trigger: _Trigger, stop: int) -> bool:
    """Return whether a second negation follows: "cannot be excluded", "is not absent"."""
    after = _skip(reply.said.words, trigger.end, stop)
    second = _trigger(reply, after, stop)
    return trigger.kind != "lacking" and second is not None and second.kind != "doubtful"


def _by_next_clause(reply: _Reply, mention: Mention) -> Verdict:
    """Judge by what the next clause begins with: "pneumonia: no", "pneumonia (not seen)"."""
    end, words = mention[1], reply.said.words
    start = reply.stops[end - 1]
    if reply.places[-1] < start:
        return "named"
    stop, sign = reply.stops[start], reply.said.clauses[start][1]
    has_mention = _has_mention(reply, start, stop)
    first = start + (words[start] == sign)  # a clause may start with "but"
    has_auxiliary = first < stop and words[first] in AUXILIARIES and sign not in ".;"
    while (
        first < stop
        and _trigger(reply, first, stop) is None
        and (_is_adverb(words[first]) or (has_auxiliary and words[first] in AUXILIARIES))
    ):
        first += 1
    trigger = _trigger(reply, first, stop)
    if trigger is None or trigger.kind == "doubtful":
        is_denied = sign == "?" and not has_mention and _triggers(reply, start, stop)
        return "rejected" if is_denied else "named"
    if _next_cancels(reply, trigger, stop):
        return "doubtful"
    is_alone = trigger.end == stop
    is_part = start == end or sign in "?:,-(["
    if (is_alone and is_part) or sign in "?:" or (has_auxiliary and not has_mention):
        return "rejected"
    if sign in ",-([—" and not has_mention:
        is_seen = trigger.kind in ("not", "no") and _says_seen(reply, trigger, stop)
        return "rejected" if is_seen or trigger.kind in ("lacking", "said of") else "named"
    return "named"


def _by_list_before(reply: _Reply, mention: Mention) -> Verdict:
    """Judge a mention in a list by the negation before the list: "no effusion, mass or cyst"."""
    start = mention[0]
    clauses, words = reply.said.clauses, reply.said.words
    begin, stop = reply.begins[start], reply.stops[start]
    if clauses[begin][1] != ",":
        return "named"
    if _states(words[begin:start]) or _triggers(reply, begin, start):
        return "named"
    has_or, is_stated = False, _states(words[mention[1] : stop])
    while True:  # to the end of the list
        has_or = has_or or not OR.isdisjoint(words[reply.begins[stop - 1] : stop])
        if stop == len(words) or clauses[stop][1] != ",":
            break
        if _states(words[stop : reply.stops[stop]]):
            break
        stop = reply.stops[stop]
    while begin and clauses[begin][1] == ",":  # back to the clause that denies
        stop, begin = begin, reply.begins[begin - 1]
        inside = _triggers(reply, begin, stop)
        if inside:
            if all(trigger.end == stop for trigger in inside) or (is_stated and not has_or):
                return "named"
            if any(trigger.kind in ("no", "lack") for trigger in inside):
                return "rejected" if has_or else "doubtful"
            is_not = any(trigger.kind == "not" for trigger in inside)
            return "rejected" if is_not and has_or else "named"
        if _states(words[begin:stop]):
            return "named"
    return "named"


def _by_list_after(reply: _Reply, mention: Mention) -> Verdict:
    """Judge a mention in a list by the negation after it: "effusion, mass and cyst are absent"."""
    words, clauses = reply.said.words, reply.said.clauses
    start, stop = reply.begins[mention[0]], reply.stops[mention[1] - 1]
    if stop == len(words) or clauses[stop][1] != ",":
        return "named"
    while not _states(words[start:stop]) and not _triggers(reply, start, stop):
        if stop == len(words) or clauses[stop][1] != ",":
            return "named"
        start, stop = stop, reply.stops[stop]
    if start <= mention[0] or JOINS.isdisjoint(words[start:stop]):
        return "named"
    for trigger in _triggers(reply, start + 1, stop):
        if not JOINS.isdisjoint(words[start : trigger.start]):
            run = _start_of_run(words, start, trigger.start)
            is_verbal = not AUXILIARIES.isdisjoint(words[run : trigger.start])
            is_verbal = is_verbal or words[trigger.start].endswith(("n't", "cannot"))
            if _rejects_subject(reply, trigger, stop, is_adjacent=False, is_verbal=is_verbal):
                return "doubtful"
    return "named"


def _states(words: Iterable[str]) -> bool:
    return any(word in AUXILIARIES or word in STATES for word in words)


def _has_mention(reply: _Reply, start: int, stop: int) -> bool:
    return bisect_left(reply.mentions, start) < bisect_left(reply.mentions, stop)


def _triggers(reply: _Reply, start: int, stop: int) -> list[_Trigger]:
    return reply.triggers[bisect_left(reply.places, start) : bisect_left(reply.places, stop)]


def _trigger(reply: _Reply, place: int, stop: int) -> _Trigger | None:
    """Return the negation that begins at a place before a stop, or None."""
    found = _triggers(reply, place, min(place + 1, stop))
    return found[0] if found else None


def _start_of_run(words: Sequence[str], start: int, place: int) -> int:
    """Return where the auxiliaries and adverbs directly before a place begin."""
    while place > start and (words[place - 1] in AUXILIARIES or _is_adverb(words[place - 1])):
        place -= 1
    return place


def _skip(words: Sequence[str], place: int, stop: int) -> int:
    while place < stop and (words[place] in AUXILIARIES or _is_adverb(words[place])):
        place += 1
    return place


def _is_adverb(word: str) -> bool:
    return word in ADVERBS or (word.endswith("ly") and len(word) > 3)
