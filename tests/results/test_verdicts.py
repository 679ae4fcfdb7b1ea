import re
from pathlib import Path

import pandas as pd
import pytest

from medres.datasets import QuestionSet
from medres.published import paper
from medres.published.claims import CLAIMS, OF_STUDY
from medres.results import averages, grids, paired, verdicts
from tests.answer_tables import arm, first_right, trainings

REPORTS = ["04_native_vs_low", "12_findings"]


def claimed(parts: list[pd.DataFrame], reports: list[str] = REPORTS) -> pd.DataFrame:
    answers = pd.concat(parts, ignore_index=True)
    compared = paired.comparisons(answers)
    return verdicts.table(compared, averages.over_datasets(compared), answers, reports)


def aligned(
    n_low: int = 5,
    n_native: int = 25,
    *,
    dataset: str = "drawn",
    model: str = "tiny",
    n_trainings: int = 3,
) -> list[pd.DataFrame]:
    """Return equal trainings at low and at native, asked as they were trained."""
    return [
        trainings(name, name, *[first_right(n, 25)] * n_trainings, dataset=dataset).assign(
            model=model
        )
        for name, n in (("low", n_low), ("native", n_native))
    ]


def test_every_claim_stands_once_in_the_paper_s_order() -> None:
    numbers = [
        int(number) for claim in verdicts.statements()["claim"] for number in claim[1:].split("-C")
    ]
    assert numbers == [1, 4, *range(5, 18)]
    table = claimed(aligned())
    assert list(table["claim"].drop_duplicates()) == list(verdicts.statements()["claim"])


def test_every_claim_that_is_compared_is_one_of_the_paper_s() -> None:
    known = set(verdicts.statements()["claim"])
    compared = {each.name.partition(",")[0] for each in CLAIMS if each.family not in OF_STUDY}
    assert compared == known - {"C10", "C15", "C16"}
    others = {each.name for each in CLAIMS if each.family in OF_STUDY}
    assert not {name.partition(",")[0] for name in others} & known


def test_words_of_a_claim_that_is_one_comparison_are_those_of_the_paper_s_list() -> None:
    said = verdicts.statements().set_index("claim")["statement"]
    of_claim = {each.name: each.statement for each in CLAIMS if each.name in said.index}
    assert len(of_claim) == 10
    assert of_claim == said[list(of_claim)].to_dict()


def test_the_words_state_each_number_that_the_list_of_numbers_has() -> None:
    stated = verdicts.statements().set_index("claim")["stated"]
    for row in paper.claims().itertuples():
        name = "C1-C4" if row.claim in ("C1", "C2", "C3", "C4") else row.claim
        assert re.search(rf"(?<![\d.]){re.escape(row.stated)}(?![\d.])", stated[name]), row


def test_a_claim_has_the_numbers_of_its_comparison() -> None:
    answers = pd.concat(aligned(), ignore_index=True)
    compared = paired.comparisons(answers)
    nothing = averages.over_datasets(compared)
    row = verdicts.table(compared, nothing, answers, REPORTS).iloc[0]
    assert row["claim"] == "C1-C4"
    assert row["compared"] == "native→native minus low→low"
    for name in ("difference", "lower", "upper", "p_adjusted", "n_questions", "verdict", "covers"):
        assert row[name] == compared[name].iloc[0]
    assert (row["dataset"], row["verdict"]) == ("drawn", "supported")
    assert row["covers"] == "questions and trainings"
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
        "lowest difference here: −75.0 points (native to low, drawn)"
        in table.loc["C16", "compared"]
    )
    assert table.loc["C5", "dataset"].tolist() == ["drawn", "b"]  # four groups: no mean


def test_one_training_each_is_not_said_to_support_a_claim() -> None:
    row = claimed(aligned(n_trainings=1)).iloc[0]
    assert row["verdict"] == "not decided beyond these weights"
    assert row["covers"] == "questions, for these weights"


def test_two_losses_are_compared_where_all_four_arms_are() -> None:
    rights = {"native→native": 24, "native→low": 4, "low→low": 20, "low→native": 12}
    parts = [trainings(*name.split("→"), *[first_right(n, 25)] * 3) for name, n in rights.items()]
    row = claimed(parts).set_index("claim").loc["C17"]
    # 20 of 25 lost against 8 of 25.
    assert (row["difference"], row["verdict"]) == (pytest.approx(-0.48), "supported")
    assert row["compared"] == "(native→low minus native→native) minus (low→native minus low→low)"
    row = claimed(parts[:3]).set_index("claim").loc["C17"]
    assert row["compared"] == "the study lacks the arm low→native"


