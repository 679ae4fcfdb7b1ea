"""What a study's answers say: the grid, the baselines and the paired comparisons."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from medres import comparison, datasets, power, runs, scoring
from medres.study import Study

CELL = ["dataset", "model", "train_resolution", "eval_resolution", "seed"]
RESOLUTION_ORDER = ("none", "low", "native", "mixed", "blank")
BOOTSTRAP_SEED = 20_260_101
"""Seed of every interval, so that a report is the same each time it is rendered."""


@dataclass(frozen=True)
class Claim:
    """A claim of the paper as a paired comparison of two arms."""

    name: str
    """The paper's claims it stands for, as numbered in `published/claims.csv`."""
    statement: str
    first: tuple[str, str]
    """Train and eval resolution of the first arm."""
    second: tuple[str, str]
    sign: int
    """Claimed sign of second minus first."""
    family: str
    """Comparisons adjusted together: all data sets of all claims of a family."""
    margin: float = 0.0
    """If positive, the claim is second > first - margin: non-inferiority, by the interval."""


SHOWN = (
    "statement dataset first second n_questions difference lower upper detectable_difference "
    "p_mcnemar p_adjusted verdict"
).split()
"""Columns of the comparisons that a page shows; the CSV holds all."""
SHOWN_BY_ARMS = [name for name in SHOWN if name != "statement"]
SHOWN_BY_STATEMENT = [name for name in SHOWN if name not in ("first", "second")]
RULES_SHOWN = [
    *CELL,
    *(name for name in scoring.RULE_COLUMNS if name not in ("n_generated", "note")),
]
"""Columns of `by_rule` that a page shows; its caption says the rest."""
ALIGNED = "aligned native against aligned low"
MISALIGNED = "misaligned against aligned"
MIXED = "mixed training"
ZERO_SHOT = "inference of untrained models"
RESAMPLED = "resampling at inference"
FILTERS = ("nearest", "bilinear", "bicubic", "lanczos")
CLAIMS = (
    Claim(
        "C1-C4",
        "Native training and inference beats low training and inference",
        ("low", "low"),
        ("native", "native"),
        +1,
        ALIGNED,
    ),
    Claim(
        "C5",
        "A model trained native loses when asked at low",
        ("native", "native"),
        ("native", "low"),
        -1,
        MISALIGNED,
    ),
    Claim(
        "C6",
        "A model trained low loses when asked at native",
        ("low", "low"),
        ("low", "native"),
        -1,
        MISALIGNED,
    ),
    Claim(
        "C9",
        "A model trained mixed does better asked at native than at low",
        ("mixed", "low"),
        ("mixed", "native"),
        +1,
        MIXED,
    ),
    Claim(
        "C8",
        "Asked at native, mixed training is within 1 point of native training",
        ("native", "native"),
        ("mixed", "native"),
        +1,
        MIXED,
        margin=0.01,
    ),
    Claim(
        "C11",
        "A model not trained on the data does better asked at native than at low",
        ("none", "low"),
        ("none", "native"),
        +1,
        ZERO_SHOT,
    ),
    Claim(
        "C13",
        "Enlarged by bicubic, low images are answered better than by bilinear",
        ("native", "upsampled-bilinear"),
        ("native", "upsampled-bicubic"),
        +1,
        RESAMPLED,
    ),
    Claim(
        "C12",
        "Enlarged by Lanczos, low images are answered better than by bicubic",
        ("native", "upsampled-bicubic"),
        ("native", "upsampled-lanczos"),
        +1,
        RESAMPLED,
    ),
    Claim(
        "C14, gain",
        "Enlarging by Lanczos gains over leaving images low",
        ("native", "low"),
        ("native", "upsampled-lanczos"),
        +1,
        RESAMPLED,
    ),
    Claim(
        "C14, rest",
        "Even enlarged by Lanczos, low images fall short of native ones",
        ("native", "native"),
        ("native", "upsampled-lanczos"),
        -1,
        RESAMPLED,
    ),
)


def answers(study: Study) -> pd.DataFrame:
    """Return all answers of a study, one row a question and arm, with the cell's columns.

    Raises:
        FileNotFoundError: If a run is missing, saying how to make it.
    """
    parts = []
    for cell in study.cells("evaluate"):
        folder = runs.folder_of(study.name, "evaluate", cell.path)
        runs.read(folder)
        part = pd.read_parquet(folder / "answers.parquet")
        parts.append(
            part.assign(model=cell.model, train_resolution=cell.train_resolution, seed=cell.seed)
        )
    table = pd.concat(parts, ignore_index=True)
    repeated = table.duplicated([*CELL, "question_id"])
    if repeated.any():
        raise ValueError(f"{int(repeated.sum())} answers of study {study.name} stand twice")
    return table


