"""Each fault of a server has an outcome with a name, and nothing answered is asked again."""

import hashlib
import io
import itertools
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medres import runs, texts
from medres.inference import check, replies, rung, ways
from medres.models import served
from medres.models import server as client
from tests import model_server
from tests.inference import served_study
from tests.inference.served_study import N_ROWS, answers_of
from tests.model_server import Behaviour, ModelServer

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def only_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    made = model_server.make("tiny-qwen2-vl", tmp_path_factory.mktemp("served"))
    with model_server.started(made) as running:
        yield running


@pytest.fixture
def server(only_server: ModelServer, project: Path, monkeypatch: pytest.MonkeyPatch) -> ModelServer:
    """A server without faults, and a project with the small study."""
    only_server.behaviour, only_server.seen = Behaviour(), []
    only_server.name, only_server.most_at_once = "tiny-qwen2-vl", 0
    monkeypatch.setattr(client, "FIRST_PAUSE_S", 0.01)
    served_study.store(project)
    return only_server


def name_of(server: ModelServer) -> str:
    return f"served:{server.url}#{server.name}"


def evaluate(server: ModelServer, **changes: Any) -> runs.Run:
    return served_study.evaluate(name_of(server), **changes)


@pytest.mark.parametrize(
    ("behaviour", "way", "outcome"),
    [
        ({}, "log-probabilities", {}),
        ({"cap_pixels": 3_136}, "log-probabilities", {"n_other_tokens": 7}),
        ({"as_jpeg": True}, "log-probabilities", {}),
        ({"has_image_tokens": False}, "log-probabilities", {}),
        ({"has_usage": False}, "log-probabilities", {}),
        ({"has_token_texts": False}, "log-probabilities", {}),
        ({"has_log_probabilities": False}, "choice", {}),
        ({"has_log_probabilities": False, "has_usage": False}, "choice", {}),
        ({"has_log_probabilities": False, "has_image_tokens": False}, "choice", {}),
        (
            {"has_log_probabilities": False, "has_image_tokens": False, "cap_pixels": 3_136},
            "choice",
            {"n_other_tokens": 7},
        ),
        ({"refuses": ("prompt_logprobs",), "knows": ("guided_choice",)}, "choice", {}),
        ({"refuses": ("prompt_logprobs", "structured_outputs", "guided_choice")}, "choice", {}),
        ({"refuses": ("chat_template_kwargs",)}, "log-probabilities", {}),
        ({"has_log_probabilities": False, "knows": ()}, "words", {}),
        ({"refuses": ("prompt_logprobs",), "knows": ("response_format",)}, "choice", {}),
    ],
)
def test_a_server_is_asked_in_the_surest_way_that_it_offers(
    server: ModelServer, behaviour: dict[str, Any], way: str, outcome: dict[str, int]
) -> None:
    server.behaviour = Behaviour(**behaviour)
    run = evaluate(server)
    table = answers_of(run)
    is_closed = table["options"].map(len) > 0
    assert set(table.loc[is_closed, "answered_by"]) == {way}
    assert set(table.loc[~is_closed, "answered_by"]) == {"words"}
    found = run.record["outcome"]
    counts = {name: found[name] for name in ("n_errors", "n_other_tokens") if found[name]}
    # The images of two of three are above the cap at native and blank, those of one question each.
    assert set(counts) == set(outcome)
    n_values = table.loc[is_closed, "option_log_probabilities"].map(len)
    n_options = table.loc[is_closed, "options"].map(len)
    assert (n_values == (n_options if way == "log-probabilities" else 0)).all()
    assert len(table) == N_ROWS


def test_tokens_that_are_not_reported_are_null(server: ModelServer) -> None:
    server.behaviour = Behaviour(has_log_probabilities=False, has_usage=False)
    table = answers_of(evaluate(server))
    assert table["reported_tokens"].isna().all()
    assert str(table["reported_tokens"].dtype) == "Int64"


