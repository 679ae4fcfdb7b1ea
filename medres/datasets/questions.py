"""The question table: its columns, its rules, its splits and its fingerprint."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from json.encoder import encode_basestring_ascii
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medres import images, scoring
from medres.datasets import rows

COLUMNS = {
    "question_id": "unique over all data sets of a study",
    "dataset": "name of the data set",
    "image": "path of the image, relative to the folder of the table",
    "question": "text of the question",
    "reference": "the right answer",
    "options": "list of possible answers of a closed question; empty if open",
    "modality": "imaging modality; the mixed resolution is balanced within it",
    "split": "train or test",
    "group": "unit that is never split and is resampled whole: patient, slide, well, image",
}

ROWS_AT_ONCE = 16_384
"""Rows whose JSON is in memory at a time."""
OPTIONAL = {
    "answer_type": "question type given by the data set: CLOSED or OPEN",
}
"""Columns that are kept where a data set tells them; they decide no answer, and so are not part
of the fingerprint."""


def columns_of(questions: pd.DataFrame) -> list[str]:
    """Return the columns of `COLUMNS`, and of `OPTIONAL` those that the table has."""
    return [*COLUMNS, *(name for name in OPTIONAL if name in questions)]


def validate(questions: pd.DataFrame, *, source: str, may_leak: bool = False) -> pd.DataFrame:
    """Return the table if every rule holds, with rows in their order and columns in ours.

    Args:
        questions: Table with the columns of `COLUMNS`, and maybe of `OPTIONAL`.
        source: Where the table is from, for the error message.
        may_leak: Whether a group or image may be in both splits, as in published splits.

    Raises:
        ValueError: Naming the source, the first offending rows and what to do.
    """
    missing = [name for name in COLUMNS if name not in questions]
    if missing:
        raise ValueError(f"{source} lacks the columns {missing}; it has {list(questions.columns)}")
    if questions.empty:
        raise ValueError(f"{source} has no questions")
    refuse = partial(rows.refuse, table=questions, source=source)
    refuse(
        questions["question_id"].duplicated().to_numpy(),
        what="a duplicate question id",
        remedy="give each row an id of its own, or leave the column out",
    )
    for name in ("question_id", "image", "question", "reference", "modality", "group"):
        refuse(
            _blank(questions[name]),
            what=f"an empty {name}",
            remedy=f"fill it in{_REMEDIES.get(name, '')}",
        )
    refuse(
        _of_each(questions["split"], lambda split: split not in ("train", "test")),
        what="a split not train or test",
        value="split",
        remedy="write train or test, or leave the column out to have it drawn",
    )
    _check_answers(questions, source)
    if not (questions["split"] == "test").any():
        raise ValueError(f"{source} has no test question; give test some groups")
    for name in () if may_leak else ("group", "image"):
        torn, first, other = _torn(questions[name], questions["split"])
        if torn:
            raise ValueError(
                f"{source} has {name} {torn[0]!r} in both splits ({len(torn)} such){first}{other}; "
                f"a {name} belongs to one split, otherwise test questions are known from training"
            )
    check_images(questions, source)
    return questions[columns_of(questions)].reset_index(drop=True)


def check_images(questions: pd.DataFrame, source: str) -> None:
    """Refuse an image of two groups or modalities.

    Args:
        questions: Columns image, group and modality.
        source: Where the table is from, for the error message.

    Raises:
        ValueError: With the first such image and, for a user's table, its two lines.
    """
    for name in ("group", "modality"):
        torn, first, other = _torn(questions["image"], questions[name])
        if torn:
            raise ValueError(
                f"{source} has image {torn[0]!r} in two {_PLURALS[name]} ({len(torn)} such)"
                f"{first}{other}; give all rows of an image the same {name}"
            )


def check_origins(questions: pd.DataFrame, folder: Path, source: str) -> None:
    """Refuse regions of one image on both sides of a split.

    Args:
        questions: Columns image and split.
        folder: What the image paths are relative to.
        source: Where the table is from, for the error message.

    Raises:
        ValueError: With the first such image and, for a user's table, its two lines.
    """
    origins = rows.changed(questions["image"], partial(images.origin_of, folder=folder))
    torn, first, other = _torn(origins, questions["split"])
    if torn:
        raise ValueError(
            f"{source} has regions of image {torn[0]!r} in both splits ({len(torn)} such){first}"
            f"{other}; give all regions of an image the same split, otherwise test images are "
            "known from training"
        )


_REMEDIES = {name: ", or leave the column out" for name in ("question_id", "modality", "group")}
_PLURALS = {"group": "groups", "modality": "modalities"}


def _blank(column: pd.Series) -> np.ndarray:
    """Return whether nothing can be seen of each row's text."""
    found: np.ndarray = column.isna().to_numpy(dtype=bool, copy=True)
    maybe = ~found
    if isinstance(column.dtype, pd.StringDtype):
        maybe &= ~column.str.slice(0, 1).str.isalnum().fillna(False).to_numpy(dtype=bool)
    places = np.flatnonzero(maybe)
    found[places] = [rows.is_blank(str(text)) for text in column.iloc[places].tolist()]
    return found


def _of_each(column: pd.Series, is_so: Callable[[Any], bool]) -> np.ndarray:
    """Return whether each row's value is so, asked once for each different value."""
    codes, values = pd.factorize(column, use_na_sentinel=False)
    found: np.ndarray = np.array([is_so(value) for value in values.tolist()], dtype=bool)[codes]
    return found


