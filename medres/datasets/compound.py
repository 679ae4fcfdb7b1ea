"""Compound: BBBC021, breast cancer cells under 113 compounds, by mechanism of action.

Source: Broad Bioimage Benchmark Collection, BBBC021v1; Caie et al. 2010, doi
10.1158/1535-7163.MCT-09-1148; Ljosa et al. 2012, doi 10.1038/nmeth.2083. Version 1 is in the
file names; the source publishes no checksums. Licence: CC BY-NC-SA 3.0, to be confirmed on its
page. Size: 55 ZIPs, a plate each, about 40 GB; 104 GB unpacked. Group key: the compound; by
choice plate or week, for what batches give away.

A field is three 16-bit grey TIFFs of 1280 x 1024 px, which become one picture: actin red,
tubulin green, DAPI blue, each scaled from its 0.1th to its 99.9th percentile. The paper's merged
pictures, their order of channels, their scaling and the text of the question are in no public
file, nor is which label it asked for (12 mechanisms of action are likelier than 113 compounds)
or which 1,000 fields it tested.

Known defects: taxol and DMSO make up most labelled fields; Cholesterol-lowering and Kinase
inhibitors occur in one week each, so that batch is class there; the four fields of a well are
near-copies, so that a draw of fields leaks wells; one copy of the table of mechanisms ends its
lines with bare carriage returns.
"""

import io
import random
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pandas as pd

from medres.datasets import questions
from medres.datasets.source import Found, Source

if TYPE_CHECKING:
    from medres.datasets.fetch import Downloader

BASE = "https://data.broadinstitute.org/bbbc/BBBC021/"
IMAGE_TABLE = "BBBC021_v1_image.csv"
MOA_TABLE = "BBBC021_v1_moa.csv"
SOURCE = Source(
    name="compound",
    title="BBBC021v1: human MCF7 cells, compound profiling",
    citation="Caie et al. 2010, Mol Cancer Ther 9:1913; Ljosa et al. 2012, Nature Methods 9:637",
    home="https://bbbc.broadinstitute.org/BBBC021",
    licence="CC BY-NC-SA 3.0 (confirm on the page of the data)",
    version="v1",
    size_bytes=104_000_000_000,
    group="compound",
    defects=(
        "Of 3,848 fields with a mechanism 1,356 are taxol and 1,320 are DMSO.",
        "Cholesterol-lowering and Kinase inhibitors occur in one week each: batch is class.",
        "The four fields of a well are near-copies; a draw of fields leaks wells.",
    ),
    paper_image_px="1280 x 1024",
    paper_n_test=1000,
)
OPTIONS: dict[str, Any] = {
    "prompt": "medres",  # the text of the paper's question is in no public file
    "label": "moa",  # moa, or compound: all compounds but UNKNOWN
    "include_dmso": False,  # whether cells without a compound are a class of their own
    "group": "compound",  # what is never split: compound, plate or week
    "n_test": 1000,  # fields drawn for the published split
    "missing": "error",  # error, or exclude fields whose plate was not fetched
}
READING = {"scaling": "percentiles:0.1:99.9"}
"""Each channel of each field by its own limits, as readers of this set usually do; fluorescence
fills a small part of 16 bits, and over their whole range would be all but black."""
N_FIELDS = 13_200
N_PLATES = 55
IMAGE_PX = (1280, 1024)
FIELDS_PER_MOA = {
    "Microtubule stabilizers": 1428,
    "DMSO": 1320,
    "Microtubule destabilizers": 168,
    "Aurora kinase inhibitors": 144,
    "Eg5 inhibitors": 144,
    "DNA damage": 108,
    "DNA replication": 96,
    "Protein synthesis": 96,
    "Epithelial": 88,
    "Protein degradation": 84,
    "Cholesterol-lowering": 72,
    "Actin disruptors": 60,
    "Kinase inhibitors": 40,
}
"""Fields of each mechanism once the two tables are joined on compound and concentration."""
CHANNELS = ("Actin", "Tubulin", "DAPI")
"""Shown as red, green and blue."""
IMAGE_COLUMNS = (
    *[f"Image_FileName_{channel}" for channel in CHANNELS],
    "Image_PathName_DAPI",
    "Image_Metadata_Plate_DAPI",
    "Image_Metadata_Well_DAPI",
    "Image_Metadata_Compound",
    "Image_Metadata_Concentration",
)
MOA_COLUMNS = ("compound", "concentration", "moa")
QUESTIONS = {
    "moa": "What is the mechanism of action of the compound that these cells were treated with?",
    "compound": "Which compound were these cells treated with?",
}
DRAW_SEED = 42


