"""The images and questions of a data set as far as its cost goes, prepared or not.

What is prepared is counted. A phantom that is not is sampled: its first drawings stand for all
that it declares. Of the paper's data sets, sizes and counts are stated.
"""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from medres import datasets, runs
from medres.datasets import phantoms, preparation
from medres.datasets.phantoms.optics import Drawing

PROMPT_TOKENS = 20
"""Beside the image, what an image's questions share: the system prompt and its marks."""
MARK_TOKENS = 7
"""Around a question: end of its turn, begin of the reply's."""
QUESTION_CHARACTERS, REPLY_CHARACTERS = 84, 60
"""Of a question and of its reply, where neither is known: round numbers."""
SAMPLED_TEXTS = 256
SAMPLED_IMAGES = 64


@dataclass(frozen=True)
class Images:
    """Images of one size with equally many questions each."""

    size_px: tuple[int, int]
    n_images: float
    questions_each: float


@dataclass(frozen=True)
class Side:
    """One split: its images, and how long their questions are on average."""

    images: list[Images]
    question_characters: float
    n_replies: float = 1
    """Replies to a question: its reference in training, every option in a test."""
    reply_characters: float = 0
    """Of them together."""
    texts: tuple[str, ...] = ()
    """Some of the questions and replies, to see what a tokenizer makes of them."""

    def reply_tokens(self, characters_per_token: float) -> float:
        """Return the tokens of a question's replies, each with the end of its turn."""
        return self.n_replies + self.reply_characters / characters_per_token

    def text_tokens(self, n_questions: float, characters_per_token: float) -> int:
        """Return what an image's conversations have beside its visual tokens."""
        question = MARK_TOKENS + self.question_characters / characters_per_token
        return round(
            PROMPT_TOKENS + n_questions * (question + self.reply_tokens(characters_per_token))
        )


@dataclass(frozen=True)
class Described:
    """A data set."""

    train: Side
    test: Side
    said: str
    """Where this is from."""


@dataclass(frozen=True)
class Stated:
    """What is known of a data set without having it: images and questions of each split."""

    train: tuple[int, int]
    test: tuple[int, int]
    image_px: tuple[int, int] = (0, 0)
    """A typical size, where the paper states none."""


STATED = {
    "subcellular": Stated((15_744, 15_744), (2000, 2000)),
    "compound": Stated((10_000, 10_000), (1000, 1000)),
    "cervical": Stated((770, 770), (193, 193)),
    "wsi": Stated((804, 7139), (86, 735)),
    "vqa-rad": Stated((313, 1793), (203, 451)),
    "path-vqa": Stated((2599, 19_654), (858, 6719), (750, 400)),
    "slake": Stated((450, 4919), (96, 1061)),
}
"""The paper's data sets. Steps of its checkpoints times its batch of 128 give the training images
of subcellular, compound (undecided) and cervical; the others are counts of the sources."""


def describe(study: str, dataset: str, parameters: Mapping[str, Any]) -> Described:
    """Return what a data set holds, without preparing it.

    Args:
        study: Name of the study.
        dataset: Its name there.
        parameters: As `datasets.prepare` takes them.

    Raises:
        ValueError: If it is neither prepared, nor drawn, nor one of the paper's, with what to do.
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
            f"data set {dataset!r} is not prepared, and nothing is known of it before; prepare it "
            f"with `python -m medres.study prepare {study} {dataset}`, or give one of the paper's "
            f"a `folder` ({', '.join(STATED)}) or name a drawn one ({', '.join(phantoms.PHANTOMS)})"
        )
    stated, paper_px = STATED[name], datasets.REAL[name].SOURCE.paper_image_px
    size_px, said = stated.image_px, "counts from the paper and the source, a typical size"
    if paper_px:
        width, _, height = paper_px.partition(" x ")
        size_px, said = (
            (int(width), int(height)),
            "size from the paper, counts from it and the source",
        )
    train, test = (
        Side([Images(size_px, n, n_questions / n)], QUESTION_CHARACTERS, 1, REPLY_CHARACTERS)
        for n, n_questions in (stated.train, stated.test)
    )
    said += (
        f": {size_px[0]} x {size_px[1]} px; {QUESTION_CHARACTERS} characters taken for a question, "
        f"{REPLY_CHARACTERS} for its reply"
    )
    return Described(train, test, said)


def _drawn(dataset: str, parameters: Mapping[str, Any]) -> Described:
    """Describe a phantom by the drawings that its training split begins with."""
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
        train, test, f"not drawn yet: its first {SAMPLED_IMAGES} training images stand for all"
    )


def _side(table: pd.DataFrame, *, with_options: bool = False) -> Side:
    """Return one split of a question table; a test scores all options of closed questions."""
    rows = table.groupby("image").agg({"width_px": "first", "height_px": "first"})
    rows["questions"] = table.groupby("image").size()
    counts = Counter(rows.itertuples(index=False, name=None))
    replies = [
        list(options) if with_options and len(options) else [reference]
        for options, reference in zip(table["options"], table["reference"], strict=True)
    ]
    texts = [*table["question"].head(SAMPLED_TEXTS), *itertools.chain(*replies[:SAMPLED_TEXTS])]
    return Side(
        [
            Images((int(width), int(height)), n_images, float(questions))
            for (width, height, questions), n_images in sorted(counts.items())
        ],
        question_characters=sum(map(len, table["question"])) / max(1, len(table)),
        n_replies=sum(map(len, replies)) / max(1, len(table)),
        reply_characters=sum(len(text) for each in replies for text in each) / max(1, len(table)),
        texts=tuple(texts),
    )
