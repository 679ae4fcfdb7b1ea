"""Calibration of every cell: is the model right as often as its stated confidence says?"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from medres import trained_at
from medres.results import stated
from medres.results.grids import CELL, place
from medres.results.numbers import percent
from medres.results.paired import BETWEEN_TRAININGS, THIS_TRAINING, TOO_FEW, UNTRAINED
from medres.results.stated import ARM, Arm
from medres.statistics import calibration, temperature
from medres.statistics import groups as of_groups
from medres.statistics.calibration import Calibration
from medres.texts import in_markdown

SEED = 20_260_101
"""Of what is drawn, so that a page is the same each time it is rendered."""
ALL = "all"
"""Seed of a row that covers several trainings."""
ALIGNED = "trained and evaluated at one resolution"
MISALIGNED = "trained and evaluated at different resolutions"
UNTRAINED_CELLS = "not trained here"
BLANK = "shown a blank image"
BEYOND, WITHIN, NOT_DECIDED = "beyond the margin", "within the margin", "not decided"
SHOWN = (
    "arm verdict dataset model seed confidence accuracy overconfidence overconfidence_lower "
    "overconfidence_upper calibration_error joint_lower joint_upper "
    "n_questions n_groups"
).split()
"""Columns of the table that are shown on a page; the CSV holds all."""
SHOWN_TEMPERATURES = (
    "arm dataset model temperature error_before error_before_lower error_before_upper "
    "error_after error_after_lower error_after_upper n_fitted_groups n_questions n_groups note"
).split()


def table(answers: pd.DataFrame | Sequence[Arm], *, margin: float = 0.1) -> pd.DataFrame:
    """Return the calibration of every cell, and whether its error is surely above a margin.

    The verdict comes from limits that hold for all cells of a kind together (Bonferroni over the
    aligned, the misaligned, the untrained, or those shown a blank image), so that picking the
    worst is no fishing; the limits shown are those of each row alone.

    Args:
        answers: As from `grids.answers`, or their arms, found once, as from `stated.arms`.
        margin: Calibration error up to which a stated confidence may be used, a fraction.

    Returns:
        One row per arm with the mean over its trainings (seed `all` if there are several), then
        one per training if there are several; the worst arms first, untrained ones and blank
        images after them. Columns of `CELL`, arm (train→eval), n_seeds,
        covers (what the limits cover), n_questions, n_left_out (without a stated confidence),
        n_groups, n_effective_groups, n_bins, confidence, accuracy, overconfidence and
        calibration_error with their _lower and _upper, binned_error and chance_error (before
        chance is taken away, and what it adds), brier_score, log_score, joint_lower and
        _upper (of the error), verdict (empty for a single training of several) and reason.

    Raises:
        ValueError: If trainings of an arm answered different questions.
    """
    arms = _arms(answers)
    if not arms:
        return pd.DataFrame(columns=[*CELL, "verdict"])
    kinds = _kinds(pd.DataFrame([arm.key for arm in arms]))
    parts = []
    for arm, n_judged in zip(arms, kinds.map(kinds.value_counts()), strict=True):
        several = len(arm.seeds) > 1
        rows = [_row(arm, slice(None), ALL if several else str(arm.seeds[0]), margin, n_judged)]
        if several:
            rows += [
                _row(arm, slice(number, number + 1), str(seed), margin, 0)
                for number, seed in enumerate(arm.seeds)
            ]
        parts.append(pd.DataFrame(rows))
    parts.sort(key=_place_in_table)
    return pd.concat(parts, ignore_index=True)


def _place_in_table(rows: pd.DataFrame) -> tuple[int, float]:
    """Return what sorts arms: trained, untrained, shown a blank image; the worst of each first."""
    kind = _kinds(rows).iloc[0]
    error = rows["calibration_error"].fillna(rows["binned_error"]).iloc[0]
    return (kind == UNTRAINED_CELLS) + 2 * (kind == BLANK), -float(error)


def curves(answers: pd.DataFrame | Sequence[Arm]) -> pd.DataFrame:
    """Return the reliability curve of every training.

    Args:
        answers: As from `grids.answers`, or their arms, found once, as from `stated.arms`.

    Returns:
        Columns of `CELL` and of `calibration.reliability`, one row per bin.
    """
    parts = [
        calibration.reliability(stated.confidence(each), correct, arm.groups).assign(
            **arm.key, seed=str(seed)
        )
        for arm in _arms(answers)
        for each, correct, seed in zip(arm.log_probabilities, arm.correct, arm.seeds, strict=True)
    ]
    if not parts:
        return pd.DataFrame(columns=CELL)
    found = pd.concat(parts, ignore_index=True)
    return found[[*CELL, *(name for name in found if name not in CELL)]]


def temperatures(answers: pd.DataFrame | Sequence[Arm]) -> pd.DataFrame:
    """Return what one temperature per training repairs, judged on groups that it has not seen.

    Half of the groups, drawn once per data set, fit the temperature; the others judge it.

    Args:
        answers: As from `grids.answers`, or their arms, found once, as from `stated.arms`.

    Returns:
        Columns dataset, model, train_resolution, eval_resolution, arm, temperature (text; of each
        training), n_fitted_groups, n_questions and n_groups (of those that judge), error_before
        and error_after (calibration error) and overconfidence_before and _after with their _lower
        and _upper, and note: why numbers are missing, else empty.
    """
    return pd.DataFrame([_repaired(arm) for arm in _arms(answers)])


def _arms(answers: pd.DataFrame | Sequence[Arm]) -> Sequence[Arm]:
    return list(stated.arms(answers)) if isinstance(answers, pd.DataFrame) else answers


def sentence(found: pd.DataFrame, repaired: pd.DataFrame, *, margin: float = 0.1) -> str:
    """Return what the tables say in words: the worst cell of each data set and model first.

    Args:
        found: As from `table`.
        repaired: As from `temperatures`.
        margin: As for `table`.
    """
    judged = _judged(found)
    if judged.empty:
        return "No question has two options or more, so that no answer has a stated confidence."
    lines = []
    for name, rows in judged.groupby(place(judged).map(in_markdown), sort=False):
        worst = _worst(rows)
        if worst is not None:
            lines.append(f"* {name}: **{_gap(worst)}.** {_error_and_scope(worst, margin)}.")
        elif rows["verdict"].eq(TOO_FEW).all():
            lines.append(f"* {name}: **{TOO_FEW}**, {rows['reason'].iloc[0]}.")
        else:
            lines.append(
                f"* {name}: **no calibration error is surely above {100 * margin:g} points.**"
            )
        for kind in (ALIGNED, MISALIGNED, UNTRAINED_CELLS, BLANK):
            part = rows[_kinds(rows) == kind]
            if not part["verdict"].eq(TOO_FEW).all():
                lines.append(f"    * {kind}: {_counted(part)}.")
        if worst is not None:
            lines.append(f"    * {_repair(worst, repaired)}.")
    return "\n".join(lines)


def first_page_sentence(found: pd.DataFrame) -> str:
    """Return the one sentence for a study's first page.

    Args:
        found: As from `table`, also as read back from its CSV.
    """
    judged = _judged(found)
    if judged.empty:
        return "No question has two options or more, so that no answer has a stated confidence."
    if judged["verdict"].eq(TOO_FEW).all():
        return "Whether the model's stated confidence can be used: too few groups to decide."
    aligned = judged[_kinds(judged).eq(ALIGNED) & judged["verdict"].ne(TOO_FEW)]
    limit = ""
    if len(aligned):
        errors, n_open = aligned["calibration_error"], int(aligned["verdict"].eq(NOT_DECIDED).sum())
        limit = (
            f"trained and evaluated at one resolution, calibration errors are "
            f"{percent(errors.min())} to {percent(errors.max())} points in {len(aligned)} arms "
            f"(not decided in {n_open})"
        )
    worst = _worst(judged)
    if worst is None:
        begin = "No cell's stated confidence is surely beyond the margin"
        return f"{begin}; {limit}." if limit else f"{begin}."
    name = in_markdown(place(judged)[worst.name])
    gap = _gap(worst)
    said = f"{gap[:1].upper()}{gap[1:]} ({name}, {_scope(worst)})"
    return f"{said}; {limit}." if limit else f"{said}."


def _kinds(rows: pd.DataFrame) -> pd.Series:
    """Return which kind of cell each row is, in words."""
    is_aligned = rows["train_resolution"].map(trained_at.last) == rows["eval_resolution"]
    return pd.Series(
        np.select(
            [rows["eval_resolution"] == "blank", rows["train_resolution"] == "none", is_aligned],
            [BLANK, UNTRAINED_CELLS, ALIGNED],
            MISALIGNED,
        ),
        index=rows.index,
    )


def _worst(rows: pd.DataFrame) -> pd.Series | None:
    """Return the cell furthest beyond the margin: trained and shown images, if there is one."""
    beyond = rows[rows["verdict"] == BEYOND]
    for kinds in ((ALIGNED, MISALIGNED), (UNTRAINED_CELLS,), (BLANK,)):
        part = beyond[_kinds(beyond).isin(kinds)] if len(beyond) else beyond
        if len(part):
            return part.loc[part["calibration_error"].idxmax()]
    return None


def _gap(row: pd.Series) -> str:
    trained = row["train_resolution"]
    begin = "not trained here" if trained == "none" else f"trained at {trained}"
    asked = row["eval_resolution"]
    asked = "shown a blank image" if asked == "blank" else f"evaluated at {asked}"
    sure, right = percent(row["confidence"]), percent(row["accuracy"])
    return (
        f"{begin} and {asked}, the model is {sure} % sure on average and right in {right} %: its "
        "stated confidence must not be used"
    )


def _scope(row: pd.Series) -> str:
    if row["covers"] == UNTRAINED:
        return "this model"
    return "this training" if row["n_seeds"] == 1 else f"{row['n_seeds']} trainings"


def _error_and_scope(row: pd.Series, margin: float) -> str:
    return (
        f"Calibration error {_text(row, 'calibration_error')}, beyond the margin of "
        f"{100 * margin:g}; limits cover {row['covers']}"
    )


def _counted(part: pd.DataFrame) -> str:
    """Return the errors of some cells, and which are beyond, within and undecided."""
    errors = part["calibration_error"]
    least, most = percent(errors.min()), percent(errors.max())
    spans = least if least == most else f"{least} to {most}"
    said = [
        f"{verdict}: {', '.join(part.loc[part['verdict'] == verdict, 'arm'])}"
        for verdict in (BEYOND, WITHIN, NOT_DECIDED)
        if part["verdict"].eq(verdict).any()
    ]
    return f"calibration error {spans} points; {'; '.join(said)}"


def _repair(worst: pd.Series, repaired: pd.DataFrame) -> str:
    """Return what a temperature makes of the worst cell."""
    row = repaired[(repaired[ARM] == worst[ARM]).all(axis=1)].iloc[0]
    if row["note"]:
        return f"no temperature was judged for the worst cell: {row['note']}"
    return (
        f"one temperature ({row['temperature']}), fitted on half of the groups, takes that first "
        f"cell's calibration error on the other half from {_text(row, 'error_before')} to "
        f"{_text(row, 'error_after')}"
    )


def _text(row: pd.Series, name: str) -> str:
    lower, upper = percent(row[f"{name}_lower"]), percent(row[f"{name}_upper"])
    return f"{percent(row[name])} points ({lower} to {upper})"


def _judged(found: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with a verdict: those of all trainings of an arm."""
    return found[found["verdict"].fillna("") != ""]


