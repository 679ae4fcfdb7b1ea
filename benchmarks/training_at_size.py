"""Training at size: Qwen2-VL-2B with random weights on a GPU; what each lever gains, and Trainer.

    python -m benchmarks.training_at_size --profile --within 560 --results found.jsonl
    python -m benchmarks.training_at_size --rows "attention kept" Trainer --sizes 224x224 2048x2048
    python -m benchmarks.training_at_size --cpu-check     # every row, tiny, losses compared

The rows are in `benchmarks/levers.py`. Each is a process of its own with a time limit; rows that
are in `--results` already are not measured again, and none begins that might not end `--within`
the given seconds, so that short sessions on a card add up. The table is of all results.

Weights and optimiser states in 32 bits, arithmetic in bfloat16, one process, no DeepSpeed; the
same weights, pictures and steps in all rows. Trainer has one picture a pass, flat conversations
and the network as transformers has it; on a GPU eight processes read ahead for either. The first
step warms up and is not timed; its loss is shown. Tokens are those of conversations without
padding; MFU counts the operations of the model, not those that checkpointing repeats, against
the card's peak of dense bfloat16 products. Predicted memory is that of `medres.plan`. Without a
GPU there is no MFU and no memory.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from benchmarks import levers
from benchmarks import training as small
from benchmarks.images import table
from benchmarks.levers import Row
from benchmarks.trained_row import build, row_of
from medres.models import tiny


def child(asked: argparse.Namespace) -> dict[str, Any]:
    """Return the result of the one row and size that are asked for."""
    (row,) = (each for each in levers.ROWS if each.name == asked.rows[0])
    width, height = (int(side) for side in asked.sizes[0].split("x"))
    about = {"row": row.name, "size": asked.sizes[0]}
    with tempfile.TemporaryDirectory() as name:
        place = str(tiny.make(Path(name) / tiny.NAME))
        device = "cuda" if torch.cuda.is_available() else "cpu"
        model = build(place, asked.model, device=device, as_is=row.side == "Trainer")
        try:
            return about | row_of(
                row,
                model,
                (width, height),
                micro=asked.micro[0],
                batch=asked.batch,
                n_steps=asked.steps,
                is_profiled=asked.profile,
            )
        except torch.OutOfMemoryError:
            return about | {"failed": "out of memory"}


def measured_apart(asked: argparse.Namespace, row: str, size: str, micro: int) -> dict[str, Any]:
    """Return the result of a row in a process of its own."""
    (missing,) = (each.missing for each in levers.ROWS if each.name == row)
    if missing:
        return {"row": row, "size": size, "failed": f"left out: needs {missing}"}
    is_profiled = asked.profile and row == levers.PROFILED
    command = [sys.executable, "-m", "benchmarks.training_at_size", "--child", "--rows", row]
    command += ["--sizes", size, "--micro", str(micro), "--model", asked.model]
    command += ["--batch", str(asked.batch), "--steps", str(asked.steps)]
    command += ["--profile"] if is_profiled else []
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=asked.limit)
    except subprocess.TimeoutExpired:
        return {"row": row, "size": size, "failed": f"not done in {asked.limit} s"}
    *said, last = done.stdout.strip().splitlines() or [""]
    print("\n".join(said), flush=True) if is_profiled else None
    if done.returncode:
        errors = done.stderr.strip().splitlines() or [""]
        return {"row": row, "size": size, "failed": errors[-1][:200]}
    return dict(json.loads(last))


def shown(result: dict[str, Any]) -> dict[str, str]:
    """Return a result as a row of the table."""
    cells = {"pixels": result["size"], "row": result["row"]}
    names = ("images a pass", "tokens/s", "MFU", "GB", "GB predicted", "first loss")
    if "failed" in result:
        return cells | dict.fromkeys(names, "") | {"tokens/s": result["failed"]}
    values = (
        str(result["micro"]),
        f"{result['tokens_per_s']:,.0f}",
        f"{result['mfu']:.1%}",
        f"{result['peak_bytes'] / 1e9:.1f}",
        f"{result['predicted_bytes'] / 1e9:.1f}" if "predicted_bytes" in result else "",
        f"{result['first_loss']:.4f}",
    )
    return cells | dict(zip(names, values, strict=True))


def check(rows: tuple[Row, ...]) -> list[dict[str, str]]:
    """Train the tiny model as every row says, on the CPU; return the rows with their losses.

    Raises:
        ValueError: If a loss is not that of the first row with as many questions.
    """
    table_rows, expected = [], {}
    with tempfile.TemporaryDirectory() as name:
        place = str(tiny.make(Path(name) / tiny.NAME))
        for row in rows:
            if row.missing:
                missing = f"left out: needs {row.missing}"
                table_rows.append({"row": row.name, "losses": missing, "apart": ""})
                continue
            torch.compiler.reset()
            model = build(place, "tiny", device="cpu", as_is=row.side == "Trainer")
            found = row_of(row, model, (84, 56), micro=1, batch=2, n_steps=2, dtype="float32")
            losses = np.array([found["first_loss"], found["last_loss"]])
            known = expected.setdefault(row.questions, losses)
            apart = float(np.abs(losses - known).max())
            if apart > small.LOSS_TOLERANCE[row.side == "Trainer"]:
                raise ValueError(
                    f"{row.name}: losses are {losses.tolist()}, and {known.tolist()} in the first "
                    f"row with {row.questions} question(s), {apart:.1e} apart"
                )
            table_rows.append(
                {"row": row.name, "losses": f"{losses[0]:.6f}, {losses[1]:.6f}"}
                | {"apart": f"{apart:.1e}"}
            )
    return table_rows


def main() -> None:
    """Measure the rows that are asked for; print the table of all results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    names = [row.name for row in levers.ROWS]
    parser.add_argument("--model", default="Qwen/Qwen2-VL-2B-Instruct", help="or tiny")
    parser.add_argument("--rows", nargs="+", choices=names, default=names, metavar="ROW")
    parser.add_argument("--sizes", nargs="+", default=["2048x2048"])
    parser.add_argument("--micro", type=int, nargs="+", default=[1], help="one for each size")
    parser.add_argument("--batch", type=int, default=8, help="images of a step")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--profile", action="store_true", help=f"of {levers.PROFILED!r}, first")
    parser.add_argument("--limit", type=int, default=180, help="seconds of a row")
    parser.add_argument("--within", type=int, default=10**6, help="seconds of all")
    parser.add_argument("--results", type=Path, help="JSON lines, read and added to")
    parser.add_argument("--cpu-check", action="store_true")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    if asked.cpu_check:
        print(table(check(levers.ROWS)))
        return
    if asked.child:
        print(json.dumps(child(asked)), flush=True)
        return
    began = time.monotonic()
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    print(
        f"{asked.model} with random weights on {where}, transformers {transformers.__version__}, "
        f"torch {torch.__version__}; {asked.batch} images a step, {asked.steps} steps, the first "
        "not timed",
        flush=True,
    )
    results = []
    if asked.results and asked.results.exists():
        results = [json.loads(line) for line in asked.results.read_text().splitlines()]
    rows = sorted(asked.rows, key=lambda row: asked.profile and row != levers.PROFILED)
    micro = dict(zip(asked.sizes, asked.micro, strict=True))
    for size in asked.sizes:
        for row in rows:
            is_known = any((each["row"], each["size"]) == (row, size) for each in results)
            if is_known or time.monotonic() - began + asked.limit > asked.within:
                continue
            results.append(measured_apart(asked, row, size, micro[size]))
            print(results[-1], flush=True)
            if asked.results:
                with asked.results.open("a") as file:
                    file.write(json.dumps(results[-1]) + "\n")
    print(table([shown(each) for each in results]))


if __name__ == "__main__":
    main()
