"""uBench (Micro-Bench), perception: multiple choice about microscopy from many sources.

Each image has up to six questions (domain, subdomain, modality, submodality, stain,
classification), of which some are null or without options: these are counted and left out,
as the authors do. Everything is a test question. The authors keep only images of more than
1,000,000 pixels unless told otherwise; `whole` tells it.

The Arrow shards of `perception/0.1.0` are read, or Parquet with the same columns; images that
are asked about are written to the workspace, up to as much again on disk. The images of Held
et al. 2010 name no source set. Cervical images of Hussain et al. are in it, too: never train
on the one and test on the other.
"""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pandas as pd

from medres.datasets import hub_tables, questions, triplets
from medres.datasets.source import Found, Source

SOURCE = Source(
    name="ubench",
    title="uBench (Micro-Bench), perception",
    citation=(
        "Lozano A, Nirschl J, Burgess J, Gupte SR, Zhang Y, Unell A, Yeung-Levy S. Micro-Bench: a "
        "microscopy benchmark for vision-language understanding. NeurIPS 2024, Datasets and "
        "Benchmarks"
    ),
    home="https://huggingface.co/datasets/jnirschl/uBench",
    licence="CC BY-SA 4.0, as the card on the Hub says",
    version="perception 0.1.0",
    hub_revision="3f2c5b590bc7a208d5b60f3527ce4c76a331aa2b",
    size_bytes=3_600_000_000,
    group="source set and image",
    defects=(
        "Some question types are null and some have no options.",
        "It holds cervical images of Hussain et al., which are a training set of the paper.",
        "There is a test split only.",
        "The images of Held et al. 2010 name no source set.",
    ),
    hub_repo="jnirschl/uBench",
    hub_patterns=("perception/0.1.0/*",),
)
OPTIONS: dict[str, Any] = {
    "prompt": "paper",  # paper: lettered options, a letter is the answer; medres: their texts
    "whole": False,  # true keeps images of up to 1,000,000 pixels, which the authors leave out
}
N_IMAGES = 17_315
SMALL_MAX_PIXELS = 1_000_000
IS_SMALL = f"images of at most {SMALL_MAX_PIXELS:,} pixels, which `whole: true` keeps"
IS_TWIN = "images that are byte for byte another one, whose group they share"
IS_NAMELESS = "images that name no source set, each its own group"
IS_INCONSISTENT = "questions whose answer is not the option of answer_idx, which counts"
HUB_COLUMNS = ("image_id", "image", "dataset", "modality", "questions")


