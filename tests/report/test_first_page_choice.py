"""The first page of a study says what its page of choice said, where it has one."""

from types import SimpleNamespace

import pandas as pd
import pytest

from medres.report import first_page
from medres.study import Study

CHOICE = pd.DataFrame(
    {
        "dataset": ["mine", "yours"],
        "model": "org/model",
        "train_resolution": "none",
        "warning": ["**The server did not see what was sent**.", ""],
        "sentence": ["**mine: use low.**", "**yours: use native.**"],
    }
)


def shown(monkeypatch, *, reports, trained=("none",)) -> str:
    """Return the verdict of a first page whose tables are made up."""
    study = Study(
        "one", "One", ["org/model"], list(trained), [0], {"mine": {"table": "q.csv"}}, {}, reports
    )
    page = SimpleNamespace(
        read_table=lambda study, name, **options: {"choice": CHOICE}[name],
        figure_again=lambda *arguments, **options: SimpleNamespace(data=""),
    )
    monkeypatch.setattr(first_page, "page", page)
    monkeypatch.setattr(first_page, "current", SimpleNamespace(tables_of=lambda study: []))
    return str(first_page._results(study)["verdict"])


def test_the_choice_stands_first_with_its_warning_before_it(monkeypatch):
    said = shown(monkeypatch, reports=["01_datasets", "10_choose_resolution"])
    places = [said.index(text) for text in ("did not see what was sent", "mine: use", "yours: use")]
    assert places == sorted(places)
    assert "<strong>mine: use low.</strong>" in said
    assert said.count("Caution (mine):") == 1
    assert "nan" not in said


@pytest.mark.parametrize(
    ("reports", "trained"),
    [
        pytest.param(["01_datasets"], ("none",), id="no such page"),
        pytest.param(["10_choose_resolution"], ("none", "low"), id="trainings have sizes each"),
    ],
)
def test_without_such_a_page_or_with_trainings_it_is_not_said(monkeypatch, reports, trained):
    assert "use low" not in shown(monkeypatch, reports=reports, trained=trained)
