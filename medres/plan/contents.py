"""The images and questions of a data set that determine its cost, prepared or not.

A prepared data set is counted. A phantom that is not prepared is sampled: its first drawings stand
for all images. For the paper's data sets, stated sizes and counts are used.
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from medres import datasets, runs
from medres.datasets import phantoms, preparation
from medres.datasets.phantoms.optics import Drawing
from medres.plan.memory import Load
from medres.resolution import Layout

PROMPT_TOKENS = 20
"""Tokens that an image's questions share besides the image: the system prompt and its markers."""
MARK_TOKENS = 7
"""Tokens around a question: end of its turn, start of the reply."""
QUESTION_CHARACTERS, REPLY_CHARACTERS = 84, 60
"""Length assumed for a question and for its reply if neither is known: rough numbers."""
SAMPLED_TEXTS = 256
SAMPLED_IMAGES = 64


@dataclass(frozen=True)
class Images:
    """Images of one size with equally many questions each."""

    size_px: tuple[int, int]
    n_images: float
    questions_each: float
    mpp_um: float | None = None
    """Microns per pixel, where they are known."""


@dataclass(frozen=True)
class Side:
    """One split: its images, and the mean length of their questions."""

    images: list[Images]
    question_characters: float
    n_replies: float = 1
    """Replies per question: its reference in training, every option in a test."""
    reply_characters: float = 0
    """Characters of these replies together."""
    texts: tuple[str, ...] = ()
    """Some of the questions and replies, to measure characters per token."""

    def reply_tokens(self, characters_per_token: float) -> float:
        """Return the tokens of a question's replies, each with the end of its turn."""
        return self.n_replies + self.reply_characters / characters_per_token

    def text_tokens(self, n_questions: float, characters_per_token: float) -> int:
        """Return the tokens of an image's conversations besides its visual tokens."""
        question = MARK_TOKENS + self.question_characters / characters_per_token
        return round(
            PROMPT_TOKENS + n_questions * (question + self.reply_tokens(characters_per_token))
        )

    def load(
        self,
        layout: Layout,
        n_questions: float,
        characters_per_token: float,
        *,
        is_flat: bool,
    ) -> Load:
        """Return what an image with its questions takes in a training.

        Args:
            layout: Of the image.
            n_questions: Asked about it.
            characters_per_token: Of the model.
            is_flat: Whether each question is a row of its own.
        """
        in_row = 1.0 if is_flat else n_questions
        return Load(
            layout,
            layout.mark_tokens + self.text_tokens(in_row, characters_per_token),
            round(self.reply_tokens(characters_per_token) * in_row),
            rows=math.ceil(n_questions) if is_flat else 1,
        )


@dataclass(frozen=True)
class Described:
    """A data set as its cost needs it."""

    train: Side
    test: Side
    origin: str
    """Where these numbers come from."""


@dataclass(frozen=True)
class Stated:
    """What is known about a data set before it is fetched: images and questions of each split."""

    train: tuple[int, int]
    test: tuple[int, int]
    image_px: tuple[int, int] = (0, 0)
    """A typical size, if the paper states none."""


STATED = {
    "subcellular": Stated((15_744, 15_744), (2000, 2000)),
    "compound": Stated((10_000, 10_000), (1000, 1000)),
    "cervical": Stated((770, 770), (193, 193)),
    "wsi": Stated((804, 7139), (86, 735)),
    "vqa-rad": Stated((313, 1793), (203, 451)),
    "path-vqa": Stated((2599, 19_654), (858, 6719), (750, 400)),
    "slake": Stated((450, 4919), (96, 1061)),
}
"""The paper's data sets. Training images of subcellular, compound (uncertain) and cervical are the
steps of the paper's checkpoints times its batch of 128; the others are counts from the sources."""


