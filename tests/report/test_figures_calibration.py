"""Figures of stated confidence: what a reader must find in them."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from medres.report import figures
from medres.report.figures.calibration import _stated

TRAINS = ("none", "low", "native")


@pytest.fixture(autouse=True)
def theme():
    with plt.rc_context():
        figures.use_theme()
        yield


def make_table(datasets=("drawn",), seeds=("0",)) -> pd.DataFrame:
    keys = [(d, t, e, s) for d in datasets for t in TRAINS for e in ("low", "blank") for s in seeds]
    table = pd.DataFrame(keys, columns=["dataset", "train_resolution", "eval_resolution", "seed"])
    return table.assign(
        model="tiny", n_questions=400, n_groups=200, confidence=0.9, accuracy=0.3,
        overconfidence_lower=0.55, overconfidence_upper=0.66,
        verdict=np.where(table["seed"] == seeds[0], "not decided", ""),
    )  # fmt: skip


def make_curves(datasets=("drawn",), seeds=("0",)) -> pd.DataFrame:
    table = make_table(datasets, seeds).drop(columns="n_questions")
    bins = pd.DataFrame({"bin": range(3), "confidence": (0.5, 0.7, 0.9), "n_questions": 20})
    made = table.drop(columns="confidence").merge(bins, how="cross")
    return made.assign(
        accuracy=0.4, lower=0.3, upper=0.5,
        least_confidence=made["confidence"] - 0.1, most_confidence=made["confidence"] + 0.1,
    )  # fmt: skip


def words(figure) -> str:
    figure.draw_without_rendering()
    return "\n".join(t.get_text() for t in figure.findobj(Text) if t.get_visible())


@pytest.mark.parametrize(
    ("draw", "table", "column"),
    [
        (figures.confidence_gaps, make_table(), "overconfidence_lower"),
        (figures.reliability, make_curves(), "confidence"),
    ],
)
def test_a_table_that_cannot_be_drawn_is_refused(draw, table, column) -> None:
    with pytest.raises(ValueError, match=column):
        draw(table.drop(columns=column))
    with pytest.raises(ValueError, match="no rows"):
        draw(table.iloc[:0])


def test_a_cell_shows_how_sure_and_how_right_it_is() -> None:
    figure = figures.confidence_gaps(make_table())
    said = words(figure)
    for label in ("none→low", "native→blank", "n = 400 questions, 200 groups", "how sure"):
        assert label in said
    (ax,) = figure.axes
    drawn = np.concatenate([line.get_xdata() for line in ax.get_lines()])
    places = set(drawn[np.isfinite(drawn)].round())
    # Sure, right, and the accuracies that the limits of overconfidence leave possible.
    assert {90, 30, 24, 35} <= places


def test_every_training_is_a_point_and_only_the_mean_has_limits() -> None:
    one, three = (
        figures.confidence_gaps(make_table(seeds=seeds)) for seeds in (("0",), ("all", "0", "1"))
    )
    # A line may hold several marks, with gaps between them.
    small = [
        np.isfinite(line.get_xdata()).sum()
        for line in three.axes[0].lines
        if line.get_markersize() == 2.4
    ]
    assert sum(small) == 6 * 2
    for figure in (one, three):
        ends = [
            np.isfinite(line.get_xdata()).sum()
            for line in figure.axes[0].lines
            if line.get_linewidth() == 1.2
        ]
        assert sum(ends) == 6 * 2


def test_cells_without_limits_are_drawn_too() -> None:
    few = make_table().assign(overconfidence_lower=np.nan, overconfidence_upper=np.nan)
    assert "none→low" in words(figures.confidence_gaps(few))
    assert "trained low" in words(figures.reliability(make_curves().assign(lower=np.nan)))


def test_curves_have_a_panel_per_data_set_and_resolution_without_blank() -> None:
    figure = figures.reliability(make_curves(("drawn", "real")))
    said = words(figure)
    assert "drawn\nevaluated at low, n = 60" in said
    assert "real\nevaluated at low" in said
    assert "blank" not in said
    assert "trained native" in said
    curves = make_curves()
    with pytest.raises(ValueError, match="no rows"):
        figures.reliability(curves[curves["eval_resolution"] == "blank"])


def test_shuffled_bins_are_joined_in_order() -> None:
    figure = figures.reliability(make_curves().sample(frac=1, random_state=0))
    joined = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 3]
    assert joined
    for line in joined:
        assert (np.diff(line.get_xdata()) > 0).all()


def test_each_training_has_a_curve_of_its_own() -> None:
    one, two = (figures.reliability(make_curves(seeds=seeds)) for seeds in (("0",), ("0", "1")))
    n = [sum(len(line.get_xdata()) == 3 for line in f.axes[0].lines) for f in (one, two)]
    assert n[1] == 2 * n[0]


def test_a_histogram_holds_every_answer_once() -> None:
    arm = pd.DataFrame(
        {"n_questions": [10, 30], "least_confidence": [0.1, 1.0], "most_confidence": [0.2, 1.0]}
    )
    heights, edges = _stated(arm)
    assert heights.argmax() == 19
    assert heights[19] == 1.0
    assert heights[2:4] == pytest.approx([5 / 30, 5 / 30])
    assert heights.sum() == pytest.approx(40 / 30)
    assert edges[[0, -1]].tolist() == [0, 100]
