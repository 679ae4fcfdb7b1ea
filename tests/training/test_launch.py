"""A training by several processes under DeepSpeed: the same weights, killed or not."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from medres import runs, training
from medres.models import tiny
from medres.training import heartbeat, launch
from medres.training import strategy as strategies
from medres.training.settings import TrainingSettings
from tests.training import two_nodes as two_nodes_module
from tests.training.test_training import SETTINGS, prepare
from tests.training.two_nodes import NODES, TwoNodes

TWO = SETTINGS | {
    "strategy": "zero-2",
    "processes": 2,
    "device": "cpu",
    "epochs": 6,
    "micro_batch_images": 1,
}
BEGAN = time.time()
ALONE = TWO | {"strategy": "single", "processes": 1}
CELL = f"drawn/{tiny.NAME}/{SETTINGS['train_resolution']}/seed0"

pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(runs, "ROOT", tmp_path)
    prepare(tmp_path)
    return tmp_path


def weights_of(run: runs.Run) -> dict[str, torch.Tensor]:
    (file,) = (run.folder / "checkpoint").glob("*.safetensors")
    return load_file(file)


def finetune_in(root: Path, settings: dict[str, Any]) -> runs.Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "ROOT", root)
        prepare(root)
        return training.finetune(**settings)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> runs.Run:
    return finetune_in(tmp_path_factory.mktemp("alone"), ALONE)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> runs.Run:
    """Two processes, never interrupted."""
    root = tmp_path_factory.mktemp("together")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_EXTENSIONS_DIR", str(root / "compiled"))
        return finetune_in(root, TWO)


def when(is_so: Callable[[], bool], do: Callable[[], None]) -> threading.Thread:
    """Do something as soon as something is so, beside what runs."""

    def watch() -> None:
        until = time.monotonic() + 300
        while not is_so() and time.monotonic() < until:
            time.sleep(0.01)
        do()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def pid_of(folder: Path, rank: int) -> int:
    pid: int = runs.read_json(folder / "ranks" / f"{rank}.json")["pid"]
    return pid


def test_two_processes_under_zero_2_train_as_one_without(
    alone: runs.Run, together: runs.Run
) -> None:
    outcome = together.record["outcome"]
    assert outcome["n_processes"] == 2
    assert outcome["final_loss"] == pytest.approx(alone.record["outcome"]["final_loss"], rel=1e-5)
    torch.testing.assert_close(weights_of(together), weights_of(alone), rtol=0, atol=2e-4)
    assert together.digest == alone.digest


@pytest.mark.parametrize(("strategy", "train_vision"), [("zero-2", "merger"), ("zero-3", "none")])
def test_frozen_weights_stay_to_the_bit_in_several_processes(
    project: Path, tmp_path: Path, strategy: str, train_vision: str
) -> None:
    settings = TWO | {"epochs": 2, "train_vision": train_vision}
    run = training.finetune(**settings | {"strategy": strategy})
    base = load_file(tiny.make(tmp_path / "tiny") / "model.safetensors")
    found = weights_of(run)
    of_vision = {name for name in base if name.startswith("visual.")}
    frozen = {name for name in of_vision if train_vision == "none" or ".merger." not in name}
    assert {name for name in base if torch.equal(base[name], found[name])} == frozen
    outcome = run.record["outcome"]
    assert outcome["n_trained_weights"] == sum(
        value.numel() for name, value in base.items() if name not in frozen
    )
    folder = run.folder
    folder.rename(tmp_path / "together")
    alone = training.finetune(**settings | {"strategy": "single", "processes": 1})
    together = load_file(tmp_path / "together" / "checkpoint" / "model.safetensors")
    torch.testing.assert_close(together, weights_of(alone), rtol=0, atol=2e-4)


def test_nothing_is_compiled_and_no_main_memory_is_left_taken(together: runs.Run) -> None:
    """DeepSpeed would compile for every processor, and leave 69 MB per process for good."""
    assert not (together.folder.parents[6] / "compiled").exists()
    left = list(Path("/dev/shm").glob(f"deepspeed_allreduce_buffer_{os.getuid()}_*"))
    assert [path for path in left if path.stat().st_mtime > BEGAN] == []


def test_a_process_that_is_killed_is_named_and_the_training_goes_on_to_the_same_weights(
    project: Path, together: runs.Run
) -> None:
    folder = runs.folder_of("small", "finetune", CELL)
    mark = folder / "resume" / "checkpoint-4" / "whole"
    killing = when(mark.exists, lambda: os.kill(pid_of(folder, 1), signal.SIGKILL))
    with pytest.raises(RuntimeError, match=r"^process 1 on \S+ died without an error") as raised:
        training.finetune(**TWO)
    killing.join()
    assert "resumes from its last checkpoint" in str(raised.value)
    assert not (folder / "run.json").exists()
    with pytest.raises(
        ValueError, match=r"was written with .*'n_processes': 2.* resume with the former"
    ):
        training.finetune(**ALONE)
    run = training.finetune(**TWO)
    assert run.record["outcome"]["resumed_at_step"] >= 4
    found, expected = weights_of(run), weights_of(together)
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    loss = "loss.csv"
    assert (run.folder / loss).read_text() == (together.folder / loss).read_text()


@pytest.fixture
def two_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TwoNodes]:
    if not two_nodes_module.IS_POSSIBLE:
        pytest.skip("network namespaces need root, ip and unshare")
    made = TwoNodes(tmp_path)
    monkeypatch.setenv("PATH", str(made.programs), prepend=os.pathsep)
    monkeypatch.setattr(heartbeat, "SILENT_S", 15.0)
    yield made
    made.remove()


def test_a_node_that_is_cut_off_is_named_and_the_training_goes_on_to_the_same_weights(
    project: Path, together: runs.Run, two_nodes: TwoNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Started by srun, which does not learn of the cut, and again by ssh."""
    folder = runs.folder_of("small", "finetune", CELL)
    mark = folder / "resume" / "checkpoint-4" / "whole"
    cutting = when(mark.exists, two_nodes.cut)
    with monkeypatch.context() as job:
        job.setenv("SLURM_JOB_NUM_NODES", "2")
        job.setenv("SLURM_JOB_NODELIST", ",".join(NODES))
        with pytest.raises(
            RuntimeError,
            match=r"^process 1 on node-b gave no sign of life for 15 s .* from the shared disk or "
            "from node-a.*resumes from its last checkpoint$",
        ):
            training.finetune(**TWO)
    cutting.join()
    two_nodes.mend()
    (project / "hosts").write_text("".join(f"{node} slots=1\n" for node in NODES))
    run = training.finetune(**TWO | {"hostfile": "hosts"})
    assert run.record["outcome"]["resumed_at_step"] >= 4
    assert {runs.read_json(path)["host"] for path in (run.folder / "ranks").iterdir()} == set(NODES)
    found, expected = weights_of(run), weights_of(together)
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert (run.folder / "loss.csv").read_text() == (together.folder / "loss.csv").read_text()


