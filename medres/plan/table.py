"""The predicted cost of a study as a table: tokens, operations, memory and GPU hours.

`python -m medres.plan STUDY` needs no GPU, no weights, no Hub and no data: configs of the paper's
models are part of the package, and for a data set that is not prepared it uses stated or declared
sizes, which the output says.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from medres import saving, texts
from medres import study as studies
from medres.amounts import duration, size
from medres.models import offline
from medres.plan import costs, disk, jobs, seen
from medres.plan.costs import Arm
from medres.plan.memory import Gpu
from medres.published import paper
from medres.statistics import groups
from medres.study import Study

GPU = "A100-80GB"
LEGEND = """\
tokens, max tokens: visual tokens per image, mean and largest. FLOP: operations of all epochs and
seeds. act, ckpt: activations with one image per pass, without and with gradient checkpointing.
peak: memory with the study's own settings (of single images: with one per pass). fits: images
per pass x passes x processes, the most that fit, with: the strategy for it, c gradient
checkpointing, f frozen vision tower, l LoRA. train, eval, total: GPU time. Of the image of median
area: given to the model, seen by it after its own processor, FLOP of one question, enlarged by
whom."""


def table(planned: Sequence[Arm], *, gpu: Gpu, utilisation: float) -> pd.DataFrame:
    """Return one row per arm as text: tokens, operations, memory, split and GPU time."""
    rows = []
    for arm in planned:
        train_s, eval_s = arm.seconds(gpu, utilisation)
        row = {
            "data set": arm.cell.dataset,
            "trained": arm.cell.train_resolution,
            "epochs": str(arm.epochs or ""),
            "tokens": f"{arm.mean_tokens:,.0f}",
            "max tokens": f"{arm.max_tokens:,}",
            "train FLOP": f"{arm.train_flops:.2e}" if arm.train_flops else "",
            "eval FLOP": f"{arm.eval_flops:.2e}",
        }
        row |= dict.fromkeys(("act", "ckpt", "logits", "peak", "fits", "with", "train"), "")
        if arm.base and arm.with_checkpointing and arm.requested:
            row["act"], row["ckpt"] = (
                size(arm.base.activations),
                size(arm.with_checkpointing.activations),
            )
            row["logits"], row["peak"] = size(arm.base.logits), size(arm.requested.peak)
            row["fits"], row["with"] = (
                str(arm.split or "no"),
                arm.setting.short if arm.setting else "",
            )
            row["train"] = duration(train_s)
        rows.append(row | {"eval": duration(eval_s), "total": duration(train_s + eval_s)})
    return pd.DataFrame(rows)


def misfits(planned: Sequence[Arm], *, gpu: Gpu) -> list[str]:
    """Return a line for each arm that does not fit with the study's settings, and what does fit."""
    lines = []
    for arm in planned:
        setting, needed = arm.requested_setting, arm.requested
        if setting is None or needed is None or needed.peak <= gpu.memory_bytes:
            continue
        remedy = "no known setting makes it fit; use more GPUs or larger ones"
        if arm.setting and arm.split:
            least = f"micro_batch_images: {arm.split.micro_batch}"
            changes = ", ".join(f"`{each}`" for each in [*setting.changes(arm.setting), least])
            remedy = f"fits with {changes}"
        lines.append(
            f"{arm.cell.dataset} {arm.cell.train_resolution} does not fit: {setting} needs "
            f"{size(needed.peak)} on each GPU, {gpu.name} has {size(gpu.memory_bytes)}; "
            f"{remedy}"
        )
    return lines


def stated_hours(planned: Sequence[Arm], *, gpu: Gpu, utilisation: float) -> list[str]:
    """Return a line for each arm of which the paper states hours, beside the predicted ones."""
    lines = []
    stated = paper.hours()
    for arm in planned:
        if arm.requested_setting is None:
            continue
        is_arm = (
            stated["model"].eq(offline.hub_ids().get(arm.cell.model, ""))
            & stated["dataset"].eq(arm.cell.dataset)
            & stated["train_resolution"].eq(arm.cell.train_resolution)
        )
        if is_arm.any():
            said = " and ".join(
                f"{row.hours} h with {row.trained} ({row.source})"
                for row in stated[is_arm].itertuples()
            )
            lines.append(
                f"{arm.cell.dataset} {arm.cell.train_resolution}: the paper states {said}; "
                f"predicted here with {arm.requested_setting}, all seeds: "
                f"{duration(arm.seconds(gpu, utilisation)[0])}."
            )
    return lines


