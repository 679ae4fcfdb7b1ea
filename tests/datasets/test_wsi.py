import json
from collections.abc import Callable
from pathlib import Path

import pytest

from medres.datasets import questions, wsi
from medres.datasets.fetch import gdc

TYPES = ["fibroadenoma", "lipoma", "malignant invasive ductal carcinoma", "benign cystadenoma"]
GRADES = ["grade 1", "grade 2", "grade 3", "grade 4"]


def _closed(case: str, answer: str, options: list[str] = GRADES) -> dict[str, object]:
    asked = f"what was the grade of {answer[:9]}?"
    return {"Id": case, "Question": asked, "Choice": options, "Answer": answer}


def _open(case: str, answer: str = "635", field: str = "survival time") -> dict[str, object]:
    asked = f"Can you help the pathologist to predict {field}?"
    return {"Id": case, "Question": asked, "Answer": answer}


RECORDS = {
    "train": [
        {
            "Id": "TCGA-PL-A8LZ",
            "Question": "what was the tumour type determined to be?",
            "Choice": TYPES,
            "Answer": "malignant invasive ductal carcinoma",
        },
        _open("TCGA-PL-A8LZ", "302"),
        _closed("TCGA-S3-AA17", "grade 2"),
    ],
    "val": [_closed("TCGA-A2-A0EX", "grade 1"), _open("TCGA-A2-A0EX")],
    "test": [_closed("TCGA-BH-A42V", "grade 4"), _open("TCGA-BH-A42V"), _open("TCGA-AN-A0XW")],
}


def _write(folder: Path, at: str = "dataset/WSI_captions", **changed: list) -> Path:
    (folder / at).mkdir(parents=True, exist_ok=True)
    for split, records in (RECORDS | changed).items():
        (folder / at / f"WsiVQA_{split}.json").write_text(json.dumps(records), encoding="utf-8")
    return folder


def _reduced(folder: Path, *cases: str) -> None:
    (folder / "slides").mkdir(exist_ok=True)
    for case in cases:
        (folder / "slides" / f"{case}.png").touch()


ALL = ("TCGA-PL-A8LZ", "TCGA-S3-AA17", "TCGA-A2-A0EX", "TCGA-BH-A42V", "TCGA-AN-A0XW")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    _reduced(_write(tmp_path), *ALL)
    return tmp_path


def _read(folder: Path, **options: object) -> tuple:
    found = wsi.read(folder, folder / "unused", **{**wsi.OPTIONS, **options})
    # The three splits become two elsewhere; every other rule must hold.
    two = found.table.assign(split=found.table["split"].replace("validation", "train"))
    questions.validate(two, source="wsi")
    return found.table.set_index("question_id"), found


def _noted(found: object, text: str) -> bool:
    return any(text in note for note in found.notes)


def test_questions_are_read_with_their_options_case_and_slide(folder: Path) -> None:
    table, found = _read(folder)
    assert table["split"].value_counts().to_dict() == {"train": 3, "validation": 2, "test": 3}
    closed = table.loc["wsi-train-00000"]
    assert closed["question"] == "what was the tumour type determined to be?"
    assert closed["reference"] == "malignant invasive ductal carcinoma"
    assert closed["options"] == TYPES
    assert closed["group"] == "TCGA-PL-A8LZ"
    assert closed["image"] == "slides/TCGA-PL-A8LZ.png"
    assert table.loc["wsi-test-00001", "options"] == []
    assert table.loc["wsi-test-00001", "reference"] == "635"
    assert found.excluded == []
    assert _noted(found, "WsiVQA_test.json has 3 questions; 735 are known")


def test_the_medres_prompt_names_the_options_of_closed_questions(folder: Path) -> None:
    table, _ = _read(folder, prompt="medres")
    plain, _ = _read(folder, prompt="paper")
    added = f" Options: {'; '.join(TYPES)}"
    assert table.loc["wsi-train-00000", "question"] == plain["question"].iloc[0] + added
    is_open = plain["options"].map(len) == 0
    assert table["question"][is_open].equals(plain["question"][is_open])


@pytest.mark.parametrize("at", [".", "WSI_captions", "dataset/WSI_captions"])
def test_files_are_found_where_a_clone_or_a_fetch_has_them(tmp_path: Path, at: str) -> None:
    _reduced(_write(tmp_path, at), *ALL)
    assert len(_read(tmp_path)[0]) == 8


MENDED = {
    "grade 3.": "grade 3",
    "Grade 3 ": "grade 3",
    "the correct option is c(grade 3).": "grade 3",
    "the correct option is c. (grade 3)": "grade 3",
}


@pytest.mark.parametrize("answer", MENDED)
def test_an_answer_that_spells_an_option_otherwise_becomes_it(folder: Path, answer: str) -> None:
    _write(folder, train=[*RECORDS["train"], _closed("TCGA-S3-AA17", answer)])
    table, found = _read(folder)
    assert table.loc["wsi-train-00003", "reference"] == MENDED[answer]
    assert _noted(found, "1 answers are an option but for its spelling")
    assert found.excluded == []


