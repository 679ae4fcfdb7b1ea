"""What holds for every family of models, measured on its tiny model.

Each point is a function that returns a measured number, which must not be above a limit (or not
below, where something must have an effect). `tests/models/test_contract.py` holds all families to
all points; the table in docs/models.md is written by

    python -m tests.contract --write
"""

import argparse
import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from medres import models, resolution
from medres.inference import check, generation
from medres.models import LoadedModel, conversation, flops, lora, parts, tiny, trees
from medres.models.conversation import IGNORED
from medres.models.offline import Sizes
from medres.models.trees import Tree
from medres.plan import memory
from medres.plan.memory import Load, Setting
from medres.training.samples import Samples

TABLE = Path(__file__).parents[1] / "docs" / "models.md"
BEGIN, END = "<!-- contract: begin -->", "<!-- contract: end -->"
ASKED = {
    "Is there a nodule?": ["yes", "no"],
    "Which organelle does the green protein label?": ["golgi apparatus", "plasma membrane", "ER"],
}
EXTREME_PX = ((1, 1), (20, 4000), (4000, 20), (4000, 3000), (27, 29), (56, 56), (999, 31))
N_SIZES = 200
LARGEST_PX = 700
"""Most sizes are up to this; the extreme ones are among them too."""
SIZES_PX = ((140, 84), (84, 140))
PIXELS = {"low_max_pixels": 3_136, "native_max_pixels": 12_845_056, "resampling_filter": "bicubic"}


def noise(size_px: tuple[int, int], seed: int = 0) -> Image.Image:
    """Return random pixels."""
    shape = (size_px[1], size_px[0], 3)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def _planned(model: LoadedModel, size_px: tuple[int, int]) -> resolution.Geometry:
    treatment = models.treatment(model.config, **PIXELS, tiling=model.tiling)
    return resolution.plan(size_px, "native", treatment)


def _trees(model: LoadedModel) -> tuple[list[Tree], list[Image.Image]]:
    """Return two images of different shapes, asked the same, as inference asks them."""
    images = [
        resolution.apply(noise(size_px, seed), _planned(model, size_px))
        for seed, size_px in enumerate(SIZES_PX)
    ]
    options = list(ASKED.values())
    ids = [str(number) for number in range(len(ASKED))]
    return [
        conversation.encode(model, image.size, ids, list(ASKED), options, with_ends=False)
        for image in images
    ], images


