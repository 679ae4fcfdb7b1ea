"""What low saves compared with native, and where a model's own processor undoes it.

Many models bring every image to a size of their own, so that an image of few pixels costs as many
visual tokens as one of many. A comparison of low with native is then one of detail alone.
"""

import math

import pandas as pd

from medres.texts import in_markdown

NOTHING = 0.9
"""Share of native's visual tokens from which on low is said to save nothing."""
COLUMNS = "dataset model n_images n_shrunk low_tokens native_tokens n_enlarged".split()
_IMAGE = ["dataset", "model", "image"]
_PIXELS = ["given_width_px", "given_height_px"]
READS = ["image", *_PIXELS, "is_enlarged_by_model"]
"""Columns of answers that `table` takes beside those that pages count."""


def table(seen: pd.DataFrame) -> pd.DataFrame:
    """Return what low costs beside native, one row per data set and model that has both.

    Args:
        seen: Answers, or any table with one row or more per image and resolution: dataset, model,
            image, eval_resolution, visual_tokens; if known given_width_px, given_height_px and
            is_enlarged_by_model; n_images, if a row stands for several.

    Returns:
        `COLUMNS`: n_shrunk, the images that low makes smaller than native (all, if the sizes are
        not known); low_tokens and native_tokens, the median visual tokens of these images, or of
        all if there are none; n_enlarged, those of them that the model's own processor enlarges
        again, NaN if that was not recorded.
    """
    known = ["visual_tokens", *_PIXELS, "is_enlarged_by_model", "n_images"]
    key = [*_IMAGE, "eval_resolution"]
    is_used = seen["eval_resolution"].isin(("low", "native"))
    rows = seen.loc[is_used, seen.columns.isin([*key, *known])].drop_duplicates(key)
    rows = rows.reindex(columns=[*key, *known])
    low, native = (
        rows[rows["eval_resolution"] == name].drop(columns="eval_resolution")
        for name in ("low", "native")
    )
    pairs = low.merge(native, on=_IMAGE, suffixes=("", "_native"))
    weights = pairs["n_images"].fillna(1).round().clip(lower=1).astype(int)
    pairs = pairs.loc[pairs.index.repeat(weights)]
    # Of a size that is not known it cannot be said that low left it as it is.
    pairs["is_shrunk"] = ~(
        (pairs[_PIXELS[0]] == pairs[f"{_PIXELS[0]}_native"])
        & (pairs[_PIXELS[1]] == pairs[f"{_PIXELS[1]}_native"])
    )
    found = []
    for (dataset, model), part in pairs.groupby(["dataset", "model"], sort=False):
        shrunk = part[part["is_shrunk"]]
        compared = shrunk if len(shrunk) else part
        enlarged = shrunk["is_enlarged_by_model"].dropna()
        found.append(
            {
                "dataset": dataset,
                "model": model,
                "n_images": len(part),
                "n_shrunk": len(shrunk),
                "low_tokens": float(compared["visual_tokens"].median()),
                "native_tokens": float(compared["visual_tokens_native"].median()),
                "n_enlarged": float(enlarged.sum()) if len(enlarged) == len(shrunk) else math.nan,
            }
        )
    return pd.DataFrame(found, columns=COLUMNS)


def sentence(row: pd.Series) -> str:
    """Return what a row of `table` means for a comparison of low with native; mostly nothing."""
    if not row["n_shrunk"]:
        return (
            "Low and native are the same pixels: no image is larger than the budget of low, so "
            "the comparison is of nothing."
        )
    low, native = row["low_tokens"], row["native_tokens"]
    said = []
    if is_nothing := low >= NOTHING * native:
        much = "what native costs" if low == native else "nearly what native costs"
        numbers = f"{low:,.0f} of {native:,.0f} visual tokens"
        if low > native:
            much, numbers = "more than native", f"{low:,.0f} and {native:,.0f} visual tokens"
        said.append(
            f"Low costs this model {much} ({numbers}): the comparison is of detail, not of cost."
        )
    if row["n_enlarged"] > 0:
        is_every = row["n_enlarged"] == row["n_shrunk"]
        images = f"{row['n_enlarged']:,.0f} of {row['n_shrunk']:,} low images"
        cost = "" if is_nothing else ", and low costs more than its pixels would"
        said.append(
            f"The model's own processor enlarges {'every low image' if is_every else images} "
            f"again: that brings back no detail{cost}."
        )
    return " ".join(said)


def lines(saved: pd.DataFrame) -> list[str]:
    """Return the sentences of a table, each once, behind the data sets that it is about.

    Args:
        saved: As from `table`; with several models these are named behind the data sets.
    """
    places: dict[str, list[str]] = {}
    several = saved["model"].nunique() > 1
    for _, row in saved.iterrows():
        place = f"{row['dataset']} ({row['model']})" if several else str(row["dataset"])
        places.setdefault(sentence(row), []).append(place)
    return [f"{', '.join(named)}: {said}" for said, named in places.items() if said]


def said(saved: pd.DataFrame) -> str:
    """Return the lines for the verdict of a page; empty if there is nothing to say.

    Args:
        saved: As from `table`.
    """
    return "".join(f"\n* {in_markdown(line)}" for line in lines(saved))
