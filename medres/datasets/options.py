"""What an `options` cell says: the possible answers of one question, checked and trimmed."""

import ast
import json
from typing import Any

from medres import scoring
from medres.datasets import rows

LISTS = ("['", '["', "[]")
"""How a list in JSON or Python begins; other texts in brackets may be options themselves."""


def parse(cell: str | tuple[Any, ...]) -> list[str]:
    """Return the options that a cell lists, none where it is empty.

    A cell is a JSON list (numbers keep their spelling), a list as Python prints it, or texts
    separated by |, of which one may also stand at either end.

    Raises:
        ValueError: Saying what is wrong with it and what to write.
    """
    if isinstance(cell, tuple):
        return _checked(list(cell))
    text = cell.strip()
    if text.startswith("["):
        values = _listed(text)
        if values is not None:
            return _checked(values) if values else []
        if text.startswith(LISTS) or "|" not in text:
            raise ValueError('they are not JSON; write ["a", "b"], or a|b')
    if not text.strip("|").strip():
        return []
    return _checked(text.removeprefix("|").removesuffix("|").split("|"))


def _listed(text: str) -> list[Any] | None:
    def refused(constant: str) -> str:
        raise ValueError(f"{constant} is no option; write it in quotes")

    try:
        values = json.loads(text, parse_int=str, parse_float=str, parse_constant=refused)
    except json.JSONDecodeError:
        try:
            values = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
        # A number has lost its spelling by now.
        if not all(isinstance(each, str) for each in values):
            return None
    except RecursionError:
        return None
    return list(values)


def _checked(values: list[Any]) -> list[str]:
    """Return options without outer blanks, once they can be told apart."""
    for value in values:
        if value is None:
            raise ValueError("one of them is null; remove it")
        if isinstance(value, (list, dict)):
            raise ValueError(f"{rows.shown(value)} is no text; write each option as one text")
    texts = [str(each).lower() if isinstance(each, bool) else str(each).strip() for each in values]
    if any(map(rows.is_blank, texts)):
        raise ValueError("one of them is empty; remove it, or a | too many")
    if len(texts) == 1:
        raise ValueError(
            "there is only one; separate options by |, or leave the cell empty for an open question"
        )
    if same := scoring.confusable(texts):
        first, second = same
        what = f"no reply could tell apart {rows.apart(first, second)}"
        if first == second:
            is_twice = texts.count(first) > 1
            what = f"{rows.shown(first)} " + (
                "stands twice" if is_twice else "is of signs alone, which no reply can name"
            )
        raise ValueError(f"{what}; write one of them otherwise, or remove it")
    # The judge's own refusals, whatever they are.
    scoring.parse_choice("", texts)
    return texts
