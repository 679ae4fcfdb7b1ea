"""What a study costs, before anything is started: tokens, operations, memory and GPU hours.

`python -m medres.plan STUDY` needs no GPU, no weights, no hub and no data: configs of the
paper's models are kept in the package, and where a data set is not prepared, the sizes and
counts that the paper states stand in, which the output says.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from medres import datasets, memory, models, resolution, runs
from medres import study as studies
from medres.memory import GPUS, Gpu, Load, Memory, Setting, Split
from medres.models import kept
from medres.resolution import Geometry, Layout, Treatment
from medres.study import Cell, Study

TEXT_TOKENS = 64
"""A question with its share of the prompt and its reply: a round number, said in the output."""
ANSWER_TOKENS = 16
"""Of them the reply's, whose logits training computes."""
UTILISATION = 0.4
"""Share of a GPU's peak that a training is taken to reach, recomputation included."""


@dataclass(frozen=True)
class Stated:
    """What is known of a data set without having it."""

    train: tuple[int, int]
    """Images and questions that the paper's training is known or likely to have seen."""
    test: tuple[int, int]
    """Images and questions of the test."""
    image_px: tuple[int, int] = (0, 0)
    """A typical size, where the paper states none."""


STATED = {
    "subcellular": Stated((15_744, 15_744), (2000, 2000)),
    "compound": Stated((10_000, 10_000), (1000, 1000)),
    "cervical": Stated((770, 770), (193, 193)),
    "wsi": Stated((804, 7139), (86, 735)),
    "vqa-rad": Stated((313, 1793), (203, 451)),
    "path-vqa": Stated((2599, 19_654), (858, 6719), (750, 400)),
    "slake": Stated((450, 4919), (96, 1061)),
}
"""The paper's data sets. Steps of its checkpoints times its batch of 128 give the training images
of subcellular, compound (undecided) and cervical; the others are counts of the sources."""


@dataclass(frozen=True)
class Images:
    """Images of one size with equally many questions each."""

    size_px: tuple[int, int]
    n_images: float
    questions_each: float


@dataclass(frozen=True)
class Described:
    """The images of a data set, as far as its cost goes."""

    train: list[Images]
    test: list[Images]
    said: str
    """Where this is from."""


@dataclass(frozen=True)
class Arm:
    """One model trained on one data set at one resolution, and its evaluation."""

    cell: Cell
    mean_tokens: float
    """Visual tokens of a training image; of a test image at native where nothing is trained."""
    max_tokens: int
    train_flops: int
    """Of all seeds together, an image's questions sharing it, as medres trains them."""
    unshared_flops: int
    """The same where each question brings its image along, as other trainers do."""
    eval_flops: int
    plain: Memory | None = None
    """Of one image a pass; None where nothing is trained."""
    checkpointed: Memory | None = None
    asked: Memory | None = None
    """Of as many images a pass as the study says."""
    setting: Setting | None = None
    """The first that fits; None where none does, or nothing is trained."""
    split: Split | None = None
    """The largest micro-batch that fits, with that setting."""

    def hours(self, gpu: Gpu, utilisation: float) -> tuple[float, float]:
        """Return the GPU hours of training and of evaluation.

        Gradient checkpointing computes each layer once more: a third on top.
        """
        again = 4 / 3 if self.setting and self.setting.is_checkpointed else 1.0
        per_hour = gpu.flops_per_s * utilisation * 3600
        return self.train_flops * again / per_hour, self.eval_flops / per_hour


def describe(study: Study, dataset: str) -> Described:
    """Return the images of a data set: as prepared, else as the paper states them.

    Raises:
        ValueError: If it is neither prepared nor one of the paper's, with what to do.
    """
    if runs.is_whole(runs.folder_of(study.name, "questions", dataset)):
        question_set = datasets.load(study.name, dataset)
        sides = [_counted(question_set.split(split)) for split in ("train", "test")]
        return Described(sides[0], sides[1], "as prepared")
    parameters = study.datasets[dataset]
    name = str(parameters.get("source") or dataset).replace("_", "-")
    if "folder" not in parameters or name not in STATED:
        raise ValueError(
            f"data set {dataset!r} is not prepared, and the paper states no sizes for it; prepare "
            f"it with `python -m medres.study prepare {study.name} {dataset}`"
        )
    stated, paper_px = STATED[name], datasets.REAL[name].SOURCE.paper_image_px
    size_px, said = stated.image_px, "counts from the paper and the source, a typical size"
    if paper_px:
        width, _, height = paper_px.partition(" x ")
        size_px, said = (int(width), int(height)), "sizes from the paper"
    train, test = (
        [Images(size_px, n_images, n_questions / n_images)]
        for n_images, n_questions in (stated.train, stated.test)
    )
    return Described(train, test, f"{said}: {size_px[0]} x {size_px[1]} px")


