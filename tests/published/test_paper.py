"""The paper's numbers: what arithmetic says of them.

The paper is Chen et al., The Impact of Image Resolution on Biomedical Multimodal Large Language
Models. Literal expectations are from its tables 2 to 5 and its text, worked out by hand or by an
earlier analysis of the same numbers.
"""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from medres.datasets import REAL
from medres.published import paper, recomputed, summary


@pytest.fixture(scope="module")
def published() -> pd.DataFrame:
    return paper.accuracy()


@pytest.fixture(scope="module")
def sizes() -> pd.DataFrame:
    return paper.sizes()


@pytest.fixture(scope="module")
def fits(published: pd.DataFrame, sizes: pd.DataFrame) -> pd.DataFrame:
    return paper.fits(published, sizes).set_index(["table", "dataset", "n_questions"])


@pytest.fixture(scope="module")
def computed(published: pd.DataFrame) -> pd.DataFrame:
    return recomputed.recomputed(published, paper.claims())


@pytest.fixture(scope="module")
def p_values(published: pd.DataFrame, sizes: pd.DataFrame) -> pd.DataFrame:
    found = paper.reachable_p(published, paper.claims(), sizes)
    return found.set_index(["claim", "dataset"])


def test_there_are_twelve_arms_of_seven_data_sets_in_each_of_four_tables(
    published: pd.DataFrame,
) -> None:
    assert len(published) == 336
    assert published.groupby("table").size().tolist() == [84] * 4
    assert published.groupby(["table", "dataset"])["arm"].nunique().eq(12).all()
    assert published["accuracy_percent"].str.fullmatch(r"\d+\.\d\d").all()
    assert published.groupby("table")["model"].unique().map(list).tolist() == [
        ["qwen2-vl-2b"], ["internvl2.5-2b"], ["llava-onevision-2b"], ["qwen2-vl-7b"],
    ]  # fmt: skip


def test_stated_sizes_are_those_that_the_data_sets_name(sizes: pd.DataFrame) -> None:
    stated = sizes[sizes["is_stated"]].set_index("dataset")["n_questions"]
    assert stated.index.is_unique
    for name, n_questions in stated.items():
        assert REAL[str(name)].SOURCE.paper_n_test == n_questions


def test_table_2_asked_at_low_and_native(fits: pd.DataFrame) -> None:
    assert fits.loc[(2, "subcellular", 2000), ["rounded", "cut_off"]].tolist() == [8, 8]
    assert fits.loc[(2, "compound", 1000), ["rounded", "cut_off"]].tolist() == [8, 8]
    cervical = fits.loc[(2, "cervical", 193)]
    assert (cervical["trained_rounded"], cervical["n_trained"]) == (5, 6)
    wsi = fits.loc[(2, "wsi", 735)]
    assert (wsi["cut_off"], wsi["rounded"], wsi["n_cells"]) == (5, 2, 8)
    # So WSI's 735 test questions were scored, not its 390 multiple-choice ones alone.
    assert fits.loc[(2, "wsi", 390), ["rounded", "cut_off"]].tolist() == [0, 0]


def test_by_chance_so_many_fit_rarely(fits: pd.DataFrame) -> None:
    subcellular = fits.loc[(2, "subcellular", 2000)]
    assert subcellular["p_by_chance"] == pytest.approx(0.2**8)  # every fifth percentage fits
    assert subcellular["expected_by_chance"] == pytest.approx(1.6)
    assert fits.loc[(2, "path-vqa", 6719), "p_by_chance"] > 0.4


def test_no_known_size_fits_any_column_of_tables_3_to_5(fits: pd.DataFrame) -> None:
    later = fits.loc[3:5]
    assert len(later) == 63
    assert (later[["rounded", "cut_off"]].max(axis=1) < later["n_cells"]).all()


def test_smallest_sizes_of_whole_columns(published: pd.DataFrame, sizes: pd.DataFrame) -> None:
    rng = np.random.default_rng(0)
    found = paper.columns(published, sizes, rule="half up", rng=rng, n_draws=600)
    found = found.set_index("column")
    assert found.loc["table 2, subcellular", "smallest_n"] == 2000
    assert found.loc["table 2, compound", "smallest_n"] == 1000
    small = found.index[found["p_adjusted"] <= 0.05]
    assert list(small) == ["table 2, subcellular", "table 2, compound"]
    assert found.drop(index=small)["smallest_n"].min() > 3000


