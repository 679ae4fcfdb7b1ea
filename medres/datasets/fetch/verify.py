"""Checks at the sources what the loaders assume of them, on three items of each data set."""

import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from medres.datasets.fetch import assumed, checks
from medres.datasets.fetch.probe import PATIENCE, Probe, Sampler
from medres.datasets.fetch.transfer import Patience
from medres.images import UnreadableImageError

OK = "ok"
DIFFERS = "differs"
UNCHECKED = "could not be checked"
WRONG = (
    FileNotFoundError,
    PermissionError,
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    zipfile.BadZipFile,
    NotImplementedError,
    UnreadableImageError,
    pa.ArrowException,
)
"""What says that a source is not as assumed, rather than that it cannot be reached."""


@dataclass(frozen=True)
class Tick:
    """What came of one assumption."""

    assumption: assumed.Assumption
    state: str
    found: str
    """What was found, or why it could not be looked at."""


class Ticks(checks.Findings):
    """Collects what is found of each assumption about one data set."""

    def __init__(self, dataset: str, folder: Path) -> None:
        self.rows = {row.key: row for row in assumed.ABOUT if row.dataset == dataset}
        self.folder = folder
        self.made: dict[str, Tick] = {}

    @contextmanager
    def of(self, key: str) -> Iterator[None]:
        """Look at one assumption: an error says that it does not hold, or cannot be looked at."""
        try:
            yield
        except WRONG as error:
            self._make(key, DIFFERS, str(error) or type(error).__name__)
        except OSError as error:
            self._make(key, UNCHECKED, str(error))

    def found(self, key: str, what: str, is_right: bool = True) -> None:
        """Say what was found of an assumption, and whether it is what was assumed."""
        self._make(key, OK if is_right else DIFFERS, what)

    def left(self, key: str, why: str) -> None:
        """Say why an assumption cannot be checked."""
        self._make(key, UNCHECKED, why)

    def has(self, key: str) -> bool:
        """Return whether an assumption was found to hold."""
        return key in self.made and self.made[key].state == OK

    def all(self) -> list[Tick]:
        """Return a tick for each assumption, in the order of the table."""
        bad = next((key for key, tick in self.made.items() if tick.state != OK), "")
        why = f"because {bad} is not as assumed" if bad else "the check did not come to it"
        left = {key: Tick(row, UNCHECKED, why) for key, row in self.rows.items()}
        return [self.made.get(key, left[key]) for key in self.rows]

    def _make(self, key: str, state: str, found: str) -> None:
        # The first finding counts; names of temporary folders say nothing.
        short = " ".join(found.replace(f"{self.folder}/", "").split())
        self.made.setdefault(key, Tick(self.rows[key], state, short))


def verify(
    names: Sequence[str], *, mirror: str = "", patience: Patience = PATIENCE
) -> Iterator[list[Tick]]:
    """Yield a tick for each assumption about each data set.

    Everything that comes goes to a temporary folder and is removed.

    Args:
        names: Data sets.
        mirror: As for a fetch.
        patience: How patiently a bad connection is retried.

    Raises:
        ConnectionError: If no source answers at all.
    """
    has_answer = False
    for name in names:
        with tempfile.TemporaryDirectory(prefix="medres-verify-") as place:
            folder = Path(place).resolve()
            ticks = Ticks(name, folder)
            probe = Probe(mirror=mirror, patience=patience)
            checks.CHECKS[name](Sampler(folder, probe), probe, ticks)
            has_answer = has_answer or probe.has_answer
            made = ticks.all()
        if not has_answer and name == names[-1]:
            raise ConnectionError(f"offline: no source answers ({made[0].found})")
        if has_answer:
            yield made