def realised_tokens(model: LoadedModel, image: Image.Image, tree: Tree) -> int:
    """Return how many visual tokens the pixels of an image have, by their shape alone."""
    made = models.pixel_inputs(model, [image], [tree.layout])
    family, config = models.family_of(model.config), model.config
    if "image_grid_thw" in made:
        return int(made["image_grid_thw"].prod()) // config.vision_config.spatial_merge_size**2
    if "image_position_ids" in made:
        n_patches = int((made["image_position_ids"] >= 0).all(-1).sum())
        return n_patches // config.vision_config.pooling_kernel_size**2
    if "image_sizes" in made and not family.cuts:
        return int((made["image_sizes"] // family.multiple_px(config)).prod())
    n_crops = made["pixel_values"].shape[-4]
    if family.tiles and "image_sizes" in made:
        # What LLaVA-OneVision makes of its crops is measured by the network that counts them.
        return tree.layout.visual_tokens if n_crops == tree.layout.n_crops else -1
    one = tree.layout.visual_tokens // tree.layout.n_crops
    return n_crops * one


def sizes_as_planned(model: LoadedModel) -> float:
    """Return how many of 200 sizes have other visual tokens or marks than planned."""
    rng = np.random.default_rng(3)
    drawn = np.exp(rng.uniform(0, np.log(LARGEST_PX), (N_SIZES - len(EXTREME_PX), 2)))
    sizes = [*EXTREME_PX, *((int(width), int(height)) for width, height in drawn)]
    wrong = 0
    for size_px in sizes:
        geometry = _planned(model, size_px)
        tree = conversation.encode(model, geometry.given_px, [""], ["is it?"], [[]])
        n_image = int((tree.token_ids == model.image_token_id).sum())
        before, _ = conversation.prompt_lengths(model, "is it?")
        n_marks = tree.n_root - n_image - before
        image = Image.new("RGB", geometry.given_px)
        planned = (geometry.visual_tokens, geometry.visual_tokens, tree.layout.mark_tokens)
        wrong += planned != (n_image, realised_tokens(model, image, tree), n_marks)
    return wrong


def own_processor(model: LoadedModel) -> float:
    """Return how many sizes the checkpoint's own image processor, left alone, makes otherwise.

    Asked about sizes as they are given to the model, at the family's published settings: the
    inputs must be of the shapes that ours have, so that resolution is what users of the model see.
    """
    rng = np.random.default_rng(5)
    drawn = np.exp(rng.uniform(np.log(30), np.log(LARGEST_PX), (30, 2)))
    wrong = 0
    for size_px in ((20, 1200), (1200, 20), *((int(w), int(h)) for w, h in drawn)):
        geometry = _planned(model, size_px)
        if geometry.visual_tokens == 1:
            continue  # where some networks fail, and some processors enlarge further
        image = Image.new("RGB", geometry.given_px)
        assert geometry.layout is not None
        ours = models.pixel_inputs(model, [image], [geometry.layout])
        family = models.family_of(model.config)
        theirs = model.image_processor(
            image, return_tensors="pt", **family.told_to_processor(model.config)
        )
        wrong += any(ours[name].shape != theirs[name].shape for name in ours)
    return wrong


@torch.no_grad()
def options_as_flat(model: LoadedModel) -> float:
    """Return the largest difference of log-probabilities from conversations one by one, in nats.

    Both images are read before either is asked.
    """
    asked, images = _trees(model)
    scores = generation.score(model, asked, images)
    asked = [(question, option) for question, options in ASKED.items() for option in options]
    flat = np.array(
        [[check.score_alone(model, image.size, image, *each) for each in asked] for image in images]
    )
    return float(np.abs(flat - np.stack([sums for sums, _ in scores])).max())


@torch.no_grad()
def replies_as_generated(model: LoadedModel) -> float:
    """Return how many replies to both questions about both images are not those of generate."""
    asked, images = _trees(model)
    to_reply = [list(range(len(ASKED)))] * len(images)
    _, replies = generation.score_and_reply(model, asked, images, to_reply)
    return sum(
        found[number] != generation.generate(model, _planned(model, size_px), image, "", question)
        for found, image, size_px in zip(replies, images, SIZES_PX, strict=True)
        for number, question in enumerate(ASKED)
    )


@torch.no_grad()
def blank_differs(model: LoadedModel) -> float:
    """Return the difference that the pixels of an image make to an option, in nats."""
    (tree, *_), (image, *_) = _trees(model)
    grey = Image.new("RGB", image.size, (resolution.BLANK_GREY,) * 3)
    scores = [generation.score(model, [tree], [each])[0][0] for each in (image, grey)]
    return float(np.abs(scores[0] - scores[1]).max())


def _loss(model: LoadedModel, samples: list[tuple[Tree, Any]]) -> torch.Tensor:
    """Return the summed loss of some images, with the inputs that training makes of them."""
    made = object.__new__(Samples)  # of which only the making of inputs is asked
    made.model = model
    batch = made.collate(samples)
    targets = batch.pop("labels")[:, 1:]
    vision = batch.pop("vision").on(torch.device("cpu"), torch.float32)
    logits = model.network(**batch, **vision, use_cache=False).logits
    return torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum"
    )


def _gradients(model: LoadedModel, groups: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
    """Return the gradients of the loss of some images, in passes of some of them each."""
    network = model.network
    network.zero_grad()
    _, images = _trees(model)
    ids = [str(number) for number in range(len(ASKED))]
    trees = [
        conversation.encode(
            model, image.size, ids, list(ASKED), [options[:1] for options in ASKED.values()]
        )
        for image in images
    ]
    n_targets = sum(len(tree.target_ids) for tree in trees)
    for group in groups:
        (_loss(model, [(trees[index], images[index]) for index in group]) / n_targets).backward()
    found = {
        name: weight.grad.clone()
        for name, weight in network.named_parameters()
        if weight.grad is not None
    }
    network.zero_grad()
    return found


def gradient_of_parts(model: LoadedModel) -> float:
    """Return the largest difference that the split of a step makes to a gradient, of its size."""
    whole, parts = _gradients(model, [[0, 1]]), _gradients(model, [[0], [1]])
    return max(
        float((whole[name] - parts[name]).norm() / (whole[name].norm() + 1e-12))
        for name in whole
        if float(whole[name].norm()) > 1e-6
    )


def step_is_saved(model: LoadedModel) -> float:
    """Return how far scores of a saved and loaded network are from its own, after a step.

    Infinite if the step changes no weight of the vision side or none of the language model.
    """
    trained = _copied(model)
    before = {name: weight.clone() for name, weight in trained.network.named_parameters()}
    optimiser = torch.optim.SGD(trained.network.parameters(), lr=0.1)
    gradients = _gradients(trained, [[0, 1]])
    for name, weight in trained.network.named_parameters():
        weight.grad = gradients.get(name)
    optimiser.step()
    changed = {
        _is_of_text(name)
        for name, weight in trained.network.named_parameters()
        if not torch.equal(weight, before[name])
    }
    if changed != {True, False}:
        return float("inf")
    with tempfile.TemporaryDirectory() as folder:
        models.save(trained, folder)
        again = models.load(folder)
    asked, images = _trees(model)
    with torch.no_grad():
        found = [generation.score(each, asked, images) for each in (trained, again)]
    return max(float(np.abs(a - b).max()) for a, b in zip(*found, strict=True))


@torch.no_grad()
def operations(model: LoadedModel) -> float:
    """Return the share by which the count of operations differs from PyTorch's."""
    image = resolution.apply(noise((300, 200)), _planned(model, (300, 200)))
    tree = conversation.encode(model, image.size, [""], ["is it?"], [["yes"]])
    input_ids = torch.from_numpy(tree.token_ids)[None]
    inputs = models.pixel_inputs(model, [image], [tree.layout])
    # Spelt out, attention is two products, which the counter knows.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.network(
            input_ids=input_ids,
            **inputs,
            **models.flat_inputs(model, input_ids),
            use_cache=False,
        )
    counted = flops.forward_flops(
        model.shape,
        visual_tokens=tree.layout.visual_tokens,
        text_tokens=len(tree.token_ids) - tree.layout.visual_tokens,
        n_crops=tree.layout.n_crops,
    )
    return abs(counted / counter.get_total_flops() - 1)


def memory_kept(model: LoadedModel) -> float:
    """Return the share by which the layers keep more or less for a gradient than is predicted."""
    trained = _copied(model)
    network: Any = trained.network.train()
    size_px = (448, 336)
    image = resolution.apply(noise(size_px), _planned(model, size_px))
    replies = [options[:1] for options in ASKED.values()]
    ids = [str(number) for number in range(len(ASKED))]
    tree = conversation.encode(model, image.size, ids, list(ASKED), replies)
    known = {each.untyped_storage().data_ptr() for each in network.parameters()}
    held: dict[int, torch.Tensor] = {}
    inside = [False]

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if inside[0]:
            held[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    towers = [parts.part_of(network.model, parts.TOWERS), parts.language_model(network)]
    for layer in (layer for tower in towers for layer in parts.layers_of(tower)):
        layer.register_forward_pre_hook(lambda *_: inside.__setitem__(0, True))
        layer.register_forward_hook(lambda *_: inside.__setitem__(0, False))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = _loss(trained, [(tree, image)])
    assert loss.requires_grad
    measured = sum(
        tensor.untyped_storage().nbytes() for place, tensor in held.items() if place not in known
    )
    rows = trees.flat(tree) if model.sharing == "cache" else [tree]
    longest = max(len(row.token_ids) for row in rows)  # to which all are padded
    only_layers = dataclasses.replace(model.shape, patch_values=0)
    predicted = sum(
        memory.activation_bytes(
            Sizes(only_layers, 0, 0),
            Load(row.layout, longest - row.layout.visual_tokens, 0),
            Setting("single", "float32"),
        )
        for row in rows
    )
    return abs(predicted / measured - 1)


def adapted_layers(model: LoadedModel) -> float:
    """Return how many layers get an adapter that must not have one, or lack it.

    All linear layers of the language model's blocks get one, and no other.
    """
    wanted = {
        name
        for name, layer in model.network.named_modules()
        if isinstance(layer, torch.nn.Linear) and _is_of_text(name) and ".layers." in name
    }
    adapted = lora.adapt(_copied(model), rank=2, seed=0)
    found = {
        name.removesuffix(".lora_A.default").removeprefix("base_model.model.")
        for name, _ in adapted.network.named_modules()
        if name.endswith(".lora_A.default")
    }
    return len(wanted ^ found)


def _is_of_text(name: str) -> bool:
    return name.startswith(("model.language_model.", "model.text_model."))


def _copied(model: LoadedModel) -> LoadedModel:
    with tempfile.TemporaryDirectory() as folder:
        models.save(model, folder)
        return models.load(folder, tiling=model.tiling)


@dataclass(frozen=True)
class Point:
    """Something that holds for every family."""

    title: str
    measure: Callable[[LoadedModel], float]
    limit: float
    is_least: bool = False
    """Whether the limit is the least value instead of the largest."""

    def holds(self, value: float) -> bool:
        """Return whether a measured value keeps to the limit."""
        return value >= self.limit if self.is_least else value <= self.limit


POINTS = (
    Point("sizes not as planned, of 200", sizes_as_planned, 0),
    Point("sizes not as the processor's, of 32", own_processor, 0),
    Point("options against flat (nats)", options_as_flat, 1e-5),
    Point("replies not generate's, of 4", replies_as_generated, 0),
    Point("a blank image differs by (nats)", blank_differs, 1e-4, is_least=True),
    Point("gradient of parts (relative)", gradient_of_parts, 1e-4),
    Point("saved step against loaded (nats)", step_is_saved, 1e-6),
    Point("operations against PyTorch's", operations, 0.01),
    Point("memory against autograd's", memory_kept, 0.1),
    Point("layers wrongly adapted", adapted_layers, 0),
)


def load(name: str, folder: Path) -> LoadedModel:
    """Return a tiny model, made in a folder."""
    return models.load(str(tiny.make(folder / name, name)))


def shown(value: float) -> str:
    """Return a measured value for a table."""
    if value == int(value):
        return str(int(value))
    return f"{value:.0e}" if value < 0.01 else f"{value:.2f}"


def table(names: Sequence[str]) -> list[str]:
    """Measure all points on some tiny models; return the lines of a Markdown table."""
    header = ["family", "questions share", *(point.title for point in POINTS)]
    limits = [f"{'at least' if point.is_least else 'at most'} {point.limit:g}" for point in POINTS]
    rows = [header, ["---"] * len(header), ["*limit*", "", *limits]]
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            model = load(name, Path(folder))
            values = [point.measure(model) for point in POINTS]
            cells = [
                shown(value) if point.holds(value) else f"**{shown(value)}**"
                for point, value in zip(POINTS, values, strict=True)
            ]
            rows.append([tiny.family_of(name), model.sharing, *cells])
    return [f"| {' | '.join(row)} |" for row in rows]


def main() -> None:
    """Print the table, or write it into docs/models.md."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="into docs/models.md")
    parser.add_argument("names", nargs="*", help="tiny models; all by default")
    arguments = parser.parse_args()
    lines = table(arguments.names or tiny.NAMES)
    if not arguments.write:
        print("\n".join(lines))
        return
    before, rest = TABLE.read_text().split(BEGIN)
    TABLE.write_text("\n".join([before + BEGIN, "", *lines, "", END + rest.split(END)[1]]))


if __name__ == "__main__":
    main()
