"""Where the rungs of a ladder are drawn, and what the figure says."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from medres.report import figures
from medres.report.figures.ladder import LABEL_IN, _places


@pytest.fixture(autouse=True)
def theme():
    with plt.rc_context():
        figures.use_theme()
        yield


def test_tokens_far_apart_lie_on_a_log_scale():
    places = _places(np.array([10.0, 100.0, 10_000.0]), 6.0)
    assert places.tolist() == pytest.approx([0, 2, 6])


def test_near_tokens_leave_room_for_their_names_and_the_rest_keeps_its_scale():
    places = _places(np.array([10.0, 11.0, 110.0, 1100.0]), 6.0)
    steps = np.diff(places)
    assert steps[0] == pytest.approx(LABEL_IN)
    assert steps[1] == pytest.approx(steps[2])
    assert places[-1] == pytest.approx(6.0)


@pytest.mark.parametrize(
    "tokens",
    [[256.0] * 4, [np.nan] * 4, [64.0, np.nan, 256.0], [36.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]],
)
def test_without_a_scale_rungs_stand_side_by_side(tokens):
    places = _places(np.array(tokens), 3.0)
    assert np.diff(places).tolist() == pytest.approx([LABEL_IN] * (len(tokens) - 1))


def ladder(*rows):
    columns = "rung mean_visual_tokens verdict is_chosen accuracy lower upper".split()
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(
        dataset="drawn", model="tiny", train_resolution="none", n_questions=100, n_groups=50
    )


BASELINES = pd.DataFrame(
    [("drawn", "majority answer", "", "", 0.5, 0.4, 0.6)],
    columns="dataset baseline model train_resolution accuracy lower upper".split(),
)


def words(figure):
    figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(Text) if text.get_visible()]


def test_the_figure_names_rungs_with_their_tokens_and_rings_the_chosen_one():
    table = ladder(
        ("low", 4.0, "loses more", False, 0.4, 0.3, 0.5),
        ("native", 36.0, "within the margin", True, 0.8, 0.7, 0.9),
    )
    figure = figures.ladder(table, BASELINES, margin=0.05)
    said = words(figure)
    assert {"low\n(4)", "native\n(36)", "chosen", "loses more", "majority answer"} <= set(said)
    (axes,) = figure.axes
    (ring,) = [line for line in axes.lines if line.get_markersize() == 12]
    assert ring.get_xydata().ravel()[1] == pytest.approx(80)
    band = axes.patches[0].get_extents().transformed(axes.transData.inverted())
    assert (band.y0, band.y1) == pytest.approx((75, 80))


def test_the_legend_lies_within_the_figure():
    table = ladder(
        ("low", 4.0, "loses more", False, 0.4, 0.3, 0.5),
        ("pixels-7056", 9.0, "cannot be told", False, 0.6, 0.5, 0.7),
        ("native", 36.0, "within the margin", True, 0.8, 0.7, 0.9),
    )
    figure = figures.ladder(table, BASELINES, margin=0.05)
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width
