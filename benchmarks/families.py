"""Every family: medres' scoring beside batched `generate`, and the two ways to share an image.

    python -m benchmarks.families             # some minutes
    python -m benchmarks.families --rounds 2 --families tiny-gemma3 tiny-qwen3-vl

Four questions with four options each about the same pixels, by the tiny model of each family,
32-bit, one thread, in one process, in turns; a round is all questions by each side, from pixels to
answers, in CPU time of the process. Batched is transformers' `generate`, greedy, for up to eight
questions at a time, of one image size, so that nothing is padded. It stops at the end of turn or
after as many tokens as the longest option has, and has the network as transformers loads it. Ratios
are of the sides in the same round: median and range. Families that always scale an image to tiles
of one size have few visual tokens here, since the tiles of the tiny models are of 56 px: there is
less to share then than in the published models.

tiny-qwen2-vl is also computed both ways, tree and cache.
"""

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable

import torch
import transformers
from PIL import Image

from benchmarks.images import draw, table
from medres import models, resolution
from medres.inference import generation
from medres.inference.decoding import end_of_turn
from medres.models import LoadedModel, conversation, tiny
from medres.models.trees import Tree

PIXELS = {
    "low_max_pixels": 50_176,
    "native_max_pixels": 12_000_000,
    "resampling_filter": "bicubic",
}
OPTIONS = ("nodule", "mass", "fluid", "none present")
QUESTIONS = [f"what is seen in part {number} of the picture?" for number in (1, 2, 3, 4)]
SIZE_PX = (448, 448)
N_IMAGES = 4
AT_ONCE = 8
"""Conversations of a batch of `generate`."""


def drawn(model: LoadedModel) -> tuple[list[Image.Image], str]:
    """Return the pictures as the model is given them, and their visual tokens."""
    treatment = models.treatment(model.config, **PIXELS, tiling=model.tiling)
    geometry = resolution.plan(SIZE_PX, "native", treatment)
    images = [resolution.apply(draw(SIZE_PX, seed=seed), geometry) for seed in range(N_IMAGES)]
    return images, str(geometry.visual_tokens)


def by_medres(model: LoadedModel, images: list[Image.Image]) -> list[str]:
    """Return the options with the highest log-probability, an image's questions together."""
    ids = [str(number) for number in range(len(QUESTIONS))]
    trees = [
        conversation.encode(
            model, image.size, ids, QUESTIONS, [OPTIONS] * len(ids), with_ends=False
        )
        for image in images
    ]
    return [
        OPTIONS[int(of_question.argmax())]
        for sums, _ in generation.score(model, trees, images)
        for of_question in sums.reshape(len(QUESTIONS), len(OPTIONS))
    ]


def by_generate(model: LoadedModel, images: list[Image.Image]) -> list[str]:
    """Return the greedy replies of batches."""
    tokenizer = model.tokenizer
    longest = max(len(tokenizer.encode(option, add_special_tokens=False)) for option in OPTIONS)
    flat = [(image, question) for image in images for question in QUESTIONS]
    replies: list[str] = []
    for start in range(0, len(flat), AT_ONCE):
        part = flat[start : start + AT_ONCE]
        trees: list[Tree] = [
            conversation.encode(model, image.size, [""], [question], [[]])
            for image, question in part
        ]
        # The questions differ in a digit alone, which is one token.
        input_ids = torch.stack([torch.from_numpy(tree.token_ids) for tree in trees])
        vision = models.pixel_inputs(
            model, [image for image, _ in part], [tree.layout for tree in trees]
        )
        output = model.network.generate(
            input_ids=input_ids,
            attention_mask=torch.ones_like(input_ids),
            **models.flat_inputs(model, input_ids),
            **vision,
            max_new_tokens=longest + 1,
            do_sample=False,
            eos_token_id=end_of_turn(model),
        )
        said = tokenizer.batch_decode(output[:, input_ids.shape[1] :], skip_special_tokens=True)
        replies += map(str.strip, said)
    return replies


def compare(sides: dict[str, Callable[[], list[str]]], *, n_rounds: int) -> dict[str, list[float]]:
    """Return the CPU seconds of each side in every round, after one that is not timed."""
    for side in sides.values():
        side()
    names = list(sides)
    taken: dict[str, list[float]] = {name: [] for name in names}
    for number in range(n_rounds):
        for place in range(len(names)):
            name = names[(place + number) % len(names)]
            began = time.process_time()
            sides[name]()
            taken[name].append(time.process_time() - began)
    return taken


def ratio(slower: list[float], faster: list[float]) -> str:
    """Return how many times as fast the second is: median and range of the rounds."""
    found = [one / other for one, other in zip(slower, faster, strict=True)]
    return f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"


def row(name: str, *, n_rounds: int) -> dict[str, str]:
    """Measure one family."""
    model = models.load(name)
    images, visual_tokens = drawn(model)
    network = getattr(transformers, models.family_of(model.config).network)
    theirs = network.from_pretrained(models.locate(name), trust_remote_code=False).eval()
    plain = dataclasses.replace(model, network=theirs)
    sides: dict[str, Callable[[], list[str]]] = {
        "medres": lambda: by_medres(model, images),
        "generate": lambda: by_generate(plain, images),
    }
    if model.sharing == "tree":
        other = dataclasses.replace(model, sharing="cache")
        sides["cache"] = lambda: by_medres(other, images)
        if sides["cache"]() != sides["medres"]():
            raise ValueError(f"{name}: tree and cache give different answers")
    taken = compare(sides, n_rounds=n_rounds)
    n_questions = len(images) * len(QUESTIONS)
    return {
        "family": tiny.family_of(name),
        "questions share": model.sharing,
        "visual tokens": visual_tokens,
        "questions/s": f"{n_questions / statistics.median(taken['medres']):.0f}",
        "times batched generate": ratio(taken["generate"], taken["medres"]),
        "cache, times the tree": ratio(taken["medres"], taken["cache"]) if "cache" in taken else "",
    }


@torch.no_grad()
def main() -> None:
    """Measure the families and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--families", nargs="+", default=tiny.NAMES, choices=tiny.NAMES)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    print(table([row(name, n_rounds=asked.rounds) for name in asked.families]))


if __name__ == "__main__":
    main()
