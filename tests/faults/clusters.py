"""A job cancelled and one requeued on a Slurm of one node, by the test that starts one."""

import os
import subprocess
import sys

from tests.faults.project import REPOSITORY
from tests.faults.rounds import Campaign, Round

TEST = "tests/cluster/test_cluster.py"
FAULT, HOW = "a training cancelled, another requeued", "on a Slurm of one node"
OF_PLACE = ("MEDRES_FAULTS", "MEDRES_ROOT")
"""Variables of a campaign, as in `commands.Place`."""
SAID = 2000
"""Last characters of a failed test that a round keeps."""


def run(campaign: Campaign, times: int) -> None:
    """Run the smoke study there and here, and compare all bytes; say so where no Slurm can be had.

    Args:
        campaign: Where the rounds are kept.
        times: Of the whole study.
    """
    while campaign.rounds.count(FAULT) < times:
        command = [sys.executable, "-m", "pytest", "-q", "-rs", TEST]
        # Not of the campaign's copy of the code, of which no commit is known.
        environment = {key: os.environ[key] for key in os.environ if key not in OF_PLACE}
        environment["PYTHONPATH"] = str(REPOSITORY)
        done = subprocess.run(
            command, cwd=REPOSITORY, env=environment, capture_output=True, text=True
        )
        if "1 skipped" in done.stdout:
            print(f"not done: {FAULT}: {done.stdout}")
            return
        failed = [] if done.returncode == 0 else [done.stdout[-SAID:]]
        campaign.rounds.add(Round(FAULT, HOW, broken=failed, seed=campaign.seed))
