import gc
import os

# Before any import of transformers: it reads them once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
# Tests run side by side, one a core: threads of one would only wait for those of another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import shutil
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw

from medres import runs
from medres.datasets import questions as question_tables

if TYPE_CHECKING:
    from medres.models import LoadedModel

REPOSITORY = Path(__file__).resolve().parent.parent
DRAWN = {
    "wide.png": (448, 336),
    "tall.png": (112, 224),
    "even.png": (224, 224),
    "odd.png": (75, 61),
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder of its own, with copies of this repository's notebooks and parameters."""
    root = tmp_path / "project"
    for name in ("notebooks", "params", "profiles"):
        shutil.copytree(REPOSITORY / name, root / name)
    monkeypatch.setattr(runs, "ROOT", root)
    monkeypatch.setenv("MEDRES_ROOT", str(root))
    return root


@pytest.fixture(scope="session")
def drawn_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    for seed, (name, (width, height)) in enumerate(DRAWN.items()):
        rng = np.random.default_rng(seed)
        image = Image.fromarray(rng.integers(0, 90, (height, width, 3), dtype=np.uint8))
        box = (width // 4, height // 4, width // 2, height // 2)
        ImageDraw.Draw(image).ellipse(box, fill=(200, 60 * seed, 40))
        image.save(folder / name)
    return folder


@pytest.fixture
def drawn_images(drawn_once: Path, tmp_path: Path) -> Path:
    """A folder of pictures with the names and sizes of `DRAWN`, each with a disc and noise."""
    return Path(shutil.copytree(drawn_once, tmp_path / "drawn"))


@pytest.fixture
def questions() -> pd.DataFrame:
    """A valid table about `drawn_images`: two groups a split, three questions an image."""
    asked = [
        ("is there a disc?", "yes", ["yes", "no"]),
        ("which shape is it?", "disc", ["disc", "square", "line"]),
        ("what colour is it?", "red", []),
    ]
    rows = [
        {
            "question_id": f"drawn-{image}-{number}",
            "dataset": "drawn",
            "image": f"{image}.png",
            "question": question,
            "reference": reference,
            "options": options,
            "modality": modality,
            "split": split,
            "group": f"patient-{image}",
        }
        for image, modality, split in (
            ("wide", "microscopy", "train"),
            ("tall", "radiograph", "train"),
            ("even", "microscopy", "test"),
            ("odd", "radiograph", "test"),
        )
        for number, (question, reference, options) in enumerate(asked)
    ]
    return pd.DataFrame(rows)[list(question_tables.COLUMNS)]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> "LoadedModel":
    """The tiny Qwen2-VL with its random weights; do not train it."""
    from medres import models
    from medres.models import tiny

    return models.load(str(tiny.make(tmp_path_factory.mktemp("models") / tiny.NAME)))


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of real images, outside the repository."""
    if "MEDRES_REALDATA" not in os.environ:
        pytest.skip("MEDRES_REALDATA is not set to the folder of real images")
    return Path(os.environ["MEDRES_REALDATA"])


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect tests and spare the million objects then there every later search for garbage."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The longest file first: on several cores nothing runs beside it if it comes last.
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
