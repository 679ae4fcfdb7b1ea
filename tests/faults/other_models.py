"""A training of two processes that loses one, and a served model whose server dies."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.faults import project
from tests.faults.commands import Command
from tests.faults.project import CELL, CELL_PAGE, REPOSITORY
from tests.faults.rounds import Campaign

RANKS, SERVED = "ranks", "served"
BEGINS_WITHIN_S = 120.0


def run(campaign: Campaign, times: int) -> None:
    """Kill one of two processes of a training, and the server of a served model.

    Args:
        campaign: Where.
        times: Of each.
    """
    _lose_a_rank(campaign, times)
    _lose_the_server(campaign, times)


def _lose_a_rank(campaign: Campaign, times: int) -> None:
    two = {"strategy": "zero-2", "processes": 2, "device": "cpu", "micro_batch_images": 1}
    folder = campaign.root / "runs" / RANKS / "finetune" / CELL
    page = f"02_finetune-{CELL_PAGE}"

    def is_half(command: Command) -> bool:
        return bool(list(folder.glob("resume/checkpoint-2/whole")))

    def lose(command: Command) -> None:
        workers = [pid for pid in command.below() if _is_worker(pid)]
        os.kill(workers[-1], signal.SIGKILL)

    project.write_study(campaign.root, RANKS, training=two)
    fault = ("one of two processes killed", "zero-2, on a CPU")
    _disturb(campaign, RANKS, page, fault, times, is_half, lose, lambda: None)


def _is_worker(pid: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        return words[1:4] == ["-u", "-m", "medres.training.worker"]
    except OSError:
        return False


def _lose_the_server(campaign: Campaign, times: int) -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    model = f"served:http://127.0.0.1:{port}/v1#tiny-qwen2-vl"
    asking = {"attempts": 2, "concurrency": 1}
    project.write_study(
        campaign.root,
        SERVED,
        asking=asking,
        models=[model],
        train_resolutions=["none"],
        reports=["06_zero_shot"],
    )
    from medres import study as studies

    (cell,) = studies.load(SERVED).cells("evaluate")
    folder = campaign.root / "runs" / SERVED / "evaluate"
    servers = [_server(port)]

    def is_half(command: Command) -> bool:
        return bool(list(folder.rglob("answers.jsonl")))

    def lose(command: Command) -> None:
        servers[0].kill()
        servers.pop().wait()

    fault = ("server of a model killed", "in the middle of an evaluation")
    try:
        _disturb(
            campaign,
            SERVED,
            cell.page,
            fault,
            times,
            is_half,
            lose,
            lambda: servers.append(_server(port)),
        )
    finally:
        for server in servers:
            server.kill()
            server.wait()


def _server(port: int) -> subprocess.Popen[bytes]:
    """Start a server of a tiny model, of which the campaign's commands know nothing."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.model_server", "--port", str(port)],
        cwd=REPOSITORY,
        env=os.environ | {"MEDRES_FAULTS": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert server.stdout is not None
    assert server.stdout.readline(), "the server did not start"
    return server


def _disturb(
    campaign: Campaign,
    study: str,
    page: str,
    fault: tuple[str, str],
    times: int,
    is_half: Callable[[Command], bool],
    lose: Callable[[Command], None],
    bring_back: Callable[[], None],
) -> None:
    """Make a page, and make it again with a loss in its middle."""
    prepared = campaign.place.started("medres.datasets", "prepare", study, "mine").ended()
    assert prepared.code == 0, prepared.said
    made = campaign.place.started("medres.report", study, page).ended()
    assert made.code == 0, made.said
    expected = _compared(campaign, study)
    for _ in range(times):
        stage = "finetune" if page.startswith("02") else "evaluate"
        shutil.rmtree(campaign.root / "runs" / study / stage)
        (campaign.root / "runs" / study / "marks" / "pages" / f"{page}.json").unlink()
        with campaign.round(*fault, study=study) as done:
            command = campaign.place.started("medres.report", study, page)
            until = time.monotonic() + BEGINS_WITHIN_S
            while command.is_running and not is_half(command) and time.monotonic() < until:
                time.sleep(0.002)
            lose(command)
            done.stopped(command.ended())
            bring_back()
            done.went_on(campaign.place.started("medres.report", study, page).ended())
            done.same(_compared(campaign, study), expected)


def _compared(campaign: Campaign, study: str) -> dict[str, str]:
    """Return what must not differ; of a served model the answers: the rest says what was sent."""
    found = project.results(campaign.root, study)
    if study != SERVED:
        return found
    return {name: digest for name, digest in found.items() if name.endswith("answers.parquet")}