def _counted(table: pd.DataFrame) -> list[Images]:
    rows = table.groupby("image").agg({"width_px": "first", "height_px": "first"})
    rows["questions"] = table.groupby("image").size()
    counts = Counter(rows.itertuples(index=False, name=None))
    return [
        Images((int(width), int(height)), n_images, float(questions))
        for (width, height, questions), n_images in sorted(counts.items())
    ]


def arms(study: Study, *, gpu: Gpu, gpus: int, setting: Setting | None = None) -> list[Arm]:
    """Return what each arm of a study costs, all seeds together, the costly ones first.

    Args:
        study: Read and checked.
        gpu: Card that it is to run on.
        gpus: How many of them share one training.
        setting: How training is kept in memory; the paper's unless given.

    Raises:
        ValueError: If a data set or a model is not known, with what to do.
    """
    described = {dataset: describe(study, dataset) for dataset in study.datasets}
    cells: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in study.cells("evaluate"):
        cells.setdefault((cell.dataset, cell.model, cell.train_resolution), []).append(cell)
    return [
        _arm(study, same, described[same[0].dataset], gpu, gpus, setting or Setting())
        for same in cells.values()
    ]


def _arm(
    study: Study, cells: Sequence[Cell], described: Described, gpu: Gpu, gpus: int, asked: Setting
) -> Arm:
    cell = cells[0]
    config = kept.config_of(cell.model)
    sizes = kept.sizes_of(config)
    evaluation = study.settings(cell)
    treatment = models.treatment(config, **{name: evaluation[name] for name in models.TREATMENT})

    def forward(geometry: Geometry, questions: float) -> int:
        layout = _layout(config, geometry)
        return resolution.forward_flops(
            sizes.shape,
            visual_tokens=layout.visual_tokens,
            text_tokens=round(TEXT_TOKENS * questions),
            n_crops=layout.n_crops,
        )

    # Mixed answers are put together from the low and the native ones.
    eval_flops = sum(
        images.n_images
        * forward(resolution.plan(images.size_px, name, treatment), images.questions_each)
        for images in described.test
        for name in evaluation["eval_resolutions"]
        if name != "mixed"
    )
    trained = cell.train_resolution != "none"
    seen = _views(described.train if trained else described.test, cell, treatment, evaluation)
    if not seen:
        raise ValueError(f"data set {cell.dataset!r} has no question to train or ask on")
    tokens = [geometry.visual_tokens for _, geometry in seen]
    weights = [images.n_images for images, _ in seen]
    arm = Arm(
        cell=cell,
        mean_tokens=float(np.average(tokens, weights=weights)),
        max_tokens=max(tokens),
        train_flops=0,
        unshared_flops=0,
        eval_flops=round(eval_flops) * len(cells),
    )
    if not trained:
        return arm
    settings = study.settings(replace(cell, stage="finetune"))
    passes = 3 * settings["epochs"] * len(cells)
    shared = sum(
        images.n_images * forward(geometry, images.questions_each) for images, geometry in seen
    )
    unshared = sum(
        images.n_images * images.questions_each * forward(geometry, 1.0)
        for images, geometry in seen
    )
    arm = replace(arm, train_flops=round(passes * shared), unshared_flops=round(passes * unshared))
    images, geometry = max(seen, key=lambda pair: forward(pair[1], pair[0].questions_each))
    load = Load(
        _layout(config, geometry),
        round(TEXT_TOKENS * images.questions_each),
        round(ANSWER_TOKENS * images.questions_each),
    )
    return _fitted(arm, sizes, load, settings, gpu, gpus, asked)


