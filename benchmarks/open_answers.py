"""How the rules for open answers agree with reading: 150 replies, as read by a developer.

The replies were written for this purpose, as models write them, to references of VQA-RAD (CC0 1.0)
and SLAKE (CC BY 4.0), and read before any rule was run on them; readers are developers of
the project, not clinicians. A reply read as partly right counts as not right. Intervals are
clustered by question and reference.

    python -m benchmarks.open_answers [--reader reader_2]
"""

import argparse
from pathlib import Path

import pandas as pd

from medres import scoring
from medres.statistics import agreement

REPLIES = Path(__file__).resolve().parent.parent / "tests" / "scoring" / "open_replies.csv"


def read(reader: str = "reader_1") -> pd.DataFrame:
    """Return the replies that a reader has read, with the verdict of each rule."""
    table = pd.read_csv(REPLIES, dtype=str, keep_default_na=False)
    table = table[table[reader] != ""].reset_index(drop=True)
    pairs = zip(table["reply"], table["reference"], strict=True)
    verdicts = pd.DataFrame([scoring.by_each_rule(*pair) for pair in pairs])
    return table.join(verdicts).assign(is_right=table[reader] == "right")


def rules_beside_reading(table: pd.DataFrame) -> pd.DataFrame:
    """Return how well each rule agrees with the reading, one row per rule."""
    groups = table["source"] + table["question"] + table["reference"]
    rules = list(scoring.by_each_rule("", "nothing"))
    return agreement.of_rules(table[rules], table["is_right"], groups)


def main() -> None:
    """Print how each rule agrees with a reader, and where the default rule does not."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.open_answers", description=__doc__)
    parser.add_argument("--reader", default="reader_1", choices=["reader_1", "reader_2"])
    reader = parser.parse_args().reader
    table = read(reader)
    if table.empty:
        print(f"{reader} has read nothing yet; fill the column in {REPLIES.name}")
        return
    print(agreement.in_markdown(rules_beside_reading(table)))
    kinds = table.groupby("kind").agg(replies=("kind", "size"), right=("is_right", "sum"))
    kinds["named"] = table[table["names"]].groupby("kind").size()
    print(kinds.fillna(0).astype(int).to_string())


if __name__ == "__main__":
    main()
