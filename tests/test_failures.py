import pytest

from medres import failures, runs
from medres import study as studies
from medres.datasets import __main__ as datasets_main
from medres.report import __main__ as report_main
from tests import tiny_study


def test_a_failure_is_kept_with_host_and_job_until_the_next_attempt(project, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    with pytest.raises(RuntimeError), failures.kept("any", "05_alignment"):
        raise RuntimeError("no GPU\nis visible")
    (found,) = failures.read("any").values()
    assert (found.reason, found.job) == ("no GPU is visible", "17")
    with failures.kept("any", "05_alignment"):
        assert failures.read("any") == {}


def test_a_damaged_failure_is_none_and_loses_no_other(project):
    failures.record("any", "whole", "reason")
    (runs.ROOT / "runs" / "any" / "failed" / "torn.json").write_text('{"reason": "ab')
    (runs.ROOT / "runs" / "any" / "failed" / "other.json").write_text('{"strange": 1}')
    assert list(failures.read("any")) == ["whole"]


def test_commands_leave_their_reason_and_take_it_away(project, monkeypatch):
    tiny_study.write(project)
    stem = studies.load(tiny_study.NAME).cells("evaluate")[0].page
    assert report_main.main([tiny_study.NAME, stem]) == 1
    table = project / "data" / "questions.csv"
    whole = table.read_text()
    table.write_text("no table")
    assert datasets_main.main(["prepare", tiny_study.NAME, "mine"]) == 1
    found = failures.read(tiny_study.NAME)
    assert set(found) == {stem, "questions-mine"}
    assert "make study STUDY=small" in found[stem].reason
    assert "questions.csv" in found["questions-mine"].reason
    table.write_text(whole)
    assert datasets_main.main(["prepare", tiny_study.NAME, "mine"]) == 0
    assert set(failures.read(tiny_study.NAME)) == {stem}
