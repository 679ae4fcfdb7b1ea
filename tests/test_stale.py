"""After any change exactly what it reaches is made again; nothing damaged is used."""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml
from PIL import Image

from medres import datasets, files, marks, runs, thin
from medres import study as studies
from medres.datasets import preparation
from medres.report import current, render
from medres.results import grids
from medres.training import checkpoints
from tests import tiny_study
from tests.tiny_study import Made, change_params

REPOSITORY = Path(__file__).resolve().parent.parent
TRAINED = ("low", "native")
ALL = ("none", *TRAINED)
CELL = "mine/tiny-qwen2-vl/{}/seed0"
QUESTIONS = {"questions/mine"}
FINETUNE = {f"finetune/{CELL.format(name)}" for name in TRAINED}
EVALUATE = {f"evaluate/{CELL.format(name)}" for name in ALL}
EVALUATE_TRAINED = {f"evaluate/{CELL.format(name)}" for name in TRAINED}
FINETUNED = {f"02_finetune-mine-tiny-qwen2-vl-{name}-seed0" for name in TRAINED}
EVALUATED = {f"03_evaluate-mine-tiny-qwen2-vl-{name}-seed0" for name in ALL}
EVALUATED_NONE = {"03_evaluate-mine-tiny-qwen2-vl-none-seed0"}
COMPARING = {"04_native_vs_low", "05_alignment", "12_findings"}
INDEX = {"index"}
PAGES = FINETUNED | EVALUATED | COMPARING | {"11_published_audit"} | INDEX
READING = PAGES - {"11_published_audit"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study, not to be changed."""
    root = tmp_path_factory.mktemp("stale") / "project"
    for name in ("notebooks", "params"):
        shutil.copytree(REPOSITORY / name, root / name)
    with pytest.MonkeyPatch.context() as patch:
        _here(patch, root)
        tiny_study.write(root)
        made = tiny_study.make()
        assert made == Made(QUESTIONS | FINETUNE | EVALUATE, PAGES)
        assert tiny_study.make() == Made()
    return root


def _here(patch: pytest.MonkeyPatch, root: Path) -> None:
    patch.setattr(runs, "ROOT", root)
    patch.setenv("MEDRES_ROOT", str(root))
    patch.setattr(render, "_execute", tiny_study.in_this_process)


@pytest.fixture
def project(finished: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The finished study, as it is; whoever changes it puts it back by making it again."""
    _here(monkeypatch, finished)
    return finished


def _image(project: Path) -> Path:
    return project / "data" / "8.png"


def nothing(project: Path) -> None:
    pass


def touch_an_image(project: Path) -> None:
    _image(project).touch()


def write_the_same_image(project: Path) -> None:
    _image(project).write_bytes(_image(project).read_bytes())


def replace_an_image_by_an_older_one(project: Path) -> None:
    status = _image(project).stat()
    with Image.open(_image(project)) as image:
        other = image.rotate(90)
    other.save(project / "new.png")
    os.utime(project / "new.png", ns=(1, status.st_mtime_ns - 10**15))
    (project / "new.png").rename(_image(project))


def replace_a_pixel_and_keep_size_and_time(project: Path) -> None:
    path, status = project / "data" / "9.png", (project / "data" / "9.png").stat()
    with Image.open(path) as image:
        image.load()
    image.putpixel((3, 3), (1, 2, 3))
    image.save(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replace_the_table_by_an_older_one(project: Path) -> None:
    path = project / "data" / "questions.csv"
    text = path.read_text()
    other = project / "other.csv"
    other.write_text(text.replace("is it odd?", "is it uneven?"))
    os.utime(other, ns=(1, 1))
    other.rename(path)


def end_the_lines_of_the_table_otherwise(project: Path) -> None:
    path = project / "data" / "questions.csv"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))


def write_the_same_table(project: Path) -> None:
    path = project / "data" / "questions.csv"
    path.write_bytes(path.read_bytes())


def add_a_file_beside_the_images(project: Path) -> None:
    (project / "data" / "notes.txt").write_text("seen")


def change_a_parameter_of_05(project: Path) -> None:
    change_params(project, "05_alignment", margin=0.03)


