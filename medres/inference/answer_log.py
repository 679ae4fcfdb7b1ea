"""Answers stored while an evaluation runs, so that a kill loses at most one batch."""

import json
import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from medres import texts
from medres.files import json_sha256

CHECK = "row_sha256"
"""Key of the digest that each line holds of the rest of it."""


class AnswerLog:
    """Answers appended batch by batch; complete batches are not computed again after a kill."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[tuple[str, str], dict[str, Any]] = {}
        if path.is_file():
            whole = 0
            lines = path.read_bytes().splitlines(keepends=True)
            for number, line in enumerate(lines, start=1):
                row = _row(line)
                if row is None:
                    # Torn by a kill or damaged: cut off with all that follows.
                    texts.say(
                        f"{path}: line {number} of {len(lines)} is torn or damaged; it and all "
                        "that follow are computed again",
                    )
                    break
                whole += len(line)
                self.rows[row["eval_resolution"], row["question_id"]] = row
            with path.open("r+b") as file:
                file.truncate(whole)
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def extend(
        self,
        name: str,
        question_ids: list[str],
        compute: Callable[[], list[dict[str, Any]]],
    ) -> bool:
        """Compute and add the answers of a batch, unless they are all stored; return whether.

        Args:
            name: Eval resolution of the batch.
            question_ids: Its questions.
            compute: Returns a row for each of them.

        Raises:
            ValueError: If a log-probability is not finite, with the question's id.
        """
        keys = [(name, question_id) for question_id in question_ids]
        if all(key in self.rows for key in keys):
            return False
        answered = {(row["eval_resolution"], row["question_id"]): row for row in compute()}
        assert answered.keys() == set(keys), "answers must be those of the batch's questions"
        new = [key for key in keys if key not in self.rows]
        for key in new:
            values = answered[key]["option_log_probabilities"]
            if not all(math.isfinite(value) for value in values):
                raise ValueError(f"question {key[1]} at {name}: a log-probability is not finite")
        with self.path.open("a") as file:
            for key in new:
                row = answered[key]
                file.write(json.dumps({**row, CHECK: json_sha256(row)}) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.rows.update({key: answered[key] for key in new})
        return True

    def arrange(self, keys: Iterable[tuple[str, str]]) -> None:
        """Put answers in an order that does not depend on when they came.

        Args:
            keys: Eval resolution and question of every answer.
        """
        self.rows = {key: self.rows[key] for key in keys}

    def table(self) -> pd.DataFrame:
        """Return all answers, one row per question and resolution."""
        return pd.DataFrame(list(self.rows.values()))


def _row(line: bytes) -> dict[str, Any] | None:
    """Return the answer that a line holds, or None where it is not what was written."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    if not isinstance(row, dict) or not line.endswith(b"\n"):
        return None
    return row if row.pop(CHECK, "") == json_sha256(row) else None
