"""SLAKE, its English part: questions on CT, MRI and X-ray images.

Two layouts are read: the original (`train.json`, `validate.json` or `validation.json`,
`test.json`, `imgs/xmlab<id>/source.jpg`), and the English questions on the hub as Parquet,
which the authors' evaluation code reads and which have neither ids, modality nor answer
type. The hub's copy repaired the one empty answer.

Of the original each language is a split of its own: no image is shared between the splits of
one language, but 72 of the 96 English test images are Chinese training images. So the
language is chosen before anything else. CT and MRI slices have 256 to 512 px a side; the
paper's "about 1024 x 1024" holds for the X-rays. CLOSED answers that are neither yes nor no
("Lung", "T2") come without options and are asked as open questions, as the authors do.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from medres.datasets import triplets
from medres.datasets.source import Found, Source

SOURCE = Source(
    name="slake",
    title="SLAKE (English)",
    citation=(
        "Liu B, Zhan L-M, Xu L, Ma L, Yang Y, Wu X-M. SLAKE: a semantically-labeled "
        "knowledge-enhanced dataset for medical visual question answering. ISBI 2021"
    ),
    home="https://www.med-vqa.com/slake",
    licence="CC BY 4.0, as the authors' card on the hub (BoKelvin/SLAKE) says",
    version="SLAKE 1.0, hub commit of June 2024",
    hub_revision="8d18b4d5a4eae47101c1d9f57b99fc58df66f17e",
    size_bytes=61_200_000,
    group="image",
    defects=(
        "72 of the 96 English test images are training images of the Chinese questions.",
        "997 of the 1,061 test questions have a text that also occurs in training.",
        "Question 1622 has an empty answer in the original; the hub's copy repaired it.",
        "7 training questions repeat image, text and answer of another.",
        "61 of the 416 CLOSED test answers are neither yes nor no, and no options are given.",
        "148 test questions ask for knowledge that is not in the image.",
    ),
    hub_repo="mdwiratathya/SLAKE-vqa-english",
    hub_patterns=("data/*.parquet",),
    paper_image_px="1024 x 1024",
    paper_n_test=1061,
)
OPTIONS: dict[str, Any] = {
    "prompt": "paper",  # paper: the bare question; medres: how to answer is said, too
    "language": "en",  # en, or zh of the original layout, whose answers are never yes or no
}
COUNTS = {
    "en": {"train": 4919, "validation": 1053, "test": 1061},
    "zh": {"train": 4916, "validation": 1046, "test": 1033},
}
FILES = {
    "train": ("train.json",),
    "validation": ("validation.json", "validate.json"),
    "test": ("test.json",),
}
FIELDS = ("qid", "img_name", "question", "answer", "q_lang", "modality", "answer_type")


def read(
    folder: Path,
    workspace: Path,
    *,
    prompt: str = OPTIONS["prompt"],
    language: str = OPTIONS["language"],
) -> Found:
    """Return the question table of a fetched folder.

    Args:
        folder: Where the set lies, in either layout.
        workspace: Where images are written that stand in tables.
        prompt: paper or medres.
        language: en or zh.

    Raises:
        FileNotFoundError: If the layout is unknown or an image is missing.
        ValueError: If a file is damaged or an option is unknown.
    """
    if all(_locate(folder, split) for split in FILES):
        found = ask(annotations(folder), folder, prompt=prompt, language=language)
        return triplets.require_images(found)
    if language != "en":
        raise ValueError(f"language is {language!r}; without the original layout there is only en")
    return triplets.read_hub(
        folder,
        workspace,
        dataset=SOURCE.name,
        prompt=prompt,
        modality="radiology",
        stated=COUNTS["en"],
        other_layout="train.json, validation.json (or validate.json), test.json, imgs/",
    )


def _locate(folder: Path, split: str) -> Path | None:
    paths = [folder / name for name in FILES[split]]
    return next((path for path in paths if path.is_file()), None)


def annotations(folder: Path) -> pd.DataFrame:
    """Return the records of all languages as they are, with their split; no image is opened."""
    paths = {split: path for split in FILES if (path := _locate(folder, split))}
    return triplets.annotations(paths, FIELDS)


def ask(records: pd.DataFrame, folder: Path, *, prompt: str, language: str) -> Found:
    """Return the question table of `annotations`; whether its images exist is not looked at."""
    if language not in COUNTS:
        raise ValueError(f"language is {language!r}; {SOURCE.name} has {', '.join(COUNTS)}")
    if language != "en" and prompt != "paper":
        raise ValueError(f"prompt {prompt!r} is English; ask the {language} questions as `paper`")
    records = records.assign(
        question_id=[f"{SOURCE.name}-{qid}" for qid in records["qid"]],
        image="imgs/" + records["img_name"],
        group=[Path(name).parent.name for name in records["img_name"]],
    )
    is_asked = records["q_lang"] == language
    what = f"questions in another language than {language}"
    excluded = [triplets.counted(records["question_id"][~is_asked], what)] * (not is_asked.all())
    records = records[is_asked]
    found = triplets.ask(
        records,
        dataset=SOURCE.name,
        prompt=prompt,
        image_folder=folder,
        stated=COUNTS[language],
    )
    return replace(found, excluded=excluded + found.excluded)
