"""How the time of evaluation and training grows with images, and with questions per image.

    python -m benchmarks.growth            # less than two minutes
    python -m benchmarks.growth --quick    # the two smallest sizes

CPU seconds of one thread, the shortest of three rounds: of an evaluation from pixels to scores,
without replies; of a training from files to updated weights, as `finetune` does it, an optimiser
step every 16 images. The exponent is the slope of the logarithms: 1 means that twice as much
takes twice as long.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
import transformers
from PIL import Image
from transformers import Trainer

from benchmarks import training
from benchmarks.images import draw, table
from benchmarks.inference import OPTIONS, TREATMENT
from medres import models, resolution, runs
from medres.inference import generation
from medres.models import LoadedModel, conversation, tiny
from medres.training import trainer
from medres.training.samples import Samples, assign

N_IMAGES = 16
TIMES_IMAGES = (1, 2, 4, 8)
N_QUESTIONS = (1, 2, 4, 8, 16)
N_ROUNDS = 3
MICRO_BATCH_IMAGES = 8
SIZE_PX = (448, 448)


@cache
def low_image(seed: int) -> Image.Image:
    """Return a drawn picture at low resolution."""
    return resolution.apply(draw(SIZE_PX, seed=seed), resolution.plan(SIZE_PX, "low", TREATMENT))


@torch.no_grad()
def evaluation(model: LoadedModel, n_images: int, n_questions: int) -> float:
    """Return the CPU seconds of questions about images at low resolution."""
    images = [low_image(seed) for seed in range(n_images)]
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


def trainer_over(folder: Path, place: str, n_images: int, n_questions: int) -> Trainer:
    """Return a training at low resolution, ready to go once through drawn pictures."""
    runs.ROOT = folder
    question_set = training.prepare(folder, questions_an_image=n_questions, n_images=n_images)
    train = question_set.split("train")
    names = assign(train, "low", low_share=0.5, seed=0)
    samples = Samples(models.load(place), question_set, train, names, TREATMENT, epochs=1, seed=0)
    settings = replace(
        training.SETTINGS, batch_images=N_IMAGES, micro_batch_images=MICRO_BATCH_IMAGES
    )
    return trainer.trainer_of(samples, folder, settings)


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
    transformers.utils.logging.disable_progress_bar()
    model = models.load(tiny.NAME)
    images = [N_IMAGES * times for times in TIMES_IMAGES[:n_sizes]]
    questions = N_QUESTIONS[:n_sizes]
    rows = [
        growth("images, evaluation", images, lambda n: evaluation(model, n, 1)),
        growth(
            "questions per image, evaluation", questions, lambda n: evaluation(model, N_IMAGES, n)
        ),
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        place = str(tiny.make(folder / tiny.NAME))

        @cache
        def ready(n_images: int, n_questions: int) -> tuple[Trainer, dict[str, torch.Tensor]]:
            made = trainer_over(folder / f"{n_images}-{n_questions}", place, n_images, n_questions)
            return made, {key: value.clone() for key, value in made.model.state_dict().items()}

        def seconds(n_images: int, n_questions: int) -> float:
            return training.train_once(*ready(n_images, n_questions), folder)[0]

        rows += [
            growth("images, training", images, lambda n: seconds(n, 1)),
            growth("questions per image, training", questions, lambda n: seconds(N_IMAGES, n)),
        ]
    print(table(rows))


if __name__ == "__main__":
    main()