def grid(table: pd.DataFrame) -> pd.DataFrame:
    """Return one row a cell: counts, accuracy with its interval, and visual tokens.

    Args:
        table: Answers as from `answers`.

    Returns:
        Columns of `CELL`, n_questions, n_correct, n_unparsable, accuracy, lower, upper
        (fractions), mean_visual_tokens and n_groups.
    """
    rows = []
    for key, part in table.groupby(CELL, sort=False):
        interval = comparison.accuracy_interval(part["correct"], part["group"])
        rows.append(
            {
                **dict(zip(CELL, key, strict=True)),
                "n_questions": len(part),
                "n_correct": int(part["correct"].sum()),
                "n_unparsable": int(part["parsed_answer"].isna().sum()),
                "accuracy": interval.estimate,
                "lower": interval.lower,
                "upper": interval.upper,
                "mean_visual_tokens": part["visual_tokens"].mean(),
                "n_groups": part["group"].nunique(),
            }
        )
    return pd.DataFrame(rows).sort_values(CELL, key=_rank, kind="stable", ignore_index=True)


def core(table: pd.DataFrame) -> pd.DataFrame:
    """Return the answers of the grid: asked at low, native, mixed or blank."""
    return table[table["eval_resolution"].isin(RESOLUTION_ORDER)].reset_index(drop=True)


def recovery(table: pd.DataFrame, *, train_resolution: str) -> pd.DataFrame:
    """Return what enlarging a low image brings back, one row a data set and eval resolution.

    Args:
        table: Answers as from `answers`.
        train_resolution: Models whose answers are taken.

    Returns:
        Columns dataset, model, eval_resolution (low, each upsampled-<filter>, native),
        n_questions, accuracy, lower, upper, share_of_native (accuracy over that at native),
        mean_visual_tokens; then one row an eval resolution and model with the mean of the
        shares over the data sets.

    Raises:
        ValueError: If there is no such model, or it was not asked at low, native and enlarged.
    """
    names = ["low", *(f"upsampled-{name}" for name in FILTERS), "native"]
    is_used = table["train_resolution"].eq(train_resolution) & table["eval_resolution"].isin(names)
    cells = grid(table[is_used].assign(seed=0))  # all trainings of a cell together
    asked = set(cells["eval_resolution"])
    if not {"low", "native"} < asked:
        raise ValueError(
            f"models trained {train_resolution} were asked at {sorted(asked)}; eval_resolutions in "
            "03_evaluate.yaml must have low, native and an upsampled-<filter>"
        )
    key = ["dataset", "model"]
    native = cells[cells["eval_resolution"] == "native"].set_index(key)["accuracy"]
    shares = cells["accuracy"] / cells.join(native.rename("at_native"), on=key)["at_native"]
    cells["share_of_native"] = shares
    cells["rank"] = cells["eval_resolution"].map(names.index)
    means = cells.groupby(["model", "eval_resolution"], sort=False, as_index=False).agg(
        n_questions=("n_questions", "sum"),
        share_of_native=("share_of_native", "mean"),
        mean_visual_tokens=("mean_visual_tokens", "mean"),
        rank=("rank", "first"),
    )
    n_datasets = cells["dataset"].nunique()
    every = pd.concat(
        [
            cells.sort_values(
                ["dataset", "model", "rank"],
                key=lambda column: column if column.name == "rank" else _rank(column),
            ),
            means.assign(dataset=f"mean of {n_datasets} data sets").sort_values("rank"),
        ],
        ignore_index=True,
    )
    shown = "n_questions accuracy lower upper share_of_native mean_visual_tokens".split()
    return every[["dataset", "model", "eval_resolution", *shown]]


def _rank(column: pd.Series) -> pd.Series:
    """Order resolutions as readers think of them, everything else as it comes."""
    if str(column.name).endswith("resolution"):
        ranks = {name: rank for rank, name in enumerate(RESOLUTION_ORDER)}
        return column.map(lambda name: ranks.get(name, len(ranks)))
    return pd.Series(pd.factorize(column)[0], index=column.index)


