"""Options: time and memory of questions with very many options, and of very many questions.

    python -m benchmarks.options            # some minutes
    python -m benchmarks.options --quick    # the two smallest of each kind

The tiny Qwen2-VL, 32-bit, one thread, scores all options of a question about one image, or four
options of each of many questions, and writes a greedy reply to every question. Each row is a
process of its own: seconds are of its CPU without imports and loading, the peak is of its memory
with both. The exponent is the slope of log time over log tokens: 1 is linear.

* options: one question, options of 22 tokens;
* a large image: the same with 1,620 visual tokens, which every option attends to;
* a real vocabulary: the same with 151,936 logits per token, and no reply;
* questions: four options of 2 tokens each, and replies that are none of them.
"""

import argparse
import copy
import json
import resource
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import torch

from benchmarks.images import draw, table
from medres.inference import asking, generation
from medres.models import LoadedModel, conversation, tiny

KINDS = {
    "options": (500, 1_000, 2_000, 5_000),
    "a large image": (500, 1_000, 2_000, 5_000),
    "a real vocabulary": (50, 100, 200, 500),
    "questions": (500, 1_000, 2_000, 5_000),
}
"""How many of them, in each kind of row."""
SMALL_PX = (56, 56)
LARGE_PX = (1260, 1008)
VOCABULARY = 151_936
MEBIBYTE = 2**20


def measure(kind: str, n: int) -> dict[str, float]:
    """Return tokens below the root, CPU seconds and peak memory of this process in bytes."""
    torch.set_num_threads(1)
    model = asking.load(tiny.NAME, revision="", tiling="information", dtype="float32")
    if kind == "a real vocabulary":
        model = _with_vocabulary(model)
    size_px = LARGE_PX if kind == "a large image" else SMALL_PX
    questions, options = ["Which compound?"], [[_option(number) for number in range(n)]]
    if kind == "questions":
        questions = [f"What is seen in part {number:04d} of the picture?" for number in range(n)]
        options = [["yes", "no", "left", "right"]] * n
    image = draw(size_px, seed=0)
    began = time.process_time()
    tree = conversation.encode(model, size_px, questions, questions, options, with_ends=False)
    to_reply = range(0 if kind == "a real vocabulary" else len(questions))
    with torch.no_grad():
        generation.score_and_reply(model, [tree], [image], [to_reply])
    seconds = time.process_time() - began
    # Of Linux, where it is in kibibytes.
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"tokens": len(tree.token_ids) - tree.n_root, "seconds": seconds, "peak_bytes": peak}


def _option(number: int) -> str:
    return f"compound number {number:04d} at {number % 7} micromolar"


def _with_vocabulary(model: LoadedModel) -> LoadedModel:
    """Return the model with as many logits as a real one; the added ones are random."""
    head = model.network.lm_head
    added = torch.randn(VOCABULARY - head.out_features, head.in_features) * head.weight.std().item()
    model.network.lm_head = torch.nn.Linear(head.in_features, VOCABULARY, bias=False)
    model.network.lm_head.weight.data = torch.cat([head.weight.data, added])
    config = copy.deepcopy(model.config)
    config.get_text_config().vocab_size = VOCABULARY
    return replace(model, config=config)


def main() -> None:
    """Run a process for each row and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="the two smallest of each kind")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measure(asked.one[0], int(asked.one[1]))))
        return
    rows = []
    for kind, numbers in KINDS.items():
        found = []
        for n in numbers[:2] if asked.quick else numbers:
            command = [sys.executable, "-m", "benchmarks.options", "--one", kind, str(n)]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found.append(json.loads(said.splitlines()[-1]))
            rows.append(
                {
                    "kind": kind,
                    "number": f"{n:,}",
                    "tokens": f"{found[-1]['tokens']:,}",
                    "CPU, s": f"{found[-1]['seconds']:.1f}",
                    "peak, MiB": f"{found[-1]['peak_bytes'] / MEBIBYTE:,.0f}",
                    "exponent": "",
                }
            )
            print(".", end="", flush=True)
        tokens, seconds = (np.log([each[name] for each in found]) for name in ("tokens", "seconds"))
        rows[-1]["exponent"] = f"{np.polyfit(tokens, seconds, 1)[0]:.2f}"
    print(f"\n{table(rows)}")


if __name__ == "__main__":
    main()