def fetch(downloader: "Downloader", folder: Path, *, limit: int) -> None:
    """Fetch both tables, then the plates, each unpacked and its ZIP removed.

    Args:
        downloader: Brings files into the folder.
        folder: Where the tables and one folder per plate go.
        limit: Number of plates, in the order of their names; zero means all 55.

    Raises:
        OSError: If the connection stays bad or the disk has no room.
        ValueError: If a ZIP is damaged or lacks a file that the image table names.
    """
    downloader.get(BASE + IMAGE_TABLE, IMAGE_TABLE, check=fields_of)
    downloader.get(BASE + MOA_TABLE, MOA_TABLE, check=mechanisms_of)
    fields = fields_of(folder / IMAGE_TABLE)
    for plate in sorted(fields["plate"].unique())[: limit or None]:
        rows = fields[fields["plate"] == plate]
        wanted = {name for channel in CHANNELS for name in rows[channel]}
        archive = f"BBBC021_v1_images_{plate}.zip"
        came = downloader.get_archive(BASE + archive, archive)
        absent = sorted(wanted - {path.name for path in came if path.parent.name == plate})
        if absent:
            raise ValueError(
                f"{BASE}{archive} lacks {len(absent)} of the {len(wanted)} files that "
                f"{IMAGE_TABLE} names, first {plate}/{absent[0]}; the source has changed"
            )


def read(
    folder: Path,
    workspace: Path,
    *,
    prompt: str = OPTIONS["prompt"],
    label: str = OPTIONS["label"],
    include_dmso: bool = OPTIONS["include_dmso"],
    group: str = OPTIONS["group"],
    n_test: int = OPTIONS["n_test"],
    missing: str = OPTIONS["missing"],
) -> Found:
    """Return one question per field: which mechanism, or which compound.

    The published split is a draw of fields over both whole tables, so that a field is in the
    same split whichever plates were fetched.

    Args:
        folder: Holds both tables and, at any depth, one folder per plate.
        workspace: Unused: nothing is converted.
        prompt: medres; the paper's is unknown.
        label: moa or compound.
        include_dmso: Whether DMSO is a class.
        group: compound, plate or week.
        n_test: Fields drawn for test.
        missing: error or exclude.

    Raises:
        FileNotFoundError: If a table, or without `missing: exclude` an image, is not there.
        ValueError: If an option has an unknown value or a table breaks its layout.
    """
    if prompt != "medres":
        raise ValueError(
            f"prompt is {prompt!r}; use medres (the text that the paper asked about compounds is "
            "in no public file)"
        )
    for name, value, known in (
        ("label", label, ("moa", "compound")),
        ("group", group, ("compound", "plate", "week")),
        ("missing", missing, ("error", "exclude")),
    ):
        if value not in known:
            raise ValueError(f"{name} is {value!r}; use {' or '.join(known)}")
    absent = [name for name in (IMAGE_TABLE, MOA_TABLE) if not (folder / name).is_file()]
    if absent:
        raise FileNotFoundError(
            f"{folder} has no {' and no '.join(absent)}; fetch the data with "
            f"`python -m medres.datasets fetch compound --to {folder}`"
        )
    fields, notes = with_mechanisms(folder)
    fields["label"] = fields[label]
    excluded = []
    for reason, out in (
        ("have no known mechanism of action", fields["label"].isna()),
        ("are of compound UNKNOWN", (fields["compound"] == "UNKNOWN") & (label == "compound")),
        ("are DMSO, without a compound", (fields["compound"] == "DMSO") & (not include_dmso)),
    ):
        out = out.reindex(fields.index)
        if out.any():
            excluded.append(f"{out.sum()} fields {reason}")
            fields = fields[~out]
    if n_test >= len(fields):
        raise ValueError(
            f"n_test is {n_test}, and {folder / IMAGE_TABLE} has {len(fields)} labelled fields; "
            "set a smaller n_test, so that some are left to train on"
        )
    drawn = set(random.Random(DRAW_SEED).sample(sorted(fields["question_id"]), n_test))
    options = sorted(fields["label"].unique())
    notes += _leaks(fields, drawn, label, group)
    image = _images(folder, fields)
    lost = image.isna()
    if lost.any():
        row = fields[lost].iloc[0]
        counted = (
            f"{lost.sum()} of {len(fields)} fields lack an image, first {row['question_id']}: "
            f"{row['Actin']}, {row['Tubulin']} or {row['DAPI']} of plate {row['plate']}"
        )
        if missing == "error" or lost.all():
            raise FileNotFoundError(
                f"{counted} is not below {folder}; fetch the data with `python -m medres.datasets "
                f"fetch compound --to {folder}`, or set `missing: exclude` to skip and "
                "count them"
            )
        excluded.append(counted)
        fields, image = fields[~lost], image[~lost]
    table = fields.assign(
        dataset="compound",
        image=image,
        question=f"{QUESTIONS[label]} Options: {'; '.join(options)}",
        reference=fields["label"],
        options=[list(options) for _ in range(len(fields))],
        modality="fluorescence microscopy",
        split=["test" if each in drawn else "train" for each in fields["question_id"]],
        group=fields[group],
    )
    return Found(
        table=table[list(questions.COLUMNS)].reset_index(drop=True),
        image_folder=folder,
        excluded=excluded,
        notes=notes,
    )


