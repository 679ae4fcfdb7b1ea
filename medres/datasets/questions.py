"""The question table: its columns, its rules, its splits and its fingerprint."""

import hashlib
import json

import numpy as np
import pandas as pd

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
    _refuse(questions["question_id"].duplicated(), questions, source, "a duplicate question id")
    for name in ("question_id", "image", "question", "reference", "modality", "group"):
        blank = questions[name].isna() | (questions[name].astype(str).str.strip() == "")
        _refuse(blank, questions, source, f"an empty {name}")
    _refuse(
        ~questions["split"].isin(["train", "test"]),
        questions,
        source,
        "a split not train or test",
    )
    outside = pd.Series(
        [
            len(options) > 0 and reference not in options
            for options, reference in zip(questions["options"], questions["reference"], strict=True)
        ],
        index=questions.index,
    )
    _refuse(outside, questions, source, "a reference that is not among its options")
    repeated = questions["options"].map(lambda options: len(set(options)) != len(options))
    _refuse(repeated, questions, source, "the same option twice")
    if not (questions["split"] == "test").any():
        raise ValueError(f"{source} has no test question; give test some groups")
    for name in () if may_leak else ("group", "image"):
        splits = questions.groupby(name)["split"].nunique()
        torn = sorted(splits.index[splits > 1])
        if torn:
            raise ValueError(
                f"{source} has {name} {torn[0]!r} in both splits ({len(torn)} such); a {name} "
                "belongs to one split, otherwise test questions are known from training"
            )
    groups = questions.groupby("image")["group"].nunique()
    if (groups > 1).any():
        raise ValueError(f"{source} has image {groups.index[groups > 1][0]!r} in two groups")
    return questions[columns_of(questions)].reset_index(drop=True)


def _refuse(offends: pd.Series, questions: pd.DataFrame, source: str, what: str) -> None:
    if offends.any():
        row = int(np.flatnonzero(offends)[0])
        shown = questions["question_id"].iloc[row]
        raise ValueError(
            f"{source} has {what} at row {row} (question {shown!r}); "
            f"{int(offends.sum())} rows like it"
        )


def split_by_group(groups: pd.Series, *, test_share: float, rng: np.random.Generator) -> pd.Series:
    """Return train or test for each row, whole groups together, drawn by seed.

    Groups are shuffled and go to test as long as that brings its share of the questions nearer
    to `test_share`, so that one large group cannot make test far larger than asked for.

    Args:
        groups: Group of each row, shape (n_questions,).
        test_share: Share of the questions that goes to test, in (0, 1).
        rng: Source of randomness; the caller seeds it and owns it.

    Raises:
        ValueError: If the share is outside (0, 1) or fewer than two groups are given.
    """
    counts = groups.value_counts().sort_index()
    if not 0 < test_share < 1:
        raise ValueError(f"test_share is {test_share}; it must be between 0 and 1")
    if len(counts) < 2:
        raise ValueError(f"only {len(counts)} group; a split needs at least two")
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
    for row in questions[list(COLUMNS)].to_dict("records"):
        row["options"] = list(row["options"])
        row["image_sha256"] = image_sha256[row["image"]]
        digest.update(json.dumps(row, sort_keys=True).encode())
    return digest.hexdigest()
