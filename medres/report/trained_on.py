"""What `results.retrained` found, as a part of a page."""

from typing import Any

import pandas as pd
from IPython.display import Markdown

from medres.report import figures, page
from medres.results import paired, retrained


def parts(study: str, found: pd.DataFrame) -> list[Any]:
    """Return text, figure and table of the comparisons; nothing if there are none.

    Args:
        study: Name of the study.
        found: As from `retrained.table`.
    """
    if found.empty:
        return []
    return [
        Markdown(retrained.INTRODUCTION),
        page.show_figure(
            study,
            "retrained_differences",
            figures.differences(paired.labelled(found)),
            alt="Forest plot of trainings on such images against others, one row per comparison.",
            caption="In percentage points; arms are written train→eval.",
        ),
        page.show_table(
            study,
            "retrained_comparisons",
            found,
            columns=paired.SHOWN,
            caption="Paired difference of the arms that the statement names.",
        ),
    ]
