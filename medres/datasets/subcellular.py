"""Subcellular: immunofluorescence images of the Human Protein Atlas; which cell line is shown?

Source: www.proteinatlas.org, subcellular section; Thul et al. 2017, doi
10.1126/science.aal3321. The paper's list of images (`captions.json`) is not public and its
cell lines are of a later release than 2017; `fetch` makes a list of the same layout from
release 23 (see `protein_atlas`), with captions from a template of ours.
Licence: by release, CC BY-NC-ND 4.0 at v15, CC BY-SA 4.0 of late; read the page of the release
fetched. Size: 10 to 20 GB for 18,000 JPEGs as in the paper; all of the Atlas is several times
that. Group key: plate and well; by choice the plate or the antibody.

Read are `captions.json` with the images below it, or `subcellular_train.jsonl` and
`subcellular_test.jsonl` of the authors' conversion. Channels: blue nucleus, red microtubules,
green the protein. The authors ask `Provide a description of the given image.` in training,
with a caption as answer, and `Describe the cell line and subcellular localizations shown in
this image.` in test, scored on the cell line: prompt `paper`. Prompt `medres` asks for the cell
line in both. Known defects: their draw by image puts fields of one well, plate and antibody on
both sides; a line is imaged in few plates, so the plate gives it away; some lines are rare.
"""

import hashlib
import json
import random
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import pandas as pd

from medres.datasets import questions
from medres.datasets.protein_atlas import CAPTIONS, TAKEN
from medres.datasets.protein_atlas import fetch as fetch
from medres.datasets.source import Found, Source

SOURCE = Source(
    name="subcellular",
    title="Human Protein Atlas, subcellular section: cell line",
    citation="Thul et al. 2017, Science 356:eaal3321, doi 10.1126/science.aal3321",
    home="https://www.proteinatlas.org/humanproteome/subcellular",
    licence="by release: v15 CC BY-NC-ND 4.0, late ones CC BY-SA 4.0 (read the release's page)",
    version="release 23",
    size_bytes=20_000_000_000,
    group="plate and well",
    defects=(
        "The authors' list of images and captions is not public.",
        "A draw by image puts fields of one well, plate and antibody in training and in test.",
        "A cell line is imaged in few plates, so plate effects give the label away.",
        "Cell lines are skewed: U2OS is 12 % of the authors' capped training set, more before.",
    ),
    paper_image_px="2048 x 2048",
    paper_n_test=2000,
)
OPTIONS: dict[str, Any] = {
    "prompt": "paper",  # paper: captions in training, cell line in test; medres: cell line in both
    "group": "well",  # what is never split: well (plate and well), plate or antibody
    "n_test": 2000,  # records of captions.json that are test, the first after the shuffle
    "cell_line_cap": 0,  # training records kept of a cell line, the authors 5000; zero means all
    "localization_cap": 0,  # and of a set of localizations, the authors 1000; zero means all
    "missing": "error",  # error, or exclude records whose image is absent or has another md5_hash
    "check_md5": True,  # whether every image is read to compare its md5_hash, where one is given
}
PROMPTS_BY_SPLIT = ("paper",)
"""Prompts that ask other questions in training than in test."""
TRAIN_QUESTION = "Provide a description of the given image."
TEST_QUESTION = "Describe the cell line and subcellular localizations shown in this image."
MEDRES_QUESTION = "Which cell line is shown in this fluorescence microscopy image?"
N_CELL_LINES = 37
SHUFFLE_SEED = 42
LINES = {"train": "subcellular_train.jsonl", "test": "subcellular_test.jsonl"}


