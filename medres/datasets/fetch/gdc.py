"""Fetch whole slides from the Genomic Data Commons, one at a time, each reduced on arrival.

A slide has 0.3 to 3 GB and a study a thousand of them; reduced to the pixels that the study
looks at, all of them fit beside it. So a slide is fetched, reduced, deleted, and only then
the next one asked for.
"""

import csv
import io
import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from medres import images, runs
from medres.datasets.fetch import Downloader

API = "https://api.gdc.cancer.gov"
PROJECT = "TCGA-BRCA"
FIELDS = "file_id,file_name,file_size,md5sum,cases.submitter_id"
BATCH = 200
"""Cases asked for in one question."""
TABLE = "slides.csv"
COLUMNS = (
    "case slide file_id md5 level stored_width_px stored_height_px width_px height_px max_pixels "
    "n_slides"
).split()
ARRIVING = "arriving"
"""Folder of the one slide that is on its way."""
Reduce = Callable[[Path, int], tuple[np.ndarray, dict[str, Any]]]


def read_slide(path: Path, max_pixels: int) -> tuple[np.ndarray, dict[str, Any]]:
    """Return a slide's pixels within a budget, and how they were read."""
    from medres.images import slides  # its library loads native code

    pixels, record = slides.read(path, images.Reading(slide_max_pixels=max_pixels))
    return pixels, record


def fetch_slides(
    downloader: Downloader,
    folder: Path,
    cases: Sequence[str],
    *,
    max_pixels: int,
    reduce: Reduce = read_slide,
) -> None:
    """Write `slides/<case>.png` and a row of slides.csv for each case, going on from what is there.

    A case with several diagnostic slides gives its first, DX1; the row says how many there are.
    Cases without a slide, and slides that cannot be read, are noted in the record.

    Args:
        downloader: Gets and records.
        folder: The data set's folder.
        cases: Case identifiers, such as TCGA-BH-A42V.
        max_pixels: Budget that slides are reduced to, width x height.
        reduce: Reads a slide within the budget.

    Raises:
        OSError: If the connection stays bad or the disk has no room for the next slide.
        ValueError: If the folder's slides have another budget, or the answer is not understood.
    """
    rows = _rows(folder)
    budgets = sorted({row["max_pixels"] for row in rows.values()} - {str(max_pixels)})
    if budgets:
        raise ValueError(
            f"{folder} holds slides reduced to {budgets[0]} pixels, not {max_pixels}; fetch into "
            "another folder"
        )
    left = [
        case
        for case in dict.fromkeys(cases)
        if case not in rows or not downloader.kept.has(f"slides/{case}.png")
    ]
    offered = find(downloader, left)
    (folder / "slides").mkdir(exist_ok=True)
    for number, case in enumerate(left, start=1):
        if case not in offered:
            downloader.note(f"{case}: the source has no diagnostic slide")
            continue
        slide, url = offered[case][0], f"{API}/data/{offered[case][0]['file_id']}"
        downloader.progress.say(f"slide {number} of {len(left)}: {slide['file_name']}")
        path = _arrive(downloader, folder, slide, url, max_pixels)
        try:
            pixels, record = reduce(path, max_pixels)
        except images.UnreadableImageError as error:
            downloader.note(f"{case}: its slide cannot be read ({error})")
            path.unlink()
            continue
        name = f"slides/{case}.png"
        with runs.replacing(folder / name) as part:
            Image.fromarray(pixels).save(part, format="PNG")
        path.unlink()
        downloader.record(name, url=url)
        stored = record["stored_px"]
        rows[case] = {
            "case": case,
            "slide": slide["file_name"],
            "file_id": slide["file_id"],
            "md5": slide["md5sum"],
            "level": str(record.get("level", "")),
            "stored_width_px": str(stored[0]),
            "stored_height_px": str(stored[1]),
            "width_px": str(pixels.shape[1]),
            "height_px": str(pixels.shape[0]),
            "max_pixels": str(max_pixels),
            "n_slides": str(len(offered[case])),
        }
        _write(folder, rows)
    shutil.rmtree(folder / ARRIVING, ignore_errors=True)
    if rows:
        downloader.record(TABLE, url=f"{API}/files")


def find(downloader: Downloader, cases: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Return the diagnostic slides that the source has of each case, in order of their names."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for start in range(0, len(cases), BATCH):
        batch = list(cases[start : start + BATCH])
        wanted = {
            "cases.submitter_id": batch,
            "cases.project.project_id": [PROJECT],
            "data_format": ["SVS"],
            "experimental_strategy": ["Diagnostic Slide"],
        }
        filters = [
            {"op": "in", "content": {"field": field, "value": value}}
            for field, value in wanted.items()
        ]
        size = 20 * len(batch)
        question = {
            "filters": {"op": "and", "content": filters},
            "fields": FIELDS,
            "format": "JSON",
            "size": size,
        }
        answer = downloader.json(f"{API}/files", question)
        try:
            hits, total = answer["data"]["hits"], answer["data"]["pagination"]["total"]
            for hit in sorted(hits, key=lambda hit: str(hit["file_name"])):
                if missing := {"file_id", "file_size", "md5sum"} - set(hit):
                    raise KeyError(*missing)
                found[hit["cases"][0]["submitter_id"]].append(hit)
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(f"{API}/files answers without {error}, which slides need") from error
        if total != len(hits):
            raise ValueError(f"{API}/files has {total} slides of {len(batch)} cases, {size} asked")
    return dict(found)


def _arrive(
    downloader: Downloader, folder: Path, slide: dict[str, Any], url: str, max_pixels: int
) -> Path:
    """Return the one slide that is on the disk; another that was on its way is given up."""
    name = Path(slide["file_name"]).name
    for other in (folder / ARRIVING).glob("*"):
        if not other.name.startswith(name):
            other.unlink()
    downloader.require_room(slide["file_size"] + 3 * max_pixels, f"slide {name}")
    return downloader.get(
        url,
        f"{ARRIVING}/{name}",
        md5=slide["md5sum"],
        size_bytes=slide["file_size"],
        is_kept=False,
    )


def _rows(folder: Path) -> dict[str, dict[str, str]]:
    path = folder / TABLE
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {row["case"]: row for row in csv.DictReader(file)}


def _write(folder: Path, rows: dict[str, dict[str, str]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows.values())
    with runs.replacing(folder / TABLE) as part:
        part.write_text(text.getvalue(), encoding="utf-8")
