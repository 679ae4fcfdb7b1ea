"""Figures about published percentages: what a reader must find in them."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.text import Text

from medres.published import audit
from medres.report.figures import published, style

CELLS = pd.DataFrame(
    [
        (2, "m", "low→low", "a", "193", audit.A_COUNT),
        (2, "m", "low→native", "a", "193", audit.CUT_OFF),
        (2, "m", "low→low", "b", "2000", audit.NO_COUNT),
        (3, "n", "low→low", "a", "193", audit.A_COUNT),
    ],
    columns=["table", "model", "arm", "dataset", "n_questions", "verdict"],
)
COLUMNS = pd.DataFrame(
    [("x", 193, 193, 3000, 4000, 5000), ("y", 0, 0, 3000, 4000, 5000)],
    columns=["column", "n_questions", "smallest_n", "null_05", "null_50", "null_95"],
)
REACHED = pd.DataFrame(
    [
        ("C1", "a", "50.00", "60.00", "<0.001", 1e-30, 1e-4, 10, 40),
        ("C2", "b", "50.00", "51.00", "", 0.125, 0.9, 4, 570),
        ("C3", "c", "50.00", "33.33", "", np.nan, np.nan, np.nan, np.nan),
    ],
    columns=[
        "claim", "dataset", "first_percent", "second_percent", "stated_p", "p_least", "p_most",
        "differ_least", "differ_most",
    ],
)  # fmt: skip
MIXED = pd.DataFrame(
    [
        (2, "m", train, dataset, gap, True, sd)
        for train, gap in (("low", 0.1), ("mixed", 3.6))
        for dataset, sd in (("a", 0.5), ("b", np.nan))
    ],
    columns=[
        "table", "model", "train_resolution", "dataset", "gap_points", "is_mean", "sd_least_points",
    ],
)  # fmt: skip
LOST = pd.DataFrame(
    [(2, "m", "a", -48.7, -27.45), (2, "m", "b", -32.8, -43.3), (3, "n", "a", -1.0, -2.0)],
    columns=["table", "model", "dataset", "native_at_low_points", "low_at_native_points"],
)
TABLES = {
    "losses": LOST,
    "count_matrix": CELLS,
    "smallest_sizes": COLUMNS,
    "p_ranges": REACHED,
    "mixed_gaps": MIXED,
}


def words(figure: Figure) -> str:
    figure.draw_without_rendering()
    return "\n".join(t.get_text() for t in figure.findobj(Text) if t.get_visible())


@pytest.mark.parametrize("name", TABLES)
def test_a_table_without_a_column_or_a_row_is_refused(name: str) -> None:
    draw, table = getattr(published, name), TABLES[name]
    for column in table:
        with pytest.raises(ValueError, match=f"lacks the columns .*'{column}'.*; it has"):
            draw(table.drop(columns=column))
    with pytest.raises(ValueError, match="has no rows; there is nothing to draw"):
        draw(table.iloc[:0])


def test_matrix_draws_each_cell_once_with_its_verdict() -> None:
    figure = published.count_matrix(CELLS)
    text = words(figure)
    for part in ("Table 2\nm", "Table 3\nn", "a (193)", "b (2,000)", *published.VERDICTS):
        assert part in text
    drawn = [
        (k, *place, line.get_marker(), line.get_markerfacecolor())
        for k, ax in enumerate(figure.axes)
        for line in ax.lines
        if line.get_marker() != "None"
        for place in zip(line.get_xdata(), line.get_ydata(), strict=True)
    ]
    assert sorted(drawn) == [
        (0, 0, 0, "o", "#0072B2"),
        (0, 0, 1, "o", "white"),
        (0, 1, 0, "x", "#A0A0A0"),
        (1, 0, 0, "o", "#0072B2"),
    ]


def test_smallest_sizes_leave_out_what_is_not_known() -> None:
    (ax,) = published.smallest_sizes(COLUMNS).axes
    stated, found = (
        next(line for line in ax.lines if line.get_marker() == marker) for marker in ("D", "o")
    )
    for line in (stated, found):
        assert np.array_equal(line.get_xdata(), [193, np.nan], equal_nan=True)
    (bars,) = [c for c in ax.collections if isinstance(c, LineCollection)]
    assert [segment[:, 0].tolist() for segment in bars.get_segments()] == [[3000, 5000]] * 2


def test_p_ranges_clip_with_an_arrow_and_say_what_is_no_count() -> None:
    figure = published.p_ranges(REACHED)
    text = words(figure)
    for part in ("C1, a\n50.00 → 60.00", "10–40", "4–570", "a percentage is not a count"):
        assert part in text
    (ax,) = figure.axes
    arrows = [line for line in ax.lines if line.get_marker() == "<"]
    assert [line.get_xdata()[0] for line in arrows] == [published.LEAST_P]


def test_mixed_gaps_have_a_bar_only_where_the_deviation_is_known() -> None:
    figure = published.mixed_gaps(MIXED)
    (ax,) = figure.axes
    segments = [np.array(s) for c in ax.collections for s in c.get_segments()]
    bars = [s for s in segments if s.size and np.isfinite(s).all()]
    assert [segment[:, 0].tolist() for segment in bars] == [[-0.5, 0.5]] * 2
    drawn = {line.get_marker(): line for line in ax.lines if line.get_marker() != "None"}
    assert drawn[style.STYLES["mixed"][1]].get_xdata().tolist() == [3.6, 3.6]
    assert "trained mixed" in words(figure)


def test_losses_name_what_is_subtracted_and_draw_both_of_each_data_set() -> None:
    figure = published.losses(LOST)
    first, second = figure.axes
    drawn = {
        line.get_marker(): line.get_xdata().tolist()
        for line in first.lines
        if line.get_marker() != "None"
    }
    low, native = style.STYLES["low"][1], style.STYLES["native"][1]
    assert drawn == {native: [-48.7, -32.8], low: [-27.45, -43.3]}
    assert [label.get_text() for label in first.get_yticklabels()] == ["a", "b"]
    text = words(figure)
    for part in ("native→low minus native→native", "low→native minus low→low", "Table 3\nn"):
        assert part in text
    assert second.get_xlim() == first.get_xlim()
