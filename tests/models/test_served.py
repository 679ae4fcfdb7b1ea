from pathlib import Path
from typing import Any

import pytest
import yaml

from medres import models, names, runs, texts
from medres import study as studies
from medres.models import offline, served
from medres.models.served import Address

HERE = "http://127.0.0.1:8000/v1"
QWEN = "Qwen/Qwen2-VL-2B-Instruct"


@pytest.mark.parametrize(
    ("model", "address"),
    [
        (f"{HERE}#tiny-qwen2-vl", (HERE, "127.0.0.1", "tiny-qwen2-vl", "tiny-qwen2-vl")),
        (f"{HERE}/#org/name@tiny-llava", (HERE, "127.0.0.1", "org/name", "tiny-llava")),
        (f"{HERE}#qwen2.5vl:7b@pixels", (HERE, "127.0.0.1", "qwen2.5vl:7b", "pixels")),
        (f"{HERE}#a@q4_k_m@pixels", (HERE, "127.0.0.1", "a@q4_k_m", "pixels")),
        (f"https://gpu.lab#/my.gguf@{QWEN}", ("https://gpu.lab", "gpu.lab", "/my.gguf", QWEN)),
        ("http://[::1]:80/v1#a@pixels", ("http://[::1]:80/v1", "::1", "a", "pixels")),
    ],
)
def test_an_address_has_a_url_a_name_and_a_model_like_it(
    model: str, address: tuple[str, str, str, str]
) -> None:
    assert served.is_served(f"served:{model}")
    assert served.parse(f"served:{model}") == Address(*address)


@pytest.mark.parametrize(
    "model",
    [
        "served:",
        f"served:{HERE}",
        f"served:{HERE}#",
        f"served:{HERE}#@pixels",
        f"served:{HERE}#name@",
        "served:127.0.0.1:8000/v1#name",
        "served:ftp://127.0.0.1/v1#name",
        "served:http://user:password@127.0.0.1/v1#name",
        "served:http://127.0.0.1/v1?key=1#name",
        f"served:{HERE}#a b",
        f"served:{HERE}#a\x1b[2J",
        f"served:{HERE}#a#b",
        f"served:{HERE}#{'a' * 400}",
    ],
)
def test_what_is_no_address_is_refused_with_its_form(model: str) -> None:
    with pytest.raises(ValueError, match=r"served:http://HOST:PORT/v1#NAME") as caught:
        served.parse(model)
    assert "password" not in str(caught.value).replace("user, password or question", "")


def test_names_on_pages_are_those_of_folders_and_differ_wherever_models_do() -> None:
    given = [
        f"served:{HERE}#org/name",
        f"served:{HERE}#org-name",
        f"served:{HERE}#org/name@pixels",
        "served:http://127.0.0.1:8001/v1#org/name",
        "served:http://127.0.0.1:8000/v2#org/name",
        f"served:{HERE}#org..name",
        f"served:{HERE}#{'x' * 200}@pixels",
    ]
    shown = [texts.named(each) for each in given]
    assert len({each.casefold() for each in shown}) == len(given)
    for each in shown:
        names.check("model", each)
        assert "127" not in each
    # Of the whole name, by definition.
    assert shown[0].startswith("served-org-name-")


def test_a_served_model_is_planned_as_the_one_that_it_is_like(project: Path) -> None:
    settings = {
        "low_max_pixels": 3_136,
        "native_max_pixels": 12_845_056,
        "resampling_filter": "bicubic",
        "tiling": "information",
    }
    like = f"served:{HERE}#any@Qwen/Qwen2-VL-2B-Instruct"
    assert offline.is_at_hand(like)
    assert offline.config_of(like).model_type == "qwen2_vl"
    assert offline.treatment_of(like, settings).multiple_px == 28
    assert offline.sizes_of(offline.config_of(like)) == offline.sizes_of(
        offline.config_of("Qwen/Qwen2-VL-2B-Instruct")
    )
    plain = offline.treatment_of(f"served:{HERE}#any@pixels", settings)
    assert plain.multiple_px == 1
    assert not offline.is_at_hand(f"served:{HERE}#any@pixels")
    assert models.fingerprint(like, revision="") == f"any of {HERE}, by the word of its server"
    assert offline.characters_per_token(like, ["is it?"]) == offline.CHARACTERS_PER_TOKEN


@pytest.mark.parametrize("name", ["llama3.2-vision", "Qwen/Qwen9-VL", "models/of-mine"])
def test_a_model_of_which_nothing_is_known_is_refused_with_what_to_write(name: str) -> None:
    with pytest.raises(ValueError, match=r"sees an image is not known.*tiny-qwen2-vl.*@pixels"):
        offline.config_of(f"served:{HERE}#any@{name}")


def test_of_a_model_of_unknown_kind_nothing_but_pixels_is_planned() -> None:
    with pytest.raises(ValueError, match=r"its name ends in @pixels: nothing can be planned"):
        offline.config_of(f"served:{HERE}#any@pixels")


def write(project: Path, **changes: Any) -> None:
    study = {
        "title": "Served",
        "models": [f"served:{HERE}#a@tiny-qwen2-vl", "served:http://127.0.0.1:9/v1#a@pixels"],
        "train_resolutions": ["none"],
        "seeds": [0],
        "datasets": {"phantom-subcellular": {}},
        "finetune": {},
        "reports": ["01_datasets"],
        **changes,
    }
    (project / "params" / "mine").mkdir(exist_ok=True)
    (project / "params" / "mine" / "study.yaml").write_text(yaml.safe_dump(study))


def test_a_study_of_served_models_is_read_without_asking_them(project: Path) -> None:
    write(project)
    study = studies.load("mine")
    assert studies.unpinned(study) == []
    paths = [cell.path for cell in study.cells("evaluate")]
    assert len(set(paths)) == 2
    assert all(path.count("/") == 3 and "served-a-" in path for path in paths)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_resolutions": ["none", "low"]}, "nobody can train here"),
        ({"models": ["served:nowhere"]}, "is not the name of a served model"),
        ({"models": ["served:http://me:pass@h/v1#n"]}, "is not the name of a served model"),
    ],
)
def test_studies_that_cannot_be_are_refused_when_they_are_read(
    project: Path, changes: dict[str, Any], message: str
) -> None:
    write(project, **changes)
    with pytest.raises(ValueError, match=message) as caught:
        studies.load("mine")
    assert "pass@" not in str(caught.value)


def test_times_and_traffic_are_no_part_of_a_run_s_state(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = []
    for seconds, right in ((1.0, 3), (2.0, 3), (2.0, 4)):
        run = runs.start("mine", "evaluate", f"a/b/{len(states)}", parameters={}, inputs={})
        run.spec["cell"] = "same"
        (run.folder / "answers.parquet").write_text("same")
        (run.folder / "requests.parquet").write_text(str(seconds))
        run.finish(
            files=["answers.parquet", "requests.parquet"],
            right=right,
            seconds=seconds,
            seconds_by_resolution={"low": seconds},
            traffic={"bytes_sent": int(seconds)},
        )
        record = runs.record_of(run.folder)
        record["digest"] = "same"
        runs._write_record(run.folder, record)
        states.append(runs.state(run.folder))
    assert states[0] == states[1] != states[2]
