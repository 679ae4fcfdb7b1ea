"""PathVQA: questions generated from the captions of pathology figures.

Read from the Hub's Parquet, as the authors' evaluation code does. The original release is a
Google Drive folder linked from github.com/UCSD-AI4H/PathVQA, whose questions are pickles;
opening a pickle can run any code it holds, so that layout is refused.

Images are JPEG of odd sizes, typically about 750 x 400 px; some are CMYK, which `images`
converts. 3,362 test answers are yes or no, 3,357 are open.
"""

from pathlib import Path
from typing import Any

from medres.datasets import hub_tables, triplets
from medres.datasets.source import Found, Source

SOURCE = Source(
    name="path-vqa",
    title="PathVQA",
    citation=(
        "He X, Zhang Y, Mou L, Xing E, Xie P. PathVQA: 30000+ questions for medical visual "
        "question answering. arXiv:2003.10286 (2020)"
    ),
    home="https://github.com/UCSD-AI4H/PathVQA",
    licence=(
        "MIT as the card on the Hub says, but the copyright of images and captions belongs to the "
        "publishers and authors of two books and to the owners of PEIR: do not redistribute; "
        "everyone fetches it from the source"
    ),
    version=(
        "the version of February 2023 without duplicate triplets; branch main of the hub "
        "repository, whose commit is resolved and recorded when it is fetched"
    ),
    size_bytes=785_000_000,
    group="image",
    defects=(
        "Questions are generated from captions: some answers are noise.",
        "Figures of one textbook page are near-duplicates, and neither page nor figure is given.",
        "Some images are CMYK; 4,289 of the 5,004 images have a question.",
    ),
    hub_repo="flaviagiammarino/path-vqa",
    hub_patterns=("data/*.parquet",),
    paper_n_test=6719,
)
OPTIONS: dict[str, Any] = {
    "prompt": "paper",  # paper: the bare question; medres: how to answer is said, too
}
HUB_COUNTS = {"train": 19_654, "validation": 6259, "test": 6719}


def read(folder: Path, workspace: Path, *, prompt: str = OPTIONS["prompt"]) -> Found:
    """Return the question table of a fetched folder.

    Args:
        folder: Where the set lies.
        workspace: Where the images of its tables are written.
        prompt: paper or medres.

    Raises:
        FileNotFoundError: If the layout is unknown.
        ValueError: If it is the original layout, a file is damaged or an option is unknown.
    """
    pickles = next(folder.rglob("*_qa.pkl"), None)
    if pickles and not hub_tables.shards(folder):
        raise ValueError(
            f"{pickles} is a pickle, which can run code when it is opened and so is not read; "
            f"fetch the hub's Parquet with `python -m medres.datasets fetch {SOURCE.name} --to DIR`"
        )
    return triplets.read_hub(
        folder,
        workspace,
        dataset=SOURCE.name,
        prompt=prompt,
        modality="pathology",
        stated=HUB_COUNTS,
    )
