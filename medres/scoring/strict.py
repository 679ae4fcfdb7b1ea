"""Score replies by the `strict` rule: only what the reply names, nothing guessed."""

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd

from medres.scoring.negation import verdicts
from medres.scoring.words import Words, confusable, cut, fold, key

_MOST_SHOWN = 8  # options in a message
_MOST_KEPT = 2**12  # replies to one list of options


def parse_choice(reply: str, options: Sequence[str]) -> str | None:
    """Return the one option that the reply names, or None.

    Whole words are compared, ignoring case, width and punctuation; the longest option counts where
    one is inside another ("T2" in "T2 flair").

    Signs: a sign belongs to its number or marker, so a mention must have exactly the option's
    signs. "HER2-" does not name "HER2+", nor "-2.5" or "minus 2.5" the option "2.5"; "HER2
    positive" names neither sign, and a number inside a range ("2-3") or after a bound ("less than
    5 mm") names nothing. What is a sign and what a hyphen is said in `words`.

    Negation: a mention does not count after a negation in its clause ("no sign of pneumonia",
    "negative for malignancy", "kein Tumor") or in the list that the negation opens ("no effusion,
    mass or cyst"), nor if what follows rejects it ("pneumonia is not seen", "benign is unlikely",
    "pneumonia: no"), unless the negation is itself an option or part of one.

    Doubt makes the whole reply unparsable: two negations of one mention ("cannot be excluded"),
    "whether", "if", "except", "rather than", "not only". A hedge ("probably", "possibly") changes
    nothing: what it names is the answer. Naming two options, or none, gives None: "Yes, there is no
    effusion" names both yes and no, a question that repeats the options names them all, and nothing
    is inferred from a rejected option. Single-letter options can be confused with the article "a":
    prefer the texts of the options.

    Words added before or after a reply never turn the option it names into another one, unless
    together they name a longer option.

    Raises:
        ValueError: If the options are one string, or one of them is blank, or two of them
            are `confusable`.

    >>> parse_choice("No, I see none.", ["Yes", "No"])
    'No'
    """
    return _known_choice(reply, _index(_listed(options)))


def _known_choice(reply: str, index: "Index") -> str | None:
    """Return the choice, kept beside the options: most replies of a study repeat."""
    if reply not in index.choices:
        if len(index.choices) == _MOST_KEPT:
            index.choices.clear()
        index.choices[reply] = _choice(reply, index)
    return index.choices[reply]


def _choice(reply: str, index: "Index") -> str | None:
    said = cut(reply)
    is_cut_alike = said.words and "\n" not in reply  # a line break ends a clause of a reply alone
    whole = index.options.get(said.words if is_cut_alike else key(reply))
    if whole is not None and (not said.dashed or fold(whole) == fold(reply)):
        return whole
    mentions = _mentions(said, index)
    if not mentions:
        return None
    judged = verdicts(reply, said, [(start, end) for start, end, _ in mentions])
    if "doubtful" in judged:
        return None
    pairs = zip(mentions, judged, strict=True)
    chosen = {option for (_, _, option), verdict in pairs if verdict == "named"}
    return chosen.pop() if len(chosen) == 1 else None


class Index(NamedTuple):
    """The options of a question, to be found in a reply in one pass over its words."""

    options: dict[tuple[str, ...], str]
    """Each option by its key."""
    lengths: dict[str, list[int]]
    """The numbers of words of the options that begin with a word."""
    choices: dict[str, str | None]
    """What was chosen for the latest replies."""


def _listed(options: Sequence[str]) -> tuple[str, ...]:
    if isinstance(options, str):
        raise ValueError(f"options is the string {options!r}; it must be a list of strings")
    return tuple(options)


@lru_cache(maxsize=64)  # most studies have few lists of options; one may hold thousands
def _index(options: tuple[str, ...]) -> Index:
    pair = confusable(options)
    if pair is not None and not key(pair[0]):
        raise ValueError(f"one of the options is blank ({pair[0]!r}); give each a text")
    if pair is not None:
        raise ValueError(
            f"the options {pair[0]!r} and {pair[1]!r} are the same to the strict rule, which "
            f"ignores case, width, blanks and punctuation; rename or merge them"
        )
    by_key = {key(option): option for option in options}
    lengths: dict[str, set[int]] = {}
    for words in by_key:
        lengths.setdefault(words[0], set()).add(len(words))
    return Index(by_key, {word: sorted(found) for word, found in lengths.items()}, {})


def _mentions(said: Words, index: Index) -> list[tuple[int, int, str]]:
    """Return start, end and option of each mention that is not inside a longer one."""
    words, kept, furthest = said.words, [], 0
    for start, word in enumerate(words):
        for length in reversed(index.lengths.get(word, ())):
            end = start + length
            if furthest < end <= len(words) and words[start:end] in index.options:
                kept.append((start, end, index.options[words[start:end]]))
                furthest = end
    return kept


def normalise_answer(text: str) -> str:
    """Return the text in NFKC, casefolded, single-spaced, without punctuation at its ends.

    A minus sign before a digit ("-5") or directly after a word ("HER2-") is kept.
    """
    folded = fold(text)
    kept = [i for i, char in enumerate(folded) if unicodedata.category(char)[0] not in "PZ"]
    if not kept:
        return ""
    start = kept[0]
    has_minus = start > 0 and folded[start - 1] == "-" and folded[start].isdigit()
    stop = kept[-1] + 1
    has_sign = folded[stop : stop + 1] == "-" and not folded[stop + 1 : stop + 2].isalnum()
    return folded[start - has_minus : stop + has_sign]


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
    listed = _listed(options)
    index = _index(listed)
    right = index.options.get(key(reference))
    if right is None:
        shown = ", ".join(map(repr, listed[:_MOST_SHOWN]))
        more = f" and {len(listed) - _MOST_SHOWN:,} more" if len(listed) > _MOST_SHOWN else ""
        raise ValueError(f"reference {reference!r} must be one of the options {shown}{more}")
    choice = _known_choice(reply, index)
    return choice, choice == right
