"""Question tables from triplets of image, question and answer, as three data sets have them."""

import json
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from medres.datasets import hub_tables, questions
from medres.datasets.source import Found

YES_NO = ("yes", "no")
# The authors ask the bare question, which leaves open how long a reply may be: a model that
# explains itself is wrong under an exact rule and right under theirs. `medres` says it.
PROMPTS = {
    "paper": {"closed": "", "open": ""},
    "medres": {
        "closed": "\nAnswer with yes or no.",
        "open": "\nAnswer with a single word or a short phrase.",
    },
}
N_SHOWN = 5


def ask(
    records: pd.DataFrame,
    *,
    dataset: str,
    prompt: str,
    image_folder: Path,
    stated: Mapping[str, int],
) -> Found:
    """Return the question table made of triplets, and what was left out or noted.

    A question is closed if its answer is yes or no, whatever its case: the authors' rule. All
    others are open, for options are never made up. Texts lose the blanks at their ends and
    nothing else; numbers become text.

    Args:
        records: Columns question_id, image, question, answer, modality, split and group; may
            have answer_type, which is kept without blanks at its ends, and told where it says
            more than the answer.
        dataset: Name of the data set.
        prompt: Key of `PROMPTS`.
        image_folder: What the images' paths are relative to.
        stated: Questions of each split as the source is known to hold them.

    Raises:
        ValueError: If the prompt is unknown.
    """
    if prompt not in PROMPTS:
        raise ValueError(f"prompt is {prompt!r}; {dataset} has {', '.join(PROMPTS)}")
    notes = differences(records["split"], stated)
    answers = records["answer"].astype(object)
    is_number = answers.map(lambda answer: isinstance(answer, numbers.Real) and not pd.isna(answer))
    if is_number.any():
        notes.append(counted(records["question_id"][is_number], "numeric answers, now text"))
    table = records.assign(
        dataset=dataset, question=_texts(records["question"]), reference=_texts(answers)
    )
    is_empty = (table["question"] == "") | (table["reference"] == "")
    excluded = []
    if is_empty.any():
        what = "questions with an empty text or answer"
        excluded.append(counted(table["question_id"][is_empty], what))
    table = table[~is_empty].reset_index(drop=True)
    notes += _repeated(table)
    is_closed = table["reference"].str.lower().isin(YES_NO)
    if "answer_type" in table:
        notes += _answer_types(table, is_closed)
        table["answer_type"] = table["answer_type"].str.strip()
    table["reference"] = table["reference"].where(~is_closed, table["reference"].str.lower())
    table["options"] = [list(YES_NO) if closed else [] for closed in is_closed]
    table["question"] += is_closed.map(
        {True: PROMPTS[prompt]["closed"], False: PROMPTS[prompt]["open"]}
    )
    return Found(table[questions.columns_of(table)], image_folder, excluded, notes)


def _texts(values: pd.Series) -> list[str]:
    return ["" if pd.isna(value) else str(value).strip() for value in values]


def _repeated(table: pd.DataFrame) -> list[str]:
    triplet = ["image", "question", "reference"]
    notes = []
    again = table.duplicated([*triplet, "split"])
    if again.any():
        what = "questions that repeat image, text and answer of another one in their split (kept)"
        notes.append(counted(table["question_id"][again], what))
    known = table.loc[table["split"] != "test", triplet].apply(tuple, axis=1)
    shared = (table["split"] == "test") & table[triplet].apply(tuple, axis=1).isin(set(known))
    if shared.any():
        what = "test questions that are also in train or validation, with image and answer (kept)"
        notes.append(counted(table["question_id"][shared], what))
    return notes


def _answer_types(table: pd.DataFrame, is_closed: pd.Series) -> list[str]:
    notes = []
    kinds = table["answer_type"].str.strip()
    has_blank = kinds != table["answer_type"]
    if has_blank.any():
        what = "answer types with a leading or trailing blank, which is ignored"
        notes.append(counted(table["question_id"][has_blank], what))
    is_bare = (kinds == "CLOSED") & ~is_closed
    if is_bare.any():
        what = "CLOSED questions that are neither yes nor no and have no options, treated as open"
        notes.append(counted(table["question_id"][is_bare], what))
    return notes


