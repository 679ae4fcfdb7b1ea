"""Figures of what accuracy costs: what a reader must find in them."""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from medres.report import figures
from medres.results import cascade, frontier, shares

KEY = {"dataset": "drawn", "model": "tiny", "n_questions": 400, "n_groups": 200}


@pytest.fixture(autouse=True)
def theme():
    with plt.rc_context():
        figures.use_theme()
        yield


def make_frontier(names=("low", "native"), trained=("none",), models=("tiny",)) -> pd.DataFrame:
    rows = [
        {
            **KEY, "model": model, "train_resolution": train, "eval_resolution": name,
            "family": frontier.ARMS if len(trained) > 1 else frontier.RUNGS,
            "mean_visual_tokens": 4.0**k, "accuracy": 0.3 + 0.05 * k, "lower": 0.2, "upper": 0.9,
            "verdict": frontier.ON if k == 0 else frontier.DOMINATED,
        }
        for model in models for train in trained for k, name in enumerate(names)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def make_cascades(steps=(("low", "native"),), trained=("none",)) -> pd.DataFrame:
    rows = [
        {
            **KEY, "train_resolution": train, "first": first, "second": second,
            "mean_visual_tokens": 20.0, "accuracy": 0.7, "accuracy_mix": 0.6, "lower": 0.05,
            "upper": 0.15, "tokens_first": 4.0, "accuracy_first": 0.5, "tokens_second": 40.0,
            "accuracy_second": 0.8,
        }
        for train in trained for first, second in steps
    ]  # fmt: skip
    return pd.DataFrame(rows)


def make_curves(found: pd.DataFrame, seeds=(0,)) -> pd.DataFrame:
    key = found[["dataset", "model", "train_resolution", "first", "second"]]
    points = pd.DataFrame({"mean_visual_tokens": [4.0, 44.0], "accuracy": [0.45, 0.75]})
    return key.merge(pd.DataFrame({"seed": seeds}), how="cross").merge(points, how="cross")


def make_shares() -> pd.DataFrame:
    rows = [
        {
            **KEY, "eval_resolution": at, "low_share": share, "accuracy": 0.5, "lower": -0.9,
            "upper": -0.8, "accuracy_lower": 0.4, "accuracy_upper": 0.62,
        }
        for at in ("low", "native") for share in (0.0, 0.1, 1.0)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def words(figure) -> str:
    figure.draw_without_rendering()
    return "\n".join(t.get_text() for t in figure.findobj(Text) if t.get_visible())


def points(ax) -> list[tuple[float, float]]:
    """Return the places of single marks."""
    return [
        (line.get_xdata()[0], line.get_ydata()[0])
        for line in ax.lines
        if len(line.get_xdata()) == 1 and line.get_marker() not in ("", "None", None)
    ]


def intervals(ax) -> list[tuple[float, float]]:
    return [
        tuple(segment[:, 1].round(6)) for bars in ax.collections for segment in bars.get_segments()
    ]


@pytest.mark.parametrize(
    ("draw", "table", "column"),
    [
        (figures.frontier, make_frontier(), "mean_visual_tokens"),
        (lambda t: figures.cascades(t, make_curves(make_cascades())), make_cascades(), "tokens"),
        (figures.shares, make_shares(), "accuracy_lower"),
    ],
)
def test_a_table_that_cannot_be_drawn_is_refused(draw, table, column) -> None:
    missing = "mean_visual_tokens" if column == "tokens" else column
    with pytest.raises(ValueError, match=missing):
        draw(table.drop(columns=missing))
    with pytest.raises(ValueError, match="no rows"):
        draw(table.iloc[:0])


def test_a_frontier_rings_what_is_shown_and_hollows_what_is_dominated() -> None:
    figure = figures.frontier(make_frontier())
    (ax,) = figure.axes
    assert ax.get_xscale() == "log"
    marks = [line for line in ax.lines if len(line.get_xdata()) == 1]
    rings = [line for line in marks if line.get_markersize() == 10]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in rings] == [(1.0, 30.0)]
    hollow = [line for line in marks if line.get_markerfacecolor() == "white"]
    assert [line.get_ydata()[0] for line in hollow] == pytest.approx([35.0])
    assert "native\n(4)" in words(figure)
    assert "not trained" in words(figure)


def test_a_long_ladder_names_tokens_alone_and_keeps_its_labels_apart() -> None:
    names = [f"pixels-{50_176 * 2**k}" for k in range(6)]
    figure = figures.frontier(make_frontier(names))
    figure.draw_without_rendering()
    (ax,) = figure.axes
    labels = [each for each in ax.get_xticklabels() if each.get_text()]
    assert [each.get_text() for each in labels] == ["1", "4", "16", "64", "256", "1,024"]
    boxes = [each.get_window_extent() for each in labels]
    assert not any(one.overlaps(two) for one, two in pairwise(boxes))


def test_each_model_and_train_resolution_is_told_apart() -> None:
    trained = ("low", "native", "mixed", "mixed-25")
    figure = figures.frontier(make_frontier(trained=trained, models=("tiny", "other")))
    assert len(figure.axes) == 2
    said = words(figure)
    assert "drawn (tiny)" in said
    assert "drawn (other)" in said
    assert all(f"trained {name}" in said for name in trained)
    colours = {line.get_color() for line in figure.axes[0].lines if len(line.get_xdata()) > 1}
    assert len(colours) == len(trained)


def test_a_cascade_stands_with_its_interval_above_the_line_of_the_mix() -> None:
    found = make_cascades()
    figure = figures.cascades(found, make_curves(found, seeds=(0, 1)))
    (ax,) = figure.axes
    assert points(ax) == [(20.0, pytest.approx(70.0))]
    # The interval of the gain, set on the mix.
    assert intervals(ax) == [(pytest.approx(65.0), pytest.approx(75.0))]
    dashed = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert [tuple(line.get_ydata()[[0, -1]]) for line in dashed] == [(50.0, 80.0)]
    assert ax.get_xscale() == "linear"
    assert len([line for line in ax.lines if line.get_alpha() == 0.3]) == 2
    assert "low, then native" in words(figure)


def test_each_training_has_a_panel_and_each_step_a_colour() -> None:
    steps = (("pixels-100", "low"), ("low", "native"), ("pixels-100", "native"))
    found = make_cascades(steps, trained=("none", "native"))
    figure = figures.cascades(found, make_curves(found))
    assert len(figure.axes) == 2
    said = words(figure)
    assert "drawn\nnot trained" in said
    assert "drawn\ntrained native" in said
    assert all(f"{first}, then {second}" in said for first, second in steps)
    assert {ax.get_xscale() for ax in figure.axes} == {"log"}
    (key,) = figure.legends
    assert key.get_window_extent().width < figure.bbox.width


def test_a_cascade_without_limits_or_curves_is_drawn_as_a_point() -> None:
    found = make_cascades().assign(lower=np.nan, upper=np.nan)
    figure = figures.cascades(found, pd.DataFrame(columns=cascade.CURVES))
    assert len(points(figure.axes[0])) == 1


def test_shares_stand_at_their_percentages_with_the_intervals_of_accuracies() -> None:
    figure = figures.shares(make_shares())
    (ax,) = figure.axes
    assert ax.get_xticks().tolist() == [0, 10, 100]
    assert set(intervals(ax)) == {(40.0, 62.0)}
    assert "evaluated at native" in words(figure)
    assert set(make_shares()) - set(KEY) <= set(shares.COLUMNS)