def read(
    folder: Path,
    workspace: Path,
    *,
    prompt: str = OPTIONS["prompt"],
    group: str = OPTIONS["group"],
    n_test: int = OPTIONS["n_test"],
    cell_line_cap: int = OPTIONS["cell_line_cap"],
    localization_cap: int = OPTIONS["localization_cap"],
    missing: str = OPTIONS["missing"],
    check_md5: bool = OPTIONS["check_md5"],
) -> Found:
    """Return one question per record, split as the authors' code splits `captions.json`.

    With a cap, training records are drawn by seed, cell lines first, then localizations, and of
    those that share an image the first is kept. The authors do these steps too; which records
    their draw keeps is not known.

    Args:
        folder: Holds one of the two layouts, and the images at any depth.
        workspace: Unused: nothing is converted.
        prompt: paper or medres.
        group: well, plate or antibody.
        n_test: Test records, for the layout of `captions.json`.
        cell_line_cap: Zero, or training records of a cell line.
        localization_cap: Zero, or training records of a set of localizations.
        missing: error or exclude.
        check_md5: Whether images are read to compare their hash.

    Raises:
        FileNotFoundError: If neither layout is there, or an image is not.
        ValueError: If an option is unknown, a file is damaged, or an image has another hash.
    """
    for name, value, known in (
        ("prompt", prompt, ("paper", "medres")),
        ("group", group, ("well", "plate", "antibody")),
        ("missing", missing, ("error", "exclude")),
    ):
        if value not in known:
            raise ValueError(f"{name} is {value!r}; use {' or '.join(known)}")
    table, notes = _records(folder, n_test)
    excluded: list[str] = []

    def leave_out(which: pd.Series, reason: str) -> None:
        nonlocal table
        if which.any():
            excluded.append(f"{which.sum()} records {reason}")
            table = table[~which]

    leave_out(table["cell_line"] == "", "name no cell line")
    options = sorted(table["cell_line"].unique())
    if len(options) != N_CELL_LINES:
        notes.append(f"{len(options)} cell lines are found; the authors' training set has 37")
    if prompt == "paper":
        leave_out(
            (table["split"] == "train") & (table["caption"] == ""),
            "of training have no caption to answer with",
        )
    for column, cap in (("cell_line", cell_line_cap), ("localizations", localization_cap)):
        if cap:
            kept = _drawn(table[table["split"] == "train"], column, cap)
            over = (table["split"] == "train") & ~table.index.isin(kept)
            leave_out(over, f"of training are beyond {cap} of their {column}")
    table = table.assign(image=_located(folder, table))
    if cell_line_cap or localization_cap:
        known_image = table["image"].notna() & (table["split"] == "train")
        again = known_image & table["image"].where(known_image).duplicated()
        leave_out(again, "of training show an image that an earlier one shows")
    absent = table["image"].isna()
    _require_none(table, absent, missing, f"have no image below {folder}", FileNotFoundError)
    leave_out(absent, f"have no image, first {_first(table, absent)}")
    if check_md5:
        other = _has_other_md5(folder, table)
        reason = "have an image with another md5_hash than the list gives"
        _require_none(table, other, missing, f"{reason} (or `check_md5: false`)", ValueError)
        leave_out(other, f"{reason}, first {_first(table, other)}")
    notes += _shared(table)
    table, unparsed = _grouped(table, group)
    if unparsed:
        notes.append(f"{unparsed} images have no plate and well in their name: a group each")
    is_caption = (table["split"] == "train") & (prompt == "paper")
    asked = f"{MEDRES_QUESTION} Options: {'; '.join(options)}"
    test_question = TEST_QUESTION if prompt == "paper" else asked
    table = table.assign(
        dataset="subcellular",
        question=is_caption.map({True: TRAIN_QUESTION, False: test_question}),
        reference=table["caption"].where(is_caption, table["cell_line"]),
        options=[[] if caption else list(options) for caption in is_caption],
        modality="fluorescence microscopy",
    )
    return Found(
        table=table[list(questions.COLUMNS)].reset_index(drop=True),
        image_folder=folder,
        excluded=excluded,
        notes=notes,
    )


def _records(folder: Path, n_test: int) -> tuple[pd.DataFrame, list[str]]:
    """Return the records of either layout with their split, and what is odd about them."""
    captions = folder / CAPTIONS
    if captions.is_file():
        records = _parsed(captions, captions.read_text(encoding="utf-8"))
        if n_test >= len(records):
            raise ValueError(
                f"n_test is {n_test}, and {captions} has {len(records)} records; set a smaller "
                "n_test, so that some are left to train on"
            )
        table = _table(captions, records)
        order = list(range(len(records)))
        random.Random(SHUFFLE_SEED).shuffle(order)
        in_test = set(order[:n_test])
        table["split"] = ["test" if row in in_test else "train" for row in table.index]
        made = sum("list_made_from" in record for record in records)
        notes = [f"{made} records are of a list that fetch made, not the authors'"] if made else []
    elif all((folder / name).is_file() for name in LINES.values()):
        parts, notes = [], []
        for split, name in LINES.items():
            lines = (folder / name).read_text(encoding="utf-8").split("\n")
            records = _parsed(folder / name, f"[{','.join(filter(str.strip, lines))}]")
            parts.append(_table(folder / name, records).assign(split=split))
            asked = {str(record.get("query", "")) for record in records} - {TRAIN_QUESTION}
            if asked:
                notes.append(f"{name} asks {min(asked)!r} too, which is not used")
        table = pd.concat(parts, ignore_index=True)
    else:
        raise FileNotFoundError(
            f"{folder} has neither {CAPTIONS} nor {' and '.join(LINES.values())}; fetch images "
            f"with `python -m medres.datasets fetch subcellular --to {folder}`"
        )
    number = table.groupby("question_id").cumcount()
    table["question_id"] = [
        f"subcellular-{name}" + (f"-{again + 1}" if again else "")
        for name, again in zip(table["question_id"], number, strict=True)
    ]
    return table, notes


def _parsed(path: Path, text: str) -> list[dict[str, Any]]:
    try:
        records = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(records, list) or not records:
        raise ValueError(f"{path} is not a list of records")
    for number, record in enumerate(records):
        if not isinstance(record, dict) or not {"cell_line", "localizations"} <= set(record):
            raise ValueError(
                f"{path} record {number} needs cell_line and localizations; it is "
                f"{json.dumps(record)[:120]}"
            )
    return records