def _row(arm: Arm, rows: slice, seed: str, margin: float, n_judged: int) -> dict[str, Any]:
    """Return a row of `table`; without a verdict if no rows are judged together."""
    found = _measured(arm, rows, joint_level=1 - 0.05 / n_judged if n_judged else None)
    sizes = np.unique(arm.groups, return_counts=True)[1]
    n_seeds = len(arm.correct[rows])
    scored = [temperature.scores(each, arm.right) for each in arm.log_probabilities[rows]]
    brier, log_score = np.mean(scored, axis=0)
    numbers = {
        **arm.key,
        "arm": _arrow(arm),
        "seed": seed,
        "n_seeds": n_seeds,
        "covers": _covers(arm, n_seeds),
        "n_questions": arm.correct.shape[1],
        "n_left_out": arm.n_left_out,
        "n_groups": len(sizes),
        "n_effective_groups": of_groups.effective(sizes),
        "n_bins": found.n_bins,
        "confidence": found.confidence,
        "accuracy": found.accuracy,
        "overconfidence": found.overconfidence.estimate,
        "overconfidence_lower": found.overconfidence.lower,
        "overconfidence_upper": found.overconfidence.upper,
        "calibration_error": found.error.estimate,
        "calibration_error_lower": found.error.lower,
        "calibration_error_upper": found.error.upper,
        "binned_error": found.binned_error,
        "chance_error": found.chance_error,
        "brier_score": brier,
        "log_score": log_score,
    }
    together = found.joint_error
    if together is None:
        return numbers | {"verdict": "", "reason": ""}
    reason = _shortage(sizes)
    verdict = TOO_FEW if reason else NOT_DECIDED
    if together.lower > margin:
        verdict = BEYOND
    elif together.upper <= margin:
        verdict = WITHIN
    return numbers | {
        "joint_lower": together.lower,
        "joint_upper": together.upper,
        "verdict": verdict,
        "reason": reason,
    }


