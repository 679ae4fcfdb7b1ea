"""Figure of a ladder of sizes: accuracy against what an image costs, and which size suffices."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from medres.report.figures.style import (
    Look,
    Style,
    draw_points,
    legend_keys,
    line_key,
    make_panels,
    plain,
    require,
)
from medres.results.ladder import MORE, PLACE, UNKNOWN, WITHIN, label

STYLES: dict[str, Style] = {
    WITHIN: ("#009E73", "o"),
    MORE: ("#D55E00", "X"),
    UNKNOWN: ("#767676", "s"),
}
BAND = "#cfe0ec"
NEEDED = [*PLACE, "eval_resolution", "verdict", "is_chosen", "accuracy", "lower", "upper"]
LEAST_RATIO = 1.12
"""Costs of two sizes that are drawn are at least in this ratio."""


def accuracy_ladder(ladder: pd.DataFrame, baselines: pd.DataFrame, *, margin: float) -> Figure:
    """Draw accuracy against visual tokens, one panel per data set, model and training.

    The band reaches from the best observed accuracy down by the margin. A ring marks the chosen
    size. Where tokens are not known, pixels are the cost.

    Args:
        ladder: As from `ladder.table`, also as read back from its CSV.
        baselines: As from `doubts.baselines`: a blank image and the majority answer are lines.
        margin: Loss that does not matter, a fraction.
    """
    require(ladder, "ladder", [*NEEDED, "tokens", "pixels", "observed_loss"])
    shown = ladder.assign(place=_titles(ladder))
    panels_of = shown.assign(of=shown["dataset"], dataset=shown["place"], n_unparsable=0)
    is_one = shown["place"].nunique() == 1
    figure, panels = make_panels(
        panels_of,
        panel_in=7.6 if is_one else 4.4,
        height_in=3.5 if is_one else 2.7,
        sharey=True,
    )
    if not is_one:
        figure.get_layout_engine().set(h_pad=0.1)  # type: ignore[union-attr,call-arg]
    for ax, _, rungs in panels:
        _draw(ax, rungs, margin, least_step=1 / 11 if is_one else 1 / 5.5)
        first = rungs.iloc[0]
        for accuracy, line in _levels(first, baselines):
            ax.axhline(100 * accuracy, color="0.2", linestyle=line, linewidth=1, zorder=1)
        ax.set(ylim=(0, 102))
    figure.supylabel("Accuracy (%)", fontsize=9)
    figure.legend(
        handles=_keys(shown, baselines, margin), loc="outside lower center", ncols=4,
        handlelength=2.2,
    )  # fmt: skip
    return figure


def _titles(ladder: pd.DataFrame) -> pd.Series:
    titles = ladder["dataset"].astype(str)
    if ladder["model"].nunique() > 1:
        titles = titles + "\n" + ladder["model"].map(lambda name: str(name).rpartition("/")[2])
    if ladder["train_resolution"].nunique() > 1:
        trained = ladder["train_resolution"].map(
            lambda name: "not trained here" if name == "none" else f"trained at {name}"
        )
        titles = titles + "\n" + trained
    return titles


def _draw(ax: Axes, rungs: pd.DataFrame, margin: float, *, least_step: float) -> None:
    is_pixels = rungs["tokens"].isna().any()
    costs = rungs["pixels" if is_pixels else "tokens"].to_numpy(float)
    places = _apart(costs, least_step)
    best = float((rungs["accuracy"] + rungs["observed_loss"]).iloc[0])
    ax.axhspan(100 * (best - margin), 100 * best, color=BAND, linewidth=0, zorder=0)
    look: Look = {"color": "0.6", "linewidth": 0.9, "zorder": 1.5}
    ax.plot(places, 100 * rungs["accuracy"].to_numpy(float), **look)
    for place, (_, row) in zip(places, rungs.iterrows(), strict=True):
        verdict = str(row["verdict"]) if row["verdict"] in STYLES else WITHIN
        is_hollow = verdict == UNKNOWN
        draw_points(ax, float(place), row.to_frame().T, STYLES[verdict], hollow=is_hollow)
        if row["is_chosen"]:
            ring: Look = {"markersize": 13, "markeredgewidth": 1.6, "zorder": 4}
            ax.plot([place], [100 * row["accuracy"]], "o", color="none", mec="black", **ring)
    numbers = [
        f"{cost:,.0f}" if cost >= 10 or cost == round(cost) else f"{cost:.1f}" for cost in costs
    ]
    names = [plain(label(str(name))) for name in rungs["eval_resolution"]]
    texts = [f"{number}\n{name}" for number, name in zip(numbers, names, strict=True)]
    ax.set_xscale("log")
    ax.set_xticks(places, texts, fontsize=8)
    ax.minorticks_off()
    for tick, is_chosen in zip(ax.get_xticklabels(), rungs["is_chosen"], strict=True):
        tick.set_fontweight("bold" if is_chosen else "normal")
    spread = max(1.25, (places[-1] / places[0]) ** 0.08)
    ax.set(xlim=(places[0] / spread, places[-1] * spread))
    ax.set_xlabel(f"{'Pixels' if is_pixels else 'Visual tokens'} per image (log scale), and size")


def _apart(costs: np.ndarray, least_step: float) -> np.ndarray:
    """Return where rungs are drawn: at their costs, those of nearly equal cost side by side.

    Args:
        costs: Rising.
        least_step: Share of the axis that two rungs are apart at least.
    """
    places = np.maximum(costs.astype(float), 1.0)
    step = max(LEAST_RATIO, float(places.max() / places.min()) ** least_step)
    for at in range(1, len(places)):
        places[at] = max(places[at], places[at - 1] * step)
    return places


def _levels(first: pd.Series, baselines: pd.DataFrame) -> list[tuple[float, str]]:
    here = baselines[baselines["dataset"] == first["of"]]
    majority = here[here["baseline"] == "majority answer"]
    blank = here[
        (here["baseline"] == "blank image")
        & (here["model"] == first["model"])
        & (here["train_resolution"] == first["train_resolution"])
    ]
    return [
        (float(rows["accuracy"].iloc[0]), line)
        for rows, line in ((majority, "--"), (blank, ":"))
        if len(rows)
    ]


def _keys(ladder: pd.DataFrame, baselines: pd.DataFrame, margin: float) -> list[Line2D | Patch]:
    styles = {name: style for name, style in STYLES.items() if ladder["verdict"].eq(name).any()}
    keys: list[Line2D | Patch] = [*legend_keys(styles, linestyle="", hollow=[UNKNOWN])]
    if ladder["is_chosen"].any():
        ring: Look = {"marker": "o", "markersize": 10, "mfc": "none", "mec": "black", "mew": 1.4}
        keys.append(Line2D([], [], ls="", label="chosen", **ring))
    keys.append(Patch(color=BAND, label=f"within {100 * margin:g} points of the best"))
    if baselines["baseline"].eq("majority answer").any():
        keys.append(line_key("majority answer", "--"))
    if baselines["baseline"].eq("blank image").any():
        keys.append(line_key("blank image", ":"))
    return keys
