"""Tables as HTML, with the headings and number formats that readers expect."""

import html
from collections.abc import Callable, Sequence

import pandas as pd

from medres.results.numbers import p_text


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _points(value: float) -> str:
    return f"{100 * value:+.1f}"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _ratio(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}" if value < 1 else f"{value:.1f}"


FORMATS: dict[str, tuple[str, Callable[[float], str]]] = {
    "accuracy": ("accuracy (%)", _percent),
    "accuracy_first": ("accuracy of first arm (%)", _percent),
    "accuracy_second": ("accuracy of second arm (%)", _percent),
    "accuracy_log_probability": ("most probable option (%)", _percent),
    "accuracy_per_token": ("most probable option per token (%)", _percent),
    "accuracy_strict": ("rule strict (%)", _percent),
    "accuracy_paper": ("rule paper (%)", _percent),
    "n_unparsable": ("unparsable", _count),
    "n_per_token_log_probability": (
        "per token vs most probable option: verdicts that differ",
        _count,
    ),
    "n_strict_log_probability": ("strict vs most probable option: verdicts that differ", _count),
    "n_paper_log_probability": ("paper vs most probable option: verdicts that differ", _count),
    "n_paper_strict": ("paper vs strict: verdicts that differ", _count),
    "n_order": ("rule paper: verdict depends on order of names", _count),
    "n_yes_no": ("yes/no questions", _count),
    "n_closed_flag": ("questions marked CLOSED", _count),
    "yes_no": ("yes/no (%)", _percent),
    "closed_flag": ("marked CLOSED (%)", _percent),
    "open_exact": ("open, exact match (%)", _percent),
    "open_recall": ("open, recall (%)", _percent),
    "open_f1": ("open, F1 (%)", _percent),
    "open_substring": ("open, substring match (%)", _percent),
    "overall": ("all, open by exact match (%)", _percent),
    "published": ("published (%)", _percent),
    "over_published": ("ours minus published (points)", _points),
    "lower": ("lower limit (%)", _percent),
    "upper": ("upper limit (%)", _percent),
    "difference": ("difference (points)", _points),
    "detectable_difference": ("detectable difference, 80 % power (points)", _percent),
    "margin": ("margin (points)", _percent),
    "share_of_native": ("share of native accuracy (%)", _percent),
    "p_value": ("p", p_text),
    "p_adjusted": ("adjusted p", p_text),
    "p_mcnemar": ("McNemar p", p_text),
    "mean_visual_tokens": ("visual tokens, mean", lambda value: f"{value:.1f}"),
    "questions_per_image": ("questions per image", lambda value: f"{value:.1f}"),
    "odds_ratio": ("odds ratio", _ratio),
    "ratio_lower": ("lower limit", _ratio),
    "ratio_upper": ("upper limit", _ratio),
    "confidence": ("mean stated confidence (%)", _percent),
    "least_confidence": ("lowest confidence (%)", _percent),
    "most_confidence": ("highest confidence (%)", _percent),
    "overconfidence": ("overconfidence (points)", _points),
    "overconfidence_lower": ("overconfidence, lower limit (points)", _points),
    "overconfidence_upper": ("overconfidence, upper limit (points)", _points),
    "calibration_error": ("calibration error (points)", _percent),
    "calibration_error_lower": ("calibration error, lower limit (points)", _percent),
    "calibration_error_upper": ("calibration error, upper limit (points)", _percent),
    "error_before": ("error before (points)", _percent),
    "error_before_lower": ("error before, lower limit (points)", _percent),
    "error_before_upper": ("error before, upper limit (points)", _percent),
    "error_after": ("error after (points)", _percent),
    "error_after_lower": ("error after, lower limit (points)", _percent),
    "error_after_upper": ("error after, upper limit (points)", _percent),
    "seconds": ("time (s)", lambda value: f"{value:.1f}"),
    "learning_rate": ("learning rate", lambda value: f"{value:g}"),
}
"""Heading of a column and how its numbers are printed; in the CSV they stay fractions."""

