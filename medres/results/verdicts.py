"""Every claim of the paper beside what a study found, or why the study cannot test it."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from medres import coded
from medres.datasets import REAL, QuestionSet
from medres.datasets.phantoms import PHANTOMS
from medres.published.claims import CLAIMS, Claim
from medres.published.paper import FOLDER
from medres.results import grids, paired
from medres.results.numbers import percent, points
from medres.results.paired import CONTRADICTED, NOT_DECIDED, SUPPORTED

UNTESTED = "not testable here"
SHOWN = (
    "claim verdict statement stated dataset compared difference lower upper p_adjusted "
    "covers n_questions pages"
).split()
"""Columns shown on a page; the CSV holds all."""
MERGED = ["claim", "statement", "stated", "pages"]
"""Those of them that all rows of a claim share."""
_MEASURED = ["difference", "lower", "upper", "p_adjusted", "n_questions", "covers"]
_NUMBERS = _MEASURED[:4]
OVER_DATASETS = "questions, trainings and data sets"
OVER_DATASETS_UNTRAINED = "questions and data sets"
PATTERN = ("C1-C4", "C5", "C6", "C7", "C9")
"""The claims whose pattern, according to C10, holds for other models."""
PAGES = {
    "04_native_vs_low": ("C1-C4",),
    "05_alignment": ("C5", "C6", "C7", "C8", "C9", "C10", "C16", "C17"),
    "06_zero_shot": ("C11",),
    "07_resampling": ("C12", "C13", "C14"),
    "08_lora": ("C15",),
    "11_published_audit": tuple("C1-C4 C5 C6 C7 C8 C9 C10 C11 C14 C16 C17".split()),
}
"""Reports that show a claim; the last holds what the paper's own numbers allow."""


def statements() -> pd.DataFrame:
    """Return the paper's claims in words: claim, section, statement, stated, source, as text."""
    return pd.read_csv(FOLDER / "statements.csv", dtype=str, keep_default_na=False)


def table(
    compared: pd.DataFrame, averaged: pd.DataFrame, answers: pd.DataFrame, reports: list[str]
) -> pd.DataFrame:
    """Return each claim with the study's own comparisons of it, in the paper's order.

    Args:
        compared: As from `paired.comparisons`.
        averaged: As from `averages.over_datasets`.
        answers: Those it was made of, as from `grids.answers`.
        reports: The study's reports, which the rows link.

    Returns:
        Columns claim, statement and stated (the paper's numbers and where they stand, text),
        dataset (with its model if there are several; or over how many data sets a mean is),
        compared (what is subtracted from what, or why there is no comparison), difference, lower,
        upper, p_adjusted, n_questions, covers (all
        missing without a comparison), verdict (`UNTESTED` without one) and pages (stems of
        reports).
    """
    rows = []
    places = grids.place(compared) if len(compared) else pd.Series(dtype=str)
    of_claim = compared["claim"].str.partition(",")[0] if len(compared) else places
    for said in statements().to_dict("records"):
        pages = [stem for stem, named in PAGES.items() if said["claim"] in named]
        shared = {
            **{name: said[name] for name in ("claim", "statement")},
            "stated": f"{said['stated']} [{said['source']}]",
            "pages": " ".join(stem for stem in pages if stem in reports),
        }
        found = compared[of_claim == said["claim"]] if len(compared) else compared
        rows += [
            {
                **shared,
                "dataset": places[index],
                "compared": _arms(row),
                **{name: row[name] for name in _MEASURED},
                "verdict": row["verdict"],
            }
            for index, row in found.iterrows()
        ]
        rows += [shared | row for row in _means(said["claim"], averaged)]
        if found.empty:
            verdict, reason = _without_comparison(said["claim"], compared, averaged, answers)
            rows.append({**shared, "dataset": "", "compared": reason, "verdict": verdict})
    result = pd.DataFrame(rows, columns=list(dict.fromkeys([*SHOWN, *_MEASURED])))
    return result.astype(dict.fromkeys(_NUMBERS, float) | {"n_questions": "Int64"})