def test_without_the_process_that_started_them_they_end(project: Path, tmp_path: Path) -> None:
    folder = runs.folder_of("small", "finetune", CELL)
    script = f"from medres import training; training.finetune(**{TWO | {'epochs': 2000}!r})"
    started = subprocess.Popen(
        [sys.executable, "-c", script],
        env=os.environ | {"MEDRES_ROOT": str(project)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    mark = folder / "resume" / "checkpoint-2" / "whole"
    when(mark.exists, started.kill).join()
    started.wait()
    pids = [pid_of(folder, rank) for rank in (0, 1)]
    until = time.monotonic() + 60
    while any(is_running(pid) for pid in pids) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(is_running(pid) for pid in pids)


def is_running(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().split()[2] != "Z"


def test_what_a_process_refuses_is_raised_with_its_words(project: Path) -> None:
    with pytest.raises(ValueError, match=r"the loss is (nan|inf) at step .*drawn-.*process \d on"):
        training.finetune(**TWO | {"learning_rate": 1e18, "warmup_share": 0.0})


def test_bfloat16_is_near_float32_and_keeps_half_the_bytes(project: Path, alone: runs.Run) -> None:
    run = training.finetune(**TWO | {"dtype": "bfloat16", "processes": 1})
    assert run.digest != alone.digest
    found, expected = weights_of(run), weights_of(alone)
    assert {value.dtype for value in found.values()} == {torch.bfloat16}
    loss = run.record["outcome"]["final_loss"]
    assert loss == pytest.approx(alone.record["outcome"]["final_loss"], rel=0.02)
    apart = sum(((found[name].float() - value) ** 2).sum() for name, value in expected.items())
    whole = sum((value**2).sum() for value in expected.values())
    assert 0 < (apart / whole).sqrt() < 0.01


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.socket() as opened:
        opened.bind(("", 0))
        opened.listen()
        yield opened.getsockname()[1]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"strategy": "zero-4"}, "strategy is 'zero-4'; use single, zero-2"),
        ({"dtype": "float16"}, "dtype is 'float16'; use float32 or bfloat16"),
        ({"device": "gpu"}, "device is 'gpu'; use auto or cpu"),
        ({"processes": 0}, "processes is 0; it must be at least 1"),
        ({"strategy": "single"}, "strategy is single, with 2 processes .* `strategy: zero-2`"),
        ({"hostfile": "absent"}, r"hostfile \S+absent does not exist; write one line per node"),
        ({"hostfile": "hosts"}, "hosts has 3 slots, and processes is 2; make them equal"),
        ({"hostfile": "bad"}, r"bad, line 2 is 'node2 8'; write `NODE slots=PROCESSES`"),
        ({"port": 70_000}, "port 70000 cannot be used"),
    ],
)
def test_what_cannot_be_started_raises_before_a_run_is_made(
    project: Path, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, Any], message: str
) -> None:
    for name in ("pdsh", "ssh"):
        (project / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(project), prepend=os.pathsep)
    (project / "hosts").write_text("node1 slots=2\n\nnode2 slots=1  # the old one\n")
    (project / "bad").write_text("node1 slots=2\nnode2 8\n")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        training.finetune(**TWO | wrong)
    assert not (project / "runs" / "small" / "finetune").exists()


