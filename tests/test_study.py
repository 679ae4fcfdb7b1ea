import os
import re
from pathlib import Path

import pytest
import yaml

from medres import runs, study
from medres.datasets.__main__ import main as prepare_main

REPOSITORY = Path(__file__).resolve().parent.parent
STUDIES = sorted(path.parent.name for path in (REPOSITORY / "params").glob("*/study.yaml"))
SMALL = {
    "title": "A small study",
    "models": ["org/model"],
    "train_resolutions": ["none", "low", "native"],
    "seeds": [0, 1],
    "datasets": {
        "phantom-radiology": {"n_train_images": 12, "n_test_images": 8},
        "mine": {"table": "own/questions.csv"},
    },
    "finetune": {"mine": {"epochs": 3}},
    "reports": ["05_alignment"],
}


def _write(project: Path, **changes: object) -> None:
    folder = project / "params" / "small"
    folder.mkdir(exist_ok=True)
    content = {key: value for key, value in (SMALL | changes).items() if value is not Ellipsis}
    (folder / "study.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    for stem in ("02_finetune", "03_evaluate", "05_alignment"):
        (folder / f"{stem}.yaml").write_text("study: small\n")


def _add(project: Path, stem: str, line: str) -> None:
    path = project / "params" / "small" / f"{stem}.yaml"
    path.write_text(path.read_text() + line + "\n")


@pytest.fixture
def small(project: Path) -> Path:
    _write(project)
    return project


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_of_the_repository_fits_its_notebooks(project: Path, name: str) -> None:
    loaded = study.load(name)
    assert loaded.name == name
    assert loaded.cells("evaluate")
    assert set(study.treatment(loaded)) == set(study.TREATMENT)


def test_there_are_studies() -> None:
    assert {"smoke", "own"} <= set(STUDIES)


def test_a_study_that_is_not_there_is_named_with_those_that_are(small: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"study\.yaml: no such study; known .*own, .*small"
    ):
        study.load("big")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modles": ["a"]}, "has unknown keys ['modles'] and lacks []"),
        ({"models": ...}, "has unknown keys [] and lacks ['models']"),
        ({"seeds": ..., "seed": 0}, "has unknown keys ['seed'] and lacks ['seeds']"),
        ({"seeds": 0}, "seeds is 0, not a list"),
        ({"title": 7}, "title is 7, not a str"),
        ({"datasets": ["mine"]}, "datasets is ['mine'], not a dict"),
        ({"finetune": None}, "finetune is None, not a dict"),
        ({"models": []}, "models is empty"),
        ({"datasets": {}}, "datasets is empty"),
        ({"train_resolutions": ["low", "high"]}, "train_resolutions has ['high']; use ('none'"),
        ({"train_resolutions": ["upsampled-bicubic"]}, "has ['upsampled-bicubic']; use ("),
        ({"finetune": {"yours": {}}}, "finetune names ['yours'], which datasets does not have"),
        ({"datasets": {"mine": None}, "finetune": {}}, "datasets gives mine None, not parameters"),
        ({"finetune": {"mine": 3}}, "finetune gives mine 3, not parameters"),
        (
            {"train_resolutions": ["none"], "reports": ["01_datasets", "07_resampling"]},
            "reports has ['07_resampling'], which compare trainings",
        ),
    ],
)
def test_a_wrong_study_file_is_named_with_the_key(
    project: Path, changes: dict, message: str
) -> None:
    _write(project, **changes)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        study.load("small")
    assert str(project / "params" / "small" / "study.yaml") in str(caught.value)


def test_a_report_without_a_notebook_is_named(project: Path) -> None:
    _write(project, reports=["05_alignmant"])
    with pytest.raises(FileNotFoundError, match=r"05_alignmant\.ipynb: no such notebook"):
        study.load("small")


def test_broken_yaml_is_named_with_its_line(small: Path) -> None:
    _add(small, "02_finetune", "epochs: [3")
    with pytest.raises(ValueError, match=r"02_finetune\.yaml is not valid YAML: .*line 3"):
        study.load("small")
    (small / "params/small/02_finetune.yaml").write_text("- epochs\n")
    with pytest.raises(ValueError, match="must hold `name: value` lines, not a list"):
        study.load("small")


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("low_max_pixels: 4000", "low_max_pixels: [3136, 4000]"),
        ("native_max_pixels: 50176", "native_max_pixels: [50176, 12000000]"),
        ("resampling_filter: lanczos", "resampling_filter: ['bicubic', 'lanczos']"),
        ("low_share: 0.25", "low_share: [0.25, 0.5]"),
    ],
)
@pytest.mark.parametrize("stem", ["02_finetune", "03_evaluate"])
def test_training_and_evaluation_must_share_the_treatment(
    small: Path, stem: str, line: str, shown: str
) -> None:
    _add(small, stem, line)
    with pytest.raises(
        ValueError,
        match=re.escape(f"params/small: 02_finetune.yaml and 03_evaluate.yaml differ in {shown};"),
    ):
        study.load("small")
    _add(small, {"02_finetune": "03_evaluate"}.get(stem, "02_finetune"), line)
    name = line.partition(":")[0]
    assert study.treatment(study.load("small"))[name] == yaml.safe_load(line)[name]