def _measured(arm: Arm, rows: slice, *, joint_level: float | None) -> Calibration:
    """Return the calibration of some of an arm's trainings."""
    sure = np.stack([stated.confidence(each) for each in arm.log_probabilities[rows]])
    rng = np.random.default_rng(SEED)
    return calibration.measure(
        sure, arm.correct[rows], arm.groups, rng=rng, joint_level=joint_level
    )


def _shortage(sizes: np.ndarray) -> str:
    """Return why groups of these sizes allow no limits; empty if they do."""
    if len(sizes) < of_groups.LEAST_GROUPS:
        groups = "1 group" if len(sizes) == 1 else f"{len(sizes)} groups"
        return f"{groups}; limits need at least {of_groups.LEAST_GROUPS}"
    return of_groups.shortage(sizes)


def _arrow(arm: Arm) -> str:
    return f"{arm.key['train_resolution']}→{arm.key['eval_resolution']}"


def _covers(arm: Arm, n_seeds: int) -> str:
    if arm.key["train_resolution"] == "none":
        return UNTRAINED
    return BETWEEN_TRAININGS if n_seeds > 1 else THIS_TRAINING


def _repaired(arm: Arm) -> dict[str, Any]:
    is_fitted = temperature.half_of_groups(arm.groups, rng=np.random.default_rng(SEED))
    judging = arm.groups[~is_fitted]
    row: dict[str, Any] = {
        **arm.key,
        "arm": _arrow(arm),
        "temperature": "",
        "n_fitted_groups": len(np.unique(arm.groups[is_fitted])),
        "n_questions": len(judging),
        "n_groups": len(np.unique(judging)),
    }
    names = [
        f"{what}_{when}{limit}"
        for what in ("error", "overconfidence")
        for when in ("before", "after")
        for limit in ("", "_lower", "_upper")
    ]
    row |= dict.fromkeys(names, np.nan)
    if reason := _shortage(np.unique(judging, return_counts=True)[1]):
        return row | {"note": f"the half that judges: {reason}"}
    fitted = [
        temperature.fit_temperature(each[is_fitted], arm.right[is_fitted])
        for each in arm.log_probabilities
    ]
    row["temperature"] = ", ".join("∞" if np.isinf(each) else f"{each:.3g}" for each in fitted)
    if np.isnan(fitted).any():
        return row | {"note": "every answer that fits is right; any lower temperature fits better"}
    judged = arm.log_probabilities[:, ~is_fitted]
    for when, used in (("before", [1.0] * len(fitted)), ("after", fitted)):
        sure = np.stack(
            [stated.confidence(each, at) for each, at in zip(judged, used, strict=True)]
        )
        found = calibration.measure(
            sure, arm.correct[:, ~is_fitted], judging, rng=np.random.default_rng(SEED)
        )
        for what, interval in (("error", found.error), ("overconfidence", found.overconfidence)):
            row[f"{what}_{when}"] = interval.estimate
            row[f"{what}_{when}_lower"] = interval.lower
            row[f"{what}_{when}_upper"] = interval.upper
    return row | {"note": ""}
