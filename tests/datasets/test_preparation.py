"""Whatever `prepare` accepts, no later stage refuses."""

import functools
import json
import os
import re
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from medres import datasets, files, mixed, models, resolution, runs
from medres.datasets import preparation
from medres.models import LoadedModel, conversation, tiny, without_weights
from medres.scoring import paper, strict

TREATMENT: dict[str, Any] = {
    "low_max_pixels": 1_024,
    "native_max_pixels": 4_096,
    "resampling_filter": "bicubic",
    "tiling": "information",
}
ASKED = {"revision": "", **TREATMENT, "low_share": 0.5, "trained": ["low"], "asked": ["native"]}
ALL = dict.fromkeys(tiny.NAMES, ASKED)
UNTRAINED = dict.fromkeys(tiny.NAMES, ASKED | {"trained": []})
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder with ten small images, and some that nobody can use."""
    root = tmp_path_factory.mktemp("prepared")
    (root / "own").mkdir()
    for number in range(10):
        pixels = np.random.default_rng(number).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "own" / f"{number}.png")
    for name, size_px in (("dot", (1, 1)), ("line", (500, 1)), ("strip", (2, 900))):
        Image.new("RGB", size_px).save(root / "own" / f"{name}.png")
    (root / "own" / "torn.png").write_bytes((root / "own" / "1.png").read_bytes()[:300])
    return root


@pytest.fixture
def here(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, as this process's project."""
    monkeypatch.setattr(runs, "ROOT", root)
    return root


def _prepare(
    root: Path, table: Rows, asked: dict[str, Any] | None = None, **parameters: Any
) -> Any:
    lines = [json.dumps(each) for each in table]
    (root / "own" / "q.jsonl").write_text("\n".join(lines) + "\n")
    given = {"table": "own/q.jsonl", "test_share": 0.5, **parameters}
    shutil.rmtree(root / "runs" / "s", ignore_errors=True)
    return datasets.prepare("s", "mine", given, models=asked)


def _good(n_images: int = 4) -> Rows:
    return [
        {
            "image": f"{number}.png",
            "question": f"which {kind}?",
            "answer": answer,
            "options": options,
        }
        for number in range(n_images)
        for kind, answer, options in (("organ", "lung", ["lung", "liver"]), ("size", "2 cm", ""))
    ]


def _with(place: int = 2, **cells: Any) -> Rows:
    """Return a good table of which one row has other cells."""
    table = _good()
    table[place] = {**table[place], **cells}
    return table


def _all_with(**cells: list[Any]) -> Rows:
    return [
        {**row, **{name: values[place] for name, values in cells.items()}}
        for place, row in enumerate(_good())
    ]


def _split(table: Rows) -> Rows:
    """Return a table with a split: answers count in training, options in test."""
    return [{**row, "split": split} for row, split in zip(table, PAIRS, strict=True)]


