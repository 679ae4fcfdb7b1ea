"""What an evaluation hands to those who ask: local models or servers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from medres import datasets
from medres.datasets.pixel_cache import PixelCache
from medres.inference.answer_log import AnswerLog
from medres.resolution import Treatment


@dataclass(frozen=True)
class Job:
    """Questions to be answered, and where their answers go."""

    cell: str
    """For messages."""
    folder: Path
    """Of the run."""
    question_set: datasets.QuestionSet
    test: pd.DataFrame
    """The questions."""
    resolutions: list[str]
    """Names of eval resolutions, without mixed."""
    treatment: Treatment
    log: AnswerLog
    cache: PixelCache
    parameters: Mapping[str, Any]
    """Of `inference.evaluate`."""


class Clock:
    """Seconds spent at each eval resolution, kept over kills but for the last few."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seconds: dict[str, float] = {}
        if path.is_file():
            for line in path.read_text(errors="replace").splitlines():
                try:
                    name, seconds = json.loads(line)
                    self._count(str(name), float(seconds))
                except (ValueError, TypeError):  # torn by a kill
                    continue

    def _count(self, name: str, seconds: float) -> None:
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    def add(self, name: str, seconds: float) -> None:
        """Add what was spent."""
        self._count(name, seconds)
        with self.path.open("a") as file:
            file.write(json.dumps([name, seconds]) + "\n")

    def by_resolution(self, names: list[str]) -> dict[str, float]:
        """Return the seconds of each resolution, in their order."""
        return {name: round(self.seconds.get(name, 0.0), 3) for name in names}
