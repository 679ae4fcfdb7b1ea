"""What is said of the answers of served models: how they came, what was seen, what was sent."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import pandas as pd

from medres import coded

READS = ["answered_by", "error", "source_resolution", "reported_tokens"]
"""Columns of answers that are read beside `stored.COUNTED`."""
TEXTS = ["answered_by", "error", "eval_resolution", "source_resolution"]
COLUMNS = (
    "eval_resolution n_answers visual_tokens reported_tokens n_unreported n_other_tokens n_errors"
).split()


def asked(answers: pd.DataFrame) -> pd.DataFrame:
    """Return the answers that servers gave themselves, each once: mixed repeats others.

    Args:
        answers: Of any models; those of servers have the columns answered_by, reported_tokens and
            error.
    """
    if "answered_by" not in answers:
        return answers.iloc[:0]
    found = answers[answers["answered_by"].notna()].astype(dict.fromkeys(TEXTS, object))
    return found[found["eval_resolution"] == found["source_resolution"]]


def tokens(answers: pd.DataFrame) -> pd.DataFrame:
    """Return planned and reported visual tokens of served models, one row per eval resolution.

    Args:
        answers: As in `asked`.

    Returns:
        `COLUMNS`: medians of planned and reported tokens, and counts of answers without reported
        tokens, with other ones than planned, and with an error.
    """
    rows = []
    for name, part in asked(answers).groupby("eval_resolution", sort=False):
        reported, planned = part["reported_tokens"].astype("Float64"), part["visual_tokens"]
        rows.append(
            {
                "eval_resolution": name,
                "n_answers": len(part),
                "visual_tokens": float(planned.median()),
                "reported_tokens": reported.median(),
                "n_unreported": int(reported.isna().sum()),
                "n_other_tokens": int(
                    ((reported != planned) & (planned > 0)).fillna(False).sum()  # 0 is not planned
                ),
                "n_errors": int((part["error"] != "").sum()),
            }
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def describe(answers: pd.DataFrame) -> str:
    """Return in sentences how served models were asked and what they saw; nothing for others.

    `mismatch` says beforehand whether resolutions are what they are called.
    """
    own, counts = asked(answers), tokens(answers)
    if own.empty:
        return ""
    said = []
    closed = own[coded.n_options(own) > 0]
    ways = closed["answered_by"].value_counts(sort=False)
    if len(ways):
        said.append(
            "A server answered closed questions by "
            + ", ".join(f"{name} ({n:,})" for name, n in ways.items())
            + "."
        )
    n_unreported = int(counts["n_unreported"].sum())
    if n_unreported:
        said.append(f"{n_unreported:,} of {len(own):,} answers lack reported visual tokens.")
    errors = own.loc[own["error"] != "", "error"].value_counts()
    if len(errors):
        listed = ", ".join(f"{name} ({n:,})" for name, n in errors.items())
        said.append(f"Answers that failed and count as wrong: {listed}.")
    return " ".join(said)


def mismatch(answers: pd.DataFrame) -> str:
    """Return the warning that a server changed the size of images; nothing if none did.

    Args:
        answers: As in `asked`.
    """
    counts = tokens(answers)
    other = counts[counts["n_other_tokens"] > 0]
    if other.empty:
        return ""
    return (
        f"**The server did not see what was sent**: for {other['n_other_tokens'].sum():,} of "
        f"{counts['n_answers'].sum():,} answers it reports other visual tokens than planned "
        f"({', '.join(other['eval_resolution'])}), so these resolutions are not what their names "
        "say. "
    )


def sent(model: str, outcome: Mapping[str, Any]) -> str:
    """Return what left this machine for an evaluation; nothing for models of this machine.

    Args:
        model: As the study names it.
        outcome: Of the run's record.
    """
    traffic = outcome.get("traffic")
    if not traffic:
        return ""
    host = urlsplit(model.partition("#")[0].partition(":")[2]).hostname or ""
    is_here = host in ("localhost", "::1") or host.startswith("127.")
    where = "this machine" if is_here else host
    return (
        f"Pixels, questions and options were sent to a server of {where}: "
        f"{traffic['bytes_sent'] / 1e6:,.1f} MB in {traffic['n_requests']:,} requests, without "
        "file names, ids or reference answers."
    )
