"""The paper's claims, each as a paired comparison of two arms."""

from dataclasses import dataclass

ALIGNED = "aligned native against aligned low"
MISALIGNED = "misaligned against aligned"
BELOW_LOW = "misaligned against low"
MIXED = "mixed training"
ZERO_SHOT = "inference of untrained models"
RESAMPLED = "resampling at inference"
FINE_TUNED = "fine-tuned against untrained"
SUFFICIENT = "low against native, within a margin"
ENLARGED = "trained on enlarged images"
SHRUNK = "low by Lanczos instead of the study's filter"
GONE_ON = "trained on at another resolution"
RETRAINED = (ENLARGED, SHRUNK, GONE_ON)
OF_STUDY = (FINE_TUNED, SUFFICIENT, *RETRAINED)
"""Families of comparisons that the paper does not make, or not in so many words."""
WORTH = "every training at its best use against no training"
AGAINST_UNTRAINED = (FINE_TUNED, WORTH)
"""Families of claims about training, though only one of their arms is trained."""


@dataclass(frozen=True)
class Claim:
    """A claim of the paper as a paired comparison of two arms."""

    name: str
    """The paper's claim or claims that it tests, as numbered in `published/claims.csv`."""
    statement: str
    first: tuple[str, str]
    """Train and eval resolution of the first arm."""
    second: tuple[str, str]
    sign: int
    """Claimed sign of second minus first."""
    family: str
    """Comparisons whose p-values are adjusted together: all data sets of all its claims."""
    margin: float = 0.0
    """If positive, the claim is second > first - margin: non-inferiority."""
    others: tuple[tuple[tuple[str, str], float], ...] = ()
    """Further arms with their weights, added to second minus first; all weights sum to 0."""
    compared: str = ""
    """What is compared, where second minus first does not say it."""


def gone_on(before: str, at: str) -> tuple[Claim, ...]:
    """Return what a training at one resolution gains by going on at another, as claims.

    Args:
        before: Train resolution of the study that is gone on from.
        at: The resolution at which it is trained on, and evaluated.
    """
    trained = f"{before}-then-{at}"
    return (
        Claim(
            f"{trained}, gain",
            f"At {at} inference, training on at {at} after training at {before} beats leaving it",
            (before, at),
            (trained, at),
            +1,
            GONE_ON,
        ),
        Claim(
            f"{trained}, worth",
            f"Training at {before} and then on at {at} beats training and inference at {before}",
            (before, before),
            (trained, at),
            +1,
            GONE_ON,
        ),
        Claim(
            f"{trained}, suffices",
            f"At {at} inference, training at {before} and then on at {at} is no more than 1 point "
            f"worse than training at {at}",
            (at, at),
            (trained, at),
            +1,
            GONE_ON,
            margin=0.01,
        ),
    )


def _enlarged(name: str) -> tuple[Claim, ...]:
    """Return what training on enlarged images brings, the other reading of the paper's figure 5.

    The paper does not say whether the models of that figure were trained on enlarged images.
    """
    at, said = f"upsampled-{name}", f"low images enlarged by {name}"
    return (
        Claim(
            f"enlarged by {name}, gain",
            f"Training and inference on {said} beat training and inference at low",
            ("low", "low"),
            (at, at),
            +1,
            ENLARGED,
        ),
        Claim(
            f"enlarged by {name}, rest",
            f"Training and inference on {said} fall short of training and inference at native",
            ("native", "native"),
            (at, at),
            -1,
            ENLARGED,
        ),
    )


