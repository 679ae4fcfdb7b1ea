"""Tables and figures laid out as the paper prints them."""

import numpy as np
import pandas as pd
import pytest

from medres.published import paper
from medres.results import as_printed, grids
from tests.answer_tables import arm, first_right


def ours(*, asked: tuple[tuple[str, str], ...], model: str = "tiny") -> pd.DataFrame:
    """Cells of a study: 60 of 100 right everywhere, over two trainings, on sets b and a."""
    parts = [
        arm(trained, name, first_right(60, 100), dataset=dataset, seed=seed)
        for dataset in ("b", "a")
        for trained, name in asked
        for seed in (0, 1)
    ]
    return grids.over_trainings(pd.concat(parts, ignore_index=True).assign(model=model))


def test_a_layout_has_a_row_a_training_and_evaluation_and_a_column_a_data_set() -> None:
    cells = ours(asked=(("native", "native"), ("native", "low"), ("none", "low"), ("low", "blank")))
    larger = cells[cells["eval_resolution"] == "low"].assign(model="large")
    both = pd.concat([cells, larger[larger["dataset"] == "b"]], ignore_index=True)
    table = as_printed.layout(both, both["accuracy"].map("{:.0%}".format))
    assert table.columns.tolist() == [*as_printed.ROWS, "b (%)", "a (%)"]
    assert table[as_printed.ROWS].to_numpy().tolist() == [
        ["tiny", "none", "low"],
        ["tiny", "native", "low"],
        ["tiny", "native", "native"],
        ["large", "none", "low"],
        ["large", "native", "low"],
    ]
    assert table["b (%)"].tolist() == ["60%"] * 5
    assert table["a (%)"].isna().tolist() == [False] * 3 + [True] * 2


def test_one_data_set_and_one_model_have_a_layout_too() -> None:
    cells = ours(asked=(("low", "low"), ("low", "native")))
    one = cells[cells["dataset"] == "a"]
    assert as_printed.layout(one, as_printed.texts(one)).shape == (2, 4)


def test_a_cell_that_occurs_twice_is_refused() -> None:
    cells = ours(asked=(("low", "low"),))
    twice = pd.concat([cells, cells], ignore_index=True)
    with pytest.raises(ValueError, match="duplicate"):
        as_printed.layout(twice, as_printed.texts(twice))


def test_texts_give_the_interval_where_there_is_one() -> None:
    cells = pd.DataFrame(
        {"accuracy": [0.625, 1.0], "lower": [0.401, np.nan], "upper": [0.8, np.nan]}, index=[7, 3]
    )
    assert as_printed.texts(cells).to_dict() == {7: "62.5 [40.1, 80.0]", 3: "100.0"}


def test_the_paper_s_tables_are_laid_out_as_printed() -> None:
    tables = as_printed.printed()
    assert list(tables) == [2, 3, 4, 5]
    order = [f"{name} (%)" for name in "subcellular compound cervical wsi".split()]
    order += [f"{name} (%)" for name in ("vqa-rad", "path-vqa", "slake")]
    arms = [[t, e] for t in ("none", "low", "native", "mixed") for e in ("low", "native", "mixed")]
    for table in tables.values():
        assert table.columns.tolist() == [*as_printed.ROWS, *order]
        assert table[as_printed.ROWS[1:]].to_numpy().tolist() == arms
    # Trained at native, evaluated at low: digits as printed, trailing zeros too.
    assert tables[2].iloc[6, 3:].tolist() == [
        "48.50", "46.30", "80.83", "54.45", "38.54", "18.65", "54.74",
    ]  # fmt: skip
    every = [text for table in tables.values() for text in table.iloc[:, 3:].to_numpy().flat]
    assert sorted(every) == sorted(paper.accuracy()["accuracy_percent"])


def of(points: pd.DataFrame, panel: str) -> dict[tuple[str, str], float]:
    part = points[points["panel"] == panel]
    key = zip(part["dataset"], part["eval_resolution"], strict=True)
    return dict(zip(key, part["accuracy"].round(4), strict=True))


def test_published_figures_3_and_4_hold_the_cells_of_their_tables() -> None:
    three, four = as_printed.points(3), as_printed.points(4)
    found = of(three, "Published: qwen2-vl-2b,\nevaluated as trained")
    assert len(found) == len(three) == 8
    assert (found["cervical", "low"], found["cervical", "native"]) == (0.9637, 0.9845)
    found = of(four, "Published: qwen2-vl-7b,\nwithout fine-tuning")
    assert len(found) == len(four) == 6
    assert (found["slake", "low"], found["slake", "native"]) == (0.5264, 0.5218)
    assert three["lower"].isna().all()
    assert four["upper"].isna().all()


def test_figure_5_is_drawn_under_both_readings() -> None:
    points = as_printed.points(5)
    native = of(points, "Published: qwen2-vl-2b,\nall trained at native")
    alike = of(points, "Published: qwen2-vl-2b,\neach evaluated as trained")
    # What Lanczos is compared with differs: native→low 48.5 or low→low 91.8.
    assert (native["subcellular", "low"], alike["subcellular", "low"]) == (0.485, 0.918)
    for found in (native, alike):
        assert len(found) == 6
        assert found["subcellular", "upsampled-lanczos"] == 0.931
        assert found["compound", "upsampled-lanczos"] == 0.752
        assert found["compound", "native"] == 0.791


@pytest.mark.parametrize(
    ("figure", "asked", "panels"),
    [
        (3, (("low", "low"), ("native", "native")), ["evaluated as trained"]),
        (3, (("low", "low"), ("low", "native")), []),
        (3, (("native", "native"),), []),
        (4, (("none", "low"), ("none", "native")), ["without fine-tuning"]),
        (4, (("low", "low"), ("native", "native")), []),
        (5, (("native", "low"), ("native", "native")), []),
        (
            5,
            (("native", "low"), ("native", "native"), ("native", "upsampled-lanczos")),
            ["all trained at native"],
        ),
        (
            5,
            (("low", "low"), ("native", "native"), ("upsampled-bicubic", "upsampled-bicubic")),
            ["each evaluated as trained"],
        ),
    ],
)
def test_a_study_has_a_panel_where_it_has_the_arms(
    figure: int, asked: tuple[tuple[str, str], ...], panels: list[str]
) -> None:
    points = as_printed.points(figure, ours(asked=asked, model="hub/tiny"))
    own = points[points["lower"].notna()]
    assert own["panel"].unique().tolist() == [f"This study: tiny,\n{each}" for each in panels]
    if panels:
        assert own[["dataset", "eval_resolution"]].to_numpy().tolist() == [
            [dataset, name] for dataset in ("b", "a") for name in _in_order(asked)
        ]
        assert own["accuracy"].eq(0.6).all()


def _in_order(asked: tuple[tuple[str, str], ...]) -> list[str]:
    names = [name for _, name in asked]
    return sorted(names, key=["low", "native", "upsampled-bicubic", "upsampled-lanczos"].index)


def test_every_model_of_a_study_has_a_panel_of_its_own() -> None:
    asked = (("none", "low"), ("none", "native"))
    cells = pd.concat([ours(asked=asked), ours(asked=asked, model="large")], ignore_index=True)
    panels = as_printed.points(4, cells)["panel"].unique().tolist()
    assert [each.partition(",")[0] for each in panels] == [
        "Published: qwen2-vl-7b",
        "This study: tiny",
        "This study: large",
    ]
