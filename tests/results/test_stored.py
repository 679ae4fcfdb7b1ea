"""Stored answers are read by the columns that a page needs, and say the same as the files do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medres import runs, saving, scoring
from medres.datasets import QuestionSet
from medres.results import (
    by_kind,
    cautions,
    choice,
    examples,
    frontier,
    grids,
    scores,
    servers,
    stated,
    stored,
    view_arms,
)
from medres.study import Cell, Study

STUDY = Study(
    "small", "Small", ["tiny"], ["none", "low"], [0, 1], {"closed": {}, "open": {}}, {}, []
)
OPTIONS = {"closed": [["no", "yes"], ["left", "right", "both"]], "open": [[], []]}
OPEN = [("It is the lung.", "lung"), ("no lung", "lung"), ("kidney", "lung"), ("lung", "lung")]
SETS = {
    name: QuestionSet(
        name,
        pd.DataFrame({"dataset": name, "split": "test", "question_id": [f"{name}-00"]}),
        Path(),
        "",
    )
    for name in OPTIONS
}


def stored_by(cell: Cell) -> pd.DataFrame:
    """Answers of a cell as an evaluation stores them; not all cells have the same columns."""
    rng = np.random.default_rng([cell.seed, len(cell.train_resolution), len(cell.dataset)])
    rows = []
    for number in range(40):
        options = OPTIONS[cell.dataset][number % 2]
        for at in ("low", "native", "zoom", "blank"):
            values = rng.normal(size=len(options)).tolist()
            reply, reference = OPEN[(number + len(at)) % 4]
            if options:
                reply, reference = options[int(np.argmax(values))], options[number % 3 // 2]
            rows.append(
                {
                    "question_id": f"{cell.dataset}-{(7 * number) % 40:02d}",
                    "dataset": cell.dataset,
                    "image": f"{number // 2}.png",
                    "question": f"text {number % 2}?",
                    "reference": reference,
                    "options": options,
                    "modality": "drawing" if number % 4 < 2 else "photograph",
                    "answer_type": "OPEN",
                    "group": f"group-{number // 2}",
                    "width_px": 90,
                    "height_px": 60 + number,
                    "eval_resolution": at,
                    "reply": reply,
                    "generated_reply": None if number == 3 else f"{reply}.",
                    "reasoning": None,
                    "reply_tokens": 3,
                    "is_cut": number == 5,
                    "option_log_probabilities": values,
                    "option_log_probabilities_per_token": values[::-1],
                    "given_width_px": 28 if at == "low" else 84,
                    "given_height_px": 28,
                    "resampling": "28x28 bicubic",
                    "visual_tokens": 1 if at == "low" else 3,
                    "is_enlarged_by_model": number == 6,
                    "source_resolution": at,
                    "parsed_answer": None if number == 3 else reply,
                    "correct": reply == reference,
                    "zoom_cell": "upper left" if at == "zoom" else "",
                }
            )
    table = pd.DataFrame(rows)
    if cell.seed:
        return table.drop(columns=["is_cut", "reasoning"])
    if cell.train_resolution == "none":
        said = {"answered_by": "words", "error": "", "reported_tokens": 2}
        return table.assign(**said)
    return table


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A study whose evaluations are stored."""
    root = tmp_path_factory.mktemp("stored")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "ROOT", root)
        patch.setattr(Study, "settings", lambda *_: {"open_rule": "names"})
        for cell in STUDY.cells("evaluate"):
            run = runs.start("small", "evaluate", cell.path, parameters={}, inputs={})
            stored_by(cell).to_parquet(run.folder / "answers.parquet", index=False)
            run.finish(files=["answers.parquet"])
        yield STUDY


def plainly(study: Study) -> pd.DataFrame:
    """The answers by their definition: all files below each other, open answers judged."""
    parts = []
    for cell in study.cells("evaluate"):
        folder = runs.folder_of(study.name, "evaluate", cell.path)
        part = scoring.as_read(pd.read_parquet(folder / "answers.parquet"))
        arm = {"train_resolution": cell.train_resolution, "seed": cell.seed}
        parts.append(part.assign(model=cell.model, **arm))
    return pd.concat(parts, ignore_index=True)


