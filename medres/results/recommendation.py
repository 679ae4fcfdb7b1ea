"""The answer to the first page's question: at which resolution, at what cost, and how sure."""

from typing import Any

import pandas as pd

from medres import saving
from medres.results import paired
from medres.results.numbers import percent, points
from medres.texts import in_markdown

PAIRS = {
    "trained": (("low", "low"), ("native", "native"), "C1-C4", "low suffices, aligned"),
    "none": (("none", "low"), ("none", "native"), "C11", "low suffices, untrained"),
}
"""For fine-tuned and for untrained models: the arms to choose from, and the claims that decide."""
COLUMNS = "dataset model of choice sentence".split()
LARGEST_EXPECTED = 0.35
"""A study that can only find larger differences finds none that anybody expects, a fraction."""
MANY_TRAININGS = 5
"""With fewer, how much trainings differ is known roughly, and so is what a study can find."""
NATIVE, LOW, NEITHER = "native", "low", "not settled"


def table(
    cells: pd.DataFrame, compared: pd.DataFrame, saved: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Return one recommendation per data set and model, for fine-tuned models before others.

    Args:
        cells: As from `grids.over_trainings`.
        compared: As from `paired.comparisons`.
        saved: As from `saving.table`, of the same answers: where low saves nothing, the
            recommendation says so.

    Returns:
        Columns dataset, model, of (`trained` or `none`), choice (`NATIVE`, `LOW` or `NEITHER`),
        sentence.
    """
    rows: list[dict[str, Any]] = []
    if compared.empty:
        return pd.DataFrame(columns=COLUMNS)
    at = cells.set_index(["dataset", "model", "train_resolution", "eval_resolution"])
    tested = compared.set_index(["dataset", "model", "claim"])
    known = saved if saved is not None else pd.DataFrame(columns=saving.COLUMNS)
    costs = {(row["dataset"], row["model"]): saving.sentence(row) for _, row in known.iterrows()}
    for dataset, model in compared[["dataset", "model"]].drop_duplicates().itertuples(index=False):
        for of, (low, native, better, suffices) in PAIRS.items():
            if (dataset, model, better) in tested.index:
                row = tested.loc[(dataset, model, better)]
                enough = tested.loc[(dataset, model, suffices)]
                named = dataset if compared["model"].nunique() < 2 else f"{dataset} ({model})"
                arms = at.loc[(dataset, model, *low)], at.loc[(dataset, model, *native)]
                choice, sentence = _answer(in_markdown(named), of, arms, row, enough)
                rows.append(
                    {
                        "dataset": dataset,
                        "model": model,
                        "of": of,
                        "choice": choice,
                        "sentence": f"{sentence} {costs.get((dataset, model), '')}".strip(),
                    }
                )
                break
    return pd.DataFrame(rows, columns=COLUMNS)


def _answer(
    dataset: str, of: str, arms: tuple[pd.Series, pd.Series], row: pd.Series, enough: pd.Series
) -> tuple[str, str]:
    low, native = arms
    verb = "train and evaluate" if of == "trained" else "evaluate (without fine-tuning)"
    reached = {name: _reached(arm) for name, arm in (("low", low), ("native", native))}
    gain = (
        f"native minus low {points(row['difference'])} points "
        f"({points(row['lower'])} to {points(row['upper'])})"
    )
    asked = f"{row['n_questions']:,} test questions of {row['n_groups']:,} groups"
    numbers = f"native reaches {reached['native']}, low {reached['low']}; {gain}"
    if row["verdict"] == paired.TOO_FEW:
        return NEITHER, (
            f"**{dataset}: nothing can be settled.** {asked}: {row['reason']}. As seen: {numbers}."
        )
    if row["verdict"] == paired.ONLY_THESE_WEIGHTS:
        gap = row["difference"]
        ahead = "level with low" if gap == 0 else "ahead" if gap > 0 else "behind"
        return NEITHER, (
            f"**{dataset}: not settled beyond these weights.** With one training each, native is "
            f"{ahead}; another training may come out differently, and more seeds would settle it. "
            f"{asked}: {numbers}."
        )
    trainings = "1 training" if row["n_seeds"] == 1 else f"{row['n_seeds']} trainings"
    basis = asked if of == "none" else f"{asked}, {trainings} each"
    is_enough = enough["verdict"] == paired.SUPPORTED
    worse = f"{100 * enough['margin']:.0f} point"
    if row["verdict"] == paired.SUPPORTED:
        near = f" Low is no more than {worse} worse." if is_enough else ""
        return NATIVE, f"**{dataset}: {verb} at native.** {basis}: {numbers}.{near}"
    if row["verdict"] == paired.CONTRADICTED:
        return LOW, f"**{dataset}: {verb} at low.** {basis}: {numbers}."
    if is_enough:
        return LOW, (
            f"**{dataset}: {verb} at low.** It is no more than {worse} worse. {basis}: {numbers}."
        )
    if row["reason"]:
        return NEITHER, f"**{dataset}: not settled.** {basis}: {row['reason']}. As seen: {numbers}."
    could = row["detectable_difference"]
    if could <= LARGEST_EXPECTED:
        about = "about " if 1 < row["n_seeds"] < MANY_TRAININGS else ""
        limit = (
            f" A true difference of {about}{percent(could)} points is found in 4 of 5 such studies."
        )
    elif row["n_seeds"] > 1:
        limit = (
            " Its trainings differ too much for a likely difference to be found; train more seeds."
        )
    else:
        limit = ""
    return NEITHER, f"**{dataset}: not settled.** {basis}: {numbers}.{limit}"


def _reached(arm: pd.Series) -> str:
    limits = (
        "" if pd.isna(arm["lower"]) else f" ({percent(arm['lower'])} to {percent(arm['upper'])})"
    )
    tokens = f"{arm['mean_visual_tokens']:,.0f} visual tokens per image"
    return f"{percent(arm['accuracy'])} %{limits} at {tokens}"


def sentence(advice: pd.DataFrame) -> str:
    """Return the recommendations as lines."""
    return "\n".join(f"* {each}" for each in advice["sentence"])
