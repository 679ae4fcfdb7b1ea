"""Decide of each option that a reply mentions whether the reply rejects it.

No language model: words are looked up, and clauses give their reach. The lists hold what reports in
English say, and the plain negations of German, French, Spanish, Italian, Portuguese and Dutch.
Wherever the reach of a word is not plain the mention is *doubtful*, and the reply unparsable: a
wrong rejection costs an answer, a missed one gives the opposite of what was said.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from medres.scoring.words import Words

Verdict = Literal["named", "rejected", "doubtful"]
Mention = tuple[int, int]
"""Places of the first word and after the last word of an option in a reply."""


def _phrases(text: str) -> set[tuple[str, ...]]:
    return {tuple(phrase.split("_")) for phrase in text.split()}


# Deny what follows in their clause, and what precedes them as its verb's "not".
_NOT = _phrases(
    "not never cannot hardly barely scarcely nicht nie niemals pas jamais non não nao nunca niet "
    "nooit tampoco"
)
# Deny what follows in their clause.
_NO = _phrases(
    "no without neither nor none_of nothing nobody unable_to impossible_to difficult_to hard_to "
    "little_evidence little_to kein keine keinen keinem keiner keines keinerlei ohne weder "
    "sans aucun aucune ni sin ningún ningun ninguna ninguno nessun nessuno nessuna senza né sem "
    "nenhum nenhuma nem geen zonder"
)
# The same, but "not" before them makes a double negation.
_LACK = _phrases(
    "absence lack lacks lacking lacked denies denied denying exclude excludes excluding exclusion "
    "rule_out rules_out ruling_out r_o negative_for free_of free_from clear_of devoid_of far_from "
    "fails_to failed_to failure_to unremarkable_for against unlike inconsistent_with "
    "incompatible_with contradicts mimics mimicking anything_but all_but frei_von ausschluss "
    "ausschließen gegen exclure exclut exclui exclu_un ausencia descarta descartar assenza "
    "esclude escludere ausência descarta_se excluir afwezigheid sluit_uit vrij_van"
)
# Deny what they are said of ("is unlikely", "absent"), or what follows if that comes first.
_LACKING = _phrases(
    "absent excluded unlikely improbable wrong incorrect false untrue missing ruled_out "
    "less_likely least_likely ausgeschlossen unwahrscheinlich falsch fehlt fehlen fehlend absente "
    "absents absentes exclu exclue exclus exclues ausente ausentes descartado descartada "
    "improbabile assente assenti escluso esclusa excluído excluída improvável afwezig uitgesloten "
    "onwaarschijnlijk"
)
# Deny only what they are said of.
_SAID_OF = _phrases("negative resolved minus negativ negatief négatif négative negativo negativa")
# Deny what was asked, as a clause of their own: "pneumonia: none".
_ANSWER = _phrases("none nein")
# What follows is neither affirmed nor denied.
_DOUBTFUL = _phrases(
    "whether if unless doubt doubtful except besides exception rather_than instead_of other_than "
    "apart_from aside_from not_only not_just not_merely not_necessarily ob außer sauf hormis "
    "excepto salvo eccetto nicht_nur non_seulement pas_seulement no_solo no_sólo non_solo não_só "
    "niet_alleen"
)
_KINDS = {
    phrase: kind
    for kind, phrases in (
        ("said of", _SAID_OF),
        ("lacking", _LACKING),
        ("lack", _LACK),
        ("no", _NO),
        ("not", _NOT),
        ("answer", _ANSWER),
        ("doubtful", _DOUBTFUL),
    )
    for phrase in phrases
}
_LENGTHS: dict[str, list[int]] = {}
for _phrase in sorted(_KINDS, key=len, reverse=True):
    _LENGTHS.setdefault(_phrase[0], []).append(len(_phrase))
_FIRST_WORDS = frozenset(_LENGTHS)

_CONCORD = frozenset(
    "neither nor ni nem né aucun aucune ningún ningun ninguna ninguno nessun nessuno nessuna "
    "nenhum nenhuma".split()
)  # a second negation that repeats the first
_AUXILIARIES = frozenset(
    "is was are were be been being has have had does do did can could may might must will would "
    "should seems appears looks ist sind war waren wird wurde wurden werden kann konnte est sont "
    "était peut es está están fue ha sido puede è sono può são foi pode zijn kan werd".split()
)
_ADVERBS = frozenset("to very also now most quite more still therefore thus so longer".split())
_SEEN = frozenset(
    "seen visible visualised visualized identified present shown found detected detectable "
    "demonstrated evident noted observed apparent appreciated likely possible confirmed supported "
    "suspected suggested favoured favored indicated considered there correct right true case "
    "answer diagnosis cause se es hay evidente".split()
)
_AND = frozenset("and und et y e en".split())
_OR = frozenset("or nor oder noch ou o ni né nem of".split())
_JOINS = _AND | _OR
_WITH = frozenset("with mit avec con com met".split())
_STATES = frozenset("it this there that image picture likely probably only answer just".split())
_PREFIXES = frozenset("non pre post pseudo un sub semi quasi extra para peri".split())
_BOUNDS = frozenset(
    "than least most over under above below between mindestens höchstens über unter zwischen "
    "entre".split()
)
_ABBREVIATIONS = frozenset("pas sem sans ni sin ob if".split())  # in capitals: PAS stain, SEM


class _Trigger(NamedTuple):
    start: int
    end: int
    kind: str


class _Reply(NamedTuple):
    said: Words
    clauses: list[int]
    mentions: Sequence[Mention]
    triggers: dict[int, _Trigger]


def verdicts(text: str, said: Words, mentions: Sequence[Mention]) -> list[Verdict]:
    """Return of each mention whether the reply names it, rejects it, or leaves it in doubt.

    Args:
        text: The reply.
        said: Its words.
        mentions: In order of their start, none inside another.
    """
    covered = {place for start, end in mentions for place in range(start, end)}
    triggers = _find_triggers(text, said, covered)
    reply = _Reply(said, [number for number, _ in said.clauses], mentions, triggers)
    return [_verdict(reply, mention) for mention in mentions]


def _verdict(reply: _Reply, mention: Mention) -> Verdict:
    found = {_by_signs(reply, mention)}
    if reply.triggers:
        found |= {_by_what_precedes(reply, mention), _by_list_before(reply, mention)}
        found |= {_by_what_follows(reply, mention), _by_next_clause(reply, mention)}
        found |= {_by_list_after(reply, mention)}
    return "doubtful" if "doubtful" in found else "rejected" if "rejected" in found else "named"


def _find_triggers(text: str, said: Words, covered: set[int]) -> dict[int, _Trigger]:
    """Return the negating words and phrases outside the mentions, by their first place."""
    words, found, place = said.words, {}, 0
    if _FIRST_WORDS.isdisjoint(words) and "n't" not in text and "n’t" not in text:
        return {}
    while place < len(words):
        word, trigger = words[place], None
        if word.endswith("n't"):
            trigger = _Trigger(place, place + 1, "not")
        for length in _LENGTHS.get(word, ()):
            kind = _KINDS.get(words[place : place + length])
            if kind is not None and place + length <= len(words):
                trigger = _Trigger(place, place + length, kind)
                break
        is_prefix = word == "non" and place + 1 in said.joined
        if trigger is None or is_prefix or _is_abbreviation(word, text):
            place += 1
        elif covered.isdisjoint(range(trigger.start, trigger.end)):
            found[place] = trigger
            place = trigger.end
        else:
            place += 1
    return found


def _is_abbreviation(word: str, text: str) -> bool:
    if word not in _ABBREVIATIONS or text.isupper():
        return False
    written = re.findall(r"[^\W_]+", text)
    return word.upper() in written and word not in written


def _by_signs(reply: _Reply, mention: Mention) -> Verdict:
    """Judge by the signs, hyphens and bounds that touch a mention."""
    (start, end), said = mention, reply.said
    words = said.words
    before = words[start - 1] if start else ""
    after = words[end] if end < len(words) else ""
    if end in said.binding:
        is_suspended = words[end + 1 : end + 2] and words[end + 1] in _JOINS  # low- and high-grade
        return "rejected" if after == "-" and not is_suspended else "doubtful"
    if start in said.dashed:
        return "doubtful"
    if start in said.joined and before in _PREFIXES:
        return "rejected"
    has_digits = [_is_number(word) for word in words[start:end]]
    if (start in said.joined and has_digits[0] and _is_number(before)) or (
        end in said.joined and has_digits[-1] and _is_number(after)
    ):
        return "doubtful"  # a range
    return "doubtful" if any(has_digits) and before in _BOUNDS else "named"


def _is_number(word: str) -> bool:
    return word[:1].isdecimal()


def _by_what_precedes(reply: _Reply, mention: Mention) -> Verdict:
    """Judge by the negations before a mention in its clause."""
    start = mention[0]
    earlier = [
        trigger
        for trigger in reply.triggers.values()
        if trigger.end <= start
        and reply.clauses[trigger.end - 1] == reply.clauses[start]
        and trigger.kind not in ("said of", "answer")
        and not (trigger.kind == "lacking" and _has_mention(reply, 0, trigger.start))
    ]
    if any(trigger.kind == "doubtful" for trigger in earlier):
        return "doubtful"
    if any(_is_double(reply, *pair) for pair in pairwise(earlier)):
        return "doubtful"
    return "rejected" if earlier else "named"


def _is_double(reply: _Reply, first: _Trigger, second: _Trigger) -> bool:
    """Return whether two negations may cancel: nothing parts them, and none repeats the other."""
    words = reply.said.words
    if words[second.start] in _CONCORD or not _JOINS.isdisjoint(words[first.end : second.start]):
        return False
    return not _has_mention(reply, first.end, second.start)


def _by_what_follows(reply: _Reply, mention: Mention) -> Verdict:
    """Judge by the negations after a mention in its clause: those of which it is the subject."""
    end, words = mention[1], reply.said.words
    stop = _end_of_clause(reply, end - 1)
    for trigger in reply.triggers.values():
        if not end <= trigger.start < stop or trigger.kind in ("answer", "doubtful"):
            continue
        run = _start_of_run(words, end, trigger.start)
        has_auxiliary = not _AUXILIARIES.isdisjoint(words[run : trigger.start])
        is_verbal = has_auxiliary or words[trigger.start].endswith(("n't", "cannot"))
        if run > end and not _AUXILIARIES.isdisjoint(words[end:run]):
            continue  # another predicate stands between
        if run > end and words[run - 1] in _JOINS | _WITH:
            if words[run - 1] in _OR and trigger.end == stop:
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
    return after < stop and reply.said.words[after] in _SEEN


def _next_cancels(reply: _Reply, trigger: _Trigger, stop: int) -> bool:
    """Return whether a second negation follows: "cannot be excluded", "is not absent"."""
    after = _skip(reply.said.words, trigger.end, stop)
    return trigger.kind != "lacking" and after < stop and after in reply.triggers


def _by_next_clause(reply: _Reply, mention: Mention) -> Verdict:
    """Judge by what the next clause begins with: "pneumonia: no", "pneumonia (not seen)"."""
    end, words = mention[1], reply.said.words
    start = _end_of_clause(reply, end - 1)
    if start == len(words):
        return "named"
    stop, sign = _end_of_clause(reply, start), reply.said.clauses[start][1]
    first = start
    while first < stop and first not in reply.triggers and _is_adverb(words[first]):
        first += 1
    has_mention = _has_mention(reply, start, stop)
    trigger = reply.triggers.get(first)
    if trigger is None or trigger.kind == "doubtful":
        is_denied = any(start <= place < stop for place in reply.triggers)
        return "rejected" if sign == "?" and is_denied and not has_mention else "named"
    if _next_cancels(reply, trigger, stop):
        return "doubtful"
    is_alone = trigger.end == stop
    is_part = start == end or sign in "?:,-(["
    if (is_alone and is_part) or sign in "?:":
        return "rejected"
    if sign in ",-([—" and not has_mention:
        is_seen = trigger.kind in ("not", "no") and _says_seen(reply, trigger, stop)
        return "rejected" if is_seen or trigger.kind in ("lacking", "said of") else "named"
    return "named"


def _by_list_before(reply: _Reply, mention: Mention) -> Verdict:
    """Judge a mention in a list by the negation before the list: "no effusion, mass or cyst"."""
    start = mention[0]
    clauses, words = reply.said.clauses, reply.said.words
    begin = _start_of_clause(reply, start)
    if _states(words[begin:start]) or _has_trigger(reply, begin, start):
        return "named"
    stop, has_or = _end_of_clause(reply, start), False
    is_stated = _states(words[mention[1] : stop])
    while True:  # to the end of the list
        has_or = has_or or not _OR.isdisjoint(words[_start_of_clause(reply, stop - 1) : stop])
        if stop == len(words) or clauses[stop][1] != ",":
            break
        if _states(words[stop : _end_of_clause(reply, stop)]):
            break
        stop = _end_of_clause(reply, stop)
    while begin and clauses[begin][1] == ",":  # back to the clause that denies
        stop, begin = begin, _start_of_clause(reply, begin - 1)
        inside = [t for t in reply.triggers.values() if begin <= t.start < stop]
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
    start, stop = _start_of_clause(reply, mention[0]), _end_of_clause(reply, mention[1] - 1)
    while not _states(words[start:stop]) and not _has_trigger(reply, start, stop):
        if stop == len(words) or clauses[stop][1] != ",":
            return "named"
        start, stop = stop, _end_of_clause(reply, stop)
    if start <= mention[0] or _JOINS.isdisjoint(words[start:stop]):
        return "named"
    for trigger in reply.triggers.values():
        if start < trigger.start < stop and not _JOINS.isdisjoint(words[start : trigger.start]):
            run = _start_of_run(words, start, trigger.start)
            is_verbal = not _AUXILIARIES.isdisjoint(words[run : trigger.start])
            is_verbal = is_verbal or words[trigger.start].endswith(("n't", "cannot"))
            if _rejects_subject(reply, trigger, stop, is_adjacent=False, is_verbal=is_verbal):
                return "doubtful"
    return "named"


def _states(words: Iterable[str]) -> bool:
    return any(word in _AUXILIARIES or word in _STATES for word in words)


def _has_mention(reply: _Reply, start: int, stop: int) -> bool:
    return any(start <= first < stop for first, _ in reply.mentions)


def _has_trigger(reply: _Reply, start: int, stop: int) -> bool:
    return any(start <= place < stop for place in reply.triggers)


def _end_of_clause(reply: _Reply, place: int) -> int:
    stop = place
    while stop < len(reply.clauses) and reply.clauses[stop] == reply.clauses[place]:
        stop += 1
    return stop


def _start_of_clause(reply: _Reply, place: int) -> int:
    start = place
    while start and reply.clauses[start - 1] == reply.clauses[place]:
        start -= 1
    return start


def _start_of_run(words: Sequence[str], start: int, place: int) -> int:
    """Return where the auxiliaries and adverbs directly before a place begin."""
    while place > start and (words[place - 1] in _AUXILIARIES or _is_adverb(words[place - 1])):
        place -= 1
    return place


def _skip(words: Sequence[str], place: int, stop: int) -> int:
    while place < stop and (words[place] in _AUXILIARIES or _is_adverb(words[place])):
        place += 1
    return place


def _is_adverb(word: str) -> bool:
    return word in _ADVERBS or (word.endswith("ly") and len(word) > 3)
