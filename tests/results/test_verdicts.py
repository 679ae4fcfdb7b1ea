import re
from pathlib import Path

import pandas as pd
import pytest

from medres.datasets import QuestionSet
from medres.published import paper
from medres.published.claims import CLAIMS
from medres.results import grids, paired, verdicts
from tests.answer_tables import arm

REPORTS = ["04_native_vs_low", "12_findings"]
BETTER = [0] * 20 + [1] * 5, [1] * 25


def claimed(parts: list[pd.DataFrame], reports: list[str] = REPORTS) -> pd.DataFrame:
    answers = pd.concat(parts, ignore_index=True)
    compared = paired.comparisons(answers, n_resamples=200)
    return verdicts.table(compared, answers, reports)


def aligned(model: str = "tiny") -> list[pd.DataFrame]:
    parts = [arm("low", "low", BETTER[0]), arm("native", "native", BETTER[1])]
    return [part.assign(model=model) for part in parts]


def test_every_claim_stands_once_in_the_paper_s_order() -> None:
    numbers = [
        int(number) for claim in verdicts.statements()["claim"] for number in claim[1:].split("-C")
    ]
    assert numbers == [1, 4, *range(5, 18)]
    table = claimed(aligned())
    assert list(table["claim"].drop_duplicates()) == list(verdicts.statements()["claim"])


def test_every_claim_that_is_compared_is_one_of_the_paper_s() -> None:
    known = set(verdicts.statements()["claim"])
    compared = {each.name.partition(",")[0] for each in CLAIMS}
    assert compared == known - {"C10", "C15", "C16", "C17"}


def test_the_words_state_each_number_that_the_list_of_numbers_has() -> None:
    stated = verdicts.statements().set_index("claim")["stated"]
    for row in paper.claims().itertuples():
        name = "C1-C4" if row.claim in ("C1", "C2", "C3", "C4") else row.claim
        assert re.search(rf"(?<![\d.]){re.escape(row.stated)}(?![\d.])", stated[name]), row


def test_a_claim_has_the_numbers_of_its_comparison() -> None:
    answers = pd.concat(aligned(), ignore_index=True)
    compared = paired.comparisons(answers, n_resamples=200)
    row = verdicts.table(compared, answers, REPORTS).iloc[0]
    assert row["claim"] == "C1-C4"
    assert row["compared"] == "native→native vs low→low"
    for name in ("difference", "lower", "upper", "p_adjusted", "n_questions", "verdict"):
        assert row[name] == compared[name].iloc[0]
    assert (row["dataset"], row["verdict"]) == ("drawn", "supported")
    assert row["stated"].startswith("+5.4 (subcellular)")
    assert row["stated"].endswith("[table 2]")


def test_a_claim_without_its_arms_says_which_are_missing() -> None:
    table = claimed(aligned()).set_index("claim")
    assert table.loc["C5", "verdict"] == verdicts.UNTESTED
    assert table.loc["C5", "compared"] == "the study lacks the arm native→low"
    assert (
        table.loc["C12", "compared"]
        == "the study lacks the arms native→upsampled-bicubic and native→upsampled-lanczos"
    )
    numbers = ["difference", "lower", "upper", "p_adjusted", "n_questions"]
    assert table.loc["C5", numbers].isna().all()


def test_arms_of_unlike_data_sets_are_no_comparison() -> None:
    table = claimed([arm("low", "low", [0, 1]), arm("native", "native", [1, 1], dataset="b")])
    assert table.loc[0, "compared"] == "no data set of the study has both arms"
    assert (table["verdict"] == verdicts.UNTESTED).all()


def test_adapters_and_the_largest_loss_are_never_tested() -> None:
    parts = [arm("native", "native", [1] * 4), arm("native", "low", [1, 0, 0, 0])]
    parts += [
        part.assign(dataset="b") for part in (parts[0], parts[0].assign(eval_resolution="low"))
    ]
    table = claimed(parts).set_index("claim")
    assert (table.loc[["C15", "C16"], "verdict"] == verdicts.UNTESTED).all()
    assert "needs a second study" in table.loc["C15", "compared"]
    assert (
        "lowest difference here: -75.0 points (native to low, drawn)"
        in table.loc["C16", "compared"]
    )
    assert len(table.loc["C5"]) == 2


