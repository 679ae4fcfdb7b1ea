from pathlib import Path

import pytest
import yaml

from medres import profiles
from medres.parameters import read_params

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture
def with_profiles(project):
    return project / "profiles"


def test_the_local_profile_is_of_this_machine_and_slurm_is_a_cluster(with_profiles):
    assert not profiles.find(profiles.LOCAL).is_cluster
    assert profiles.find("slurm").is_cluster


def test_slurm_is_refused_where_it_is_not(with_profiles, monkeypatch):
    profiles.check(profiles.find(profiles.LOCAL))
    monkeypatch.setenv("PATH", str(with_profiles))
    with pytest.raises(ValueError, match="sbatch is not on PATH; start it on a login node"):
        profiles.check(profiles.find("slurm"))


def test_an_unknown_profile_is_refused_with_those_that_there_are(with_profiles):
    with pytest.raises(FileNotFoundError, match="no such profile; known profiles are local, slurm"):
        profiles.find("slrum")


def test_a_profile_is_a_name_and_no_way_out_of_the_folder(with_profiles):
    with pytest.raises(ValueError, match=r"profile '\.\./params'"):
        profiles.find("../params")


@pytest.mark.parametrize("name", ["local", "slurm"])
def test_in_every_profile_digests_decide_what_is_current_and_jobs_take_turns(name):
    options = read_params(REPOSITORY / "profiles" / name / "config.yaml")
    assert options["nolock"]
    assert options["rerun-triggers"] == "mtime"
    assert options["resources"] == {"turns": 1}


def test_lines_that_a_user_fills_in_are_options_once_their_mark_is_taken_away():
    lines = (REPOSITORY / "profiles" / "slurm" / "config.yaml").read_text().splitlines()
    open_lines = [
        line.removeprefix("# ") for line in lines if line.startswith(("# slurm-", "# default-"))
    ]
    filled = yaml.safe_load("\n".join(open_lines))
    assert filled["default-resources"] == {"slurm_partition": "gpu", "slurm_account": "mine"}
    assert filled["slurm-status-command"] == "squeue"