def test_tokens_by_difference_leave_out_the_marks_around_an_image(server: ModelServer) -> None:
    server.behaviour = Behaviour(has_log_probabilities=False, has_image_tokens=False)
    table = answers_of(evaluate(server))
    assert (table["reported_tokens"] == table["visual_tokens"]).all()
    plain = Counter(each.question for each in server.seen if not each.png)
    # One request for each text, whatever the number of images and resolutions.
    assert {text: plain[text] for text in ("is it?", "what is seen?")} == {
        "is it?": 1,
        "what is seen?": 1,
    }


def test_a_text_alone_is_not_counted_again_after_a_stop(server: ModelServer) -> None:
    changes = {"answer_by": "words", "eval_resolutions": ["low", "native"], "concurrency": 1}
    server.behaviour = Behaviour(has_image_tokens=False, faults=[""] * 8 + ["400"])
    with pytest.raises(ValueError, match="fault 400"):
        evaluate(server, **changes)
    before = Counter(each.question for each in server.seen if not each.png)
    assert before["is it?"] == 1
    server.behaviour, server.seen = Behaviour(has_image_tokens=False), []
    evaluate(server, **changes)
    assert Counter(each.question for each in server.seen if not each.png)["is it?"] == 0


def test_a_run_that_is_current_needs_no_key(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_KEY", "sk-1")
    changes = {"api_key_variable": "LAB_KEY", "eval_resolutions": ["low"]}
    first = evaluate(server, **changes)
    monkeypatch.delenv("LAB_KEY")
    assert evaluate(server, **changes).digest == first.digest


def test_a_mismatch_of_tokens_is_said_at_once(
    server: ModelServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.behaviour = Behaviour(cap_pixels=3_136)
    run = evaluate(server)
    table = answers_of(run)
    # 120 x 168 px are 4 x 6 tokens of 28 px; at most 3,136 pixels leave 4.
    native = table.loc[("native", "secret1-0")]
    assert (native["visual_tokens"], native["reported_tokens"]) == (24, 2)
    said = capsys.readouterr().out
    assert said.count("tokens of the image are planned, the server reports") == 1


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        ({"last_fault": "other-tokens"}, "other tokens"),
        ({"last_fault": "no-log-probabilities"}, "no log-probabilities"),
        ({"last_fault": "no-reply", "has_log_probabilities": False}, "no reply"),
        ({"last_fault": "other-choice", "has_log_probabilities": False}, "not an option"),
        ({"forgets_image": True}, "no image"),
    ],
)
def test_a_way_that_fails_in_the_middle_is_an_error_of_its_answers(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch, behaviour: dict[str, Any], error: str
) -> None:
    real = rung.ask_rung

    async def then_fails(state: Any, name: str) -> None:
        if name == "native":
            server.behaviour = Behaviour(**behaviour)
        await real(state, name)

    monkeypatch.setattr(rung, "ask_rung", then_fails)
    server.behaviour = Behaviour(has_log_probabilities=behaviour.get("has_log_probabilities", True))
    run = evaluate(server, eval_resolutions=["low", "native"])
    table = answers_of(run)
    assert set(table.loc["low", "error"]) == {""}
    # The image of 60 x 60 px is the same at both: it is not asked again.
    failed = table.loc["native"].drop(index=["secret2-0", "secret2-1"])
    closed = failed[failed["options"].map(len) > 0]
    assert set(closed["error"]) == {error}
    assert error in ways.ERRORS
    assert set(closed["reply"]) == {""}
    assert not closed["correct"].any()
    assert closed["parsed_answer"].isna().all()
    assert run.record["outcome"]["n_errors"] >= len(closed) > 0