def read(
    folder: Path,
    workspace: Path,
    *,
    prompt: str = OPTIONS["prompt"],
    whole: bool = OPTIONS["whole"],
) -> Found:
    """Return the question table of a fetched folder.

    Args:
        folder: Where the set lies.
        workspace: Where the images of its tables are written.
        prompt: paper or medres.
        whole: Whether images of up to 1,000,000 pixels are asked about, too.

    Raises:
        FileNotFoundError: If the layout is unknown.
        ValueError: If a file is damaged or an option is unknown.
    """
    if prompt not in triplets.PROMPTS:
        raise ValueError(f"prompt is {prompt!r}; ubench has {', '.join(triplets.PROMPTS)}")
    shards = hub_tables.shards(folder)
    if "test" not in shards:
        looked_for = ["perception/0.1.0/ubench-test-*.arrow", "data/test-*.parquet"]
        raise hub_tables.unknown_layout(folder, SOURCE.name, looked_for)
    told: dict[str, list[str]] = defaultdict(list)
    excluded: dict[str, list[str]] = defaultdict(list)
    asked: list[dict[str, Any]] = []
    groups: dict[str, dict[str, str]] = {}
    n_images = 0
    for path in shards["test"]:
        for cells in hub_tables.rows(path, HUB_COLUMNS):
            n_images += 1
            name = f"{cells['dataset'] or 'unnamed'}-{cells['image_id']}"
            where = f"{path}, image {name}"
            image = hub_tables.embedded(cells["image"], where)
            if not whole and image.size_px[0] * image.size_px[1] <= SMALL_MAX_PIXELS:
                excluded[IS_SMALL].append(name)
                continue
            # The same bytes under a second id stay in the first one's group.
            modality = str(cells["modality"] or "microscopy")
            own = groups.setdefault(image.path, {"group": name, "modality": modality})
            if own["group"] != name:
                told[IS_TWIN].append(name)
            if not cells["dataset"]:
                told[IS_NAMELESS].append(name)
            rows = []
            for kind, question in _questions(cells["questions"], where).items():
                question_id = f"{SOURCE.name}-{name}-{kind}"
                if fault := _fault(question, prompt):
                    excluded[fault].append(question_id)
                    continue
                if not _is_consistent(question):
                    told[IS_INCONSISTENT].append(question_id)
                rows.append({"question_id": question_id, **own, **_ask(question, prompt)})
            if rows:
                hub_tables.save(image, workspace)
            asked += [{**row, "image": image.path} for row in rows]
    table = pd.DataFrame(
        asked,
        columns=["question_id", "image", "question", "reference", "options", "modality", "group"],
    ).assign(dataset=SOURCE.name, split="test")
    notes = hub_tables.lacking(shards)
    notes += [triplets.counted(names, what) for what, names in told.items()]
    if n_images != N_IMAGES:
        notes.append(f"images: {n_images:,} found, the source is known to hold {N_IMAGES:,}")
    return Found(
        _with_unique_ids(table, notes)[list(questions.COLUMNS)],
        workspace,
        excluded=[triplets.counted(ids, reason) for reason, ids in excluded.items()],
        notes=notes,
    )


def _questions(cell: Any, where: str) -> dict[str, Any]:
    """Return question by type, whether the column holds a struct or JSON."""
    if isinstance(cell, str):
        try:
            cell = json.loads(cell)
        except ValueError as error:
            raise ValueError(f"{where}: its questions are not JSON ({error})") from error
    return dict(cell or {})


def _fault(question: dict[str, Any] | None, prompt: str) -> str:
    """Return why a question cannot be asked, or nothing."""
    if not question or not str(question.get("question") or "").strip():
        return "questions that are null"
    options = question.get("options")
    if not options:
        return "questions without options"
    place = question.get("answer_idx")
    if not isinstance(place, int) or not 0 <= place < len(options):
        return "questions with an answer_idx that is not among their options"
    # Scoring compares options whatever their case.
    texts = [str(option).strip().casefold() for option in options]
    if prompt == "medres" and (len(set(texts)) < len(texts) or "" in texts):
        return "questions with a blank or repeated option"
    return ""


def _ask(question: dict[str, Any], prompt: str) -> dict[str, Any]:
    text = str(question["question"]).strip()
    options = [str(option).strip() for option in question["options"]]
    if prompt == "paper":
        letters = [chr(ord("A") + place) for place in range(len(options))]
        listed = "\n".join(map("{}. {}".format, letters, options))
        # The authors' line break between image and text is part of their prompt.
        text = f"\nAnswer with a single letter, no extra details.\nQuestion: {text}\n{listed}"
        options = letters
    else:
        # A letter says nothing of what was seen, and the option "A" is met in any English
        # sentence; the options' own texts can be named and their probabilities compared.
        text = f"{text}\nAnswer with one of these, without further words: {'; '.join(options)}."
    return {"question": text, "options": options, "reference": options[question["answer_idx"]]}


def _is_consistent(question: dict[str, Any]) -> bool:
    named = str(question["options"][question["answer_idx"]]).strip()
    return str(question.get("answer")).strip() == named


def _with_unique_ids(table: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Number the questions that repeat an id: nothing says that the source's are unique."""
    again = table.groupby("question_id").cumcount()
    if again.any():
        what = "questions that repeat an id and were numbered"
        notes.append(triplets.counted(table["question_id"][again > 0], what))
    suffixes = [f"-{number + 1}" if number else "" for number in again]
    return table.assign(question_id=table["question_id"] + suffixes)
