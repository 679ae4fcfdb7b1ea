"""Training samples: images with all their questions, in the order of all epochs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils.data import Dataset

from medres import datasets, mixed, models, resolution, trained_at
from medres.datasets import pixel_cache
from medres.datasets.pixel_cache import Held, PixelCache
from medres.models import LoadedModel, conversation, flops, lora, trainable, trees
from medres.models.trees import Tree
from medres.resolution import Treatment
from medres.results import losses
from medres.training import micro_batches

BYTES_PER_PIXEL = 4
"""Of an image in Pillow, with its unused fourth channel."""


def assign(
    train: pd.DataFrame, train_resolution: str, *, low_share: float, seed: int
) -> np.ndarray:
    """Return the resolution of each training question, shape (n_questions,), of strings."""
    shares = trained_at.shares(train_resolution, low_share=low_share)
    if len(shares) == 1:
        return np.full(len(train), next(iter(shares)), dtype=object)
    is_low = mixed.assign_mixed(
        train["image"].tolist(),
        train["modality"].tolist(),
        low_share=shares["low"],
        rng=np.random.default_rng([seed, 1]),
    )
    return np.where(is_low, "low", "native").astype(object)


@dataclass(frozen=True)
class VisionInputs:
    """The vision inputs of a micro-batch, kept off the GPU until the micro-batch is used.

    Trainer moves all micro-batches of a step to the GPU at once; for 128 images of 2048 x 2048
    pixels that would be 13 GB.
    """

    inputs: dict[str, torch.Tensor]

    def pin_memory(self) -> "VisionInputs":
        """Return them in page-locked memory; called by a DataLoader."""
        return VisionInputs({name: value.pin_memory() for name, value in self.inputs.items()})

    def on(self, device: torch.device, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        """Return them on a device, floating-point values in a dtype."""
        return {
            name: value.to(device, dtype if value.is_floating_point() else None, non_blocking=True)
            for name, value in self.inputs.items()
        }


class Samples(Dataset[tuple[Tree, Any]]):
    """Images with their questions, in the order of all epochs.

    The first images that are read are held in memory up to `held_bytes`: every epoch needs all.
    """

    def __init__(
        self,
        model: LoadedModel,
        question_set: datasets.QuestionSet,
        train: pd.DataFrame,
        resolutions: np.ndarray,
        treatment: Treatment,
        *,
        epochs: int,
        seed: int,
        cache: PixelCache = pixel_cache.NONE,
        held_bytes: int = 0,
    ) -> None:
        self.model = model
        self.question_set = question_set
        self.train = train
        self.cache = cache
        self.held: Held[Any] = Held(held_bytes)
        self.images: list[str] = []
        self.geometries: list[resolution.Geometry] = []
        self.trees: list[Tree] = []
        self.question_ids: list[list[str]] = []
        too_long: list[conversation.TooLongError] = []
        n_images = train["image"].nunique()
        self.n_low_questions = int((resolutions == "low").sum())
        for image, rows in train.assign(resolution=resolutions).groupby("image", sort=True):
            first = rows.iloc[0]
            geometry = resolution.plan(
                (int(first["width_px"]), int(first["height_px"])),
                first["resolution"],
                treatment,
                mpp_um=first.get("mpp_um"),
            )
            question_ids = rows["question_id"].tolist()
            try:
                tree = conversation.about(
                    model,
                    geometry,
                    question_ids,
                    rows["question"].tolist(),
                    [[reference] for reference in rows["reference"]],
                )
            except conversation.TooLongError as error:
                too_long.append(error)
                continue
            self.images.append(str(image))
            self.geometries.append(geometry)
            self.trees.append(tree)
            self.question_ids.append(question_ids)
        if too_long:
            raise ValueError(
                f"{len(too_long)} of {n_images} training images have questions that are too long; "
                "lower low_max_pixels or native_max_pixels, or leave them out of the data set; "
                f"first, {too_long[0]}"
            )
        rng = np.random.default_rng([seed, 2])
        self.order = np.concatenate([rng.permutation(len(self.images)) for _ in range(epochs)])

    def __len__(self) -> int:
        """Return the number of samples of all epochs."""
        return len(self.order)

    def __getitem__(self, step: int) -> tuple[Tree, Any]:
        """Return the tree of one sample, and its pixels: an image, or the list of its views."""
        index = self.order[step]
        image, geometry = self.images[index], self.geometries[index]
        n_bytes = BYTES_PER_PIXEL * sum(math.prod(view.given_px) for view in geometry.each)
        pixels = self.held.get(
            index,
            lambda: pixel_cache.views_of(self.question_set, image, geometry, self.cache),
            lambda _: n_bytes,
        )
        return self.trees[index], pixels

    def collate(self, samples: list[tuple[Tree, Any]]) -> dict[str, Any]:
        """Return the samples of one pass as inputs of the network, with labels and `vision`."""
        rows = [(row, pixels) for tree, pixels in samples for row in self._rows_of(tree)]
        of_rows = [row for row, _ in rows]
        batch = conversation.collate(of_rows, pad_token_id=self.model.tokenizer.pad_token_id)
        targets = conversation.labels(of_rows, batch["logits_to_keep"])
        # Trainer counts labels from the second column on, as if they still had to be shifted.
        ahead = torch.full((len(rows), 1), conversation.IGNORED)
        batch["labels"] = torch.cat([ahead, targets], dim=1)
        if self.is_flat:
            batch |= models.flat_inputs(self.model, batch["input_ids"])
        images, layouts = trees.in_order(of_rows, [pixels for _, pixels in rows])
        return batch | {"vision": VisionInputs(models.answer_inputs(self.model, images, layouts))}

    @property
    def is_flat(self) -> bool:
        """Whether every question is a row of its own, with its own copy of the image."""
        return self.model.sharing == "cache"

    def _rows_of(self, tree: Tree) -> list[Tree]:
        return trees.flat(tree) if self.is_flat else [tree]

    def rows(self, places: Sequence[int] | np.ndarray) -> list[Tree]:
        """Return the rows of a pass of some samples."""
        return [row for place in places for row in self._rows_of(self.trees[self.order[place]])]

    def n_rows(self, place: int) -> int:
        """Return the number of rows of a sample in a pass."""
        return len(self.questions_at(place)) if self.is_flat else 1

    def questions_at(self, place: int) -> list[str]:
        """Return the ids of the questions of a sample."""
        return self.question_ids[self.order[place]]

    def n_predictors(self, places: np.ndarray) -> int:
        """Return at how many positions each row of a pass of some samples has logits."""
        return len(np.unique(np.concatenate([row.predictors for row in self.rows(places)])))

    def lengths(self) -> np.ndarray:
        """Return the tokens of each sample in order, those of all its rows, shape (n_samples,)."""
        each = np.array([len(tree.token_ids) for tree in self.trees], dtype=np.int64)
        if self.is_flat:
            n_repeated = [(len(tree.prompt_ends) - 1) * tree.n_root for tree in self.trees]
            each += np.array(n_repeated, dtype=np.int64)
        return np.take(each, self.order)

    def chance_loss(self) -> float | None:
        """Return the least loss per answer token that can be reached without the image.

        None if it cannot be known; see `losses.chance`.
        """
        n_answer_tokens = sum(len(tree.target_ids) for tree in self.trees)
        return losses.chance(self.train, n_answer_tokens=n_answer_tokens)

    def mean_visual_tokens(self) -> float:
        """Return the mean number of visual tokens per training image."""
        return float(np.mean([geometry.visual_tokens for geometry in self.geometries]))

    def training_flops(self) -> np.ndarray:
        """Return the floating-point operations of each sample in order, as counted by `flops`.

        Returns:
            Shape (n_samples,).
        """
        # Read once: it is looked up by the whole config.
        shape, is_adapted = self.model.shape, lora.is_adapted(self.model)
        network: Any = self.model.network
        train_vision = trainable.vision_of(network.get_base_model() if is_adapted else network)
        per_image = [
            sum(
                flops.training_flops(
                    shape,
                    **flops.of_image(geometry),
                    text_tokens=len(row.token_ids) - geometry.visual_tokens,
                    logit_tokens=len(np.unique(row.predictors)),
                    train_vision=train_vision,
                    is_adapted=is_adapted,
                )
                for row in self._rows_of(tree)
            )
            for geometry, tree in zip(self.geometries, self.trees, strict=True)
        ]
        return np.array([per_image[index] for index in self.order], dtype=np.int64)


class MicroBatches(Dataset[dict[str, Any]]):
    """Samples grouped into micro-batches, collated."""

    def __init__(
        self, samples: Samples, *, batch_images: int, micro_batch_images: int, n_processes: int
    ) -> None:
        self.samples = samples
        self.groups, self.n_per_step = micro_batches.group(
            samples.lengths(),
            batch_images=batch_images,
            micro_batch_images=micro_batch_images,
            n_processes=n_processes,
        )

    def __len__(self) -> int:
        """Return the number of micro-batches of all epochs, on all processes."""
        return len(self.groups)

    def __getitem__(self, place: int) -> dict[str, Any]:
        """Return one micro-batch as inputs of the network, with labels."""
        group = self.groups[place]
        batch = self.samples.collate([self.samples[index] for index in group.samples])
        n_rows = [self.samples.n_rows(index) for index in group.samples]
        batch["places"] = torch.from_numpy(np.repeat(group.samples, n_rows))
        if not group.is_counted:
            batch["labels"].fill_(conversation.IGNORED)
        return batch

    def padding_share(self) -> float:
        """Return the share of the language model's tokens that are padding."""
        return micro_batches.padding_share(self.groups, self.samples.lengths())