def test_a_pattern_over_models_needs_every_comparison_of_every_model() -> None:
    one = claimed(aligned()).set_index("claim")
    assert one.loc["C10", "verdict"] == verdicts.UNTESTED
    both = claimed([*aligned(), *aligned("large")]).set_index("claim")
    assert both.loc["C10", "verdict"] == "supported"
    assert "in 2 models: 2 supported" in both.loc["C10", "compared"]
    assert both.loc["C1-C4", "dataset"].tolist() == ["drawn (tiny)", "drawn (large)"]
    for correct, verdict in ((BETTER[1], "not decided"), (BETTER[0][::-1], "contradicted")):
        other = [arm("low", "low", BETTER[1]), arm("native", "native", correct)]
        mixed = [*aligned(), *(part.assign(model="large") for part in other)]
        assert claimed(mixed).set_index("claim").loc["C10", "verdict"] == verdict


def test_lanczos_says_its_share_of_native() -> None:
    parts = [
        arm("native", asked, [1] * n_right + [0] * (10 - n_right))
        for asked, n_right in (("low", 2), ("native", 8), ("upsampled-lanczos", 6))
    ]
    rows = claimed(parts).set_index("claim").loc["C14"]
    assert rows["compared"].tolist() == [
        "native→upsampled-lanczos vs native→low",
        "native→upsampled-lanczos vs native→native: 75.0% of native accuracy",
    ]


def test_a_row_links_the_pages_that_the_study_has() -> None:
    assert claimed(aligned())["pages"].tolist()[:2] == ["04_native_vs_low", ""]
    more = claimed(aligned(), [*REPORTS, "11_published_audit"])
    assert more["pages"].tolist()[0] == "04_native_vs_low 11_published_audit"


def test_untested_claims_are_said_with_their_reason() -> None:
    said = verdicts.untested(claimed(aligned())).splitlines()
    assert len(said) == 13
    assert said[0] == (
        "* C5, A model trained at native loses accuracy when evaluated at low: **not testable "
        "here**; the study lacks the arm native→low."
    )


@pytest.mark.parametrize("asked", ["low", "blank"])
def test_a_study_that_compares_nothing_tests_nothing(asked: str) -> None:
    answers = arm("none", asked, [0, 1])
    table = verdicts.table(paired.comparisons(answers), answers, REPORTS)
    assert len(table) == len(verdicts.statements())
    assert (table["verdict"] == verdicts.UNTESTED).all()
    assert set(grids.CELL) <= set(answers)


def known_set(name: str, source: str = "") -> dict[str, QuestionSet]:
    return {name: QuestionSet(name, pd.DataFrame({"dataset": [name]}), Path(), "", source=source)}


def test_own_images_get_no_checklist_of_the_paper_s_claims() -> None:
    table = verdicts.of_study(claimed(aligned()), known_set("mine"))
    assert table["claim"].tolist() == ["C1-C4"]
    assert table["verdict"].tolist() == ["supported"]
    assert verdicts.untested(table) == ""
    # Fetched, and not in the paper.
    assert len(verdicts.of_study(claimed(aligned()), known_set("ubench", "ubench"))) == 1


@pytest.mark.parametrize(
    ("name", "source"),
    [("vqa-rad", "vqa-rad"), ("mine", "slake"), ("twin-wsi", "wsi"), ("phantom-radiology", "")],
)
def test_data_of_the_paper_and_drawings_in_its_place_keep_every_claim(
    name: str, source: str
) -> None:
    table = claimed(aligned())
    pd.testing.assert_frame_equal(verdicts.of_study(table, known_set(name, source)), table)
    one_of_two = known_set("mine") | known_set(name, source)
    assert len(verdicts.of_study(table, one_of_two)) == len(table)


def test_own_images_without_any_comparison_have_no_claims() -> None:
    answers = arm("none", "low", [0, 1])
    table = verdicts.table(paired.comparisons(answers), answers, REPORTS)
    assert verdicts.of_study(table, known_set("mine")).empty
