"""The record of a fetch: which files came from where, and whether it is complete.

`fetching.json` is written before anything is downloaded and removed last: while it is there,
the folder is not whole. Each file that arrived is a line of `fetching.jsonl`, so that a killed
fetch loses nothing and eighteen thousand small files do not rewrite one list each. At the end
`fetched.json` holds it all.
"""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medres import runs

BEGUN = "fetching.json"
LINES = "fetching.jsonl"
DONE = "fetched.json"
OWN = (BEGUN, LINES, DONE, ".fetching.lock")
"""Names in the folder that are the record's, not the data set's."""


@dataclass
class Ledger:
    """What is recorded of a folder; empty for a folder that nothing was fetched into."""

    folder: Path
    header: dict[str, Any] = field(default_factory=dict)
    """name, version, revision, licence, citation, limit, options; at the end also when."""
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By path below the folder: url, sha256 and size_bytes; archive for what came in one."""
    archives: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Archives that were unpacked and removed, by the path they had."""
    notes: list[str] = field(default_factory=list)
    """What the source could not give, one sentence each."""

    @property
    def is_begun(self) -> bool:
        """Whether a fetch was begun that is not finished."""
        return any((self.folder / name).exists() for name in (BEGUN, LINES))

    @property
    def is_done(self) -> bool:
        """Whether a fetch was finished and none begun since."""
        return (self.folder / DONE).is_file() and not self.is_begun

    @property
    def name(self) -> str:
        """Name of the data set."""
        return str(self.header.get("name", ""))

    @property
    def version(self) -> str:
        """Version that the data set's module pinned."""
        return str(self.header.get("version", ""))

    @property
    def revision(self) -> str:
        """Commit of a Hub repository, else empty."""
        return str(self.header.get("revision", ""))

    @property
    def limit(self) -> int:
        """How much was asked for; zero means all."""
        return int(self.header.get("limit", 0))

    @property
    def options(self) -> dict[str, Any]:
        """What else the fetch was asked, such as max_pixels."""
        return dict(self.header.get("options", {}))

    def has(self, path: str) -> bool:
        """Return whether a recorded file is there in its recorded size."""
        file = self.folder / path
        return (
            path in self.files
            and file.is_file()
            and file.stat().st_size == self.files[path]["size_bytes"]
        )

    def damaged(self) -> list[str]:
        """Return the recorded files that are gone or have another size."""
        return [path for path in self.files if not self.has(path)]

    def begin(self, **header: Any) -> None:
        """Mark the folder as not whole until `finish`; what it holds already is kept."""
        self.header, self.notes = header, []
        runs.write_json(self.folder / BEGUN, header)
        with runs.replacing(self.folder / LINES) as part:
            entries = [*self.files.values(), *self.archives.values()]
            part.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
        (self.folder / DONE).unlink(missing_ok=True)

    def add(self, **entry: Any) -> None:
        """Record a file that has its final name."""
        self._take(entry)
        with (self.folder / LINES).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def note(self, text: str) -> None:
        """Record what the source could not give."""
        self.notes.append(text)

    def finish(self) -> None:
        """Write the record: from here on the folder is whole."""
        self.header["when"] = datetime.now(UTC).isoformat(timespec="seconds")
        record = {
            **self.header,
            "files": [self.files[path] for path in sorted(self.files)],
            "archives": [self.archives[path] for path in sorted(self.archives)],
            "notes": self.notes,
        }
        runs.write_json(self.folder / DONE, record)
        # The mark goes last: a kill in between leaves the folder unfinished, never half-finished.
        (self.folder / LINES).unlink(missing_ok=True)
        (self.folder / BEGUN).unlink(missing_ok=True)

    def _take(self, entry: dict[str, Any]) -> None:
        if entry.get("is_archive"):
            self.archives[entry["path"]] = entry
            self.files.pop(entry["path"], None)
        else:
            self.files[entry["path"]] = entry


def read(folder: Path) -> Ledger:
    """Return the record of a folder.

    Raises:
        ValueError: If a record is damaged, naming the file.
    """
    kept = Ledger(folder)
    if (folder / DONE).is_file():
        record = runs.read_json(folder / DONE)
        if missing := {"name", "when", "files", "archives", "notes"} - set(record):
            raise ValueError(f"{folder / DONE} is not a record of a fetch: it lacks {min(missing)}")
        entries = [*record.pop("files"), *record.pop("archives")]
        kept.notes = record.pop("notes")
        kept.header = record
        for entry in entries:
            kept._take(entry)
    if (folder / BEGUN).is_file():
        kept.header = runs.read_json(folder / BEGUN)
    if (folder / LINES).is_file():
        # What follows the last line feed was being written when the fetch was killed.
        whole, _, _ = (folder / LINES).read_text(encoding="utf-8").rpartition("\n")
        for line in whole.splitlines():
            kept._take(_parsed(folder / LINES, line))
    return kept


def _parsed(path: Path, line: str) -> dict[str, Any]:
    try:
        entry: dict[str, Any] = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); delete it and fetch again") from error
    return entry