@pytest.mark.parametrize(
    "answer", ["grade 5", "c", "grade", "the correct option is c(grade 9)", "grade 3 or grade 4"]
)
def test_an_answer_that_is_no_option_is_left_out_and_counted(folder: Path, answer: str) -> None:
    wrong = _closed("TCGA-S3-AA17", answer)
    other = {**wrong, "Question": "another?"}
    _write(folder, train=[*RECORDS["train"], wrong, other])
    table, found = _read(folder)
    assert len(table) == 8
    assert found.excluded == [
        "2 questions have an answer that is not among the options (2 of train)"
    ]


def test_an_option_that_two_spellings_fit_is_not_guessed(folder: Path) -> None:
    _write(folder, train=[*RECORDS["train"], _closed("TCGA-S3-AA17", "Yes", ["yes", "yes.", "no"])])
    assert "1 questions have an answer that is not among" in _read(folder)[1].excluded[0]


def test_an_option_given_twice_is_offered_once(folder: Path) -> None:
    _write(folder, test=[_closed("TCGA-BH-A42V", "yes", ["yes", "no", "yes", "no "])])
    table, found = _read(folder)
    assert table.loc["wsi-test-00000", "options"] == ["yes", "no"]
    assert _noted(found, "1 questions have an option twice")


def test_repeated_and_empty_questions_are_left_out_and_counted(folder: Path) -> None:
    again = RECORDS["train"][1]
    empty = {"Id": "TCGA-S3-AA17", "Question": "what?", "Answer": " "}
    _write(folder, train=[*RECORDS["train"], again, empty])
    table, found = _read(folder)
    assert len(table) == 8
    assert found.excluded == [
        "1 questions are empty or have no answer (1 of train)",
        "1 questions repeat question and answer of their case (1 of train)",
    ]


def test_a_case_of_validation_and_test_is_left_to_test(folder: Path) -> None:
    _write(folder, val=[*RECORDS["val"], *RECORDS["test"][:2]])
    table, found = _read(folder)
    assert (table["split"] == "test").sum() == 3
    assert found.excluded == [
        "2 questions of validation are on a case of test (2 of validation)",
    ]
    assert table.groupby("group")["split"].nunique().max() == 1


def test_a_case_of_training_and_test_is_noted_and_kept_as_published(folder: Path) -> None:
    _write(folder, train=[*RECORDS["train"], _closed("TCGA-BH-A42V", "grade 1")])
    found = wsi.read(folder, folder)
    assert _noted(found, "1 cases are in more than one split, first TCGA-BH-A42V")
    assert len(found.table) == 9


def _splits_table(folder: Path) -> None:
    lines = [
        ",train,val,test",
        "0,TCGA-PL-A8LZ-01Z-00-DX1.AB12,TCGA-A2-A0EX-01Z-00-DX1.CD34,TCGA-BH-A42V-01Z-00-DX1.E",
        "1,TCGA-BH-A42V-01Z-00-DX2.EF56,,TCGA-AN-A0XW-01Z-00-DX1.F",
    ]
    (folder / "dataset" / "splits_0.csv").write_text("\n".join(lines))


