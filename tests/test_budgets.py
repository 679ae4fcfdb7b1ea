"""What a model does not have, or no rule is, is refused before anything is made."""

from pathlib import Path

import pytest
import yaml

from medres import make, runs
from medres import study as studies
from medres.plan.__main__ import main as plan_main
from medres.report import current


def ask(project: Path, *names: str) -> studies.Study:
    path = project / "params" / "smoke" / "03_evaluate.yaml"
    path.write_text(yaml.safe_dump({"eval_resolutions": ["low", "native", *names]}))
    return studies.load("smoke")


@pytest.mark.parametrize("name", ["tiles-4", "pan-and-scan"])
def test_make_and_plan_refuse_it_in_one_line_and_make_nothing(
    name: str, project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    ask(project, name)
    said = (
        f"params/smoke/03_evaluate.yaml: eval_resolutions, tiny-qwen2-vl: resolution '{name}' is "
        "not a budget of this model; use tokens-<n>"
    )
    for main in (make.main, plan_main):
        assert main(["smoke"]) == 1
        assert said in capsys.readouterr().err
    assert not (runs.ROOT / "runs" / "smoke").exists()


@pytest.mark.parametrize("rule", ["kind", "Names", ""])
def test_a_rule_that_is_none_is_refused_before_anything_is_trained(
    rule: str, project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    path = project / "params" / "smoke" / "03_evaluate.yaml"
    path.write_text(yaml.safe_dump({"open_rule": rule}))
    assert make.main(["smoke"]) == 1
    assert f"open_rule is {rule!r}; use names, exact, strict, paper" in capsys.readouterr().err
    assert not (runs.ROOT / "runs" / "smoke").exists()


@pytest.mark.parametrize("name", ["tokens-100", "scale-2"])
def test_make_goes_on_with_what_the_model_has(
    name: str, project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    ask(project, name)
    assert make.main(["smoke", "--dry-run"]) == 0
    assert "to be made" in capsys.readouterr().out


@pytest.mark.parametrize("stem", ["01_datasets", "05_alignment"])
def test_the_page_of_data_sets_alone_depends_on_what_evaluations_ask(
    stem: str, project: Path
) -> None:
    asked = []
    for names in ([], ["tokens-100"], ["tokens-100"]):
        study = ask(project, *names)
        asked.append(current.decides(study, stem, None, study.report_settings(stem)))
    assert (asked[0] != asked[1]) == (stem == "01_datasets")
    assert asked[1] == asked[2]
