"""What a study's evaluations took: seconds, requests and bytes of each resolution, operations.

Times vary from run to run and are no part of what a run's digest covers.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd

from medres import resolution, runs, texts
from medres import study as studies
from medres.datasets import QuestionSet
from medres.models import flops, offline
from medres.models.flops import ModelShape
from medres.resolution import Treatment
from medres.study import Study

SERVED = "served:"
"""Begins the name of a model that a server answers for."""
REQUESTS = "requests.parquet"
"""File of a run that keeps what each request to a server took."""
KEY = ["dataset", "model", "train_resolution", "eval_resolution"]


def of_study(study: Study, question_sets: Mapping[str, QuestionSet]) -> pd.DataFrame:
    """Return the seconds of a question at each resolution, the mean over trainings.

    Of a model on this machine they are the time of a resolution over its questions; of a served
    one the median from request to answer.

    Args:
        study: Whose evaluations are done.
        question_sets: The data sets, for the names that answers have of them.

    Returns:
        `KEY`, seconds_per_question and time_to_first_token_s, NaN where nothing was measured.
    """
    rows: list[dict[str, Any]] = []
    for cell in study.cells("evaluate"):
        folder = runs.folder_of(study.name, "evaluate", cell.path)
        record = runs.read(folder)
        asked = _requests(folder, record)
        if asked is not None:
            sent = asked[asked["n_requests"] > 0]
            timed = sent.groupby("eval_resolution", sort=False)
            found = timed[["seconds", "time_to_first_token_s"]].median()
            found = found.rename(columns={"seconds": "seconds_per_question"})
        else:
            seconds = record["outcome"].get("seconds_by_resolution") or {}
            n_questions = max(1, int(record["outcome"].get("n_questions", 1)))
            found = pd.DataFrame(
                {"seconds_per_question": [each / n_questions for each in seconds.values()]},
                index=list(seconds),
            )
        rows += [
            {
                "dataset": question_sets[cell.dataset].label,
                "model": texts.named(cell.model),
                "train_resolution": cell.train_resolution,
                "eval_resolution": name,
                **row,
            }
            for name, row in found.to_dict("index").items()
        ]
    columns = ["seconds_per_question", "time_to_first_token_s"]
    table = pd.DataFrame(rows, columns=[*KEY, *columns])
    return table.groupby(KEY, sort=False, as_index=False)[columns].mean()


def _requests(folder: Path, record: Mapping[str, Any]) -> pd.DataFrame | None:
    return pd.read_parquet(runs.checked(folder, REQUESTS)) if REQUESTS in record["files"] else None


def sent(study: Study) -> str:
    """Return what left this machine and where it went, in sentences, a line for each served model.

    For the page: nothing but pixels, questions and options is ever sent.
    """
    lines = []
    for model in study.models:
        if not model.startswith(SERVED):
            continue
        tables = []
        for cell in study.cells("evaluate"):
            if cell.model == model:
                folder = runs.folder_of(study.name, "evaluate", cell.path)
                tables.append(_requests(folder, runs.read(folder)))
        asked = pd.concat([each for each in tables if each is not None] or [pd.DataFrame()])
        address = urlsplit(model.removeprefix(SERVED).partition("#")[0])
        host = address.hostname or "an unnamed host"
        is_here = host in ("localhost", "::1") or host.startswith("127.")
        to = "a server on this machine" if is_here else f"the server {texts.in_markdown(host)}"
        if "bytes_sent" not in asked:
            lines.append(f"Images were sent to {to}; how many bytes was not recorded.")
            continue
        n_bytes, n_requests = int(asked["bytes_sent"].sum()), int(asked["n_requests"].sum())
        lines.append(
            f"Pixels, questions and options were sent to {to}: {n_bytes / 1e6:,.1f} MB in "
            f"{n_requests:,} requests. File names, metadata, ids and reference answers were not."
        )
    return "\n\n".join(lines) or "Nothing was sent anywhere: the model ran on this machine."


def operations(study: Study, answers: pd.DataFrame) -> pd.DataFrame:
    """Return the operations of a question with its image, by the sizes of models that are known.

    One forward pass over image and question, without its reply; questions of one image share it in
    this program, but not where each is asked by itself.

    Args:
        study: Names the models; those whose config is not at hand have no rows.
        answers: As from `ladder.rungs`; the columns dataset, model, eval_resolution, width_px,
            height_px and question.

    Returns:
        dataset, model, eval_resolution, flops_per_question.
    """
    rows: list[dict[str, Any]] = []
    meaning = studies.treatment(study)
    for model in study.models:
        plain = model.partition("@")[2] if model.startswith(SERVED) else model
        if not (plain and offline.is_at_hand(plain)):
            continue
        treatment = offline.treatment_of(plain, meaning)
        shape = offline.sizes_of(offline.config_of(plain)).shape
        part = answers[answers["model"] == texts.named(model)]
        characters = part["question"].drop_duplicates().str.len().mean()
        text_tokens = 0 if np.isnan(characters) else characters / offline.CHARACTERS_PER_TOKEN
        sizes = ["dataset", "eval_resolution", "width_px", "height_px"]
        asked = part.drop_duplicates(["dataset", "eval_resolution", "question_id"])
        counts = asked.groupby(sizes, sort=False).size().rename("n").reset_index()
        counts["flops"] = [
            _flops((int(row.width_px), int(row.height_px)), str(row.eval_resolution), treatment,
                   shape, round(text_tokens))
            for row in counts.itertuples()
        ]  # fmt: skip
        for (dataset, name), of_rung in counts.groupby(["dataset", "eval_resolution"], sort=False):
            rows.append(
                {
                    "dataset": dataset,
                    "model": texts.named(model),
                    "eval_resolution": name,
                    "flops_per_question": np.average(of_rung["flops"], weights=of_rung["n"]),
                }
            )
    columns = ["dataset", "model", "eval_resolution", "flops_per_question"]
    return pd.DataFrame(rows, columns=columns)


def _flops(
    size_px: tuple[int, int], name: str, treatment: Treatment, shape: ModelShape, text_tokens: int
) -> int:
    layout = resolution.plan(size_px, name, treatment).layout
    assert layout is not None  # planned for a model
    return flops.forward_flops(
        shape,
        visual_tokens=layout.visual_tokens,
        text_tokens=text_tokens + layout.mark_tokens,
        n_crops=layout.n_crops,
        logit_tokens=1,
    )