def _parse(path: Path, columns: list[str]) -> pd.DataFrame:
    try:
        # read_text takes a bare carriage return for a line end, as one copy of the table has.
        text = path.read_text(encoding="utf-8-sig")
        table = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as CSV: {error}; fetch it again") from error
    lacking = [name for name in columns if name not in table]
    if lacking:
        raise ValueError(f"{path} lacks the columns {lacking}; it has {list(table.columns)}")
    return table


def fields_of(path: Path) -> pd.DataFrame:
    """Return the image table with our names: one row per field."""
    names = {channel: f"Image_FileName_{channel}" for channel in CHANNELS}
    raw = _parse(path, list(IMAGE_COLUMNS))
    site = raw["Image_FileName_DAPI"].str.extract(r"_s(\d+)_w")[0]
    if site.isna().any():
        name = raw["Image_FileName_DAPI"][site.isna()].iloc[0]
        raise ValueError(f"{path}: file name {name!r} has no site as in G10_s1_w1...tif")
    plate, well = raw["Image_Metadata_Plate_DAPI"], raw["Image_Metadata_Well_DAPI"]
    odd = ~plate.str.fullmatch(r"Week\d+_\w+")
    if odd.any():
        raise ValueError(
            f"{path}: plate {plate[odd].iloc[0]!r} is not a week and plate like Week4_27481"
        )
    fields = pd.DataFrame(
        {
            "question_id": "compound-" + plate + "-" + well + "-s" + site,
            "compound": raw["Image_Metadata_Compound"],
            "concentration": _concentrations(path, raw["Image_Metadata_Concentration"]),
            "plate": plate,
            "week": plate.str.partition("_")[0],
            "well": plate + "-" + well,
            "place": [PurePosixPath(name).name for name in raw["Image_PathName_DAPI"]],
            **{channel: raw[column] for channel, column in names.items()},
        }
    )
    twice = fields["question_id"].duplicated()
    if twice.any():
        raise ValueError(f"{path} has field {fields['question_id'][twice].iloc[0]} twice")
    return fields


