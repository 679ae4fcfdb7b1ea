"""Cervical: liquid-based Pap smears in four classes of the Bethesda System.

Source: Mendeley Data zddtpgzv63; Hussain et al. 2020, Data in Brief 30:105589. Version 4 of
18 November 2019 is pinned by its number in the address; the source publishes no checksum.
Licence: CC BY 4.0. Size: 2.2 GB, one ZIP. Group key: the slide, which the name of a file
begins with (`NL_10_ (5).jpg` is the fifth image of slide NL_10): the 962 images are of 61
slides, four each of LSIL and SCC. No file says which of the 460 patients a slide is from.

The folder of an image is its label. Known defects: the article swaps the counts of LSIL and
HSIL; the archive may hold images of HSIL slide 2 twice; uBench holds a copy of the images, so
never train on one and test on the other. The paper tests 193 images, a fifth of 963 rounded up;
its draw and the text of its question are in no public file, and a draw by image puts nearly
every slide on both sides. The host has been seen to refuse programs with HTTP 403: then its
page gives the archive to a browser, and the unpacked folder is read as it is.
"""

import math
import random
import re
from pathlib import Path
from typing import Any

import pandas as pd

from medres.datasets import questions
from medres.datasets.source import File, Found, Source

SOURCE = Source(
    name="cervical",
    title="Liquid based cytology pap smear images for multi-class diagnosis of cervical cancer",
    citation="Hussain et al. 2020, Data in Brief 30:105589, doi 10.17632/zddtpgzv63.4",
    home="https://data.mendeley.com/datasets/zddtpgzv63/4",
    licence="CC BY 4.0",
    version="4 (18 November 2019)",
    size_bytes=2_230_000_000,
    group="slide",
    defects=(
        "The article gives LSIL 163 and HSIL 113; the files of versions 2 and 4 are LSIL 113 and "
        "HSIL 163, NILM 612 instead of 613.",
        "The 962 images are of 61 slides, 4 each of LSIL and SCC, so that results on these two are "
        "of one slide or two; no file says which of the 460 patients a slide is from.",
        "A draw by image, as in the paper, puts fields of one slide in training and in test.",
        "10 or 11 images of HSIL slide 2 are listed twice in version 4.",
        "uBench holds a copy of the images under other labels.",
    ),
    files=(
        File(
            url="https://data.mendeley.com/public-api/zip/zddtpgzv63/download/4",
            path="zddtpgzv63-4.zip",
            is_archive=True,
        ),
    ),
    paper_image_px="2048 x 1536",
    paper_n_test=193,
)
OPTIONS: dict[str, Any] = {
    "prompt": "medres",  # the text of the paper's question is in no public file
}
CLASSES = {
    "NILM": "Negative for intraepithelial malignancy",
    "LSIL": "Low squamous intraepithelial lesion",
    "HSIL": "High squamous intraepithelial lesion",
    "SCC": "Squamous cell carcinoma",
}
"""Answer of each class: the names of the folders, whose hyphens and capitals vary."""
ARTICLE = {"NILM": 613, "LSIL": 163, "HSIL": 113, "SCC": 74}
COUNTED = {"NILM": 612, "LSIL": 113, "HSIL": 163, "SCC": 74}
"""Files of versions 2 and 4, each once."""
IMAGE_PX = (2048, 1536)
SLIDES = {"NILM": 43, "LSIL": 4, "HSIL": 10, "SCC": 4}
SLIDE = re.compile(r"(?P<slide>[a-z]+_\d+)_? ?\(\d+\)\.jpe?g", re.IGNORECASE)
"""HSIL_2 (10).jpg, NL_10_ (5).jpg, scc_1 (21).jpg: the slide, and the number of the image."""
TEST_SHARE = 0.2
DRAW_SEED = 42
QUESTION = "Which class of the Bethesda System does this cervical smear show?"


