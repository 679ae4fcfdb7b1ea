import io

import numpy as np
import pandas as pd
import pytest

from medres.results import calibration
from medres.statistics import temperature
from tests.answer_tables import arm
from tests.results.test_stated import with_options


def share_right(share: float, n: int = 200) -> list[int]:
    """Right answers of a share, spread evenly."""
    return list(np.diff(np.floor(share * np.arange(n + 1)).astype(int)))


def sure(
    train: str, asked: str, share: float, confidence: float, seed: int = 0, **given
) -> pd.DataFrame:
    return with_options(arm(train, asked, share_right(share), seed=seed, **given), confidence)


@pytest.fixture(scope="module")
def answers() -> pd.DataFrame:
    """Two arms that are as right as they are sure, one far too sure, and one at a blank image."""
    return pd.concat(
        [
            sure("low", "low", 0.7, 0.7),
            sure("native", "native", 0.8, 0.8),
            sure("native", "low", 0.25, 0.91),
            sure("native", "blank", 0.5, 0.99),
        ]
    )


@pytest.fixture(scope="module")
def found(answers: pd.DataFrame) -> pd.DataFrame:
    return calibration.table(answers)


def cell(table: pd.DataFrame, train: str, asked: str) -> pd.Series:
    here = (table["train_resolution"] == train) & (table["eval_resolution"] == asked)
    return table[here].iloc[0]


def test_a_row_holds_its_cell_s_calibration(found: pd.DataFrame) -> None:
    assert set(calibration.SHOWN) <= set(found)
    row = cell(found, "native", "low")
    assert row["confidence"] == pytest.approx(0.91)
    assert row["accuracy"] == pytest.approx(0.25)
    assert row["overconfidence"] == pytest.approx(0.66)
    assert row["calibration_error"] == pytest.approx(0.66, abs=0.002)
    assert row["covers"] == "questions, for this training"
    # Distance to (1, 0) or (0, 1), a quarter and three quarters of the time.
    assert row["brier_score"] == pytest.approx(2 * (0.25 * 0.09**2 + 0.75 * 0.91**2))
    assert row["log_score"] == pytest.approx(-0.25 * np.log(0.91) - 0.75 * np.log(0.09))


def test_the_verdict_is_of_all_cells_of_a_kind_together(found: pd.DataFrame) -> None:
    verdicts = {
        (row.train_resolution, row.eval_resolution): row.verdict for row in found.itertuples()
    }
    assert cell(found, "native", "low")["arm"] == "native→low"
    assert verdicts["native", "low"] == calibration.BEYOND
    assert verdicts["native", "blank"] == calibration.BEYOND
    assert verdicts["native", "native"] == calibration.WITHIN
    upper = found["joint_upper"], found["calibration_error_upper"]
    is_aligned = found["train_resolution"] == found["eval_resolution"]
    assert (upper[0] > upper[1])[is_aligned].all()
    assert (upper[0] == upper[1])[~is_aligned].all()  # alone of their kinds


def test_more_cells_of_a_kind_need_a_clearer_error() -> None:
    # 200 questions, 17.3 points above: its own limits exclude 10, those of twelve cells do not.
    close = sure("native", "low", 0.725, 0.9)
    alone = calibration.table(close)
    others = [sure("native", "low", 0.7, 0.7, dataset=f"set-{number}") for number in range(11)]
    among = calibration.table(pd.concat([close, *others]))
    among = among[among["dataset"] == "drawn"]
    assert alone["calibration_error_lower"][0] > 0.1
    assert alone["verdict"].tolist() == [calibration.BEYOND]
    assert among["verdict"].tolist() == [calibration.NOT_DECIDED]


def test_an_error_about_as_large_as_the_margin_is_not_decided() -> None:
    found = calibration.table(sure("low", "low", 0.7, 0.8), margin=0.1)
    assert found["verdict"].tolist() == [calibration.NOT_DECIDED]
    above = calibration.table(sure("low", "low", 0.68, 0.8), margin=0.1)
    assert above["calibration_error"][0] > 0.11
    assert above["verdict"].tolist() == [calibration.NOT_DECIDED]
    wide = calibration.table(sure("low", "low", 0.7, 0.8), margin=0.3)
    assert wide["verdict"].tolist() == [calibration.WITHIN]


def test_few_groups_decide_nothing() -> None:
    found = calibration.table(sure("native", "low", 0.25, 0.91, per_group=40))
    row = found.iloc[0]
    assert (row["verdict"], row["n_groups"]) == ("too few groups to decide", 5)
    assert "at least 6" in row["reason"]
    assert np.isnan(row["calibration_error_lower"])
    said = calibration.sentence(found, calibration.temperatures(sure("native", "low", 0.25, 0.91)))
    assert "too few groups to decide" in said
    assert "must not" not in said
    assert "too few groups" in calibration.first_page_sentence(found)


def test_several_trainings_have_a_row_each_and_one_verdict() -> None:
    answers = pd.concat(
        [sure("native", "low", share, 0.9, seed) for seed, share in enumerate((0.2, 0.3, 0.4))]
    )
    found = calibration.table(answers)
    assert found["seed"].tolist() == ["all", "0", "1", "2"]
    assert found["verdict"].tolist() == [calibration.BEYOND, "", "", ""]
    assert found["covers"].tolist()[0] == "questions and trainings"
    assert found["n_seeds"].tolist() == [3, 1, 1, 1]
    assert found["overconfidence"].tolist() == pytest.approx([0.6, 0.7, 0.6, 0.5])
    widths = found["overconfidence_upper"] - found["overconfidence_lower"]
    assert widths[0] > 2 * widths[1:].max()
    assert "3 trainings" in calibration.first_page_sentence(found)


