"""What a report shows: verdict, figures, tables, provenance, links.

Used by notebooks. Every table shown is also a CSV of the study, and every figure has
alternative text.
"""

import base64
import html
import io
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import matplotlib as mpl
import numpy as np
import pandas as pd
from IPython.display import HTML
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from PIL import Image

from medres import csv_files, files, marks, runs, texts
from medres.report import tables
from medres.study import STAGES, Study

TRACE = "MEDRES_WRITES"
"""Variable that names a file to which every file that a page makes is added, one per line."""
DPI = 120
"""Pixels per inch of a figure. At 120 its text of 9 points is as large as that of the page, and
the widest figures of 9 inches keep within the page."""
SHOWN_PX = 1256
"""Width of a page's column, as `template/style.css` has it; a wider figure is drawn smaller."""
UNDATED = {"png": (), "svg": ("Date", "Creator")}
"""Kinds of picture, and what matplotlib would write of itself into each."""


def show_table(
    study: str,
    name: str,
    table: pd.DataFrame,
    *,
    caption: str,
    columns: Sequence[str] | None = None,
    merged: Sequence[str] = (),
    empty: str | None = None,
) -> HTML:
    """Write a table to the study's `tables/` and return it for the page.

    Args:
        study: Name of the study.
        name: Stem of the CSV, which holds all columns.
        table: Plain columns; fractions as fractions.
        caption: What the rows are.
        columns: Those to show on the page; all if not given.
        merged: Columns that rows share while these agree, as in `tables.html_table`.
        empty: What a page says instead of a table without rows, which then has no CSV.
    """
    path = report_folder(study) / "tables" / f"{name}.csv"
    if empty is not None and table.empty:
        path.unlink(missing_ok=True)
        return HTML(f"<p>{html.escape(empty)}</p>" if empty else "")
    with runs.replacing(path) as part:
        csv_files.write(table, part, float_format="%.6g")
    note_made(path)
    shown = table[list(columns or table)]
    return _shown(study, tables.html_table(shown, caption=caption, csv=name, merged=merged))


def show_figure(study: str, name: str, figure: Figure, *, alt: str, caption: str) -> HTML:
    """Write a figure to the study's `figures/`, as PNG and SVG, and return it for the page.

    The page shows the PNG pixel for pixel and links both. They hold no date and no version, so
    that the same answers give the same bytes.

    Args:
        study: Name of the study.
        name: Stem of the files.
        figure: Finished figure; it is emptied.
        alt: What a reader who cannot see it needs to know.
        caption: What the marks are.
    """
    # Without a salt of its own, matplotlib draws the ids of an SVG at random.
    with mpl.rc_context({"svg.hashsalt": name}):
        pictures = _pictures(figure)
    figure.clear()
    for kind, content in pictures.items():
        path = report_folder(study) / "figures" / f"{name}.{kind}"
        with runs.replacing(path) as part:
            part.write_bytes(content)
        note_made(path)
    return _shown(study, _figure(name, pictures["png"], alt=alt, caption=caption))


def figure_again(study: str, name: str, *, alt: str, caption: str) -> HTML:
    """Return a figure that another page of the study has made.

    Args:
        study: Name of the study.
        name: Stem of the files.
        alt: As for `show_figure`.
        caption: As for `show_figure`.

    Raises:
        ValueError: If it is not what the page wrote.
    """
    path = _as_made(study, f"figures/{name}.png")
    return _shown(study, _figure(name, path.read_bytes(), alt=alt, caption=caption))


def _figure(name: str, png: bytes, *, alt: str, caption: str) -> str:
    data = base64.b64encode(png).decode()
    width_px, height_px = Image.open(io.BytesIO(png)).size
    stem = html.escape(name)
    links = ", ".join(f'<a href="figures/{stem}.{kind}">{kind.upper()}</a>' for kind in UNDATED)
    return (
        f'<figure><img alt="{html.escape(alt)}" width="{width_px}" height="{height_px}" '
        f'src="data:image/png;base64,{data}">'
        f"<figcaption>{html.escape(caption)} {links}</figcaption></figure>"
    )