def _table(path: Path, records: list[dict[str, Any]]) -> pd.DataFrame:
    rows = []
    for number, record in enumerate(records):
        images = record.get("images", record.get("file_path")) or record.get("url") or ""
        if isinstance(images, list):
            images = images[0] if len(images) == 1 else ""
        if not images:
            raise ValueError(f"{path} record {number} names no image, or several")
        places = record["localizations"]
        named = PurePosixPath(str(images).replace("\\", "/"))
        rows.append(
            {
                "question_id": record.get("image_id") or named.with_suffix("").name,
                "image_given": named.as_posix(),
                "url": str(record.get("url") or ""),
                "cell_line": str(record["cell_line"] or "").strip(),
                "localizations": ", ".join(places) if isinstance(places, list) else str(places),
                "caption": str(record.get("caption", record.get("response")) or "").strip(),
                "md5": str(record.get("md5_hash") or "").lower(),
            }
        )
    return pd.DataFrame(rows)


def _drawn(train: pd.DataFrame, column: str, cap: int) -> pd.Index:
    """Return the rows of a draw by seed that has at most `cap` of each value."""
    shuffled = train.sample(frac=1, random_state=SHUFFLE_SEED)
    return shuffled.groupby(column, sort=False).head(cap).index


def _located(folder: Path, table: pd.DataFrame) -> list[str | None]:
    """Return the file below `folder` whose path ends most like the one the record gives."""
    by_name: dict[str, list[tuple[str, ...]]] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".tif", ".tiff"):
            parts = path.relative_to(folder).parts
            by_name.setdefault(parts[-1], []).append(parts)
    found: list[str | None] = []
    for row in table[["image_given", "url"]].itertuples(index=False):
        given = [PurePosixPath(row.image_given).parts, PurePosixPath(urlsplit(row.url).path).parts]
        best: list[tuple[str, ...]] = []
        for parts in given:
            candidates = by_name.get(parts[-1], []) if parts else []
            most = max((_tail(parts, each) for each in candidates), default=0)
            best = [each for each in candidates if _tail(parts, each) == most]
            if best:
                break
        if len(best) > 1:
            raise ValueError(
                f"image {row.image_given} may be {'/'.join(best[0])} or {'/'.join(best[1])} below "
                f"{folder}; keep one"
            )
        found.append("/".join(best[0]) if best else None)
    return found


def _tail(first: tuple[str, ...], second: tuple[str, ...]) -> int:
    """Return how many last parts two paths share."""
    pairs = list(zip(reversed(first), reversed(second), strict=False))
    return next((n for n, (one, other) in enumerate(pairs) if one != other), len(pairs))


def _first(table: pd.DataFrame, which: pd.Series) -> str:
    return str(table["image_given"][which].iloc[0]) if which.any() else ""


def _require_none(
    table: pd.DataFrame, which: pd.Series, missing: str, reason: str, kind: type[Exception]
) -> None:
    """Raise for records without a proper image, unless they are to be excluded."""
    if which.any() and (missing == "error" or which.all()):
        raise kind(
            f"{which.sum()} of {len(table)} records {reason}, first {_first(table, which)}; fetch "
            "it again, or set `missing: exclude` to skip and count such records"
        )


def _has_other_md5(folder: Path, table: pd.DataFrame) -> pd.Series:
    digests: dict[str, str] = {}
    for image in table["image"][table["md5"] != ""].unique():
        with (folder / image).open("rb") as file:
            digests[image] = hashlib.file_digest(file, "md5").hexdigest()
    return (table["md5"] != "") & (table["image"].map(digests) != table["md5"])


def _shared(table: pd.DataFrame) -> list[str]:
    """Say how many images are asked about more than once, and in both splits."""
    splits = table.groupby("image")["split"]
    n_again, n_both = int((splits.size() > 1).sum()), int((splits.nunique() > 1).sum())
    if not n_again:
        return []
    return [f"{n_again} images have several records, {n_both} of them in training and in test"]


def _grouped(table: pd.DataFrame, group: str) -> tuple[pd.DataFrame, int]:
    """Return the table with its groups, and how many images have names that tell none."""
    groups: dict[str, str] = {}
    unparsed = 0
    for row in table[["image", "image_given", "url"]].itertuples(index=False):
        parts = next(filter(None, map(TAKEN.search, (row.url, row.image_given, row.image))), None)
        if parts is None:
            unparsed += row.image not in groups
            groups.setdefault(row.image, row.image)
        elif group == "well":
            groups.setdefault(row.image, f"{parts['plate']}_{parts['well']}")
        else:
            groups.setdefault(row.image, f"{group}-{parts[group]}")
    return table.assign(group=table["image"].map(groups)), unparsed