PAIRS = ["train", "train", "train", "train", "test", "test", "test", "test"]
REFUSED: list[tuple[str, Rows, str]] = [
    ("judge: blank reference", _with(answer=" "), "an empty reference at line 3"),
    ("judge: invisible reference", _with(answer="\u200b"), "an empty reference at line 3"),
    ("judge: nothing but signs", _with(3, answer="..."), "nothing but punctuation at line 4"),
    ("judge: reference no option", _with(answer="heart"), "not among its options at line 3"),
    ("judge: options alike", _with(answer="pH", options=["pH", "PH"]), "at line 3 .*U.0070"),
    ("judge: option twice", _with(answer="a", options=["a", "a"]), "at line 3 .*stands twice"),
    ("judge: blank option", _with(answer="a", options=["a", " "]), "at line 3 .*is empty"),
    ("judge: options a string", _with(answer="a", options="a"), "at line 3 .*there is only one"),
    ("options: null", _with(answer="a", options='["a", null]'), "at line 3 .*is null"),
    ("losses: blank question", _with(question=" \u00a0"), "an empty question at line 3"),
    ("grids: id twice", _all_with(question_id=list("abcdefga")), "duplicate question id at line 8"),
    ("log: blank id", _all_with(question_id=[*"abcdefg", ""]), "an empty question_id at line 8"),
    ("mixed: two modalities", _all_with(modality=["CT", "MR", *["CT"] * 6]),
     "image '0.png' in two modalities .*'CT' at line 1 and 'MR' at line 2"),
    ("mixed: blank modality", _all_with(modality=[*["CT"] * 6, "", ""]), "empty modality"),
    ("statistics: blank group", _all_with(group=[*"aabbcc", "", ""]), "an empty group at line 7"),
    ("statistics: two groups", _all_with(group=list("abccddee")),
     "image '0.png' in two groups .*'a' at line 1 and 'b' at line 2"),
    ("group in both", _all_with(group=list("aaaabbaa"), split=PAIRS),
     "group 'a' in both splits .*'train' at line 1 and 'test' at line 7"),
    ("no such split", _all_with(split=[*PAIRS[:7], "val"]), "at line 8 .*'val'; write train or"),
    ("evaluation: no test", _all_with(split=["train"] * 8), "no test question"),
    ("image: missing", _with(image="gone.png"), "line 3: gone.png: no such image"),
    ("image: torn", _with(image="torn.png"), "line 3: torn.png: "),
    ("image: one pixel", _with(image="dot.png"), "line 3: dot.png: "),
    ("image: one pixel high", _with(image="line.png"), "line 3: line.png: "),
    ("image: too thin", _with(image="strip.png"), "line 3: strip.png: "),
    ("image: outside", _with(image="../own/../x.png"), "outside its folder at line 3"),
    ("image: blank", _with(image=" "), "line 3: no image is given"),
    ("image: zero byte", _with(image="a\0.png"), "zero byte in image at line 3"),
    ("storage: half a character", _with(question="a\ud800b"), "half a character|surrogate"),
    ("template: image mark", _with(question="is <|image_pad|> it?"), r"image_pad.* at line 3"),
    ("template: of another model", _with(question="the <image> shows"), r"'<image>'.* at line 3"),
    ("tokens: end of turn", _with(3, answer="a<|im_end|>"), r"im_end.*reference at line 4"),
    ("tokens: in an option", _with(answer="a", options=["a", "b<s>"]), r"<s>.* at line 3"),
    ("length: question", _with(question="µ" * 40_000), r"conversation of [\d,]+ tokens.* line 3"),
    ("length: answer", _split(_with(3, answer="word " * 40_000)), "conversation of .* line 4"),
    ("length: option", _split(_with(6, answer="a", options=["a", "b " * 40_000])),
     "conversation of .*line 7"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("table", "message"), [e[1:] for e in REFUSED], ids=[e[0] for e in REFUSED]
)
def test_what_a_later_stage_would_refuse_is_refused_here(
    here: Path, table: Rows, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        _prepare(here, table, ALL)
    with pytest.raises(FileNotFoundError):
        datasets.load("s", "mine")


def test_the_good_table_is_accepted(here: Path) -> None:
    assert _prepare(here, _good(), ALL).record["outcome"]["n_questions"] == {"train": 4, "test": 4}


def test_the_user_s_folder_is_in_no_record(here: Path) -> None:
    table = [*_good(), {"image": str(here / "own" / "5.png"), "question": "q", "answer": "a"}]
    table += [{"image": "torn.png", "question": "q", "answer": "a"}]
    run = _prepare(here, table, unreadable="exclude")
    outcome = run.record["outcome"]
    (left,) = outcome["excluded"]
    assert left.startswith("line 10: torn.png: ")
    assert str(here) not in json.dumps(outcome)
    assert "5.png" in set(datasets.load("s", "mine").table["image"])


def test_all_questions_are_test_with_a_share_of_one(here: Path) -> None:
    run = _prepare(here, _good(), UNTRAINED, test_share=1.0)
    assert run.record["outcome"]["n_questions"] == {"test": 8}
    assert run.record["outcome"]["leaks"]["groups"] == [4, 0]
    with pytest.raises(ValueError, match="no training question, but the study trains at low"):
        _prepare(here, _good(), ALL, test_share=1.0)
    one = [{**row, "group": "all"} for row in _good()]
    assert _prepare(here, one, test_share=1.0).record["outcome"]["n_questions"] == {"test": 8}


def test_images_by_name_are_taken_and_files_that_come_are_noticed(here: Path) -> None:
    table = [{**row, "image": row["image"].removesuffix(".png")} for row in _good()]
    with pytest.raises(ValueError, match=r"4 of 4 found in own/ .*`find_images: by-name`"):
        _prepare(here, table)
    run = _prepare(here, table, find_images="by-name")
    assert set(datasets.load("s", "mine").table["image"]) == {f"{each}.png" for each in range(4)}
    assert any("were found by name" in note for note in run.record["outcome"]["notes"])
    mark = json.loads((here / "runs/s/marks/questions/mine.json").read_text())
    assert "own" in mark["listed"]


def test_only_models_change_no_table() -> None:
    assert not preparation.may_change_table("models.tiny-internvl was None, is {}")
    assert preparation.may_change_table("parameters.data_seed was 0, is 1")


ODD = ["", " ", "\u200b", "\u00a0", "\n", "|", "[", "<s>", "<image>", "<|im_end|>", "<", "-", "−",
       "²", "½", "µ", "ﬁ", "e\u0301", "İ", "ß", "\u0662", "病", "\U0001f600", "{{x}}", '"', "\\",
       "?", "…", "Ω", "ʼ", "'", "%", "\u202e"]  # fmt: skip
WORDS = ["yes", "no", "Ja", "nein", "pH", "PH", "lung", "left lung", "T2", "T2 flair", "HER2+",
         "HER2-", "10", "102", "1.5", "1,5", "grade 2", "none", "not", "benign", "a"]  # fmt: skip
texts = st.one_of(
    st.sampled_from(WORDS),
    st.tuples(st.sampled_from(WORDS), st.sampled_from(ODD), st.sampled_from(WORDS)).map("".join),
    st.text(max_size=8),
)
plain = st.sampled_from(WORDS)


@st.composite
def rows_of(draw: st.DrawFn) -> dict[str, Any]:
    """One row: mostly right, sometimes odd."""
    word = plain if draw(st.integers(0, 9)) else texts
    row: dict[str, Any] = {"image": f"{draw(st.integers(0, 9))}.png"}
    row["question"] = draw(word) + " is it?"
    if draw(st.booleans()):
        options = draw(st.lists(word, min_size=2, max_size=4, unique_by=strict.normalise_answer))
        row["answer"], row["options"] = draw(st.sampled_from(options)), options
        if not draw(st.integers(0, 2)):
            row["options"] = "|".join(options)
    else:
        row["answer"] = draw(word)
    return row


tables = st.lists(rows_of(), min_size=2, max_size=5)
replies = st.lists(st.one_of(texts, st.text(max_size=20)), min_size=2, max_size=4)
N_TABLES = int(os.environ.get("MEDRES_TABLES", "120"))
"""Each takes a tenth of a second; 2,000 were tried when this was written."""
LEAST_ACCEPTED = 0.3


@pytest.fixture(scope="module")
def loaded(root: Path) -> dict[str, LoadedModel]:
    """The three families, without weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "ROOT", root)
        return {name: without_weights.load(name) for name in tiny.NAMES}


def test_whatever_is_accepted_is_never_refused_later(
    root: Path, loaded: dict[str, LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "ROOT", root)
    # Models and images are the same for all tables; what is done with them is not replaced.
    monkeypatch.setattr(without_weights, "load", lambda name, **_: loaded[name])
    for module, name in ((files, "synced"), (runs, "_git")):
        monkeypatch.setattr(module, name, lambda *_: "")
    for module in (runs, preparation):
        monkeypatch.setattr(module, "version", functools.cache(version))
    real, read = preparation.image_facts.gather, {}

    def gather(found: Any, reading: Any) -> pd.DataFrame:
        for image in found.table["image"].unique():
            if image not in read:
                only = preparation.Found(pd.DataFrame({"image": [image]}), found.image_folder)
                read[image] = real(only, reading)
        return pd.concat([read[each] for each in found.table["image"].unique()])

    monkeypatch.setattr(preparation.image_facts, "gather", gather)
    accepted = []

    @settings(
        max_examples=N_TABLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(tables, replies)
    def check(table: Rows, said: list[str]) -> None:
        refusal = ""
        try:
            _prepare(root, table, UNTRAINED, test_share=1.0)
        except ValueError as error:
            refusal = str(error)
        accepted.append(not refusal)
        if refusal:
            assert re.search(r"lines? \d", refusal), refusal
            return
        _use(datasets.load("s", "mine").table, said, loaded)

    check()
    assert len(accepted) >= N_TABLES
    assert np.mean(accepted) > LEAST_ACCEPTED


def _use(table: pd.DataFrame, said: list[str], loaded: dict[str, LoadedModel]) -> None:
    """Encode, score and batch every question, as training and evaluation do."""
    mixed.assign_mixed(
        table["image"].tolist(), table["modality"].tolist(), low_share=0.5,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    for model in loaded.values():
        treatment = models.treatment(model.config, **TREATMENT)
        trees = []
        for _, rows in table.groupby("image"):
            size_px = (int(rows["width_px"].iloc[0]), int(rows["height_px"].iloc[0]))
            geometry = resolution.plan(size_px, "native", treatment)
            asked = (geometry.given_px, rows["question_id"].tolist(), rows["question"].tolist())
            conversation.encode(model, *asked, rows["options"].tolist(), with_ends=False)
            replies = [[reference] for reference in rows["reference"]]
            trees.append(conversation.encode(model, *asked, replies))
        batch = conversation.collate(trees, pad_token_id=0)
        conversation.labels(trees, batch["logits_to_keep"])
    names = sorted(set(table["reference"]))
    for row in table.itertuples():
        for reply in [*said, row.reference]:
            parsed, is_right = strict.judge(reply, row.reference, row.options)
            if reply == row.reference:
                assert is_right, (reply, parsed)
            kind = paper.kind_of("", row.reference, row.options)
            if kind != "open":
                paper.correct(reply, row.reference, kind=kind, names=names)
            paper.open_score(reply, row.reference)