def read(folder: Path, workspace: Path, *, prompt: str = OPTIONS["prompt"]) -> Found:
    """Return the images of the four class folders, wherever below `folder` these lie.

    Args:
        folder: The unpacked data.
        workspace: Unused: nothing is converted.
        prompt: medres; the paper's is unknown.

    Raises:
        FileNotFoundError: If a class has no folder.
        ValueError: If the prompt is unknown, or a class has two files of one name.
    """
    if prompt != "medres":
        raise ValueError(
            f"prompt is {prompt!r}; use medres (the text that the paper asked about cervical "
            "smears is in no public file)"
        )
    class_folders = _class_folders(folder)
    rows: list[dict[str, Any]] = []
    others: list[Path] = []
    for label, paths in class_folders.items():
        for path in sorted(each for place in paths for each in place.rglob("*") if each.is_file()):
            # Archives made on a Mac hold a ._ shadow of every file.
            if path.suffix.lower() in (".jpg", ".jpeg") and not path.name.startswith("."):
                rows.append({"label": label, "path": path})
            else:
                others.append(path)
    table = pd.DataFrame(rows, columns=["label", "path"])
    table["question_id"] = [
        f"cervical-{row.label}-{row.path.name}" for row in table.itertuples(index=False)
    ]
    twice = table["question_id"].duplicated()
    if twice.any():
        row = table[twice].iloc[0]
        raise ValueError(
            f"{row['path']}: class {row['label']} has two images of that name, {twice.sum()} such; "
            f"keep one copy of the data below {folder}"
        )
    table = table.sort_values("question_id", ignore_index=True)
    n_test = math.ceil(TEST_SHARE * len(table))
    drawn = set(random.Random(DRAW_SEED).sample(table["question_id"].tolist(), n_test))
    options = list(CLASSES.values())
    image = [path.relative_to(folder).as_posix() for path in table["path"]]
    result = table.assign(
        dataset="cervical",
        image=image,
        question=f"{QUESTION} Options: {'; '.join(options)}",
        reference=table["label"].map(CLASSES),
        options=[list(options) for _ in image],
        modality="cytology",
        split=["test" if each in drawn else "train" for each in table["question_id"]],
        group=[
            slide_of(label, path.name) or name
            for label, path, name in zip(table["label"], table["path"], image, strict=True)
        ],
    )
    unnamed = int((result["group"] == result["image"]).sum())
    excluded = [f"{len(others)} files are not JPEG, first {others[0].name}"] if others else []
    counts = {label: int((table["label"] == label).sum()) for label in CLASSES}
    return Found(
        table=result[list(questions.COLUMNS)],
        image_folder=folder,
        excluded=excluded,
        notes=[
            f"the paper's test images are in no public file: {n_test} of {len(table)} are drawn "
            f"here by image, a fifth rounded up, seed {DRAW_SEED}",
            *_compared(counts),
            *_slides(result, unnamed),
        ],
    )


def slide_of(label: str, name: str) -> str:
    """Return the slide of an image, or nothing where its name tells none.

    Capitals and a last underscore vary within one slide's names; the class is part of the slide's
    name, so that none is in two.

    >>> slide_of("NILM", "NL_10_ (5).jpg"), slide_of("SCC", "scc_1 (21).jpg")
    ('NILM-nl_10', 'SCC-scc_1')
    """
    named = SLIDE.fullmatch(name)
    return f"{label}-{named['slide'].casefold()}" if named else ""


def _slides(table: pd.DataFrame, unnamed: int) -> list[str]:
    """Say how many slides the images are of, and how many names tell none."""
    notes = []
    if unnamed < len(table):
        named = table[table["group"] != table["image"]]
        slides = named.groupby("label")["group"].nunique()
        few = ", ".join(f"{slides.get(label, 0)} of {label}" for label in CLASSES)
        notes.append(f"{len(named)} images are of {named['group'].nunique()} slides: {few}")
    if unnamed:
        notes.append(f"{unnamed} images have no slide in their name: a group each")
    return notes


def _class_folders(folder: Path) -> dict[str, list[Path]]:
    letters = {re.sub("[^a-z]", "", name.casefold()): label for label, name in CLASSES.items()}
    found: dict[str, list[Path]] = {label: [] for label in CLASSES}
    if folder.is_dir():
        for place in sorted(path for path in folder.rglob("*") if path.is_dir()):
            label = letters.get(re.sub("[^a-z]", "", place.name.casefold()))
            is_within = any(parent in found.get(label or "", []) for parent in place.parents)
            if label and not is_within and "__MACOSX" not in place.parts:
                found[label].append(place)
    absent = [CLASSES[label] for label, places in found.items() if not places]
    if absent:
        raise FileNotFoundError(
            f"{folder} has no folder named {', '.join(absent)} (capitals and hyphens may vary); "
            f"fetch the data with `python -m medres.datasets fetch cervical --to {folder}`"
        )
    return found


def _compared(counts: dict[str, int]) -> list[str]:
    """Say which of the two known orders of LSIL and HSIL holds, and what else differs."""
    shown = f"LSIL {counts['LSIL']} and HSIL {counts['HSIL']}"
    pair = (counts["LSIL"], counts["HSIL"])
    if pair == (ARTICLE["LSIL"], ARTICLE["HSIL"]):
        notes = [f"{shown} images, as the article says; the files of versions 2 and 4 swap the two"]
    elif pair == (COUNTED["LSIL"], COUNTED["HSIL"]):
        notes = [f"{shown} images, as in the files of versions 2 and 4; the article swaps the two"]
    else:
        notes = [f"{shown} images; known are 163 and 113 (article) or 113 and 163 (files)"]
    for label in ("NILM", "SCC"):
        known = sorted({ARTICLE[label], COUNTED[label]}, reverse=True)
        if counts[label] not in known:
            expected = " or ".join(map(str, known))
            notes.append(f"{label} has {counts[label]} images; known are {expected}")
    return notes
