"""What fetches and loaders assume of each source, and where that was seen in public.

`python -m medres.datasets verify NAME` looks at each of these; docs/datasets.md is made of them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType

from medres.datasets import (
    cervical,
    compound,
    path_vqa,
    protein_atlas,
    slake,
    subcellular,
    ubench,
    vqa_rad,
    wsi,
)
from medres.datasets.fetch import gdc
from medres.datasets.source import Source

SEEN_ON = "2026-11-29"
"""When the public material was looked through; it may itself be older, as it says."""
NOT_SEEN = "not seen"
TRIPLET = ("image", "question", "answer")


@dataclass(frozen=True)
class Assumption:
    """One thing that must hold for a data set to be fetched and read."""

    dataset: str
    key: str
    """Names it within its data set."""
    assumed: str
    seen: str = NOT_SEEN
    """Public file or page that shows it."""


@dataclass(frozen=True)
class Hub:
    """What is assumed of a data set on the Hugging Face Hub."""

    module: ModuleType
    counts: Mapping[str, int]
    """Rows of each split."""
    shards: Mapping[str, int]
    """Files of each split, where they were seen."""
    licence: str
    """As the card's header says."""
    licence_repo: str
    """Whose card says so."""
    seen: Mapping[str, str]
    """By key, where it was seen."""
    columns: tuple[str, ...] = TRIPLET
    sha256: Mapping[str, str] = field(default_factory=dict)
    """Of files, where the hashes were seen."""


_MED_EVAL = "github.com/cliangyu/med_eval, README.md and eval.py (the paper's own evaluation)"
_KARMA = "github.com/eka-care/KARMA-OpenMedEvalKit, karma/eval_datasets"
_TORCH_EM = "github.com/constantinpape/torch-em, torch_em/data/datasets/light_microscopy"
HUBS = (
    Hub(
        vqa_rad,
        counts=vqa_rad.HUB_COUNTS,
        shards={"train": 1, "test": 1},
        licence="cc0-1.0",
        licence_repo=vqa_rad.SOURCE.hub_repo,
        seen={
            "address": f"{_KARMA}/vqa_rad_dataset.py, the same commit; the Hub's page of commits",
            "files": "several public scripts name both files",
            "columns": f"{_KARMA}/vqa_rad_dataset.py; {_MED_EVAL}",
            "images": f"{_KARMA}/vqa_rad_dataset.py reads image.bytes",
            "counts": "github.com/nemaziz/medical-vqa-project, data/README.md",
            "licence": "the Hub's page of flaviagiammarino/vqa-rad",
        },
    ),
    Hub(
        path_vqa,
        counts=path_vqa.HUB_COUNTS,
        shards={"test": 3},
        licence="mit",
        licence_repo=path_vqa.SOURCE.hub_repo,
        seen={
            "address": _MED_EVAL,
            "files": "a public script names data/test-00000-of-00003-e9adadb4799f44d3.parquet",
            "columns": f"{_MED_EVAL}; the card's header",
            "images": _MED_EVAL,
            "counts": "the card of flaviagiammarino/path-vqa at 12d11bc",
            "licence": "the card of flaviagiammarino/path-vqa at 12d11bc",
        },
    ),
    Hub(
        slake,
        counts=slake.COUNTS["en"],
        shards={"train": 2, "validation": 1, "test": 1},
        licence="cc-by-4.0",
        licence_repo="BoKelvin/SLAKE",
        seen={
            "address": f"{_KARMA}/slake_dataset.py, the same commit",
            "files": "the Hub's page of files of mdwiratathya/SLAKE-vqa-english, data",
            "columns": _MED_EVAL,
            "images": f"{_KARMA}/vqa_rad_dataset.py reads image.bytes",
            "licence": "the Hub's page of BoKelvin/SLAKE; the English copy has no card",
        },
    ),
    Hub(
        ubench,
        columns=ubench.HUB_COLUMNS,
        counts={"test": ubench.N_IMAGES},
        shards={"test": 7},
        licence="cc-by-sa-4.0",
        licence_repo=ubench.SOURCE.hub_repo,
        seen={
            "address": f"{_TORCH_EM}/micro_bench.py, the same commit",
            "files": "the Hub's page of files of jnirschl/uBench, perception/0.1.0",
            "columns": "a public copy of olmo-eval, micro_bench; the dataset column may be null",
            "images": f"{_TORCH_EM}/micro_bench.py reads image.bytes from an Arrow stream",
            "counts": "a public copy of olmo-eval, micro_bench",
            "hashes": f"{_TORCH_EM}/micro_bench.py",
            "licence": "the Hub's page of jnirschl/uBench",
        },
        sha256={
            f"ubench-test-{number:05d}-of-00007.arrow": sha256
            for number, sha256 in enumerate(
                (
                    "3d346134e6dffed41f74da64c1c173f5efd3a10200805796a030357297b630f1",
                    "790591636ae679afa1161664d207c2bb2e3d583690d03967e38364ba0f31ccac",
                    "c370cd84e6ed9b00483ef3d20f5c06d5ff2264733ea87f2df98cf9a22820bf74",
                    "832cdd6f73a132028584b4e47ec1afe643e0490dd8ec9686eabbb9de3eb7f814",
                    "e2741415cef1327ba243f21000ac43aab2d36b61a9c2c862a1d0e21f200f4a69",
                    "89deae84ed2dab1bb1fc40be0aefe81b8d94590cec548d1950ff5ff853143d34",
                    "534beca2084a250d4436340c78accc9fe7cc2d6063d4884302e7e7f141edad6c",
                )
            )
        },
    ),
)


