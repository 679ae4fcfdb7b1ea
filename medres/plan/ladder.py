"""The sizes at which a model is asked, to choose one: a ladder from low to native and above.

From image sizes and the model's treatment alone: no pixels, no weights. A rung is an eval
resolution; rungs that give every image the same pixels and the model the same layout are one.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from medres import resolution, views
from medres.plan.contents import Images
from medres.resolution import Geometry, Treatment

LOW_PIXELS = 50_176
"""224 x 224, the low budget of the paper."""
LOW_TOKENS = 4
"""Visual tokens that the lowest rung of large images has at least."""
LARGE = 4
"""How many times larger than the low budget an image must be for that budget to be low."""
SMALL_SHARE = 16
"""Of smaller images the lowest rung has this part of the pixels."""
LEAST_PIXELS = 784
"""28 x 28: fewer are of no use to a model of any size."""
TOP = 0.9
"""Share of the images that the steps of pixels reach; the rest is for native."""
FEWEST_RUNGS, MOST_RUNGS = 3, 8
"""With fewer a larger size is asked too; of more the steps of pixels are thinned out."""
FEWEST_STEPS, MOST_STEPS = 4, 6
"""From low to native, in steps of about twice the pixels."""
OWN = {
    "tokens": tuple(f"tokens-{n}" for n in (70, 140, 280, 560, 1120)),
    "tiles": tuple(f"tiles-{n}" for n in (1, 2, 4, 6, 9, 12, 16, 25)),
    "pan-and-scan": ("pan-and-scan",),
}
"""Budgets of a model's own, where its tokens do not follow the pixels that it is given."""
ABOVE = "scale-2"
VIEWS = (
    "belongs to views of parts and is no size of one image (a study with 14_views in its reports "
    "compares them)"
)


@dataclass(frozen=True)
class Ladder:
    """The rungs, from the cheapest on."""

    low_max_pixels: int
    """Pixel budget of the rung `low`."""
    rungs: tuple[str, ...]
    """Eval resolutions, each of which gives some image another input than every other."""
    merged: tuple[str, ...] = ()
    """What was left out because it is the same as another rung, in words."""


