"""What a model makes of a data set's images at each resolution, before anything runs.

From image sizes and the model's config alone: no pixels, no weights, no Hub.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from medres import models, resolution, saving, texts, trained_at, views
from medres.models import flops, offline, trainable
from medres.models.offline import Sizes
from medres.plan import memory
from medres.plan.contents import Described, Images
from medres.resolution import BUDGETS, Geometry, Layout, Treatment
from medres.study import Cell, Study

OWN = {
    "tokens": ("tokens-70", "tokens-280", "tokens-1120"),
    "tiles": ("tiles-1", "tiles-4"),
    "pan-and-scan": ("pan-and-scan",),
}
"""Budgets of a model's own that are shown for comparison, by the kinds that it takes."""
UPSAMPLED = "upsampled-<filter>"
SHOWN = (
    "dataset model stored_px resolution given_px seen_px tiles visual_tokens tokens_range "
    "flops_per_question training_bytes enlarged"
).split()
"""Columns for a reader; the others are the same as numbers."""
CAPTION = (
    "Sizes, tokens, operations and memory of the image of median area; range: of the visual tokens "
    "of all images. Seen: the pixels that the model's own processor makes of the given ones. "
    "Operations: of one question with all its options. Memory: of each GPU in training with one "
    "image per pass and the study's settings. Enlarged: with the share of the images where it is "
    "not all of them. Nothing was run."
)


@dataclass(frozen=True)
class _Setting:
    """One resolution on all images of a data set."""

    name: str
    typical: Geometry
    geometries: Sequence[Geometry]
    weights: Sequence[float]

    def share(self, is_so: Callable[[Geometry], bool]) -> float:
        return float(np.average([is_so(each) for each in self.geometries], weights=self.weights))


def resolutions(asked: Sequence[str], treatment: Treatment) -> list[str]:
    """Return low and native, what else a study asks at, and budgets of the model's own.

    Args:
        asked: Eval resolutions of the study, and those of its trainings.
        treatment: Of the model.
    """
    same = {"upsampled": UPSAMPLED, "low": "low"}  # all filters give the same sizes
    others = [same.get(resolution.parse(name)[0], name) for name in asked]
    own = [name for kind in treatment.budgets for name in OWN[kind]]
    names = dict.fromkeys(["low", "native", *others, *own])
    return [name for name in names if name not in ("mixed", "blank")]


def pictured(asked: Sequence[str], treatment: Treatment) -> list[str]:
    """Return the four resolutions at which a picture shows best what differs: low and native first.

    Args:
        asked: As in `resolutions`.
        treatment: As in `resolutions`.
    """
    kinds = {name: resolution.parse(name)[0] for name in asked}
    hidden = ("mixed", "blank", "low", "upsampled", *views.KINDS)
    others = [name for name in asked if kinds[name] not in hidden]
    own = [name for kind in treatment.budgets for name in OWN[kind]]
    filled = ["low", "native", *others, *own[::-1], "scale-0.5", "upsampled-bicubic"]
    return list(dict.fromkeys(filled))[:4]


def typical_px(images: Sequence[Images]) -> tuple[int, int]:
    """Return width and height of the image of median area, of a data set's images."""
    ordered = sorted(images, key=lambda each: (each.size_px[0] * each.size_px[1], each.size_px))
    reached = np.cumsum([each.n_images for each in ordered])
    return ordered[int(np.searchsorted(reached, reached[-1] / 2))].size_px


def table(
    images: Sequence[Images],
    names: Sequence[str],
    treatment: Treatment,
    *,
    flops_of: Callable[[Geometry], int],
    bytes_of: Callable[[Layout], int] | None = None,
) -> pd.DataFrame:
    """Return what a model makes of images, one row per resolution.

    Args:
        images: Sizes, each with how many images have it.
        names: Resolutions, as from `resolutions`.
        treatment: Of the model, which lays out given pixels.
        flops_of: Operations of a question about an image that is planned so.
        bytes_of: Memory of a training with such images; none if nothing is trained.

    Returns:
        Columns stored_px, resolution, given_px, seen_px, tiles, visual_tokens, flops_per_question
        and training_bytes (NaN without a training) of the image of median area; least_tokens,
        most_tokens and, as text, tokens_range over all images; share_enlarged and
        share_enlarged_by_model of the images, and in words enlarged. Sizes are text, width x
        height.
    """
    kinds: dict[tuple[tuple[int, int], float | None], float] = {}
    for each in images:
        kind = each.size_px, each.mpp_um
        kinds[kind] = kinds.get(kind, 0.0) + each.n_images
    typical_size_px = typical_px(images)
    typical = next(kind for kind in kinds if kind[0] == typical_size_px)
    rows = []
    for name in names:
        asked = "upsampled-bicubic" if name == UPSAMPLED else name
        at = {
            (size_px, um): resolution.plan(size_px, asked, treatment, mpp_um=um)
            for size_px, um in kinds
        }
        setting = _Setting(name, at[typical], list(at.values()), list(kinds.values()))
        rows.append(_row(setting, flops_of, bytes_of))
    return pd.DataFrame(rows)


