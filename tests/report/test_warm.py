"""Pages from a warm process: the same pages, of their own state, from the code as it is now."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import nbformat
import pytest
import yaml

from medres import files, handover, runs
from medres.report import warm

REPOSITORY = Path(__file__).resolve().parent.parent.parent
SETUP = "import os, sys, time\nfrom medres import study as studies\nfrom medres.report import page"
HOW = "'forked' if 'papermill' in sys.modules else 'alone'"
"""A kernel of its own never imports papermill; one that was forked has it from the process."""
FIGURE = (
    "from matplotlib.figure import Figure\n"
    "figure = Figure(); figure.subplots().plot([1, 2])\n"
    "page.show_figure(study, 'line', figure, alt='a line', caption='One line.')"
)
LOGS = "\nimport logging\nlogging.getLogger('said').addHandler(logging.StreamHandler())\n"
"""As transformers does: a handler made at the import keeps the stderr of then."""
OF_PYTEST = ("PYTEST_CURRENT_TEST", "tests/report/test_warm.py")
FRESH = "assert not hasattr(studies, 'seen')\nstudies.seen = True"


@contextmanager
def placed(folder):
    """Be in a project below a folder, whose package is a copy of its own, made if need be."""
    root, package = folder / "project", folder / "code" / "medres"
    if not root.exists():
        for name in ("notebooks", "params"):
            shutil.copytree(REPOSITORY / name, root / name)
        shutil.copytree(files.PACKAGE, package)
        study = root / "params" / "smoke" / "study.yaml"
        content = yaml.safe_load(study.read_text()) | {"reports": ["20_small"]}
        study.write_text(yaml.safe_dump(content))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "ROOT", root)
        patch.setenv("MEDRES_ROOT", str(root))
        patch.setenv("PYTHONPATH", str(package.parent))
        for name in warm.ONE_THREAD:
            patch.setenv(name, "1")
        patch.setattr(files, "PACKAGE", package)
        files.package_sha256.cache_clear()
        yield
    files.package_sha256.cache_clear()


def write(*sources):
    """Write the cells of the one page of the study; return the project."""
    v4 = nbformat.v4
    python = {"name": "python3", "display_name": "", "language": "python"}
    content = v4.new_notebook(metadata={"kernelspec": python})
    content.cells = [v4.new_markdown_cell("# Is it small?")]
    content.cells += [v4.new_code_cell('study: str = "smoke"  # study', id="parameters")]
    content.cells[1].metadata["tags"] = ["parameters"]
    content.cells += [v4.new_code_cell(SETUP, id="setup")]
    content.cells += [v4.new_code_cell(source) for source in sources]
    nbformat.write(content, runs.ROOT / "notebooks" / "20_small.ipynb")
    return runs.ROOT


@contextmanager
def begun():
    """Begin the warm process, with one value of what pytest sets anew for each phase of a test."""
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(*OF_PYTEST)
            variables = stack.enter_context(warm.started("smoke"))
        yield variables


@pytest.fixture
def small(tmp_path):
    """A study of one page, whose cells the test gives; the package is a copy of its own."""
    with placed(tmp_path):
        yield write


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    with ExitStack() as stack:
        with placed(folder):
            variables = stack.enter_context(begun())
        yield folder, variables


@pytest.fixture
def warmed(kept):
    """The variables of one warm process for all tests that leave it running, in its project."""
    folder, variables = kept
    with placed(folder):
        yield variables


def command(project, variables):
    """Start the command that makes the page of `small`, as Snakemake would."""
    return subprocess.Popen(
        [sys.executable, "-m", "medres.report", "smoke", "20_small"],
        cwd=project,
        env=os.environ | variables | dict([OF_PYTEST]),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts what runs in the background deaf to this key, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def make(project, variables):
    page = project / "reports" / "smoke" / "20_small.html"
    page.unlink(missing_ok=True)
    process = command(project, variables)
    said, failed = process.communicate(timeout=120)
    return process.returncode, said, failed, page.read_bytes() if page.exists() else b""


@pytest.mark.slow
def test_pages_of_the_warm_process_are_those_of_a_process_alone_and_share_no_state(small, tmp_path):
    code = tmp_path / "code" / "medres" / "report" / "page.py"
    code.write_text(code.read_text() + LOGS)
    files.package_sha256.cache_clear()
    says = (
        "import logging; said = logging.getLogger('said'); said.warning('margin is 2')\n"
        "print('to this stderr:', said.handlers[0].stream is sys.stderr)"
    )
    project = small(FIGURE, FRESH, f"os.write(1, ({HOW}).encode()) and None", says)
    _, alone, _, expected = make(project, {})
    with begun() as variables:
        first = make(project, variables)
        second = make(project, variables)
    assert alone.startswith("alone")
    assert first == second
    assert first[0] == 0
    assert first[1].startswith("forked")
    assert first[3] == expected
    assert b"margin is 2" in expected
    assert b"to this stderr: True" in expected


@pytest.mark.slow
def test_a_page_that_fails_says_so_to_who_asked(warmed):
    project = write("raise ValueError('margin is -1')")
    code, _, failed, page = make(project, warmed)
    assert code == 1
    assert failed.startswith("medres: 20_small.ipynb, cell")
    assert "margin is -1" in failed
    assert failed.count("\n") == 1
    assert not page


@pytest.mark.slow
def test_the_environment_of_who_asks_holds_in_the_notebook(warmed, tmp_path):
    told = "import tempfile; print('at', tempfile.gettempdir(), os.environ['OMP_NUM_THREADS'])"
    project = write(f"{told}; print('in', os.getcwd(), {HOW})")
    _, said, _, _ = make(project, warmed | {"TMPDIR": str(tmp_path)})
    other_threads = {"TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "2"}
    _, other, _, _ = make(project, warmed | other_threads)
    assert f"at {tmp_path} 1\nin {project} forked" in said
    assert f"at {tmp_path} 2\nin {project} alone" in other


@pytest.mark.slow
def test_code_that_changed_since_the_imports_makes_no_page(small, tmp_path):
    project = small(f"print({HOW})")
    style = tmp_path / "code" / "medres" / "report" / "template" / "style.css"
    with begun() as variables:
        before = make(project, variables)
        style.write_text(style.read_text() + "\n/* other */\n")
        after = make(project, variables)
    assert "forked" in before[1]
    assert "alone" in after[1]
    assert b"/* other */" in after[3]


@pytest.mark.slow
def test_without_the_process_or_with_a_dead_one_a_command_does_it_itself(small, tmp_path):
    project = small(f"print({HOW})")
    assert "alone" in make(project, {handover.VARIABLE: str(tmp_path)})[1]
    with begun() as variables:
        words = "medres.report.warm", variables[handover.VARIABLE]
        wait_until(lambda: processes(*words))  # just begun, it has no command line yet
        for each in processes(*words):
            os.kill(each, signal.SIGKILL)
        assert "alone" in make(project, variables)[1]


def processes(*words):
    """Return the processes in whose command line all these words stand."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if all(word in line for word in words):
            found.append(int(path.parent.name))
    return found


