"""Figures of a training run."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from medres.report.figures.style import legend, require


def loss_curve(log: pd.DataFrame) -> Figure:
    """Draw training loss, raw and as a running median, above the learning rate.

    Steps without a finite loss leave a gap in the raw line and are counted in the title.
    """
    require(log, "log", ["step", "loss", "learning_rate"])
    log = log.sort_values("step")
    loss = log["loss"].astype(float).replace([np.inf, -np.inf], np.nan)
    window = max(3, len(log) // 40 * 2 + 1)
    median = loss.rolling(window, center=True, min_periods=1).median()
    figure = Figure(figsize=(7.0, 3.8), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot(log["step"], loss, color="0.75", linewidth=0.7, label="as logged")
    upper.plot(log["step"], median, color="black", label=f"running median of {window}")
    if loss.min() > 0 and loss.max() / loss.min() > 20:
        upper.set_yscale("log")
    if loss.isna().any():
        upper.set_title(f"{loss.isna().sum()} of {len(log)} steps have no finite loss", loc="left")
    upper.set_ylabel("Loss (nats per token)")
    highest = log["learning_rate"].max()
    exponent = int(np.floor(np.log10(highest))) if highest > 0 else 0
    lower.plot(log["step"], log["learning_rate"] / 10.0**exponent, color="black", linewidth=1)
    lower.set(xlabel="Optimiser step", ylabel=f"Learning\nrate ($10^{{{exponent}}}$)")
    lower.set_ylim(bottom=0)
    figure.align_ylabels()
    legend(figure, upper.get_lines())
    return figure
