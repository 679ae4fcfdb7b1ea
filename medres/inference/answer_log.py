"""Answers on disk while an evaluation runs, so that a kill costs one batch."""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from medres.files import json_sha256

CHECK = "row_sha256"
"""Key of the digest that each line holds of the rest of it."""


class AnswerLog:
    """Answers appended as they come; whole batches are skipped after a kill, never asked again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[tuple[str, str], dict[str, Any]] = {}
        if path.is_file():
            whole = 0
            lines = path.read_bytes().splitlines(keepends=True)
            for number, line in enumerate(lines, start=1):
                row = _row(line)
                if row is None:
                    # Torn by a kill or damaged: cut off, and what follows is asked again.
                    print(
                        f"{path}: line {number} of {len(lines)} is torn or damaged; questions are "
                        "asked again from there",
                        flush=True,
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
        ask: Callable[[], list[dict[str, Any]]],
    ) -> None:
        """Add the answers of a batch, unless they are all there.

        Args:
            name: Eval resolution of the batch.
            question_ids: Its questions.
            ask: Gives a row for each of them.

        Raises:
            ValueError: If a log-probability is not finite, naming the question.
        """
        wanted = [(name, question_id) for question_id in question_ids]
        if all(key in self.rows for key in wanted):
            return
        answered = {(row["eval_resolution"], row["question_id"]): row for row in ask()}
        assert answered.keys() == set(wanted), "answers must be those of the questions asked"
        new = [key for key in wanted if key not in self.rows]
        for key in new:
            values = answered[key]["option_log_probabilities"]
            if not all(math.isfinite(value) for value in values):
                raise ValueError(f"question {key[1]} at {name}: a log-probability is not finite")
        with self.path.open("a") as file:
            for key in new:
                # As it will be read: JSON knows no tuples.
                row = json.loads(json.dumps(answered[key]))
                file.write(json.dumps({**row, CHECK: json_sha256(row)}) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.rows.update({key: answered[key] for key in new})

    def table(self) -> pd.DataFrame:
        """Return all answers, one row each."""
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