def _check_answers(questions: pd.DataFrame, source: str) -> None:
    """Refuse options and references that no reply could be judged by."""
    codes, known = rows.lists(questions["options"])
    references, texts = rows.texts(questions["reference"])
    both = references.astype(np.int64) * len(known) + codes
    pairs = np.unique(both).tolist()
    lacking = [
        pair
        for pair in pairs
        if len(known[pair % len(known)])
        and texts[pair // len(known)] not in known[pair % len(known)]
    ]
    rows.refuse(
        np.isin(both, lacking),
        questions,
        source,
        "a reference that is not among its options",
        value="reference",
    )
    for code, options in enumerate(known):
        twice = len(set(options)) < len(options)
        same = scoring.confusable(options)
        if not (twice or same or any(map(rows.is_blank, options))):
            continue
        what = "the same option twice" if twice else "an empty option"
        if same and same[0] != same[1]:
            what = f"options that no reply could tell apart, {rows.apart(*same)},"
        elif same and not twice and not rows.is_blank(same[0]):
            what = f"an option of signs alone, {rows.shown(same[0])}, which no reply can name,"
        rows.refuse(codes == code, questions, source, what, remedy="remove or rename one")
    is_open = np.array([not options for options in known], dtype=bool)[codes]
    is_empty = np.array([not scoring.normalise_answer(str(text)) for text in texts], dtype=bool)
    rows.refuse(
        is_open & is_empty[references],
        questions,
        source,
        "an answer of nothing but punctuation",
        value="reference",
        remedy="no reply could be compared with it; give its question options, or write a word",
    )


def _torn(names: pd.Series, values: pd.Series) -> tuple[list[str], str, str]:
    """Return names that have two values, in order, and two rows of the first of them in words."""
    name_codes, known = pd.factorize(names)
    value_codes, _ = pd.factorize(values)
    first_of = np.full(len(known), -1)
    first_of[name_codes[::-1]] = value_codes[::-1]
    is_other = value_codes != first_of[name_codes]
    torn = sorted(str(known[code]) for code in np.unique(name_codes[is_other]))
    if not torn or names.index.name not in ("line", "row"):
        return torn, "", ""
    here = np.flatnonzero(names == torn[0])
    place, other = here[0], here[is_other[here]][0]
    word = names.index.name
    return (
        torn,
        f": {values.iloc[place]!r} at {word} {names.index[place]}",
        f" and {values.iloc[other]!r} at {word} {names.index[other]}",
    )


def split_by_group(groups: pd.Series, *, test_share: float, rng: np.random.Generator) -> pd.Series:
    """Return train or test for each row, whole groups together, drawn by seed.

    Groups are shuffled and go to test as long as that brings its share of the questions nearer
    to `test_share`, so that one large group cannot make test far larger than asked for. A share of
    1 is all of them, for a model that is not trained.

    Args:
        groups: Group of each row, shape (n_questions,).
        test_share: Share of the questions that goes to test, in (0, 1].
        rng: Source of randomness; the caller seeds it and owns it.

    Raises:
        ValueError: If the share is outside (0, 1], or below 1 with fewer than two groups.
    """
    counts = groups.value_counts().sort_index()
    if not 0 < test_share <= 1:
        raise ValueError(
            f"test_share is {test_share}; it must be between 0 and 1, or 1.0 for test alone"
        )
    if test_share == 1:
        return pd.Series("test", index=groups.index, dtype="str")
    if len(counts) < 2:
        raise ValueError(
            f"only {len(counts)} group; a split needs at least two, or `test_share: 1.0` for test "
            "alone"
        )
    wanted, taken = test_share * len(groups), 0
    test: set[str] = set()
    for place in rng.permutation(len(counts)):
        name, count = counts.index[place], int(counts.iloc[place])
        is_last = len(test) == len(counts) - 1
        if not is_last and abs(taken + count - wanted) < abs(taken - wanted):
            test.add(name)
            taken += count
    # Where every group is too large for the share, the smallest comes nearest to it.
    test = test or {counts.idxmin()}
    return groups.map(lambda group: "test" if group in test else "train")


def fingerprint(questions: pd.DataFrame, image_sha256: dict[str, str]) -> str:
    """Return the hash of a question table and of its images.

    Args:
        questions: Valid question table.
        image_sha256: Hash of each image's file, or of file and pixels, by the table's image path.
    """
    digest = hashlib.sha256()
    for part in _json_lines(questions[list(COLUMNS)], image_sha256):
        digest.update(part.encode())
    return digest.hexdigest()


def _json_lines(questions: pd.DataFrame, image_sha256: Mapping[str, str]) -> Iterator[str]:
    """Yield the JSON of many rows at a time, keys sorted, as `json.dumps` writes it."""
    names = sorted([*COLUMNS, "image_sha256"])
    row_of = "{" + ", ".join(f'"{name}": %s' for name in names) + "}"
    for start in range(0, len(questions), ROWS_AT_ONCE):
        part = questions.iloc[start : start + ROWS_AT_ONCE]
        columns = {name: part[name].tolist() for name in COLUMNS}
        columns["image_sha256"] = [image_sha256[image] for image in columns["image"]]
        lists: dict[int, str] = {}
        for options in columns["options"]:
            # Rows share their lists, which stay alive and where they are in this part.
            if id(options) not in lists:
                lists[id(options)] = json.dumps(list(options))
        written = {
            name: [encode_basestring_ascii(v) if type(v) is str else json.dumps(v) for v in values]
            for name, values in columns.items()
            if name != "options"
        }
        written["options"] = [lists[id(options)] for options in columns["options"]]
        cells = [written[name] for name in names]
        yield "".join([row_of % row for row in zip(*cells, strict=True)])