def beside_notebook(study: str) -> str:
    """Return the way from where a notebook lies to the reports of its study, as links have it.

    A notebook that is made into a page lies with those of its study below `runs/`; any other
    where its kernel was started.
    """
    is_made = TRACE in os.environ
    folder = runs.ROOT / "runs" / study / "notebooks" if is_made else Path.cwd()
    return quote(os.path.relpath(report_folder(study), folder))


def _shown(study: str, text: str) -> HTML:
    """Return HTML whose links, to files beside the page, also lead there from the notebook."""
    return HTML(text.replace('href="', f'href="{beside_notebook(study)}/'))


def _pictures(figure: Figure) -> dict[str, bytes]:
    """Return a figure as files of each kind, arranged and measured once for all of them."""
    with warnings.catch_warnings():
        # A sign that the font lacks is drawn as a box; one warning for each would bury others.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.set_dpi(DPI)
        FigureCanvasAgg(figure)
        # Arranged alone: `draw_without_rendering` would also draw everything once for nothing.
        if engine := figure.get_layout_engine():
            engine.execute(figure)
        figure.set_layout_engine(None)  # with "none" every kind is laid out once more
        # As a figure is cut that is saved with bbox_inches="tight".
        frame = figure.get_tightbbox().padded(float(mpl.rcParams["savefig.pad_inches"]))
        dpi = min(DPI, SHOWN_PX / frame.width)
        return {kind: _saved(figure, kind, frame, dpi=dpi) for kind in UNDATED}


def _saved(figure: Figure, kind: str, frame: Bbox, *, dpi: float) -> bytes:
    buffer = io.BytesIO()
    if kind == "png":
        figure.savefig(buffer, format="tiff", dpi=dpi, bbox_inches=frame)  # packed below
        return _small_png(Image.open(buffer))
    metadata = dict.fromkeys(UNDATED[kind])
    figure.savefig(buffer, format=kind, dpi=dpi, bbox_inches=frame, metadata=metadata)
    return buffer.getvalue()


def _small_png(drawn: Image.Image) -> bytes:
    """Return a PNG of these pixels in few bytes: opaque, with a palette if 256 colours suffice."""
    picture = drawn.convert("RGB")
    if found := picture.getcolors(256):
        weights = np.array([1 << 16, 1 << 8, 1], dtype=np.uint32)
        palette = np.array(sorted(colour for _, colour in found), dtype=np.uint8)
        codes = np.asarray(picture).astype(np.uint32) @ weights
        index = np.searchsorted(palette.astype(np.uint32) @ weights, codes)
        picture = Image.fromarray(index.astype(np.uint8))
        picture.putpalette(palette.tobytes())
    smaller = io.BytesIO()
    # Level 9 takes five times as long for 3 % fewer bytes.
    picture.save(smaller, format="png", compress_level=6)
    return smaller.getvalue()


def runs_table(folders: Sequence[Path]) -> pd.DataFrame:
    """Return one row a finished run: stage, cell, digest, seconds, code."""
    records = [runs.read(folder) for folder in folders]
    return pd.DataFrame(
        [
            {
                "stage": record["spec"]["stage"],
                "cell": record["spec"]["cell"],
                "digest": record["digest"][:16],
                "seconds": float(record["outcome"]["seconds"]),
                "code": _commit(record),
            }
            for record in records
        ]
    )


def show_provenance(study: Study, folders: Sequence[Path]) -> HTML:
    """Return which runs a page was made from: parameters, digests, versions and commit.

    Two renders of runs with equal answers give the same page: how long each took is told by the
    study's index alone, which writes the table of all its runs to `tables/runs.csv`.
    """
    records = [runs.read(folder) for folder in folders]
    shared = _shared([record["spec"]["parameters"] for record in records])
    table, inputs = str(shared.get("table", "")), _shared([r["spec"]["inputs"] for r in records])
    if texts.named(table) != table and "table" in inputs:
        # Shown by its last name alone, so that its bytes must say which it is.
        shared["table"] = f"{texts.named(table)} (SHA-256 {str(inputs['table'])[:16]})"
    versions = _shared([record["spec"]["versions"] for record in records])
    caption = (
        "Runs this page was made from; digests cover parameters, inputs and versions. "
        "Pages: 02 the training, 03 its evaluation."
    )
    shown = runs_table(folders).drop(columns="seconds")
    shown["pages"] = [_pages_of(study, folder) for folder in folders]
    return _shown(
        study.name,
        f'<details class="provenance" open><summary><h2>Provenance</h2></summary>'
        f"<p>Study <code>{html.escape(study.name)}</code>. Parameters that all runs share: "
        f"{_list(shared)}. Versions: {_list(versions)}.</p>"
        f"{tables.html_table(shown, caption=caption, csv='runs')}</details>",
    )


