"""An image of too few pixels for its parts is refused before anything runs, with its row."""

import re

import pandas as pd
import pytest

from medres.datasets import parts


def table() -> tuple[pd.DataFrame, pd.DataFrame]:
    names = ["wide.png", "tiny.png", "strip.png"]
    rows = pd.DataFrame(
        {
            "question_id": [f"q{number}" for number in range(6)],
            "image": names * 2,
            "split": ["train"] * 3 + ["test"] * 3,
        }
    )
    rows.index = pd.Index(range(2, 8), name="line")
    facts = pd.DataFrame({"image": names, "width_px": [300, 5, 1], "height_px": [200, 3, 40]})
    return rows, facts


def check(trained: list[str], asked: list[str]) -> None:
    parts.check("own.csv", *table(), {"tiny": {"trained": trained, "asked": asked}})


@pytest.mark.parametrize(
    ("trained", "asked", "name", "line", "image"),
    [
        # 16 parts: 16 x 1, 8 x 2, 4 x 4, ... none fits 5 x 3 px; 1 x 16 fits 1 x 40 px.
        ([], ["low", "crops-16"], "crops-16", 6, "tiny.png"),
        ([], ["plain-crops-16"], "plain-crops-16", 6, "tiny.png"),
        (["crops-7"], [], "crops-7", 3, "tiny.png"),
        (["low", "native"], ["native", "crops-36"], "crops-36", 6, "tiny.png"),
    ],
)
def test_it_is_refused_by_line_name_and_image(
    trained: list[str], asked: list[str], name: str, line: int, image: str
) -> None:
    with pytest.raises(ValueError, match=f"cut as {re.escape(name)} asks, at line {line}") as error:
        check(trained, asked)
    assert image in str(error.value)
    assert f"leave {name} out of the study" in str(error.value)


def test_the_number_of_images_like_it_is_said() -> None:
    # 25 x 1, 5 x 5 or 1 x 25 parts: neither 5 x 3 nor 1 x 20 px has as many either way.
    rows, facts = table()
    facts.loc[facts["image"] == "strip.png", "height_px"] = 20
    with pytest.raises(ValueError, match="; 2 rows like it"):
        parts.check("own.csv", rows, facts, {"tiny": {"trained": [], "asked": ["crops-25"]}})


@pytest.mark.parametrize(
    "names", [["crops-15"], ["zoom", "plain-zoom"], ["low", "native", "mixed"], ["mixed-25"]]
)
def test_what_fits_passes(names: list[str]) -> None:
    rows, facts = table()
    facts.loc[facts["image"] == "strip.png", "height_px"] = 15
    parts.check("own.csv", rows, facts, {"tiny": {"trained": names, "asked": names}})
