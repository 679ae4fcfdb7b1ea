"""Answers stored while an evaluation runs, so that a kill loses at most one batch."""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd


class AnswerLog:
    """Answers appended batch by batch; complete batches are not computed again after a kill."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[tuple[str, str], dict[str, Any]] = {}
        if path.is_file():
            kept = []
            for line in path.read_bytes().splitlines(keepends=True):
                try:
                    row = json.loads(line)
                except ValueError:
                    break
                if not line.endswith(b"\n"):
                    break
                kept.append(line)
                self.rows[row["eval_resolution"], row["question_id"]] = row
            # An incomplete line after a kill is cut off with all that follows; it is recomputed.
            with path.open("r+b") as file:
                file.truncate(sum(map(len, kept)))
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def extend(
        self,
        name: str,
        question_ids: list[str],
        compute: Callable[[], list[dict[str, Any]]],
    ) -> None:
        """Compute and add the answers of a batch, unless they are all stored.

        Args:
            name: Eval resolution of the batch.
            question_ids: Its questions.
            compute: Returns a row for each of them.

        Raises:
            ValueError: If a log-probability is not finite, with the question's id.
        """
        keys = [(name, question_id) for question_id in question_ids]
        if all(key in self.rows for key in keys):
            return
        answered = {(row["eval_resolution"], row["question_id"]): row for row in compute()}
        assert answered.keys() == set(keys), "answers must be those of the batch's questions"
        new = [key for key in keys if key not in self.rows]
        for key in new:
            values = answered[key]["option_log_probabilities"]
            if not all(math.isfinite(value) for value in values):
                raise ValueError(f"question {key[1]} at {name}: a log-probability is not finite")
        with self.path.open("a") as file:
            for key in new:
                file.write(json.dumps(answered[key]) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.rows.update({key: answered[key] for key in new})

    def table(self) -> pd.DataFrame:
        """Return all answers, one row per question and resolution."""
        return pd.DataFrame(list(self.rows.values()))
