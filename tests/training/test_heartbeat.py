"""Signs of life: who is missed, and who is not."""

import os
import queue
import socket
import threading
from pathlib import Path

import pytest

from medres.training import heartbeat


def test_who_gives_no_sign_is_missed_and_not_who_gives_them_or_is_done(tmp_path: Path) -> None:
    for name in ("0", "1", "2"):
        (tmp_path / f"{name}.json").touch()
    ended, stumbles = threading.Event(), iter([OSError, KeyError, ValueError])

    def is_done(record: Path) -> bool:
        # Of a disk that stumbles a few times; the watch goes on.
        if stumble := next(stumbles, None):
            raise stumble
        return record.stem == "2"

    watch = heartbeat.Watch(
        tmp_path,
        is_done=is_done,
        end=ended.set,
        silent_s=1.0,
    )
    watch.start()
    while watch.is_alive():
        os.utime(tmp_path / "0.json")
        watch.join(0.05)
    assert ended.is_set()
    assert watch.lost == {1}


def test_a_watch_of_a_training_that_is_over_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "0.json").touch()
    ended = threading.Event()
    watch = heartbeat.Watch(tmp_path, is_done=lambda _: False, end=ended.set, silent_s=0.6)
    watch.start()
    watch.is_over.set()
    watch.join()
    assert not ended.is_set()
    assert watch.lost == set()


@pytest.mark.parametrize("listens", [True, False])
def test_signs_are_given_while_the_first_node_answers(
    monkeypatch: pytest.MonkeyPatch, listens: bool
) -> None:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        if listens:
            opened.listen()
        monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
        monkeypatch.setenv("MASTER_PORT", str(opened.getsockname()[1]))
        given, is_over, cut_off = threading.Semaphore(0), threading.Event(), threading.Event()

        def renew() -> None:
            given.release()
            if is_over.is_set():
                raise OSError

        heartbeat.begin(renew, cut_off=lambda _: cut_off.set(), silent_s=0.3)
        assert all(given.acquire(timeout=20) for _ in range(30))
        assert not cut_off.is_set()
        is_over.set()
        assert cut_off.wait(timeout=20)


def test_a_process_that_cannot_give_signs_hears_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "9")
    reasons: queue.Queue[str] = queue.Queue()

    def fail() -> None:
        raise OSError("the disk is gone")

    heartbeat.begin(fail, cut_off=reasons.put, silent_s=0.3)
    assert reasons.get(timeout=20) == "the disk is gone"