def _row(
    setting: _Setting,
    flops_of: Callable[[Geometry], int],
    bytes_of: Callable[[Layout], int] | None,
) -> dict[str, Any]:
    typical = setting.typical
    assert typical.layout is not None  # planned for a model
    tokens = [each.visual_tokens for each in setting.geometries]
    by_us = setting.share(lambda each: each.is_enlarged)
    by_model = setting.share(lambda each: each.is_enlarged_by_model)
    return {
        "stored_px": _size(typical.original_px),
        "resolution": setting.name,
        "given_px": _size(typical.given_px),
        "seen_px": _size(typical.layout.image_px or typical.layout.canvas_px),
        "tiles": f"{len(typical.views)} views" if typical.views else tiles(typical.layout),
        "visual_tokens": typical.visual_tokens,
        "tokens_range": f"{min(tokens):,} to {max(tokens):,}" if min(tokens) < max(tokens) else "",
        "least_tokens": min(tokens),
        "most_tokens": max(tokens),
        "flops_per_question": float(flops_of(typical)),
        "training_bytes": float(bytes_of(typical.layout)) if bytes_of else np.nan,
        "enlarged": ", ".join(
            f"{who}{'' if share == 1 else f' ({_percent(share)})'}"
            for who, share in (("before the model", by_us), ("by the model", by_model))
            if share
        ),
        "share_enlarged": by_us,
        "share_enlarged_by_model": by_model,
    }


def _size(size_px: tuple[int, int]) -> str:
    return f"{size_px[0]} x {size_px[1]}"


def _percent(share: float) -> str:
    return "<1 %" if share < 0.01 else f"{100 * share:.0f} %"


def tiles(layout: Layout) -> str:
    """Return the tiles of an image in words; empty if it is encoded as a whole."""
    n_tiles = layout.columns * layout.rows
    if layout.n_crops == 1 and n_tiles == 1:
        return ""
    whole = " + whole" if layout.n_crops > n_tiles else ""
    return f"{layout.columns} x {layout.rows}{whole}"


def of_study(study: Study, holds: Mapping[str, Described]) -> pd.DataFrame:
    """Return `table` for each data set and model of a study whose config is at hand.

    Args:
        study: Read and checked.
        holds: What its data sets hold.

    Returns:
        The columns of `table` behind dataset and model.

    Raises:
        ValueError: If a model does not have a resolution of the study.
    """
    check(study)
    parts = []
    for model in filter(offline.is_at_hand, study.models):
        sizes = offline.sizes_of(offline.config_of(model))
        for dataset, held in holds.items():
            settings = study.settings(cell_of(study, dataset, model, "evaluate"))
            treatment = offline.treatment_of(model, settings)
            per_token = offline.characters_per_token(model, held.train.texts)
            text_tokens = held.test.text_tokens(1, per_token)

            def flops_of(
                at: Geometry,
                n: int = text_tokens,
                sizes: Sizes = sizes,
                per_token: float = per_token,
            ) -> int:
                more = at.layout.mark_tokens if at.layout else 0
                more += round(len(at.words) / per_token)
                told = flops.of_image(at)
                return flops.forward_flops(sizes.shape, text_tokens=n + more, **told)

            own = table(
                [*held.train.images, *held.test.images],
                resolutions(
                    [*settings["eval_resolutions"], *trained_at.taken(study.train_resolutions)],
                    treatment,
                ),
                treatment,
                flops_of=flops_of,
                bytes_of=_training_bytes(study, dataset, model, sizes, held, per_token),
            )
            own.insert(0, "dataset", dataset)
            own.insert(1, "model", texts.named(model))
            parts.append(own)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=SHOWN)


def cell_of(study: Study, dataset: str, model: str, stage: str) -> Cell:
    """Return a cell of a study, for the parameters that all cells of a model share."""
    return Cell(stage, dataset, model, study.train_resolutions[0], study.seeds[0])