def _pages_of(study: Study, folder: Path) -> str:
    """Return the stems of the pages about a run's training and evaluation; none for questions."""
    name, stage, *cell = folder.relative_to(runs.ROOT / "runs").parts
    if stage not in STAGES:
        return ""
    made = ["02_finetune", "03_evaluate"] if cell[2] != "none" else ["03_evaluate"]
    there = "" if name == study.name else f"../{name}/"
    return " ".join(f"{there}{notebook}-{'-'.join(cell)}" for notebook in made)


def _shared(each: list[dict[str, object]]) -> dict[str, object]:
    first, *others = each
    return {
        name: value
        for name, value in first.items()
        if all(other.get(name) == value for other in others)
    }


def _list(values: dict[str, object]) -> str:
    return ", ".join(
        f"{html.escape(name)} <code>{html.escape(texts.named(str(value)))}</code>"
        for name, value in values.items()
        if value != ""
    )


def _commit(record: dict[str, dict[str, object]]) -> str:
    commit = str(record["code"]["commit"])[:10] or "unknown"
    return f"{commit}{' + changes' if record['code']['is_dirty'] else ''}"


def evaluated(*studies: Study) -> list[Path]:
    """Return the folders of all evaluations of some studies."""
    return [
        runs.folder_of(study.name, "evaluate", cell.path)
        for study in studies
        for cell in study.cells("evaluate")
    ]


@dataclass
class Trace:
    """Files, and folders of runs, that the making of a page has read and made."""

    read: dict[Path, str] = field(default_factory=dict)
    """With their digests, or states, as they were when they were first read."""
    made: set[Path] = field(default_factory=set)


@contextmanager
def traced() -> Iterator[Trace]:
    """Note what is read and made meanwhile, here and in the processes started meanwhile."""
    found = Trace()
    with tempfile.TemporaryDirectory(prefix="medres-") as folder:
        notes = {name: Path(folder, name) for name in (runs.TRACE, TRACE)}
        before = {name: os.environ.get(name) for name in notes}
        os.environ |= {name: str(path) for name, path in notes.items()}
        try:
            yield found
        finally:
            for name, value in before.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value
            for line in _lines(notes[runs.TRACE]):
                state, _, path = line.partition(" ")
                found.read.setdefault(Path(path), state)
            found.made.update(map(Path, _lines(notes[TRACE])))


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.is_file() else []


def note_made(path: Path) -> None:
    """Add a file to those that a page has made, where somebody wants to know."""
    if TRACE in os.environ:
        with open(os.environ[TRACE], "a") as trace:
            trace.write(f"{path}\n")


def read_table(study: str, name: str, **options: Any) -> pd.DataFrame:
    """Return a table that another page of the study has made.

    Args:
        study: Name of the study.
        name: Stem of its CSV.
        options: Of `csv_files.read`.

    Raises:
        ValueError: If it is not what the page wrote.
    """
    return csv_files.read(_as_made(study, f"tables/{name}.csv"), **options)


def _as_made(study: str, name: str) -> Path:
    """Return the path of a file that a page has made, which is noted as read."""
    path = report_folder(study) / name
    written = marks.made_by(study, path)
    if written and files.sha256(path) not in written:
        raise ValueError(
            f"{path} is not what its page wrote; `make study STUDY={study}` makes it again"
        )
    runs.note_read(path)
    return path


def report_folder(study: str) -> Path:
    """Return where the reports of a study lie, made and writable.

    Raises:
        PermissionError: If it cannot be written to.
    """
    folder = runs.ROOT / "reports" / study
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PermissionError(f"{folder} cannot be made ({error.strerror}); free it") from error
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{folder} is not writable; change its permissions")
    return folder