def is_running(process):
    try:
        state = Path("/proc", str(process), "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


SLEEPS = (
    "import subprocess\n"
    "child = subprocess.Popen(['sleep', '300'])\n"
    "apart = subprocess.Popen(['sleep', '300'], start_new_session=True)\n"
    "numbers = os.getpid(), os.getppid(), child.pid, apart.pid\n"
    "open('pids', 'w').write(' '.join(map(str, numbers)) + ' whole')\n"
    "time.sleep(300)"
)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads Linux's /proc")
def test_an_interrupt_of_the_kernel_loses_no_answer(warmed):
    interrupts = "import signal; os.kill(os.getpid(), signal.SIGINT)"
    project = write(f"{interrupts}; os.write(1, b'went on') and None")
    code, said, _, page = make(project, warmed)
    assert (code, said.partition("medres")[0], bool(page)) == (0, "went on", True)


@pytest.mark.parametrize("ended", ["SIGTERM", "SIGKILL", "SIGINT", "page"])
def test_a_command_or_page_that_ends_takes_page_and_kernel_and_their_children_along(warmed, ended):
    with sleeping(warmed) as (process, started):
        if ended == "page":
            os.kill(started[1], signal.SIGKILL)
            started = started[:3]  # nobody is left to know of what has a session of its own
        else:
            process.send_signal(signal.Signals[ended])
        wait_until(lambda: not any(map(is_running, started)))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads Linux's /proc")
@pytest.mark.parametrize("ended", ["make", "warm process"])
def test_make_or_a_warm_process_that_ends_takes_all_along(small, ended):
    with ExitStack() as stack:
        variables = stack.enter_context(begun())
        with sleeping(variables) as (_, started):
            if ended == "make":
                stack.close()
            else:
                for each in processes("medres.report.warm", variables[handover.VARIABLE]):
                    if each not in started:
                        os.kill(each, signal.SIGKILL)
            wait_until(lambda: not any(map(is_running, started)))


@contextmanager
def sleeping(variables):
    """Yield the command that makes a page which sleeps, and the processes started for it."""
    project = write(SLEEPS)
    pids = project / "pids"
    pids.unlink(missing_ok=True)
    started = []
    process = command(project, variables)
    try:
        wait_until(lambda: pids.exists() and pids.read_text().endswith("whole"))
        started = [int(word) for word in pids.read_text().split()[:4]]
        assert all(map(is_running, started))
        yield process, started
    finally:
        for each in started:
            if is_running(each):
                os.kill(each, signal.SIGKILL)
        process.kill()
        process.communicate()


def wait_until(condition, seconds=60):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


HELD = {
    "environment": {"PATH": "/bin", "OMP_NUM_THREADS": "1"},
    "executable": "/bin/python",
    "path": ["/here"],
    "folder": "/project",
}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"environment": HELD["environment"] | {"TMPDIR": "/other", "SHLVL": "3"}}, True),
        ({"environment": HELD["environment"] | {"OMP_NUM_THREADS": "2"}}, False),
        ({"environment": HELD["environment"] | {"CUDA_VISIBLE_DEVICES": ""}}, False),
        ({"environment": HELD["environment"] | {"MEDRES_ROOT": "/other"}}, False),
        ({"environment": {"PATH": "/bin"}}, False),
        ({"executable": "/other/python"}, False),
        ({"path": ["/there", "/here"]}, False),
        ({"folder": "/other"}, False),
    ],
)
def test_a_command_fits_where_its_imports_would_turn_out_the_same(change, expected):
    held = HELD | {"package": files.package_sha256(), "versions": warm._versions()}
    assert warm.fits(HELD | change, held) == expected