def mechanisms_of(path: Path) -> pd.DataFrame:
    """Return the table of mechanisms: one row per compound and concentration."""
    known = _parse(path, list(MOA_COLUMNS))
    known["concentration"] = _concentrations(path, known["concentration"])
    twice = known.duplicated(["compound", "concentration"])
    if twice.any():
        row = known[twice].iloc[0]
        raise ValueError(f"{path} has {row['compound']} at {row['concentration']:g} uM twice")
    return known


def _concentrations(path: Path, texts: pd.Series) -> pd.Series:
    values = pd.to_numeric(texts, errors="coerce")
    if values.isna().any():
        row = int(values.isna().to_numpy().argmax())
        raise ValueError(f"{path} row {row + 2}: concentration {texts.iloc[row]!r} is not a number")
    return values.astype(float)


def with_mechanisms(folder: Path) -> tuple[pd.DataFrame, list[str]]:
    """Return the fields with their mechanism, and what differs from what is known of the tables."""
    fields, known = fields_of(folder / IMAGE_TABLE), mechanisms_of(folder / MOA_TABLE)
    key = ["compound", "concentration"]
    joined = fields.merge(known[[*key, "moa"]], on=key, how="left", validate="m:1")
    notes = [
        "the paper's order of channels is unknown: actin is red, tubulin green, DAPI blue here"
    ]
    used = known.merge(fields[key].drop_duplicates(), on=key, how="left", indicator=True)
    unused = used[used["_merge"] == "left_only"]
    if len(unused):
        row = unused.iloc[0]
        notes.append(
            f"{len(unused)} of {len(known)} rows of {MOA_TABLE} match no field, first "
            f"{row['compound']} at {row['concentration']:g} uM"
        )
    if len(fields) != N_FIELDS:
        notes.append(f"{IMAGE_TABLE} has {len(fields):,} rows; {N_FIELDS:,} are known")
    else:
        counts = joined["moa"].value_counts()
        for moa in sorted({*FIELDS_PER_MOA, *counts.index}):
            if (found := counts.get(moa, 0)) != (expected := FIELDS_PER_MOA.get(moa, 0)):
                notes.append(f"{moa} has {found} fields; {expected} are known")
    return joined, notes


def _leaks(fields: pd.DataFrame, drawn: set[str], label: str, group: str) -> list[str]:
    """Say how the split was drawn and what it, and the batches, give away."""
    in_test = fields["question_id"].isin(drawn)
    test_wells = set(fields["well"][in_test])
    shared = test_wells & set(fields["well"][~in_test])
    notes = [
        f"the paper's test fields are in no public file: {len(drawn)} of {len(fields)} are drawn "
        f"here by field, seed {DRAW_SEED}; {len(shared)} of their {len(test_wells)} wells have "
        "other fields in training"
    ]
    weeks = fields.groupby("label")["week"].nunique()
    one_week = sorted(weeks.index[weeks == 1])
    if one_week and fields["week"].nunique() > 1:
        named = f": {', '.join(one_week)}" if label == "moa" else ""
        notes.append(f"{len(one_week)} classes occur in one week only, so batch tells them{named}")
    if label == group == "compound":
        notes.append(
            "label and group are both the compound: a grouped split asks for compounds never "
            "trained; use `group: plate` or `group: week`"
        )
    return notes


def _images(folder: Path, fields: pd.DataFrame) -> pd.Series:
    """Return red|green|blue of each field, missing if a file of it is not there."""
    places: dict[str, tuple[str, set[str]]] = {}
    for path in sorted(folder.rglob("Week*_*"), reverse=True):
        if path.is_dir():
            names = {each.name for each in path.iterdir()}
            places[path.name] = (path.relative_to(folder).as_posix(), names)
    images = []
    for row in fields[["place", *CHANNELS]].itertuples(index=False):
        place, names = places.get(row.place, ("", set()))
        files = [getattr(row, channel) for channel in CHANNELS]
        whole = all(name in names for name in files)
        images.append("|".join(f"{place}/{name}" for name in files) if whole else None)
    return pd.Series(images, index=fields.index, dtype="str")
