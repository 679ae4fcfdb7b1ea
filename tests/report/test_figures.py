"""Figures: what a reader must find in them, whatever the table's size."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from medres.report import figures
from medres.report.figures import style
from medres.report.figures.accuracy import SHADES
from medres.results import paired

TRAINS = ("none", "low", "native", "mixed")
DATASETS = ("phantom-subcellular", "phantom-radiology", "slake")


def make_grid(datasets=DATASETS[:2], seeds=(0,), evals=("native", "low", "mixed")):
    rng = np.random.default_rng(0)
    shape = [(d, t, e, s) for d in datasets for t in TRAINS for e in evals for s in seeds]
    grid = pd.DataFrame(shape, columns=["dataset", "train_resolution", "eval_resolution", "seed"])
    accuracy = rng.uniform(0.2, 0.9, len(grid))
    return grid.assign(
        model="tiny", n_questions=400, n_groups=200, n_correct=0, n_unparsable=0,
        accuracy=accuracy, lower=accuracy - 0.04, upper=accuracy + 0.03, mean_visual_tokens=16.0,
    )  # fmt: skip


def make_baselines(datasets=DATASETS[:2]):
    rows = [(d, "majority answer", "", "", 0.14) for d in datasets]
    rows += [(d, "blank image", "tiny", t, 0.12) for d in datasets for t in TRAINS]
    names = ["dataset", "baseline", "model", "train_resolution", "accuracy"]
    table = pd.DataFrame(rows, columns=names)
    return table.assign(lower=0.1, upper=0.16, n_questions=400)


def make_comparisons(datasets=DATASETS[:2]):
    verdicts = ["supported", "contradicted", "not decided"]
    table = pd.DataFrame(
        [
            (d, f"{v} comparison, with a name of some fifty letters", v)
            for d in datasets
            for v in verdicts
        ],
        columns=["dataset", "comparison", "verdict"],
    )
    return table.assign(
        difference=-0.05, lower=-0.07, upper=-0.02, p_adjusted=0.0004, n_questions=1234
    )


def make_log(losses):
    steps = np.arange(1, len(losses) + 1)
    return pd.DataFrame({"step": steps, "loss": losses, "learning_rate": 1e-5 * steps})


def make_spectra(datasets=DATASETS[:2]):
    rows = [(d, r, f, 1 / f) for d in datasets for r in ("native", "low") for f in (0.1, 0.2, 0.3)]
    return pd.DataFrame(rows, columns=["dataset", "resolution", "frequency_cycles_per_px", "power"])


def make_sizes(datasets=DATASETS[:2]):
    rows = [(d, r, 224, 112, n) for d in datasets for r in ("native", "low") for n in (16, 32, 64)]
    return pd.DataFrame(
        rows, columns=["dataset", "resolution", "width_px", "height_px", "visual_tokens"]
    )


def make_recovery(datasets=DATASETS[:2]):
    names = ("low", "upsampled-bicubic", "native")
    rows = [(d, "tiny", name) for d in datasets for name in names]
    table = pd.DataFrame(rows, columns=["dataset", "model", "eval_resolution"])
    table = table.assign(accuracy=[0.2, 0.5, 0.8] * len(datasets), lower=0.1, upper=0.9)
    mean = pd.DataFrame([("mean of 2 data sets", "tiny", name) for name in names])
    return pd.concat([table, mean.set_axis(table.columns[:3], axis=1)], ignore_index=True)


def recovery_grid(seeds=(0,)):
    grid = make_grid(DATASETS[:2], seeds, ("native", "low", "mixed", "upsampled-bicubic"))
    return grid[grid["train_resolution"] == "native"].reset_index(drop=True)


TABLES = {
    "accuracy_grid": (make_grid(), make_baselines()),
    "grid_heatmap": (make_grid(), make_baselines()),
    "aligned_accuracy": (make_grid(), make_baselines()),
    "differences": (make_comparisons(),),
    "recovery": (make_recovery(), recovery_grid(), make_baselines()),
    "loss_curve": (make_log([3.0, 2.0, 1.0]),),
    "power_spectrum": (make_spectra(),),
    "size_and_tokens": (make_sizes(),),
}
NEEDED = {
    "accuracy_grid": "mean_visual_tokens",
    "grid_heatmap": "accuracy",
    "aligned_accuracy": "lower",
    "differences": "p_adjusted",
    "recovery": "upper",
    "loss_curve": "learning_rate",
    "power_spectrum": "power",
    "size_and_tokens": "width_px",
}


@pytest.fixture(autouse=True)
def theme():
    with plt.rc_context():
        figures.use_theme()
        yield


def words(figure: Figure) -> str:
    """All text a reader sees, once laid out."""
    figure.draw_without_rendering()
    return "\n".join(t.get_text() for t in figure.findobj(Text) if t.get_visible())


def intervals(ax: Axes) -> list[ErrorbarContainer]:
    """Errorbars that hold at least one bar with finite ends."""
    bars = [c for c in ax.containers if isinstance(c, ErrorbarContainer)]
    return [c for c in bars if any(np.isfinite(s).all() and len(s) for s in c[2][0].get_segments())]


def colours(figure: Figure) -> dict[str, tuple[str, str]]:
    lines = figure.legends[0].get_lines()
    return {line.get_label(): (to_hex(line.get_color()), line.get_marker()) for line in lines}


@pytest.mark.parametrize("name", TABLES)
def test_a_missing_column_is_named(name):
    table, *others = TABLES[name]
    with pytest.raises(ValueError, match=NEEDED[name]):
        getattr(figures, name)(table.drop(columns=NEEDED[name]), *others)


@pytest.mark.parametrize("name", TABLES)
def test_an_empty_table_raises(name):
    table, *others = TABLES[name]
    with pytest.raises(ValueError, match="no rows"):
        getattr(figures, name)(table.iloc[:0], *others)


@pytest.mark.parametrize("name", TABLES)
def test_shuffled_rows_fit_the_page_without_pyplot(name):
    table, *others = TABLES[name]
    before = table.copy()
    figure = getattr(figures, name)(table.sample(frac=1, random_state=0), *others)
    figure.draw_without_rendering()
    canvas = FigureCanvasAgg(figure)
    inked = figure.get_tightbbox(canvas.get_renderer())
    width_in, height_in = figure.get_size_inches()
    assert 5 <= width_in <= 9
    assert min(inked.x0, inked.y0, width_in - inked.x1, height_in - inked.y1) > -0.02
    # A pyplot figure would be shown twice by a notebook cell that returns it.
    assert plt.get_fignums() == []
    pd.testing.assert_frame_equal(table, before)


@pytest.mark.parametrize("n_datasets", [1, 2, 3])
@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_accuracy_grid_draws_every_cell_with_its_interval(n_datasets, seeds):
    names = DATASETS[:n_datasets]
    figure = figures.accuracy_grid(make_grid(names, seeds), make_baselines(names))
    assert len(figure.axes) == n_datasets
    text = words(figure)
    assert "Accuracy (%)" in text
    assert text.count("n = 400 questions, 200 groups") == n_datasets
    for ax in figure.axes:
        segments = sum(len(bar[2][0].get_segments()) for bar in intervals(ax))
        assert segments == 4 * 3 * len(seeds) + 4  # every seed of every cell, and four blank images
        labels = [label.get_text() for label in ax.get_xticklabels()]
        assert labels == ["low\n(16)", "native\n(16)", "mixed\n(16)", "blank\nimage"]


def test_accuracy_grid_shows_percent_at_the_right_place():
    grid = make_grid(DATASETS[:1], evals=("low",))
    grid.loc[grid["train_resolution"] == "native", ["accuracy", "lower", "upper"]] = (
        0.93,
        0.9,
        0.95,
    )
    ax = figures.accuracy_grid(grid, make_baselines(DATASETS[:1])).axes[0]
    points = [p for line in ax.lines if line.get_marker() == "o" for p in line.get_ydata()]
    assert points == pytest.approx([93, 12])  # evaluated at low, then the blank image
    bars = [b[2][0] for b in intervals(ax) if to_hex(b[2][0].get_color()[0]) == "#0072b2"]
    assert bars[0].get_segments()[0][:, 1] == pytest.approx([90, 95])


@pytest.mark.parametrize("evals", [("low", "native"), ("low", "native", "mixed")])
def test_labels_of_neighbouring_panels_do_not_meet(evals):
    names = [f"set {number}" for number in range(10)]
    figure = figures.accuracy_grid(make_grid(names, evals=evals), make_baselines().iloc[:0])
    FigureCanvasAgg(figure).draw()
    boxes = [ax.xaxis.label.get_window_extent() for ax in figure.axes]
    assert len(boxes) == len(names)
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


def test_unknown_resolutions_follow_the_known_ones():
    grid = make_grid(DATASETS[:1], evals=("upsampled-bilinear", "native", "scale-0.5", "low"))
    ax = figures.accuracy_grid(grid, make_baselines().iloc[:0]).axes[0]
    labels = [label.get_text().replace("\n(16)", "") for label in ax.get_xticklabels()]
    assert labels == ["low", "native", "upsampled-\nbilinear", "scale-\n0.5"]


def test_unparsable_answers_are_said():
    grid = make_grid().assign(n_unparsable=7)
    assert "up to 7 unparsable" in words(figures.accuracy_grid(grid, make_baselines()))
    assert words(figures.grid_heatmap(grid, make_baselines())).count("\n7 unparsable") == 24


@pytest.mark.parametrize("name", ["accuracy_grid", "grid_heatmap", "aligned_accuracy"])
def test_several_models_have_a_panel_each(name):
    grid, baselines = make_grid(), make_baselines()
    grid = pd.concat([grid, grid.assign(model="large")], ignore_index=True)
    is_blank = baselines["baseline"] == "blank image"
    large = baselines[is_blank].assign(model="large", accuracy=0.99)
    figure = getattr(figures, name)(grid, pd.concat([baselines, large], ignore_index=True))
    text = words(figure)
    for dataset in DATASETS[:2]:
        assert text.count(f"{dataset}\ntiny") == text.count(f"{dataset}\nlarge") == 1
    width_in, height_in = figure.get_size_inches()
    inked = figure.get_tightbbox(FigureCanvasAgg(figure).get_renderer())
    assert min(inked.x0, inked.y0, width_in - inked.x1, height_in - inked.y1) > -0.02


def test_a_panel_shows_the_blank_images_of_its_own_model():
    grid, baselines = make_grid(DATASETS[:1]), make_baselines(DATASETS[:1])
    grid = pd.concat([grid, grid.assign(model="large")], ignore_index=True)
    large = baselines[baselines["model"] == "tiny"].assign(model="large", accuracy=0.9)
    figure = figures.accuracy_grid(grid, pd.concat([baselines, large], ignore_index=True))
    for ax, expected in zip(figure.axes, (12, 90), strict=True):
        hollow = [line for line in ax.lines if line.get_markerfacecolor() == "white"]
        assert {float(y) for line in hollow for y in line.get_ydata()} == {expected}
        assert sum(line.get_linestyle() == "--" and line.get_color() == "0.2" for line in ax.lines)


def test_trainings_and_verdicts_are_told_apart_without_colour():
    legend = figures.accuracy_grid(make_grid(), make_baselines()).legends[0].get_lines()
    assert len({(line.get_linestyle(), line.get_marker()) for line in legend}) == len(legend) == 5
    assert len(set(style.LINES.values())) == len(style.LINES) == len(TRAINS)
    markers = {marker for _, marker in style.VERDICT_STYLES.values()}
    assert len(markers) == len(style.VERDICT_STYLES)


def test_a_repeated_cell_raises():
    grid = make_grid()
    with pytest.raises(ValueError, match="grid repeats a cell"):
        figures.grid_heatmap(pd.concat([grid, grid]), make_baselines())


def test_unknown_baseline_raises():
    with pytest.raises(ValueError, match="guess"):
        figures.accuracy_grid(make_grid(), make_baselines().assign(baseline="guess"))


def test_heatmap_outlines_the_aligned_squares_and_says_intervals():
    figure = figures.grid_heatmap(
        make_grid().assign(accuracy=0.93, lower=0.9, upper=0.95), make_baselines()
    )
    label = "Evaluated at\n(majority answer 14.0 %)"
    panels = [ax for ax in figure.axes if ax.get_xlabel() == label]
    assert len(panels) == 2
    assert words(figure).count("93.0 %\n[90.0, 95.0]") == 24
    for ax in panels:
        corners = [p.get_xy() for p in ax.patches if isinstance(p, Rectangle)]
        assert sorted((int(x), int(y)) for x, y in corners) == [(0, 1), (1, 2), (2, 3)]


def test_heatmap_says_the_range_of_seeds():
    grid = make_grid(DATASETS[:1], seeds=(0, 1)).assign(accuracy=0.5)
    grid.loc[grid["seed"] == 1, "accuracy"] = 0.6
    text = words(figures.grid_heatmap(grid, make_baselines()))
    assert text.count("55.0 %\n2 seeds\n50.0–60.0") == 12


def contrast(first, second):
    """Ratio of two colours as WCAG 2 defines it, channel by channel."""

    def luminance(colour):
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    lighter, darker = sorted((luminance(to_rgb(c)) for c in (first, second)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_ink_can_be_read_on_every_colour():
    # WCAG's own examples: the lightest grey that white text may stand on, and one too light.
    assert contrast("white", "#767676") == pytest.approx(4.54, abs=0.005)
    assert contrast("white", "#777777") == pytest.approx(4.48, abs=0.005)
    for grey, expected in (("black", 0), ("white", 1), ("#808080", 0.2158605)):
        assert style.relative_luminance(grey) == pytest.approx(expected)
    shades = [SHADES(k) for k in range(256)]
    for colour in [*shades, *np.random.default_rng(0).random((2000, 3))]:
        assert contrast(style.ink_on(colour), colour[:3]) >= 4.5
    assert {style.ink_on(colour) for colour in shades} == {"#000000", "#ffffff"}


def test_the_squares_of_a_heatmap_are_written_in_that_ink():
    grid = make_grid(DATASETS[:1])
    ax = figures.grid_heatmap(grid, make_baselines()).axes[0]
    assert len(ax.texts) == 12 + 1  # and the note of counts
    for text in ax.texts[1:]:
        train, asked = (
            axis[int(place)]
            for axis, place in (
                (TRAINS, text.get_position()[1]),
                (("low", "native", "mixed"), text.get_position()[0]),
            )
        )
        cell = (grid["train_resolution"] == train) & (grid["eval_resolution"] == asked)
        accuracy = grid.loc[cell, "accuracy"].item()
        assert text.get_text().startswith(f"{100 * accuracy:.1f} %")
        assert contrast(text.get_color(), SHADES(accuracy)[:3]) >= 4.5


def test_heatmap_leaves_a_missing_cell_empty():
    grid = make_grid(DATASETS[:1])
    grid = grid[~((grid["train_resolution"] == "none") & (grid["eval_resolution"] == "low"))]
    assert words(figures.grid_heatmap(grid, make_baselines())).count(" %\n") == 11


@pytest.mark.parametrize("n_datasets", [1, 3])
def test_aligned_accuracy_has_two_points_a_dataset(n_datasets):
    names = DATASETS[:n_datasets]
    figure = figures.aligned_accuracy(make_grid(names), make_baselines(names))
    (ax,) = figure.axes
    assert len(intervals(ax)) == 2 * n_datasets
    assert "Accuracy (%)" in words(figure)
    assert "n = 400 questions" in words(figure)


def test_aligned_accuracy_without_an_aligned_cell_raises():
    grid = make_grid()
    with pytest.raises(ValueError, match="neither"):
        figures.aligned_accuracy(grid[grid["train_resolution"] == "none"], make_baselines())


def test_colour_and_marker_of_a_resolution_are_the_same_everywhere():
    grid = colours(figures.accuracy_grid(make_grid(), make_baselines()))
    aligned = colours(figures.aligned_accuracy(make_grid(), make_baselines()))
    spectrum = colours(figures.power_spectrum(make_spectra()))
    for name in ("low", "native"):
        assert grid[f"trained {name}"] == aligned[f"{name} / {name}"]
        assert grid[f"trained {name}"][0] == spectrum[name][0]
    assert len(set(grid.values())) == len(grid)
    assert len({marker for _, marker in style.STYLES.values()}) == 4


def test_a_resolution_missing_from_the_table_does_not_shift_the_colours():
    grid = make_grid()
    some = grid[grid["train_resolution"].isin(["mixed", "low"])]
    whole = colours(figures.accuracy_grid(grid, make_baselines().iloc[:0]))
    assert colours(figures.accuracy_grid(some, make_baselines().iloc[:0])).items() <= whole.items()


def test_nan_limits_leave_the_point_without_an_interval():
    grid = make_grid().assign(lower=np.nan, upper=np.nan)
    figure = figures.accuracy_grid(grid, make_baselines().iloc[:0])
    words(figure)
    assert intervals(figure.axes[0]) == []
    assert "nan" not in words(figures.grid_heatmap(grid, make_baselines()))
    words(figures.aligned_accuracy(grid, make_baselines()))
    table = make_comparisons().assign(lower=np.nan, upper=np.nan, p_adjusted=np.nan)
    assert "−5.0 [–, –]" in words(figures.differences(table))


def test_an_interval_that_does_not_hold_its_point_is_drawn_as_it_is():
    # matplotlib's errorbar refuses a negative length; a bootstrap interval may miss its point.
    grid = make_grid(DATASETS[:1]).assign(accuracy=0.5, lower=0.51, upper=0.6)
    ax = figures.accuracy_grid(grid, make_baselines().iloc[:0]).axes[0]
    assert intervals(ax)[0][2][0].get_segments()[0][:, 1] == pytest.approx([51, 60])


def test_differences_says_points_p_and_counts():
    figure = figures.differences(make_comparisons())
    (ax,) = figure.axes
    text = words(figure)
    assert len(intervals(ax)) == 6
    assert text.count("−5.0 [−7.0, −2.0]") == 6
    assert text.count("< 0.001") == 6
    assert text.count("1,234") == 6
    assert "percentage points" in text
    assert list(colours(figure)) == ["supported", "contradicted", "not decided"]
    bold = [t.get_text() for t in ax.get_yticklabels() if t.get_fontweight() == "bold"]
    assert bold == list(DATASETS[:2])


def small_dots(ax):
    return [line for line in ax.lines if line.get_markersize() == 3]


def test_differences_show_each_training_below_their_interval():
    alone = make_comparisons().assign(differences_by_training=[(-0.05,)] * 6)
    for table in (make_comparisons(), alone):
        figure = figures.differences(table)
        assert small_dots(figure.axes[0]) == []
        assert "one training" not in words(figure)
    table = make_comparisons()
    gains = [(-0.01 * k, -0.09, 0.02) for k in range(6)]
    figure = figures.differences(table.assign(differences_by_training=gains))
    (ax,) = figure.axes
    drawn = [line.get_xdata().tolist() for line in small_dots(ax)]
    assert drawn == [pytest.approx([-k, -9, 2]) for k in range(6)]
    points = [line for line in ax.lines if line.get_markersize() == 5]
    for dots, point in zip(small_dots(ax), points, strict=True):
        assert set(dots.get_ydata()) == {point.get_ydata()[0] + 0.5}
        assert to_hex(dots.get_color()) == to_hex(point.get_color())
    assert len(intervals(ax)) == 6  # of the combination alone
    assert "one training" in words(figure)


def test_differences_say_what_is_subtracted():
    said = ["native→low minus native→native", "native→upsampled-bicubic minus low→low"]
    compared = pd.DataFrame({"compared": said}).assign(dataset="d", model="m")
    table = make_comparisons().iloc[:2].drop(columns=["dataset", "comparison"])
    text = words(figures.differences(paired.labelled(compared).join(table)))
    assert "\nnative→low minus native→native\n" in text
    assert "\nnative→upsampled-bicubic\nminus low→low\n" in text
    assert "the arm after “minus” is subtracted" in text
    two = "(native→low minus native→native) minus (low→native minus low→low)"
    text = words(figures.differences(paired.labelled(compared.assign(compared=two)).join(table)))
    assert text.count("(native→low minus native→native)\nminus (low→native minus low→low)") == 2
    long = compared.assign(compared="native→upsampled-lanczos minus native→upsampled-bicubic")
    text = words(figures.differences(paired.labelled(long).join(table)))
    assert text.count("native→upsampled-lanczos\nminus native→upsampled-bicubic") == 2


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
@pytest.mark.parametrize("n_unparsable", [0, 1234])
def test_what_is_written_in_a_square_stays_within_it(seeds, n_unparsable):
    """The range of several seeds used to run into the squares beside it."""
    grid = make_grid(DATASETS[:2], seeds).assign(n_unparsable=n_unparsable)
    figure = figures.grid_heatmap(grid, make_baselines())
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    panels = [ax for ax in figure.axes if ax.get_xlabel().startswith("Evaluated")]
    assert len(panels) == 2
    for ax in panels:
        for text in ax.texts[1:]:
            x, y = (int(place) for place in text.get_position())
            square = ax.transData.transform([(x, y), (x + 1, y + 1)])
            inked = text.get_window_extent(renderer)
            assert square[:, 0].min() <= inked.x0 <= inked.x1 <= square[:, 0].max()
            assert square[:, 1].min() <= inked.y0 <= inked.y1 <= square[:, 1].max()


def test_whatever_is_undecided_is_hollow():
    names = [
        "supported",
        "not decided",
        "not decided beyond these weights",
        "too few groups to decide",
    ]
    table = pd.concat([make_comparisons().iloc[:1]] * 4).assign(verdict=names)
    figure = figures.differences(table)
    keys = figure.legends[0].get_lines()
    assert [key.get_label() for key in keys] == names
    assert [key.get_markerfacecolor() == "white" for key in keys] == [False, True, True, True]
    assert len({key.get_marker() for key in keys}) == 4


def test_recovery_draws_the_rows_of_the_table_in_order():
    figure = figures.recovery(make_recovery(), recovery_grid(), make_baselines())
    assert len(figure.axes) == 2
    text = words(figure)
    assert text.count("n = 400 questions, 200 groups") == 2
    assert "mean of" not in text
    assert "trained native" in text
    assert "one training" not in text
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["low", "upsampled-bicubic", "native"]
    for ax in figure.axes:
        points = [line for line in ax.lines if line.get_markersize() == 5]
        assert [line.get_xdata()[0] for line in points] == pytest.approx([20, 50, 80])
        assert [line.get_ydata()[0] for line in points] == [0, 1, 2]
        ends = [bar[2][0].get_segments()[0][:, 0].tolist() for bar in intervals(ax)]
        assert ends == [pytest.approx([10, 90])] * 3
        assert {"20.0", "50.0", "80.0"} <= {note.get_text() for note in ax.texts}
        dashed = [x for x in ax.lines if x.get_linestyle() == "--"]
        assert [line.get_xdata()[0] for line in dashed] == pytest.approx([14])


def test_recovery_shows_each_training_beside_one_interval():
    grid = recovery_grid((0, 1, 2))
    figure = figures.recovery(make_recovery(), grid, make_baselines())
    ax = figure.axes[0]
    assert len(intervals(ax)) == 3
    trained = grid[grid["dataset"] == DATASETS[0]]
    for dots, name in zip(small_dots(ax), ("low", "upsampled-bicubic", "native"), strict=True):
        expected = 100 * trained.loc[trained["eval_resolution"] == name, "accuracy"]
        assert dots.get_xdata().tolist() == pytest.approx(expected.tolist())
    assert "one training" in words(figure)


def test_recovery_of_several_models_has_a_panel_each():
    grid = pd.concat([recovery_grid(), recovery_grid().assign(model="large")])
    table = pd.concat([make_recovery(), make_recovery().assign(model="large", accuracy=0.4)])
    figure = figures.recovery(table, grid, make_baselines())
    assert len(figure.axes) == 4
    assert f"{DATASETS[0]}\nlarge" in words(figure)


def test_recovery_of_several_train_resolutions_raises():
    with pytest.raises(ValueError, match=r"\['none', 'low', 'native', 'mixed'\]; give the cells"):
        figures.recovery(make_recovery(), make_grid(), make_baselines())


def test_a_figure_of_several_seeds_shows_the_interval_of_each():
    """The mean of limits is no limit: it belongs to no interval of that coverage."""
    grid = make_grid(DATASETS[:1], (0, 1, 2))
    grid["lower"] -= 0.01 * grid["seed"]
    for figure in (
        figures.accuracy_grid(grid, make_baselines().iloc[:0]),
        figures.aligned_accuracy(grid, make_baselines().iloc[:0]),
    ):
        axis = int(figure.axes[0].get_xlabel() != "Accuracy (%)")
        ends = [
            tuple(segment[:, axis].round(6))
            for bar in intervals(figure.axes[0])
            for segment in bar[2][0].get_segments()
        ]
        own = {
            (round(100 * a, 6), round(100 * b, 6))
            for a, b in zip(grid["lower"], grid["upper"], strict=True)
        }
        assert len(ends) == len(set(ends)) == (36 if axis else 6)
        assert set(ends) <= own


def test_loss_is_logarithmic_only_when_it_spans():
    assert figures.loss_curve(make_log([3.0, 2.0, 1.0])).axes[0].get_yscale() == "linear"
    assert figures.loss_curve(make_log([3.0, 0.3, 0.03])).axes[0].get_yscale() == "log"


def test_a_loss_that_is_not_finite_is_counted():
    figure = figures.loss_curve(make_log([3.0, np.nan, np.inf, 1.0]))
    assert "2 of 4 steps have no finite loss" in words(figure)


def test_image_pairs_share_the_field_of_view():
    native = [np.zeros((64, 80, 3), np.uint8)] * 2
    low = [np.zeros((16, 20, 3), np.uint8)] * 2
    figure = figures.image_pairs(native, low, ["nucleus", "actin"])
    assert [ax.images[0].get_extent() for ax in figure.axes] == [[0, 80, 64, 0]] * 4
    assert [ax.images[0].get_interpolation() for ax in figure.axes[2:]] == ["nearest"] * 2
    text = words(figure)
    assert text.count("80 × 64 px") == 2
    assert text.count("20 × 16 px") == 2
    with pytest.raises(ValueError, match=r"\(2, 1, 2\)"):
        figures.image_pairs(native, low[:1], ["nucleus", "actin"])


def test_enlarged_images_share_the_field_of_view_and_its_crop():
    sizes = {"low": (16, 20), "upsampled-lanczos": (64, 80), "native": (64, 80)}
    images = {name: np.zeros((*size, 3), np.uint8) for name, size in sizes.items()}
    figure = figures.enlarged_images(images, (0.5, 0.25, 0.25, 0.25))
    whole, crops = figure.axes[:3], figure.axes[3:]
    assert [ax.images[0].get_extent() for ax in figure.axes] == [[0, 80, 64, 0]] * 6
    assert [(ax.get_xlim(), ax.get_ylim()) for ax in crops] == [((40, 60), (32, 16))] * 3
    for ax in whole:
        assert {patch.get_bbox().bounds for patch in ax.patches} == {(40, 16, 20, 16)}
    assert [ax.images[0].get_interpolation() for ax in crops] == ["nearest"] * 3
    assert whole[0].images[0].get_interpolation() == "nearest"
    text = words(figure)
    assert text.count("80 × 64 px") == 2
    assert text.count("20 × 16 px") == 1
    assert "upsampled-\nlanczos" in text
    with pytest.raises(ValueError, match="images is empty"):
        figures.enlarged_images({}, (0, 0, 1, 1))


def test_seen_images_are_cut_where_the_model_cuts_them():
    images = {"low": np.zeros((56, 112, 3), np.uint8), "tiles-4": np.zeros((896, 448, 3), np.uint8)}
    tiles = {"low": (1, 1), "tiles-4": (2, 4)}
    figure = figures.seen_images(
        images, tiles, {"low": "4 tokens", "tiles-4": "2 x 4\n2,304 tokens"}
    )
    low, cut = figure.axes
    assert [ax.images[0].get_extent() for ax in figure.axes] == [[0, 112, 56, 0], [0, 448, 896, 0]]
    assert not low.lines
    borders = {tuple(np.ravel(line.get_data())) for line in cut.lines}
    down, across = {(224, 224, 0, 1)}, {(0, 1, y, y) for y in (224, 448, 672)}
    assert borders == down | across
    assert [ax.images[0].get_interpolation() for ax in figure.axes] == ["nearest", "auto"]
    assert "2 x 4\n2,304 tokens" in words(figure)
    assert "tiles-4" in words(figure)
    with pytest.raises(ValueError, match="give one of each per resolution"):
        figures.seen_images(images, {"low": (1, 1)}, dict.fromkeys(images, ""))
    with pytest.raises(ValueError, match="give one of each per resolution"):
        figures.seen_images({}, {}, {})


def test_power_spectrum_marks_the_nyquist_limit():
    def limits(figure):
        lines = [[x for x in ax.lines if x.get_linestyle() == ":"] for ax in figure.axes]
        return [line.get_xdata()[0] for panel in lines for line in panel]

    spectra = make_spectra()
    by_dataset = spectra["dataset"].map({DATASETS[0]: 0.125, DATASETS[1]: 0.25})
    in_column = spectra.assign(low_nyquist_cycles_per_px=by_dataset)
    assert limits(figures.power_spectrum(in_column)) == [0.125, 0.25]
    assert limits(figures.power_spectrum(spectra, 0.2)) == [0.2, 0.2]
    without = figures.power_spectrum(spectra)
    assert limits(without) == []
    assert "Nyquist" not in words(without)
    assert without.axes[0].get_yscale() == "log"
    assert "cycles per native px" in words(without)


def test_size_and_tokens_has_a_row_for_each_dataset_and_resolution():
    figure = figures.size_and_tokens(make_sizes(DATASETS))
    (ax,) = figure.axes
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == [f"{dataset}, {name}" for dataset in DATASETS for name in ("low", "native")]
    assert ax.get_xscale() == "log"
    text = words(figure)
    assert text.count("224 × 112 px") == 6
    assert "Visual tokens per image" in text


LONG = ("low-lanczos", "upsampled-bilinear", "upsampled-bicubic", "upsampled-lanczos")


@pytest.mark.parametrize(
    "names", [LONG, ("low", "native", *LONG, "low-then-upsampled-bilinear"), LONG[:1]]
)
def test_a_legend_of_long_names_stays_within_the_figure(names):
    rows = make_grid(DATASETS[:1], (0,), ("low", "native")).drop_duplicates("eval_resolution")
    grid = pd.concat([rows.assign(train_resolution=name) for name in names], ignore_index=True)
    figure = figures.accuracy_grid(grid, make_baselines(DATASETS[:1]))
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1


def test_two_long_arms_take_two_lines():
    arms = "upsampled-lanczos→upsampled-lanczos minus upsampled-bilinear→upsampled-bilinear"
    table = make_comparisons().head(1).assign(comparison=arms)
    labels = [each.get_text() for each in figures.differences(table).axes[0].get_yticklabels()]
    assert arms.replace(" minus", "\nminus") in labels
