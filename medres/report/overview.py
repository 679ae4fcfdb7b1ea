"""What a data set contains: counts, leaks, sizes, tokens, and what low resolution removes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import HTML
from PIL import Image

from medres import resolution
from medres.datasets import LEAKY, REAL, QuestionSet, splits
from medres.report import figures, page
from medres.resolution import Treatment
from medres.results import grids
from medres.results.numbers import percent
from medres.statistics import groups
from medres.texts import in_markdown, named

RINGS_CYCLES_PER_PX = 0.5 * 2.0 ** (np.arange(-32, 1) / 4)
"""Edges of the rings of a spectrum, four per octave, up to the limit of the native image."""
NEAR = (
    f"Near-duplicates differ in at most {splits.NEAR_BITS} of the {splits.HASH_SIDE**2} bits of a "
    "perceptual hash; identical images are counted separately."
)


def paper_table(question_sets: Sequence[QuestionSet]) -> pd.DataFrame:
    """Return the paper's table of data sets, with what is found here beside what it says.

    A phantom stands in for the data set whose twin it is, at a smaller size.

    Returns:
        Columns dataset, stands_for, modality, paper_image_px, median_image_px, paper_test,
        n_test, n_options (of closed questions, the most) and questions_per_image; paper columns
        are empty if the paper states nothing or does not use the data set.
    """
    rows = []
    for question_set in question_sets:
        source = REAL[question_set.source].SOURCE if question_set.source else None
        table, test = question_set.table, question_set.split("test")
        sizes = table.drop_duplicates("image")[["width_px", "height_px"]].median().astype(int)
        stated = str(source.paper_n_test) if source and source.paper_n_test else ""
        rows.append(
            {
                "dataset": question_set.label,
                "stands_for": question_set.source,
                "modality": ", ".join(sorted(table["modality"].unique())[:4]),
                "paper_image_px": source.paper_image_px if source else "",
                "median_image_px": f"{sizes['width_px']} x {sizes['height_px']}",
                "paper_test": stated,
                "n_test": len(test),
                "n_options": int(table["options"].map(len).max()),
                "questions_per_image": len(table) / table["image"].nunique(),
            }
        )
    return pd.DataFrame(rows)


def counts(question_sets: Sequence[QuestionSet]) -> pd.DataFrame:
    """Return questions, images, groups and answers of each split, one row per split."""
    rows = []
    for question_set in question_sets:
        for split in ("train", "test"):
            part = question_set.split(split)
            if part.empty:
                continue
            area = part.drop_duplicates("image").eval("width_px * height_px")
            rows.append(
                {
                    "dataset": question_set.label,
                    "split": split,
                    "n_questions": len(part),
                    "n_images": part["image"].nunique(),
                    "n_groups": part["group"].nunique(),
                    "n_effective_groups": groups.effective(part["group"].value_counts()),
                    "largest_share": groups.largest_share(part["group"].value_counts()),
                    "n_question_texts": part["question"].nunique(),
                    "n_answers": part["reference"].nunique(),
                    "median_image_pixels": int(area.median()),
                    "max_image_pixels": int(area.max()),
                }
            )
    return pd.DataFrame(rows)


def decided(question_sets: Sequence[QuestionSet]) -> str:
    """Return which differences the test groups can detect, one line per data set."""
    lines = []
    for each in question_sets:
        counts = each.split("test")["group"].value_counts()
        few, reason, more = groups.decided(counts).partition(":")
        said = f"**{few}**{reason}{more}" if groups.too_few(counts) else few
        lines.append(f"* **{in_markdown(each.label)}**: {said}.\n")
    return "".join(lines)


def remarks(question_sets: Sequence[QuestionSet]) -> pd.DataFrame:
    """Return what was left out of each data set and why, and what else was noted on reading it.

    Returns:
        Columns dataset, kind (left out or note) and remark; one row says so if there is none.
    """
    rows = [
        {"dataset": question_set.label, "kind": kind, "remark": remark}
        for question_set in question_sets
        for kind, said in (("left out", question_set.excluded), ("note", question_set.notes))
        for remark in said
    ]
    return pd.DataFrame(rows or [{"dataset": "all", "kind": "left out", "remark": "nothing"}])


def is_leak_said(leaks: pd.DataFrame) -> bool:
    """Return whether every data set whose splits share a group or image is labelled as leaky.

    Args:
        leaks: What `leaks` returned.
    """
    is_leak = (leaks["n_equal_images"] > 0) | (leaks["n_shared_groups"] > 0)
    return not (is_leak & ~leaks["dataset"].str.endswith(LEAKY)).any()


def leaks(question_sets: Sequence[QuestionSet]) -> pd.DataFrame:
    """Return what the test split shares with the train split, one row per data set.

    Returns:
        Columns dataset; n_test_images, and how many of them have equal pixels or a
        near-duplicate in train; n_test_groups and n_shared_groups; n_test_texts and
        n_shared_texts, of questions.
    """
    rows = []
    for question_set in question_sets:
        found = splits.shared(question_set.table, question_set.image_facts)
        (n_images, n_equal), (_, n_near) = (
            found["images with equal pixels"],
            found["near-duplicate images"],
        )
        rows.append(
            {
                "dataset": question_set.label,
                "n_test_images": n_images,
                "n_equal_images": n_equal,
                "n_near_duplicates": n_near,
                "n_test_groups": found["groups"][0],
                "n_shared_groups": found["groups"][1],
                "n_test_texts": found["question texts"][0],
                "n_shared_texts": found["question texts"][1],
            }
        )
    return pd.DataFrame(rows)


def sentence(counts: pd.DataFrame, leaks: pd.DataFrame, sizes: pd.DataFrame) -> str:
    """Return what the tables of `counts`, `leaks` and `sizes` say, one line per data set."""
    lines = []
    for dataset, rows in counts.groupby("dataset", sort=False):
        test = rows[rows["split"] == "test"].iloc[0]
        leak = leaks.set_index("dataset").loc[dataset]
        tokens = sizes[sizes["dataset"] == dataset].groupby("resolution")["visual_tokens"].mean()
        n_equal, n_groups = leak["n_equal_images"], leak["n_shared_groups"]
        n_near = leak["n_near_duplicates"]
        near = f", {n_near} test images nearly identical to a train image" if n_near else ""
        lines.append(
            f"* **{in_markdown(dataset)}**: {test['n_questions']:,} test questions on "
            f"{test['n_images']:,} images in {test['n_groups']:,} groups (effective number "
            f"{test['n_effective_groups']:,.1f}, the largest holds "
            f"{percent(test['largest_share'])} % of the questions); train and test share "
            f"{f'**{n_equal}**' if n_equal else 'no'} images and "
            f"{f'**{n_groups}**' if n_groups else 'no'} groups"
            f"{near}; an image costs "
            f"{tokens['native']:.1f} visual tokens at native and "
            f"{tokens['low']:.1f} at low resolution, on average."
        )
    return "\n".join(lines)


def power_spectrum(
    image: Image.Image,
    *,
    edges_cycles_per_px: np.ndarray,
    spacing_px: tuple[float, float] = (1.0, 1.0),
) -> np.ndarray:
    """Return the radially averaged power spectral density of an image's luminance.

    Of one field of view, images of any size have the same density at the frequencies that they
    carry, so that a shrunk image can be laid over the native one.

    Args:
        image: RGB image.
        edges_cycles_per_px: Edges of the rings in cycles per native pixel, rising, shape
            (n_rings + 1,).
        spacing_px: Native pixels from one pixel of the image to the next, across and down.

    Returns:
        Mean density of each ring, shape (n_rings,); NaN for a ring that is empty, or that
        reaches beyond the image's own Nyquist frequency.
    """
    grey = np.asarray(image.convert("L"), dtype=np.float64)
    window = np.outer(np.hanning(grey.shape[0]), np.hanning(grey.shape[1]))
    density = np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2 / grey.size
    density *= spacing_px[0] * spacing_px[1]
    across = np.fft.fftfreq(grey.shape[1], spacing_px[0])
    down = np.fft.fftfreq(grey.shape[0], spacing_px[1])
    n_rings = len(edges_cycles_per_px) - 1
    radius = np.hypot(down[:, None], across[None, :])
    ring = np.searchsorted(edges_cycles_per_px, radius, side="right") - 1
    inside = (ring >= 0) & (ring < n_rings)
    total = np.bincount(ring[inside], weights=density[inside], minlength=n_rings)
    count = np.bincount(ring[inside], minlength=n_rings)
    is_carried = edges_cycles_per_px[1:] <= 0.5 / max(spacing_px) + 1e-9
    known = is_carried & (count > 0)
    mean: np.ndarray = np.divide(total, count, out=np.full(n_rings, np.nan), where=known)
    return mean


def treatment(model: str, meaning: Mapping[str, Any], *, token_px: int) -> tuple[Treatment, str]:
    """Return what low and native are for a model, and how its visual tokens are counted.

    The Hub is never contacted: if the model's config is not available locally, tokens are
    counted as squares of pixels.

    Args:
        model: As a study names it.
        meaning: From `study.treatment`.
        token_px: Side of one visual token if the config is not available, in pixels.

    Raises:
        ValueError: If the parameters are impossible, or have no meaning for the model.
    """
    from medres.models import offline  # takes seconds, and nothing else here needs transformers

    if offline.is_at_hand(model):
        return offline.treatment_of(model, meaning), f"Visual tokens of {named(model)}"
    budgets = meaning["low_max_pixels"], meaning["native_max_pixels"]
    return (
        Treatment(*budgets, meaning["resampling_filter"], token_px),
        f"The config of {named(model)} is not available locally: one visual token is assumed to be "
        f"{token_px} x {token_px} pixels",
    )


def spectra(
    question_sets: Sequence[QuestionSet], treatment: Treatment, *, n_images: int
) -> pd.DataFrame:
    """Return the power spectra of the first test images, native and low.

    Low is measured on its own pixels and stops at its own limit: enlarged, its curve would go on
    beyond that with the edges of the enlarged pixels.

    Args:
        question_sets: Data sets to look at.
        treatment: Says what low and native are.
        n_images: Images per data set.

    Returns:
        Columns dataset, resolution, image, frequency_cycles_per_px (of the native image),
        power, and low_nyquist_cycles_per_px, the median over images, at which low ends.
    """
    edges = RINGS_CYCLES_PER_PX
    middles = np.sqrt(edges[:-1] * edges[1:])
    rows = []
    for question_set in question_sets:
        for path in question_set.split("test")["image"].unique()[:n_images]:
            stored = question_set.read(path)
            native, low = (
                resolution.plan(stored.shape[1::-1], name, treatment) for name in ("native", "low")
            )
            (width, height), (low_width, low_height) = native.given_px, low.given_px
            spacing_px = width / low_width, height / low_height
            for name, geometry, spacing in (
                ("native", native, (1.0, 1.0)),
                ("low", low, spacing_px),
            ):
                pixels = resolution.apply(stored, geometry)
                power = power_spectrum(pixels, edges_cycles_per_px=edges, spacing_px=spacing)
                rows += [
                    {
                        "dataset": question_set.label,
                        "resolution": name,
                        "image": path,
                        "frequency_cycles_per_px": frequency,
                        "power": value,
                        "low_nyquist_cycles_per_px": 0.5 / max(spacing_px),
                    }
                    for frequency, value in zip(middles, power, strict=True)
                    if not np.isnan(value)
                ]
    table = pd.DataFrame(rows)
    nyquist = table.groupby("dataset")["low_nyquist_cycles_per_px"].transform("median")
    is_beyond = (table["resolution"] == "low") & (table["frequency_cycles_per_px"] > nyquist)
    return table.assign(low_nyquist_cycles_per_px=nyquist)[~is_beyond].reset_index(drop=True)


def pairs(
    question_set: QuestionSet, treatment: Treatment, *, n_pairs: int, patch_px: int
) -> tuple[list[np.ndarray], list[np.ndarray], list[str]]:
    """Return test images at native and at low resolution, one per answer if there are many.

    Args:
        question_set: Data set to look at.
        treatment: Says what low and native are.
        n_pairs: Images shown.
        patch_px: Side of the square cropped from the centre of the native image, and the same
            field of view from the low one; smaller images stay whole.

    Returns:
        Native images and low images as arrays (height, width, 3) uint8, and their answers.
    """
    test = question_set.split("test")
    chosen = test.drop_duplicates("reference").drop_duplicates("image")
    chosen = pd.concat([chosen, test.drop_duplicates("image")]).drop_duplicates("image")
    native: list[np.ndarray] = []
    low: list[np.ndarray] = []
    titles: list[str] = []
    for row in chosen.head(n_pairs).itertuples():
        stored = question_set.read(str(row.image))
        for name, made in (("native", native), ("low", low)):
            geometry = resolution.plan(stored.shape[1::-1], name, treatment)
            shown = resolution.apply(stored, geometry)
            if name == "native":
                shares = [min(1, patch_px / side) for side in shown.size]
            made.append(np.asarray(_middle(shown, shares)))
        titles.append(str(row.reference))
    return native, low, titles


def _middle(image: Image.Image, shares: Sequence[float]) -> Image.Image:
    """Return the middle of an image: a share of its width and one of its height."""
    kept = [max(1, round(side * share)) for side, share in zip(image.size, shares, strict=True)]
    left, top = ((side - keep) // 2 for side, keep in zip(image.size, kept, strict=True))
    return image.crop((left, top, left + kept[0], top + kept[1]))


def show_pairs(
    study: str, question_set: QuestionSet, treatment: Treatment, *, n_pairs: int, patch_px: int
) -> HTML:
    """Return the figure of `pairs` for a page."""
    native, low, titles = pairs(question_set, treatment, n_pairs=n_pairs, patch_px=patch_px)
    return page.show_figure(
        study,
        f"pairs-{question_set.name}",
        figures.image_pairs(native, low, titles),
        alt=f"Test images of {question_set.label}: native above, low below, answers as titles.",
        caption=f"{question_set.label}: native (above) and low (below), the same field of view; "
        "titles are reference answers.",
    )


def sizes(question_sets: Sequence[QuestionSet], treatment: Treatment) -> pd.DataFrame:
    """Return the size and visual tokens of every image at low and at native resolution.

    Returns:
        Columns dataset, resolution, width_px, height_px, visual_tokens, is_capped.
    """
    columns = "dataset resolution width_px height_px visual_tokens is_capped".split()
    rows: list[tuple[object, ...]] = []
    for question_set in question_sets:
        label = question_set.label  # worked out from the table each time
        shown = question_set.table.drop_duplicates("image")[["width_px", "height_px"]].astype(int)
        for size_px in shown.itertuples(index=False, name=None):
            for name in ("low", "native"):
                planned = resolution.plan(size_px, name, treatment)
                seen = (*planned.given_px, planned.visual_tokens, planned.is_capped)
                rows.append((label, name, *seen))
    return pd.DataFrame(rows, columns=columns)


def answers(question_sets: Sequence[QuestionSet]) -> pd.DataFrame:
    """Return, for each question text, how often the most common training answer is right.

    Returns:
        Columns dataset, question, n_train, n_test, n_options, commonest_answer and accuracy,
        the share of test questions that the majority answer gets right.
    """
    rows = []
    for question_set in question_sets:
        train, test = question_set.split("train"), question_set.split("test")
        # A data set without training questions, such as uBench, has no majority answer.
        correct = grids.majority_correct(train, test) if len(train) else np.nan
        right = test.assign(correct=correct)
        for text, part in right.groupby("question", sort=True):
            known = train[train["question"] == text]["reference"]
            rows.append(
                {
                    "dataset": question_set.label,
                    "question": text,
                    "n_train": len(known),
                    "n_test": len(part),
                    "n_options": len(part["options"].iloc[0]),
                    "commonest_answer": known.mode().iloc[0] if len(known) else "",
                    "accuracy": part["correct"].mean(),
                }
            )
    table = pd.DataFrame(rows)
    return table.sort_values(["dataset", "n_test"], ascending=[True, False], ignore_index=True)
