"""Signs of life of a training's processes, by the folder that all nodes share.

Each process renews its record every few seconds, as long as it reaches the first one. Without
that, a process whose node loses its power or its network is missed only when the others have
waited half an hour for it.
"""

import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

SILENT_S = 120.0
"""After so long without a sign a process is taken for lost. NFS shows changes of a file to other
nodes up to 60 s late."""
SIGNS = 12
"""Signs that a process gives in that time."""
UNREADABLE = (OSError, ValueError, KeyError)
"""What a record raises while it is replaced, or a shared disk stumbles: no sign this time."""
OUTLIVES_S = 20.0
"""A process that gave signs for so much longer than another did not end first."""


def begin(renew: Callable[[], None], *, cut_off: Callable[[str], None], silent_s: float) -> None:
    """Give signs of life in the background until this process ends.

    Args:
        renew: Renews the record of this process.
        cut_off: Called with the reason when no sign was given for so long.
        silent_s: As `SILENT_S`.
    """
    threading.Thread(target=_give_signs, args=(renew, cut_off, silent_s), daemon=True).start()


def _give_signs(renew: Callable[[], None], cut_off: Callable[[str], None], silent_s: float) -> None:
    first = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
    renewed = time.monotonic()
    while True:
        time.sleep(silent_s / SIGNS)
        try:
            _reach(first, within_s=silent_s / SIGNS)
            renew()
            renewed = time.monotonic()
        except UNREADABLE as error:
            if time.monotonic() - renewed > silent_s:
                cut_off(str(error))
                return


def _reach(address: tuple[str, int], *, within_s: float) -> None:
    try:
        socket.create_connection(address, timeout=within_s).close()
    except ConnectionRefusedError:
        return  # The node answers, and nothing listens there yet or any more.


class Watch(threading.Thread):
    """Ends a training when a process gives no sign of life any more.

    A launcher does not learn of a node that is down, and that of a hostfile lets the others wait
    for a process that has failed.

    Args:
        records: Folder with the record of each process, NUMBER.json.
        is_done: Whether the process of a record has done its share.
        end: Ends all of them.
        silent_s: As `SILENT_S`.
    """

    def __init__(
        self,
        records: Path,
        *,
        is_done: Callable[[Path], bool],
        end: Callable[[], None],
        silent_s: float,
    ) -> None:
        super().__init__(daemon=True)
        self.records = records
        self.is_done = is_done
        self.end = end
        self.silent_s = silent_s
        self.is_over = threading.Event()
        self.lost: set[int] = set()
        """Numbers of the processes that were given up."""

    def run(self) -> None:
        """Look for the signs until the training is over."""
        seen: dict[Path, int] = {}
        missed: Counter[Path] = Counter()
        # By looks, not by a clock: after a pause of this process or of the disk, all have paused.
        while not self.is_over.wait(self.silent_s / SIGNS):
            with suppress(*UNREADABLE):
                for record in self.records.glob("*.json"):
                    renewed = record.stat().st_mtime_ns
                    missed[record] = missed[record] + 1 if seen.get(record) == renewed else 0
                    seen[record] = renewed
            late = [record for record, n in missed.items() if n > SIGNS]
            with suppress(*UNREADABLE):
                self.lost = {int(record.stem) for record in late if not self.is_done(record)}
            if self.lost:
                self.end()
                return