def test_a_treatment_that_differs_by_data_set_is_refused(project: Path) -> None:
    _write(project, finetune={"mine": {"low_max_pixels": 4000}})
    with pytest.raises(ValueError, match="differ in low_max_pixels"):
        study.load("small")


def test_every_treatment_parameter_is_in_both_notebooks() -> None:
    for stem in ("02_finetune", "03_evaluate"):
        parameters = study.notebook_parameters(REPOSITORY / "notebooks" / f"{stem}.ipynb")
        assert set(study.TREATMENT) <= set(parameters)


def _resolve(**given: object) -> dict:
    notebook = REPOSITORY / "notebooks" / "02_finetune.ipynb"
    return study.resolve(notebook, given, source="x.yaml")


def test_given_values_replace_defaults() -> None:
    resolved = _resolve(epochs=3)
    assert resolved["epochs"] == 3
    assert resolved | {"epochs": 8} == _resolve(epochs=8)
    assert list(resolved) == list(_resolve())


def test_an_unknown_parameter_is_named_with_the_known_ones() -> None:
    with pytest.raises(
        ValueError,
        match=r"x\.yaml sets \['limti'\], which 02_finetune\.ipynb does not have; its parameters "
        r"are \['study', 'dataset', 'model',",
    ):
        _resolve(limti=3, epochs=2)


@pytest.mark.parametrize(
    ("name", "value", "kinds"),
    [
        ("epochs", "3", ("str", "int")),
        ("epochs", 3.0, ("float", "int")),
        ("epochs", True, ("bool", "int")),
        ("model", 7, ("int", "str")),
        ("low_share", None, ("NoneType", "float")),
        ("study", ["demo"], ("list", "str")),
    ],
)
def test_a_value_of_another_type_is_refused(
    name: str, value: object, kinds: tuple[str, str]
) -> None:
    given, wanted = kinds
    with pytest.raises(
        ValueError,
        match=re.escape(
            f"x.yaml sets {name} to {value!r}, a {given}; 02_finetune.ipynb takes a {wanted}"
        ),
    ):
        _resolve(**{name: value})


@pytest.mark.parametrize("written", ["1e-5", "1", "1e5"])
def test_floats_that_yaml_reads_otherwise_get_a_hint(written: str) -> None:
    # YAML 1.1 reads 1e-5 as text: it went to the optimiser as a string.
    value = yaml.safe_load(f"learning_rate: {written}")["learning_rate"]
    assert not isinstance(value, float)
    with pytest.raises(ValueError, match=r"takes a float; write floats with a dot, as in 1\.0e-5"):
        _resolve(learning_rate=value)
    assert _resolve(learning_rate=yaml.safe_load("1.0e-5"))["learning_rate"] == 1e-5


def test_a_notebook_needs_one_parameters_cell(tmp_path: Path) -> None:
    path = tmp_path / "x.ipynb"
    cell = '{"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": ["a: int = 1"]}'
    for n_cells in (0, 2):
        path.write_text('{"cells": [' + ", ".join([cell] * n_cells) + "]}")
        with pytest.raises(ValueError, match=f"has {n_cells} cells tagged parameters, it needs on"):
            study.notebook_parameters(path)
    path.write_text('{"cells": [' + cell + "]}")
    assert study.notebook_parameters(path) == {"a": 1}


def test_the_base_model_is_one_cell_whatever_the_seeds(small: Path) -> None:
    loaded = study.load("small")
    trained, asked = loaded.cells("finetune"), loaded.cells("evaluate")
    assert len(trained) == 2 * 2 * 2  # data sets, resolutions, seeds
    assert len(asked) == len(trained) + 2
    base = [cell for cell in asked if cell.train_resolution == "none"]
    assert {cell.seed for cell in base} == {0}
    assert not [cell for cell in trained if cell.train_resolution == "none"]
    assert len({cell.path for cell in asked}) == len({cell.page for cell in asked}) == len(asked)


def test_costly_cells_come_first_and_their_paths_can_be_read(small: Path) -> None:
    cells = study.load("small").cells("evaluate")
    assert cells[0].path == "phantom-radiology/org--model/native/seed0"
    assert cells[-1].path == "mine/org--model/none/seed0"
    order = [cell.train_resolution for cell in cells]
    assert order == ["native"] * 4 + ["low"] * 4 + ["none"] * 2