def by_rule(table: pd.DataFrame, question_sets: Mapping[str, datasets.QuestionSet]) -> pd.DataFrame:
    """Return one row a cell with closed questions: accuracy by each rule of judging an answer.

    Args:
        table: Answers as from `answers`; generated replies to closed questions, if there are any,
            in the column generated_reply.
        question_sets: The data sets, for what the paper's authors do with each.

    Returns:
        Columns of `CELL` and those of `scoring.rule_metrics`; NaN where a rule is not computed.
    """
    source_of = {each.label: each.source for each in question_sets.values()}
    rows = [
        {
            **dict(zip(CELL, key, strict=True)),
            **scoring.rule_metrics(part, source=source_of[str(key[0])]),
        }
        for key, part in table[table["options"].map(len) > 0].groupby(CELL, sort=False)
    ]
    result = pd.DataFrame(rows, columns=[*CELL, *scoring.RULE_COLUMNS])
    return result.sort_values(CELL, key=_rank, kind="stable", ignore_index=True)


def describe_rules(rules: pd.DataFrame) -> str:
    """Return what the table of `by_rule` says, and which of its rules could not be computed."""
    if rules.empty:
        return "The study has no closed question."
    lacking = rules[rules["note"] != ""]
    said = (
        f"Closed questions of {len(rules)} cells: the most probable option, by its sum and by "
        "token, and the rules strict and paper on a generated reply; one against another counts "
        "the questions whose verdict changes."
    )
    if len(lacking):
        n_missing = int((lacking["n_questions"] - lacking["n_generated"]).sum())
        said += (
            f" {len(lacking)} cells have no strict and no paper: {n_missing:,} of their answers "
            "were scored by log-probability alone, without a generated reply."
        )
    known = rules[rules["note"] == ""]
    if len(known):
        n_changed = int(known["n_paper_strict"].sum())
        n_questions = int(known["n_questions"].sum())
        said += (
            f" Of {n_questions:,} generated replies {int(known['n_unparsable'].sum()):,} are "
            f"unparsable, and {n_changed:,} change verdict between strict and paper."
        )
    return said


def vqa_metrics(table: pd.DataFrame) -> pd.DataFrame:
    """Return one row a cell of the data sets that ask yes or no, or open, questions.

    Args:
        table: Answers as from `answers`.

    Returns:
        Columns of `CELL` and those of `scoring.vqa_metrics`, fractions; NaN where a cell has no
        question of the kind.
    """
    rows = []
    for _, part in table.groupby("dataset", sort=False):
        is_asked = (part["options"].map(len) == 0) | part["reference"].str.lower().isin(
            scoring.YES_NO
        )
        if is_asked.any():
            rows += [
                {**dict(zip(CELL, key, strict=True)), **scoring.vqa_metrics(cell)}
                for key, cell in part.groupby(CELL, sort=False)
            ]
    if not rows:
        return pd.DataFrame(columns=CELL)
    return pd.DataFrame(rows).sort_values(CELL, key=_rank, kind="stable", ignore_index=True)


def baselines(
    table: pd.DataFrame, question_sets: Mapping[str, datasets.QuestionSet]
) -> pd.DataFrame:
    """Return what is reached without looking: the majority answer, and a blank image.

    Args:
        table: Answers, `blank` among the eval resolutions.
        question_sets: The data sets, for the training references.

    Returns:
        Columns dataset, baseline, train_resolution (empty for the majority answer),
        n_questions, n_correct, accuracy, lower, upper.
    """
    rows: list[dict[str, Any]] = []
    of_label = {each.label: each for each in question_sets.values()}

    def add(dataset: str, name: str, train_resolution: str, part: pd.DataFrame) -> None:
        interval = comparison.accuracy_interval(part["correct"], part["group"])
        rows.append(
            {
                "dataset": dataset,
                "baseline": name,
                "train_resolution": train_resolution,
                "n_questions": len(part),
                "n_correct": int(part["correct"].sum()),
                "accuracy": interval.estimate,
                "lower": interval.lower,
                "upper": interval.upper,
            }
        )

    for dataset, part in table.groupby("dataset", sort=False):
        question_set = of_label[str(dataset)]
        asked = set(part["question_id"])
        test = question_set.split("test")
        test = test[test["question_id"].isin(asked)]
        train = question_set.split("train")
        if not train.empty:
            correct = comparison.majority_correct(train, test)
            add(str(dataset), "majority answer", "", test.assign(correct=correct))
        blank = part[part["eval_resolution"] == "blank"]
        for train_resolution, arm in blank.groupby("train_resolution", sort=False):
            add(str(dataset), "blank image", str(train_resolution), arm)
    table = pd.DataFrame(rows)
    return table.sort_values(["dataset", "train_resolution"], key=_rank, ignore_index=True)


