"""Figures 3 to 5 of the paper beside a study's: what a reader must find in them."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from medres.report import figures
from medres.results import as_printed as tables

POINTS = pd.DataFrame(
    [
        ("Published: m", "a", "low", 0.5, np.nan, np.nan),
        ("Published: m", "a", "native", 0.9, np.nan, np.nan),
        ("Published: m", "a", "upsampled-lanczos", 0.8, np.nan, np.nan),
        ("This study: n", "b", "native", 0.7, 0.6, 0.75),
    ],
    columns=["panel", "dataset", "eval_resolution", "accuracy", "lower", "upper"],
)


def words(figure: Figure) -> list[str]:
    figure.draw_without_rendering()
    return [t.get_text() for t in figure.findobj(Text) if t.get_text() and t.get_visible()]


def test_a_table_without_a_column_or_a_row_is_refused() -> None:
    for column in POINTS:
        with pytest.raises(ValueError, match=f"lacks the columns .*'{column}'"):
            figures.as_printed(POINTS.drop(columns=column))
    with pytest.raises(ValueError, match="has no rows; there is nothing to draw"):
        figures.as_printed(POINTS.iloc[:0])


def test_each_panel_has_its_data_sets_and_percents_from_0_to_100() -> None:
    figure = figures.as_printed(POINTS)
    first, second = figure.axes
    assert [ax.get_title(loc="left") for ax in (first, second)] == ["Published: m", "This study: n"]
    assert [t.get_text() for t in first.get_xticklabels()] == ["a"]
    assert [t.get_text() for t in second.get_xticklabels()] == ["b"]
    assert first.get_ylim() == second.get_ylim() == (0, 102)
    assert "Accuracy (%)" in words(figure)


def test_published_points_are_hollow_and_ours_have_their_interval() -> None:
    first, second = figures.as_printed(POINTS).axes
    drawn = [line for line in first.lines if line.get_marker() not in ("", "None")]
    drawn = [line for line in drawn if len(line.get_xdata()) and line.get_ydata()[0] > 1]
    assert sorted(line.get_ydata()[0] for line in drawn) == [50, 80, 90]
    assert {line.get_markerfacecolor() for line in drawn} == {"white"}
    # From left to right: low, enlarged, native.
    assert [x.get_ydata()[0] for x in sorted(drawn, key=lambda x: x.get_xdata()[0])] == [50, 80, 90]
    (bar,) = [seg for c in second.collections for seg in c.get_segments() if np.ptp(seg[:, 1])]
    assert sorted(bar[:, 1]) == pytest.approx([60, 75])


def test_a_filter_looks_the_same_in_every_figure() -> None:
    def look(points: pd.DataFrame) -> tuple[str, str]:
        (legend,) = figures.as_printed(points).legends
        names = [text.get_text() for text in legend.get_texts()]
        handle = legend.legend_handles[names.index("upsampled-lanczos")]
        return handle.get_color(), handle.get_marker()

    more = POINTS.iloc[[0]].assign(eval_resolution="upsampled-nearest")
    assert look(POINTS) == look(pd.concat([more, POINTS], ignore_index=True))


@pytest.mark.parametrize("figure", [3, 4, 5])
def test_the_paper_s_own_figures_can_be_drawn(figure: int) -> None:
    drawn = figures.as_printed(tables.points(figure))
    assert len(drawn.axes) == (2 if figure == 5 else 1)
