"""Figures of views: every image is drawn, in order, with what stands beside it."""

import numpy as np
import pandas as pd
import pytest

from medres import views
from medres.report import figures


def picture(title: str, shade: int) -> tuple[str, np.ndarray, str]:
    return title, np.full((4, 6, 3), shade, dtype=np.uint8), f"{title} below"


def test_each_arm_is_a_row_of_its_images_in_order() -> None:
    arms = {
        "crops-2": [picture("whole", 10), picture("left", 20), picture("right", 30)],
        "zoom": [picture("whole", 40), picture("centre", 50)],
    }
    figure = figures.views_of_image(arms)
    drawn = [
        (ax.get_title(), int(ax.images[0].get_array()[0, 0, 0])) for ax in figure.axes if ax.images
    ]
    assert drawn == [("whole", 10), ("left", 20), ("right", 30), ("whole", 40), ("centre", 50)]
    assert [ax.get_ylabel() for ax in figure.axes if ax.get_ylabel()] == ["crops-2", "zoom"]
    assert "left below" in [ax.get_xlabel() for ax in figure.axes]


@pytest.mark.parametrize("arms", [{}, {"crops-2": []}])
def test_nothing_to_draw_is_refused(arms: dict) -> None:
    with pytest.raises(ValueError, match="at least one"):
        figures.views_of_image(arms)


def cells(*maps: tuple[str, str]) -> pd.DataFrame:
    shares = [0.0, 0.1, 0.0, 0.6, 0.2, 0.0, 0.1, 0.0, 0.0]
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "dataset": dataset,
                    "train_resolution": trained,
                    "cell": views.CELLS,
                    "share": shares,
                }
            )
            for dataset, trained in maps
        ]
    )


def test_cells_are_drawn_where_they_are() -> None:
    figure = figures.zoom_cells(cells(("drawn", "none"), ("other", "low")), across=3)
    first, second = (ax for ax in figure.axes if ax.images)
    assert first.get_title() == "drawn\nnot trained"
    assert second.get_title() == "other\ntrained at low"
    written = {tuple(map(int, text.get_position())): text.get_text() for text in first.texts}
    # Column, row: the left one of the middle row is 60 %.
    assert written[0, 1] == "60 %"
    assert written[1, 0] == "10 %"
    assert len(written) == 9


@pytest.mark.parametrize("n_maps", [1, 4, 5, 9])
def test_every_map_has_its_place(n_maps: int) -> None:
    found = cells(*((f"set {number}", "low") for number in range(n_maps)))
    figure = figures.zoom_cells(found, across=3)
    assert len([ax for ax in figure.axes if ax.images]) == n_maps
