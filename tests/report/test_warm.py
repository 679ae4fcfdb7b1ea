"""Pages from a warm process: the same pages, of their own state, from the code as it is now."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import nbformat
import pytest
import yaml

from medres import files, handover
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
FRESH = "assert not hasattr(studies, 'seen')\nstudies.seen = True"


@pytest.fixture
def small(project, tmp_path, monkeypatch):
    """A study of one page, whose cells the test gives; the package is a copy of its own."""
    shutil.copytree(files.PACKAGE, tmp_path / "code" / "medres")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "code"))
    for name in warm.ONE_THREAD:
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(files, "PACKAGE", tmp_path / "code" / "medres")
    files.package_sha256.cache_clear()
    study = project / "params" / "smoke" / "study.yaml"
    study.write_text(yaml.safe_dump(yaml.safe_load(study.read_text()) | {"reports": ["20_small"]}))

    def write(*sources):
        v4 = nbformat.v4
        python = {"name": "python3", "display_name": "", "language": "python"}
        content = v4.new_notebook(metadata={"kernelspec": python})
        content.cells = [v4.new_markdown_cell("# Is it small?")]
        content.cells += [v4.new_code_cell('study: str = "smoke"  # study', id="parameters")]
        content.cells[1].metadata["tags"] = ["parameters"]
        content.cells += [v4.new_code_cell(SETUP, id="setup")]
        content.cells += [v4.new_code_cell(source) for source in sources]
        nbformat.write(content, project / "notebooks" / "20_small.ipynb")
        return project

    yield write
    files.package_sha256.cache_clear()


def command(project, variables):
    """Start the command that makes the page of `small`, as Snakemake would."""
    return subprocess.Popen(
        [sys.executable, "-m", "medres.report", "smoke", "20_small"],
        cwd=project,
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def make(project, variables):
    page = project / "reports" / "smoke" / "20_small.html"
    page.unlink(missing_ok=True)
    process = command(project, variables)
    said, failed = process.communicate(timeout=120)
    return process.returncode, said, failed, page.read_bytes() if page.exists() else b""


@pytest.mark.slow
def test_pages_of_the_warm_process_are_those_of_a_process_alone_and_share_no_state(small):
    project = small(FIGURE, FRESH, f"os.write(1, ({HOW}).encode()) and None")
    _, alone, _, expected = make(project, {})
    with warm.started("smoke") as variables:
        first = make(project, variables)
        second = make(project, variables)
    assert alone.startswith("alone")
    assert first == second
    assert first[0] == 0
    assert first[1].startswith("forked")
    assert first[3] == expected
    assert expected


@pytest.mark.slow
def test_a_page_that_fails_says_so_to_who_asked(small):
    project = small("raise ValueError('margin is -1')")
    with warm.started("smoke") as variables:
        code, _, failed, page = make(project, variables)
    assert code == 1
    assert failed.startswith("medres: 20_small.ipynb, cell")
    assert "margin is -1" in failed
    assert failed.count("\n") == 1
    assert not page


@pytest.mark.slow
def test_the_environment_of_who_asks_holds_in_the_notebook(small, tmp_path):
    told = "import tempfile; print('at', tempfile.gettempdir(), os.environ['OMP_NUM_THREADS'])"
    project = small(f"{told}; print('in', os.getcwd())")
    with warm.started("smoke") as variables:
        _, said, _, _ = make(project, variables | {"TMPDIR": str(tmp_path)})
        other_threads = {"TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "2"}
        _, other, _, _ = make(project, variables | other_threads)
    assert f"at {tmp_path} 1\nin {project}" in said
    assert f"at {tmp_path} 2\nin {project}" in other


@pytest.mark.slow
def test_code_that_changed_since_the_imports_makes_no_page(small, tmp_path):
    project = small(f"print({HOW})")
    style = tmp_path / "code" / "medres" / "report" / "template" / "style.css"
    with warm.started("smoke") as variables:
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
    with warm.started("smoke") as variables:
        for each in processes("medres.report.warm", variables[handover.VARIABLE]):
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
    "open('pids', 'w').write(f'{os.getpid()} {os.getppid()} {child.pid} whole')\n"
    "time.sleep(300)"
)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads Linux's /proc")
@pytest.mark.parametrize("ended", ["SIGTERM", "SIGKILL", "SIGINT", "make", "warm process"])
def test_whoever_ends_takes_page_and_kernel_and_their_children_along(small, ended):
    project = small(SLEEPS)
    pids = project / "pids"
    with ExitStack() as stack:
        variables = stack.enter_context(warm.started("smoke"))
        process = command(project, variables)
        try:
            wait_until(lambda: pids.exists() and pids.read_text().endswith("whole"))
            started = [int(word) for word in pids.read_text().split()[:3]]
            assert all(map(is_running, started))
            if ended == "make":
                stack.close()
            elif ended == "warm process":
                for each in processes("medres.report.warm", variables[handover.VARIABLE]):
                    if each not in started:
                        os.kill(each, signal.SIGKILL)
            else:
                process.send_signal(signal.Signals[ended])
            wait_until(lambda: not any(map(is_running, started)))
        finally:
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
        tool.write_text("#!/bin/sh\n")
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent))
    with warm.started("smoke") as variables:
        folder = Path(variables[handover.VARIABLE])
        assert {path.name for path in folder.iterdir() if path.is_socket()} == stages


def test_modules_that_a_notebook_imports_are_found():
    found = warm.imported(REPOSITORY / "notebooks" / "12_findings.ipynb")
    assert {"medres.datasets", "medres.study", "medres.report.figures"} <= found
    assert {"medres.results.averages", "medres.results.recommendation"} <= found
    assert not any(name.startswith("IPython") for name in found)
