"""What the pages of a finished study compute: CPU time of their cells, imports left out.

    python -m benchmarks.pages
    python -m benchmarks.pages 05_alignment 11_published_audit --rounds 3
    python -m benchmarks.pages 12_findings --profile

Each page is made in a process of its own, forked from one that has imported what notebooks use and
has drawn an empty figure, so that fonts are read; cells run in IPython, and what they show is
formatted as a kernel would. No page is written, but the tables and figures of `reports/STUDY` are.
Without pages, all reports and the index are timed, with one training and one evaluation. Times are
medians of the rounds. --profile prints where the time of a page goes; --shown keeps what the cells
show in a folder, one file per page, so that two versions can be compared.
"""

import argparse
import cProfile
import importlib
import json
import multiprocessing
import pstats
import statistics
import sys
import time
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
from IPython.core.interactiveshell import InteractiveShell

from medres import study as studies
from medres.report import current, figures, first_page, page

SLOWEST = 3
"""Cells whose times are printed for each page."""


IMPORTED = (
    "inference",
    "inference.check",
    "plan.predictions",
    "report.enlarged",
    "report.examples",
    "report.explorer",
    "report.overview",
    "results.calibration",
    "results.verdicts",
    "training",
)
"""Modules of medres that a notebook imports and this script does not otherwise."""


def main() -> None:
    """Time the pages and print one row for each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("pages", nargs="*", help="stems; without, one of each kind")
    parser.add_argument("--study", default="demo")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--shown", type=Path, help="folder for what the cells show")
    asked = parser.parse_args()
    for name in IMPORTED:
        importlib.import_module(f"medres.{name}")
    study = studies.load(asked.study)
    draw_nothing()
    print("| page | CPU of its cells, s | slowest cells, s |\n|---|---|---|")
    stems = asked.pages or one_of_each(study)
    found: dict[str, list[dict[str, float]]] = {stem: [] for stem in stems}
    for _ in range(asked.rounds):
        for stem, rounds in found.items():
            rounds.append(in_own_process(study, stem, profile=asked.profile, shown=asked.shown))
    for stem, rounds in found.items():
        seconds = statistics.median(sum(each.values()) for each in rounds)
        of_cell = {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
        slowest = sorted(of_cell, key=lambda name: -of_cell[name])[:SLOWEST]
        said = ", ".join(f"{name} {of_cell[name]:.2f}" for name in slowest)
        print(f"| {stem} | {seconds:.2f} | {said} |")


def draw_nothing() -> None:
    """Draw an empty figure, for which matplotlib reads its fonts."""
    figures.use_theme()
    figure, ax = plt.subplots()
    ax.set_title("Nothing", fontweight="bold")
    page._pictures(figure)
    plt.close(figure)


def one_of_each(study: studies.Study) -> list[str]:
    """Return the stems of the first training and evaluation, of all reports, and of the index."""
    cells = [study.cells(stage)[0].page for stage in studies.STAGES]
    return [*cells, *study.reports, current.INDEX]


def in_own_process(
    study: studies.Study, stem: str, *, profile: bool, shown: Path | None
) -> dict[str, float]:
    """Return the CPU seconds of each cell of a page, run in a process of its own."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    child = context.Process(
        target=lambda: there.send(run(study, stem, profile=profile, shown=shown))
    )
    child.start()
    there.close()
    seconds: dict[str, float] = here.recv()
    child.join()
    return seconds


def run(
    study: studies.Study, stem: str, *, profile: bool = False, shown: Path | None = None
) -> dict[str, float]:
    """Run the cells of a page and return the CPU seconds of each."""
    profiler = cProfile.Profile()
    texts: list[str] = []
    with page.traced():
        if stem == current.INDEX:
            began = time.process_time()
            if profile:
                profiler.enable()
            texts.append(first_page.html(study))
            profiler.disable()
            seconds = {"html": time.process_time() - began}
        else:
            seconds = cells_seconds(study, stem, profiler if profile else None, texts)
    if profile:
        pstats.Stats(profiler, stream=sys.stderr).sort_stats("cumulative").print_stats(70)
    if shown is not None:
        shown.mkdir(parents=True, exist_ok=True)
        (shown / f"{stem}.txt").write_text("\n".join(texts))
    return seconds


def cells_seconds(
    study: studies.Study, stem: str, profiler: cProfile.Profile | None, texts: list[str]
) -> dict[str, float]:
    """Return the CPU seconds of each cell of a notebook; what they show is added to `texts`.

    Raises:
        RuntimeError: If a cell fails.
    """
    cell = current.pages_of(study)[stem]
    notebook = studies.notebook_path(stem if cell is None else cell.notebook)
    shell = InteractiveShell.instance()
    shell.display_pub.publish = lambda data, *_, **__: texts.extend(data.values())
    shell.displayhook.write_format_data = lambda data, *_: texts.extend(data.values())
    shell.displayhook.write_output_prompt = shell.displayhook.finish_displayhook = lambda: None
    seconds = {}
    for each in json.loads(notebook.read_text())["cells"]:
        if each["cell_type"] != "code":
            continue
        began = time.process_time()
        if profiler:
            profiler.enable()
        outcome = shell.run_cell("".join(each["source"]))
        if profiler:
            profiler.disable()
        seconds[each["id"]] = time.process_time() - began
        if not outcome.success:
            raise RuntimeError(f"{stem}, cell {each['id']}") from outcome.error_in_exec
        if each["id"] == "parameters":
            shell.user_ns.update(current.settings_of(study, stem, cell))
    return seconds


if __name__ == "__main__":
    main()
