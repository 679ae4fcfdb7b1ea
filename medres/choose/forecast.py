"""What a choice takes, and what it can decide, before anything is asked."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from medres import amounts, saving, texts
from medres import study as studies
from medres.choose import written
from medres.models import offline
from medres.plan import costs, ladder, seen
from medres.plan.memory import Gpu
from medres.statistics import best, groups

if TYPE_CHECKING:
    from medres.choose import Ready

MARGINS = (0.01, 0.02, 0.05, 0.1)
DISCORDANCES = (0.02, 0.05, 0.1)
"""Shares of questions that only one of two sizes answers correctly."""


def report(ready: "Ready", *, gpu: Gpu, page: Mapping[str, float]) -> str:
    """Return the plan of a choice as text.

    Args:
        ready: As from `choose.ready`.
        gpu: That it is to run on.
        page: What is stated now of `written.PAGE`.
    """
    study = ready.study
    stands = studies.read_params(studies.params_path(study.name, written.CHOICE))
    page = {**written.PAGE, **stands, **page}
    shown = rungs(
        ready,
        gpu=gpu,
        price=float(page["price_per_million_tokens"]),
        hourly=float(page["price_per_hour"]),
    )
    margin = float(page["margin"])
    lines = [
        f"{study.title} Nothing was asked.",
        "",
        shown.to_string(index=False),
        "tokens: of an image, median and range. FLOP and time: of all questions, at "
        f"{gpu.utilisation:.0%} of the peak of one {gpu.name}.",
        "",
        *saving.lines(seen.saved(study, {ready.asked.dataset: ready.holds})),
        "",
        *decidable(ready, margin=margin),
    ]
    return "\n".join(lines)


def rungs(ready: "Ready", *, gpu: Gpu, price: float, hourly: float) -> pd.DataFrame:
    """Return what each rung costs, one row per rung, as text.

    Args:
        ready: As in `report`.
        gpu: As in `report`.
        price: Per million tokens of prompts, of image and text; 0 if not stated.
        hourly: Per hour of the GPU; 0 if not stated.
    """
    asked, side = ready.asked, ready.holds.test
    is_known = offline.is_at_hand(asked.model)
    flops_of = None
    if is_known:
        config = offline.config_of(asked.model)
        flops_of = costs.of_answers(asked.model, config, side, ready.treatment)
    found = ladder.table(side.images, ready.ladder, ready.treatment, flops_of=flops_of)
    n_questions = sum(each.n_images * each.questions_each for each in side.images)
    per_token = offline.characters_per_token(asked.model, side.texts) if is_known else 4.0
    text_tokens = n_questions * side.text_tokens(1, per_token)
    seconds = found["flops"] / (gpu.flops_per_s * gpu.utilisation)
    prices = (found["tokens"] + text_tokens) / 1e6 * price + seconds / 3600 * hourly
    rows = pd.DataFrame({"resolution": found["resolution"], "given": found["given_px"]})
    rows["tokens"] = [
        f"{row.median_tokens:,}"
        + (
            f" ({row.least_tokens:,} to {row.most_tokens:,})"
            if row.least_tokens < row.most_tokens
            else ""
        )
        for row in found.itertuples()
    ]
    if flops_of is not None:
        rows["FLOP"] = found["flops"].map("{:.2e}".format)
        rows["time"] = seconds.map(amounts.duration)
    if price or (hourly and flops_of is not None):
        rows["price"] = prices.map("{:,.4g}".format)
    return rows


def decidable(ready: "Ready", *, margin: float) -> list[str]:
    """Return what these questions can decide, and how many images each margin needs.

    Args:
        ready: As in `report`.
        margin: That is asked for, a fraction.
    """
    counts = studies.group_sizes(ready.study)[ready.asked.dataset]
    n_images = sum(each.n_images for each in ready.holds.test.images)
    n_groups, n_questions = len(counts), sum(counts)
    n_arms = len(ready.ladder.rungs)
    each = n_questions / n_groups
    rows = []
    for asked in sorted({*MARGINS, margin}):
        row = {"margin": f"{100 * asked:g} points"}
        for discordance in DISCORDANCES:
            needed = best.groups_to_decide(
                each, n_arms=n_arms, margin=asked, discordance=discordance
            )
            many = "no number" if needed is None else f"{math.ceil(needed * n_images / n_groups):,}"
            row[f"at {100 * discordance:g} %"] = many
        rows.append(row)
    chances = []
    for discordance in DISCORDANCES:
        chance = best.chance_to_decide(
            n_groups, each, n_arms=n_arms, margin=margin, discordance=discordance
        )
        chances.append(f"{100 * chance:.0f} % at {100 * discordance:g} %")
    return [
        f"Images needed to decide within a margin, with a chance of 80 %, if the sizes are equally "
        f"good; by the share of questions that only one of two sizes answers correctly. The table "
        f"has {n_images:,.0f} images, {n_questions:,} questions, {n_groups:,} groups:",
        pd.DataFrame(rows).to_string(index=False),
        f"Within {100 * margin:g} points these {n_images:,.0f} images decide with a chance of "
        f"{', '.join(chances)}.",
        f"{texts.one_line(groups.sentence(counts))}.",
    ]
