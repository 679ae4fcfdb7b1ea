"""Several views of an image against the plain image of as many visual tokens, paired."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from medres import views
from medres.published.claims import Claim
from medres.results import grids, paired
from medres.results.grids import place
from medres.results.numbers import percent, points
from medres.texts import in_markdown

SAME, TRAINED = "one training, evaluated both ways", "each evaluated as it was trained"
BETTER, WORSE = "better", "worse"
COLUMNS = (
    "family dataset model train_resolution views plain verdict accuracy_views accuracy_plain "
    "difference lower upper p_adjusted tokens_views tokens_plain covers n_seeds n_questions "
    "n_groups detectable_difference favoured first second compared reason "
    "differences_by_training"
).split()
SHOWN = (
    "family dataset model train_resolution views verdict accuracy_views accuracy_plain "
    "difference lower upper p_adjusted tokens_views tokens_plain favoured covers n_questions "
    "n_groups reason"
).split()
"""Columns of the comparisons that a page shows; the CSV holds all."""
CAPTION = (
    "Difference: views minus the plain image of no more visual tokens, the same questions in both. "
    "Intervals hold together for all rows of a family; they cover trainings too "
    "where there are several. Favoured: what the training had seen, if one of both."
)
CELL_COLUMNS = "dataset model train_resolution cell share n_answers accuracy".split()
READS = ["zoom_cell"]
"""Columns of answers that are read beside `stored.COUNTED`."""
ONE_CELL = 0.9
"""Share of questions from which zoom is said to look at one cell whatever it is asked."""
LACKING = (
    "The study asks for no views beside their plain images: add, for instance, crops-4 and "
    "plain-crops-4 to eval_resolutions in 03_evaluate.yaml."
)
UNKNOWN = (
    "Whether these are the right cells is not known: no data set of the study says where in an "
    "image its answers are seen."
)


def table(answers: pd.DataFrame) -> pd.DataFrame:
    """Return each arm with several views against its plain arm.

    Args:
        answers: As from `grids.answers`.

    Returns:
        One row per data set, model, training and kind of views; columns `COLUMNS`. Of the family
        `SAME` both arms are one training; of `TRAINED` the views were asked of a training on them,
        and the plain image of a training on it. The verdict is `BETTER` or `WORSE` of the views,
        or another of `paired.VERDICTS`. Tokens are the mean per question, of both steps of zoom.
    """
    pairs = list(_pairs(answers))
    found = paired.comparisons(answers, tuple(claim for claim, _ in pairs))
    if found.empty:
        return pd.DataFrame(columns=COLUMNS)
    told = {claim.compared: about for claim, about in pairs}
    tokens = answers.groupby(grids.CELL[:4])["visual_tokens"].mean()
    rows = []
    for row in found.to_dict("records"):
        arms = {"views": row["second"], "plain": row["first"]}
        costs = {
            f"tokens_{which}": float(tokens[(row["dataset"], row["model"], *arm.split("→"))])
            for which, arm in arms.items()
        }
        row |= {"accuracy_views": row["accuracy_second"], "accuracy_plain": row["accuracy_first"]}
        rows.append({**row, **told[row["compared"]], **costs, "verdict": _said(row["verdict"])})
    return pd.DataFrame(rows)[COLUMNS]


def _pairs(answers: pd.DataFrame) -> Iterator[tuple[Claim, dict[str, Any]]]:
    """Yield what is compared, with what its row says of it."""
    asked = [str(name) for name in answers["eval_resolution"].unique()]
    trained = [str(name) for name in answers["train_resolution"].unique()]
    for name in filter(views.is_views, asked):
        plain = f"plain-{name}"
        if plain not in asked:
            continue
        about = {"views": name, "plain": plain}
        for each in trained:
            favoured = each if each in (name, plain) else ""
            arms = (each, plain), (each, name)
            yield _claim(*arms, SAME), {**about, "train_resolution": each, "favoured": favoured}
        if {name, plain} <= set(trained):
            arms = (plain, plain), (name, name)
            yield _claim(*arms, TRAINED), {**about, "train_resolution": name, "favoured": ""}


def _claim(first: tuple[str, str], second: tuple[str, str], family: str) -> Claim:
    compared = f"{'→'.join(second)} minus {'→'.join(first)}"
    return Claim("", "", first, second, +1, family, compared=compared)


def _said(verdict: str) -> str:
    return {paired.SUPPORTED: BETTER, paired.CONTRADICTED: WORSE}.get(verdict, verdict)


def labelled(found: pd.DataFrame) -> pd.DataFrame:
    """Return `table` for a forest plot, whose colours are those of verdicts on a claim."""
    verdicts = {BETTER: paired.SUPPORTED, WORSE: paired.CONTRADICTED}
    return paired.labelled(found.assign(verdict=found["verdict"].replace(verdicts)))


def cells(answers: pd.DataFrame) -> pd.DataFrame:
    """Return which cells zoom looked at, all trainings together.

    Args:
        answers: As from `grids.answers`; zoom's with the column zoom_cell, one of `views.CELLS`.

    Returns:
        Nine rows per data set, model and train resolution: the share of the answers for which a
        cell was chosen, their number, and their accuracy (NaN without any).
    """
    if "zoom_cell" not in answers:
        return pd.DataFrame(columns=CELL_COLUMNS)
    zoomed = answers[answers["zoom_cell"].notna() & answers["zoom_cell"].ne("")]
    rows = []
    for key, part in zoomed.groupby(grids.CELL[:3], sort=False):
        for cell in views.CELLS:
            own = part[part["zoom_cell"] == cell]
            shared = {"cell": cell, "share": len(own) / len(part), "n_answers": len(own)}
            accuracy = own["correct"].astype(float).mean()
            rows.append(
                dict(zip(grids.CELL[:3], key, strict=True)) | shared | {"accuracy": accuracy}
            )
    return pd.DataFrame(rows, columns=CELL_COLUMNS)


def sentence(found: pd.DataFrame) -> str:
    """Return whether views are better than the plain image at equal tokens, as lines.

    Args:
        found: As from `table`.
    """
    if found.empty:
        return LACKING
    lines = []
    found = found.assign(dataset=place(found).map(in_markdown))
    # The fair comparison first: each model is used as it was trained.
    found = found.sort_values("family", key=lambda column: column != TRAINED, kind="stable")
    for (family, name), rows in found.groupby(["family", "views"], sort=False):
        plain = rows["plain"].iloc[0]
        lines.append(
            f"* {name} against {plain}, {family}: {_counted(rows)} (95 % confidence intervals)."
        )
        for row in rows.itertuples():
            trained = "" if family == TRAINED else f", {_trained(row.train_resolution)}"
            favoured = f", which favours {row.favoured}" if row.favoured else ""
            reason = f"; {row.reason}" if row.reason else ""
            lines.append(
                f"    * {row.dataset}{trained}{favoured}: **{row.verdict}** "
                f"({points(row.difference)} points, {points(row.lower)} to {points(row.upper)}; "
                f"{row.tokens_views:,.1f} against {row.tokens_plain:,.1f} visual tokens{reason})."
            )
    return "\n".join(lines)


def _trained(name: str) -> str:
    return "not trained" if name == "none" else f"trained at {name}"


def _counted(rows: pd.DataFrame) -> str:
    counts = rows["verdict"].value_counts()
    said = [f"{n} {verdict}" for verdict, n in counts.items()]
    return f"**{', '.join(said)}** of {len(rows)} comparison{'s' * (len(rows) > 1)}"


def sentence_of_cells(found: pd.DataFrame) -> str:
    """Return where zoom looked, as lines; nothing if the study has no zoom.

    Args:
        found: As from `cells`.
    """
    if found.empty:
        return ""
    lines = []
    found = found.assign(dataset=place(found).map(in_markdown))
    for (dataset, trained), rows in found.groupby(["dataset", "train_resolution"], sort=False):
        most = rows.loc[rows["share"].idxmax()]
        said = f"most often {most['cell']} ({percent(most['share'])} % of the answers)"
        if most["share"] >= ONE_CELL:
            said += ", almost whatever the image and the question: a crop at a fixed place"
        lines.append(f"    * {dataset}, {_trained(trained)}: {said}.")
    return "\n".join([f"* Where zoom looked. {UNKNOWN}", *lines])
