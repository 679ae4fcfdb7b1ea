"""Progress bars of what takes long, for who watches a terminal; silent in logs and notebooks."""

import sys
from collections.abc import Collection, Iterator
from typing import TypeVar

from tqdm import tqdm  # type: ignore[import-untyped]

from medres import texts

Item = TypeVar("Item")
SHOWN_AFTER_S = 2.0


def over(items: Collection[Item], what: str) -> Iterator[Item]:
    """Yield items, with a bar on the terminal's error stream if they take more than two seconds.

    Args:
        items: Gone through once.
        what: What is done with them.
    """
    yield from tqdm(
        items,
        desc=texts.one_line(what),
        unit="",
        file=sys.stderr,
        delay=SHOWN_AFTER_S,
        leave=False,
        dynamic_ncols=True,
        disable=None,  # where it is no terminal
    )