def test_mixed_inference_of_subcellular_is_impossible_at_2000(
    published: pd.DataFrame, sizes: pd.DataFrame
) -> None:
    cells = paper.cells(published, sizes)
    at = (cells["table"] == 2) & (cells["dataset"] == "subcellular")
    verdict = cells[at].set_index("accuracy_percent")["verdict"]
    assert verdict[["2.86", "77.68", "90.48"]].tolist() == ["not a count"] * 3
    assert verdict.drop(["2.86", "77.68", "90.48"]).eq("a count").all()


def test_mixed_inference_trained_native_is_the_mean_of_low_and_native_where_stated(
    published: pd.DataFrame, sizes: pd.DataFrame
) -> None:
    mixed = recomputed.mixed_rows(published, sizes)
    native = mixed[(mixed["table"] == 2) & (mixed["train_resolution"] == "native")]
    native = native.set_index("dataset")
    # Exactly so for the sets that were fine-tuned, but for WSI (57.97 against 58.06); of the VQA
    # sets SLAKE's 57.485 is printed 57.48, and two are further off than printing makes.
    assert native["gap_points"].to_dict() == pytest.approx(
        {
            "subcellular": 0, "compound": 0, "cervical": 0, "wsi": 0.09,
            "vqa-rad": 0.045, "path-vqa": -0.015, "slake": -0.005,
        }
    )  # fmt: skip
    assert native.index[native["is_mean"]].tolist() == [
        "subcellular", "compound", "cervical", "slake",
    ]  # fmt: skip


def test_deviation_of_a_random_half_is_that_of_draws(
    published: pd.DataFrame, sizes: pd.DataFrame
) -> None:
    mixed = recomputed.mixed_rows(published, sizes)
    at = mixed.set_index(["table", "train_resolution", "dataset"]).loc[(2, "native", "cervical")]
    rng = np.random.default_rng(0)
    # 156 and 190 right of 193: the least that differ are 34, the most 34 + 2 x 3.
    for n_only_low, expected in ((0, at["sd_least_points"]), (3, at["sd_most_points"])):
        low, native = np.zeros(193), np.zeros(193)
        low[:156] = 1
        native[n_only_low : 190 + n_only_low] = 1
        order = rng.permuted(np.tile(np.arange(193) < 96, (20_000, 1)), axis=1)
        drawn = 100 * np.where(order, low, native).mean(axis=1)
        assert drawn.std() == pytest.approx(expected, rel=0.03)


def test_mixed_training_lies_above_the_mean_everywhere_and_others_near_it(
    published: pd.DataFrame, sizes: pd.DataFrame
) -> None:
    mixed = recomputed.mixed_rows(published, sizes)
    own = mixed["train_resolution"] == "mixed"
    assert mixed.loc[own, "gap_points"].min() == pytest.approx(0.295)
    assert mixed.loc[~own, "gap_points"].abs().max() == pytest.approx(0.4)
    found = recomputed.mixed_summary(mixed)
    first = found[(found["table"] == 2) & (found["train_resolution"] == "mixed")].iloc[0]
    part = mixed[own & (mixed["table"] == 2)].dropna()
    squares = (part["gap_points"] / part["sd_least_points"]) ** 2
    assert first["mean_square_most"] == pytest.approx(squares.mean())
    assert first["p_nearer"] == pytest.approx(stats.gamma.cdf(squares.sum() / 2, 2))


def test_p_below_a_thousandth_cannot_be_reached_for_cervical_and_wsi(
    p_values: pd.DataFrame,
) -> None:
    cervical, wsi = p_values.loc[("C3", "cervical")], p_values.loc[("C4", "wsi")]
    assert (cervical["first_percent"], cervical["second_percent"]) == ("96.37", "98.45")
    assert (cervical["first_count"], cervical["second_count"]) == ("186", "190")
    assert (wsi["first_percent"], wsi["second_percent"]) == ("60.95", "61.49")
    assert (wsi["first_count"], wsi["second_count"]) == ("448", "452")
    for row in (cervical, wsi):
        assert row["differ_least"] == 4
        assert row["p_least"] == pytest.approx(0.125)
        assert row["verdict"] == "not reachable"
        assert row["p_unpaired"] > 0.3