def test_cases_that_the_table_of_splits_trains_on_are_noted_or_filtered(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no splits_0\.csv, which `splits: filter` needs"):
        _read(folder, splits="filter")
    _splits_table(folder)
    table, found = _read(folder)
    assert len(table) == 8
    assert _noted(found, "2 questions of validation and test are on 1 cases that splits_0.csv")
    table, found = _read(folder, splits="filter")
    assert set(table["group"][table["split"] == "test"]) == {"TCGA-AN-A0XW"}
    assert found.excluded == [
        "2 questions are on a case that splits_0.csv lists for training (2 of test)"
    ]
    (folder / "dataset" / "splits_0.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"splits_0\.csv has no column train; it has \['a', 'b'\]"):
        _read(folder)


def test_questions_without_a_slide_are_an_error_or_are_left_out_and_counted(folder: Path) -> None:
    (folder / "slides" / "TCGA-BH-A42V.png").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"2 of 8 questions, on 1 cases, have no slide, first TCGA-BH-A42V"
    ):
        _read(folder)
    table, found = _read(folder, missing="exclude")
    assert "TCGA-BH-A42V" not in set(table["group"])
    assert found.excluded == ["2 questions are on 1 cases without a slide (2 of test)"]


def test_no_slide_at_all_is_an_error_whatever_is_asked(tmp_path: Path) -> None:
    for missing in ("error", "exclude"):
        with pytest.raises(FileNotFoundError, match="8 of 8 questions, on 5 cases, have no slide"):
            _read(_write(tmp_path), missing=missing)


def test_raw_slides_stand_in_for_reduced_ones(folder: Path) -> None:
    (folder / "slides" / "TCGA-BH-A42V.png").unlink()
    for place, name in (
        ("b7", "TCGA-BH-A42V-01Z-00-DX2.AAAA.svs"),
        ("c9", "TCGA-BH-A42V-01Z-00-DX1.ZZZZ.svs"),
        ("a1", "TCGA-BH-A42V-01A-01-TS1.0000.svs"),
        ("d0", "TCGA-PL-A8LZ-01Z-00-DX1.BBBB.svs"),
        ("d0", "TCGA-PL-A8LZ-01Z-00-DX2.BBBB.svs"),
    ):
        (folder / place).mkdir(exist_ok=True)
        (folder / place / name).touch()
    table, found = _read(folder)
    image = table.set_index("group")["image"].to_dict()
    assert image["TCGA-BH-A42V"] == "c9/TCGA-BH-A42V-01Z-00-DX1.ZZZZ.svs"
    assert image["TCGA-PL-A8LZ"] == "slides/TCGA-PL-A8LZ.png"
    assert _noted(found, "1 cases have several diagnostic slides")
    (folder / "c9" / "TCGA-BH-A42V-01Z-00-DX1.ZZZZ.svs").unlink()
    assert "b7/TCGA-BH-A42V-01Z-00-DX2.AAAA.svs" in set(_read(folder)[0]["image"])


def test_the_counts_of_the_published_files_are_not_remarked_on(folder: Path) -> None:
    whole = {
        split: [_open("TCGA-AN-A0XW" if split == "test" else case, str(n)) for n in range(count)]
        for (split, case), count in zip(
            (("train", "TCGA-PL-A8LZ"), ("val", "TCGA-A2-A0EX"), ("test", "")),
            wsi.N_RECORDS.values(),
            strict=True,
        )
    }
    _write(folder, **whole)
    table, found = _read(folder)
    assert table["split"].value_counts().to_dict() == wsi.N_RECORDS
    assert found.notes == []


def test_the_cases_to_fetch_begin_with_those_of_test(tmp_path: Path) -> None:
    _write(tmp_path)
    assert wsi.cases(tmp_path) == [
        "TCGA-BH-A42V",
        "TCGA-AN-A0XW",
        "TCGA-A2-A0EX",
        "TCGA-PL-A8LZ",
        "TCGA-S3-AA17",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[{", r"WsiVQA_val\.json is not JSON"),
        ('[{"Id": "TCGA-A2-A0EX", "Question": "what?"}]', r"record 0: needs Id, Question, Answer"),
        (
            '[{"Id": "T", "Question": "what?", "Answer": "a", "Choice": "a b"}]',
            r"WsiVQA_val\.json record 0: .* at most a list Choice",
        ),
        ("{}", r"WsiVQA_val\.json is not a list of questions"),
        ("[1]", r"record 0: needs Id"),
    ],
)
def test_damaged_files_are_named(folder: Path, content: str, message: str) -> None:
    (folder / "dataset/WSI_captions/WsiVQA_val.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        _read(folder)


def test_a_folder_without_the_files_says_how_to_fetch_them(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no WsiVQA_train\.json, nor .* fetch wsi --to "):
        _read(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": "theirs"}, "prompt is 'theirs'; use paper or medres"),
        ({"splits": "random"}, "splits is 'random'; use files or filter"),
        ({"missing": "skip"}, "missing is 'skip'; use error or exclude"),
    ],
)
def test_wrong_options_are_refused(folder: Path, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _read(folder, **options)


def test_what_a_fetch_says_of_its_slides_is_noted(folder: Path) -> None:
    rows = ["case,slide,max_pixels,n_slides"]
    rows += [f"{case},{case}-01Z-00-DX1.AB.svs,12000000,{1 + (case == ALL[1])}" for case in ALL]
    (folder / "slides.csv").write_text("\n".join(rows))
    _, found = _read(folder)
    assert _noted(found, "slides were reduced on arrival to 12000000 pixels")
    several = next(note for note in found.notes if "several diagnostic slides" in note)
    assert several.startswith("1 cases have")
    assert several.endswith(f"first {ALL[1]}")


@pytest.mark.parametrize(("limit", "n_cases"), [(0, 5), (2, 2)])
def test_a_fetch_gets_the_files_and_then_the_slides_of_so_many_cases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, n_cases: int
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(gdc, "fetch_slides", lambda *args, **named: asked.append((args, named)))

    class Served:
        def __init__(self) -> None:
            self.urls: list[str] = []

        def get(self, url: str, path: str, *, check: Callable[[Path], object]) -> Path:
            self.urls.append(url)
            target = tmp_path / path
            target.parent.mkdir(parents=True, exist_ok=True)
            split = path.rpartition("_")[2].removesuffix(".json")
            target.write_text(json.dumps(RECORDS[split]) if split in RECORDS else "index,train\n")
            check(target)
            return target

    served = Served()
    wsi.fetch(served, tmp_path, limit=limit, max_pixels=1_000)
    assert [url.rpartition("/")[2] for url in served.urls] == [
        *wsi.FILES.values(),
        "splits_0.csv",
    ]
    assert served.urls[0].startswith("https://github.com/cpystan/WSI-VQA/raw/8f708aeb74edaf3")
    (((downloader, folder, cases), named),) = asked
    assert (downloader, folder, named) == (served, tmp_path, {"max_pixels": 1_000})
    assert cases == wsi.cases(tmp_path)[:n_cases]