def _means(claim: str, averaged: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows of a claim's mean over data sets, one per model and comparison."""
    of_claim = averaged["claim"].str.partition(",")[0] if len(averaged) else pd.Series(dtype=str)
    part = averaged[of_claim == claim] if len(averaged) else averaged
    several = part["model"].nunique() > 1 if len(part) else False
    trained = {each.name for each in CLAIMS if {arm[0] for arm in paired.weights(each)} != {"none"}}
    return [
        {
            "dataset": f"mean of {row.n_datasets} data sets{f' ({row.model})' * several}",
            "compared": row.statement,
            "difference": row.difference,
            "lower": row.lower,
            "upper": row.upper,
            "p_adjusted": row.p_adjusted,
            "covers": OVER_DATASETS if row.claim in trained else OVER_DATASETS_UNTRAINED,
            "verdict": row.verdict,
        }
        for row in part.itertuples()
    ]


def of_study(claimed: pd.DataFrame, question_sets: Mapping[str, QuestionSet]) -> pd.DataFrame:
    """Return the claims that concern a study: own images get no checklist of the paper's.

    Claims that cannot be tested are kept only if a data set is one of the paper's, or drawn to
    stand in for them.

    Args:
        claimed: As from `table`.
        question_sets: The study's data sets.
    """
    if any(is_of_paper(each) for each in question_sets.values()):
        return claimed
    return claimed[claimed["verdict"] != UNTESTED].reset_index(drop=True)


def is_of_paper(question_set: QuestionSet) -> bool:
    """Return whether a data set is one of the paper's, or drawn to stand in for them."""
    if not question_set.source:
        return question_set.name in PHANTOMS
    source = REAL[question_set.source].SOURCE
    return bool(source.paper_n_test or source.paper_image_px)


def _arms(row: pd.Series) -> str:
    said = str(row["compared"])
    if row["claim"] == "C14, rest" and row["accuracy_first"] > 0:
        said += f": {percent(row['accuracy_second'] / row['accuracy_first'])} % of native accuracy"
    return said


def _without_comparison(
    claim: str, compared: pd.DataFrame, averaged: pd.DataFrame, answers: pd.DataFrame
) -> tuple[str, str]:
    """Return the verdict on a claim without a comparison of its own, and the reason."""
    if claim == "C10":
        return _other_models(compared, averaged)
    if claim == "C15":
        return UNTESTED, (
            "needs a second study of the same cells that trains adapters (lora_rank); "
            "notebook 08_lora compares the two"
        )
    if claim == "C16":
        reason = '"the largest loss" is a maximum, not a testable hypothesis'
        return UNTESTED, reason + _largest(compared)
    tested = [each for each in CLAIMS if each.name.partition(",")[0] == claim]
    return UNTESTED, _missing(tested, answers)


def _other_models(compared: pd.DataFrame, averaged: pd.DataFrame) -> tuple[str, str]:
    """Return whether every model shows the pattern on average, and on how many data sets each.

    The claim is about models: one data set that differs contradicts it no more than one training
    does. Decided by each model's means over data sets.
    """
    part = compared[compared["claim"].isin(PATTERN)] if len(compared) else compared
    models = list(part["model"].unique()) if len(part) else []
    if len(models) < 2:
        return UNTESTED, f"needs several models; this study compares {len(models)}"
    counted = []
    for model, rows in part.groupby("model", sort=False):
        counts = rows["verdict"].value_counts()
        said = ", ".join(f"{n} {verdict}" for verdict, n in counts.items())
        n_datasets = rows["dataset"].nunique()
        counted.append(f"{model} on {n_datasets} data set{'s' * (n_datasets > 1)}: {said}")
    reason = (
        f"comparisons for {', '.join(PATTERN)}; {'; '.join(counted)}; decided by each model's "
        "means over data sets"
    )
    means = averaged[averaged["claim"].isin(PATTERN)] if len(averaged) else averaged
    verdicts = list(means["verdict"]) if len(means) else []
    n_expected = len(part[["claim", "model"]].drop_duplicates())
    if CONTRADICTED in verdicts:
        return CONTRADICTED, reason
    is_whole = len(verdicts) == n_expected and set(verdicts) == {SUPPORTED}
    return (SUPPORTED if is_whole else NOT_DECIDED), reason


def _largest(compared: pd.DataFrame) -> str:
    """Return the largest loss of C5 and of C6 in words; empty without them."""
    parts = []
    for claim, name in (("C5", "native to low"), ("C6", "low to native")):
        losses = compared[compared["claim"] == claim] if len(compared) else compared
        if len(losses):
            at = losses["difference"].idxmin()
            lost = points(losses.loc[at, "difference"])
            parts.append(f"{lost} points ({name}, {grids.place(losses)[at]})")
    found = f"C5 and C6 test each loss; lowest difference here: {' and '.join(parts)}"
    return f"; {found}" if parts else ""


def _missing(tested: list[Claim], answers: pd.DataFrame) -> str:
    """Return which arms of a claim no data set has."""
    arms = {
        "→".join(arm) for arm in coded.rows_of(answers, ["train_resolution", "eval_resolution"])
    }
    wanted = ["→".join(arm) for claim in tested for arm in paired.weights(claim)]
    lacking = [arm for arm in dict.fromkeys(wanted) if arm not in arms]
    if not lacking:
        return "no data set of the study has both arms"
    return f"the study lacks the arm{'s' * (len(lacking) > 1)} {' and '.join(lacking)}"


def untested(claimed: pd.DataFrame) -> str:
    """Return which claims the study cannot test, and why, one line per claim."""
    rows = claimed[claimed["verdict"] == UNTESTED]
    return "\n".join(
        f"* {row.claim}, {row.statement}: **{UNTESTED}**; {row.compared}."
        for row in rows.itertuples()
    )
