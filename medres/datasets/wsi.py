"""WSI: questions on whole slides of breast cancer, WSI-VQA on TCGA-BRCA.

Source: questions from github.com/cpystan/WSI-VQA at commit 8f708ae, Chen et al., ECCV 2024,
arXiv 2407.05603; slides from the Genomic Data Commons, the diagnostic slide DX1 of each case.
Licence: the slides are GDC open access (no re-identification); the repository of the questions
has no licence file. Size: the slides are 1 to 1.5 TB as stored; reduced on arrival to 12
megapixels each they take some 35 GB. Group key: the case, TCGA-XX-XXXX.

Slides are taken from `slides/<case>.png`, else from diagnostic ones, `<case>*DX*.svs`, at any
depth. Two of five questions are open: six templates over five fields of the clinical
table. Known defects, each counted when met: answers that are none of the options, a case in
both validation and test, repeated questions, validation and test slides that `splits_0.csv`
also lists for training (the source's loader leaves those out of its list of cases). Not to be
mended: options and answers are a language model's, made from reports; the second option is
right in 38.7 % of the closed test questions; survival and vital status are not on a slide.
"""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from medres.datasets import questions
from medres.datasets.source import File, Found, Source

if TYPE_CHECKING:
    from medres.datasets.fetch import Downloader

REVISION = "8f708aeb74edaf317a96c2a4cdf3b7c6e6bb0f1f"
FILES = {
    "train": "WsiVQA_train.json",
    "validation": "WsiVQA_val.json",
    "test": "WsiVQA_test.json",
}
SPLITS_TABLE = "splits_0.csv"
SHA256 = {
    "WsiVQA_train.json": "393b3777a150ce500f2f35b6383b01fdb062b1d8e8fbc371bfd6c53fd1a8add6",
    "WsiVQA_val.json": "5cab5408815c72b22231d58944b4b6382eb86c3e24df1eff08ff7ad9d32f5320",
    "WsiVQA_test.json": "d19a4ad1e90f75ef6228376629167f64581748419fdde388a5d6527d1cc230c9",
    SPLITS_TABLE: "b2ad2226125981722da83957c9107f1b8523187cee709e706bc0f327cbbf3925",
}
"""Of the files at that commit."""
_FETCHED = [f"dataset/WSI_captions/{name}" for name in FILES.values()] + [f"dataset/{SPLITS_TABLE}"]
SOURCE = Source(
    name="wsi",
    title="WSI-VQA: questions on the diagnostic slides of TCGA-BRCA",
    citation="Chen et al., WSI-VQA, ECCV 2024, arXiv 2407.05603; TCGA Research Network",
    home="https://github.com/cpystan/WSI-VQA",
    licence="slides: GDC open access, no re-identification; questions: no licence file",
    version=f"questions: commit {REVISION[:7]}",
    size_bytes=35_000_000_000,
    group="case",
    defects=(
        "29 training answers are not among their options.",
        "One case is in validation and in test, with 6 identical questions.",
        "10 validation and 12 test cases are in the train column of splits_0.csv.",
        "The second option is right in 38.7 % of the closed test questions.",
        "Options and answers are a language model's, made from reports; survival time and vital "
        "status cannot be read off a slide.",
    ),
    files=tuple(
        File(url=f"https://github.com/cpystan/WSI-VQA/raw/{REVISION}/{path}", path=path)
        for path in _FETCHED
    ),
    paper_image_px="3000 x 4000",
    paper_n_test=735,
)
OPTIONS: dict[str, Any] = {
    "prompt": "paper",  # paper is the record's question; medres names the options too
    "splits": "files",  # files as they are, or filter out cases that splits_0.csv trains on
    "missing": "error",  # error, or exclude questions whose slide was not fetched
}
N_RECORDS = {"train": 7139, "validation": 798, "test": 735}


SLIDES_TABLE = "slides.csv"
"""What fetch says of the slides it reduced."""


def fetch(
    downloader: "Downloader", folder: Path, *, limit: int, max_pixels: int = 12_000_000
) -> None:
    """Fetch the files of the questions, then the slides, each reduced on arrival.

    Args:
        downloader: Brings files into the folder.
        folder: Where they go.
        limit: Number of cases, those of test first; zero means all.
        max_pixels: What a slide is reduced to, width x height.

    Raises:
        OSError: If the connection stays bad or the disk has no room.
        ValueError: If a download is not what was expected.
    """
    from medres.datasets.fetch import gdc  # Only a fetch needs it.

    for file in SOURCE.files:
        name = file.path.rpartition("/")[2]
        check = train_column if name == SPLITS_TABLE else parsed
        downloader.get(file.url, file.path, check=check)
    gdc.fetch_slides(downloader, folder, cases(folder)[: limit or None], max_pixels=max_pixels)