CLAIMS = (
    Claim(
        "C1-C4",
        "Training and inference at native beat training and inference at low",
        ("low", "low"),
        ("native", "native"),
        +1,
        ALIGNED,
    ),
    Claim(
        "C5",
        "A model trained at native loses accuracy when evaluated at low",
        ("native", "native"),
        ("native", "low"),
        -1,
        MISALIGNED,
    ),
    Claim(
        "C6",
        "A model trained at low loses accuracy when evaluated at native",
        ("low", "low"),
        ("low", "native"),
        -1,
        MISALIGNED,
    ),
    Claim(
        "C7",
        "At low-resolution inference, native training does worse than low training",
        ("low", "low"),
        ("native", "low"),
        -1,
        BELOW_LOW,
    ),
    Claim(
        "C9",
        "After mixed training, native inference does better than low inference",
        ("mixed", "low"),
        ("mixed", "native"),
        +1,
        MIXED,
    ),
    Claim(
        "C8",
        "At native inference, mixed training is no more than 1 point worse than native training",
        ("native", "native"),
        ("mixed", "native"),
        +1,
        MIXED,
        margin=0.01,
    ),
    Claim(
        "C17",
        "A model trained at native loses more when evaluated at low than one trained at low loses "
        "when evaluated at native",
        ("native", "native"),
        ("native", "low"),
        -1,
        MISALIGNED,
        others=((("low", "native"), -1.0), (("low", "low"), +1.0)),
        compared="(native→low minus native→native) minus (low→native minus low→low)",
    ),
    Claim(
        "C11",
        "Without fine-tuning, native inference does better than low inference",
        ("none", "low"),
        ("none", "native"),
        +1,
        ZERO_SHOT,
    ),
    Claim(
        "C13",
        "Bicubic upsampling of low images beats bilinear",
        ("native", "upsampled-bilinear"),
        ("native", "upsampled-bicubic"),
        +1,
        RESAMPLED,
    ),
    Claim(
        "C12",
        "Lanczos upsampling of low images beats bicubic",
        ("native", "upsampled-bicubic"),
        ("native", "upsampled-lanczos"),
        +1,
        RESAMPLED,
    ),
    Claim(
        "C14, gain",
        "Lanczos upsampling of low images beats leaving them low",
        ("native", "low"),
        ("native", "upsampled-lanczos"),
        +1,
        RESAMPLED,
    ),
    Claim(
        "C14, most",
        "Lanczos upsampling of low images beats the midpoint of low and native accuracy",
        ("native", "low"),
        ("native", "upsampled-lanczos"),
        +1,
        RESAMPLED,
        others=((("native", "native"), -0.5), (("native", "low"), +0.5)),
        compared="native→upsampled-lanczos minus halfway from native→low to native→native",
    ),
    Claim(
        "C14, rest",
        "Even with Lanczos upsampling, low images fall short of native ones",
        ("native", "native"),
        ("native", "upsampled-lanczos"),
        -1,
        RESAMPLED,
    ),
    Claim(
        "fine-tuning, low",
        "At low resolution, fine-tuning at low beats no fine-tuning",
        ("none", "low"),
        ("low", "low"),
        +1,
        FINE_TUNED,
    ),
    Claim(
        "fine-tuning, native",
        "At native resolution, fine-tuning at native beats no fine-tuning",
        ("none", "native"),
        ("native", "native"),
        +1,
        FINE_TUNED,
    ),
    Claim(
        "low suffices, aligned",
        "Training and inference at low are no more than 1 point worse than at native",
        ("native", "native"),
        ("low", "low"),
        +1,
        SUFFICIENT,
        margin=0.01,
    ),
    Claim(
        "low suffices, untrained",
        "Without fine-tuning, low inference is no more than 1 point worse than native",
        ("none", "native"),
        ("none", "low"),
        +1,
        SUFFICIENT,
        margin=0.01,
    ),
    *_enlarged("bilinear"),
    *_enlarged("bicubic"),
    *_enlarged("lanczos"),
    Claim(
        "enlarged, bicubic",
        "Training and inference on bicubic enlargements beat those on bilinear ones",
        ("upsampled-bilinear", "upsampled-bilinear"),
        ("upsampled-bicubic", "upsampled-bicubic"),
        +1,
        ENLARGED,
    ),
    Claim(
        "enlarged, lanczos",
        "Training and inference on Lanczos enlargements beat those on bicubic ones",
        ("upsampled-bicubic", "upsampled-bicubic"),
        ("upsampled-lanczos", "upsampled-lanczos"),
        +1,
        ENLARGED,
    ),
    Claim(
        "shrunk",
        "Training and inference at low shrunk by Lanczos beat those at low shrunk by the study's "
        "filter",
        ("low", "low"),
        ("low-lanczos", "low-lanczos"),
        +1,
        SHRUNK,
    ),
    *gone_on("low", "native"),
)
"""The paper's claims, then comparisons that it does not make (`OF_STUDY`)."""


def of_families(*families: str) -> tuple[Claim, ...]:
    """Return the claims of the named families."""
    return tuple(claim for claim in CLAIMS if claim.family in families)
