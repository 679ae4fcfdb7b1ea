"""The figure of a ladder: what a reader must find in it."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from medres.report import figures
from medres.report.figures.ladder import COLOURS, MARKERS
from medres.results.choice import LOSES, NO_CHOICE, UNTOLD, WITHIN

COLUMNS = (
    "dataset baseline model train_resolution n_seeds n_questions n_correct accuracy lower upper"
).split()
KEY = {"dataset": "drawn", "model": "tiny", "train_resolution": "none"}


@pytest.fixture(autouse=True)
def theme():
    with plt.rc_context():
        figures.use_theme()
        yield


def rungs(verdicts=(LOSES, UNTOLD, WITHIN), chosen=2, **changed) -> pd.DataFrame:
    n = len(verdicts)
    return pd.DataFrame(
        {
            **KEY,
            "rung": ["low", "pixels-200704", "native"][-n:],
            "verdict": verdicts,
            "accuracy": [0.4, 0.7, 0.8][-n:],
            "lower": 0.35,
            "upper": 0.9,
            "is_chosen": [at == chosen for at in range(n)],
            "mean_visual_tokens": [64.0, 256.0, 1234.0][-n:],
            "n_questions": 100,
            "n_groups": 50,
            **changed,
        }
    )


def baselines(*rows) -> pd.DataFrame:
    """Return baselines of a name, an accuracy and what else differs."""
    usual = {**KEY, "n_seeds": 1, "n_questions": 100, "n_correct": 1, "lower": 0, "upper": 1}
    made = [{**usual, "baseline": name, "accuracy": at, **other} for name, at, other in rows]
    return pd.DataFrame(made, columns=COLUMNS)


def words(figure) -> str:
    figure.draw_without_rendering()
    return "\n".join(t.get_text() for t in figure.findobj(Text) if t.get_visible())


def marks(ax) -> dict[float, list]:
    """Return the marks at each accuracy, rings last."""
    found: dict[float, list] = {}
    for line in ax.lines:
        if len(line.get_xdata()) == 1 and line.get_marker() not in ("", "None", None):
            found.setdefault(round(float(line.get_ydata()[0]), 3), []).append(line)
    return found


def test_every_rung_stands_at_its_accuracy_with_the_look_of_its_verdict():
    figure = figures.ladder(rungs(), baselines(), margin=0.05)
    (ax,) = figure.axes
    found = marks(ax)
    assert sorted(found) == [40, 70, 80]
    for accuracy, verdict in ((40, LOSES), (70, UNTOLD), (80, WITHIN)):
        assert found[accuracy][0].get_marker() == MARKERS[verdict]
        assert found[accuracy][0].get_color() == COLOURS[verdict]
    said = words(figure)
    assert "low\n(64)" in said
    assert "native\n(1,234)" in said
    assert all(name in said for name in (LOSES, UNTOLD, WITHIN, "chosen"))


def test_what_is_chosen_is_ringed_and_nothing_else():
    (ax,) = figures.ladder(rungs(chosen=1), baselines(), margin=0.05).axes
    rings = [line for each in marks(ax).values() for line in each if line.get_markersize() == 12]
    assert [(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in rings] == [
        (pytest.approx(ax.get_xticks()[1]), pytest.approx(70))
    ]
    figure = figures.ladder(rungs(chosen=9), baselines(), margin=0.05)
    (ax,) = figure.axes
    assert not [line for each in marks(ax).values() for line in each if line.get_markersize() == 12]
    assert "chosen" not in words(figure)


@pytest.mark.parametrize("margin", [0.02, 0.05, 0.3])
def test_the_band_is_the_margin_below_the_highest(margin):
    figure = figures.ladder(rungs(), baselines(), margin=margin)
    (ax,) = figure.axes
    (band,) = ax.patches
    low, high = (f(band.get_path().vertices[:, 1]) for f in (np.min, np.max))
    box = band.get_transform().transform([(0, low), (0, high)])
    ends = ax.transData.inverted().transform(box)[:, 1]
    extent = sorted(ends.tolist())
    if hasattr(band, "get_y"):
        extent = [band.get_y(), band.get_y() + band.get_height()]
    assert extent == pytest.approx([80 - 100 * margin, 80])
    assert f"{100 * margin:g} points below the highest" in words(figure)


def test_keys_are_of_verdicts_that_occur():
    said = words(figures.ladder(rungs((WITHIN, WITHIN)), baselines(), margin=0.05))
    assert LOSES not in said
    assert UNTOLD not in said


def test_baselines_are_those_of_the_panel():
    other = {"model": "other"}
    found = baselines(
        ("blank image", 0.3, {}),
        ("blank image", 0.2, other),
        ("blank image", 0.25, {"train_resolution": "low"}),
        ("majority answer", 0.5, {"model": "", "train_resolution": ""}),
        ("majority answer", 0.6, {"dataset": "elsewhere", "model": ""}),
    )
    table = pd.concat([rungs(), rungs().assign(**other)], ignore_index=True)
    figure = figures.ladder(table, found, margin=0.05)
    assert len(figure.axes) == 2
    for ax, blank in zip(figure.axes, (30, 20), strict=True):
        level = {
            line.get_linestyle(): line.get_ydata()[0]
            for line in ax.lines
            if line.get_linestyle() in (":", "--")
        }
        assert level == {":": pytest.approx(blank), "--": pytest.approx(50)}
    said = words(figure)
    assert "drawn (tiny)" in said
    assert "drawn (other)" in said


def test_trainings_are_panels_and_named():
    table = pd.concat([rungs(train_resolution=name) for name in ("low", "native")])
    figure = figures.ladder(table, baselines(), margin=0.05)
    assert len(figure.axes) == 2
    assert "trained low" in words(figure)
    assert "trained native" in words(figure)


def test_unknown_tokens_are_left_out_of_the_labels():
    said = words(figures.ladder(rungs(mean_visual_tokens=np.nan), baselines(), margin=0.05))
    assert "nan" not in said


def test_one_rung_and_a_refusal_can_be_drawn():
    figure = figures.ladder(rungs((NO_CHOICE,), chosen=9), baselines(), margin=0.05)
    assert len(marks(figure.axes[0])) == 1
    figure = figures.ladder(rungs((UNTOLD,) * 3, chosen=9), baselines(), margin=0.05)
    assert len(marks(figure.axes[0])) == 3


@pytest.mark.parametrize("column", ["rung", "verdict", "accuracy", "lower", "upper", "is_chosen"])
def test_a_table_that_cannot_be_drawn_is_refused(column):
    with pytest.raises(ValueError, match=column):
        figures.ladder(rungs().drop(columns=column), baselines(), margin=0.05)
