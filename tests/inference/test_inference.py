import gc
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from medres import datasets, inference, models, resolution, runs
from medres.images import UnreadableImageError
from medres.inference import asking, generation
from medres.models import LoadedModel, conversation, tiny
from medres.resolution import Treatment

TREATMENT = Treatment(784, 7_056, "bicubic", 28)
SETTINGS: dict[str, Any] = {
    "study": "small",
    "dataset": "drawn",
    "model": tiny.NAME,
    "revision": "",
    "train_resolution": "none",
    "eval_resolutions": ["low", "native", "mixed", "blank"],
    "seed": 0,
    "low_max_pixels": TREATMENT.low_max_pixels,
    "native_max_pixels": TREATMENT.native_max_pixels,
    "resampling_filter": TREATMENT.resampling_filter,
    "low_share": 0.5,
    "limit": 0,
    "batch_images": 3,
    "threads": 1,
    "cache_gib": 0.01,
    "max_new_tokens": 3,
}
SIZES_PX = ((84, 56), (30, 80), (56, 56), (56, 56), (84, 84), (41, 67), (28, 28), (100, 60))
N_BATCHES = 3
"""Of eight images, three at a time, at one resolution."""
CLOSED = (
    ("is it?", "yes", "yes|no"),
    ("which organelle is labelled?", "golgi", "golgi|plasma membrane|mitochondria"),
)
SCORES = ("option_log_probabilities", "option_log_probabilities_per_token")


@pytest.fixture(autouse=True, scope="module")
def few_new_tokens_and_images_at_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inference, "PASSES_AT_ONCE", 1)
        yield


def draw(root: Path) -> pd.DataFrame:
    """Draw eight test images of two modalities, two closed questions each, and one to train."""
    folder = root / "drawn"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(5)
    rows = []
    for index, (width, height) in enumerate((*SIZES_PX, (28, 28))):
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
        for number, (question, answer, options) in enumerate(CLOSED):
            rows.append(
                {
                    "question_id": f"q{index}-{number}",
                    "image": f"{index}.png",
                    "question": question,
                    "answer": answer,
                    "options": options,
                    "modality": "microscopy" if index % 2 else "radiograph",
                    "split": "test" if index < len(SIZES_PX) else "train",
                }
            )
    return pd.DataFrame(rows)


def store(root: Path, table: pd.DataFrame, **parameters: Any) -> datasets.QuestionSet:
    table.to_csv(root / "drawn" / "questions.csv", index=False)
    datasets.prepare("small", "drawn", {"table": "drawn/questions.csv", **parameters})
    return datasets.load("small", "drawn")


@pytest.fixture
def drawn(project: Path) -> pd.DataFrame:
    """The table of a prepared data set of the project."""
    table = draw(project)
    store(project, table)
    return table


