"""Score replies by the `strict` rule: only what the reply names, nothing guessed."""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pandas as pd

_INSIDE_WORD = re.compile(r"(?<=\d)[.,](?=\d)|(?<=[^\W\d_])'(?=[^\W\d_])")  # 1.5, isn't
_CLAUSE_ENDS = frozenset(".,;:!?()[]—–。")
_ASKS = frozenset(":?")
_NEGATIONS = frozenset({"not", "no", "non", "never", "without", "neither", "nor", "cannot"})
_AUXILIARIES = frozenset(
    "is was are were be been being has have had does do did can could may might must will would "
    "should seems appears looks".split()
)
_REFUSALS = frozenset("absent excluded unlikely wrong incorrect false".split())

Clause = tuple[int, str]
"""Number of the clause in the text, and the sign or word that starts it."""


def parse_choice(reply: str, options: Sequence[str]) -> str | None:
    """Return the one option that the reply names, or None.

    Whole words are compared, ignoring case, width and punctuation. A mention does not count
    inside the mention of a longer option ("T2" in "T2 flair"), nor after a negation in the same
    clause ("not yes", "no sign of pneumonia"), nor if what follows rejects it ("pneumonia is not
    seen", "benign is unlikely", "pneumonia: no"), unless the negation is itself an option or part
    of one. Naming two options, or none, gives None: "Yes, there is no effusion" names both yes and
    no, and nothing is inferred from a rejected option. Single-letter options can be confused with
    the article "a": prefer the texts of the options.

    Words added before or after a reply never turn the option it names into another one, unless
    together they name a longer option.

    Raises:
        ValueError: If the options are one string, or one of them is blank or repeated.

    >>> parse_choice("No, I see none.", ["Yes", "No"])
    'No'
    """
    if isinstance(options, str):
        raise ValueError(f"options is the string {options!r}; it must be a list of strings")
    folded = [_fold(option) for option in options]
    if "" in folded or confusable(options):
        raise ValueError(f"options {list(options)} has a blank or repeated entry")
    if _fold(reply) in folded:
        return options[folded.index(_fold(reply))]
    words, clauses = _words(reply)
    spans = []
    for option in options:
        named, _ = _words(option)
        starts = range(len(words) - len(named) + 1) if named else ()
        spans += [(s, s + len(named), option) for s in starts if words[s : s + len(named)] == named]
    spans = [
        (start, end, option)
        for start, end, option in spans
        if not any(s <= start and end <= e and (s, e) != (start, end) for s, e, _ in spans)
    ]
    covered = {place for start, end, _ in spans for place in range(start, end)}
    negated = {
        place for place, word in enumerate(words) if _is_negation(word) and place not in covered
    }
    chosen = {
        option
        for start, end, option in spans
        if not any(place < start and clauses[place] == clauses[start] for place in negated)
        and not _is_refused(words, clauses, end, negated)
    }
    return chosen.pop() if len(chosen) == 1 else None


def confusable(options: Sequence[str]) -> tuple[str, str] | None:
    """Return the first two options that `parse_choice` cannot tell apart, if there are any.

    >>> confusable(["pH", "PH", "pK"])
    ('pH', 'PH')
    """
    seen: dict[object, str] = {}
    for option in options:
        keys: tuple[object, ...] = (_fold(option), _words(option)[0] or _fold(option))
        for key in dict.fromkeys(keys):
            if key in seen:
                return seen[key], option
        seen |= dict.fromkeys(keys, option)
    return None


def _is_negation(word: str) -> bool:
    return word in _NEGATIONS or word.endswith("n't")


def _is_refused(
    words: Sequence[str], clauses: Sequence[Clause], end: int, negated: set[int]
) -> bool:
    """Return whether what follows a mention rejects it: a verb, or a separate "no"."""
    after = end
    while after < len(words) and words[after] in _AUXILIARIES:
        after += 1
    if after == len(words):
        return False
    refuses = after in negated or words[after] in _REFUSALS
    is_same, sign = clauses[after] == clauses[end - 1], clauses[after][1]
    if after > end or words[after].endswith("n't"):
        return refuses and is_same
    # In "malignant not benign" the negation belongs to what follows it, in "pneumonia: not seen"
    # and "pneumonia, no" to the mention.
    is_alone = after + 1 == len(words) or clauses[after + 1] != clauses[after]
    return (refuses and not is_same and sign in _ASKS) or (after in negated and is_alone)


