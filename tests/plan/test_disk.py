"""Predicted disk against the bytes of runs that were really made."""

import pytest

from medres import datasets, inference, runs, training
from medres import study as studies
from medres.models import offline
from medres.plan import costs, disk
from tests import tiny_study


def size_of(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_study_takes_the_disk_that_is_predicted(project, monkeypatch):
    tiny_study.write(project)
    tiny_study.change_params(
        project, "study", train_resolutions=["none", "native"], reports=["09_cost"]
    )
    tiny_study.change_params(project, "02_finetune", checkpoint_every_steps=1, device="cpu")
    study = studies.load(tiny_study.NAME)
    datasets.prepare(study.name, "mine", study.datasets["mine"])
    (cell,) = study.cells("finetune")
    settings = study.settings(cell)

    def stop(*_):
        raise RuntimeError("stopped before its checkpoints are removed")

    with monkeypatch.context() as patch:
        patch.setattr(training, "keep", stop)
        with pytest.raises(RuntimeError):
            training.finetune(**settings)
    run = runs.folder_of(study.name, "finetune", cell.path)
    checkpoints = [size_of(path) for path in (run / "resume").glob("checkpoint-*")]
    training.finetune(**settings)
    asked = study.settings(study.cells("evaluate")[-1])
    judged = ("open_rule", "check_questions")
    answered = inference.evaluate(**{k: v for k, v in asked.items() if k not in judged})

    predicted = disk.predict(study, costs.describe(study))
    sizes = offline.sizes_of(offline.config_of(cell.model))
    each = disk.checkpoint_bytes(sizes, cell, settings)
    assert checkpoints == [pytest.approx(each, rel=0.2)] * settings["keep_checkpoints"]
    assert (predicted.n_checkpoints, predicted.checkpoints) == (3, 3 * each)
    assert predicted.weights == pytest.approx(size_of(run / "checkpoint"), rel=0.2)
    assert predicted.answers / 2 == pytest.approx(
        answered.file("answers.parquet").stat().st_size, rel=0.2
    )
    pixels = runs.ROOT / "runs" / study.name / "pixels"
    assert predicted.pixels == pytest.approx(size_of(pixels), rel=0.2)
    said = disk.line(predicted)
    assert said.startswith("Disk besides the data sets: weights of trainings (1) 3.4 MB; answers")


def test_a_checkpoint_holds_what_its_strategy_writes(project):
    tiny_study.write(project)
    study = studies.load(tiny_study.NAME)
    cell = study.cells("finetune")[0]
    sizes = offline.sizes_of(offline.config_of(cell.model))
    # The second and the third stand for folders that were weighed: 17.6 and 14.0 MB.
    for strategy, dtype, bytes_per_weight in (
        ("single", "bfloat16", 12),
        ("zero-2", "float32", 20),
        ("zero-2", "bfloat16", 16),
        ("zero-3", "bfloat16", 14),
    ):
        settings = study.settings(cell) | {"strategy": strategy, "dtype": dtype}
        found = disk.checkpoint_bytes(sizes, cell, settings)
        assert found == bytes_per_weight * sizes.n_weights
