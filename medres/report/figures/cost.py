"""Figures of what accuracy costs: the frontier, cascades, and shares of low images in training."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from medres.report.figures.style import (
    LINES,
    STYLES,
    Look,
    draw_points,
    legend,
    legend_keys,
    line_key,
    make_panels,
    plain,
    require,
    styles_of,
)
from medres.results import cascade
from medres.results import frontier as frontiers
from medres.results.grids import place

NAMED_RUNGS = 3
"""With more, ticks give tokens alone."""


def frontier(found: pd.DataFrame) -> Figure:
    """Draw accuracy against visual tokens, a line per train resolution, marked by verdict.

    Args:
        found: As from `results.frontier.table`; of a model with several train resolutions the rows
            that compare all arms.
    """
    require(found, "found", ["mean_visual_tokens", "accuracy", "lower", "upper", "verdict"])
    is_several = found["family"].eq(frontiers.ARMS).groupby([found["dataset"], found["model"]])
    shown = found[found["family"].eq(frontiers.ARMS) | ~is_several.transform("any")]
    shown = shown.assign(dataset=place(shown))
    styles = styles_of(shown["train_resolution"], STYLES)
    figure, panels = make_panels(shown, panel_in=3.6, height_in=2.8, sharey=True)
    for ax, _, rows in panels:
        for k, (train, style) in enumerate(styles.items()):
            arm = rows[rows["train_resolution"] == train].sort_values("mean_visual_tokens")
            # Arms share their tokens: their bars stand beside each other.
            x = arm["mean_visual_tokens"].to_numpy() * 1.06 ** (k - (len(styles) - 1) / 2)
            for at, (_, row) in zip(x, arm.iterrows(), strict=True):
                hollow = row["verdict"] == frontiers.DOMINATED
                draw_points(ax, float(at), row.to_frame().T, style, hollow=hollow)
                if row["verdict"] == frontiers.ON:
                    ring: Look = {"marker": "o", "markersize": 10, "markerfacecolor": "none"}
                    ax.plot(at, 100 * row["accuracy"], color="0.2", zorder=4, **ring)
            look: Look = {"color": style[0], "linestyle": LINES.get(train, "-"), "lw": 1}
            ax.plot(x, 100 * arm["accuracy"].to_numpy(float), alpha=0.7, zorder=1, **look)
        ax.set_xscale("log")
        at_rungs = rows.groupby("eval_resolution")["mean_visual_tokens"].mean().sort_values()
        ax.set_xticks(at_rungs.to_numpy(), _tick_labels(at_rungs))
        ax.minorticks_off()
        low, high = float(at_rungs.min()), float(at_rungs.max())
        ax.set(xlim=(low / 1.5, high * 1.5), ylim=(0, 102))
        ax.set_xlabel("Visual tokens per image, log scale")
    figure.supylabel("Accuracy (%)", fontsize=9)
    named = {cascade.named(name): style for name, style in styles.items()}
    ring = {"marker": "o", "markersize": 10, "markerfacecolor": "none", "color": "0.2"}
    hollow = {"marker": "o", "markersize": 5, "markerfacecolor": "white", "color": "0.2"}
    marks = [
        Line2D([], [], ls="", label="on the frontier, as shown", **ring),
        Line2D([], [], ls="", label="hollow: dominated, as shown", **hollow),
    ]
    legend(figure, [*legend_keys(named), *marks])
    return figure


def _tick_labels(tokens: pd.Series) -> list[str]:
    if len(tokens) > NAMED_RUNGS:
        return [f"{each:,.0f}" for each in tokens]
    return [f"{plain(name)}\n({each:,.0f})" for name, each in tokens.items()]


def cascades(found: pd.DataFrame, curves: pd.DataFrame) -> Figure:
    """Draw every cascade beside its random mix, one panel per data set, model and training.

    Args:
        found: As from `results.cascade.table`, with the cascade as judged on questions not fitted.
        curves: As from `results.cascade.curves`, faint: the questions that fit.
    """
    key = ["dataset", "model", "train_resolution", "first", "second"]
    require(
        found, "found", [*key, "mean_visual_tokens", "accuracy", "accuracy_mix", "lower", "upper"]
    )
    require(curves, "curves", [*key, "seed", "mean_visual_tokens", "accuracy"], empty=True)
    panel = place(found) + "\n" + found["train_resolution"].map(cascade.named)
    shown = found.assign(panel=panel, named=found["first"] + ", then " + found["second"])
    drawn = curves.merge(shown[[*key, "panel", "named"]], on=key)
    shown = shown.assign(dataset=panel)
    styles = styles_of(shown["named"], {})
    figure, panels = make_panels(shown, panel_in=3, height_in=2.7)
    for ax, dataset, rows in panels:
        own = drawn[drawn["panel"] == dataset]
        for row in rows.itertuples():
            colour, marker = styles[row.named]
            for _, curve in own[own["named"] == row.named].groupby("seed"):
                x, y = curve["mean_visual_tokens"], 100 * curve["accuracy"]
                ax.plot(x, y, color=colour, alpha=0.3, lw=1)
            # Straight on a linear axis alone, so that it takes more than its two ends.
            x = np.linspace(row.tokens_first, row.tokens_second, 50)
            y = 100 * np.linspace(row.accuracy_first, row.accuracy_second, 50)
            ax.plot(x, y, "--", color="0.2", lw=1, zorder=2)
            ax.plot(x[[0, -1]], y[[0, -1]], "o", color="0.2", markersize=4, zorder=2)
            limits = [row.accuracy_mix + row.lower, row.accuracy_mix + row.upper]
            point = {"accuracy": row.accuracy, "lower": limits[0], "upper": limits[1]}
            draw_points(ax, row.mean_visual_tokens, pd.DataFrame([point]), (colour, marker))
        if len(rows) > 1:
            ax.set_xscale("log")
            ticks = {float(each) for each in (*rows["tokens_first"], *rows["tokens_second"])}
            ax.set_xticks(sorted(ticks), [f"{each:,.0f}" for each in sorted(ticks)])
            ax.minorticks_off()
        else:
            ax.set_xlim(left=0)
        # Gains are small beside accuracies: not from 0 to 100.
        least, most = ax.get_ylim()
        ax.set(ylim=(max(least, 0), min(most, 102)), xlabel="Visual tokens per question")
    figure.supylabel("Accuracy (%)", fontsize=9)
    keys = [*legend_keys(styles), line_key("one resolution, and the random mix", "--")]
    # Names of steps are long, so that as many stand in a row as their letters have room.
    longest = max(len(str(key.get_label())) for key in keys)
    width_in, height_in = figure.get_size_inches()
    n_columns = max(1, int(13 * width_in / (longest + 8)))
    figure.set_size_inches(width_in, height_in + 0.19 * -(-len(keys) // n_columns))
    figure.legend(handles=keys, loc="outside lower center", ncols=n_columns, handlelength=2.8)
    return figure


def shares(found: pd.DataFrame) -> Figure:
    """Draw accuracy at low and at native inference against the share of low images in training.

    Args:
        found: As from `results.shares.table`.
    """
    limits = {"accuracy_lower": "lower", "accuracy_upper": "upper"}
    require(found, "found", ["dataset", "low_share", "eval_resolution", "accuracy", *limits])
    shown = found.drop(columns=["lower", "upper"], errors="ignore").rename(columns=limits)
    shown = shown.assign(dataset=place(shown))
    figure, panels = make_panels(shown, panel_in=3.6, height_in=2.8, sharey=True)
    for ax, _, rows in panels:
        for shift, at in ((-0.6, "low"), (0.6, "native")):
            arm = rows[rows["eval_resolution"] == at].sort_values("low_share")
            x = 100 * arm["low_share"].to_numpy(float) + shift
            for where, (_, row) in zip(x, arm.iterrows(), strict=True):
                draw_points(ax, float(where), row.to_frame().T, STYLES[at])
            look: Look = {"color": STYLES[at][0], "linestyle": LINES[at], "lw": 1}
            ax.plot(x, 100 * arm["accuracy"].to_numpy(float), alpha=0.7, zorder=1, **look)
        x = 100 * rows["low_share"].unique()
        ax.set_xticks(x)
        ax.set(xlim=(-5, 105), ylim=(0, 102), xlabel="Low images in training (% of questions)")
    figure.supylabel("Accuracy (%)", fontsize=9)
    legend(figure, legend_keys({f"evaluated at {at}": STYLES[at] for at in ("low", "native")}))
    return figure
