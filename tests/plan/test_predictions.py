import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medres import datasets, runs, training
from medres import study as studies
from medres.plan import predictions
from medres.plan import table as plan
from medres.plan.memory import GPUS
from medres.study import Study
from tests.plan.test_plan import write_study

TEXT_TOLERANCE = 0.05
"""Text tokens are estimated from characters, and weigh most where an image has few tokens."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose small study is trained, but for the mixed arm."""
    root = tmp_path_factory.mktemp("trained")
    for name in ("notebooks", "params"):
        shutil.copytree(Path(__file__).resolve().parents[2] / name, root / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "ROOT", root)
        study = write_study(root)
        for dataset, parameters in study.datasets.items():
            datasets.prepare(study.name, dataset, parameters)
        for cell in study.cells("finetune"):
            if cell.train_resolution != "mixed":
                training.finetune(**study.settings(cell))
    return root


@pytest.fixture
def finished(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.setattr(runs, "ROOT", trained)
    return studies.load("small")


def test_predicted_operations_are_those_that_a_training_records(finished: Study) -> None:
    beside = predictions.beside_measured(finished)
    assert beside["train_resolution"].tolist() == ["native", "low"]
    assert (beside["measured_flops"] > 0).all()
    np.testing.assert_allclose(
        beside["predicted_flops"], beside["measured_flops"], rtol=TEXT_TOLERANCE
    )


def test_seconds_at_the_mean_rate_add_up_as_operations_do(finished: Study) -> None:
    beside = predictions.beside_measured(finished)
    assert beside["measured_seconds"].sum() > 0
    expected = beside["measured_seconds"].sum() * (
        beside["predicted_flops"].sum() / beside["measured_flops"].sum()
    )
    assert beside["seconds_at_mean_rate"].sum() == pytest.approx(expected)
    assert beside[["predicted_peak_bytes", "measured_peak_bytes"]].isna().all(axis=None)


def test_a_recorded_peak_is_shown_beside_what_was_predicted_for_its_micro_batch(
    finished: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, micro_batch_images = runs.read, 1

    def changed(folder: Path) -> dict[str, Any]:
        record = real(folder)
        if "native" in folder.parts:
            record["outcome"]["peak_memory_bytes"] = 10**9
            record["outcome"]["micro_batch_images"] = micro_batch_images
        return record

    monkeypatch.setattr(runs, "read", changed)
    native, low = predictions.beside_measured(finished).to_dict("records")
    assert native["measured_peak_bytes"] == 1e9
    assert 1e6 < native["predicted_peak_bytes"] < 1e9
    assert np.isnan(low["predicted_peak_bytes"])
    micro_batch_images = 2
    more, _ = predictions.beside_measured(finished).to_dict("records")
    assert more["predicted_peak_bytes"] > native["predicted_peak_bytes"]


def test_a_study_without_a_finished_training_has_no_rows(project: Path) -> None:
    beside = predictions.beside_measured(write_study(project))
    assert beside.empty
    assert "measured_flops" in beside


def test_one_training_has_the_row_of_the_study_s_plan(finished: Study) -> None:
    settings = finished.settings(finished.cells("finetune")[0])
    (row,) = predictions.of_training(finished, settings).to_dict("records")
    assert (row["data set"], row["trained"], row["epochs"]) == ("phantom-radiology", "native", "2")
    assert f" {row['train FLOP']} " in plan.report(finished, gpu=GPUS[plan.GPU])


def test_a_training_is_planned_by_its_own_parameters_not_the_study_s(finished: Study) -> None:
    settings = finished.settings(finished.cells("finetune")[0])
    (once,) = predictions.of_training(finished, settings).to_dict("records")
    (often,) = predictions.of_training(finished, settings | {"epochs": 20}).to_dict("records")
    assert float(often["train FLOP"]) == pytest.approx(10 * float(once["train FLOP"]), rel=0.01)
    assert often["eval FLOP"] == once["eval FLOP"]
    (adapted,) = predictions.of_training(finished, settings | {"lora_rank": 4}).to_dict("records")
    assert float(adapted["train FLOP"]) < 0.7 * float(once["train FLOP"])


def test_the_row_of_one_run_is_that_of_the_study(finished: Study) -> None:
    cell = finished.cells("finetune")[0]
    outcome = runs.read(runs.folder_of("small", "finetune", cell.path))["outcome"]
    (row,) = predictions.of_run(finished, finished.settings(cell), outcome).to_dict("records")
    expected = predictions.beside_measured(finished).to_dict("records")[0]
    assert {name: expected[name] for name in row if row[name] == row[name]} == {
        name: value for name, value in row.items() if value == value
    }
    assert not [name for name in row if "seconds" in name]


def test_a_data_set_that_the_study_has_not_is_refused(finished: Study) -> None:
    settings = finished.settings(finished.cells("finetune")[0])
    with pytest.raises(ValueError, match="study small has no data set 'moon'; it has phantom-"):
        predictions.of_training(finished, settings | {"dataset": "moon"})
    with pytest.raises(ValueError, match="unknown GPU 'A1000'; known are A100-40GB"):
        predictions.of_training(finished, settings, gpu="A1000")