def plain(table: pd.DataFrame) -> dict[str, list[Any]]:
    """Values of each column as Python's own, None where missing, lists as tuples."""
    return {
        name: [
            tuple(each) if np.ndim(each) else None if pd.isna(each) else each
            for each in table[name].astype(object)
        ]
        for name in sorted(table)
    }


def test_answers_are_those_of_the_files_one_below_the_other(study: Study) -> None:
    read, wanted = plain(grids.answers(study)), plain(plainly(study))
    assert read.keys() == wanted.keys()
    for name, values in wanted.items():
        assert read[name] == values, name
    assert 0 < sum(wanted["correct"]) < len(wanted["correct"])


def test_texts_are_held_once_and_sort_as_texts(study: Study) -> None:
    table = grids.answers(study)
    wide = plainly(study)
    for name in ("question_id", "group", "eval_resolution", "reply"):
        assert isinstance(table[name].dtype, pd.CategoricalDtype)
        assert table[name].sort_values().tolist() == wide[name].sort_values().tolist()
    assert table["question_id"].memory_usage(index=False, deep=True) < 20 * len(table)


def test_only_the_columns_and_rows_that_are_asked_for_are_read(study: Study) -> None:
    table = grids.answers(study, ["image", "nothing has it"])
    assert set(table) == {*stored.COUNTED, "model", "train_resolution", "seed", "image"}
    wide = grids.core(grids.answers(study))
    assert plain(grids.core_answers(study)) == plain(wide)
    ids = {"closed-07", "open-14"}
    some = grids.answers(study, only={"question_id": ids})
    assert set(some["question_id"]) == ids
    whole = plainly(study)
    assert plain(some) == plain(whole[whole["question_id"].isin(ids)])


def frames(value: Any) -> Any:
    """Tables as what they hold, so that results can be compared."""
    if isinstance(value, pd.DataFrame):
        return plain(value)
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [frames(each) for each in value]
    if hasattr(value, "__dataclass_fields__"):
        return {name: frames(getattr(value, name)) for name in value.__dataclass_fields__}
    return value


@pytest.mark.parametrize(
    ("columns", "make"),
    [
        (saving.READS, saving.table),
        (by_kind.PARTS, by_kind.differences),
        (scores.READS, lambda table: scores.by_rule(table, SETS)),
        (scores.READS, scores.vqa_metrics),
        (scores.READS, scores.open_answers),
        (frontier.READS, lambda table: frontier.table(frontier.rungs(table))),
        (
            stated.READS,
            lambda table: [(arm.log_probabilities, arm.correct) for arm in stated.arms(table)],
        ),
        (stated.READS, stated.describe),
        (choice.READS, choice.ladders),
        (cautions.READS, servers.describe),
        (cautions.READS, cautions._unclear),
        (cautions.READS, cautions._read_from_words),
        (
            cautions.READS,
            lambda table: cautions.without_looking(table, SETS),
        ),
        (view_arms.READS, view_arms.cells),
        (examples.READS, examples.confusions),
        (
            examples.READS,
            lambda table: examples.outcomes(table, (("low", "low"), ("low", "native"))),
        ),
    ],
)
def test_a_page_reads_all_that_it_uses(
    columns: list[str], make: Callable[[pd.DataFrame], Any], study: Study
) -> None:
    narrow, wide = (
        frames(make(table)) for table in (grids.answers(study, columns), plainly(study))
    )
    is_same = narrow == wide  # a difference would fill the screen
    assert is_same
    assert narrow


def test_as_many_open_answers_as_a_study_may_have_get_their_own_verdicts(project: Path) -> None:
    # More than 2^31 pairs of a reply and a reference.
    texts = [f"finding {number}" for number in range(47_000)]
    table = pd.DataFrame(
        {
            "question_id": texts,
            "dataset": "open",
            "options": [[]] * len(texts),
            "group": texts,
            "eval_resolution": "low",
            "reply": texts,
            "reference": texts,
            "correct": False,
        }
    )
    one = Study("small", "Small", ["tiny"], ["none"], [0], {"open": {}}, {}, [])
    (cell,) = one.cells("evaluate")
    run = runs.start("small", "evaluate", cell.path, parameters={}, inputs={})
    table.to_parquet(run.folder / "answers.parquet")
    run.finish(files=["answers.parquet"])
    assert grids.answers(one, ())["correct"].all()