def normalise_answer(text: str) -> str:
    """Return the text in NFKC, casefolded, single-spaced, without punctuation at its ends.

    A minus sign before a digit is kept.
    """
    folded = _fold(text)
    kept = [i for i, char in enumerate(folded) if unicodedata.category(char)[0] not in "PZ"]
    if not kept:
        return ""
    start = kept[0]
    has_minus = start > 0 and folded[start - 1] == "-" and folded[start].isdigit()
    return folded[start - has_minus : kept[-1] + 1]


def strict_correct(reply: str, reference: str, options: Sequence[str]) -> bool:
    """Return whether the reply is right: it names the reference, or, without options, equals it.

    Raises:
        ValueError: If the reference is empty or, for a closed question, not one of the options.
    """
    return judge(reply, reference, options)[1]


def score_table(answers: pd.DataFrame) -> pd.DataFrame:
    """Return the answers with the columns parsed_answer and correct added.

    A reply that cannot be parsed has a null parsed_answer and is wrong; the caller shows the
    number of such rows beside every accuracy. For an open question (options empty or null)
    parsed_answer is the normalised reply, null if nothing is left of it.

    Args:
        answers: One row per answer; columns question_id, reply, reference and options (a list).

    Raises:
        ValueError: If a reply or reference is missing, or a reference is empty or not one of its
            question's options. An empty reply is an answer; a missing one is an error.
    """
    judged = []
    fields = (answers[name] for name in ("question_id", "reply", "reference", "options"))
    for question_id, reply, reference, options in zip(*fields, strict=True):
        is_open = np.ndim(options) == 0 and pd.isna(options)
        try:
            judged.append(judge(reply, reference, [] if is_open else options))
        except ValueError as error:
            raise ValueError(f"question {question_id}: {error}") from error
    return answers.assign(
        parsed_answer=pd.Series([a for a, _ in judged], index=answers.index, dtype=object),
        correct=pd.Series([c for _, c in judged], index=answers.index, dtype=bool),
    )


def judge(reply: str, reference: str, options: Sequence[str]) -> tuple[str | None, bool]:
    """Return the parsed answer, None if there is none, and whether it is right.

    Raises:
        ValueError: As `strict_correct`.
    """
    for name, text in (("reply", reply), ("reference", reference)):
        if not isinstance(text, str):
            raise ValueError(f"{name} is {text!r}; it must be a string")
    if len(options) == 0:
        if not normalise_answer(reference):
            raise ValueError(f"reference {reference!r} is empty; drop or repair the question")
        answer = normalise_answer(reply) or None
        return answer, answer == normalise_answer(reference)
    right = [option for option in options if _fold(option) == _fold(reference)]
    if len(right) != 1:
        raise ValueError(f"reference {reference!r} must be one of the options {list(options)}")
    choice = parse_choice(reply, options)
    return choice, choice == right[0]


# Options, references and replies repeat over the answers of a study; texts are short.
@lru_cache(maxsize=2**14)
def _fold(text: str) -> str:
    if text.isascii():  # nothing to normalise, and ten times as fast
        return " ".join(text.casefold().split())
    visible = "".join(char for char in text if unicodedata.category(char) != "Cf")  # soft hyphen
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", visible).casefold())
    return " ".join(folded.replace("’", "'").split())


@lru_cache(maxsize=2**14)
def _words(text: str) -> tuple[tuple[str, ...], tuple[Clause, ...]]:
    """Return words and mathematical signs (HER2+, <5 mm), and the clause each belongs to."""
    folded = _fold(text.replace("\n", " ; "))
    inside = {match.start() for match in _INSIDE_WORD.finditer(folded)}
    # Marks belong to their letter: "İ" casefolds to "i" and a dot, which must not split a word.
    spaced = (
        char if i in inside or unicodedata.category(char)[0] in "LMN" else f" {char} "
        for i, char in enumerate(folded)
    )
    words: list[str] = []
    clauses: list[Clause] = []
    clause = (0, "")
    for token in "".join(spaced).split():
        if token in _CLAUSE_ENDS or token == "but":
            clause = (clause[0] + 1, token)
        if unicodedata.category(token[0]) == "Sm" or unicodedata.category(token[0])[0] in "LMN":
            words.append(token)
            clauses.append(clause)
    return tuple(words), tuple(clauses)