@pytest.mark.parametrize(
    ("faults", "reason"),
    [
        (["429"], "429"),
        (["429:0"], "429"),
        (["500", "503"], "503"),
        (["half"], "not whole"),
        (["no-json"], "not whole"),
        (["hang"], "no answer in 0.5 s"),
    ],
)
def test_what_may_be_spared_later_is_tried_again_with_its_reason(
    server: ModelServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    faults: list[str],
    reason: str,
) -> None:
    real = rung.ask_rung

    async def first_fails(state: Any, name: str) -> None:
        server.behaviour.faults = list(faults) if name == "low" else []
        await real(state, name)

    monkeypatch.setattr(rung, "ask_rung", first_fails)
    changes = {"timeout_s": 0.5} if faults == ["hang"] else {}
    run = evaluate(server, concurrency=1, eval_resolutions=["low"], **changes)
    took = pd.read_parquet(run.file("requests.parquet"))
    assert reason in took["reason"].iloc[0]
    assert set(took["reason"].iloc[1:]) == {""}
    assert took["n_attempts"].iloc[0] == took["n_requests"].iloc[0] + len(faults)
    assert (took["time_to_first_token_s"] == 0.0015).all()
    (line,) = [each for each in capsys.readouterr().out.splitlines() if "attempt 2 of 5 in" in each]
    assert line.startswith("question secret0-0 at low: ")
    assert len(answers_of(run)) == 7


def test_a_server_that_asks_to_wait_is_not_asked_before(server: ModelServer) -> None:
    server.behaviour.faults = ["", "", "", "429:1"]
    began = time.monotonic()
    evaluate(server, eval_resolutions=["low"])
    assert time.monotonic() - began > 1


def test_a_server_that_asks_for_a_long_wait_stops_the_run(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits_s = []

    async def pause(_: object, seconds: float) -> None:
        waits_s.append(seconds)

    monkeypatch.setattr(client.Server, "_pause", pause)
    server.behaviour.last_fault = "429:7200"
    with pytest.raises(ValueError, match=r"429 .*; it asks to wait 7,200 s .attempt 1"):
        evaluate(server)
    assert max(waits_s) < 10


def test_a_server_with_a_limit_of_its_own_is_asked_as_slowly_as_it_takes(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "FIRST_PAUSE_S", 0.3)
    monkeypatch.setattr(client, "LONGEST_GAP_S", 0.2)  # as slow as it takes, and not 25 times that
    server.behaviour.most_per_second = 10
    assert len(answers_of(evaluate(server, eval_resolutions=["low"]))) == 7


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("500", "500 .* fault 500 .attempt 2"),
        ("half", "not whole"),
        ("no-json", "not whole"),
        ("hang", "no answer in 0.5 s"),
        ("400", "400 .* fault 400"),
        ("413", "413 .* fault 413"),
        ("redirect", "307 .* a redirect, which is not followed"),
    ],
)
def test_a_server_that_stops_to_answer_stops_the_run_and_what_is_answered_is_kept(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch, fault: str, reason: str
) -> None:
    real = rung.ask_rung

    async def then_fails(state: Any, name: str) -> None:
        server.behaviour.last_fault = fault if name == "native" else ""
        await real(state, name)

    monkeypatch.setattr(rung, "ask_rung", then_fails)
    changes: dict[str, Any] = {"attempts": 2, "eval_resolutions": ["low", "native"]}
    changes |= {"timeout_s": 0.5} if fault == "hang" else {}
    with pytest.raises(ValueError, match=f"^question secret.-. at native: .*{reason}"):
        evaluate(server, **changes)
    monkeypatch.setattr(rung, "ask_rung", real)
    server.behaviour, server.seen = Behaviour(), []
    run = evaluate(server, **{**changes, "timeout_s": 20.0})
    low = 28 * 28  # of 3,136 pixels a low image here has at most 4 tokens
    asked = [each for each in server.seen if each.png and each.question != ways.PROBE]
    sizes = {Image.open(io.BytesIO(each.png)).size for each in asked}
    assert all(width * height > 4 * low for width, height in sizes), sizes
    assert len(answers_of(run)) == 14


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ({"names": ("qwen-a", "qwen-b")}, "has no model 'tiny-qwen2-vl'; it lists qwen-a, qwen-b"),
        ({"refuses_images": True}, "takes no images: 400 .* At most 0 image"),
        ({"forgets_image": True}, "reads no images: its prompt has as many"),
        ({"key": "right"}, "refuses: 401 .* wrong key"),
        ({"last_fault": "500"}, "does not answer: 500 .* fault 500"),
        ({"last_fault": "redirect"}, "a redirect, which is not followed"),
    ],
)
def test_a_server_that_cannot_answer_is_named_before_the_first_question(
    server: ModelServer, behaviour: dict[str, Any], message: str
) -> None:
    server.behaviour = Behaviour(**behaviour)
    with pytest.raises(ValueError, match=message) as caught:
        evaluate(server, attempts=2)
    assert "\n" not in str(caught.value)
    asked = [each[0] for each in (*served_study.CLOSED, ("what is seen?",))]
    assert not [each for each in server.seen if each.question in asked]