def cases(folder: Path) -> list[str]:
    """Return the cases whose slides are wanted, those of test first.

    Raises:
        FileNotFoundError: If the files of the questions are not there.
        ValueError: If one is damaged.
    """
    found: dict[str, None] = {}
    for split in ("test", "validation", "train"):
        found.update(dict.fromkeys(_records(folder, split)["case"]))
    return list(found)


def read(
    folder: Path,
    workspace: Path,
    *,
    prompt: str = OPTIONS["prompt"],
    splits: str = OPTIONS["splits"],
    missing: str = OPTIONS["missing"],
) -> Found:
    """Return the questions of the three files, each with the slide of its case.

    An answer that is none of its options but for capitals, blanks, a last full stop or the
    words `the correct option is c(...)` becomes that option; any other such question is left
    out. A case that is in test too is left out of validation.

    Args:
        folder: The fetched data, or a clone of the repository with slides added.
        workspace: Unused: nothing is converted.
        prompt: paper or medres.
        splits: files or filter.
        missing: error or exclude.

    Raises:
        FileNotFoundError: If the files, or without `missing: exclude` a slide, are not there.
        ValueError: If an option has an unknown value or a file is damaged.
    """
    for name, value, known in (
        ("prompt", prompt, ("paper", "medres")),
        ("splits", splits, ("files", "filter")),
        ("missing", missing, ("error", "exclude")),
    ):
        if value not in known:
            raise ValueError(f"{name} is {value!r}; use {' or '.join(known)}")
    table = pd.concat([_records(folder, split) for split in FILES], ignore_index=True)
    notes = []
    for split, expected in N_RECORDS.items():
        if (found := int((table["split"] == split).sum())) != expected:
            notes.append(f"{FILES[split]} has {found:,} questions; {expected:,} are known")
    excluded: list[str] = []

    def leave_out(which: pd.Series, reason: str) -> None:
        nonlocal table
        if which.any():
            where = ", ".join(
                f"{count} of {split}"
                for split, count in table["split"][which].value_counts(sort=False).items()
            )
            excluded.append(f"{which.sum()} questions {reason} ({where})")
            table = table[~which]

    leave_out((table["question"] == "") | (table["answer"] == ""), "are empty or have no answer")
    leave_out(
        table.duplicated(["split", "case", "question", "answer"]),
        "repeat question and answer of their case",
    )
    in_test = set(table["case"][table["split"] == "test"])
    leave_out(
        (table["split"] == "validation") & table["case"].isin(in_test),
        "of validation are on a case of test",
    )
    trained = _trained_cases(folder)
    listed = table["case"].isin(trained or ()) & (table["split"] != "train")
    if splits == "filter":
        if trained is None:
            raise FileNotFoundError(
                f"{folder} has no {SPLITS_TABLE}, which `splits: filter` needs; fetch it with "
                f"`python -m medres.datasets fetch wsi --to {folder}`, or use `splits: files`"
            )
        leave_out(listed, f"are on a case that {SPLITS_TABLE} lists for training")
    elif listed.any():
        notes.append(
            f"{listed.sum()} questions of validation and test are on {_n(table, listed)} cases "
            f"that {SPLITS_TABLE} lists for training; `splits: filter` leaves them out"
        )
    is_closed = table["options"].map(len) > 0
    repeated = table["options"].map(lambda options: len(set(options)) < len(options))
    if repeated.any():
        notes.append(f"{repeated.sum()} questions have an option twice; it is offered once")
        table = table.assign(options=[list(dict.fromkeys(each)) for each in table["options"]])
    reference = pd.Series(
        [
            _as_option(answer, options) if options else answer
            for answer, options in zip(table["answer"], table["options"], strict=True)
        ],
        index=table.index,
        dtype="str",
    )
    mended = is_closed & reference.notna() & (reference != table["answer"])
    if mended.any():
        notes.append(
            f"{mended.sum()} answers are an option but for its spelling (capitals, blanks, a last "
            "full stop, `the correct option is ...`) and became that option"
        )
    table = table.assign(reference=reference)
    leave_out(reference.isna(), "have an answer that is not among the options")
    slides, slide_notes = _slides(folder, set(table["case"]))
    table = table.assign(image=table["case"].map(slides).astype("str"))
    notes += slide_notes
    lost = table["image"].isna()
    if lost.any() and (missing == "error" or lost.all()):
        raise FileNotFoundError(
            f"{lost.sum():,} of {len(table):,} questions, on {_n(table, lost)} cases, have no "
            f"slide, first {table['case'][lost].iloc[0]}: neither slides/<case>.png nor "
            f"<case>*DX*.svs is below {folder}; fetch slides with `python -m medres.datasets fetch "
            f"wsi --to {folder}`, or set `missing: exclude` to skip and count these "
            "questions"
        )
    leave_out(lost, f"are on {_n(table, lost)} cases without a slide")
    torn = table.groupby("case")["split"].nunique() > 1
    if torn.any():
        notes.append(f"{torn.sum()} cases are in more than one split, first {torn.idxmax()}")
    table = table.assign(dataset="wsi", modality="histopathology", group=table["case"])
    if prompt == "medres":
        table["question"] = [
            f"{row.question} Options: {'; '.join(row.options)}" if row.options else row.question
            for row in table[["question", "options"]].itertuples(index=False)
        ]
    return Found(
        table=table[list(questions.COLUMNS)].reset_index(drop=True),
        image_folder=folder,
        excluded=excluded,
        notes=notes,
    )