def describe(study: str, dataset: str, parameters: Mapping[str, Any]) -> Described:
    """Return what a data set holds, without preparing it.

    Args:
        study: Name of the study.
        dataset: Its name there.
        parameters: As `datasets.prepare` takes them.

    Raises:
        ValueError: If it is neither prepared, nor a phantom, nor one of the paper's data sets,
            saying what to do.
    """
    if runs.is_whole(runs.folder_of(study, "questions", dataset)):
        question_set = datasets.load(study, dataset)
        return Described(
            _side(question_set.split("train")),
            _side(question_set.split("test"), with_options=True),
            "as prepared",
        )
    if "folder" not in parameters and "table" not in parameters and dataset in phantoms.PHANTOMS:
        return _drawn(dataset, preparation.PHANTOM_DEFAULTS | dict(parameters))
    name = str(parameters.get("source") or dataset).replace("_", "-")
    if "folder" not in parameters or name not in STATED:
        raise ValueError(
            f"data set {dataset!r} is not prepared, so its size is unknown; prepare it with "
            f"`python -m medres.datasets prepare {study} {dataset}`, or use one of the paper's "
            f"with a `folder` ({', '.join(STATED)}) or a phantom ({', '.join(phantoms.PHANTOMS)})"
        )
    stated, paper_px = STATED[name], datasets.REAL[name].SOURCE.paper_image_px
    size_px, said = stated.image_px, "counts from the paper and the source, typical size"
    if paper_px:
        width, _, height = paper_px.partition(" x ")
        size_px, said = (
            (int(width), int(height)),
            "size from the paper, counts from the paper and the source",
        )
    train, test = (
        Side([Images(size_px, n, n_questions / n)], QUESTION_CHARACTERS, 1, REPLY_CHARACTERS)
        for n, n_questions in (stated.train, stated.test)
    )
    said += (
        f": {size_px[0]} x {size_px[1]} px; assuming {QUESTION_CHARACTERS} characters per question "
        f"and {REPLY_CHARACTERS} per reply"
    )
    return Described(train, test, said)


def _drawn(dataset: str, parameters: Mapping[str, Any]) -> Described:
    """Describe a phantom by the first images of its training split."""
    phantom = phantoms.PHANTOMS[dataset]
    train_rng = np.random.default_rng([parameters["data_seed"], phantom.stream]).spawn(1)[0]

    def drawings() -> Iterator[Drawing]:
        for index in itertools.count():
            yield from phantom.draw_group(index, train_rng.spawn(1)[0])

    table = pd.DataFrame(
        {
            "image": number,
            "width_px": drawing.pixels.shape[1],
            "height_px": drawing.pixels.shape[0],
            "question": asked.question,
            "reference": asked.reference,
            "options": list(asked.options),
        }
        for number, drawing in enumerate(itertools.islice(drawings(), SAMPLED_IMAGES))
        for asked in drawing.asked
    )
    train, test = (
        replace(
            side,
            images=[
                replace(each, n_images=each.n_images * parameters[count] / SAMPLED_IMAGES)
                for each in side.images
            ],
        )
        for side, count in (
            (_side(table), "n_train_images"),
            (_side(table, with_options=True), "n_test_images"),
        )
    )
    return Described(
        train, test, f"not drawn yet: estimated from its first {SAMPLED_IMAGES} training images"
    )


def images_of(table: pd.DataFrame) -> list[Images]:
    """Return how many images of each size and number of questions a question table is about."""
    if "mpp_um" not in table:
        table = table.assign(mpp_um=0.0)
    rows = table.groupby("image").agg({"width_px": "first", "height_px": "first"})
    rows["questions"] = table.groupby("image").size()
    # Not known is no number, of which none equals another.
    rows["mpp_um"] = table.groupby("image")["mpp_um"].first().fillna(0.0)
    counts = Counter(rows.itertuples(index=False, name=None))
    return [
        Images((int(width), int(height)), n_images, float(questions), um or None)
        for (width, height, questions, um), n_images in sorted(counts.items())
    ]


def _side(table: pd.DataFrame, *, with_options: bool = False) -> Side:
    """Return one split of a question table; a test split scores all options of closed questions."""
    replies = [
        list(options) if with_options and len(options) else [reference]
        for options, reference in zip(table["options"], table["reference"], strict=True)
    ]
    texts = [*table["question"].head(SAMPLED_TEXTS), *itertools.chain(*replies[:SAMPLED_TEXTS])]
    return Side(
        images_of(table),
        question_characters=sum(map(len, table["question"])) / max(1, len(table)),
        n_replies=sum(map(len, replies)) / max(1, len(table)),
        reply_characters=sum(len(text) for each in replies for text in each) / max(1, len(table)),
        texts=tuple(texts),
    )
