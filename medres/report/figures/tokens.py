"""Figure of accuracy against what it costs in visual tokens."""

import pandas as pd
from matplotlib.figure import Figure

from medres.report.figures.style import (
    LINES,
    STYLES,
    Look,
    by_model,
    draw_points,
    legend,
    legend_keys,
    line_key,
    make_panels,
    plain,
    require,
    split_baselines,
    styles_of,
)

_EVALUATED = ("low", "native")


def accuracy_by_tokens(cells: pd.DataFrame, baselines: pd.DataFrame) -> Figure:
    """Draw accuracy against visual tokens per image, a line per train resolution.

    Args:
        cells: As from `grids.over_trainings`; only low and native inference are drawn, whose
            tokens are the model's own (mixed is an average of both, enlarging adds none).
        baselines: As from `grids.baselines`, for the majority answer.
    """
    require(cells, "cells", ["mean_visual_tokens", "accuracy", "lower", "upper"])
    shown = cells[cells["eval_resolution"].isin(_EVALUATED)].assign(seed=0)
    require(shown, "cells evaluated at low or native", [])
    shown, baselines = by_model(shown, baselines)
    _, majority = split_baselines(baselines, shown["dataset"])
    styles = styles_of(shown["train_resolution"], STYLES)
    figure, panels = make_panels(shown, panel_in=3.4, height_in=2.6, sharey=True)
    for ax, dataset, rows in panels:
        for k, (train, style) in enumerate(styles.items()):
            arm = rows[rows["train_resolution"] == train].sort_values("mean_visual_tokens")
            # Arms share their tokens: their bars stand beside each other.
            x = arm["mean_visual_tokens"].to_numpy() * 1.06 ** (k - (len(styles) - 1) / 2)
            for place, (_, row) in zip(x, arm.iterrows(), strict=True):
                draw_points(ax, float(place), row.to_frame().T, style)
            look: Look = {"color": style[0], "linestyle": LINES.get(train, "-"), "lw": 1}
            ax.plot(x, 100 * arm["accuracy"].to_numpy(float), alpha=0.7, zorder=1, **look)
        for accuracy in majority.loc[majority["dataset"] == dataset, "accuracy"].unique():
            ax.axhline(100 * accuracy, color="0.2", linestyle="--", linewidth=0.9, zorder=0)
        ax.set_xscale("log")
        at = rows.groupby("eval_resolution")["mean_visual_tokens"].mean()
        ticks = [(tokens, f"{plain(name)}\n({tokens:,.0f})") for name, tokens in at.items()]
        ax.set_xticks([tokens for tokens, _ in ticks], [label for _, label in ticks])
        ax.minorticks_off()
        low, high = float(at.min()), float(at.max())
        ax.set(xlim=(low / 1.5, high * 1.5), ylim=(0, 102))
        ax.set_xlabel("Evaluated at (visual tokens per image, log scale)")
    figure.supylabel("Accuracy (%)", fontsize=9)
    keys = legend_keys(
        {"not trained" if n == "none" else f"trained {n}": s for n, s in styles.items()}
    )
    legend(figure, [*keys, line_key("majority answer", "--")])
    return figure
