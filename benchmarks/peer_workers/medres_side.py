"""medres, of whatever commit PYTHONPATH leads to: `evaluate` and `finetune` of a prepared study.

Only these and the preparation of a data set are called, so that two commits are asked the same.
The whole of `evaluate` is counted but the loading of the checkpoint: with reading the question
table, scoring, and writing answers. Of `finetune` the training itself is.
"""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import service
import transformers

STUDY = "peers"
SIDE = 224 * 224


def prepared(task: service.Task) -> None:
    """Store the conversations as a data set, unless it is there."""
    from medres import datasets, runs

    runs.ROOT = Path(task["folder"])
    if not (runs.ROOT / "runs" / STUDY / "questions" / task["name"]).exists():
        table = pd.DataFrame(task["conversations"]).assign(split="test")
        if task["kind"] == "train":
            # A data set has test questions.
            spare = table.tail(1).assign(image=task["spare_image"])
            table = pd.concat([table.assign(split="train"), spare])
        folder = runs.ROOT / "data" / task["name"]
        folder.mkdir(parents=True, exist_ok=True)
        for image in table["image"].unique():
            if not (folder / Path(image).name).exists():
                (folder / Path(image).name).hardlink_to(image)
        table["image"] = table["image"].map(lambda path: Path(path).name)
        table = table.rename(columns={"reply": "answer"}).assign(modality="microscopy")
        table.to_csv(folder / "questions.csv", index=False)
        datasets.prepare(STUDY, task["name"], {"table": f"data/{task['name']}/questions.csv"})
    for stage in ("evaluate", "finetune"):
        shutil.rmtree(runs.ROOT / "runs" / STUDY / stage, ignore_errors=True)


def shared(task: service.Task) -> dict[str, Any]:
    """Return the parameters that evaluation and training have in common."""
    return {
        "study": STUDY,
        "dataset": task["name"],
        "model": task["checkpoint"],
        "revision": "",
        "seed": 0,
        "low_max_pixels": SIDE,
        "native_max_pixels": 12_000_000,
        "resampling_filter": "bicubic",
        "low_share": 0.5,
        "threads": 1,
        "cache_gib": 0.0,
    }


class _Loading:
    """Counts the CPU seconds that `models.load` takes."""

    def __init__(self) -> None:
        from medres import models

        self.cpu_s, self.load = 0.0, models.load
        models.load = self

    def __call__(self, *args: Any, **named: Any) -> Any:
        model, cpu_s = service.timed(lambda: self.load(*args, **named))
        self.cpu_s += cpu_s
        return model


def answer(task: service.Task) -> service.Result:
    """Return the greedy replies and the options chosen, in the order of the conversations."""
    from medres import inference

    prepared(task)
    loading = _loading()
    before = loading.cpu_s
    run, cpu_s = service.timed(
        lambda: inference.evaluate(
            **shared(task),
            train_resolution="none",
            eval_resolutions=[task["resolution"]],
            limit=0,
            batch_images=8,
        )
    )
    found = pd.read_parquet(run.folder / "answers.parquet")
    found = found.set_index([found["image"].map(lambda path: Path(path).name), "question"])
    order = [(Path(each["image"]).name, each["question"]) for each in task["conversations"]]
    return {
        "replies": found.loc[order, "generated_reply"].tolist(),
        "chosen": found.loc[order, "reply"].tolist(),
        "cpu_s": cpu_s - (loading.cpu_s - before),
        "loading_cpu_s": loading.cpu_s - before,
    }


_counted: list[_Loading] = []


def _loading() -> _Loading:
    if not _counted:
        _counted.append(_Loading())
    return _counted[0]


def train(task: service.Task) -> service.Result:
    """Return the losses of a training from the checkpoint's weights, and what was low."""
    from medres import training

    prepared(task)
    taken: list[float] = []
    plain = transformers.Trainer.train

    def train(*args: Any, **named: Any) -> Any:
        value, cpu_s = service.timed(lambda: plain(*args, **named))
        taken.append(cpu_s)
        return value

    transformers.Trainer.train = train
    try:
        run = training.finetune(
            **shared(task),
            train_resolution="mixed",
            epochs=task["n_steps"],
            batch_images=task["n_images"],
            learning_rate=task["learning_rate"],
            weight_decay=0.0,
            warmup_share=0.0,
            checkpoint_every_steps=0,
        )
    finally:
        transformers.Trainer.train = plain
    drawn = pd.read_csv(run.folder / "resolutions.csv").drop_duplicates("image")
    return {
        "losses": pd.read_csv(run.folder / "loss.csv")["loss"].tolist(),
        "low": [Path(name).name for name in drawn.loc[drawn["resolution"] == "low", "image"]],
        "cpu_s": sum(taken),
    }


if __name__ == "__main__":
    service.one_thread()
    transformers.utils.logging.disable_progress_bar()
    service.serve({"answer": answer, "train": train})
