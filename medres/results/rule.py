"""The paper's rule, native if you have it and else Lanczos, judged by what it gives here.

Section 3.6 advises native images where there are any, and otherwise low images enlarged with
Lanczos. Each step of it is compared with what one would do instead.
"""

from typing import Any

import pandas as pd

from medres.published.claims import Claim
from medres.results import paired
from medres.results.grids import place
from medres.results.numbers import points
from medres.texts import in_markdown, listed

FAMILY = "native if at hand, else low images enlarged with Lanczos"
AT_HAND, LOW_ONLY, LOW_ONLY_TRAINED = (
    "native images at hand",
    "low images only",
    "low images only, trained on enlarged ones",
)
ENLARGED = "upsampled-lanczos"
STEPS = (
    (AT_HAND, ("native", "native"), (("native", ENLARGED), ("native", "low"), ("low", "low"))),
    (LOW_ONLY, ("native", ENLARGED), (("native", "low"), ("low", "low"))),
    (LOW_ONLY_TRAINED, (ENLARGED, ENLARGED), (("native", "low"), ("low", "low"))),
)
"""A step of the rule: its name, the arm that follows it, and what one would do instead."""
HOLDS, FAILS, OPEN = "holds", "fails", "not decided"
SHOWN = (
    "rule_step verdict dataset model compared accuracy_first accuracy_second difference lower "
    "upper p_adjusted covers n_questions n_groups reason"
).split()
"""Columns of the table that are shown on a page; the CSV holds all."""
CAPTION = (
    "Following the rule (second arm) minus the alternative (first arm), paired by question. "
    "Supported: the rule is better. 95 % confidence intervals, clustered by group, that hold "
    "together for all rows."
)
LOOKS: dict[str, Any] = {
    "columns": SHOWN,
    "empty": "The study lacks the arms of the rule.",
    "caption": CAPTION,
}
"""How a page shows the table."""


def claims() -> tuple[Claim, ...]:
    """Return every step against its alternatives as comparisons of one family."""
    return tuple(
        Claim(step, f"{'→'.join(rule)} beats {'→'.join(other)}", other, rule, +1, FAMILY)
        for step, rule, others in STEPS
        for other in others
    )


def table(answers: pd.DataFrame) -> pd.DataFrame:
    """Return what following the rule gains over its alternatives, on every data set and model.

    Args:
        answers: As from `grids.answers`.

    Returns:
        As `paired.comparisons`, with rule_step; no row without both arms.
    """
    found = paired.comparisons(answers, claims())
    return found.assign(rule_step=found["claim"])


def judged(found: pd.DataFrame) -> pd.DataFrame:
    """Return whether each step of the rule holds, one row per data set, model and step.

    Args:
        found: As from `table`.

    Returns:
        Columns dataset, model, rule_step, verdict: `HOLDS` if it beats every alternative,
        `FAILS` if one beats it, else `OPEN`.
    """
    rows = []
    key = ["dataset", "model", "rule_step"]
    for named, part in found.groupby(key, sort=False) if len(found) else ():
        verdicts = set(part["verdict"])
        verdict = FAILS if paired.CONTRADICTED in verdicts else OPEN
        verdict = HOLDS if verdicts == {paired.SUPPORTED} else verdict
        rows.append(dict(zip(key, named, strict=True)) | {"verdict": verdict})
    return pd.DataFrame(rows, columns=[*key, "verdict"])


def sentence(found: pd.DataFrame) -> str:
    """Return whether the rule holds, with numbers, one line per data set; empty without any."""
    lines = []
    steps = judged(found)
    for name, part in steps.groupby(place(steps).map(in_markdown), sort=False):
        said = []
        for step in part.itertuples():
            of = (found["dataset"] == step.dataset) & (found["model"] == step.model)
            rows = found[of & (found["rule_step"] == step.rule_step)]
            said.append(
                f"{step.rule_step}, {rows['second'].iloc[0]} **{step.verdict}**: {_against(rows)}"
            )
        lines.append(f"* Native if you have it, else Lanczos, on {name}: {'; '.join(said)}.")
    return "\n".join(lines)


def _against(rows: pd.DataFrame) -> str:
    """Return which alternatives a step beats, loses to, or is not told from, with numbers."""
    words = {paired.SUPPORTED: "better than", paired.CONTRADICTED: "worse than"}
    parts = []
    for verdict in dict.fromkeys([*words, *rows["verdict"]]):
        of = [
            f"{row.first} ({points(row.difference)} points, {points(row.lower)} to "
            f"{points(row.upper)})"
            for row in rows[rows["verdict"] == verdict].itertuples()
        ]
        if of:
            parts.append(f"{words.get(verdict, f'{verdict} against')} {listed(of)}")
    return ", ".join(parts)


def summary(found: pd.DataFrame) -> str:
    """Return where each step of the rule holds, in one line; empty without comparisons."""
    steps = judged(found)
    steps = steps.assign(place=place(steps).map(in_markdown))
    said = []
    for step, part in steps.groupby("rule_step", sort=False):
        verdicts = [
            f"**{verdict}** on {', '.join(of['place'])}"
            for verdict in (HOLDS, FAILS, OPEN)
            if len(of := part[part["verdict"] == verdict])
        ]
        said.append(f"with {step} {listed(verdicts)}")
    return f"* The rule, native if you have it, else Lanczos: {'; '.join(said)}." if said else ""
