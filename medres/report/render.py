"""Parameters to report: check the names, run the notebook, write one offline HTML page.

`python -m medres.report.render NOTEBOOK PARAMS [--set name=value ...]` makes a page whatever it is;
`python -m medres.report STUDY STEM` makes one of a study's pages unless it is current.
"""

import argparse
import errno
import logging
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import papermill
import yaml
from nbclient.exceptions import CellControlSignal
from nbformat import NotebookNode
from papermill.exceptions import PapermillException, PapermillExecutionError
from traitlets.config import Config

from medres import files, runs, texts
from medres import study as studies
from medres.report import current, first_page, forked_kernel, layout, page, safe
from medres.study import Study


class NotebookError(RuntimeError):
    """A notebook did not come to its end; the message says where and why, in one line."""


def render(notebook: Path, params: Path, given: dict[str, Any]) -> Path:
    """Run a notebook with checked parameters and return the HTML page made of it.

    Args:
        notebook: Notebook file.
        params: YAML file of parameters; need not exist. In the folder of a study it is of that
            study.
        given: Parameters that override the file's.

    Returns:
        The page, `reports/<study>/<stem>.html`, written only after the notebook's last cell.

    Raises:
        ValueError: If a parameter is unknown or of the wrong type, before anything runs.
        NotebookError: If a cell failed, the kernel died, or the notebook ended early.
    """
    from_file = studies.read_params(params)
    folder = params.resolve().parent
    if folder.parent == runs.ROOT / "params":
        if from_file.setdefault("study", folder.name) != folder.name:
            raise ValueError(
                f"{params} sets study to {from_file['study']!r}; leave it out: its folder says "
                f"{folder.name}"
            )
    settings = studies.resolve(notebook, from_file, source=str(params))
    settings = studies.resolve(notebook, settings | given, source="--set")
    study = studies.load(settings["study"])
    cell = _cell(notebook, settings)
    return _make_page(study, notebook, cell, settings)


def make(study: Study, stem: str) -> Path:
    """Make a page of a study, whether it is current or not, and return it.

    Args:
        study: Of the page.
        stem: Of the page, one of `current.pages_of`.

    Raises:
        ValueError: As `render`.
        NotebookError: As `render`.
    """
    if stem == current.INDEX:
        return render_index(study)
    cell = current.pages_of(study)[stem]
    notebook = studies.notebook_path(stem if cell is None else cell.notebook)
    return _make_page(study, notebook, cell, current.settings_of(study, stem, cell))


def _cell(notebook: Path, settings: dict[str, Any]) -> studies.Cell | None:
    stages = {"02_finetune": "finetune", "03_evaluate": "evaluate"}
    if notebook.stem not in stages:
        return None
    names = ("dataset", "model", "train_resolution", "seed")
    return studies.Cell(stages[notebook.stem], *(settings[name] for name in names))


def _make_page(
    study: Study, notebook: Path, cell: studies.Cell | None, settings: dict[str, Any]
) -> Path:
    stem = notebook.stem if cell is None else cell.page
    asked = current.decides(study, stem, cell, settings)
    target = page.report_folder(study.name) / f"{stem}.html"
    executed = runs.ROOT / "runs" / study.name / "notebooks" / f"{stem}.ipynb"
    executed.parent.mkdir(parents=True, exist_ok=True)
    with page.traced() as trace:
        html = layout.to_html(_execute(notebook, executed, settings), study, stem, cell)
        with files.replacing(target) as part:
            part.write_text(html)
    current.mark_page(study, stem, asked, read=trace.read, made={*trace.made, target})
    return target


def _execute(notebook: Path, executed: Path, settings: dict[str, Any]) -> NotebookNode:
    # Papermill's own log repeats every cell; what the notebook prints goes to the terminal.
    logging.getLogger("papermill").setLevel(logging.ERROR)
    executed.unlink(missing_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix="medres-") as sockets:
            papermill.execute_notebook(
                str(notebook),
                str(executed),
                parameters=settings,
                kernel_name="python3",
                cwd=str(runs.ROOT),
                progress_bar=False,
                # Written once, at the end or at an error, not twice for each cell.
                request_save_on_cell_execute=False,
                stdout_file=texts.Shown(sys.stdout),
                # Sockets in files: ports of kernels that start side by side can collide.
                config=Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}}),
                **forked_kernel.options(),
            )
    except PapermillExecutionError as error:
        raise NotebookError(
            f"{executed.name}, cell {error.cell_index}: {error.ename}: {error.evalue}"
            f"{_remedy(error.evalue)} (the executed notebook is {executed})"
        ) from error
    except (CellControlSignal, PapermillException, RuntimeError) as error:
        raise NotebookError(
            f"{executed.name}: {error or type(error).__name__}; where the kernel died, memory "
            "often ran out: try a smaller batch_images"
        ) from error
    content = nbformat.read(executed, as_version=4)
    # Neither a dead kernel nor sys.exit(0) leaves a trace that papermill reports: only cells
    # that were counted by the kernel have run.
    for index, cell in enumerate(content.cells):
        if cell.cell_type == "code" and cell.source.strip() and cell.execution_count is None:
            raise NotebookError(
                f"{executed.name} stopped before cell {index} without an error; remove any exit "
                f"from the cell above (the executed notebook is {executed})"
            )
    return content


def _remedy(reason: str) -> str:
    if os.strerror(errno.ENOSPC) in reason and "finished runs" not in reason:
        return "; free some space and run again: finished runs and answers are kept"
    return ""


def render_index(study: Study) -> Path:
    """Make the study's first page and return it (`first_page`)."""
    asked = current.decides(study, current.INDEX, None, {})
    target = page.report_folder(study.name) / "index.html"
    with page.traced() as trace:
        html = first_page.html(study)
        with files.replacing(target) as part:
            part.write_text(safe.checked(layout.with_contents(html), "index"))
    current.mark_page(study, current.INDEX, asked, read=trace.read, made={*trace.made, target})
    return target


def main(arguments: list[str]) -> int:
    """Render one page; print one line on failure."""
    parser = argparse.ArgumentParser(prog="python -m medres.report.render", description=__doc__)
    parser.add_argument("notebook", type=Path)
    parser.add_argument("params", type=Path)
    parser.add_argument("--set", nargs="*", default=[], metavar="name=value", dest="given")
    asked = parser.parse_args(arguments)
    return told(lambda: render(asked.notebook, asked.params, _given(asked.notebook, asked.given)))


def told(make_page: Callable[[], Path]) -> int:
    """Make a page and print where it is, or in one line why not; return the exit code."""
    try:
        texts.say(f"medres: wrote {make_page()}")
    except (ValueError, OSError, NotebookError) as error:
        said = " ".join(str(error).split())
        texts.say(f"medres: {said}{_remedy(said)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        # Of the kernel that is gone with it.
        logging.getLogger("asyncio").disabled = True
        texts.say("medres: interrupted; the same command goes on from there", file=sys.stderr)
        return 130
    return 0


def _given(notebook: Path, settings: list[str]) -> dict[str, Any]:
    """Return parameters given as `name=value`; a text is taken as it stands."""
    defaults = studies.notebook_parameters(notebook)
    pairs = [text.partition("=")[::2] for text in settings]
    return {
        name: value if isinstance(defaults.get(name), str) else yaml.safe_load(value)
        for name, value in pairs
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
