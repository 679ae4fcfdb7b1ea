"""What a study costs before anything of it is made, by cells: `python -m benchmarks.cells`.

Studies of seven data sets, four models and six trainings are written to a temporary folder, with
as many seeds as give about the cells asked for; nothing of them is ever made, but in the end each
of their pages is stood in for. Prints the CPU seconds of `python -m medres.study check`, of
`snakemake -n`, of `python -m medres.make -n`, and of `medres.make` where all is current, with the
exponent by which each grows with the cells. `--beside FOLDER` measures another checkout in turn,
but where all is current, as a page is of one source of the package.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml

from benchmarks import current
from medres import runs
from medres import study as studies

HERE = Path(__file__).resolve().parent.parent
CELLS = [1_000, 3_200, 10_000]
TRAINED = ["low", "native", "mixed", "mixed-25", "mixed-75", "scale-0.5"]
DATASETS = [f"set-{letter}" for letter in "abcdefg"]
MODELS = ["tiny-qwen2-vl", "tiny-internvl", "tiny-gemma3", "tiny-qwen3-vl"]
CELLS_A_SEED = 2 * len(TRAINED) * len(DATASETS) * len(MODELS)
NEVER_MADE = ["study check", "snakemake -n", "make -n"]


def write(root: Path, n_cells: int) -> str:
    """Write a study of about so many cells; return its name."""
    name = f"cells-{n_cells}"
    study = {
        "title": f"{n_cells} cells",
        "models": MODELS,
        "train_resolutions": ["none", *TRAINED],
        "seeds": list(range(max(1, round(n_cells / CELLS_A_SEED)))),
        "datasets": {each: {"table": f"{each}/questions.csv"} for each in DATASETS},
        "finetune": {each: {"epochs": 2 + n} for n, each in enumerate(DATASETS)},
        "reports": ["01_datasets", "04_native_vs_low", "05_alignment", "09_cost", "12_findings"],
    }
    params = {
        "study": study,
        "02_finetune": {"low_max_pixels": 784, "batch_images": 16},
        "03_evaluate": {"low_max_pixels": 784, "eval_resolutions": ["low", "native", "mixed"]},
    }
    folder = root / "params" / name
    folder.mkdir(parents=True)
    for stem, content in params.items():
        (folder / f"{stem}.yaml").write_text(yaml.safe_dump(content))
    return name


def cpu_seconds(root: Path, code: Path, command: str, study: str) -> float:
    """Return the CPU seconds of a command and of its children, with the code of a checkout."""
    arguments = {
        "study check": ["medres.study", "check", study],
        "snakemake -n": [
            *("snakemake", "-n", "--cores", "2", "--quiet", "all"),
            *("--snakefile", str(code / "Snakefile"), "--config", f"study='{study}'"),
        ],
        "make -n": ["medres.make", study, "-n"],
        "make, all current": ["medres.make", study],
    }[command]
    environment = {**os.environ, "PYTHONPATH": str(code), "MEDRES_ROOT": str(root)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    line = [sys.executable, "-m", *arguments]
    done = subprocess.run(line, cwd=root, env=environment, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode or ("current" in command and "nothing to be done" not in done.stdout):
        raise RuntimeError(f"{command} of {study}: {done.stdout[-500:]}{done.stderr[-2000:]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Write the studies and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, nargs="+", default=CELLS)
    parser.add_argument("--beside", type=Path, help="another checkout, measured in turn")
    parser.add_argument("--made", action="store_true", help="also here where all is current")
    asked = parser.parse_args()
    codes = {"here": HERE} | ({"beside": asked.beside.resolve()} if asked.beside else {})
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        for each in ("notebooks", "profiles"):
            shutil.copytree(HERE / each, root / each)
        runs.ROOT = root
        (root / "params").mkdir()
        names = [write(root, n) for n in asked.cells]
        loaded = [studies.load(name) for name in names]
        n_cells = [sum(len(each.cells(stage)) for stage in studies.STAGES) for each in loaded]
        print(f"| CPU seconds | code | {' | '.join(f'{n:,} cells' for n in n_cells)} | exponent |")
        print("|---|---|" + "---|" * (len(names) + 1))
        for command in NEVER_MADE:
            measure(root, codes, command, names, n_cells)
        if asked.made:
            for name in names:
                current.stand_in(name)
            time.sleep(2.5)  # files written just now are read each time
            measure(root, {"here": HERE}, "make, all current", names, n_cells)


def measure(
    root: Path, codes: dict[str, Path], command: str, names: list[str], n_cells: list[int]
) -> None:
    """Print a row for each checkout."""
    found = [
        [cpu_seconds(root, place, command, name) for place in codes.values()] for name in names
    ]
    for code, seconds in zip(codes, zip(*found, strict=True), strict=True):
        shown = " | ".join(f"{each:.1f}" for each in seconds)
        print(f"| {command} | {code} | {shown} | {_exponent(n_cells, seconds)} |", flush=True)


def _exponent(n_cells: list[int], seconds: tuple[float, ...]) -> str:
    if len(seconds) < 2:
        return ""
    return f"{np.polyfit(np.log(n_cells), np.log(seconds), 1)[0]:.2f}"


if __name__ == "__main__":
    main()