def _n(table: pd.DataFrame, which: pd.Series) -> int:
    return int(table["case"][which].nunique())


def _find(folder: Path, name: str) -> Path | None:
    places = ("dataset/WSI_captions", "dataset", "WSI_captions", ".")
    return next((folder / at / name for at in places if (folder / at / name).is_file()), None)


def _records(folder: Path, split: str) -> pd.DataFrame:
    path = _find(folder, FILES[split])
    if path is None:
        raise FileNotFoundError(
            f"{folder} has no {FILES[split]}, nor has its dataset/WSI_captions; fetch the data "
            f"with `python -m medres.datasets fetch wsi --to {folder}`"
        )
    rows = []
    for number, record in enumerate(parsed(path)):
        whole = isinstance(record, dict) and {"Id", "Question", "Answer"} <= set(record)
        choice = (record.get("Choice") or []) if whole else []
        if not whole or not isinstance(choice, list):
            raise ValueError(
                f"{path} record {number}: needs Id, Question, Answer and at most a list Choice; "
                f"it is {json.dumps(record)[:120]}"
            )
        rows.append(
            {
                "question_id": f"wsi-{split}-{number:05d}",
                "split": split,
                "case": str(record["Id"]).strip(),
                "question": str(record["Question"]).strip(),
                "answer": str(record["Answer"]).strip(),
                "options": [str(option).strip() for option in choice],
            }
        )
    return pd.DataFrame(rows)


def parsed(path: Path) -> list[Any]:
    """Return the records of a file of questions; raise ValueError if it holds none."""
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}; fetch it again") from error
    if not isinstance(records, list) or not records:
        raise ValueError(f"{path} is not a list of questions; fetch it again")
    return records


def _plain(text: str) -> str:
    return text.casefold().strip().rstrip(".").strip()


def _as_option(answer: str, options: list[str]) -> str | None:
    """Return the one option that the answer spells, in the ways that occur; else None."""
    if answer in options:
        return answer
    text = _plain(answer)
    if named := re.fullmatch(r"the correct option is [a-d][.:)]?\s*\((.+)\)", text):
        text = _plain(named[1])
    same = [option for option in options if _plain(option) == text]
    return same[0] if len(same) == 1 else None


def _trained_cases(folder: Path) -> set[str] | None:
    """Return the cases in the train column of splits_0.csv, None without that file."""
    path = _find(folder, SPLITS_TABLE)
    return None if path is None else set(train_column(path).str[:12])


def train_column(path: Path) -> pd.Series:
    """Return the slides that splits_0.csv lists for training; raise ValueError if it lists none."""
    table = pd.read_csv(path, dtype=str)
    if "train" not in table:
        raise ValueError(f"{path} has no column train; it has {list(table.columns)}")
    return table["train"].dropna()


def _slides(folder: Path, wanted: set[str]) -> tuple[dict[str, str], list[str]]:
    """Return the image of each case that has one, and what the choice of slides leaves out."""
    raw: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*DX*.svs"), key=lambda path: path.name):
        raw.setdefault(path.name[:12], []).append(path)
    table = folder / SLIDES_TABLE
    rows = pd.read_csv(table, dtype=str).to_dict("records") if table.is_file() else []
    reduced = {str(row["case"]): row for row in rows}
    slides, several, budgets = {}, [], set()
    for case in sorted(wanted):
        image = folder / "slides" / f"{case}.png"
        if image.is_file():
            slides[case] = image.relative_to(folder).as_posix()
            n_slides = int(reduced.get(case, {}).get("n_slides", 1))
            budgets.add(reduced.get(case, {}).get("max_pixels", ""))
        elif case in raw:
            first = [path for path in raw[case] if "-DX1." in path.name]
            slides[case] = (first or raw[case])[0].relative_to(folder).as_posix()
            n_slides = len(raw[case])
        else:
            continue
        if n_slides > 1:
            several.append(case)
    notes = [f"slides were reduced on arrival to {each} pixels" for each in sorted(budgets - {""})]
    if several:
        notes.append(
            f"{len(several)} cases have several diagnostic slides, of which DX1 (else the first "
            f"by name) is shown, first {several[0]}"
        )
    return slides, notes
