"""Progress of a download, one line every few seconds."""

import time
from typing import TextIO

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
        shown = f"{self.n_files} files, {readable(there)}"
        if self.total_bytes:
            shown += f" of {readable(self.total_bytes)} ({100 * there / self.total_bytes:.0f} %)"
        shown += f", {readable(int(rate))}/s"
        if self.total_bytes and rate:
            shown += f", {_duration((self.total_bytes - there) / rate)} left"
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


def readable(size_bytes: int) -> str:
    """Return a size as a person says it.

    >>> readable(0), readable(1_400), readable(104_000_000_000)
    ('0 B', '1.4 kB', '104.0 GB')
    """
    value, units = float(max(size_bytes, 0)), ["B", "kB", "MB", "GB", "TB", "PB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.0f} B" if units[0] == "B" else f"{value:.1f} {units[0]}"


def _duration(seconds: float) -> str:
    """Return a time as a person says it."""
    minutes = max(round(seconds / 60), 0)
    if minutes < 2:
        return f"{max(seconds, 0):.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"