def _of_hub(hub: Hub) -> list[Assumption]:
    source: Source = hub.module.SOURCE
    shards = ", ".join(f"{number} of {split}" for split, number in hub.shards.items())
    said = {
        "address": f"{source.hub_repo} on the Hub, commit {source.hub_revision}, open to all",
        "files": f"{', '.join(source.hub_patterns)}: <split>-<n>-of-<total>, {shards}",
        "hashes": f"sha256 of all {len(hub.sha256)} shards",
        "columns": ", ".join(hub.columns),
        "images": "bytes of a picture in the column image",
        "reader": "our loader takes 3 rows",
        "counts": ", ".join(f"{split} {number:,} rows" for split, number in hub.counts.items()),
        "licence": f"{hub.licence} on the card of {hub.licence_repo}",
    }
    keys = [key for key in said if key != "hashes" or hub.sha256]
    return [Assumption(source.name, key, said[key], _seen(hub, key)) for key in keys]


def _seen(hub: Hub, key: str) -> str:
    return hub.seen.get(key, "checked by its own tests" if key == "reader" else NOT_SEEN)


_READER = ("reader", "our loader takes what came", "checked by its own tests")
_ATLAS = "github.com/CellProfiling/PUPS_Composite_JPG_Test, 4b_Verify_Track_Images.py"
_PAP = "github.com/SamGabriel-Here/pap-vision, DATASET.md (file listing of 2026-07-29)"
_PYBBBC = "github.com/giacomodeodato/pybbbc, pybbbc/dataset.py"
_WSI_VQA = f"github.com/cpystan/WSI-VQA at {wsi.REVISION[:7]}, its newest commit, read whole"
_GDC = "docs.gdc.cancer.gov/API/Users_Guide"
_OTHERS: dict[str, tuple[tuple[str, str, str], ...]] = {
    subcellular.SOURCE.name: (
        (
            "address",
            f"{protein_atlas.RELEASE}/download/{protein_atlas.LOCATIONS}",
            "not seen for this table; other tables of this release come from that folder in "
            "several public scripts, this table from www and v18",
        ),
        (
            "columns",
            "zip of one tab-separated table with a column Gene of ids such as ENSG00000134057",
            "public scripts read subcellular_location.tsv from the zip of www.proteinatlas.org",
        ),
        (
            "entries",
            f"{protein_atlas.RELEASE}/<gene>.xml: antibody, cellExpression of technology ICC/IF, "
            "data with cellLine (attribute cellosaurusID), location and imageUrl",
            f"{_ATLAS}, which fetched v23's XML; cellosaurusID in a public reader of the XML",
        ),
        (
            "images",
            "a host of proteinatlas.org, <antibody>/<plate>_<well>_<field>_<channels>.jpg, RGB "
            "JPEG; images of withdrawn antibodies stay",
            f"{_ATLAS}; file names in public notes of June 2026",
        ),
        _READER,
        ("licence", subcellular.SOURCE.licence, NOT_SEEN),
    ),
    compound.SOURCE.name: (
        (
            "address",
            f"{compound.BASE} with {compound.IMAGE_TABLE} and {compound.MOA_TABLE}",
            "many public scripts; github.com/broadinstitute/imaging-bbbc, README.md on the host",
        ),
        (
            "columns",
            f"{', '.join(compound.IMAGE_COLUMNS)}; {', '.join(compound.MOA_COLUMNS)}",
            f"{_PYBBBC}; a public copy of the table in github.com/leotam/py_gdf_read_test",
        ),
        (
            "counts",
            f"{compound.N_PLATES} plates, {compound.N_FIELDS:,} fields, 3,848 with a mechanism",
            "the public copy of the table",
        ),
        (
            "archives",
            "BBBC021_v1_images_<plate>.zip for each plate",
            "github.com/mattHG70/SIADS696_Milestone2, scripts/data/get_image_files.sh, all 55",
        ),
        ("members", "<plate>/<file>, all that the table names", _PYBBBC),
        (
            "images",
            f"16-bit grey TIFF of {compound.IMAGE_PX[0]} x {compound.IMAGE_PX[1]}, one a channel",
            "github.com/giacomodeodato/pybbbc, README.md (the size)",
        ),
        _READER,
        ("licence", compound.SOURCE.licence, NOT_SEEN),
    ),
    cervical.SOURCE.name: (
        (
            "archive",
            cervical.SOURCE.files[0].url,
            "the form of the address for other sets in many public scripts; not seen for this one, "
            f"and {_PAP} says that the page's own link is a signed one; "
            "github.com/Vishwa-cloud25S/cropmind-ai, ml/data/registry.py, got HTTP 403 for another "
            "set on 2026-08-08",
        ),
        ("folders", f"{', '.join(cervical.CLASSES.values())}, spelling may vary", _PAP),
        ("counts", ", ".join(f"{k} {n}" for k, n in cervical.COUNTED.items()), _PAP),
        (
            "slides",
            "names begin with the slide, as NL_10_ (5).jpg: "
            + ", ".join(f"{k} {n}" for k, n in cervical.SLIDES.items()),
            _PAP,
        ),
        ("twice", "a name that is in the archive twice has one content", f"names only: {_PAP}"),
        (
            "images",
            f"RGB JPEG of {cervical.IMAGE_PX[0]} x {cervical.IMAGE_PX[1]}",
            _PAP,
        ),
        _READER,
        ("licence", cervical.SOURCE.licence, _PAP),
    ),
    wsi.SOURCE.name: (
        ("address", f"four files of github.com/cpystan/WSI-VQA at {wsi.REVISION}", _WSI_VQA),
        ("hashes", "sha256 of the four files", _WSI_VQA),
        (
            "fields",
            "Id, Question, Answer and Choice of closed questions; a column train of slides",
            _WSI_VQA,
        ),
        ("counts", ", ".join(f"{k} {n:,}" for k, n in wsi.N_RECORDS.items()), _WSI_VQA),
        (
            "slides",
            f"{gdc.API}/files finds slides of {gdc.PROJECT} by case: SVS, Diagnostic Slide, with "
            "file_id, file_name, file_size and md5sum",
            f"{_GDC}/Search_and_Retrieval; the same filter in many public scripts",
        ),
        (
            "images",
            f"{gdc.API}/data/<file_id> gives the slide, a TIFF, without a token",
            f"{_GDC}/Downloading_Files; that it is a TIFF from files of this kind",
        ),
        _READER,
        ("licence", wsi.SOURCE.licence, f"{_WSI_VQA}: none; {_GDC} on open access"),
    ),
}
ABOUT: tuple[Assumption, ...] = tuple(
    [Assumption(name, *row) for name, rows in _OTHERS.items() for row in rows]
    + [row for hub in HUBS for row in _of_hub(hub)]
)
"""Every assumption, in the order in which data sets are listed and things are looked at."""

_PREFACE = f"""\
# What is assumed of each data set's source?

Made by `python -m medres.datasets assumed` from the table in `medres/datasets/fetch/assumed.py`.

Nothing here was tried at the sources themselves: it is what public code and pages showed on
{SEEN_ON}. To try it, with internet:

    .venv/bin/python -m medres.datasets verify slake      # or: all

This looks at three items of each set (at most 256 MB and 5 minutes each, kept nowhere) and prints a
line for each row below: `ok`, `differs` with what was found, or `could not be checked`. It exits
with 1 if anything differs.
"""


def document() -> str:
    """Return docs/datasets.md."""
    parts = [_PREFACE]
    for name in dict.fromkeys(row.dataset for row in ABOUT):
        rows = [row for row in ABOUT if row.dataset == name]
        parts.append(f"## {name}\n\n| what | assumed | seen |\n| --- | --- | --- |")
        parts[-1] += "".join(
            f"\n| {row.key} | {_cell(row.assumed)} | {_cell(row.seen)} |" for row in rows
        )
        parts[-1] += "\n"
    return "\n".join(parts)


def _cell(text: str) -> str:
    """Return a text whose placeholders and patterns are no markup."""
    return re.sub(r"[<|*]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", text)
