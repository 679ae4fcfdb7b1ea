import pandas as pd

from medres.published.claims import Claim
from medres.results import findings, paired
from tests.answer_tables import arm

BEATS = Claim("A", "native beats low", ("low", "low"), ("native", "native"), +1, "one")
NEAR = Claim("D", "low is near", ("native", "native"), ("low", "low"), +1, "one", margin=0.05)


def test_sentences_take_their_numbers_from_the_table() -> None:
    parts = [arm("low", "low", [0] * 20 + [1] * 5), arm("native", "native", [1] * 25)]
    table = paired.comparisons(pd.concat(parts), (BEATS, NEAR), n_resamples=500)
    said = findings.sentence(table)
    row = table.iloc[0]
    assert "native beats low: **supported** on drawn (+80.0 points" in said
    assert f"{100 * row['lower']:+.1f} to {100 * row['upper']:+.1f}, adjusted p < 0.001" in said
    assert said.count("adjusted p") == 1
    assert "* native beats low: **supported on drawn**." in findings.summary(table)
    described = findings.describe_answers(pd.concat(parts))
    assert described == (
        "50 answers in 2 cells, one training seed. Unparsable answers, which count as wrong: 2."
    )


def test_several_models_are_named_behind_the_data_set() -> None:
    one = pd.concat([arm("low", "low", [0] * 20 + [1] * 5), arm("native", "native", [1] * 25)])
    both = pd.concat([one, one.assign(model="large", correct=True)])
    table = paired.comparisons(both, (BEATS,), n_resamples=200)
    assert findings.summary(table) == (
        "* native beats low: **supported on drawn (tiny); not decided on drawn (large)**."
    )
    assert "not decided** on drawn (large) (+0.0 points" in findings.sentence(table)
    assert paired.labelled(table)["dataset"].tolist() == ["drawn (tiny)", "drawn (large)"]
