"""Time and memory to read a question table of 1,000,000 rows.

    python -m benchmarks.tables

As CSV in cp1252, as delimited text in UTF-8, and as JSON lines; each is read in a process of its
own, so that its largest memory is its own.
"""

import argparse
import io
import json
import resource
import subprocess
import sys
import time

from medres import tables

HEADINGS = ("image", "question", "answer", "options", "group")
KINDS = {"csv": "cp1252", "txt": "utf-8", "jsonl": "utf-8"}


def made(kind: str, n_rows: int) -> bytes:
    """Return a table of questions on 200 images, every third with umlauts."""
    file = io.BytesIO()
    if kind != "jsonl":
        file.write(";".join(HEADINGS).encode() + b"\r\n")
    for k in range(n_rows):
        question = f"Ist Zelle {k} größer?" if k % 3 == 0 else f"Is cell {k} larger?"
        row = f"{k % 200}.png", question, ("yes", "no")[k % 2], "yes|no", f"plate-{k % 200}"
        if kind == "jsonl":
            line = json.dumps(dict(zip(HEADINGS, row, strict=True)), ensure_ascii=False) + "\n"
        else:
            line = ";".join(row) + "\r\n"
        file.write(line.encode(KINDS[kind]))
    return file.getvalue()


def main() -> None:
    """Read the tables, each in a process; print the times."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--kind", choices=KINDS, help="only this, in here")
    asked = parser.parse_args()
    if not asked.kind:
        for kind in KINDS:
            given = ["--rows", str(asked.rows), "--kind", kind]
            subprocess.run([sys.executable, "-m", "benchmarks.tables", *given], check=True)
        return
    content = made(asked.kind, asked.rows)
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    parsed = tables.parse(f"questions.{asked.kind}", content, lists=("options",))
    taken, after = time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{asked.kind}: {len(parsed.rows):,} rows, {len(content) / 1e6:.0f} MB, {taken:.1f} s of "
        f"CPU; largest memory {before / 1e3:.0f} MB before and {after / 1e3:.0f} MB after"
    )


if __name__ == "__main__":
    main()
