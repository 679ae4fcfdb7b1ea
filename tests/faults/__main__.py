"""The fault campaign: `python -m tests.faults` disturbs a small study in every way we know.

What it holds medres to: the finished study is the same to the last byte as an undisturbed one, or
a command stops with one line of reason and the same command goes on; and nothing finished is lost.
"""

import argparse
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from medres import ending
from tests.faults import clusters, damage, kills, other_models, places, signals
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
    "makes": (signals.to_make, 35),
    "finished": (damage.of_finished, 1),
    "others": (places.others, 1),
    "models": (other_models.run, 1),
    "cluster": (clusters.run, 1),
}
"""What disturbs `medres.make`."""
REDUCED = {"kills": 6, "pages": 2, "makes": 1}
"""Parts, and how often, of a campaign of a minute of CPU."""


def main(arguments: list[str]) -> int:
    """Disturb a study, print a table, and return 1 if the promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument(
        "--only", choices=[*OF_STAGES, *OF_STUDIES], action="append", help="parts; all if not given"
    )
    parser.add_argument("--times", type=int, default=0, help="rounds of each part")
    parser.add_argument("--reduced", action="store_true", help="a campaign of a minute of CPU")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="that keeps all, so that it can go on")
    asked = parser.parse_args(arguments)
    for number in ending.TOLD_BY:
        # Begun deaf to it, as by `nohup`, it stays so; what it begins does not.
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="medres-faults-"))
    place = Place(folder)
    campaign = Campaign(place, Rounds(folder / "rounds.jsonl"), asked.seed)
    parts = dict.fromkeys(asked.only or [*OF_STAGES, *OF_STUDIES], asked.times)
    if asked.reduced:
        parts = REDUCED
    try:
        if not campaign.is_measured or OF_STAGES.keys() & parts.keys():
            with place.warmed():
                campaign.undisturbed()
                _disturb(campaign, OF_STAGES, parts)
        _disturb(campaign, OF_STUDIES, parts)
    finally:
        place.end()
        print("\n".join(campaign.rounds.table()))
    if campaign.rounds.is_broken:
        print(f"medres: the promise was broken; the last project is {campaign.root}")
        return 1
    if not asked.folder:
        shutil.rmtree(folder)
    return 0


def _disturb(campaign: Campaign, known: dict[str, tuple[Part, int]], parts: dict[str, int]) -> None:
    for name, (disturb, usual) in known.items():
        if name in parts:
            disturb(campaign, parts[name] or usual)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
