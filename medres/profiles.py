"""Profiles of Snakemake: on what machines the jobs of a study are started, and how."""

from dataclasses import dataclass
from pathlib import Path

from medres import names, parameters, runs

LOCAL = "local"
"""Name of the profile of one machine."""


@dataclass(frozen=True)
class Profile:
    """A folder below `profiles` with the options of Snakemake in its config.yaml."""

    folder: Path
    is_cluster: bool
    """Whether jobs are handed to an executor, which runs them on other machines."""


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
    return Profile(path.parent, parameters.read_params(path).get("executor", "local") != "local")