def comparisons(
    table: pd.DataFrame, claims: tuple[Claim, ...] = CLAIMS, *, n_resamples: int = 10_000
) -> pd.DataFrame:
    """Return every claim on every data set and model: difference, interval, test, verdict.

    Pairs are the same question (and seed) in both arms; groups are resampled and their signs
    flipped as one. p-values are adjusted by Holm within a claim's family, over all its data
    sets and models. A claim with a margin is judged by its interval alone.

    Args:
        table: Answers as from `answers`.
        claims: What to compare.
        n_resamples: Bootstrap replicates of each interval.

    Returns:
        Columns claim, statement, dataset, model, first, second (train→eval), family,
        n_questions, n_groups, n_seeds, accuracy_first, accuracy_second, difference, lower,
        upper (they cover questions), detectable_difference (found with power 0.8 at 5 %, before
        any adjustment), training_lower, training_upper (they cover trainings, for several seeds),
        n_first_only, n_second_only, p_mcnemar, p_value, p_adjusted, n_family, verdict.
        A claim whose arms the study does not have gives no row.
    """
    rows: list[dict[str, Any]] = []
    intervals: list[comparison.Interval] = []
    arms = {key: part for key, part in table.groupby(CELL[:4], sort=False)}
    for claim in claims:
        for dataset, model in table[["dataset", "model"]].drop_duplicates().itertuples(index=False):
            keys = [(dataset, model, *claim.first), (dataset, model, *claim.second)]
            if not all(key in arms for key in keys):
                continue
            joined = comparison.join_arms(*(_by_seed(arms[key]) for key in keys))
            first, second = joined["correct_first"], joined["correct_second"]
            interval = _difference(first, second, joined["group"], n_resamples)
            intervals.append(interval)
            n_seeds = arms[keys[0]]["seed"].nunique()
            of_seed = joined["question_id"].str.rpartition("#")[2]
            gain = second.astype(int) - first.astype(int)
            of_training = comparison.training_interval(gain.groupby(of_seed).mean())
            tested = claim.margin == 0
            rows.append(
                {
                    "claim": claim.name,
                    "statement": claim.statement,
                    "dataset": dataset,
                    "model": model,
                    "first": "→".join(claim.first),
                    "second": "→".join(claim.second),
                    "family": claim.family,
                    "n_questions": len(joined) // n_seeds,
                    "n_groups": joined["group"].nunique(),
                    "n_seeds": n_seeds,
                    "accuracy_first": first.mean(),
                    "accuracy_second": second.mean(),
                    "difference": interval.estimate,
                    "lower": interval.lower,
                    "upper": interval.upper,
                    "detectable_difference": power.detectable_difference(
                        *power.standard_error(first, second, joined["group"])
                    ),
                    "training_lower": of_training.lower,
                    "training_upper": of_training.upper,
                    "n_first_only": int((first & ~second).sum()),
                    "n_second_only": int((~first & second).sum()),
                    # McNemar takes every pair as independent: said only where that can hold.
                    "p_mcnemar": comparison.mcnemar_exact(first, second)
                    if n_seeds == 1
                    else np.nan,
                    "p_value": comparison.paired_group_test(first, second, joined["group"])
                    if tested
                    else np.nan,
                    "margin": claim.margin,
                    "sign": claim.sign,
                }
            )
    result = pd.DataFrame(rows)
    if result.empty:
        return result
    result["p_adjusted"] = np.nan
    result["n_family"] = 0
    for _, family in result[result["margin"] == 0].groupby("family"):
        result.loc[family.index, "p_adjusted"] = comparison.holm(family["p_value"])
        result.loc[family.index, "n_family"] = len(family)
    result["verdict"] = [
        _within_margin(interval, row.margin)
        if row.margin
        else comparison.verdict(interval, row.p_adjusted, claimed_sign=row.sign)
        for interval, row in zip(intervals, result.itertuples(), strict=True)
    ]
    return result.drop(columns="sign")


def _difference(
    first: pd.Series, second: pd.Series, groups: pd.Series, n_resamples: int
) -> comparison.Interval:
    if groups.nunique() == 1:  # nothing to resample: a difference of unknown certainty
        return comparison.Interval(float(second.mean() - first.mean()), np.nan, np.nan)
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    return comparison.paired_difference(first, second, groups, rng=rng, n_resamples=n_resamples)