def change_a_parameter_of_12(project: Path) -> None:
    change_params(project, "12_findings", margin=0.04)


def change_how_trainings_run(project: Path) -> None:
    change_params(project, "02_finetune", keep_checkpoints=3)


def change_what_trainings_are(project: Path) -> None:
    change_params(project, "02_finetune", learning_rate=0.002)


def change_what_trainings_are_while_the_clock_is_slow(project: Path) -> None:
    path = change_params(project, "02_finetune", learning_rate=0.003)
    two_days_ns = 2 * 24 * 3600 * 10**9
    os.utime(path, ns=(1, path.stat().st_mtime_ns - two_days_ns))


def change_what_evaluations_are(project: Path) -> None:
    change_params(project, "03_evaluate", limit=5)


def change_how_evaluations_run(project: Path) -> None:
    change_params(project, "03_evaluate", check_questions=2)


def change_the_title(project: Path) -> None:
    change_params(project, "study", title="Smaller")


def change_the_data_set_s_parameters(project: Path) -> None:
    change_params(
        project, "study", datasets={"mine": {"table": "data/questions.csv", "data_seed": 1}}
    )


def edit_a_notebook(project: Path) -> None:
    path = project / "notebooks" / "04_native_vs_low.ipynb"
    path.write_text(path.read_text().replace("design = ", "# said\\ndesign = ", 1))


def delete(name: str) -> Callable[[Path], None]:
    def change(project: Path) -> None:
        path = project / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    change.__name__ = f"delete {name}"
    return change


def edit_a_page_by_hand(project: Path) -> None:
    path = project / "reports" / "small" / "05_alignment.html"
    path.write_text(path.read_text() + "<p>mine</p>")


def edit_a_table_by_hand(project: Path) -> None:
    path = project / "reports" / "small" / "tables" / "grid.csv"
    path.write_text(path.read_text().replace("0", "1"))


REPORT, RUN = "reports/small", "runs/small"
NONE = f"evaluate/{CELL.format('none')}"
CHANGES: list[tuple[Callable[[Path], None], Made]] = [
    (nothing, Made()),
    (touch_an_image, Made()),
    (write_the_same_image, Made()),
    (write_the_same_table, Made()),
    (add_a_file_beside_the_images, Made()),
    (replace_an_image_by_an_older_one, Made(QUESTIONS | FINETUNE | EVALUATE, READING)),
    (replace_a_pixel_and_keep_size_and_time, Made(QUESTIONS | FINETUNE | EVALUATE, READING)),
    (replace_the_table_by_an_older_one, Made(QUESTIONS | FINETUNE | EVALUATE, READING)),
    (end_the_lines_of_the_table_otherwise, Made(QUESTIONS, READING)),
    (change_a_parameter_of_05, Made(set(), {"05_alignment"})),
    # Its table has the same bytes all the same, so that the index, which reads it, is current.
    (change_a_parameter_of_12, Made(set(), {"12_findings"})),
    (change_how_trainings_run, Made(set(), FINETUNED)),
    (change_what_trainings_are, Made(FINETUNE | EVALUATE_TRAINED, READING - EVALUATED_NONE)),
    (
        change_what_trainings_are_while_the_clock_is_slow,
        Made(FINETUNE | EVALUATE_TRAINED, READING - EVALUATED_NONE),
    ),
    (change_what_evaluations_are, Made(EVALUATE, READING - FINETUNED)),
    (change_how_evaluations_run, Made(set(), EVALUATED)),
    (change_the_title, Made(set(), PAGES)),
    (change_the_data_set_s_parameters, Made(QUESTIONS, READING)),
    (edit_a_notebook, Made(set(), {"04_native_vs_low"})),
    (delete(f"{REPORT}/05_alignment.html"), Made(set(), {"05_alignment"})),
    (delete(f"{REPORT}/figures/grid.png"), Made(set(), {"05_alignment"})),
    (delete(f"{REPORT}/figures/grid.svg"), Made(set(), {"05_alignment"})),
    (delete(f"{REPORT}/tables/grid.csv"), Made(set(), {"05_alignment"})),
    (delete(f"{REPORT}/tables/runs.csv"), Made(set(), INDEX)),
    (delete(f"{REPORT}/index.html"), Made(set(), INDEX)),
    (delete(f"{REPORT}/{min(EVALUATED_NONE)}.html"), Made(set(), EVALUATED_NONE)),
    (delete(f"{REPORT}/tables"), Made(set(), PAGES)),
    (delete(f"{RUN}/marks/pages/12_findings.json"), Made(set(), {"12_findings"})),
    (delete(f"{RUN}/marks/questions/mine.json"), Made()),
    (delete(f"{RUN}/hashes"), Made()),
    (delete(f"{RUN}/{NONE}"), Made({NONE}, EVALUATED_NONE | INDEX)),
    (delete(f"{RUN}/{NONE}/answers.parquet"), Made({NONE}, EVALUATED_NONE | INDEX)),
    (edit_a_page_by_hand, Made(set(), {"05_alignment"})),
    (edit_a_table_by_hand, Made(set(), {"05_alignment"})),
]