def _views(
    groups: list[Images], cell: Cell, treatment: Treatment, settings: dict[str, Any]
) -> list[tuple[Images, Geometry]]:
    """Return the images of an arm as it sees them; those of mixed in both ways."""
    shares = {"low": 1.0} if cell.train_resolution == "low" else {"native": 1.0}
    if cell.train_resolution == "mixed":
        shares = {"low": settings["low_share"], "native": 1 - settings["low_share"]}
    return [
        (
            replace(images, n_images=images.n_images * share),
            resolution.plan(images.size_px, name, treatment),
        )
        for images in groups
        for name, share in shares.items()
        if share
    ]


def _layout(config: Any, geometry: Geometry) -> Layout:
    return geometry.layout or models.geometry(config, geometry.given_px)


def _fitted(
    arm: Arm,
    sizes: kept.Sizes,
    load: Load,
    settings: dict[str, Any],
    gpu: Gpu,
    gpus: int,
    asked: Setting,
) -> Arm:
    total = settings["batch_images"]
    n_asked = min(settings["micro_batch_images"] or total, max(1, total // gpus))

    def predict(setting: Setting, micro_batch: int, processes: int) -> Memory:
        return memory.predict(
            sizes, load, setting=setting, micro_batch=micro_batch, processes=processes
        )

    arm = replace(
        arm,
        plain=predict(replace(asked, is_checkpointed=False), 1, gpus),
        checkpointed=predict(replace(asked, is_checkpointed=True), 1, gpus),
        asked=predict(asked, n_asked, gpus),
    )
    for setting in [asked, *memory.remedies(asked, processes=gpus)]:
        found = memory.split(
            total,
            processes=gpus,
            peak_bytes=lambda micro, used, setting=setting: predict(setting, micro, used).peak,
            free_bytes=gpu.memory_bytes,
        )
        if found:
            return replace(arm, setting=setting, split=found)
    return arm


def misfits(planned: Sequence[Arm], *, gpu: Gpu, setting: Setting | None = None) -> list[str]:
    """Return a line for each arm that does not fit as the study says, with what makes it fit."""
    wanted, lines = setting or Setting(), []
    for arm in planned:
        if arm.asked is None or arm.asked.peak <= gpu.memory_bytes:
            continue
        remedy = "nothing known makes it fit; take more GPUs or larger ones"
        if arm.setting == wanted and arm.split:
            remedy = f"fits with `micro_batch_images: {arm.split.micro_batch}`"
        elif arm.setting and arm.split:
            remedy = f"fits with {arm.setting}, {arm.split.micro_batch} images a pass at most"
        lines.append(
            f"{arm.cell.dataset} {arm.cell.train_resolution} does not fit: {wanted} needs "
            f"{_gb(arm.asked.peak)} GB on each GPU, {gpu.name} has {_gb(gpu.memory_bytes)} GB; "
            f"{remedy}"
        )
    return lines


def table(planned: Sequence[Arm], *, gpu: Gpu, utilisation: float) -> pd.DataFrame:
    """Return one row an arm: tokens, operations, memory, split and GPU hours."""
    rows = []
    for arm in planned:
        train_h, eval_h = arm.hours(gpu, utilisation)
        parts = {"one image": arm.plain, "checkpointed": arm.checkpointed}
        rows.append(
            {
                "data set": arm.cell.dataset,
                "trained": arm.cell.train_resolution,
                "tokens": f"{arm.mean_tokens:,.0f}",
                "most": f"{arm.max_tokens:,}",
                "train PFLOP": f"{arm.train_flops / 1e15:,.0f}",
                "eval PFLOP": f"{arm.eval_flops / 1e15:,.0f}",
                **{
                    f"{name} GB": _gb(part.activations) if part else ""
                    for name, part in parts.items()
                },
                "logits GB": _gb(arm.plain.logits) if arm.plain else "",
                "peak GB": _gb(arm.asked.peak) if arm.asked else "",
                "fits": str(arm.split or "no") if arm.plain else "",
                "with": str(arm.setting or "") if arm.plain else "",
                "train h": f"{train_h:,.2f}" if arm.plain else "",
                "eval h": f"{eval_h:,.2f}",
            }
        )
    return pd.DataFrame(rows)


def _gb(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:,.1f}"


def report(study: Study, *, gpu: Gpu, gpus: int, utilisation: float, setting: Setting) -> str:
    """Return the plan of a study as text."""
    planned = arms(study, gpu=gpu, gpus=gpus, setting=setting)
    lines = [
        f"{study.title}: what it costs on {gpus} x {gpu.name} ({gpu.flops_per_s / 1e12:.0f} "
        f"TFLOP/s in bf16, {utilisation:.0%} of it reached; {_gb(gpu.memory_bytes)} GB), "
        f"{setting}. A prediction; nothing was started.",
    ]
    for model in study.models:
        lines += ["", *_of_model(study, model, planned, gpu, gpus, utilisation, setting)]
    hours = [arm.hours(gpu, utilisation) for arm in planned]
    train_h, eval_h = sum(each[0] for each in hours), sum(each[1] for each in hours)
    unshared_h = sum(
        each[0] * arm.unshared_flops / arm.train_flops
        for arm, each in zip(planned, hours, strict=True)
        if arm.train_flops
    )
    lines += [
        "",
        f"The whole study: {train_h + eval_h:,.1f} GPU hours ({train_h:,.1f} training, "
        f"{eval_h:,.1f} evaluation), {(train_h + eval_h) / gpus:,.1f} hours on {gpus} GPU.",
        f"Training would take {unshared_h:,.1f} GPU hours where each question brings its image.",
        "",
        *misfits(planned, gpu=gpu, setting=setting),
        *studies.unpinned(study),
        *(f"{dataset}: {describe(study, dataset).said}." for dataset in study.datasets),
        f"Taken for each question: {TEXT_TOKENS} text tokens, {ANSWER_TOKENS} of them its reply.",
        "`one image` and `checkpointed` are activations of one image a pass, without and with "
        "gradient checkpointing; `peak` is that of the study's own settings; `fits` is images a "
        "pass x passes x processes, the most that fit.",
    ]
    return "\n".join(lines)


def _of_model(
    study: Study,
    model: str,
    planned: Sequence[Arm],
    gpu: Gpu,
    gpus: int,
    utilisation: float,
    setting: Setting,
) -> list[str]:
    own = [arm for arm in planned if arm.cell.model == model]
    n_weights = kept.sizes_of(kept.config_of(model)).n_weights
    line = f"{model}: {n_weights / 1e9:,.2f} billion weights"
    for each in [arm.asked for arm in own if arm.asked][:1]:
        line += (
            f"; on each GPU weights {_gb(each.weights)}, gradients {_gb(each.gradients)}, optimiser "
            f"states {_gb(each.optimiser)}, buffers {_gb(each.buffers)} GB"
        )
    return [line, table(own, gpu=gpu, utilisation=utilisation).to_string(index=False)]


def main(arguments: list[str]) -> int:
    """Say what a study costs, before anything is started."""
    parser = argparse.ArgumentParser(prog="python -m medres.plan", description=main.__doc__)
    parser.add_argument("study")
    parser.add_argument("--gpu", default="A100-80GB", help=", ".join(GPUS))
    parser.add_argument("--gpus", type=int, default=1, help="that share one training")
    parser.add_argument(
        "--utilisation", type=float, default=UTILISATION, help="share of the peak that is reached"
    )
    parser.add_argument("--zero-stage", type=int, default=2, choices=[2, 3])
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--offload", action="store_true", help="optimiser states to the host")
    parser.add_argument("--lora", action="store_true")
    asked = parser.parse_args(arguments)
    try:
        if asked.gpu not in GPUS:
            raise ValueError(f"unknown GPU {asked.gpu!r}; known are {', '.join(GPUS)}")
        if asked.gpus < 1:
            raise ValueError(f"--gpus is {asked.gpus}; it must be at least 1")
        if not 0 < asked.utilisation <= 1:
            raise ValueError(f"--utilisation is {asked.utilisation}; it is a share between 0 and 1")
        setting = Setting(asked.zero_stage, asked.gradient_checkpointing, asked.offload, asked.lora)
        study = studies.load(asked.study)
        print(
            report(
                study,
                gpu=GPUS[asked.gpu],
                gpus=asked.gpus,
                utilisation=asked.utilisation,
                setting=setting,
            )
        )
    except (ValueError, OSError) as error:
        print(f"medres: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
