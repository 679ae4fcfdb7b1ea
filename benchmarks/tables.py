"""Time and memory to read a question table of 1,000,000 rows, as text and as JSON lines.

    python -m benchmarks.tables

Each kind is read in a process of its own, so that its largest memory is its own.
"""

import argparse
import csv
import io
import json
import resource
import subprocess
import sys
import time

from medres import tables

HEADINGS = ("image", "question", "answer", "options", "group")


def made(kind: str, n_rows: int) -> bytes:
    """Return a table of questions on 200 images, every third with umlauts."""
    rows = [
        (f"{k % 200}.png", f"Ist Zelle {k} größer?" if k % 3 == 0 else f"Is cell {k} larger?")
        + (("yes", "no")[k % 2], "yes|no", f"plate-{k % 200}")
        for k in range(n_rows)
    ]
    if kind == "jsonl":
        return "\n".join(json.dumps(dict(zip(HEADINGS, r, strict=True))) for r in rows).encode()
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=";").writerows([HEADINGS, *rows])
    return text.getvalue().encode("cp1252" if kind == "csv" else "utf-8")


def main() -> None:
    """Read the tables, each in a process; print the times."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--kind", choices=("csv", "txt", "jsonl"), help="only this, in here")
    asked = parser.parse_args()
    if not asked.kind:
        for kind in ("csv", "txt", "jsonl"):
            given = ["--rows", str(asked.rows), "--kind", kind]
            subprocess.run([sys.executable, "-m", "benchmarks.tables", *given], check=True)
        return
    content = sys.stdin.buffer.read() if not sys.stdin.isatty() else b""
    content = content or made(asked.kind, asked.rows)
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    parsed = tables.parse(f"questions.{asked.kind}", content, lists=("options",))
    taken, after = time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{asked.kind}: {len(parsed.rows):,} rows, {len(content) / 1e6:.0f} MB, in {taken:.1f} s of "
        f"CPU; largest memory {before / 1e3:.0f} MB before and {after / 1e3:.0f} MB after"
    )


if __name__ == "__main__":
    main()