def answers_of(run: runs.Run) -> pd.DataFrame:
    table = pd.read_parquet(run.folder / "answers.parquet")
    assert not table.duplicated(["eval_resolution", "question_id"]).any()
    return table.set_index(["eval_resolution", "question_id"]).sort_index()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> runs.Run:
    """An evaluation that nothing has stopped."""
    root = tmp_path_factory.mktemp("uninterrupted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "ROOT", root)
        store(root, draw(root))
        return inference.evaluate(**SETTINGS)


def assert_same_answers(first: pd.DataFrame, second: pd.DataFrame, *, within: float) -> None:
    """Compare answers by question id: replies exactly, scores within a tolerance."""
    assert set(first.index) == set(second.index)
    second = second.loc[first.index]
    columns = ["reply", "correct", "visual_tokens", "given_width_px", "given_height_px"]
    pd.testing.assert_frame_equal(first[columns], second[columns])
    for name in SCORES:
        for one, other in zip(first[name], second[name], strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=within)


class Stop(Exception):
    """A kill, as far as one process can be killed in a test."""


def count_answers(monkeypatch: pytest.MonkeyPatch, *, stop_at: int = 0) -> list[tuple[str, str]]:
    """Note the resolution and first question of every batch asked; stop in the n-th."""
    real, asked = asking.answer, []

    def counting(model: Any, question_set: Any, batch: Any, name: str, **named: Any) -> Any:
        if len(asked) + 1 == stop_at:
            raise Stop
        asked.append((name, batch[0][1].question_ids[0]))
        return real(model, question_set, batch, name, **named)

    monkeypatch.setattr(asking, "answer", counting)
    return asked


def test_the_seconds_of_each_resolution_are_recorded(uninterrupted: runs.Run) -> None:
    outcome = uninterrupted.record["outcome"]
    assert set(outcome["seconds_by_resolution"]) == {"low", "native", "blank"}
    assert all(each > 0 for each in outcome["seconds_by_resolution"].values())
    assert sum(outcome["seconds_by_resolution"].values()) < outcome["seconds"] + 0.1
    assert not list(uninterrupted.folder.glob("*.jsonl"))


def test_every_question_has_one_row_in_every_arm(uninterrupted: runs.Run) -> None:
    table = answers_of(uninterrupted)
    assert len(table) == len(SIZES_PX) * len(CLOSED) * len(SETTINGS["eval_resolutions"])
    for (name, question_id), row in table.iterrows():
        options = next(each for each in CLOSED if each[0] == row["question"])[2].split("|")
        assert row["reply"] == options[int(np.argmax(row[SCORES[0]]))]
        assert len(row[SCORES[0]]) == len(row[SCORES[1]]) == len(options)
        size_px = SIZES_PX[int(question_id[1])]
        plan = resolution.plan(size_px, name if name != "mixed" else "low", TREATMENT)
        if name != "mixed":
            assert (row["given_width_px"], row["given_height_px"]) == plan.given_px
            assert row["visual_tokens"] == plan.visual_tokens
            assert row["is_capped"] == plan.is_capped
    assert not list(uninterrupted.folder.glob("answers.jsonl"))


def test_scores_are_those_of_the_question_s_own_image_asked_alone(
    tiny_model: LoadedModel, uninterrupted: runs.Run, project: Path
) -> None:
    question_set = store(project, draw(project))
    table = answers_of(uninterrupted)
    for question_id in ("q0-1", "q5-0", "q7-1"):
        rows = question_set.table[question_set.table["question_id"] == question_id]
        geometry = resolution.plan(SIZES_PX[int(question_id[1])], "native", TREATMENT)
        (alone,) = asking.answer(
            tiny_model, question_set, [(geometry, *asking.by_image(rows))], "native"
        )
        together = table.loc[("native", question_id)]
        assert alone["reply"] == together["reply"]
        np.testing.assert_allclose(alone[SCORES[0]], together[SCORES[0]], rtol=0, atol=1e-4)


def test_answers_belong_to_their_question_id_in_any_order_of_the_table(
    project: Path, uninterrupted: runs.Run
) -> None:
    table = draw(project)
    store(project, table.sample(frac=1, random_state=3))
    run = inference.evaluate(**SETTINGS)
    assert_same_answers(answers_of(uninterrupted), answers_of(run), within=1e-4)


@pytest.mark.parametrize("batch_images", [1, 5])
def test_batches_do_not_change_scores(
    drawn: pd.DataFrame, uninterrupted: runs.Run, batch_images: int
) -> None:
    run = inference.evaluate(**SETTINGS | {"batch_images": batch_images})
    assert_same_answers(answers_of(uninterrupted), answers_of(run), within=1e-4)


def test_large_images_share_a_pass_only_within_the_budget_of_visual_tokens(
    drawn: pd.DataFrame, uninterrupted: runs.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images of 1 to 9 visual tokens at native size; a single one may exceed the budget."""
    monkeypatch.setattr(inference, "MAX_BATCH_TOKENS", 8)
    real, sizes = asking.answer, []

    def noting(model: Any, question_set: Any, batch: Any, name: str, **named: Any) -> Any:
        sizes.append([geometry.visual_tokens for geometry, _ in batch])
        return real(model, question_set, batch, name, **named)

    monkeypatch.setattr(asking, "answer", noting)
    settings = SETTINGS | {"eval_resolutions": ["native"], "batch_images": 8}
    run = inference.evaluate(**settings)
    assert sum(map(len, sizes)) == len(SIZES_PX)
    assert max(map(max, sizes)) > 8
    for batch, following in zip(sizes, [*sizes[1:], []], strict=True):
        assert len(batch) * max(batch) <= 8 or len(batch) == 1
        if following:
            assert (len(batch) + 1) * following[0] > 8, "one more would have fitted"
    expected = answers_of(uninterrupted)
    kept = expected[expected.index.get_level_values(0) == "native"]
    assert_same_answers(kept, answers_of(run), within=1e-4)


def test_a_missing_image_raises_and_no_question_is_asked_without_its_image(
    drawn: pd.DataFrame, project: Path
) -> None:
    """lmms-eval once asked on, without the picture."""
    (project / "drawn" / "4.png").unlink()
    with pytest.raises(UnreadableImageError, match=r"4\.png: no such image"):
        inference.evaluate(**SETTINGS)
    folder = runs.folder_of("small", "evaluate", f"drawn/{tiny.NAME}/none/seed0")
    assert not (folder / "run.json").exists()
    assert '"q4-' not in (folder / "answers.jsonl").read_text()


def test_an_image_that_changed_since_it_was_prepared_raises(
    drawn: pd.DataFrame, project: Path
) -> None:
    Image.new("RGB", (200, 100)).save(project / "drawn" / "0.png")
    with pytest.raises(
        ValueError, match=r"0\.png: is another image than when data set .drawn. was"
    ):
        inference.evaluate(**SETTINGS)


def test_an_excluded_neighbour_shifts_no_one_s_answer(
    project: Path, uninterrupted: runs.Run
) -> None:
    """med_eval's answers moved up by one behind each unreadable image."""
    table = draw(project)
    (project / "drawn" / "2.png").write_bytes(b"not an image")
    question_set = store(project, table, unreadable="exclude")
    assert len(question_set.excluded) == len(CLOSED)
    arms = ["low", "native", "blank"]
    run = inference.evaluate(**SETTINGS | {"eval_resolutions": arms})
    table, expected = answers_of(run), answers_of(uninterrupted)
    kept = [key for key in expected.index if key[0] in arms and not key[1].startswith("q2-")]
    assert_same_answers(expected.loc[kept], table, within=1e-4)


@pytest.mark.parametrize("torn", [0, 1, 30], ids=["whole", "newline torn", "row torn"])
def test_an_evaluation_killed_twice_goes_on_to_the_very_same_bytes(
    drawn: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, uninterrupted: runs.Run, torn: int
) -> None:
    log = runs.folder_of("small", "evaluate", f"drawn/{tiny.NAME}/none/seed0") / "answers.jsonl"
    asked = []
    for stop_at in (4, 3):
        with monkeypatch.context() as patch:
            asked.append(count_answers(patch, stop_at=stop_at))
            with pytest.raises(Stop):
                inference.evaluate(**SETTINGS)
            gc.collect()
        if torn and stop_at == 4:
            log.write_bytes(log.read_bytes()[:-torn])
    asked.append(count_answers(monkeypatch))
    run = inference.evaluate(**SETTINGS)
    first, second, third = asked
    assert [len(each) for each in asked] == [3, 2, 3 * N_BATCHES - 5 + bool(torn)]
    assert set(first) & set(second) == ({first[-1]} if torn else set())
    assert not set(third) & {*first, *second}
    parquet = "answers.parquet"
    assert (run.folder / parquet).read_bytes() == (uninterrupted.folder / parquet).read_bytes()


@pytest.mark.parametrize("n_bytes", [0, 37])
def test_an_evaluation_killed_with_eight_passes_at_once_goes_on_to_the_same_bytes(
    drawn: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, n_bytes: int
) -> None:
    """Eight images in passes of one at each resolution, stored together."""
    monkeypatch.setattr(inference, "PASSES_AT_ONCE", 8)
    settings = SETTINGS | {"batch_images": 1}
    whole = inference.evaluate(**settings)
    expected = (whole.folder / "answers.parquet").read_bytes()
    shutil.rmtree(whole.folder)
    with monkeypatch.context() as patch:
        before = count_answers(patch, stop_at=2)
        with pytest.raises(Stop):
            inference.evaluate(**settings)
        gc.collect()
    log = whole.folder / "answers.jsonl"
    content = log.read_bytes()
    assert content.count(b'"eval_resolution"') >= len(SIZES_PX)
    log.write_bytes(content[: len(content) - n_bytes])
    after = count_answers(monkeypatch)
    run = inference.evaluate(**settings)
    assert (len(before), len(after)) == (1, 2 + bool(n_bytes))
    assert (run.folder / "answers.parquet").read_bytes() == expected


def test_kept_pixels_change_no_answer_and_open_no_image_again(
    drawn: pd.DataFrame, project: Path, monkeypatch: pytest.MonkeyPatch, uninterrupted: runs.Run
) -> None:
    real, names = datasets.QuestionSet.read, []

    def noting(question_set: datasets.QuestionSet, image: str) -> np.ndarray:
        names.append(image)
        return real(question_set, image)

    monkeypatch.setattr(datasets.QuestionSet, "read", noting)
    n_images = len(SIZES_PX)
    # With nothing held: the image of 28 x 28 px is the same, low and native.
    for held_bytes, cache_gib, n_opened in (
        (0, 0.0, 2 * n_images),
        (inference.HELD_BYTES, 0.0, n_images),
        (0, 0.01, 2 * n_images - 1),
        (inference.HELD_BYTES, 0.01, 0),
    ):
        names.clear()
        monkeypatch.setattr(inference, "HELD_BYTES", held_bytes)
        run = inference.evaluate(**SETTINGS | {"cache_gib": cache_gib})
        assert len(names) == n_opened, "blank and mixed open nothing"
        assert (project / "runs" / "small" / "pixels").exists() == (cache_gib > 0)
        assert run.digest == uninterrupted.digest
        parquet = "answers.parquet"
        assert (run.folder / parquet).read_bytes() == (uninterrupted.folder / parquet).read_bytes()
        shutil.rmtree(run.folder)


def test_another_resampler_is_another_run(
    drawn: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = SETTINGS | {"eval_resolutions": ["low"]}
    first, ours = inference.evaluate(**small), resolution.resampler()
    monkeypatch.setattr(resolution, "resampler", lambda: "Pillow 0")
    second = inference.evaluate(**small)
    assert second.digest != first.digest
    said = capsys.readouterr().out
    assert f"made again, because inputs.resampler was {ours!r}, is 'Pillow 0'" in said


def test_a_finished_evaluation_asks_nothing(
    drawn: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = inference.evaluate(**SETTINGS | {"eval_resolutions": ["low"]})
    monkeypatch.setattr(models, "load", None)
    before = sorted(first.folder.iterdir())
    (first.folder / "answers.jsonl").write_text("of a process killed when all else was done")
    again = inference.evaluate(**SETTINGS | {"eval_resolutions": ["low"], "threads": 2})
    assert again.is_done
    assert again.digest == first.digest
    assert sorted(first.folder.iterdir()) == before


def test_a_limit_is_another_run(drawn: pd.DataFrame) -> None:
    small = {"eval_resolutions": ["low"]}
    runs_made = []
    for limit in (3, 0):
        run = inference.evaluate(**SETTINGS | small | {"limit": limit})
        assert len(answers_of(run)) == run.record["outcome"]["n_questions"]
        runs_made.append((run.digest, len(answers_of(run))))
    (few, n_few), (whole, n_whole) = runs_made
    assert few != whole
    assert (n_few, n_whole) == (3, len(SIZES_PX) * len(CLOSED))


def test_closed_questions_have_a_generated_reply_beside_the_most_probable_option(
    drawn: pd.DataFrame, uninterrupted: runs.Run
) -> None:
    table = answers_of(uninterrupted)
    assert table["generated_reply"].notna().all()
    assert (table["generated_reply"] != table["reply"]).any(), "weights are random"
    small = {"eval_resolutions": ["low"], "generate_closed": False}
    run = inference.evaluate(**SETTINGS | small)
    without, expected = answers_of(run), table[table.index.get_level_values(0) == "low"]
    assert without["generated_reply"].isna().all()
    assert_same_answers(expected, without, within=0)
    assert run.digest != inference.evaluate(**SETTINGS | small | {"generate_closed": True}).digest


def test_bfloat16_is_another_run_with_scores_that_are_near(
    drawn: pd.DataFrame, uninterrupted: runs.Run
) -> None:
    run = inference.evaluate(**SETTINGS | {"dtype": "bfloat16", "eval_resolutions": ["native"]})
    expected = answers_of(uninterrupted)
    found = answers_of(run)
    differences = [
        np.abs(first - second).max()
        for first, second in zip(
            found[SCORES[0]], expected.loc[found.index, SCORES[0]], strict=True
        )
    ]
    assert 1e-4 < max(differences) < 0.15


def test_a_score_that_is_not_a_number_raises_naming_the_question(
    drawn: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = generation.score_and_reply

    def spoil(*arguments: Any) -> Any:
        scores, replies = real(*arguments)
        scores[1][:, 0] = np.nan
        return scores, replies

    monkeypatch.setattr(generation, "score_and_reply", spoil)
    with pytest.raises(ValueError, match=r"question q\d-0 at low: a log-probability is not finite"):
        inference.evaluate(**SETTINGS)
    folder = runs.folder_of("small", "evaluate", f"drawn/{tiny.NAME}/none/seed0")
    assert not (folder / "answers.jsonl").exists()


def test_mixed_is_assembled_from_low_and_native_without_a_model_call(
    drawn: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = count_answers(monkeypatch)
    run = inference.evaluate(**SETTINGS)
    assert [name for name, _ in asked] == [
        name for name in ("low", "native", "blank") for _ in range(N_BATCHES)
    ]
    table = pd.read_parquet(run.folder / "answers.parquet")
    mixed = table[table["eval_resolution"] == "mixed"]
    sources = table[table["eval_resolution"] != "mixed"]
    assert (sources["source_resolution"] == sources["eval_resolution"]).all()
    by_source = sources.set_index(["source_resolution", "question_id"])
    for row in mixed.to_dict("records"):
        source = by_source.loc[(row["source_resolution"], row["question_id"])]
        for name in by_source.columns.drop("eval_resolution"):
            assert np.array_equal(row[name], source[name]), name
    halves = mixed.groupby("modality")["source_resolution"].value_counts().unstack()
    assert (halves["low"] == halves["native"]).all()
    assert set(halves.columns) == {"low", "native"}
    assert (mixed.groupby("image")["source_resolution"].nunique() == 1).all()


def test_another_seed_mixes_other_questions(uninterrupted: runs.Run) -> None:
    table = pd.read_parquet(uninterrupted.folder / "answers.parquet")
    table = table[table["eval_resolution"].isin(["low", "native"])]
    drawn = [
        inference.assemble_mixed(table, low_share=0.5, seed=seed).set_index("question_id")
        for seed in (0, 0, 1)
    ]
    assert drawn[0]["source_resolution"].equals(drawn[1]["source_resolution"])
    assert not drawn[0]["source_resolution"].equals(drawn[2]["source_resolution"])
    stored = answers_of(uninterrupted).loc["mixed", "source_resolution"]
    assert stored.equals(drawn[0]["source_resolution"])


def test_a_blank_image_gives_equal_scores_for_images_of_one_size(uninterrupted: runs.Run) -> None:
    table = answers_of(uninterrupted)
    for number in range(len(CLOSED)):
        first, second = f"q2-{number}", f"q3-{number}"
        for name, is_equal in (("blank", True), ("native", False)):
            scores = [table.loc[(name, each), SCORES[0]] for each in (first, second)]
            assert np.allclose(*scores, rtol=0, atol=1e-5) == is_equal


@pytest.mark.parametrize("is_mixed", [True, False], ids=["among closed ones", "alone"])
def test_an_open_question_is_generated_and_scored(project: Path, is_mixed: bool) -> None:
    table = draw(project)
    is_open = table["question"] == "is it?"
    table.loc[is_open, ["question", "answer", "options"]] = ["what is seen?", "a nodule", ""]
    store(project, table if is_mixed else table[is_open])
    small = {"eval_resolutions": ["low"], "batch_images": 4}
    run = inference.evaluate(**SETTINGS | small)
    answers = answers_of(run)
    generated = answers[answers["question"] == "what is seen?"]
    assert len(generated) == len(SIZES_PX)
    assert generated["reply"].map(type).eq(str).all()
    assert (generated["generated_reply"] == generated["reply"]).all()
    assert generated[SCORES[0]].map(len).eq(0).all()
    assert generated["correct"].dtype == bool
    closed = answers.drop(generated.index)
    assert len(closed) == (len(SIZES_PX) if is_mixed else 0)
    assert closed[SCORES[0]].map(len).eq(3).all()


def test_the_generated_reply_is_the_greedy_one(
    tiny_model: LoadedModel, drawn: pd.DataFrame
) -> None:
    stored = datasets.load("small", "drawn").read("0.png")
    geometry = resolution.plan(stored.shape[1::-1], "native", TREATMENT)
    pixels = resolution.apply(stored, geometry)
    reply = generation.generate(tiny_model, geometry, pixels, "q", "what is seen?", 3)
    tree = conversation.encode(tiny_model, geometry.given_px, ["q"], ["what is seen?"], [[]])
    input_ids = torch.from_numpy(tree.token_ids)[None]
    for _ in range(3):
        with torch.no_grad():
            logits = tiny_model.network(
                input_ids=input_ids,
                attention_mask=torch.ones_like(input_ids),
                mm_token_type_ids=(input_ids == tiny_model.image_token_id).int(),
                **models.pixel_inputs(tiny_model, [pixels]),
            ).logits
        input_ids = torch.cat([input_ids, logits[:, -1].argmax(-1, keepdim=True)], dim=1)
        if input_ids[0, -1] == tiny_model.tokenizer.eos_token_id:
            break
    new_tokens = input_ids[0, len(tree.token_ids) :]
    expected = tiny_model.tokenizer.decode(new_tokens, skip_special_tokens=True).strip()
    assert reply.answer == expected


def test_the_reply_is_the_most_probable_option_by_its_sum(
    tiny_model: LoadedModel, drawn: pd.DataFrame
) -> None:
    question_set = datasets.load("small", "drawn")
    rows = question_set.table[question_set.table["image"] == "0.png"]
    geometry = resolution.plan(SIZES_PX[0], "native", TREATMENT)
    for row in asking.answer(
        tiny_model, question_set, [(geometry, *asking.by_image(rows))], "native"
    ):
        options = rows.set_index("question_id").loc[row["question_id"], "options"]
        sums, per_token = (np.array(row[name]) for name in SCORES)
        lengths = [len(tiny_model.tokenizer.encode(f"{each}<|im_end|>")) for each in options]
        np.testing.assert_allclose(sums / lengths, per_token)
        assert (sums < 0).all()
        assert row["reply"] == options[int(sums.argmax())]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"eval_resolutions": ["native", "mixed"]}, "mixed without low and native; add them"),
        ({"eval_resolutions": ["low", "mixed"]}, "mixed without low and native; add them"),
        ({"eval_resolutions": ["middle"]}, "unknown resolution 'middle'; use low"),
        ({"eval_resolutions": []}, "eval_resolutions is empty; name low, native"),
        (
            {"eval_resolutions": ["native", "tiles-4"]},
            "'tiles-4' is not a budget .* tokens-<n>",
        ),
        (
            {"eval_resolutions": ["pan-and-scan"]},
            "'pan-and-scan' is not a budget .* tokens-<n>",
        ),
        ({"train_resolution": "blank"}, "nothing is trained at 'blank'; use none, low"),
        ({"limit": -1}, "limit is -1; it must be at least 0"),
        ({"batch_images": 0}, "batch_images is 0; it must be at least 1"),
        ({"threads": 0}, "threads is 0; it must be at least 1"),
        ({"cache_gib": -1.0}, "cache_gib is -1.0; it must be at least 0"),
        ({"low_share": -0.1}, "low_share is -0.1; it is a share"),
        ({"dtype": "half"}, "dtype is 'half'; use float32 or bfloat16"),
        ({"low_max_pixels": 9_999}, "low_max_pixels is 9999, above native_max_pixels"),
        ({"resampling_filter": "box"}, "unknown filter 'box'"),
    ],
)
def test_an_impossible_argument_raises_before_a_run_is_made(
    drawn: pd.DataFrame, project: Path, wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        inference.evaluate(**SETTINGS | wrong)
    assert not (project / "runs" / "small" / "evaluate").exists()


def test_a_checkpoint_that_is_not_trained_raises_saying_how_to_make_it(
    drawn: pd.DataFrame,
) -> None:
    with pytest.raises(FileNotFoundError, match=r"finetune/.*/low/seed0 is not a finished run"):
        inference.evaluate(**SETTINGS | {"train_resolution": "low"})


def test_a_checkpoint_with_other_weights_is_another_run(
    drawn: pd.DataFrame, project: Path, uninterrupted: runs.Run
) -> None:
    """Same path, other weights: reuse would report the old model under the new one's name."""
    cell = f"drawn/{tiny.NAME}/low/seed0"
    parent = runs.start("small", "finetune", cell, parameters={}, inputs={})
    place = parent.folder / "checkpoint"
    shutil.copytree(tiny.make(project / "tiny"), place)
    parent.finish(files=["checkpoint"], weights_sha256=models.weights_sha256(place))
    settings = SETTINGS | {"train_resolution": "low", "eval_resolutions": ["low"]}
    first = inference.evaluate(**settings)
    expected = answers_of(uninterrupted)
    kept = expected[expected.index.get_level_values(0) == "low"]
    assert_same_answers(kept, answers_of(first), within=0)
    changed = models.load(str(place))
    with torch.no_grad():
        changed.network.model.visual.patch_embed.proj.weight.mul_(1.5)
    models.save(changed, str(place))
    with pytest.raises(ValueError, match=r"checkpoint/\S+ is damaged"):
        inference.evaluate(**settings)
    parent.finish(files=["checkpoint"], weights_sha256=models.weights_sha256(place))
    second = inference.evaluate(**settings)
    assert second.digest != first.digest
    with pytest.raises(AssertionError):
        assert_same_answers(kept, answers_of(second), within=1e-4)


def test_a_question_too_long_for_the_model_raises_naming_it(project: Path) -> None:
    table = draw(project)
    store(project, table)
    folder = tiny.make(project / "short")
    config = folder / "config.json"
    config.write_text(config.read_text().replace("32768", "30"))
    with pytest.raises(ValueError, match=r"question q\d-\d needs \d+ tokens at 28 x 28 px, max_"):
        inference.evaluate(**SETTINGS | {"model": "short"})