def test_a_server_is_found_by_the_name_of_this_machine(server: ModelServer) -> None:
    model = name_of(server).replace("127.0.0.1", "localhost")
    assert len(answers_of(served_study.evaluate(model, eval_resolutions=["low"]))) == 7
    assert {each.headers["host"].partition(":")[0] for each in server.seen} == {"localhost"}


def test_an_address_that_nobody_answers_is_said_in_one_line(project: Path) -> None:
    served_study.store(project)
    port = model_server.free_port()
    with pytest.raises(ValueError, match="does not answer: nobody answers at this address"):
        served_study.evaluate(f"served:http://127.0.0.1:{port}/v1#tiny-qwen2-vl", attempts=1)


def test_a_way_that_is_asked_for_and_not_offered_is_refused(server: ModelServer) -> None:
    server.behaviour = Behaviour(has_log_probabilities=False)
    with pytest.raises(ValueError, match="answer_by is 'log-probabilities', which this server"):
        evaluate(server, answer_by="log-probabilities")
    assert set(answers_of(evaluate(server, answer_by="words"))["answered_by"]) == {"words"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answer_by": "guess"}, "answer_by is 'guess'; use auto, log-probabilities"),
        ({"concurrency": 0}, "concurrency is 0"),
        ({"attempts": 0}, "attempts is 0"),
        ({"timeout_s": 0.0}, "timeout_s is 0.0"),
        ({"requests_per_minute": -1}, "requests_per_minute is -1"),
        ({"train_resolution": "low"}, "a served model is not trained here"),
        ({"api_key_variable": "NO_SUCH_KEY"}, "'NO_SUCH_KEY', which the environment does not"),
        ({"eval_resolutions": ["tiles-4"]}, "only the server can change"),
    ],
)
def test_impossible_parameters_are_refused_before_anything_is_sent(
    server: ModelServer, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(server, **changes)
    assert server.seen == []


def chunks_of(png: bytes) -> list[str]:
    """Return the kinds of a PNG's chunks."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    kinds, at = [], 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        kinds.append(png[at + 4 : at + 8].decode())
        at += 12 + length
    return kinds


def test_nothing_of_an_image_leaves_but_its_pixels(server: ModelServer) -> None:
    evaluate(server)
    pictures = [each for each in server.seen if each.png]
    assert pictures
    for each in pictures:
        kinds = chunks_of(each.png)
        assert [kind for kind, _ in itertools.groupby(kinds)] == ["IHDR", "IDAT", "IEND"]
        assert Image.open(io.BytesIO(each.png)).mode == "RGB"
    for each in server.seen:
        sent = repr(each.body) + repr(each.headers)
        assert "meier" not in sent
        assert "secret" not in sent
        assert "patient" not in sent
        known = "host content-length content-type accept accept-encoding connection"
        assert set(each.headers) <= set(known.split())


def test_pixels_are_sent_at_the_planned_size(server: ModelServer, project: Path) -> None:
    table = answers_of(evaluate(server, eval_resolutions=["native"]))
    sent = {
        Image.open(io.BytesIO(each.png)).size: np.asarray(Image.open(io.BytesIO(each.png)))
        for each in server.seen
        if each.png and each.question == "is it?"
    }
    planned = set(zip(table["given_width_px"], table["given_height_px"], strict=True))
    assert set(sent) == planned
    stored = np.asarray(Image.open(project / "drawn" / "patient-meier-0.png"))
    np.testing.assert_array_equal(sent[84, 56], stored)


def test_the_key_is_in_no_file_and_on_no_terminal(
    server: ModelServer,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    key = "sk-5f0c-very-secret"
    monkeypatch.setenv("LAB_KEY", f"{key}\n")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-other")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-other")
    server.behaviour = Behaviour(key=key, faults=["", "", "echo-key"])
    changes = {"api_key_variable": "LAB_KEY", "eval_resolutions": ["low"]}
    evaluate(server, **changes)
    server.behaviour.last_fault = "echo-key"
    with pytest.raises(ValueError, match="500") as caught:
        evaluate(server, attempts=1, **{**changes, "eval_resolutions": ["native"]})
    shown = capsys.readouterr()
    shown_texts = [shown.out, shown.err, str(caught.value), repr(caught.value)]
    for path in (project / "runs").rglob("*"):
        if path.is_file():
            shown_texts.append(path.read_bytes().decode("latin-1"))
    assert not [each for each in shown_texts if key in each or "sk-other" in each]
    assert {each.headers["authorization"] for each in server.seen} == {f"Bearer {key}"}


def test_proxies_of_the_environment_are_not_used(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert len(answers_of(evaluate(server))) == N_ROWS
    with pytest.raises(ValueError, match="does not answer"):
        evaluate(server, use_proxy=True, attempts=1, limit=3)


def test_a_public_address_is_not_asked(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served_study.store(project)
    monkeypatch.setattr(
        socket.socket, "connect", lambda *address: pytest.fail(f"connected to {address}")
    )
    with pytest.raises(ValueError, match=r"203.0.113.7 is 203.0.113.7, outside .* set allow_host"):
        served_study.evaluate("served:http://203.0.113.7:8000/v1#tiny-qwen2-vl")


def test_as_many_questions_are_under_way_as_the_study_says(server: ModelServer) -> None:
    server.behaviour.delay_s = 0.02
    evaluate(server, concurrency=3)
    assert server.most_at_once == 3


def test_requests_keep_to_their_rate(server: ModelServer) -> None:
    began = time.monotonic()
    evaluate(server, requests_per_minute=1_200, eval_resolutions=["low"], limit=2)
    assert time.monotonic() - began > (len(server.seen) - 1) * 0.05


def digest(run: runs.Run) -> str:
    return hashlib.sha256((run.folder / "answers.parquet").read_bytes()).hexdigest()


def test_answers_do_not_depend_on_how_many_are_asked_at_a_time(
    server: ModelServer, project: Path
) -> None:
    one = evaluate(server, concurrency=1)
    first, state = digest(one), runs.state(one.folder)
    runs.set_aside("small", one.folder, "one")
    other = evaluate(server, concurrency=6)
    assert digest(other) == first
    assert runs.state(other.folder) == state
    server.seen = []
    assert evaluate(server, concurrency=2, attempts=3).digest == one.digest
    assert server.seen == [], "a run that is current asks nothing"


def test_a_resolution_that_makes_the_same_image_is_not_asked_again(server: ModelServer) -> None:
    run = evaluate(server, eval_resolutions=["low", "native"])
    took = pd.read_parquet(run.file("requests.parquet"))
    took = took.set_index(["eval_resolution", "question_id"])
    same = took.loc[("native", "secret2-0")]
    assert (same["n_requests"], same["reason"]) == (0, "the same image as at low")
    table = answers_of(run)
    values = table["option_log_probabilities"]
    assert list(values["low", "secret2-0"]) == list(values["native", "secret2-0"])
    assert list(values["low", "secret1-0"]) != list(values["native", "secret1-0"])


def test_a_model_of_unknown_kind_has_the_tokens_that_its_server_reports(
    server: ModelServer,
) -> None:
    run = served_study.evaluate(f"{name_of(server)}@pixels", eval_resolutions=["native"])
    table = answers_of(run)
    assert (table["visual_tokens"] == table["reported_tokens"]).all()
    assert set(table["visual_tokens"]) == {6, 24, 4}
    # 60 px are no multiple of a token's 28: sent as they are.
    assert {60, 84, 120} == set(table["given_width_px"])
    assert run.record["outcome"]["n_other_tokens"] == 0


def test_times_are_kept_apart_from_answers(server: ModelServer) -> None:
    run = evaluate(server)
    assert list(run.record["files"]) == ["answers.parquet", "requests.parquet"]
    assert sorted(each.name for each in run.folder.iterdir()) == [
        "answers.parquet",
        "requests.parquet",
        "run.json",
        "spec.json",
    ]
    outcome = run.record["outcome"]
    assert list(outcome["seconds_by_resolution"]) == ["blank", "low", "native"]
    assert all(each > 0 for each in outcome["seconds_by_resolution"].values())
    took = pd.read_parquet(run.file("requests.parquet"))
    assert len(took) == 21
    # What precedes the first question is sent too, but is no question's.
    assert 0 < took["bytes_sent"].sum() < outcome["traffic"]["bytes_sent"]


def test_answers_are_not_asked_again_for_a_check(server: ModelServer) -> None:
    run = evaluate(server, eval_resolutions=["low"])
    server.seen = []
    said = check.sentence(check.recompute(run, n_questions=12))
    assert said == (
        "No answer was recomputed: the answers of a served model are not asked for again."
    )
    assert server.seen == []


@pytest.mark.parametrize(
    ("said", "least_s", "most_s"),
    [
        ("3", 3, 3),
        ("0.5", 0.5, 0.5),
        ("", 0, 0),
        ("soon", 0, 0),
        ("-3", 0, 0),
        ("nan", 0, 0),
        ("inf", 0, 0),
        ("in 100 s", 95, 101),
        (formatdate(0, usegmt=True), 0, 0),
    ],
)
def test_how_long_a_server_asks_to_wait(said: str, least_s: float, most_s: float) -> None:
    if said == "in 100 s":
        said = formatdate(time.time() + 100, usegmt=True)
    assert least_s <= client._retry_after_s({"retry-after": said}) <= most_s


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"choices": None},
        {"choices": []},
        {"choices": [None]},
        {"choices": [{"message": None}]},
        {"choices": [{"message": {"content": ["a"]}}]},
        {"choices": "no"},
    ],
)
def test_an_answer_of_any_shape_is_read_or_has_no_reply(said: dict[str, Any]) -> None:
    assert replies.words_of(said) is None


@pytest.mark.parametrize(
    ("message", "text", "reasoning"),
    [
        ({"content": " yes "}, "yes", None),
        ({"content": "yes", "reasoning_content": "since"}, "yes", "since"),
        ({"content": None, "reasoning": "since"}, "", "since"),
        ({"content": "<think>since</think>\n\nyes"}, "yes", "since"),
    ],
)
def test_reasoning_stands_apart_from_the_answer(
    message: dict[str, Any], text: str, reasoning: str | None
) -> None:
    usage = {"completion_tokens": 7, "completion_tokens_details": {"reasoning_tokens": 5}}
    said = {"choices": [{"message": message, "finish_reason": "length"}], "usage": usage}
    assert replies.words_of(said) == replies.Words(text, reasoning, 5, 7, True)


@pytest.mark.parametrize(
    "places",
    [None, [], [None], "no", [None, {}], [None, {"a": {"logprob": 0}}], [None, {"1": 0}], [1, 2]],
)
def test_prompt_tokens_that_cannot_be_read_are_none(places: Any) -> None:
    found = replies.prompt_tokens({"prompt_logprobs": places})
    # An empty place is a token of which nothing is known.
    assert found is None or found.ids == [replies.UNKNOWN] * 2


CHILD = """
import sys
from tests.inference import served_study
served_study.evaluate(sys.argv[1], concurrency=4)
"""


def test_after_kills_the_answers_are_the_same_and_none_is_asked_twice(
    server: ModelServer, project: Path
) -> None:
    whole = evaluate(server)
    wanted = digest(whole)
    runs.set_aside("small", whole.folder, "whole")
    server.seen, server.behaviour.delay_s = [], 0.03
    log = whole.folder / "answers.jsonl"
    rng = np.random.default_rng(11)
    stored: list[set[tuple[str, str]]] = []
    counts = []
    for kill in range(5):
        first = len(server.seen)
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, name_of(server)],
            cwd=REPOSITORY,
            env={**os.environ, "MEDRES_ROOT": str(project), "PYTHONPATH": str(REPOSITORY)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        n_before = log.read_bytes().count(b"\n") if log.is_file() else 0
        target = n_before + int(rng.integers(1, 4))
        until = time.monotonic() + 60
        while child.poll() is None and time.monotonic() < until:
            if log.is_file() and log.read_bytes().count(b"\n") >= target:
                break
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert log.is_file(), f"kill {kill} came after the end"
        stored.append(_stored(log))
        counts.append(first)
        while server._at_once:
            time.sleep(0.02)
    first = len(server.seen)
    run = evaluate(server)
    assert digest(run) == wanted
    # Nothing that a line of the log held when a process was killed was asked after it.
    shown = answers_of(run)
    for lines, after in zip(stored, [*counts[1:], first], strict=True):
        again = {_request(each) for each in server.seen[after:] if each.png}
        assert not again & {
            (row["question"], (row["given_width_px"], row["given_height_px"]), key[0] == "blank")
            for key in lines
            for row in [shown.loc[key]]
        }
    assert len(stored[-1]) > len(stored[0]) > 0


def test_an_interrupted_run_keeps_what_was_under_way(server: ModelServer, project: Path) -> None:
    server.behaviour.delay_s = 0.1
    log = runs.folder_of(
        "small", "evaluate", f"drawn/{texts.named(name_of(server))}/none/seed0/answers.jsonl"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, name_of(server)],
        cwd=REPOSITORY,
        env={**os.environ, "MEDRES_ROOT": str(project), "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 60
    while child.poll() is None and not log.is_file() and time.monotonic() < until:
        time.sleep(0.005)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=20)
    assert said.rstrip().endswith("KeyboardInterrupt")
    n_stored = log.read_bytes().count(b"\n")
    assert 0 < n_stored < 21
    server.behaviour, server.seen = Behaviour(), []
    assert len(answers_of(evaluate(server))) == N_ROWS


def _request(seen: model_server.Seen) -> tuple[str, tuple[int, int], bool]:
    """Return what tells a question at a resolution from all others of the small study."""
    image = Image.open(io.BytesIO(seen.png))
    lowest, highest = np.asarray(image).min(), np.asarray(image).max()
    return seen.question, image.size, bool(lowest == highest)


def _stored(log: Path) -> set[tuple[str, str]]:
    lines = [each for each in log.read_bytes().splitlines(keepends=True) if each.endswith(b"\n")]
    rows = [json.loads(each) for each in lines]
    return {(row["eval_resolution"], row["question_id"]) for row in rows}


def test_the_fingerprint_says_that_no_weights_are_known() -> None:
    said = served.fingerprint("served:http://127.0.0.1:8000/v1#a/b")
    assert said == "a/b of http://127.0.0.1:8000/v1, by the word of its server"
