"""A study with a training that goes on from another: what is made first, and again."""

import shutil
from pathlib import Path

import pytest
import yaml

from medres import runs
from medres import study as studies
from medres.report import current, render
from tests import tiny_study
from tests.tiny_study import Made, change_params

REPOSITORY = Path(__file__).resolve().parent.parent
CELL = "mine/tiny-qwen2-vl/{}/seed0"
FIRST, THEN = (f"finetune/{CELL.format(name)}" for name in ("low", "low-then-native"))
EVALUATED_FIRST, EVALUATED_THEN = (
    f"evaluate/{CELL.format(name)}" for name in ("low", "low-then-native")
)
PAGE = "{}-mine-tiny-qwen2-vl-{}-seed0"

pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study of two trainings, the second going on from the first; nothing is made yet."""
    for name in ("notebooks", "params"):
        shutil.copytree(REPOSITORY / name, tmp_path / name)
    monkeypatch.setattr(runs, "ROOT", tmp_path)
    monkeypatch.setattr(render, "_execute", tiny_study.in_this_process)
    tiny_study.write(tmp_path)
    path = tmp_path / "params" / tiny_study.NAME / "study.yaml"
    content = yaml.safe_load(path.read_text()) | {
        # In the order that would be wrong: costly ones come first otherwise.
        "train_resolutions": ["low-then-native", "low"],
        "reports": ["11_published_audit"],
    }
    path.write_text(yaml.safe_dump(content))
    return tmp_path


def test_the_earlier_training_is_made_first_and_what_changes_it_changes_the_other(
    project: Path,
) -> None:
    study = studies.load(tiny_study.NAME)
    pages = current.pages_of(study)
    first, then = (PAGE.format("02_finetune", name) for name in ("low", "low-then-native"))
    assert ("pages", first) in current.upstream_of(study, then, pages[then])
    assert current.upstream_of(study, first, pages[first]) == [("questions", "mine")]
    evaluated = PAGE.format("03_evaluate", "low-then-native")
    assert ("pages", then) in current.upstream_of(study, evaluated, pages[evaluated])
    assert list(pages).index(first) < list(pages).index(then)

    every = {FIRST, THEN, EVALUATED_FIRST, EVALUATED_THEN}
    assert tiny_study.make().runs == {"questions/mine", *every}
    assert tiny_study.make() == Made()
    change_params(project, "02_finetune", adapt_epochs=2)
    assert tiny_study.make().runs == {THEN, EVALUATED_THEN}
    assert tiny_study.make() == Made()
    change_params(project, "02_finetune", epochs=2)
    assert tiny_study.make().runs == every
    assert tiny_study.make() == Made()
    digests = [
        runs.read(runs.folder_of(tiny_study.NAME, "finetune", CELL.format("low")))["digest"],
        runs.read(runs.folder_of(tiny_study.NAME, "finetune", CELL.format("low-then-native")))[
            "spec"
        ]["inputs"]["finetune"],
    ]
    assert digests[0] == digests[1]