def test_the_worst_trained_cell_shown_images_comes_first(
    found: pd.DataFrame, answers: pd.DataFrame
) -> None:
    said = calibration.sentence(found, calibration.temperatures(answers)).splitlines()
    assert "trained at native and evaluated at low" in said[0]
    assert "91.0 % sure on average and right in 25.0 %" in said[0]
    assert "must not be used" in said[0]
    assert any("within the margin: low→low, native→native" in line for line in said)
    assert sum("must not be used" in line for line in said) == 1


def test_the_table_begins_with_the_worst_and_ends_with_blank_images() -> None:
    answers = pd.concat(
        [
            sure("low", "low", 0.7, 0.75),
            sure("none", "low", 0.2, 0.95),
            sure("native", "blank", 0.1, 0.95),
            sure("native", "low", 0.4, 0.95),
        ]
    )
    arms = calibration.table(answers)["arm"].tolist()
    assert arms == ["native→low", "low→low", "none→low", "native→blank"]


def test_nothing_is_said_against_calibrated_cells() -> None:
    answers = pd.concat([sure("low", "low", 0.7, 0.7), sure("native", "native", 0.8, 0.8)])
    found = calibration.table(answers)
    said = calibration.sentence(found, calibration.temperatures(answers))
    assert "no calibration error is surely above 10 points" in said
    assert "must not" not in said + calibration.first_page_sentence(found)


def test_the_first_page_gives_the_worst_cell_and_a_limit_for_aligned_ones(
    found: pd.DataFrame,
) -> None:
    said = calibration.first_page_sentence(found)
    assert said.startswith("Trained at native and evaluated at low")
    assert "drawn, this training" in said
    is_aligned = found["train_resolution"] == found["eval_resolution"]
    errors = found.loc[is_aligned, "calibration_error"]
    expected = (
        f"are {100 * errors.min():.1f} to {100 * errors.max():.1f} points in {len(errors)} arms"
    )
    assert expected in said


def test_the_first_page_says_the_same_from_the_csv(found: pd.DataFrame) -> None:
    read = pd.read_csv(io.StringIO(found.to_csv(index=False, float_format="%.6g")))
    assert calibration.first_page_sentence(read) == calibration.first_page_sentence(found)


def test_without_closed_questions_nothing_is_made_up(answers: pd.DataFrame) -> None:
    without = answers.assign(options=[[]] * len(answers))
    found, repaired = calibration.table(without), calibration.temperatures(without)
    assert found.empty
    assert repaired.empty
    assert calibration.curves(without).empty
    assert "no answer has a stated confidence" in calibration.sentence(found, repaired)
    assert "no answer has a stated confidence" in calibration.first_page_sentence(found)


def test_curves_have_a_row_per_bin_and_training(answers: pd.DataFrame) -> None:
    curves = calibration.curves(answers)
    assert len(curves) == 4  # equal confidences share a bin
    row = cell(curves, "native", "low")
    assert (row["confidence"], row["accuracy"]) == pytest.approx((0.91, 0.25))
    assert row["n_questions"] == 200


def test_a_temperature_is_judged_on_groups_it_has_not_seen() -> None:
    rng = np.random.default_rng(0)
    table = arm("native", "low", [1] * 400, per_group=2)
    odds = rng.normal(0, 1.5, 400)
    is_yes = rng.uniform(size=400) < 1 / (1 + np.exp(-odds))
    stated_odds = 2 * odds  # twice the true log-odds
    table["correct"] = is_yes == (odds > 0)
    table = table.assign(
        options=[["yes", "no"]] * 400,
        reference=np.where(is_yes, "yes", "no"),
        option_log_probabilities=[[each / 2, -each / 2] for each in stated_odds],
    )
    (row,) = calibration.temperatures(table).to_dict("records")
    assert float(row["temperature"]) == pytest.approx(2.0, rel=0.25)
    assert (row["n_fitted_groups"], row["n_groups"], row["n_questions"]) == (100, 100, 200)
    assert row["overconfidence_before"] > 0.05
    assert abs(row["overconfidence_after"]) < 0.05
    assert row["error_after_lower"] == 0.0
    assert row["note"] == ""


def test_the_half_that_fits_does_not_judge() -> None:
    table = sure("low", "low", 0.0, 0.9)
    is_fitted = temperature.half_of_groups(
        table["group"], rng=np.random.default_rng(calibration.SEED)
    )
    # The half that fits is right in 9 of 10, the other never.
    table["correct"] = is_fitted & (np.arange(200) % 10 > 0)
    (row,) = calibration.temperatures(with_options(table, 0.9)).to_dict("records")
    assert row["overconfidence_before"] == pytest.approx(0.9)
    assert float(row["temperature"]) == pytest.approx(1.0, rel=0.3)
    assert row["error_after"] > 0.7


def test_a_temperature_needs_groups_to_judge_it() -> None:
    few = sure("native", "low", 0.25, 0.91, per_group=20)
    (row,) = calibration.temperatures(few).to_dict("records")
    assert "at least 6" in row["note"]
    assert np.isnan(row["error_after"])


def test_a_temperature_without_a_wrong_answer_is_not_made_up() -> None:
    (row,) = calibration.temperatures(sure("low", "low", 1.0, 0.9)).to_dict("records")
    assert "every answer" in row["note"]
    assert np.isnan(row["error_after"])