def low_max_pixels(images: Sequence[Images], multiple_px: int, native_max_pixels: int) -> int:
    """Return the pixel budget of the lowest rung, whole tokens for a model on a grid.

    Large images begin at `LOW_PIXELS`, or at what `LOW_TOKENS` need if that is more; smaller ones
    at a part of their own pixels, with one token at least.

    Args:
        images: Sizes, each with how many images have it.
        multiple_px: Side of one visual token, in pixels; 1 for models that take any size.
        native_max_pixels: Budget of native, to which images are shrunk first.
    """
    token_pixels = multiple_px**2
    base = max(LOW_PIXELS, LOW_TOKENS * token_pixels)
    sizes = [min(math.prod(each.size_px), native_max_pixels) for each in images]
    typical = _quantile(sizes, images, 0.5)
    if typical > LARGE * base:
        return base
    smaller = max(LEAST_PIXELS, token_pixels, min(base, typical // SMALL_SHARE))
    return max(token_pixels, _round(smaller, token_pixels))


def build(images: Sequence[Images], treatment: Treatment, *, asked: Sequence[str] = ()) -> Ladder:
    """Return the rungs for images of these sizes and a model.

    Args:
        images: Sizes, each with how many images have it.
        treatment: Of the model, with its layout; its low budget is set here.
        asked: Rungs that the user wants instead, as in `resolution.plan`.

    Raises:
        ValueError: If there is no image; or if a rung that was asked for is not one, or the model
            does not have it.
    """
    if not images:
        raise ValueError("a ladder needs the size of an image at least")
    low = low_max_pixels(images, treatment.multiple_px, treatment.native_max_pixels)
    treatment = replace(treatment, low_max_pixels=low)
    if asked:
        check(asked, treatment)
        names = list(dict.fromkeys(asked))
    else:
        names = _proposed(images, treatment)
    sizes = _sizes(images)
    inputs = {name: _inputs(sizes, name, treatment) for name in names}
    rungs, merged = _merged(names, inputs)
    if not asked and len(rungs) > MOST_RUNGS:
        rungs = _thinned(rungs)
    return Ladder(low, tuple(_in_order(rungs, images, treatment)), tuple(merged))


def check(asked: Sequence[str], treatment: Treatment) -> None:
    """Refuse rungs that are none.

    Raises:
        ValueError: With the first name that is wrong, and what to use.
    """
    for name in asked:
        kind, _ = resolution.parse(name)
        why = {
            "mixed": "takes answers of low and native and is no size",
            "blank": "is asked beside every ladder",
            **dict.fromkeys(views.KINDS, VIEWS),
        }
        if kind in why:
            raise ValueError(f"the ladder has {name}, which {why[kind]}; leave it out")
        try:
            resolution.plan((1000, 1000), name, treatment, mpp_um=1.0)
        except ValueError as error:
            raise ValueError(f"the ladder has {name}: {error}") from None


def _proposed(images: Sequence[Images], treatment: Treatment) -> list[str]:
    native, low = (_at(images, name, treatment) for name in ("native", "low"))
    names = ["low", "native", *_own(images, treatment)]
    if _follows_pixels(low, native):
        names[1:1] = _steps(images, native, treatment)
    sizes = _sizes(images)
    n_inputs = len({_inputs(sizes, name, treatment) for name in names})
    is_enlarged = [each.is_enlarged_by_model for each in native]
    weights = [each.n_images for each in images]
    if np.average(is_enlarged, weights=weights) > 0.5 or n_inputs < FEWEST_RUNGS:
        # Where it costs nothing more, the model's processor undoes it.
        above, most = (_tokens(images, name, treatment) for name in (ABOVE, "native"))
        names += [ABOVE] * (above > most or not most)
    return names


def _own(images: Sequence[Images], treatment: Treatment) -> list[str]:
    """Return budgets of a model's own that are rungs beside those of pixels.

    On a grid, tokens follow pixels, and a budget of them would only enlarge. Tiles beyond those of
    native would too.
    """
    native = _tokens(images, "native", treatment)
    found = []
    for kind in treatment.budgets:
        for name in OWN[kind] if treatment.multiple_px == 1 else ():
            try:
                tokens = _tokens(images, name, treatment)
            except ValueError:  # another model's
                continue
            if kind != "tiles" or tokens <= native:
                found.append(name)
    return found


def _follows_pixels(low: Sequence[Geometry], native: Sequence[Geometry]) -> bool:
    """Return whether fewer pixels cost fewer tokens; also where no tokens are known at all."""
    n_low, n_native = (sum(each.visual_tokens for each in at) for at in (low, native))
    return n_native == 0 or n_low < n_native


def _steps(images: Sequence[Images], native: Sequence[Geometry], treatment: Treatment) -> list[str]:
    """Return pixel budgets in geometric steps between low and native, both left out."""
    token_pixels = treatment.multiple_px**2
    low = treatment.low_max_pixels
    areas = [each.given_px[0] * each.given_px[1] for each in native]
    top = max(low, _quantile(areas, images, TOP))
    n_steps = min(MOST_STEPS, max(FEWEST_STEPS, round(math.log2(top / low))))
    budgets = [
        _round(low * (top / low) ** (step / n_steps), token_pixels) for step in range(1, n_steps)
    ]
    return [f"pixels-{budget}" for budget in dict.fromkeys(budgets) if low < budget < top]


def _round(pixels: float, token_pixels: int) -> int:
    """Return a budget as whole tokens, or with two leading digits for a model of any size."""
    if token_pixels > 1:
        return round(pixels / token_pixels) * token_pixels
    digits = max(0, len(str(round(pixels))) - 2)
    return int(round(pixels, -digits))


def _at(images: Sequence[Images], name: str, treatment: Treatment) -> list[Geometry]:
    return [resolution.plan(each.size_px, name, treatment, mpp_um=each.mpp_um) for each in images]


def _tokens(images: Sequence[Images], name: str, treatment: Treatment) -> float:
    """Return the visual tokens of all images together."""
    tokens = [each.visual_tokens for each in _at(images, name, treatment)]
    return float(np.dot(tokens, [each.n_images for each in images]))


def _sizes(images: Sequence[Images]) -> list[tuple[tuple[int, int], float]]:
    """Return the different sizes and microns per pixel of images, 0 where these are not known."""
    return sorted({(each.size_px, each.mpp_um or 0.0) for each in images})


def _inputs(
    sizes: Sequence[tuple[tuple[int, int], float]], name: str, treatment: Treatment
) -> tuple[Geometry, ...]:
    """Return what each image becomes, without the names of budgets: equal if inputs are equal."""
    found = []
    for size_px, um in sizes:
        geometry = resolution.plan(size_px, name, treatment, mpp_um=um)
        layout = replace(geometry.layout, budget="") if geometry.layout else None
        found.append(replace(geometry, layout=layout, budget="", is_capped=False))
    return tuple(found)


def _merged(
    names: Sequence[str], inputs: Mapping[str, tuple[Geometry, ...]]
) -> tuple[list[str], list[str]]:
    """Return one name for each input, and which others are the same, in words."""
    # A name that says most to a reader stands for the others.
    kinds = ["native", "low"]
    ranked = sorted(names, key=lambda name: kinds.index(name) if name in kinds else len(kinds))
    kept: dict[tuple[Geometry, ...], list[str]] = {}
    for name in ranked:
        kept.setdefault(inputs[name], []).append(name)
    said = [
        f"{', '.join(others)} {'is' if len(others) == 1 else 'are'} {name} for all images"
        for name, *others in kept.values()
        if others
    ]
    return [name for name in names if any(name == same[0] for same in kept.values())], said


def _thinned(rungs: Sequence[str]) -> list[str]:
    """Return at most `MOST_RUNGS`: steps of pixels go first, every second one, then the rest."""
    left = list(rungs)
    fixed = ("low", "native", ABOVE)
    while len(left) > MOST_RUNGS:
        pixels = [name for name in left if name.startswith("pixels-")]
        others = [name for name in left if name not in fixed]
        choice = pixels if len(pixels) > 1 else others
        left.remove(choice[len(choice) // 2])
    return left


def _in_order(rungs: Sequence[str], images: Sequence[Images], treatment: Treatment) -> list[str]:
    """Return rungs by the tokens of all images, then by their pixels."""

    def cost(name: str) -> tuple[float, float]:
        pixels = [math.prod(each.given_px) for each in _at(images, name, treatment)]
        weights = [each.n_images for each in images]
        return _tokens(images, name, treatment), float(np.dot(pixels, weights))

    return sorted(rungs, key=cost)


def _quantile(values: Sequence[int], images: Sequence[Images], share: float) -> int:
    """Return the value up to which a share of the images lies."""
    weights = np.array([each.n_images for each in images], dtype=float)
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    place = int(np.searchsorted(reached, share * reached[-1]))
    return int(np.asarray(values)[order][min(place, len(values) - 1)])


def table(
    images: Sequence[Images],
    ladder: Ladder,
    treatment: Treatment,
    *,
    flops_of: Callable[[Geometry, float], float] | None = None,
) -> pd.DataFrame:
    """Return what each rung costs, before anything runs.

    Args:
        images: As in `build`.
        ladder: Its rungs.
        treatment: Of the model; the low budget of the ladder counts.
        flops_of: Operations of an image and so many questions about it; none where not known.

    Returns:
        One row per rung: resolution; given_px of the image of median area, as text; median_tokens,
        least_tokens and most_tokens of an image; tokens of all questions, each asked with its
        image; flops of all questions, whose image is computed once, NaN if not known.
    """
    treatment = replace(treatment, low_max_pixels=ladder.low_max_pixels)
    middle = _quantile([math.prod(each.size_px) for each in images], images, 0.5)
    typical = next(each for each in images if math.prod(each.size_px) == middle)
    rows: list[dict[str, Any]] = []
    for name in ladder.rungs:
        at = _at(images, name, treatment)
        tokens = [each.visual_tokens for each in at]
        given_px = _at([typical], name, treatment)[0].given_px
        pairs = list(zip(images, at, strict=True))
        rows.append(
            {
                "resolution": name,
                "given_px": f"{given_px[0]} x {given_px[1]}",
                "median_tokens": _quantile(tokens, images, 0.5),
                "least_tokens": min(tokens),
                "most_tokens": max(tokens),
                "tokens": sum(
                    each.n_images * each.questions_each * geometry.visual_tokens
                    for each, geometry in pairs
                ),
                "flops": math.nan
                if flops_of is None
                else sum(
                    each.n_images * flops_of(geometry, each.questions_each)
                    for each, geometry in pairs
                ),
            }
        )
    return pd.DataFrame(rows)
