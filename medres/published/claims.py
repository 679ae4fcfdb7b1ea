"""The paper's claims, each as a paired comparison of two arms."""

from dataclasses import dataclass

ALIGNED = "aligned native against aligned low"
MISALIGNED = "misaligned against aligned"
BELOW_LOW = "misaligned against low"
MIXED = "mixed training"
ZERO_SHOT = "inference of untrained models"
RESAMPLED = "resampling at inference"


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
        "C7",
        "Asked at low, a model trained native falls below one trained low",
        ("low", "low"),
        ("native", "low"),
        -1,
        BELOW_LOW,
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


def of_families(*families: str) -> tuple[Claim, ...]:
    """Return the claims of some families."""
    return tuple(claim for claim in CLAIMS if claim.family in families)
