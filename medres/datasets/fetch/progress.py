"""Progress of a download, one line every few seconds."""

import time
from typing import TextIO

from medres.amounts import duration, size

EVERY_S = 5.0
EVERY_LOG_S = 30.0
"""Where nobody watches: a log of a day then has a thousand lines more, not a million."""


class Progress:
    """Counts bytes and writes share, rate and time left."""

    def __init__(self, out: TextIO, *, total_bytes: int = 0) -> None:
        self.out = out
        self.total_bytes = total_bytes
        """Of all that is fetched; 0 if it is not known."""
        self.done_bytes = 0
        """Of whole files, those that were there before too."""
        self.n_files = 0
        self._current_bytes = self._came_bytes = 0
        self._began_s = self._shown_s = time.monotonic()
        self._is_open = False

    def add(self, came_bytes: int, there_bytes: int) -> None:
        """Count bytes that came; `there_bytes` are those of the current file by now."""
        self._came_bytes += came_bytes
        self._current_bytes = there_bytes
        self._show_at_times()

    def skip(self, size_bytes: int) -> None:
        """Count a file that was there already."""
        self._current_bytes = size_bytes
        self.finish_file()

    def finish_file(self) -> None:
        """Count the current file as whole."""
        self.done_bytes += self._current_bytes
        self.n_files += 1
        self._current_bytes = 0
        self._show_at_times()

    def line(self) -> str:
        """Return the progress in words."""
        there = self.done_bytes + self._current_bytes
        rate = self._came_bytes / max(time.monotonic() - self._began_s, 1e-3)
        shown = f"{self.n_files} files, {size(there)}"
        if self.total_bytes:
            shown += f" of {size(self.total_bytes)} ({100 * there / self.total_bytes:.0f} %)"
        shown += f", {size(int(rate))}/s"
        if self.total_bytes and rate:
            shown += f", {duration((self.total_bytes - there) / rate)} left"
        return shown

    def say(self, text: str) -> None:
        """Write a line of its own."""
        self.close()
        self.out.write(f"{text}\n")

    def close(self) -> None:
        """End the line that is rewritten in place."""
        if self._is_open:
            self.out.write("\n")
            self._is_open = False

    def _show_at_times(self) -> None:
        is_watched = self.out.isatty()
        now_s = time.monotonic()
        if now_s - self._shown_s < (EVERY_S if is_watched else EVERY_LOG_S):
            return
        self._shown_s = now_s
        self.out.write(f"\r{self.line():<79}" if is_watched else f"{self.line()}\n")
        self.out.flush()
        self._is_open = is_watched