def test_another_version_of_a_package_does_not_fit():
    versions = warm._versions()
    held = HELD | {"package": files.package_sha256(), "versions": versions | {"numpy": "0.1"}}
    assert "numpy" in versions
    assert not warm.fits(HELD, held)


WATCHED = """
import json, os, sys
from medres.report import warm
from pathlib import Path

def names():
    return [p.read_text().strip() for p in Path("/proc/self/task").glob("*/comm")]

warm.warm_up("reading", "smoke")
reading = names(), sorted(set(sys.modules) & {"torch", "transformers", "sympy"})
import torch
called = []
for name in ("_lazy_init", "is_available", "device_count", "current_device"):
    def spy(*a, real=getattr(torch.cuda, name), name=name, **k):
        called.append(name)
        return real(*a, **k)
    setattr(torch.cuda, name, spy)
warm.warm_up("computing", "smoke")
pool = os.environ["OMP_NUM_THREADS"]
print(json.dumps([*reading, names(), called, torch.cuda.is_initialized(), pool]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads Linux's /proc")
def test_what_is_forked_has_started_no_pool_of_threads_and_not_touched_cuda():
    """Three threads are asked for, so that a pool would be seen if anything had started one."""
    threads = dict.fromkeys(warm.ONE_THREAD, "1") | {"OMP_NUM_THREADS": "3"}
    done = subprocess.run(
        [sys.executable, "-c", WATCHED],
        env=os.environ | threads | {"MEDRES_ROOT": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )
    reading, heavy, computing, called, is_initialized, _ = json.loads(done.stdout)
    # Numpy's OpenBLAS starts its threads at import and sees to forks itself, as does the
    # allocator of pyarrow.
    for names in (reading, computing):
        assert set(names) <= {"python", "python3", "jemalloc_bg_thd"}
        assert len([name for name in names if name != "jemalloc_bg_thd"]) == 1
    assert heavy == []
    assert called == []
    assert not is_initialized


@pytest.mark.parametrize(
    ("has_gpu", "stages"), [(False, {"reading", "computing"}), (True, {"reading"})]
)
def test_beside_a_gpu_no_process_that_imported_torch_is_forked(
    has_gpu, stages, project, tmp_path, monkeypatch
):
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    if has_gpu:
        tool.write_text("#!/bin/sh\necho GPU 0: drawn\n")
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent))
    with begun() as variables:
        folder = Path(variables[handover.VARIABLE])
        assert {path.name for path in folder.iterdir() if path.is_socket()} == stages


def test_jobs_go_on_without_the_process_where_none_can_be_started(project, monkeypatch):
    def refuse(*_, **__):
        raise BlockingIOError("Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with begun() as variables:
        assert variables == {}


@pytest.mark.parametrize(
    ("answers", "expected", "said"),
    [
        (b"", None, ""),
        (b"elsewhere\n", None, ""),
        (b"taken\n0\n", 0, ""),
        (b"taken\n3\n", 3, ""),
        (b"taken\n-9\n", 1, "medres: smoke 20_small: its process was ended by signal 9"),
        (b"taken\n", 1, "medres: smoke 20_small: its process was ended from outside"),
        (b"taken\n1", 1, "medres: smoke 20_small: its process was ended from outside"),
    ],
)
def test_only_what_was_not_taken_up_is_done_by_who_asks(
    answers, expected, said, monkeypatch, capsys
):
    def answer():
        with listener.accept()[0] as connection:
            connection.makefile("rb").readline()
            connection.makefile("rb").readline()
            connection.sendall(answers)

    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/{handover.READING}")
        listener.listen()
        monkeypatch.setenv(handover.VARIABLE, folder)
        server = threading.Thread(target=answer)
        server.start()
        assert handover.asked("medres.report", ["smoke", "20_small"]) == expected
        server.join()
    failed = capsys.readouterr().err
    assert failed.startswith(said)
    assert bool(failed) == bool(said)


def test_without_arguments_or_streams_nobody_is_asked(monkeypatch, tmp_path):
    monkeypatch.setenv(handover.VARIABLE, str(tmp_path))
    monkeypatch.setattr(socket, "socket", None)  # would raise TypeError
    assert handover.asked("medres.report", []) is None
    for name in ("stdout", "stderr"):
        with monkeypatch.context() as closed:
            closed.setattr(sys, name, None)
            found = handover.asked("medres.report", ["smoke", "20_small"])
        assert found is None


FULL = """
import os, socket, sys
from medres import handover
from medres.report import warm

def fork():
    raise BlockingIOError("Resource temporarily unavailable")

os.fork, warm.warm_up, warm._is_same_code = fork, lambda *_: None, lambda _: True
sockets = [warm._listening(warm.Path(sys.argv[1], stage)) for stage in handover.STAGES]
print("listening", flush=True)
warm._serve(dict(zip(handover.STAGES, sockets)), {"study": "smoke"})
"""


def test_where_no_process_can_be_forked_who_asks_does_it_and_the_server_stays(monkeypatch):
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setenv(handover.VARIABLE, folder)
        server = subprocess.Popen(
            [sys.executable, "-c", FULL, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert server.stdout.readline() == "listening\n"
        for stem in ("20_small", "02_finetune", "20_small"):
            assert handover.asked("medres.report", ["smoke", stem]) is None
        assert server.poll() is None
        server.communicate(timeout=60)  # closes its stdin
        assert server.returncode == 0


def test_modules_that_a_notebook_imports_are_found():
    found = warm.imported(REPOSITORY / "notebooks" / "12_findings.ipynb")
    assert {"medres.datasets", "medres.study", "medres.report.figures"} <= found
    assert {"medres.results.averages", "medres.results.recommendation"} <= found
    assert not any(name.startswith("IPython") for name in found)
