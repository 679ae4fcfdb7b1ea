"""A served judge reads stored open answers: what it is asked, what is kept, what is never sent."""

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from starlette.responses import JSONResponse
from starlette.routing import Route

from medres import runs, scoring
from medres import study as studies
from medres.inference import judge
from medres.models.server import Settings
from tests import model_server

ROWS = [  # question, reference, reply, what the server says
    ("How many?", "4", "four", "yes"),
    ("How many?", "4", "many", "No."),
    ("Which side?", "left", "right", "no, the other side"),
    ("Which side?", "left", "left side", "Yes"),
    ("Which side?", "left", 'the "left"', "perhaps"),
    ("Which side?", "left", " ", "never asked"),
]
SETTINGS = Settings(concurrency=2, timeout_s=20.0, attempts=2)


class Judge(model_server.ModelServer):
    """Says of each reply what `ROWS` has; knows neither image nor model."""

    said: ClassVar[dict[str, str]] = {reply: said for _, _, reply, said in ROWS}
    release = "9.9"

    def answer(self, body: dict[str, Any], png: bytes) -> dict[str, Any]:
        text = body["messages"][0]["content"][0]["text"]
        line = next(each for each in text.splitlines() if each.startswith("Reply: "))
        said = self.said[json.loads(line.removeprefix("Reply: "))]
        message = {"role": "assistant", "content": said}
        return {"model": "judge-7b", "system_fingerprint": "fp1", "choices": [{"message": message}]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    plain = model_server.make("tiny-qwen2-vl", tmp_path_factory.mktemp("judge"))
    found = Judge(plain.model, "judge")

    async def version(request):
        return JSONResponse({"version": found.release})

    found.app.routes.append(Route("/version", version))
    with model_server.started(found) as running:
        yield running


@pytest.fixture
def asked(project: Path, server: Judge) -> str:
    """The name of the served judge; a study whose answers are `ROWS`, each at two resolutions."""
    folder = project / "params" / "small"
    folder.mkdir()
    (folder / "study.yaml").write_text(
        "title: Small\nmodels: [tiny-qwen2-vl]\nfinetune: {}\nseeds: [0]\n"
        "train_resolutions: [none]\ndatasets: {drawn: {}}\nreports: [06_zero_shot]\n"
    )
    store(ROWS)
    server.seen.clear()
    server.behaviour = model_server.Behaviour()
    return f"served:{server.url}#judge"


def store(rows: list[tuple[str, str, str, str]], *, salt: str = "") -> Path:
    """Store rows as the answers of the study's only cell; return their file."""
    table = pd.DataFrame([row[:3] for row in rows], columns=judge.ASKED)
    number = [str(each) for each in range(len(table))]
    table = table.assign(question_id=number, group=number, options=[[]] * len(table))
    closed = table.head(1).assign(question_id="c", options=[["yes", "no"]], reference="no")
    table = pd.concat([table.assign(eval_resolution=name) for name in ("low", "native")] + [closed])
    table["options"] = [np.array(each, dtype=object) for each in table["options"]]
    (cell,) = studies.load("small").cells("evaluate")
    run = runs.start("small", "evaluate", cell.path, parameters={}, inputs={"salt": salt})
    path = run.folder / "answers.parquet"
    scoring.score_table(table).to_parquet(path, index=False)
    run.finish(files=["answers.parquet"])
    return path


def test_each_different_answer_is_judged_once_and_the_answers_stay(
    asked: str, server: Judge, project: Path
) -> None:
    path = project / "runs/small/evaluate/drawn/tiny-qwen2-vl/none/seed0/answers.parquet"
    before = path.read_bytes()
    run = judge.judge(studies.load("small"), asked, SETTINGS)
    found = pd.read_parquet(run.file(judge.FILE)).set_index("reply")
    assert found["verdict"].fillna("neither").to_dict() == {
        "four": "right",
        "many": "wrong",
        "right": "wrong",
        "left side": "right",
        'the "left"': "neither",
        " ": "wrong",
    }
    assert len(server.seen) == 5  # neither the blank one nor the second resolution
    assert path.read_bytes() == before
    row = found.loc["four"]
    assert (row["said"], row["model"], row["fingerprint"]) == ("yes", "judge-7b", "fp1")
    assert (row["server"], row["prompt"]) == ("9.9", judge.VERSION)
    made = run.record["outcome"]
    assert (made["prompt"], made["servers"], made["models"]) == (
        judge.PROMPT,
        ["9.9"],
        ["judge-7b"],
    )
    assert (made["n_replies"], made["n_without_verdict"]) == (6, 1)
    assert run.record["spec"]["parameters"]["model"] == asked


def test_question_reference_and_reply_are_sent_and_nothing_else(asked: str, server: Judge) -> None:
    judge.judge(studies.load("small"), asked, SETTINGS)
    for seen in server.seen:
        assert not seen.png
        assert set(seen.body) == {"model", "messages", "temperature", "max_tokens"}
        (message,) = seen.body["messages"]
        (part,) = message["content"]
        texts = [row[:3] for row in ROWS if f"Reply: {json.dumps(row[2])}\n" in part["text"]]
        ((question, reference, reply),) = texts
        wanted = {"question": question, "reference": reference, "reply": reply}
        quoted = {name: json.dumps(text) for name, text in wanted.items()}
        assert part["text"] == judge.PROMPT.format(**quoted)


def test_what_was_judged_is_not_asked_again(asked: str, server: Judge) -> None:
    design = studies.load("small")
    first = judge.judge(design, asked, SETTINGS)
    n_asked = len(server.seen)
    assert judge.judge(design, asked, SETTINGS).digest == first.digest
    assert len(server.seen) == n_asked
    server.said = {**server.said, "five": "no"}
    store([*ROWS, ("How many?", "4", "five", "no")], salt="more answers")
    second = judge.judge(design, asked, SETTINGS)
    assert second.digest != first.digest
    assert len(server.seen) == n_asked + 1
    assert len(pd.read_parquet(second.file(judge.FILE))) == 7


def test_after_a_failure_the_same_command_goes_on(asked: str, server: Judge) -> None:
    server.behaviour.faults = ["", "", "400"]
    with pytest.raises(ValueError, match="what was judged is kept, the same command goes on"):
        judge.judge(studies.load("small"), asked, Settings(concurrency=1))
    assert len(server.seen) == 3
    judge.judge(studies.load("small"), asked, Settings(concurrency=1))
    assert len(server.seen) == 3 + 3


def test_a_line_torn_by_a_kill_is_asked_for_again(asked: str, server: Judge) -> None:
    run = judge.judge(studies.load("small"), asked, SETTINGS)
    log = run.folder.with_name(f"{run.folder.name}.jsonl")
    log.write_bytes(log.read_bytes()[:-10])
    (run.folder / judge.FILE).unlink()
    n_asked = len(server.seen)
    judge.judge(studies.load("small"), asked, SETTINGS)
    assert len(server.seen) == n_asked + 1


def test_the_command_prints_how_the_rules_agree(
    asked: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert judge.main(["small", asked, "--attempts", "2"]) == 0
    said = capsys.readouterr().out
    assert (
        "6 different open answers, judged by judge-7b, 9.9 with prompt 1: 2 right, 3 wrong, 1"
        in said
    )
    assert "| names | 100 % " in said
    # By strict "four" and "left side" are wrong.
    assert "| strict | 60 % " in said
    assert "stored in runs/small/judge/served-judge-" in said


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("served:http://127.0.0.1:1/v1#judge", "does not answer"),
        ("served:http://8.8.8.8/v1#judge", "set allow_host to 8.8.8.8"),
        ("tiny-qwen2-vl", "is not served"),
    ],
)
def test_a_judge_out_of_reach_is_said_in_one_line(
    model: str, said: str, asked: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert judge.main(["small", model, "--attempts", "1"]) == 1
    captured = capsys.readouterr().err
    assert said in captured
    assert captured.count("\n") == 1


def test_another_name_than_the_server_has_is_refused(asked: str) -> None:
    with pytest.raises(ValueError, match="has no model 'other'; it lists judge"):
        judge.judge(studies.load("small"), asked.replace("#judge", "#other"), SETTINGS)


def test_a_study_without_open_questions_has_nothing_to_judge(asked: str) -> None:
    table = pd.DataFrame(
        {"question_id": ["a"], "question": "Is it?", "reference": "no", "reply": "no", "group": "g"}
    ).assign(eval_resolution="low", options=[["yes", "no"]])
    (cell,) = studies.load("small").cells("evaluate")
    run = runs.start("small", "evaluate", cell.path, parameters={}, inputs={"salt": "closed"})
    scoring.score_table(table).to_parquet(run.folder / "answers.parquet", index=False)
    run.finish(files=["answers.parquet"])
    with pytest.raises(ValueError, match="no open questions"):
        judge.judge(studies.load("small"), asked, SETTINGS)
