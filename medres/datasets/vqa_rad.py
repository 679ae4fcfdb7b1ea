"""VQA-RAD: questions that clinicians asked about radiology images.

Two layouts are read: the hub's Parquet, which the authors' evaluation code reads, and the
JSON of the MEVF split (`trainset.json`, `testset.json`, `images/`), which names the images
and adds 1,267 rephrasings ("frame") of its questions to training. Without these, 3 duplicates
and 1 triplet of the test part, its questions are those of the hub but for their case. The
original release (osf.io/89kps) is not read.

Images are JPEG from 256 x 256 to 2,321 x 1,384 px, median 768 x 715: the paper's "about
1024 x 1024" holds for few of them. 21 CLOSED answers of the test part are no yes or no
("MRI", "Left"); the source gives no options for them, so they are asked as open questions,
as the authors do. Because nearly every test image is in training, the published test part
can only be a second, leaky report beside a split by image.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from medres.datasets import triplets
from medres.datasets.source import Found, Source

SOURCE = Source(
    name="vqa-rad",
    title="VQA-RAD",
    citation=(
        "Lau JJ, Gayen S, Ben Abacha A, Demner-Fushman D. A dataset of clinically generated visual "
        "questions and answers about radiology images. Scientific Data 5, 180251 (2018)"
    ),
    home="https://osf.io/89kps",
    licence="CC0 1.0, as the card on the hub says",
    version="hub commit of June 2023",
    hub_revision="bcf91e7654fb9d51c8ab6a5b82cacf3fafd2fae9",
    size_bytes=34_500_000,
    group="image",
    defects=(
        "202 of the 203 test images are also training images; in the MEVF split all 203, with 14 "
        "identical triplets.",
        "86 test questions have a text that also occurs in training.",
        "2 answer types of the MEVF split are 'CLOSED ' with a blank, 10 answers are integers.",
        "21 of the 272 CLOSED test answers are neither yes nor no, and no options are given.",
        "The hub's copy is lower-cased and tells neither answer type nor image name.",
        "Image synpic35356.jpg has no question.",
    ),
    hub_repo="flaviagiammarino/vqa-rad",
    hub_patterns=("data/*.parquet",),
    paper_image_px="1024 x 1024",
    paper_n_test=451,
)
OPTIONS: dict[str, Any] = {
    "prompt": "paper",  # paper: the bare question; medres: how to answer is said, too
    "frames": False,  # true keeps the rephrasings that the MEVF split adds to training
}
HUB_COUNTS = {"train": 1793, "test": 451}
MEVF_COUNTS = {"train": 3064, "test": 451}
MEVF_FILES = {"train": "trainset.json", "test": "testset.json"}
FIELDS = ("qid", "image_name", "image_organ", "question", "answer", "answer_type", "phrase_type")


def read(
    folder: Path,
    workspace: Path,
    *,
    prompt: str = OPTIONS["prompt"],
    frames: bool = OPTIONS["frames"],
) -> Found:
    """Return the question table of a fetched folder.

    Args:
        folder: Where the set lies, in either layout.
        workspace: Where images are written that stand in tables.
        prompt: paper or medres.
        frames: Whether to keep the rephrasings of the MEVF split.

    Raises:
        FileNotFoundError: If the layout is unknown or an image is missing.
        ValueError: If a file is damaged or an option is unknown.
    """
    if all((folder / name).is_file() for name in MEVF_FILES.values()):
        found = ask(annotations(folder), folder, prompt=prompt, frames=frames)
        return triplets.require_images(found)
    return triplets.read_hub(
        folder,
        workspace,
        dataset=SOURCE.name,
        prompt=prompt,
        modality="radiology",
        stated=HUB_COUNTS,
        other_layout=", ".join(MEVF_FILES.values()),
    )


def annotations(folder: Path) -> pd.DataFrame:
    """Return the records of the MEVF split as they are, with their split; no image is opened."""
    paths = {split: folder / name for split, name in MEVF_FILES.items()}
    return triplets.annotations(paths, FIELDS)


def ask(records: pd.DataFrame, folder: Path, *, prompt: str, frames: bool) -> Found:
    """Return the question table of `annotations`; whether its images exist is not looked at."""
    records = records.assign(
        question_id=[f"{SOURCE.name}-{qid}" for qid in records["qid"]],
        image="images/" + records["image_name"],
        group=records["image_name"],
        # How an image was made is not told, only of what: the nearest thing to a modality.
        modality="radiology-" + records["image_organ"].str.lower(),
    )
    excluded, notes = [], triplets.differences(records["split"], MEVF_COUNTS)
    is_frame = records["phrase_type"] == "frame"
    if is_frame.any() and not frames:
        what = "frame rephrasings, which `frames: true` keeps"
        excluded.append(triplets.counted(records["question_id"][is_frame], what))
        records = records[~is_frame]
    found = triplets.ask(
        records, dataset=SOURCE.name, prompt=prompt, image_folder=folder, stated={}
    )
    return replace(found, excluded=excluded + found.excluded, notes=notes + found.notes)
