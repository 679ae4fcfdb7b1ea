"""The fault campaign: `python -m tests.faults` disturbs a small study in every way we know.

What it holds medres to: the finished study is the same to the last byte as an undisturbed one, or
a command stops with one line of reason and the same command goes on; and nothing finished is lost.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.faults import damage, kills, places, signals
from tests.faults.commands import Place
from tests.faults.rounds import Campaign, Rounds

Part = Callable[[Campaign, int], None]
OF_STAGES: dict[str, tuple[Part, int]] = {
    "kills": (kills.run, 100),
    "pages": (signals.to_pages, 30),
    "unfinished": (damage.of_unfinished, 1),
    "disks": (places.full_disk, 2),
}
"""What disturbs single stages, for which one warm process serves, and how often it does so."""
OF_STUDIES: dict[str, tuple[Part, int]] = {
    "makes": (signals.to_make, 30),
    "finished": (damage.of_finished, 1),
    "others": (places.others, 1),
}
"""What disturbs `medres.make`."""


def main(arguments: list[str]) -> int:
    """Disturb a study, print a table, and return 1 if the promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument(
        "--only", choices=[*OF_STAGES, *OF_STUDIES], action="append", help="parts; all if not given"
    )
    parser.add_argument("--times", type=int, default=0, help="rounds of each part")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="that keeps all, so that it can go on")
    asked = parser.parse_args(arguments)
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="medres-faults-"))
    place = Place(folder)
    campaign = Campaign(place, Rounds(folder / "rounds.jsonl"), asked.seed)
    chosen = asked.only or [*OF_STAGES, *OF_STUDIES]
    try:
        if not campaign.is_measured or OF_STAGES.keys() & set(chosen):
            with place.warmed():
                campaign.undisturbed()
                _disturb(campaign, OF_STAGES, chosen, asked.times)
        _disturb(campaign, OF_STUDIES, chosen, asked.times)
    finally:
        place.end()
        print("\n".join(campaign.rounds.table()))
    if campaign.rounds.is_broken:
        print(f"medres: the promise was broken; the last project is {campaign.root}")
        return 1
    if not asked.folder:
        shutil.rmtree(folder)
    return 0


def _disturb(
    campaign: Campaign, parts: dict[str, tuple[Part, int]], chosen: list[str], times: int
) -> None:
    for name in [name for name in parts if name in chosen]:
        disturb, usual = parts[name]
        disturb(campaign, times or usual)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
