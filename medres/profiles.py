"""Profiles of Snakemake: on what machines the jobs of a study are started, and how."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from medres import names, parameters, runs

LOCAL = "local"
"""Name of the profile of one machine, and of its executor."""


@dataclass(frozen=True)
class Profile:
    """A folder below `profiles` with the options of Snakemake in its config.yaml."""

    folder: Path
    executor: str
    """Of Snakemake: local, or one that hands jobs to other machines."""

    @property
    def is_cluster(self) -> bool:
        """Whether jobs run on other machines."""
        return self.executor != LOCAL


def find(name: str) -> Profile:
    """Return a profile by the name of its folder.

    Raises:
        FileNotFoundError: If there is no such profile, with those that there are.
        ValueError: If its options are no YAML.
    """
    names.check("profile", name)
    path = runs.ROOT / "profiles" / name / "config.yaml"
    if not path.is_file():
        known = sorted(each.parent.name for each in (runs.ROOT / "profiles").glob("*/config.yaml"))
        raise FileNotFoundError(f"{path}: no such profile; known profiles are {', '.join(known)}")
    return Profile(path.parent, parameters.read_params(path).get("executor", LOCAL))


def check(profile: Profile) -> None:
    """Refuse a profile of Slurm where there is none.

    Raises:
        ValueError: Saying what is missing.
    """
    if profile.executor == "slurm" and not shutil.which("sbatch"):
        raise ValueError(
            f"profile {profile.folder.name} hands jobs to Slurm, and sbatch is not on PATH; start "
            f"it on a login node of the cluster, or leave PROFILE out to use this machine"
        )