def _training_bytes(
    study: Study, dataset: str, model: str, sizes: Sizes, held: Described, per_token: float
) -> Callable[[Layout], int] | None:
    side = held.train
    if not study.cells("finetune") or not side.images:
        return None
    settings = study.settings(cell_of(study, dataset, model, "finetune"))
    weights = [each.n_images for each in side.images]
    n_questions = np.average([each.questions_each for each in side.images], weights=weights)

    config = offline.config_of(model)
    is_flat = models.family_of(config).sharing_of(config) == "cache"

    def bytes_of(layout: Layout) -> int:
        load = side.load(layout, n_questions, per_token, is_flat=is_flat)
        setting = memory.setting_of(settings)
        found = memory.predict(
            sizes, load, setting=setting, micro_batch=1, processes=settings["processes"]
        )
        return found.peak

    return bytes_of


def without_config(study: Study) -> str:
    """Return for which models of a study nothing is known here, and the remedy; mostly empty."""
    missing = [texts.named(each) for each in study.models if not offline.is_at_hand(each)]
    if not missing:
        return ""
    return (
        f"The config of {', '.join(missing)} is not available locally, so what the model makes of "
        "these images is not known before it is loaded; a folder with its config.json is enough."
    )


def saved(study: Study, holds: Mapping[str, Described]) -> pd.DataFrame:
    """Return `saving.table` of a study's images, from their sizes.

    Args:
        study: As in `of_study`.
        holds: As in `of_study`.
    """
    rows: list[dict[str, Any]] = []
    for model in filter(offline.is_at_hand, study.models):
        for dataset, held in holds.items():
            settings = study.settings(cell_of(study, dataset, model, "evaluate"))
            treatment = offline.treatment_of(model, settings)
            for number, images in enumerate([*held.train.images, *held.test.images]):
                for name in ("low", "native"):
                    geometry = resolution.plan(images.size_px, name, treatment)
                    rows.append(
                        {
                            "dataset": dataset,
                            "model": texts.named(model),
                            "image": number,
                            "eval_resolution": name,
                            "visual_tokens": geometry.visual_tokens,
                            "given_width_px": geometry.given_px[0],
                            "given_height_px": geometry.given_px[1],
                            "is_enlarged_by_model": geometry.is_enlarged_by_model,
                            "n_images": images.n_images,
                        }
                    )
    return saving.table(pd.DataFrame(rows)) if rows else pd.DataFrame(columns=saving.COLUMNS)


def check(study: Study) -> None:
    """Refuse a study that trains or asks a model at a resolution that it does not have.

    Nor are more layers adapted than a model has. Models whose config is not at hand are left to
    their training and evaluation.

    Raises:
        ValueError: With the file, the resolution, the model, and what it takes.
    """
    dataset = next(iter(study.datasets))
    does_adapt = any(map(trained_at.earlier, study.train_resolutions))
    for model in filter(offline.is_at_hand, study.models):
        settings = study.settings(cell_of(study, dataset, model, "evaluate"))
        trained, asked = trained_at.taken(study.train_resolutions), settings["eval_resolutions"]
        for where, names in (
            ("study.yaml: train_resolutions", trained),
            ("03_evaluate.yaml: eval_resolutions", asked),
        ):
            if any(resolution.parse(name)[0] in BUDGETS for name in names):
                with _said_of(f"{study.name}/{where}", model):
                    resolution.check(names, offline.treatment_of(model, settings))
        for name in study.datasets if does_adapt else ():
            layers = study.settings(cell_of(study, name, model, "finetune"))["adapt_layers"]
            is_own = "adapt_layers" in study.finetune.get(name, {})
            file = f"study.yaml: finetune: {name}" if is_own else "02_finetune.yaml"
            with _said_of(f"{study.name}/{file}", model):
                n_layers = offline.config_of(model).get_text_config().num_hidden_layers
                trainable.check(layers, n_layers=n_layers)


@contextmanager
def _said_of(where: str, model: str) -> Iterator[None]:
    """Say of an error in which parameter file it is, and of which model."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"params/{where}, {texts.named(model)}: {error}") from None


def shown(found: pd.DataFrame) -> list[str]:
    """Return the columns of `of_study` that a page shows: those of `SHOWN` that say something."""
    return [name for name in SHOWN if found[name].notna().any() and not found[name].eq("").all()]
