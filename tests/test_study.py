import re
from pathlib import Path

import pytest
import yaml

from medres import study
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
        (folder / f"{stem}.yaml").write_text("# Small.\n")


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
        ({"train_resolutions": ["low", "high"]}, "train resolution 'high' is none: unknown"),
        ({"train_resolutions": ["blank"]}, "nothing is trained at 'blank'; use none, low"),
        ({"train_resolutions": ["mixed-5", "mixed-05"]}, "'mixed-05' has no percentage"),
        ({"train_resolutions": ["mixed-50", 50]}, "train resolution 50 is none: unknown"),
        ({"train_resolutions": ["native", "low-then-native"]}, "'low-then-native' without 'low'"),
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


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("[low, nativ]", "unknown resolution 'nativ'; use low, native"),
        ("[]", "eval_resolutions is empty; name low"),
        ("[low, mixed]", "eval_resolutions has mixed without low and native; add them"),
        ("[native, tokens-0]", "unknown resolution 'tokens-0'"),
        ("[native, tiles]", "unknown resolution 'tiles'.*tiles-<n>, pan-and-scan"),
        ("[native, 4]", "unknown resolution '4'"),
        ("[native, null]", "unknown resolution 'None'"),
    ],
)
def test_a_wrong_eval_resolution_is_refused_with_its_file(
    small: Path, names: str, message: str
) -> None:
    _add(small, "03_evaluate", f"eval_resolutions: {names}")
    with pytest.raises(ValueError, match=rf"small/03_evaluate\.yaml: {message}"):
        study.load("small")


def test_adapters_do_not_go_on_from_a_training(small: Path) -> None:
    _write(small, train_resolutions=["low", "low-then-native"])
    study.load("small")
    _add(small, "02_finetune", "lora_rank: 4")
    with pytest.raises(
        ValueError, match=r"02_finetune\.yaml: .*'low-then-native' with lora_rank 4"
    ):
        study.load("small")


@pytest.mark.parametrize("name", ["tokens-280", "tiles-4", "pan-and-scan", "scale-2", "blank"])
def test_every_kind_of_resolution_may_be_asked_for(small: Path, name: str) -> None:
    _add(small, "03_evaluate", f"eval_resolutions: [low, native, mixed, {name}]")
    loaded = study.load("small")
    assert loaded.settings(loaded.cells("evaluate")[0])["eval_resolutions"][-1] == name


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


def test_trainings_on_shares_stand_between_native_and_low(small: Path) -> None:
    names = ["none", "mixed-75", "low", "mixed", "mixed-10", "native"]
    _write(small, train_resolutions=names, seeds=[0])
    cells = study.load("small").cells("evaluate")
    order = ["native", "mixed-10", "mixed", "mixed-75", "low", "none"]
    assert list(dict.fromkeys(cell.train_resolution for cell in cells)) == order
    assert cells[2].path == "phantom-radiology/org--model/mixed-10/seed0"


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


def test_a_study_says_what_was_checked_when_it_was_loaded(small: Path) -> None:
    _add(small, "03_evaluate", "limit: 5")
    loaded = study.load("small")
    _add(small, "03_evaluate", "generate_closed: 3")
    cells = loaded.cells("evaluate")
    assert {loaded.settings(cell)["limit"] for cell in cells} == {5}
    with pytest.raises(ValueError, match="sets generate_closed to 3, a int"):
        study.load("small")
    loaded.settings(cells[0])["eval_resolutions"].append("scale-2")
    assert "scale-2" not in loaded.settings(cells[0])["eval_resolutions"]


def test_an_override_of_a_data_set_must_be_a_parameter(project: Path) -> None:
    _write(project, finetune={"mine": {"epoch": 3}})
    with pytest.raises(ValueError, match=r"sets \['epoch'\], which 02_finetune\.ipynb does not"):
        study.load("small")


@pytest.mark.parametrize(
    "name",
    ["chest+ct", "a b", "a/b", "x;touch y", "$(id)", "`id`", "-x", ".x", "x.", "a..b", "", "ä"],
)
def test_a_name_that_cannot_be_a_folder_and_a_word_is_refused(project: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"study .* is not a name: use letters, digits, dot"):
        study.load(name)
    _write(project, datasets={name: {"table": "t.csv"}})
    with pytest.raises(ValueError, match=r"study\.yaml: data set .* is not a name: use letters"):
        study.load("small")
    _write(project, reports=[name])
    with pytest.raises(ValueError, match=r"study\.yaml: report .* is not a name"):
        study.load("small")


@pytest.mark.parametrize("model", ["org/a b", "a;b", "../up", "a//b", "org/model/", "$x"])
def test_a_model_s_name_is_checked_too(project: Path, model: str) -> None:
    _write(project, models=[model])
    with pytest.raises(
        ValueError, match=r"study\.yaml: model .* is not a name.*models may have / inside"
    ):
        study.load("small")


@pytest.mark.parametrize("model", ["org/model-2B.v1", "checkpoints/mine", "/data/models/x"])
def test_hub_ids_and_folders_are_names_of_models(project: Path, model: str) -> None:
    _write(project, models=[model])
    assert study.load("small").models == [model]


@pytest.mark.parametrize("model", ["made/adapter-x", "runs/nothing"])
def test_a_name_of_two_words_is_said_to_be_no_folder(project: Path, model: str) -> None:
    """A folder mistyped was called a hub id without revision, which sends one looking there."""
    path = project / "params" / "smoke" / "study.yaml"
    path.write_text(path.read_text().replace("tiny-qwen2-vl", model, 1))
    (line,) = study.unpinned(study.load("smoke"))
    assert line.startswith(f"model {model} is no folder of the project: correct it, or if it is a")


def test_a_name_that_yaml_takes_for_a_number_is_asked_for_in_quotes(project: Path) -> None:
    _write(project, datasets={2026: {"table": "t.csv"}})
    with pytest.raises(ValueError, match=r"2026 was read as int, not as text; put it in quotes"):
        study.load("small")


@pytest.mark.parametrize("seed", [True, -1, 0.5, "0", None])
def test_a_seed_is_a_whole_number(project: Path, seed: object) -> None:
    _write(project, seeds=[seed])
    with pytest.raises(ValueError, match=r"study\.yaml: seed .* is not a whole number from 0"):
        study.load("small")


def test_nothing_is_named_twice(project: Path) -> None:
    _write(project, seeds=[0, 1, 0])
    with pytest.raises(ValueError, match=r"study\.yaml: seeds names 0 twice"):
        study.load("small")


def test_two_cells_never_share_a_page(project: Path) -> None:
    sets = {"a": {"table": "t.csv"}, "a-b": {"table": "t.csv"}}
    _write(project, models=["b-c", "c"], datasets=sets, finetune={})
    with pytest.raises(ValueError, match=r"would share the page .*rename a data set"):
        study.load("small")


def test_a_parameter_file_of_another_study_is_refused(small: Path) -> None:
    _add(small, "03_evaluate", "study: other")
    with pytest.raises(ValueError, match=r"03_evaluate\.yaml sets study to 'other'; leave it out"):
        study.load("small")


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