def _by_seed(arm: pd.DataFrame) -> pd.DataFrame:
    """Make a question of another training another row; its group stays the same."""
    return arm.assign(question_id=arm["question_id"] + "#" + arm["seed"].astype(str))


def _within_margin(interval: comparison.Interval, margin: float) -> str:
    if interval.lower > -margin:
        return "supported"
    return "contradicted" if interval.upper < -margin else "not decided"


def claims_of(*families: str) -> tuple[Claim, ...]:
    """Return the claims of some families."""
    return tuple(claim for claim in CLAIMS if claim.family in families)


def by_question(table: pd.DataFrame) -> pd.DataFrame:
    """Return the accuracy of each question text in each arm, one column an eval resolution.

    Args:
        table: Answers of one checkpoint.

    Returns:
        Columns question, n_questions and one of accuracies in percent an eval resolution.
    """
    wide = table.pivot_table(
        index="question", columns="eval_resolution", values="correct", aggfunc="mean", sort=False
    )
    asked = table.groupby("question")["question_id"].nunique().rename("n_questions")
    shown = (100 * wide[list(dict.fromkeys(table["eval_resolution"]))]).round(1)
    return shown.rename_axis(columns=None).join(asked).reset_index()


def labelled(compared: pd.DataFrame) -> pd.DataFrame:
    """Return comparisons with the label that a forest plot shows."""
    label = [
        f"{second} vs {first}"
        for first, second in zip(compared["first"], compared["second"], strict=True)
    ]
    return compared.assign(comparison=label)


def describe_answers(table: pd.DataFrame) -> str:
    """Return how many answers of how many arms there are, and how many had no answer in them."""
    n_arms = len(table[CELL].drop_duplicates())
    n_unparsable = int(table["parsed_answer"].isna().sum())
    return (
        f"{len(table):,} answers in {n_arms} cells; {n_unparsable:,} unparsable, which count as "
        f"wrong; {table['seed'].nunique()} training seed(s)."
    )


def describe_cells(grid: pd.DataFrame) -> str:
    """Return the accuracy of each eval resolution with its interval, in words."""
    return "; ".join(
        f"**{row.accuracy:.1%}** at {row.eval_resolution} ({row.lower:.1%} to {row.upper:.1%})"
        for row in grid.itertuples()
    )


def summary(compared: pd.DataFrame) -> str:
    """Return one sentence a claim: on which data sets it is supported, contradicted, open."""
    lines = []
    for statement, rows in compared.groupby("statement", sort=False):
        found = [
            f"{verdict} on {', '.join(part['dataset'])}"
            for verdict in ("supported", "contradicted", "not decided")
            if len(part := rows[rows["verdict"] == verdict])
        ]
        lines.append(f"* {statement}: **{'; '.join(found)}**.")
    return "\n".join(lines)


def describe_treatment(treatment: Mapping[str, Any]) -> str:
    """Return what low, native and mixed mean in a study, in a sentence or two."""
    is_compute = treatment["tiling"] == "compute"
    limit = "no more tiles than the pixels of an image fill (compute)"
    addition = f" A model that tiles gets {limit}." if is_compute else ""
    return (
        f"Low is at most {treatment['low_max_pixels']:,} pixels, native at most "
        f"{treatment['native_max_pixels']:,}, shrunk with a {treatment['resampling_filter']} "
        f"filter; mixed takes {100 * treatment['low_share']:.0f} % of each modality's questions "
        f"low.{addition}"
    )


def sentence(compared: pd.DataFrame) -> str:
    """Return what came out of some comparisons, in words taken from the table, a claim a line."""
    if compared.empty:
        return "The study does not have the arms of these comparisons."
    parts = []
    for statement, rows in compared.groupby("statement", sort=False):
        found = [
            f"**{row.verdict}** on {row.dataset} ({100 * row.difference:+.1f} points, "
            f"95 % interval {100 * row.lower:+.1f} to {100 * row.upper:+.1f}"
            + ("" if np.isnan(row.p_adjusted) else f", adjusted p {p_text(row.p_adjusted)}")
            + ")"
            for row in rows.itertuples()
        ]
        parts.append(f"* {statement}: {'; '.join(found)}.")
    return "\n".join(parts)


def p_text(p_value: float) -> str:
    """Return a p-value as it is printed: three digits, never zero."""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"