def on_data_sets(*gains: int, model: str = "tiny", n_low: int = 5) -> list[pd.DataFrame]:
    """Return arms of a model on a data set per gain, of so many of 25 questions."""
    return [
        part
        for number, gain in enumerate(gains)
        for part in aligned(n_low, n_low + gain, dataset=f"set {number}", model=model)
    ]


def test_a_mean_over_data_sets_stands_below_its_rows() -> None:
    parts = on_data_sets(15, 16, 17)
    answers = pd.concat(parts, ignore_index=True)
    averaged = averages.over_datasets(paired.comparisons(answers)).set_index("claim")
    rows = claimed(parts).set_index("claim").loc[["C1-C4"]]
    assert rows["dataset"].tolist() == ["set 0", "set 1", "set 2", "mean of 3 data sets"]
    mean = rows.iloc[-1]
    for name in ("difference", "lower", "upper", "p_adjusted", "verdict"):
        assert mean[name] == averaged.loc["C1-C4", name]
    assert mean["difference"] == pytest.approx(16 / 25, abs=0.005)
    assert (mean["verdict"], mean["covers"]) == ("supported", "questions, trainings and data sets")
    assert pd.isna(mean["n_questions"])


def test_a_mean_of_untrained_models_covers_no_trainings() -> None:
    parts = [
        arm("none", asked, first_right(n, 25), dataset=f"set {number}")
        for number in range(3)
        for asked, n in (("low", 5), ("native", 20 + number))
    ]
    mean = claimed(parts).set_index("claim").loc["C11"].iloc[-1]
    assert (mean["dataset"], mean["covers"]) == ("mean of 3 data sets", "questions and data sets")


ALIKE = (15, 16, 17)
DATA_SETS_OF_LARGE = [
    (ALIKE, "supported"),
    ((2, 1, 0), "not decided"),
    ((-3, -4, -5), "contradicted"),
    # One data set that differs is no other model that does.
    ((15, 16, -5), "not decided"),
    # Two data sets have no mean that decides.
    ((15, 16), "not decided"),
]


@pytest.mark.parametrize(("gains", "verdict"), DATA_SETS_OF_LARGE)
def test_a_pattern_over_models_is_decided_by_their_means(
    gains: tuple[int, ...], verdict: str
) -> None:
    parts = [*on_data_sets(*ALIKE), *on_data_sets(*gains, model="large")]
    table = claimed(parts).set_index("claim")
    assert table.loc["C10", "verdict"] == verdict
    said = table.loc["C10", "compared"]
    assert said.startswith("comparisons for C1-C4, C5, C6, C7, C9; tiny on 3 data sets: 3 supp")
    assert f"; large on {len(gains)} data sets: " in said
    assert said.endswith("; decided by each model's means over data sets")
    assert table.loc["C1-C4", "dataset"].iloc[0] == "set 0 (tiny)"
    assert "mean of 3 data sets (tiny)" in set(table.loc["C1-C4", "dataset"])


def test_a_pattern_needs_several_models() -> None:
    row = claimed(on_data_sets(*ALIKE)).set_index("claim").loc["C10"]
    assert row["verdict"] == verdicts.UNTESTED
    assert row["compared"] == "needs several models; this study compares 1"
    single = [*aligned(), *aligned(model="large")]
    row = claimed(single).set_index("claim").loc["C10"]
    assert row["verdict"] == "not decided"
    assert "; tiny on 1 data set: 1 supported; large on 1 data set: 1 supported;" in row["compared"]


def test_lanczos_says_its_share_of_native() -> None:
    parts = [
        arm("native", asked, [1] * n_right + [0] * (10 - n_right))
        for asked, n_right in (("low", 2), ("native", 8), ("upsampled-lanczos", 6))
    ]
    rows = claimed(parts).set_index("claim").loc["C14"]
    assert rows["compared"].tolist() == [
        "native→upsampled-lanczos minus native→low",
        "native→upsampled-lanczos minus halfway from native→low to native→native",
        "native→upsampled-lanczos minus native→native: 75.0 % of native accuracy",
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
    table = claimed([answers])
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
    table = claimed([arm("none", "low", [0, 1])])
    assert verdicts.of_study(table, known_set("mine")).empty