HEADINGS = {
    "dataset": "data set",
    "n_datasets": "data sets",
    "first": "first arm",
    "second": "second arm",
    "interval": "95 % confidence interval (points)",
    "family": "family of claims",
    "compared": "arms compared, or why none",
    "stated": "stated in the paper",
    "datasets": "data sets",
    "least": "least possible",
    "most": "most possible",
    "n_open": "open questions",
    "n_seeds": "training seeds",
    "code": "commit of the code",
    "table": "table of the paper",
    "n_published": "questions, published",
    "odds_of": "odds ratio for",
    "arm": "train→eval",
    "covers": "limits cover",
    "n_fitted_groups": "groups that fit",
    # data sets
    "stands_for": "stands in for",
    "paper_image_px": "image size in the paper (px)",
    "median_image_px": "median image size (px)",
    "paper_test": "test questions in the paper",
    "n_train": "train questions",
    "n_test": "test questions",
    "n_question_texts": "distinct question texts",
    "median_image_pixels": "median image (pixels)",
    "max_image_pixels": "largest image (pixels)",
    "n_equal_images": "test images identical to a train image",
    "n_near_duplicates": "test images nearly identical to a train image",
    "n_shared_groups": "test groups also in train",
    "n_test_texts": "test question texts",
    "n_shared_texts": "test question texts also in train",
    "commonest_answer": "most common answer in train",
    # trainings
    "tokens": "visual tokens, mean",
    "max tokens": "visual tokens, largest image",
    "peak": "peak memory",
    "fits": "largest batch that fits",
    "with": "strategy that fits",
    "train": "training time",
    "eval": "evaluation time",
    "predicted_flops": "predicted operations (FLOP)",
    "measured_flops": "counted operations (FLOP)",
    "measured_seconds": "measured time (s)",
    "predicted_peak_bytes": "predicted peak memory (bytes)",
    "measured_peak_bytes": "measured peak memory (bytes)",
    "training_flops": "training operations (FLOP)",
    "peak_memory_bytes": "peak GPU memory (bytes)",
    # published numbers
    "accuracy_percent": "accuracy as printed (%)",
    "percent": "accuracy (%)",
    "count_half_up": "counts if rounded half up",
    "count_half_even": "counts if rounded half to even",
    "count_cut_off": "counts if cut off",
    "is_stated": "is the stated size",
    "rounded": "cells that are counts if rounded",
    "cut_off": "cells that are counts if cut off",
    "n_trained": "cells with training",
    "trained_rounded": "cells with training that are counts if rounded",
    "n_fitting": "cells that are counts",
    "expected_by_chance": "counts expected by chance",
    "p_by_chance": "p of as many counts by chance",
    "p_fitting": "p of as many counts by chance",
    "n_mixed": "mixed-inference cells",
    "mixed_fitting": "mixed-inference cells that are counts",
    "null_05": "smallest n by chance, 5th percentile",
    "null_50": "smallest n by chance, median",
    "null_95": "smallest n by chance, 95th percentile",
    "p_smallest": "p of a size as small by chance",
    "first_percent": "first arm (%)",
    "second_percent": "second arm (%)",
    "first_count": "first arm, possible counts",
    "second_count": "second arm, possible counts",
    "differ_least": "fewest answers that differ",
    "differ_most": "most answers that differ",
    "p_least": "smallest possible p",
    "p_most": "largest possible p",
    "p_unpaired": "p unpaired (Fisher)",
    "mean_percent": "mean of low and native (%)",
    "gap_points": "mixed minus mean (points)",
    "is_mean": "equals the mean",
    "is_count": "is a count",
    "sd_least_points": "smallest standard deviation (points)",
    "sd_most_points": "largest standard deviation (points)",
    "n_at_the_mean": "cells that equal the mean",
    "least_gap": "smallest gap (points)",
    "most_gap": "largest gap (points)",
    "n_sd": "cells with a standard deviation",
    "n_counts": "of these, counts",
    "mean_square_least": "mean square, least",
    "mean_square_most": "mean square, most",
    "p_nearer": "p of being as near by chance",
    "n_holding": "cells where it holds",
    "n_fine_tuned": "fine-tuned cells",
    "n_fine_tuned_holding": "fine-tuned cells where it holds",
    "n_without_image": "right without image",
    "without_image_percent": "right without image (%)",
    "n_below": "cells below it",
    "least_percent": "lowest cell (%)",
    "most_percent": "highest cell (%)",
}
"""Headings of columns that are printed like any other."""


