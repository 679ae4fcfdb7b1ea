"""The paper's sections 3 and 4 sentence by sentence, and where each of them is found here.

`sentences.csv` has one row per sentence that claims something or sets a condition, and one per
table and figure. Column `where` names places, separated by semicolons:

    05_alignment#grid                        a cell of a notebook
    05_alignment:layout                      a table or figure of a notebook's page
    02_finetune?low_share                    a parameter of a notebook
    params/demo/study.yaml?models            a parameter of a study
    docs/what-will-it-cost.md                a page of the manual
"""

import re
from collections.abc import Collection

import pandas as pd

from medres.published.paper import FOLDER

OK = "ok"
"""State of a sentence that is here as the paper has it; any other state says what differs."""
SHOWN = "section kind statement state pages where".split()
"""Columns shown on a page; the CSV holds all."""
PLACE = re.compile(r"(?P<file>[^#:?]+)(?:(?P<mark>[#:?])(?P<name>.+))?")


def table() -> pd.DataFrame:
    """Return every sentence: id, kind, section, claims, statement, where and state, as text."""
    return pd.read_csv(FOLDER / "sentences.csv", dtype=str, keep_default_na=False)


def places(where: str) -> list[tuple[str, str, str]]:
    """Return file, mark and name of each place of a sentence.

    Raises:
        ValueError: If a place is empty.

    >>> places("05_alignment#grid; docs/served.md")
    [('05_alignment', '#', 'grid'), ('docs/served.md', '', '')]
    """
    found = []
    for text in where.split("; "):
        match = PLACE.fullmatch(text)
        if not match:
            raise ValueError(f"{text!r} is no place; name a notebook, a file of params or docs")
        found.append((match["file"], match["mark"] or "", match["name"] or ""))
    return found


def with_pages(sentences: pd.DataFrame, reports: Collection[str]) -> pd.DataFrame:
    """Return sentences with `pages`: those of a study's reports that have them, for links."""
    pages = [
        " ".join(dict.fromkeys(file for file, _, _ in places(where) if file in reports))
        for where in sentences["where"]
    ]
    return sentences.assign(pages=pages)


def sentence(sentences: pd.DataFrame) -> str:
    """Return how many sentences are here as the paper has them, and how many differ and say so."""
    n_ok = int((sentences["state"] == OK).sum())
    return (
        f"{len(sentences)} sentences, settings, tables and figures of the paper have their place: "
        f"{n_ok} as it states them, {len(sentences) - n_ok} with a difference or an addition, "
        "which the column *state* says."
    )