def test_p_below_a_thousandth_can_be_reached_for_the_larger_sets(p_values: pd.DataFrame) -> None:
    assert p_values.loc[("C1", "subcellular"), "verdict"] == "always reached"
    compound = p_values.loc[("C2", "compound")]
    assert compound["verdict"] == "reached if at most 416 differ"
    for n_discordant, is_reached in ((416, True), (418, False)):
        fewer = (n_discordant - 68) // 2
        assert (stats.binomtest(fewer, n_discordant).pvalue < 0.001) == is_reached
    assert p_values.loc[("C5", "wsi"), "verdict"] == "not counts of 735"  # 54.45


def test_stated_differences_recomputed(computed: pd.DataFrame) -> None:
    of = computed.groupby("claim")
    assert of.get_group("C11")["recomputed"].tolist() == pytest.approx([1.72 / 3])  # 0.57, not 4.0
    assert of.get_group("C11")["verdict"].tolist() == ["differs from stated"]
    # 1.2 points over seven sets, 0.9 over the four fine-tuned ones.
    assert of.get_group("C8")["recomputed"].round(1).tolist() == [-1.2, -0.9]
    assert of.get_group("C8")["verdict"].tolist() == ["beyond the bound", "within the bound"]
    assert of.get_group("C9")["recomputed"].tolist() == pytest.approx([12.2375])
    singles = computed[computed["claim"].isin(["C1", "C2", "C3", "C4", "C5", "C6", "C9", "C16"])]
    assert singles["verdict"].eq("as stated").all()
    assert len(singles) == 15


def test_ratio_and_its_range_by_hand(computed: pd.DataFrame) -> None:
    row = computed.set_index("claim").loc["C14"]
    assert row["recomputed"] == pytest.approx(100 * (93.1 / 97.2 + 75.2 / 79.1) / 2)
    assert row["least"] == pytest.approx(100 * (93.05 / 97.205 + 75.15 / 79.105) / 2)
    assert row["most"] == pytest.approx(100 * (93.15 / 97.195 + 75.25 / 79.095) / 2)
    assert row["verdict"] == "differs from stated"


def test_a_stated_number_one_digit_off_is_other_than_stated(published: pd.DataFrame) -> None:
    claims = paper.claims().iloc[[8]]
    assert claims["stated"].item() == "-27.4"
    for stated, verdict in (("-27.5", "as stated"), ("-27.3", "differs from stated")):
        found = recomputed.recomputed(published, claims.assign(stated=stated))
        assert found["verdict"].item() == verdict


def test_orderings_cell_by_cell(published: pd.DataFrame) -> None:
    found = recomputed.orderings(published)
    found = found[~found["claim"].str.endswith("C17")]
    assert (found["n_fine_tuned"] == found["n_fine_tuned_holding"]).all()
    held = found[found["exceptions"] == ""]
    assert (held["n_cells"] == held["n_holding"]).all()
    broken = found[found["exceptions"] != ""].set_index(["claim", "table"])["exceptions"]
    assert broken.to_dict() == {
        ("C7", 2): "vqa-rad -7.61",
        ("as C7", 3): "vqa-rad -8.11",
        ("as C7", 4): "vqa-rad -6.78",
        ("as C7", 5): "vqa-rad -8.10, path-vqa -3.46",
        ("as C11", 2): "slake -0.38",
        ("as C11", 3): "slake -0.26",
        ("as C11", 4): "slake -0.47",
        ("C11", 5): "slake -0.46",
    }


