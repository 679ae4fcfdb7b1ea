from typing import Any

import pandas as pd
import pytest

from medres.results import servers


def rows(*changes: dict[str, Any]) -> pd.DataFrame:
    usual = {
        "eval_resolution": "low",
        "options": ["yes", "no"],
        "answered_by": "choice",
        "visual_tokens": 4,
        "reported_tokens": 4,
        "error": "",
    }
    table = pd.DataFrame([{**usual, **each} for each in changes])
    table["reported_tokens"] = table["reported_tokens"].astype("Int64")
    return table.assign(source_resolution=table["eval_resolution"])


def test_planned_and_reported_tokens_stand_side_by_side() -> None:
    table = rows(
        {},
        {"reported_tokens": None, "error": "no reply"},
        {"eval_resolution": "native", "visual_tokens": 30, "reported_tokens": 12},
        {"eval_resolution": "native", "visual_tokens": 20, "reported_tokens": 20},
    )
    mixed = table.iloc[[2]].assign(eval_resolution="mixed", source_resolution="native")
    found = servers.tokens(pd.concat([table, mixed])).to_numpy().tolist()
    assert found == [["low", 2, 4.0, 4.0, 1, 0, 1], ["native", 2, 25.0, 16.0, 0, 1, 0]]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([{}], "A server answered closed questions by choice (1)."),
        ([{"options": [], "answered_by": "words"}], ""),
        (
            [{"error": "no reply", "reported_tokens": None}],
            "A server answered closed questions by choice (1). 1 of 1 answers lack reported "
            "visual tokens. Answers that failed and count as wrong: no reply (1).",
        ),
    ],
)
def test_what_a_server_did_is_said(changes: list[dict[str, Any]], said: str) -> None:
    assert servers.describe(rows(*changes)) == said


def test_a_mismatch_of_tokens_is_a_warning_of_its_own() -> None:
    assert servers.mismatch(rows({}, {"reported_tokens": None})) == ""
    table = rows({"reported_tokens": 2, "eval_resolution": "native"}, {})
    assert servers.mismatch(table) == (
        "**The server did not see what was sent**: for 1 of 2 answers it reports other visual "
        "tokens than planned (native), so these resolutions are not what their names say. "
    )


def test_of_models_of_this_machine_nothing_is_said() -> None:
    local = rows({}).drop(columns=["answered_by", "reported_tokens", "error"])
    assert servers.describe(local) == servers.mismatch(local) == ""
    assert servers.sent("tiny-llava", {"seconds": 1.0}) == ""
    both = pd.concat([local, rows({})], ignore_index=True)
    assert len(servers.asked(both)) == 1


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("http://127.0.0.1:8000/v1", "this machine"),
        ("http://localhost/v1", "this machine"),
        ("http://[::1]:80/v1", "this machine"),
        ("https://gpu.lab.org/v1", "gpu.lab.org"),
        ("http://10.0.0.7:30000", "10.0.0.7"),
    ],
)
def test_what_left_the_machine_is_said_with_its_size(url: str, where: str) -> None:
    outcome = {"traffic": {"bytes_sent": 1_234_567, "n_requests": 1_000}}
    assert servers.sent(f"served:{url}#a@pixels", outcome) == (
        f"Pixels, questions and options were sent to a server of {where}: 1.2 MB in 1,000 "
        "requests, without file names, ids or reference answers."
    )
