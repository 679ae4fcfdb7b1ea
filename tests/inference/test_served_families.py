"""Options have the same log-probabilities through a server as here, in every family."""

from pathlib import Path

import pytest

from medres import runs
from medres.models import tiny
from tests import model_server
from tests.inference import served_study


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("families")


@pytest.mark.parametrize("name", tiny.NAMES)
def test_log_probabilities_through_a_server_are_those_of_the_model_here(
    name: str, root: Path, project: Path
) -> None:
    served_study.store(project)
    names = ["low", "native"]
    here = served_study.answers_of(served_study.evaluate(name, eval_resolutions=names))
    with model_server.started(model_server.make(name, root)) as server:
        run = served_study.evaluate(f"served:{server.url}#{name}", eval_resolutions=names)
    there = served_study.answers_of(run)
    assert served_study.difference(there, here) < 1e-5
    closed = there[there["options"].map(len) > 0]
    assert set(closed["answered_by"]) == {"log-probabilities"}
    assert (there["reported_tokens"] == there["visual_tokens"]).all()
    columns = ["reply", "visual_tokens", "given_width_px", "resampling", "correct"]
    assert (there[columns] == here.loc[there.index, columns]).all(axis=None)


def test_a_model_that_is_not_the_one_served_is_noticed(root: Path, project: Path) -> None:
    served_study.store(project)
    here = served_study.answers_of(
        served_study.evaluate("tiny-qwen2-vl", eval_resolutions=["native"])
    )
    with model_server.started(model_server.make("tiny-qwen2-5-vl", root)) as server:
        server.name = "other"
        run = served_study.evaluate(
            f"served:{server.url}#other@tiny-qwen2-vl", eval_resolutions=["native"]
        )
    assert served_study.difference(served_study.answers_of(run), here) > 1e-3
    assert runs.is_whole(run.folder)