def counted(ids: Sequence[str], what: str) -> str:
    """Return a description of rows with their number and the first of their ids.

    >>> counted(["a", "b"], "empty answers")
    'empty answers: 2 (a, b)'
    """
    names = [str(each) for each in ids]
    more = f" and {len(names) - N_SHOWN:,} more" if len(names) > N_SHOWN else ""
    return f"{what}: {len(names):,} ({', '.join(names[:N_SHOWN])}{more})"


def differences(split: pd.Series, stated: Mapping[str, int]) -> list[str]:
    """Return a sentence for each split whose number of rows differs from the stated one."""
    counts = split.value_counts()
    return [
        f"{name} questions: {counts.get(name, 0):,} found, the source is known to hold {n_stated:,}"
        for name, n_stated in stated.items()
        if counts.get(name, 0) != n_stated
    ]


def read_hub(
    folder: Path,
    workspace: Path,
    *,
    dataset: str,
    prompt: str,
    modality: str,
    stated: Mapping[str, int],
    other_layout: str = "",
) -> Found:
    """Return what the Hub's shards below a folder hold.

    The Hub gives neither ids nor image names: a question is named by its split and row, an
    image by the hash of its bytes, which is also its group.

    Args:
        folder: Folder with `data/<split>-*.parquet`.
        workspace: Where the images are written, below `images/`.
        dataset: Name of the data set.
        prompt: Key of `PROMPTS`.
        modality: Of all images: the Hub does not tell.
        stated: Questions of each split as the source is known to hold them.
        other_layout: Files of another layout that the reader looked for before, for the error.

    Raises:
        FileNotFoundError: If there are no shards, with the files looked for.
    """
    records = []
    shards = hub_tables.shards(folder)
    for split, paths in shards.items():
        row = 0
        for path in paths:
            for cells in hub_tables.rows(path, ["image", "question", "answer"]):
                question_id = f"{dataset}-{split}-{row:05d}"
                image = hub_tables.embedded(cells["image"], f"{path}, question {question_id}")
                records.append(
                    {
                        "question_id": question_id,
                        "image": hub_tables.save(image, workspace),
                        "question": cells["question"],
                        "answer": cells["answer"],
                        "modality": modality,
                        "split": split,
                        "group": image.name,
                    }
                )
                row += 1
    if not records:
        ours = ", ".join(f"data/{split}-*.parquet" for split in stated)
        looked_for = [ours, other_layout] if other_layout else [ours]
        raise hub_tables.unknown_layout(folder, dataset, looked_for)
    table = pd.DataFrame(records)
    found = ask(table, dataset=dataset, prompt=prompt, image_folder=workspace, stated=stated)
    return replace(found, notes=hub_tables.lacking(shards) + found.notes)


def annotations(paths: Mapping[str, Path], fields: Sequence[str]) -> pd.DataFrame:
    """Return the records of a JSON list per split as they are, with their split.

    Args:
        paths: File of each split.
        fields: Fields that every record must have.

    Raises:
        ValueError: If a file is damaged or a record lacks a field.
    """
    parts = [
        pd.DataFrame(read_json(path, fields)).assign(split=split) for split, path in paths.items()
    ]
    return pd.concat(parts, ignore_index=True)


def read_json(path: Path, fields: Sequence[str]) -> list[dict[str, Any]]:
    """Return the records of a JSON list.

    Raises:
        ValueError: If the file is damaged or a record lacks a field.
    """
    try:
        records: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is cut off or not JSON ({error}); fetch it again") from error
    for number, record in enumerate(records):
        missing = [name for name in fields if name not in record]
        if missing:
            raise ValueError(f"{path}: record {number} lacks {missing}; it has {sorted(record)}")
    return records


def require_images(found: Found) -> Found:
    """Return the result unchanged if every image is present.

    Raises:
        FileNotFoundError: Naming a question, its image and the number like it.
    """
    paths = {path: (found.image_folder / path).is_file() for path in found.table["image"].unique()}
    missing = found.table[~found.table["image"].map(paths)]
    if len(missing):
        first = missing.iloc[0]
        raise FileNotFoundError(
            f"{found.image_folder / first['image']}: no such image, of question "
            f"{first['question_id']}; {missing['image'].nunique():,} images of {len(missing):,} "
            "questions are missing; fetch them again"
        )
    return found
