"""Figures as files: their weight, their bytes, and names that are not what they seem."""

import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from medres.report import figures, layout, page
from tests.report import test_figures, test_figures_published

HOSTILE = '<b>&"x"$a_b$'
ROOT = Path(__file__).resolve().parents[2]
TABLES = test_figures.TABLES | {
    name: (table,) for name, table in test_figures_published.TABLES.items()
}
DRAW_ALL = f"""
import matplotlib, sys
from pathlib import Path
from medres.report import figures, page
from tests.report.{Path(__file__).stem} import TABLES
figures.use_theme()
matplotlib.rcParams["svg.hashsalt"] = "salt"
for name, tables in TABLES.items():
    svg = page._pictures(getattr(figures, name)(*tables))["svg"]
    Path(sys.argv[1], name).write_bytes(svg)
"""


@pytest.fixture(autouse=True)
def theme() -> Iterator[None]:
    with plt.rc_context():
        figures.use_theme()
        yield


def drawn(figure: Figure, kind: str) -> bytes:
    """The bytes of a figure's file."""
    return page._pictures(figure)[kind]


def words(figure: Figure) -> str:
    """All text of a figure's SVG, which has it as text here and not as outlines."""
    with plt.rc_context({"svg.fonttype": "none"}):
        return "\n".join(ElementTree.fromstring(drawn(figure, "svg")).itertext())


@pytest.mark.parametrize("name", [name for name in TABLES if name != "loss_curve"])
def test_a_dollar_in_a_name_is_no_mathematics(name: str) -> None:
    table, *others = (
        each.assign(**{column: HOSTILE for column in ("dataset", "column") if column in each})
        for each in TABLES[name]
    )
    identity = ["dataset", "train_resolution", "eval_resolution", "baseline", "resolution"]
    once = [column for column in [*identity, "visual_tokens"] if column in table]
    table = table.drop_duplicates(once) if "train_resolution" in table else table
    others = [each.drop_duplicates([c for c in identity if c in each]) for each in others]
    text = words(getattr(figures, name)(table, *others))
    assert HOSTILE in text.replace("\n", "")


def test_a_dollar_in_a_comparison_an_arm_or_a_title_is_no_mathematics() -> None:
    comparisons = test_figures.make_comparisons().assign(comparison=HOSTILE)
    assert HOSTILE in words(figures.differences(comparisons))
    grid, baselines = test_figures.make_grid(evals=("low", HOSTILE)), test_figures.make_baselines()
    grid["mean_visual_tokens"] = np.nan
    for draw in (figures.accuracy_grid, figures.grid_heatmap):
        assert HOSTILE in words(draw(grid, baselines))
    cells = test_figures_published.CELLS.assign(arm=HOSTILE, model=HOSTILE)
    assert words(figures.count_matrix(cells)).count(HOSTILE) == 3
    picture = [np.zeros((8, 8, 3), np.uint8)]
    assert HOSTILE in words(figures.image_pairs(picture, picture, [HOSTILE]))


def test_a_data_set_with_a_dollar_is_bold_in_a_forest_plot_as_others_are() -> None:
    figure = figures.differences(test_figures.make_comparisons(("plain", HOSTILE)))
    weights = [tick.get_fontweight() for tick in figure.axes[0].get_yticklabels()]
    assert weights.count("bold") == 2


def test_an_exponent_is_mathematics_still() -> None:
    assert "$" not in words(figures.loss_curve(test_figures.make_log([300.0, 2.0, 1.0])))


@pytest.mark.slow
def test_bytes_do_not_depend_on_the_order_of_a_set(tmp_path: Path) -> None:
    """Squares of the matrix used to be framed in the order of a set of their names."""
    # Under these two seeds a set of low, native and mixed has two orders.
    folders = [tmp_path / seed for seed in ("1", "2")]
    started = []
    for folder in folders:
        folder.mkdir()
        command = [sys.executable, "-c", DRAW_ALL, str(folder)]
        seeded = {**os.environ, "PYTHONHASHSEED": folder.name}
        started.append(subprocess.Popen(command, cwd=ROOT, env=seeded))
    assert [process.wait() for process in started] == [0, 0]
    for name in TABLES:
        first, second = ((folder / name).read_bytes() for folder in folders)
        assert first == second, name


def test_an_svg_does_not_grow_with_the_number_of_images() -> None:
    """It was 1.4 MB for 4,640 images, each a mark of its own."""
    rng = np.random.default_rng(0)
    many = pd.concat([test_figures.make_sizes()] * 500, ignore_index=True)
    many["visual_tokens"] = rng.integers(16, 256, len(many))
    assert len(drawn(figures.size_and_tokens(many), "svg")) < 200_000


def test_a_png_has_the_same_pixels_with_and_without_a_palette() -> None:
    lines, noise = Figure(figsize=(2, 1)), Figure(figsize=(2, 1))
    lines.subplots().plot([0, 1], [1, 0], color="black")
    noise.subplots().imshow(np.random.default_rng(0).random((40, 40, 3)))
    for figure, mode in ((lines, "P"), (noise, "RGB")):
        png = drawn(figure, "png")
        picture, plain = Image.open(io.BytesIO(png)), io.BytesIO()
        figure.savefig(plain, format="png", dpi=page.DPI, bbox_inches="tight")
        assert picture.mode == mode
        expected = np.asarray(Image.open(plain).convert("RGB"))
        np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), expected)
        assert len(png) < len(plain.getvalue())


@pytest.mark.parametrize(("width_in", "is_whole"), [(3, True), (30, False)])
def test_a_png_is_as_wide_as_it_is_shown(project: Path, width_in: float, is_whole: bool) -> None:
    figure = Figure(figsize=(width_in, 2))
    ax = figure.subplots()
    ax.annotate("beside the axes", (1, 0.5), (200, 0), "axes fraction", "offset points")
    shown = page.show_figure("small", "f", figure, alt="", caption="").data
    path = project / "reports" / "small" / "figures" / "f.png"
    width_px, height_px = Image.open(path).size
    assert f'width="{width_px}" height="{height_px}"' in shown
    if is_whole:
        assert width_px > width_in * page.DPI
    else:
        assert page.SHOWN_PX - 16 <= width_px <= page.SHOWN_PX


def test_the_width_of_a_page_is_that_of_its_style() -> None:
    style = (layout.TEMPLATES / "style.css").read_text()
    found = re.search(r"main \{ max-width: (\d+)px; margin: 0 auto; padding: \d+px (\d+)px", style)
    assert found is not None
    assert page.SHOWN_PX == int(found[1]) - 2 * int(found[2])
