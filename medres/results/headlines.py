"""The paper's headline numbers, averages over data sets, beside the same averages here."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from medres.datasets import QuestionSet
from medres.datasets.phantoms import PHANTOMS
from medres.published import paper, recomputed
from medres.published.claims import CLAIMS
from medres.results import gains, paired, verdicts
from medres.results.averages import LEAST_DATASETS, TOO_FEW
from medres.statistics import families, independent, pooled
from medres.statistics import ratio as ratios
from medres.statistics.independent import Sum
from medres.statistics.pooled import Average

HEADLINES = ("C8", "C9", "C11", "C14")
SHARE = "C14"
"""The headline that is a share: accuracy on enlarged low images over that on native ones."""
BELOW, ABOVE = "below the stated number", "above the stated number"
ALIKE = "not told apart from the stated number"
COLUMNS = (
    "claim verdict statement model stated_over stated_number printed datasets n_datasets here "
    "sets_lower sets_upper p_adjusted these_lower these_upper these_cover"
).split()
SHOWN = (
    "claim verdict statement model stated_number printed here sets_lower sets_upper these_lower "
    "these_upper p_adjusted these_cover n_datasets datasets stated_over"
).split()
"""Columns of the table in the order in which they are shown."""
SHARE_COLUMNS = (
    "dataset model share_of_native lower upper p_adjusted verdict covers n_questions n_groups "
    "n_seeds reason"
).split()
CAPTION = (
    "Means over data sets, each counted once: differences in percentage points, C14 as percent of "
    "native accuracy. Printed: what the paper's own cells give. Here: over the data sets that "
    "stand for the paper's, or all where fewer than two do. First interval (Student's t between "
    "data sets): for such data sets; second: for these alone. 95 %, each kind holds together for "
    "all rows; the verdict and the adjusted p-value test the stated number, by the first. The "
    "number of C8 is a limit: above it is what the paper claims."
)
SHARE_CAPTION = (
    "Accuracy of the native-trained model on low images enlarged with Lanczos over its accuracy on "
    "native ones, paired by question, with 95 % confidence intervals (Fieller) that hold together "
    "for all rows; tested against the share that the paper states."
)
SHARE_LOOKS: dict[str, Any] = {
    "columns": SHARE_COLUMNS,
    "empty": "No model trained at native was evaluated on images enlarged with Lanczos.",
    "caption": SHARE_CAPTION,
}
"""How a page shows the table of shares."""


def stands_for(question_sets: Mapping[str, QuestionSet]) -> dict[str, str]:
    """Return the paper's name of each data set of a study, by label; of drawn ones, their twin's.

    Args:
        question_sets: The data sets by their name in the study.

    Returns:
        Empty for a data set that stands for none; nothing at all for a study of own images, which
        gets no checklist of the paper's.
    """
    if not any(map(verdicts.is_of_paper, question_sets.values())):
        return {}
    return {
        each.label: each.source or (PHANTOMS[name].twin_of if name in PHANTOMS else "")
        for name, each in question_sets.items()
    }


def stated() -> pd.DataFrame:
    """Return the averages that the paper states, with what its own cells give.

    Returns:
        Columns of `paper.claims`, datasets as a list, stated_number and printed as fractions.
    """
    claimed = paper.claims()
    given = recomputed.recomputed(paper.accuracy(), claimed)
    found = claimed.assign(
        datasets=claimed["datasets"].str.split(";"),
        stated_number=claimed["stated"].astype(float) / 100,
        printed=given["recomputed"].to_numpy() / 100,
    )
    is_average = found["claim"].isin(HEADLINES) & found["datasets"].map(len).gt(1)
    return found[is_average].reset_index(drop=True)


def shares(answers: pd.DataFrame) -> pd.DataFrame:
    """Return which share of native accuracy Lanczos enlarging reaches, by data set and model.

    Args:
        answers: As from `grids.answers`.

    Returns:
        `SHARE_COLUMNS`, and difference (the share again), standard_error, degrees_of_freedom,
        alone_lower and alone_upper for a mean of them; verdict on the stated share. No row without
        both arms, or of a native arm that is never right.
    """
    claim = next(each for each in CLAIMS if each.name == "C14, rest")
    at = float(stated().set_index("claim").loc[SHARE, "stated_number"])
    arms = paired.arms_of(answers, compared_by=[claim])
    found: list[ratios.Ratio] = []
    rows: list[dict[str, Any]] = []
    for dataset, model in answers[["dataset", "model"]].drop_duplicates().itertuples(index=False):
        keys = [(dataset, model, *claim.first), (dataset, model, *claim.second)]
        if not all(key in arms for key in keys):
            continue
        correct, groups = paired.stacked([arms[key] for key in keys])
        each = ratios.ratio(correct[:, 0], correct[:, 1], groups)
        if not correct[:, 0].any():
            continue
        tested, alone = each.at(at), each.interval()
        found.append(each)
        rows.append(
            {
                "dataset": dataset,
                "model": model,
                "share_of_native": each.difference,
                "difference": each.difference,
                "standard_error": each.standard_error,
                "degrees_of_freedom": each.degrees_of_freedom,
                "alone_lower": alone.lower,
                "alone_upper": alone.upper,
                "covers": paired.covers(claim, [arms[key] for key in keys]),
                "n_questions": tested.n_questions,
                "n_groups": tested.n_groups,
                "n_seeds": len(correct),
                "reason": each.refusal(),
                "too_few": bool(tested.too_few),
            }
        )
    of_mean = "difference standard_error degrees_of_freedom alone_lower alone_upper".split()
    if not rows:
        return pd.DataFrame(columns=[*SHARE_COLUMNS, *of_mean])
    result = pd.DataFrame(rows)
    adjusted, intervals = families.simultaneous(found, [at] * len(found))
    result = result.assign(
        p_adjusted=adjusted,
        lower=[each.lower for each in intervals],
        upper=[each.upper for each in intervals],
    )
    sides = _sides(result["share_of_native"], adjusted, [at] * len(found))
    sides = np.where(result["reason"] != "", paired.NOT_DECIDED, sides)
    result["verdict"] = np.where(result["too_few"], paired.TOO_FEW, sides)
    return result[[*SHARE_COLUMNS, *of_mean]]


def _sides(found: Any, p_adjusted: Any, nulls: Any) -> np.ndarray:
    """Return on which side of the stated number a number is shown to be."""
    sides = np.where(np.asarray(found) > np.asarray(nulls), ABOVE, BELOW)
    return np.where(np.asarray(p_adjusted, dtype=float) <= 0.05, sides, ALIKE)


def table(compared: pd.DataFrame, shared: pd.DataFrame, named: Mapping[str, str]) -> pd.DataFrame:
    """Return each average that the paper states beside the same average here.

    Args:
        compared: As from `paired.comparisons`.
        shared: As from `shares`.
        named: The paper's name of each data set, as from `stands_for`; no rows if it is empty.

    Returns:
        `COLUMNS`, a row per stated average and model that has the claim on two or more data sets
        with enough groups: stated_over and datasets (texts), stated_number, printed, here (all
        fractions), sets_lower and sets_upper (over such data sets; NaN for fewer than three),
        these_lower and these_upper (for these data sets; what they cover is these_cover),
        p_adjusted (that the stated number is true), verdict (`BELOW`, `ABOVE`, `ALIKE` or
        `averages.TOO_FEW`).
    """
    rows: list[dict[str, Any]] = []
    means: list[Average] = []
    sums: list[Sum] = []
    nulls: list[float] = []
    for said in stated().to_dict("records") if named else ():
        source = shared if said["claim"] == SHARE else compared[compared["claim"] == said["claim"]]
        source = source[source["verdict"] != paired.TOO_FEW]
        for model, every in source.groupby("model", sort=False):
            part = _standing(every, said["datasets"], named)
            if len(part) < 2:
                continue
            n = len(part)
            errors = [paired.error_of(row) for row in part.to_dict("records")]
            degrees = part["degrees_of_freedom"]
            sums.append(
                independent.weighted(part["difference"], errors, degrees, np.full(n, 1 / n))
            )
            means.append(pooled.average(part["difference"]))
            nulls.append(said["stated_number"])
            rows.append(
                {
                    "claim": said["claim"],
                    "statement": said["statement"],
                    "model": model,
                    "stated_over": ", ".join(said["datasets"]),
                    "stated_number": said["stated_number"],
                    "printed": said["printed"],
                    "datasets": ", ".join(part["dataset"]),
                    "n_datasets": n,
                    "here": means[-1].difference,
                    "these_cover": gains.covers_of(list(part["covers"])),
                    "verdict": TOO_FEW,
                }
            )
    result = pd.DataFrame(rows, columns=COLUMNS)
    limits = ("sets_lower", "sets_upper", "p_adjusted", "these_lower", "these_upper")
    result = result.astype(dict.fromkeys(limits, float))
    if result.empty:
        return result
    _, intervals = families.simultaneous(sums, nulls)
    result["these_lower"] = [each.lower for each in intervals]
    result["these_upper"] = [each.upper for each in intervals]
    enough = result.index[result["n_datasets"] >= LEAST_DATASETS]
    if len(enough):
        null = [nulls[index] for index in enough]
        adjusted, intervals = families.simultaneous([means[index] for index in enough], null)
        result.loc[enough, "p_adjusted"] = adjusted
        result.loc[enough, "sets_lower"] = [each.lower for each in intervals]
        result.loc[enough, "sets_upper"] = [each.upper for each in intervals]
        result.loc[enough, "verdict"] = _sides(result.loc[enough, "here"], adjusted, null)
    return result


def _standing(
    part: pd.DataFrame, of_paper: Sequence[str], named: Mapping[str, str]
) -> pd.DataFrame:
    """Return the rows of the data sets that stand for the paper's; all if fewer than two do."""
    chosen = part[part["dataset"].map(named).isin(of_paper)]
    return chosen if len(chosen) > 1 else part