def test_native_training_loses_more_at_low_on_all_data_sets_but_compound(
    published: pd.DataFrame,
) -> None:
    lost = recomputed.losses(published)
    key = ["dataset", "native_at_low_points", "low_at_native_points", "asymmetry_points"]
    assert lost.loc[lost["table"] == 2, key].to_numpy().tolist() == [
        ["subcellular", -48.7, -27.45, 21.25],
        ["compound", -32.8, -43.3, -10.5],
        ["cervical", -17.62, -13.47, 4.15],
        ["wsi", -7.04, -2.04, 5.0],
        ["vqa-rad", -3.95, -1.35, 2.6],
        ["path-vqa", -6.23, -1.61, 4.62],
        ["slake", -5.49, -4.15, 1.34],
    ]
    # Four cells printed to 0.01 are off by 0.02 together at most: no sign hangs on printing.
    assert lost["asymmetry_points"].abs().min() > 0.02
    found = recomputed.orderings(published)
    found = found[found["claim"].str.endswith("C17")]
    assert found["claim"].tolist() == ["C17", "as C17", "as C17", "as C17"]
    assert found["exceptions"].tolist() == [
        "compound -10.50", "compound -11.57", "compound -9.53", "compound -11.92",
    ]  # fmt: skip
    counts = found[["n_cells", "n_holding", "n_fine_tuned", "n_fine_tuned_holding"]]
    assert counts.to_numpy().tolist() == [[7, 6, 4, 3]] * 4


def test_an_equal_loss_is_not_a_larger_one(published: pd.DataFrame) -> None:
    equal = published.assign(percent=50.0)
    found = recomputed.orderings(equal)
    assert found["n_holding"].eq(0).all()
    words = summary._asymmetry(recomputed.losses(equal))
    assert "0 of 7 data sets of table 2, 0 of 7 data sets of table 3" in words
    assert words.count("+0.00 against +0.00") == 7


def test_cells_below_an_answer_that_sees_no_image(
    published: pd.DataFrame, sizes: pd.DataFrame
) -> None:
    found = recomputed.without_image(published, sizes).set_index("dataset")
    assert found.loc["wsi", "without_image_percent"] == pytest.approx(48.2, abs=0.05)
    # As accuracies on yes or no two VQA columns would lie below the majority answer; SLAKE's
    # lies above it once the model is trained, so there this says nothing.
    assert found["n_below"].to_dict() == {"wsi": 12, "vqa-rad": 48, "path-vqa": 48, "slake": 10}
    assert found.loc["slake", "without_image_percent"] == pytest.approx(100 * 180 / 355)


def test_the_words_hold_the_numbers(
    published: pd.DataFrame, sizes: pd.DataFrame, p_values: pd.DataFrame, computed: pd.DataFrame
) -> None:
    rng = np.random.default_rng(0)
    columns = paper.columns(published, sizes, rule="half up", rng=rng, n_draws=20)
    means = recomputed.mixed_summary(recomputed.mixed_rows(published, sizes))
    text = summary.summary(paper.fits(published, sizes), columns, p_values.reset_index(), means)
    for part in (
        "subcellular 8 of 8",
        "compound 8 of 8",
        "cervical 5 of 8 (5 of its 6 cells with training)",
        "wsi 5 of 8 (only if cut off)",
        "C3 cervical (186 against 190 of 193): not reachable, smallest p 0.125",
        "in 0 of 28 columns.",  # twenty draws cannot reach an adjusted 0.05
        "4 of 7 in table 2 with native training",
    ):
        assert part in text
    ordered, fixed = recomputed.orderings(published), recomputed.without_image(published, sizes)
    lost = recomputed.losses(published)
    text = summary.summary_of_claims(computed, ordered, fixed, lost)
    for part in (
        "15 of 19",
        "4.0 stated, +0.57",
        "-1.21 over 7 data sets",
        "-0.94 over 4 data sets",
        "48.2 %",
        "**Orderings** hold in 159 of 168 cells, and in 96 of 96 of the four fine-tuned",
        "6 of 7 data sets of table 2, 6 of 7 data sets of table 3, 6 of 7 data sets of table 4, "
        "6 of 7 data sets of table 5; in no table on compound (table 2: -32.80 against -43.30).",
    ):
        assert part in text


def test_sources_are_named_with_their_hashes() -> None:
    text = paper.describe_sources()
    assert all(f"published/{name}.csv" in text for name in ("accuracy", "claims", "sizes"))