SAID_ONCE = "dataset model train_resolution seed n_questions n_groups n_seeds family".split()
"""Columns that move into the caption if all rows agree."""


def html_table(table: pd.DataFrame, *, caption: str, csv: str, merged: Sequence[str] = ()) -> str:
    """Return a table as HTML, with the headings and number formats of `FORMATS`.

    Args:
        table: Plain columns; fractions as fractions.
        caption: What the rows are; values that all rows share (`SAID_ONCE`) are added to it.
        csv: Stem of the CSV that is linked.
        merged: Columns in which consecutive rows share one cell while they agree in all of them.
    """
    is_difference = "difference" in table
    agreed = [
        name for name in SAID_ONCE if name in table and table[name].nunique(dropna=False) == 1
    ]
    if len(table) > 1 and agreed:
        caption += f" All rows: {', '.join(f'{_label(n)} {table[n].iloc[0]}' for n in agreed)}."
        table = table.drop(columns=agreed)
    head, body = [], []
    for column in table:
        label = _label(str(column))
        if is_difference and column in ("lower", "upper"):
            label = f"{column} limit (points)"
        head.append(f"<th>{html.escape(label)}</th>")
    spans = _spans(table[list(merged)]) if merged else [1] * len(table)
    for row, span in zip(table.to_dict("records"), spans, strict=True):
        cells = []
        for column, value in row.items():
            if column in merged and not span:
                continue
            rows = f' rowspan="{span}"' if column in merged and span > 1 else ""
            text, kind = _cell(str(column), value, is_difference)
            shown = _links(text) if column == "pages" else html.escape(text)
            cells.append(f'<td class="{html.escape(kind)}"{rows}>{shown}</td>')
        body.append(f"<tr>{''.join(cells)}</tr>")
    link = f'<a href="tables/{html.escape(csv)}.csv">CSV</a>'
    return (
        f'<div class="table"><table><caption>{html.escape(caption)} {link}</caption><thead><tr>'
        f"{''.join(head)}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def _spans(keys: pd.DataFrame) -> list[int]:
    """Return for each row how many rows from it onwards agree; 0 if the row above does too."""
    block = (keys != keys.shift()).any(axis=1).cumsum()
    size = block.map(block.value_counts())
    return [int(each) for each in size.where(~block.duplicated(), 0)]


def _links(stems: str) -> str:
    """Return links to pages, named by their numbers."""
    return " ".join(
        f'<a href="{html.escape(stem)}.html">{html.escape(stem[:2])}</a>' for stem in stems.split()
    )


def _label(column: str) -> str:
    usual = column.removeprefix("n_") if column.startswith("n_") else column
    if column in FORMATS:
        return FORMATS[column][0]
    return HEADINGS.get(column, usual.replace("_", " "))


def _cell(column: str, value: object, is_difference: bool) -> tuple[str, str]:
    if (isinstance(value, float) and pd.isna(value)) or value is None:
        return "–", "number"
    if isinstance(value, bool) or not isinstance(value, int | float):
        text = str(value)
        return text, f"text {text.replace(' ', '-')}" if column == "verdict" else f"text {column}"
    if is_difference and column in ("lower", "upper"):
        return _points(value), "number"
    if column in FORMATS:
        return FORMATS[column][1](value), "number"
    if column.endswith("(%)"):
        return f"{value:.1f}", "number"
    return (_count(value) if isinstance(value, int) else f"{value:.4g}"), "number"