def test_a_cell_has_its_overrides_and_its_own_values(small: Path) -> None:
    _add(small, "02_finetune", "epochs: 5")
    loaded = study.load("small")
    epochs = {cell.dataset: loaded.settings(cell)["epochs"] for cell in loaded.cells("finetune")}
    assert epochs == {"phantom-radiology": 5, "mine": 3}
    cell = loaded.cells("finetune")[-1]
    settings = loaded.settings(cell)
    for name in ("dataset", "model", "train_resolution", "seed"):
        assert settings[name] == getattr(cell, name)
    assert settings["study"] == "small"


def test_an_override_of_a_data_set_must_be_a_parameter(project: Path) -> None:
    _write(project, finetune={"mine": {"epoch": 3}})
    with pytest.raises(ValueError, match=r"sets \['epoch'\], which 02_finetune\.ipynb does not"):
        study.load("small")


def _requests(project: Path) -> dict[str, int]:
    folder = project / "runs" / "small" / "requests"
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file()
    }


def _ask(project: Path) -> dict[str, int]:
    """Write the requests after ageing those that are there, and return their times."""
    for name in _requests(project):
        os.utime(project / "runs" / "small" / "requests" / name, ns=(1, 1))
    study.write_requests(study.load("small"))
    return _requests(project)


def _touched(project: Path) -> set[str]:
    return {name for name, time_ns in _ask(project).items() if time_ns != 1}


def test_there_is_one_request_a_run(small: Path) -> None:
    loaded = study.load("small")
    expected = {f"questions/{name}.json" for name in loaded.datasets}
    for stage in ("finetune", "evaluate"):
        expected |= {f"{stage}/{cell.path}.json" for cell in loaded.cells(stage)}
    assert set(_ask(small)) == expected


def test_asking_twice_touches_nothing(small: Path) -> None:
    _ask(small)
    assert _touched(small) == set()


def test_runtime_parameters_touch_nothing(small: Path) -> None:
    _ask(small)
    for stem in ("02_finetune", "03_evaluate"):
        _add(small, stem, "threads: 7")
    assert _touched(small) == set()


def test_only_what_is_asked_otherwise_is_written_anew(project: Path) -> None:
    _write(project)
    _ask(project)
    _write(project, finetune={"mine": {"epochs": 4}})
    touched = _touched(project)
    assert len(touched) == 2 * 2
    assert all(name.startswith("finetune/mine/") for name in touched)
    _add(project, "03_evaluate", "limit: 5")
    touched = _touched(project)
    assert len(touched) == 10
    assert all(name.startswith("evaluate/") for name in touched)
    datasets = SMALL["datasets"] | {"mine": {"table": "own/others.csv"}}
    _write(project, finetune={"mine": {"epochs": 4}}, datasets=datasets)
    _add(project, "03_evaluate", "limit: 5")
    assert _touched(project) == {"questions/mine.json"}


def test_other_versions_ask_for_everything(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _ask(small)
    monkeypatch.setattr(study, "version", lambda package: "0")
    assert _touched(small) == set(_requests(small))


def test_a_torn_request_says_how_to_mend_it(small: Path) -> None:
    _ask(small)
    path = small / "runs" / "small" / "requests" / "questions" / "mine.json"
    path.write_text("{")
    with pytest.raises(ValueError, match=r"mine\.json is not valid JSON \(.*\); delete it"):
        _ask(small)


def test_the_mark_of_a_run_that_is_gone_is_removed(small: Path) -> None:
    cells = study.load("small").cells("finetune")[:3]
    marks = [small / "runs" / "small" / "made" / "finetune" / cell.path for cell in cells]
    for cell, mark in zip(cells, marks, strict=True):
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
        parameters = {"seed": cell.seed}
        run = runs.start("small", "finetune", cell.path, parameters=parameters, inputs={})
        (run.folder / "loss.csv").touch()
        run.finish(files=["loss.csv"])
    _ask(small)
    assert [mark.exists() for mark in marks] == [True, True, True]
    (runs.folder_of("small", "finetune", cells[0].path) / "run.json").unlink()
    (runs.folder_of("small", "finetune", cells[1].path) / "loss.csv").unlink()
    _ask(small)
    assert [mark.exists() for mark in marks] == [False, False, True]


def test_preparing_an_unknown_data_set_is_one_line(
    small: Path, capsys: pytest.CaptureFixture
) -> None:
    assert prepare_main(["prepare", "small", "yours"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("medres: study small has no data set 'yours'; it has ['phantom-radio")
    assert error.count("\n") == 1
    assert prepare_main(["prepare", "small", "mine"]) == 1
    assert "questions.csv: no such table" in capsys.readouterr().err
    assert prepare_main(["prepare", "small", "phantom-radiology"]) == 0