def report(
    study: Study,
    *,
    gpu: Gpu,
    utilisation: float = 0.0,
    changes: Mapping[str, Any] | None = None,
    does_cluster_have_it: bool = True,
) -> str:
    """Return the plan of a study as text.

    Args:
        study: Read and checked.
        gpu: GPU that it is to run on.
        utilisation: Share of the GPU's peak that is reached; zero takes the known value.
        changes: As in `costs.arms`.
        does_cluster_have_it: Whether jobs ask a cluster for GPUs.

    Raises:
        ValueError: If a data set or a model is unknown, saying what to do.
    """
    asked_for = gpu if does_cluster_have_it else None
    utilisation = utilisation or gpu.utilisation
    holds = costs.describe(study)
    planned = costs.arms(study, holds, gpu=gpu, changes=changes)
    lines = [
        f"{study.title}: predicted cost on {gpu.name} ({gpu.flops_per_s / 1e12:.0f} TFLOP/s in "
        f"bf16, of which {utilisation:.0%} is reached; {size(gpu.memory_bytes)}). Nothing was "
        "started.",
    ]
    made = seen.of_study(study, holds)
    for model in study.models:
        own = [arm for arm in planned if arm.cell.model == model]
        shown = table(own, gpu=gpu, utilisation=utilisation).to_string(index=False)
        lines += ["", _weights(model, own), shown]
        lines += [
            "",
            f"What {model} makes of an image:",
            images(made[made["model"] == texts.named(model)]),
        ]
    seconds = [arm.seconds(gpu, utilisation) for arm in planned]
    train_s, eval_s = sum(each[0] for each in seconds), sum(each[1] for each in seconds)
    unshared_s = sum(
        each[0] * arm.unshared_flops / arm.train_flops
        for arm, each in zip(planned, seconds, strict=True)
        if arm.train_flops
    )
    apart_s = sum(
        each[0] / arm.processes + each[1] for arm, each in zip(planned, seconds, strict=True)
    )
    lines += [
        "",
        f"The whole study: {duration(train_s + eval_s)} of GPU time ({duration(train_s)} training, "
        f"{duration(eval_s)} evaluation), {duration(apart_s)} if runs follow one another.",
        disk.line(disk.predict(study, holds, changes=changes)),
    ]
    if unshared_s > train_s:
        lines.append(
            f"Training would take {duration(unshared_s)} if every question had its own pass."
        )
    lines += [
        "",
        *misfits(planned, gpu=gpu),
        *stated_hours(planned, gpu=gpu, utilisation=utilisation),
        *saving.lines(seen.saved(study, holds)),
        *studies.unpinned(study),
        *(f"{dataset}: {each.origin}." for dataset, each in holds.items()),
        *(
            f"{dataset}: {groups.sentence(counts)}."
            for dataset, counts in studies.group_sizes(study).items()
        ),
        LEGEND,
        "",
        f"What jobs ask a cluster{'' if does_cluster_have_it else ' without GPUs'} for "
        f"(PROFILE=slurm): {jobs.TIMES_PREDICTED:g} times the "
        f"predicted hours and {jobs.FIXED_MINUTES} minutes; {jobs.TIMES_BYTES:g} times the main "
        "memory that is counted.",
        jobs.table(study, jobs.of_arms(study, planned, gpu=asked_for, utilisation=utilisation)),
    ]
    return "\n".join(lines)


def images(made: pd.DataFrame) -> str:
    """Return what a model makes of images of each data set, as a narrow table.

    Args:
        made: Rows of one model, as from `seen.of_study`.
    """
    is_next = made["dataset"].duplicated()
    rows = pd.DataFrame(
        {
            "data set": made["dataset"].mask(is_next, ""),
            "image": made["stored_px"].mask(is_next, ""),
            "resolution": made["resolution"],
            "given": made["given_px"],
            "seen": made["seen_px"],
            "tiles": made["tiles"],
            "tokens": made["visual_tokens"].map("{:,}".format),
            "of all images": made["tokens_range"],
            "FLOP": made["flops_per_question"].map("{:.2e}".format),
            "peak": [size(each) if each == each else "" for each in made["training_bytes"]],
            "enlarged": made["enlarged"],
        }
    )
    is_said = rows.ne("").any()
    return str(rows.loc[:, is_said].to_string(index=False))


def _weights(model: str, planned: Sequence[Arm]) -> str:
    n_weights = offline.sizes_of(offline.config_of(model)).n_weights
    line = f"{model}: {n_weights:,} weights"
    for arm in [arm for arm in planned if arm.requested][:1]:
        each, setting = arm.requested, arm.requested_setting
        assert each is not None
        line += (
            f"; on each of {arm.processes} GPU, with {setting.strategy if setting else ''}: "
            f"weights {size(each.weights)}, gradients {size(each.gradients)}, optimiser states "
            f"{size(each.optimiser)}, buffers {size(each.buffers)}"
        )
    return line