def test_a_port_in_use_raises(project: Path, listening: int) -> None:
    with pytest.raises(ValueError, match=rf"port {listening} cannot be used .*give another"):
        training.finetune(**TWO | {"port": listening})


def test_without_the_means_to_reach_other_nodes_none_is_tried(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(project))
    (project / "hosts").write_text("node1 slots=2\n")
    with pytest.raises(ValueError, match=r"pdsh and ssh, by which .* is not on PATH; install it"):
        training.finetune(**TWO | {"hostfile": "hosts"})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_bfloat16_without_a_gpu_raises_unless_the_cpu_is_asked_for(project: Path) -> None:
    with pytest.raises(ValueError, match=r"no GPU is visible; .*`device: cpu`, which is slow"):
        training.finetune(**TWO | {"dtype": "bfloat16", "device": "auto"})


def test_adapters_are_not_trained_with_divided_weights(project: Path) -> None:
    with pytest.raises(ValueError, match=r"lora_rank is 4 with strategy zero-3; .* use zero-2"):
        training.finetune(**TWO | {"strategy": "zero-3", "lora_rank": 4})


def test_a_launcher_of_another_s_making_is_refused(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="strategy is single, and WORLD_SIZE is 2"):
        training.finetune(**ALONE)


def test_an_orphan_knows_by_its_launcher_or_by_a_later_launch(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    mine = {"host": socket.gethostname(), "pid": os.getpid(), "id": "a"}
    gone, elsewhere = mine | {"pid": process.pid}, mine | {"host": "node2", "pid": process.pid}
    for launcher, is_orphan in ((mine, False), (gone, True), (elsewhere, False)):
        runs.write_json(tmp_path / "launch.json", {"launcher": launcher})
        assert launch.is_orphan(tmp_path, launcher) == is_orphan
    assert launch.is_orphan(tmp_path, mine | {"id": "b"})


@pytest.mark.parametrize(
    ("ranks", "kind", "message"),
    [
        (
            [{"state": "failed", "kind": "MemoryError", "error": "ran out"}, {"state": "training"}],
            MemoryError,
            r"^ran out \(process 0 on node; see ",
        ),
        (
            [{"state": "failed", "kind": "RuntimeError", "error": "reset"}, {"state": "training"}],
            RuntimeError,
            "^process 1 on node died without an error",
        ),
        (
            [{"state": "failed", "kind": "KeyError", "error": "'x'"}, {"state": "stopped"}],
            RuntimeError,
            r"^KeyError: 'x' \(process 0 on node; see ",
        ),
        ([{"state": "stopped"}, {"state": "stopped"}], RuntimeError, r"was stopped \(SIGTERM"),
        ([], RuntimeError, r"^no process started to train; \S+ ends with: no slot$"),
    ],
    ids=["ours", "killed", "a fault of ours", "stopped", "none"],
)
def test_the_cause_of_an_end_is_told_from_its_effects(
    tmp_path: Path, ranks: list[dict[str, Any]], kind: type[Exception], message: str
) -> None:
    (tmp_path / "launch.log").write_text("many words\nno slot\n\n")
    for number, found in enumerate(ranks):
        runs.write_json(tmp_path / "ranks" / f"{number}.json", {"host": "node", **found})
    with pytest.raises(kind, match=message):
        raise launch._stopped(tmp_path)


@pytest.mark.parametrize(
    ("first", "message"),
    [
        ({"state": "training"}, "^process 0 on node died without an error"),
        ({"state": "failed", "kind": "OSError", "error": "gone"}, "^OSError: gone .process 0 on"),
        ({"state": "stopped"}, r"was stopped \(SIGTERM"),
    ],
    ids=["killed", "failed", "stopped"],
)
def test_a_process_that_lived_on_and_had_to_be_killed_is_not_named(
    tmp_path: Path, first: dict[str, Any], message: str
) -> None:
    """One that waits for another within a library does not hear of SIGTERM."""
    for number, (found, ended) in enumerate([(first, 100), ({"state": "training"}, 130)]):
        record = tmp_path / "ranks" / f"{number}.json"
        runs.write_json(record, {"host": "node", **found})
        os.utime(record, (ended, ended))
    with pytest.raises(RuntimeError, match=message) as raised:
        raise launch._stopped(tmp_path)
    assert "process 1" not in str(raised.value)


def test_other_nodes_are_given_what_they_need_and_no_token(tmp_path: Path) -> None:
    where = launch._write_environment(tmp_path, {"HF_HOME": "/hub", "HF_TOKEN": "x", "PATH": "/"})
    assert Path(where).read_text() == "HF_HOME=/hub\n"


def test_gradients_of_micro_batches_are_added_up_in_32_bits() -> None:
    settings = strategies.deepspeed_settings("zero-2", dtype="bfloat16")
    assert settings is not None
    assert settings["data_types"]["grad_accum_dtype"] == "fp32"
    assert strategies.deepspeed_settings("single", dtype="bfloat16") is None


def test_gpus_are_taken_by_the_numbers_that_are_visible_and_by_no_other_name(tmp_path, monkeypatch):
    monkeypatch.setattr(strategies, "has_gpu", lambda device: True)
    settings = TrainingSettings(**SETTINGS | {"strategy": "zero-2", "processes": 2})
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5,7")
    command, environment = launch._command(tmp_path, settings, port=1)
    assert environment["CUDA_VISIBLE_DEVICES"] == "2,5"
    assert "--num_gpus" not in command
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-5a0f,GPU-77c1")
    with pytest.raises(ValueError, match="'GPU-5a0f,GPU-77c1': DeepSpeed knows GPUs by number"):
        launch._command(tmp_path, settings, port=1)