@pytest.mark.parametrize(
    ("change", "expected"), CHANGES, ids=lambda each: getattr(each, "__name__", "")
)
def test_a_change_makes_exactly_what_it_reaches(
    project: Path, change: Callable[[Path], None], expected: Made
) -> None:
    assert tiny_study.make() == Made()
    change(project)
    found = tiny_study.make()
    assert found.runs == expected.runs
    # Seconds of the runs stand in the index's table: made again, they may be others or not.
    free = INDEX if found.runs == {NONE} else set()
    assert found.pages - free == expected.pages - free
    assert tiny_study.make() == Made()


@pytest.mark.parametrize(
    "name", ["statistics/comparison.py", "report/template/style.css", "published/accuracy.csv"]
)
def test_any_source_of_the_package_makes_all_pages_and_no_run(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    package = tmp_path / "medres"
    shutil.copytree(files.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(files, "PACKAGE", package)
    files.package_sha256.cache_clear()
    assert current.plan(studies.load(tiny_study.NAME)).stale == {}
    with (package / name).open("a") as file:
        file.write("\n")
    files.package_sha256.cache_clear()
    stale = current.plan(studies.load(tiny_study.NAME)).stale
    assert set(stale) == {("pages", stem) for stem in PAGES}
    assert {reasons[0] for reasons in stale.values()} == {current.PACKAGE}
    files.package_sha256.cache_clear()


def test_an_added_seed_makes_its_cells_and_the_reports(project: Path) -> None:
    path = change_params(project, "study", seeds=[0, 1])
    stale = current.plan(studies.load(tiny_study.NAME)).stale
    change_params(project, "study", seeds=[0])
    assert path.is_file()
    new = {
        ("pages", stem.replace("seed0", "seed1")) for stem in FINETUNED | EVALUATED - EVALUATED_NONE
    }
    old = {("pages", stem) for stem in {*COMPARING, "11_published_audit"} | INDEX}
    assert set(stale) == new | old
    assert current.plan(studies.load(tiny_study.NAME)).stale == {}


def test_an_added_model_has_the_questions_checked_and_makes_no_other_run(project: Path) -> None:
    change_params(project, "study", models=["tiny-qwen2-vl", "tiny-internvl"])
    study = studies.load(tiny_study.NAME)
    stale = current.plan(study).stale
    before = tiny_study.records()
    parameters = study.datasets["mine"]
    datasets.prepare(study.name, "mine", parameters, models=datasets.asked_of(study, "mine"))
    after = current.plan(study).stale
    change_params(project, "study", models=["tiny-qwen2-vl"])
    new = {("pages", stem.replace("qwen2-vl", "internvl")) for stem in FINETUNED | EVALUATED}
    reports = {("pages", stem) for stem in {*COMPARING, "11_published_audit"} | INDEX}
    assert set(stale) == new | reports | {("questions", "mine")}
    assert set(after) == new | reports
    assert tiny_study.records() == before
    assert tiny_study.make() == Made()


ALONE = """
import sys
from medres import study as studies
from medres.report import render
from tests import tiny_study

render._execute = tiny_study.in_this_process
for stem in sys.argv[1:]:
    render.make(studies.load(tiny_study.NAME), stem)
print(sorted({"torch", "transformers", "sympy"} & set(sys.modules)))
"""


def test_reports_of_finished_runs_import_neither_torch_nor_transformers(project: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ALONE, *tiny_study.REPORTS, current.INDEX],
        cwd=REPOSITORY,
        env=os.environ | {"MEDRES_ROOT": str(project)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert tiny_study.make() == Made()


KINDS = {
    "record": [f"{stage}/**/run.json" for stage in ("questions", "finetune", "evaluate")],
    "answers": ["evaluate/**/answers.parquet"],
    "questions": ["questions/*/*.parquet"],
    "training": ["finetune/**/loss.csv", "finetune/**/resolutions.csv"],
    "checkpoint": ["finetune/**/checkpoint/*"],
}


def _flip(path: Path, rng: random.Random) -> bytes:
    """Flip one bit of a file and return what it was."""
    content = path.read_bytes()
    changed = bytearray(content)
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    path.write_bytes(bytes(changed))
    return content


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_of_a_run_is_named_and_never_read(project: Path, kind: str) -> None:
    rng = random.Random(kind)
    folder = project / "runs" / tiny_study.NAME
    found = sorted(
        path for pattern in KINDS[kind] for path in folder.glob(pattern) if path.is_file()
    )
    study = studies.load(tiny_study.NAME)
    for _ in range(40):
        path = rng.choice(found)
        status, content = path.stat(), _flip(path, rng)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        plan = current.plan(study)
        run = next(each for each in path.parents if (each / "run.json").exists())
        with pytest.raises(ValueError, match=r"is damaged.*REPAIR=1"):
            runs.checked(run, str(path.relative_to(run)))
        path.write_bytes(content)
        assert plan.damaged == [path]
        assert not plan.stale
    assert tiny_study.make() == Made()


def test_a_flipped_bit_of_a_page_a_table_or_a_figure_is_written_again(project: Path) -> None:
    rng = random.Random(1)
    study = studies.load(tiny_study.NAME)
    found = files.files_below(project / "reports" / tiny_study.NAME)
    for _ in range(50):
        path = rng.choice(found)
        content = _flip(path, rng)
        stale = current.plan(study).stale
        path.write_bytes(content)
        said = f"{path.relative_to(project)} is not what was written"
        assert any(said in reasons for reasons in stale.values())
    assert tiny_study.make() == Made()


def test_a_flipped_bit_of_a_mark_or_of_remembered_digests_hides_nothing(project: Path) -> None:
    rng = random.Random(2)
    study = studies.load(tiny_study.NAME)
    image = project / "data" / "7.png"
    content = image.read_bytes()
    folder = project / "runs" / tiny_study.NAME
    found = [*(folder / "marks").rglob("*.json"), *(folder / "hashes").rglob("*.json")]
    for _ in range(50):
        path = rng.choice(sorted(found))
        before = _flip(path, rng)
        image.write_bytes(content + b"\n")
        stale = current.plan(study).stale
        assert ("questions", "mine") in stale
        image.write_bytes(content)
        path.write_bytes(before)
    assert tiny_study.make() == Made()


def test_a_flipped_bit_of_a_tiny_model_is_named(project: Path) -> None:
    rng = random.Random(3)
    folder = project / "runs" / "models" / "tiny-qwen2-vl"
    from medres import models

    for _ in range(20):
        path = rng.choice([each for each in sorted(folder.iterdir()) if each.is_file()])
        content = _flip(path, rng)
        with pytest.raises(ValueError, match=r"is damaged|is not valid JSON|holds a "):
            models.fingerprint("tiny-qwen2-vl", revision="")
        path.write_bytes(content)


def test_a_damaged_run_is_made_again_only_when_that_is_asked_for(project: Path) -> None:
    before = tiny_study.records()
    answers = project / "runs" / tiny_study.NAME / NONE / "answers.parquet"
    content = _flip(answers, random.Random(4))
    study = studies.load(tiny_study.NAME)
    assert current.plan(study).damaged == [answers]
    with pytest.raises(ValueError, match=r"answers.parquet is damaged.*REPAIR=1"):
        grids.answers(study)
    made = tiny_study.make(repair=True)
    assert made.runs == {NONE}
    assert answers.read_bytes() == content
    assert tiny_study.records().keys() == before.keys()
    aside = project / "runs" / tiny_study.NAME / "superseded"
    assert (aside / f"damaged-{NONE.replace('/', '-')}" / "answers.parquet").is_file()
    assert tiny_study.make() == Made()


@pytest.mark.parametrize("content", ["{}", "17", '{"digest": ', "[]", '{"digest": "x"}', ""])
def test_a_record_that_is_none_is_named_in_one_line(project: Path, content: str) -> None:
    path = project / "runs" / tiny_study.NAME / NONE / "run.json"
    before = path.read_text()
    path.write_text(content)
    plan = current.plan(studies.load(tiny_study.NAME))
    with pytest.raises(ValueError, match=r"run.json is damaged: .*REPAIR=1. makes it again$"):
        runs.read(path.parent)
    path.write_text(before)
    assert plan.damaged == [path]


def test_records_of_before_digests_stay_current_and_get_them(project: Path) -> None:
    folder = project / "runs" / tiny_study.NAME
    for path in folder.rglob("run.json"):
        if "superseded" in path.parts:
            continue
        record = runs.read(path.parent)
        names = {name.partition("/")[0] for name in record["files"]}
        runs.write_json(path, {**record, "files": sorted(names)})
        assert runs.is_whole(path.parent)
    plan = current.plan(studies.load(tiny_study.NAME))
    assert (plan.adopted, plan.damaged, plan.stale) == (6, [], {})


def test_a_table_that_is_edited_while_it_is_prepared_is_prepared_again(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medres.datasets import image_facts

    table = project / "data" / "questions.csv"
    content, real = table.read_bytes(), image_facts.gather

    def edited_meanwhile(*arguments: object) -> pd.DataFrame:
        table.write_bytes(content.replace(b"is it", b"was it"))
        return real(*arguments)

    change_params(
        project, "study", datasets={"mine": {"table": "data/questions.csv", "data_seed": 5}}
    )
    with monkeypatch.context() as patch:
        patch.setattr(image_facts, "gather", edited_meanwhile)
        tiny_study.make()
    stored = runs.ROOT / "runs" / tiny_study.NAME / "questions" / "mine" / "questions.parquet"
    assert not pd.read_parquet(stored)["question"].str.contains("was it").any()
    stale = current.plan(studies.load(tiny_study.NAME)).stale
    assert stale["questions", "mine"] == ["data/questions.csv changed"]
    table.write_bytes(content)
    assert tiny_study.make() == Made()


def test_an_image_that_changes_while_it_is_prepared_stops_the_preparation(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medres import datasets
    from medres.datasets import image_facts

    image, real = project / "data" / "6.png", image_facts.gather
    content = image.read_bytes()

    def replaced_meanwhile(*arguments: object) -> pd.DataFrame:
        image.write_bytes(content + b"\n")
        return real(*arguments)

    parameters = {"table": "data/questions.csv", "data_seed": 9}
    monkeypatch.setattr(image_facts, "gather", replaced_meanwhile)
    with pytest.raises(ValueError, match=r"6.png changed while its data set was prepared"):
        datasets.prepare("other", "mine", parameters)
    image.write_bytes(content)
    assert not (project / "runs" / "other" / "questions" / "mine" / "run.json").exists()


def test_a_link_to_the_data_that_leads_elsewhere_is_noticed(project: Path) -> None:
    from medres import datasets

    shutil.copytree(project / "data", project / "data-b")
    table = project / "data-b" / "questions.csv"
    table.write_bytes(table.read_bytes().replace(b"yes", b"no"))
    link = project / "linked"
    link.symlink_to("data")
    parameters = {"table": "linked/questions.csv"}
    first = datasets.prepare("linked", "mine", parameters)
    mark = marks.read(marks.path_of("linked", "questions", "mine"))
    seen = marks.remembered("linked", "questions-mine")
    asked = preparation.decides("mine", parameters, {})
    assert list(marks.differences(mark, asked, read=seen, made=seen)) == []
    link.unlink()
    link.symlink_to("data-b")
    assert list(marks.differences(mark, asked, read=seen, made=seen)) == [
        "linked/questions.csv changed"
    ]
    assert datasets.prepare("linked", "mine", parameters).digest != first.digest


def test_the_index_lists_the_tables_that_the_reports_made(project: Path) -> None:
    html = (project / "reports" / tiny_study.NAME / "index.html").read_text()
    for name in ("grid", "findings", "audit_cells", "runs"):
        assert f'href="tables/{name}.csv"' in html
    assert "evaluate-mine" not in html.partition("tables/grid.csv")[2].partition("</p>")[0]


def test_a_dry_run_changes_nothing(project: Path) -> None:
    answers = project / "runs" / tiny_study.NAME / NONE / "answers.parquet"
    content = _flip(answers, random.Random(6))
    page = project / "reports" / tiny_study.NAME / "12_findings.html"
    before = page.read_bytes()
    page.unlink()
    asked = current.asked_for(tiny_study.NAME, "pages", "12_findings")
    assert asked.is_file()
    found = current.look(studies.load(tiny_study.NAME))
    assert found.damaged == [answers]
    assert ("pages", "12_findings") in found.stale
    assert asked.is_file()
    answers.write_bytes(content)
    page.write_bytes(before)
    assert tiny_study.make() == Made()


def test_one_look_reads_the_record_of_a_run_as_often_whatever_names_it(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    record_of = runs.record_of
    monkeypatch.setattr(runs, "record_of", lambda folder: read.append(folder) or record_of(folder))
    assert not current.look(studies.load(tiny_study.NAME)).stale
    assert {read.count(folder) for folder in read} == {2}


def test_what_was_put_aside_before_is_kept(project: Path) -> None:
    aside = []
    for number in range(2):
        folder = project / "runs" / "kept" / "x"
        folder.mkdir(parents=True)
        (folder / "what").write_text(str(number))
        aside.append(runs.set_aside("kept", folder, "damaged-x"))
    assert [(path / "what").read_text() for path in aside] == ["0", "1"]


def test_checkpoints_with_a_flipped_bit_are_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    rng = random.Random(5)
    layout = {"strategy": "single", "n_processes": 1}
    for step in (2, 4):
        folder = tmp_path / f"checkpoint-{step}"
        (folder / "global_step").mkdir(parents=True)
        for name in ("model.safetensors", "optimizer.pt", "global_step/rank0.pt"):
            (folder / name).write_bytes(rng.randbytes(3000))
        (folder / "trainer_state.json").write_text('{"global_step": 4}')
        checkpoints.mark(folder, layout=layout, seconds=1.5)
    assert checkpoints.last(tmp_path, layout=layout) == (tmp_path / "checkpoint-4", 1.5)
    found = files.files_below(tmp_path / "checkpoint-4")
    for number in range(60):
        path = found[number % len(found)]
        content = _flip(path, rng)
        assert checkpoints.last(tmp_path, layout=layout) == (tmp_path / "checkpoint-2", 1.5)
        assert "resumes from the one before it" in capsys.readouterr().out
        path.write_bytes(content[: len(content) // 2])
        assert checkpoints.last(tmp_path, layout=layout) == (tmp_path / "checkpoint-2", 1.5)
        path.write_bytes(content)
    assert checkpoints.last(tmp_path, layout=layout) == (tmp_path / "checkpoint-4", 1.5)


def test_the_study_file_is_as_before(project: Path) -> None:
    # The changes above go through it; a rest of one would hide what the next one does.
    assert yaml.safe_load((project / "params" / "small" / "study.yaml").read_text())["seeds"] == [0]


def test_a_thinned_study_is_current(project: Path) -> None:
    folder = project / "runs" / tiny_study.NAME
    trained = next((folder / "finetune").rglob("run.json")).parent
    shutil.copytree(trained, folder / "superseded" / "finetune-0")
    shutil.copytree(trained / "checkpoint", trained / "resume" / "checkpoint-1")
    assert thin.main([tiny_study.NAME, "--yes"]) == 0
    assert not (trained / "resume").exists()
    assert not list((folder / "notebooks").glob("*.ipynb"))
    assert current.look(studies.load(tiny_study.NAME)).stale == {}
    assert tiny_study.make() == Made()
