"""How the time of an evaluation grows with images, and with questions an image.

    python -m benchmarks.growth            # some minutes
    python -m benchmarks.growth --quick    # the two smallest sizes

CPU seconds of one thread from pixels to scores, without replies, the shortest of three rounds. The
exponent is the slope of the logarithms: 1 means that twice as much takes twice as long.
"""

import argparse
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from benchmarks.images import draw, table
from benchmarks.inference import OPTIONS, TREATMENT
from medres import models, resolution
from medres.inference import generation
from medres.models import LoadedModel, conversation, tiny

N_IMAGES = 16
TIMES_IMAGES = (1, 2, 4, 8)
N_QUESTIONS = (1, 2, 4, 8, 16)
N_ROUNDS = 3
SIZE_PX = (448, 448)


@torch.no_grad()
def evaluation(model: LoadedModel, n_images: int, n_questions: int) -> float:
    """Return the CPU seconds of questions about images at low resolution."""
    geometry = resolution.plan(SIZE_PX, "low", TREATMENT)
    images = [resolution.apply(draw(SIZE_PX, seed=seed), geometry) for seed in range(n_images)]
    questions = [f"what is seen in part {number}?" for number in range(n_questions)]
    began = time.process_time()
    trees = [
        conversation.encode(
            model, image.size, questions, questions, [OPTIONS] * n_questions, with_ends=False
        )
        for image in images
    ]
    generation.score(model, trees, images)
    return time.process_time() - began


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """Return the slope of the line through logarithms of sizes and times."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def growth(what: str, sizes: Sequence[int], measure: Callable[[int], float]) -> dict[str, str]:
    """Return a row of the table: the seconds at each size, and the exponent."""
    measure(sizes[0])
    # All sizes in turn, so that a busy minute of the machine does not fall on one of them.
    rounds = [[measure(size) for size in sizes] for _ in range(N_ROUNDS)]
    seconds = [min(each) for each in zip(*rounds, strict=True)]
    row = {"growth with": what, "exponent": f"{exponent(sizes, seconds):.2f}"}
    shown = (f"{size}: {each:.2f} s" for size, each in zip(sizes, seconds, strict=True))
    return row | {"CPU time": ", ".join(shown)}


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="the two smallest sizes")
    n_sizes = 2 if parser.parse_args().quick else None
    torch.set_num_threads(1)
    model = models.load(tiny.NAME)
    images = [N_IMAGES * times for times in TIMES_IMAGES[:n_sizes]]
    rows = [
        growth("images, evaluation", images, lambda n: evaluation(model, n, 1)),
        growth(
            "questions an image, evaluation",
            N_QUESTIONS[:n_sizes],
            lambda n: evaluation(model, N_IMAGES, n),
        ),
    ]
    print(table(rows))


if __name__ == "__main__":
    main()
