"""Options have the same log-probabilities through a server as here, in every family."""

from pathlib import Path

import pytest

from medres import runs
from medres.inference import ways
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


@pytest.mark.parametrize("name", ["tiny-qwen2-vl", "tiny-internvl", "tiny-gemma3"])
def test_several_views_through_a_server_are_those_of_the_model_here(
    name: str, root: Path, project: Path
) -> None:
    served_study.store(project)
    names = ["low", "crops-2", "zoom"]
    here = served_study.answers_of(served_study.evaluate(name, eval_resolutions=names))
    with model_server.started(model_server.make(name, root)) as server:
        run = served_study.evaluate(f"served:{server.url}#{name}", eval_resolutions=names)
    there = served_study.answers_of(run)
    assert served_study.difference(there, here) < 1e-5
    assert (there["reported_tokens"] == there["visual_tokens"]).all()
    columns = ["reply", "visual_tokens", "given_width_px", "resampling", "n_views", "zoom_cell"]
    assert (there[columns] == here.loc[there.index, columns]).all(axis=None)
    sent = {each.question: len(each.pngs) for each in server.seen}
    assert {number for text, number in sent.items() if text.startswith("The first")} == {2, 3}
    assert {number for text, number in sent.items() if "In which part is" in text} == {1}


def test_a_server_that_takes_too_few_images_is_refused_before_any_question(
    root: Path, project: Path
) -> None:
    served_study.store(project)
    with model_server.started(model_server.make("tiny-qwen2-vl", root)) as server:
        server.behaviour.most_images = 2
        model = f"served:{server.url}#tiny-qwen2-vl"
        with pytest.raises(
            ValueError, match=r"has crops-4, whose prompts have 5 images, .*At most"
        ):
            served_study.evaluate(model, eval_resolutions=["low", "crops-4", "zoom"])
        assert {each.question for each in server.seen} == {ways.PROBE}
        served_study.evaluate(model, eval_resolutions=["low", "zoom"])


def test_zoom_of_a_server_that_only_replies_in_words_is_refused(root: Path, project: Path) -> None:
    served_study.store(project)
    with model_server.started(model_server.make("tiny-qwen2-vl", root)) as server:
        model = f"served:{server.url}#tiny-qwen2-vl"
        with pytest.raises(
            ValueError, match="has zoom, for which a model chooses one of 9 numbered"
        ):
            served_study.evaluate(model, eval_resolutions=["zoom"], answer_by="words")
        assert {each.question for each in server.seen} == {ways.PROBE}


def test_a_first_step_that_fails_is_an_error_of_its_question(root: Path, project: Path) -> None:
    served_study.store(project)
    with model_server.started(model_server.make("tiny-qwen2-vl", root)) as server:
        model = f"served:{server.url}#tiny-qwen2-vl"
        settings = {"eval_resolutions": ["zoom"], "concurrency": 1}
        whole = served_study.answers_of(served_study.evaluate(model, **settings))
        n_before = next(
            number for number, each in enumerate(server.seen) if "In which part is" in each.question
        )
        server.behaviour.faults = [""] * n_before + ["no-log-probabilities"]
        failed = served_study.answers_of(served_study.evaluate(model, seed=1, **settings))
    wrong = failed["error"] != ""
    assert wrong.sum() == 1
    assert failed.loc[wrong, "error"].tolist() == ["no log-probabilities"]
    assert failed.loc[wrong, ["reply", "zoom_cell"]].to_numpy().tolist() == [["", ""]]
    columns = ["reply", "zoom_cell", "visual_tokens", "reported_tokens"]
    assert (failed[~wrong][columns] == whole.loc[failed.index[~wrong], columns]).all(axis=None)
