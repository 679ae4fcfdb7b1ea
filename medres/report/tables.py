"""Tables as HTML, with the headings and number formats that readers expect."""

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from medres.results.numbers import MISSING, p_text, percent, points
from medres.results.recommendation import LARGEST_EXPECTED

Form = Callable[[float], str]


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _ratio(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}" if value < 1 else f"{value:.1f}"


def _tokens(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == round(value) else f"{value:.1f}"


def _detectable(value: float) -> str:
    return percent(value) if value <= LARGEST_EXPECTED else f"> {percent(LARGEST_EXPECTED)}"


FORMATS: dict[str, tuple[str, Form]] = {
    "accuracy": ("accuracy (%)", percent),
    "accuracy_majority": ("majority answer (%)", percent),
    "accuracy_blank": ("blank image (%)", percent),
    "accuracy_first": ("accuracy of first arm (%)", percent),
    "accuracy_second": ("accuracy of second arm (%)", percent),
    "accuracy_log_probability": ("most probable option (%)", percent),
    "accuracy_per_token": ("most probable option per token (%)", percent),
    "accuracy_strict": ("rule strict (%)", percent),
    "accuracy_paper": ("rule paper (%)", percent),
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
    "yes_no": ("yes/no (%)", percent),
    "closed_flag": ("marked CLOSED (%)", percent),
    "open_exact": ("open, exact match (%)", percent),
    "open_recall": ("open, recall (%)", percent),
    "open_f1": ("open, F1 (%)", percent),
    "open_substring": ("open, substring match (%)", percent),
    "overall": ("all, open by exact match (%)", percent),
    "published": ("published (%)", percent),
    "over_published": ("ours minus published (points)", points),
    "difference": ("difference (points)", points),
    "detectable_difference": ("detectable difference, 80 % power (points)", _detectable),
    "margin": ("margin (points)", percent),
    "share_of_native": ("share of native accuracy (%)", percent),
    "share_above_chance": ("share of native's accuracy above chance (%)", percent),
    "above_chance": ("above chance (%)", percent),
    "chance": ("chance (%)", percent),
    "largest_share": ("largest group (% of questions)", percent),
    "n_effective_groups": ("effective groups", lambda value: f"{value:.1f}"),
    "spread_of_trainings": ("spread of trainings (points)", percent),
    "between": ("spread of data sets (points)", percent),
    "p_within": ("p, equivalence (small: within the margin)", p_text),
    "p_heterogeneity": ("p of equal data sets", p_text),
    "p_interaction": ("p of equal parts", p_text),
    "p_value": ("p", p_text),
    "p_adjusted": ("adjusted p", p_text),
    "p_mcnemar": ("McNemar p", p_text),
    "mean_visual_tokens": ("visual tokens, mean", lambda value: f"{value:.1f}"),
    "questions_per_image": ("questions per image", lambda value: f"{value:.1f}"),
    "odds_ratio": ("odds ratio", _ratio),
    "confidence": ("mean stated confidence (%)", percent),
    "least_confidence": ("lowest confidence (%)", percent),
    "most_confidence": ("highest confidence (%)", percent),
    "overconfidence": ("overconfidence (points)", points),
    "calibration_error": ("calibration error (points)", percent),
    "joint": ("joint (points)", percent),
    "error_before": ("error before (points)", percent),
    "error_after": ("error after (points)", percent),
    "tokens": ("visual tokens per image", _tokens),
    "reported_tokens": ("reported by the server", _tokens),
    "pixels": ("pixels per image", _count),
    "observed_loss": ("observed loss (points)", percent),
    "excluded_loss": ("excluded loss (points)", percent),
    "shown_loss": ("shown loss (points)", percent),
    "cost_share": ("cost, of that of native (%)", percent),
    "n_more_images": ("more images needed, about", _count),
    "seconds_per_question": ("seconds per question", lambda value: f"{value:.2g}"),
    "time_to_first_token_s": ("time to first token (s)", lambda value: f"{value:.2g}"),
    "token_price": ("price of visual tokens, 1,000 questions", lambda value: f"{value:.3g}"),
    "time_price": ("price of time, 1,000 questions", lambda value: f"{value:.3g}"),
    "flops_per_question": ("operations per question (FLOP)", lambda value: f"{value:.2e}"),
    "training_bytes": ("training memory (GB)", lambda value: f"{value / 1e9:.3g}"),
    "seconds": ("time (s)", lambda value: f"{value:.1f}"),
    "learning_rate": ("learning rate", lambda value: f"{value:g}"),
}
"""Heading of a column and how its numbers are printed; in the CSV they stay fractions."""

HEADINGS = {
    "dataset": "data set",
    "n_datasets": "data sets",
    "first": "first arm",
    "second": "second arm",
    "family": "family of claims",
    "sign": "reasons",
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
    "covers": "covers",
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
    "stored_px": "stored (px)",
    "given_px": "given to the model (px)",
    "seen_px": "seen by the model (px)",
    "tokens_range": "visual tokens, all images",
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
    "native_at_low_points": "native→low minus native→native (points)",
    "low_at_native_points": "low→native minus low→low (points)",
    "asymmetry_points": "first loss larger by (points)",
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


SAID_ONCE = "covers reason dataset model train_resolution seed n_questions n_groups n_seeds".split()
"""Columns that move into the caption if all rows agree."""
GROUPED = "family"
"""Column under whose values the rows are grouped; one that all rows share goes to the caption."""
RATIOS = ("ratio",)
"""Beginnings of limits that are ratios; all others are in the units of `lower` and `upper`."""
LONGEST = 12
"""Rows of a table that is not folded."""
JUDGED = ' class="judgement"'
"""Marks the heading of the verdicts, as their cells are."""
LONG_TEXT = 100
"""Characters from which on a text is broken into lines."""
SHOWN_FIRST = 8
"""Rows shown of a folded table, and those that complete a block of merged cells."""
FOLD = "<style>@media screen { .fold:not([open]) ~ .scroll .more { display: none; } }</style>"
"""Hides rows until they are asked for; not in the page's style, so that it works in JupyterLab."""


@dataclass(frozen=True)
class _Column:
    """One column as it is shown: its heading, and text and classes of each cell."""

    name: str
    label: str
    cells: list[tuple[str, str]]


def html_table(table: pd.DataFrame, *, caption: str, csv: str, merged: Sequence[str] = ()) -> str:
    """Return a table as HTML, with the headings and number formats of `FORMATS`.

    The verdict comes second. The two limits of an interval (`lower` and `upper`, or the same
    after a name such as `ratio_`) are one column. Long tables show their first rows, and fold the
    others unless they are printed.

    Args:
        table: Plain columns; fractions as fractions.
        caption: What the rows are; values that all rows share (`SAID_ONCE`) are added to it.
        csv: Stem of the CSV that is linked.
        merged: Columns in which consecutive rows share one cell while they agree in all of them.
    """
    if table.empty:
        caption += " There are none."
    agreed = [
        name
        for name in [*SAID_ONCE, GROUPED]
        if name in table and table[name].nunique(dropna=False) == 1
    ]
    if len(table) > 1 and agreed:
        named = [f"{_label(n)} {table[n].iloc[0]}" for n in agreed if table[n].iloc[0] != ""]
        caption += f" All rows: {', '.join(named)}." if named else ""
        table = table.drop(columns=agreed)
        merged = [name for name in merged if name not in agreed]
    titles = [""] * len(table)
    if GROUPED in table:
        table = table.sort_values(GROUPED, key=lambda names: names.factorize()[0], kind="stable")
        titles = list(table[GROUPED].astype(str).mask(table[GROUPED].duplicated(), ""))
    spans = _spans(table[[*merged, *{GROUPED} & set(table)]]) if merged else [1] * len(table)
    columns = _columns(table.drop(columns=GROUPED, errors="ignore"))
    heads = "".join(
        f"<th{JUDGED * (each.name == 'verdict')}>{html.escape(each.label)}</th>" for each in columns
    )
    n_shown = _n_shown(spans)
    body = ""
    for at, (title, span) in enumerate(zip(titles, spans, strict=True)):
        more = " more" * (at >= n_shown)
        if title:
            name = f'<th colspan="{len(columns)}" scope="rowgroup">{html.escape(title)}</th>'
            body += f'<tr class="family{more}">{name}</tr>'
        body += f'<tr class="row{more}">{_row(columns, at, span, merged)}</tr>'
    link = f'<a href="tables/{html.escape(csv)}.csv">CSV</a>'
    fold = f"{FOLD}<details class='fold'><summary>show all {len(table):,} rows</summary></details>"
    return (
        f'<div class="table">{fold * (n_shown < len(table))}<div class="scroll"><table>'
        f"<caption><div>{html.escape(caption)} {link}</div></caption>"
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div></div>"
    )


def _row(columns: Sequence[_Column], at: int, span: int, merged: Sequence[str]) -> str:
    cells = ""
    for column in columns:
        if column.name in merged and not span:
            continue
        rows = f' rowspan="{span}"' if column.name in merged and span > 1 else ""
        text, kind = column.cells[at]
        shown = _links(text) if column.name == "pages" else _unbroken(text, column.name)
        cells += f'<td class="{html.escape(kind)}"{rows}>{shown}</td>'
    return cells


def _n_shown(spans: Sequence[int]) -> int:
    """Return how many rows of a table are shown before the others are asked for."""
    if len(spans) <= LONGEST:
        return len(spans)
    return next((at for at in range(SHOWN_FIRST, len(spans)) if spans[at]), len(spans))


def _columns(table: pd.DataFrame) -> list[_Column]:
    """Return the columns of a table in the order in which they are shown."""
    is_difference = "difference" in table
    found = []
    for column in table:
        name, values = str(column), table[column].tolist()
        of, _, limit = name.rpartition("_")
        start = name.removesuffix(limit)
        if limit not in ("lower", "upper"):
            found.append(_Column(name, _label(name), [_cell(name, value) for value in values]))
            continue
        unit, form = _units(of, is_difference)
        what = f", {of.replace('_', ' ')}" if of and of not in RATIOS else ""
        if f"{start}lower" not in table or f"{start}upper" not in table:
            cells = [(_limit_text(value, form), "number") for value in values]
            found.append(_Column(name, f"{limit} limit{what}{unit}", cells))
        elif limit == "lower":
            pairs = zip(values, table[f"{start}upper"], strict=True)
            cells = [(_limits_text(*pair, form), "number") for pair in pairs]
            found.append(_Column(name, f"95 % CI{what}{unit}", cells))
    verdicts = [each for each in found if each.name == "verdict"]
    others = [each for each in found if each.name != "verdict"]
    return [*others[:1], *verdicts, *others[1:]]


def _units(of: str, is_difference: bool) -> tuple[str, Form]:
    """Return the unit of limits in their heading, and how they are printed."""
    if of in RATIOS:
        return "", _ratio
    if of in FORMATS:  # limits of another number than the table's own
        label, form = FORMATS[of]
        return label[label.find(" (") :] if label.endswith(")") else "", form
    return (" (points)", points) if is_difference else (" (%)", percent)


def _limit_text(value: float, form: Form) -> str:
    return MISSING if pd.isna(value) else _signed(form(value))


def _signed(text: str) -> str:
    """Return a number with a true minus sign; that of an exponent stays as Python writes it."""
    return "−" + text[1:] if text.startswith("-") else text


def _limits_text(lower: float, upper: float, form: Form) -> str:
    if pd.isna(lower) and pd.isna(upper):
        return MISSING
    return f"{_limit_text(lower, form)} to {_limit_text(upper, form)}"


def _spans(keys: pd.DataFrame) -> list[int]:
    """Return for each row how many rows from it onwards agree; 0 if the row above does too."""
    block = (keys != keys.shift()).any(axis=1).cumsum()
    size = block.map(block.value_counts())
    return [int(each) for each in size.where(~block.duplicated(), 0)]


def _links(stems: str) -> str:
    """Return links to pages, named by their numbers."""
    return " ".join(
        f'<a href="{html.escape(stem)}.html">{html.escape(stem.rpartition("/")[2][:2])}</a>'
        for stem in stems.split()
    )


def _unbroken(text: str, column: str) -> str:
    """Return a cell's text; names of data sets break between words only, not at a hyphen."""
    if column != "dataset":
        return html.escape(text)
    return " ".join(f"<span>{html.escape(word)}</span>" for word in text.split())


def _label(column: str) -> str:
    usual = column.removeprefix("n_") if column.startswith("n_") else column
    if column in FORMATS:
        return FORMATS[column][0]
    return HEADINGS.get(column, usual.replace("_", " "))


def _cell(column: str, value: object) -> tuple[str, str]:
    """Return text and classes of a cell; fractions without a format of their own as they are."""
    if (isinstance(value, float) and pd.isna(value)) or value is None or value is pd.NA:
        return MISSING, "number"
    if isinstance(value, bool) or not isinstance(value, int | float):
        text = str(value)
        is_verdict = column == "verdict"
        if is_verdict:
            return text, f"judgement {text.replace(' ', '-')}"
        return text, f"text {column}" + " long" * (len(text) > LONG_TEXT)
    if column in FORMATS:
        return _signed(FORMATS[column][1](value)), "number"
    if column.endswith("(%)"):
        return _signed(percent(value / 100)), "number"
    return _signed(_count(value) if isinstance(value, int) else f"{value:.4g}"), "number"
