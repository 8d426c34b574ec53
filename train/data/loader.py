"""Batches for training: sampling over sources, augmentation, targets.

The picture drawn at a place depends on the seed, the epoch and that place alone, so the number of
loader processes and an interruption change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from runtime.errors import UserError
from train.config import TrainConfig
from train.data.augment import compose
from train.data.config import DataConfig, FairMOTAugmentConfig, PhotoDataConfig
from train.data.fairmot_style import letterboxed, mixup
from train.data.pictures import PictureSource
from train.data.sample import Sample
from train.data.sources import open_weighted
from train.data.targets import Targets, make_targets


@dataclass
class Batch:
    """A batch with its targets; see ``train.data.targets.Targets`` for the meaning.

    Attributes:
        images: ``[N, H, W, 3]`` uint8 RGB; see ``model_input``.
        heatmap: ``[N, classes, h, w]`` float32.
        cells: ``[N, M]`` int64.
        sizes_ltrb: ``[N, M, 4]`` float32.
        offsets: ``[N, M, 2]`` float32.
        ids: ``[N, M]`` int64.
        mask: ``[N, M]`` bool.
    """

    images: Tensor
    heatmap: Tensor
    cells: Tensor
    sizes_ltrb: Tensor
    offsets: Tensor
    ids: Tensor
    mask: Tensor

    def to(self, device: torch.device) -> Batch:
        """Move all tensors."""
        return Batch(**{part.name: getattr(self, part.name).to(device) for part in fields(Batch)})

    def model_input(self) -> Tensor:
        """Return ``[N, 3, H, W]`` float32 RGB in 0..1, channels last in memory."""
        return self.images.permute(0, 3, 1, 2).float().div_(255)


@dataclass
class Draw:
    """The pictures that one training picture is made of.

    Attributes:
        layers: Several are blended (mixup); each has one sample, or as many as its collage or
            mosaic shows.
        rng: What the augmentation goes on drawing from.
    """

    layers: list[list[Sample]]
    rng: np.random.Generator


class TrainingSet(Dataset[dict[str, np.ndarray]]):
    """Pictures drawn from weighted sources.

    Args:
        config: The run.
        stride: Pixels per cell of the model.

    Attributes:
        num_ids: Identities over all sources together.

    Raises:
        UserError: A source cannot be opened, or knows more classes than the model.
    """

    def __init__(self, config: TrainConfig, stride: int) -> None:
        self._config = config
        self._stride = stride
        self._sources: list[PictureSource] = []
        self._entries: list[DataConfig] = []
        weights: list[float] = []
        for place, entry in enumerate(config.data):
            for source, weight in open_weighted(entry):
                _check_classes(source, config.model.num_classes, f"data.{place}")
                self._sources.append(source)
                self._entries.append(entry)
                weights.append(weight)
        if not sum(weights):
            raise UserError("all weights under data: are 0, give one of the sources a weight")
        self._first_id = np.cumsum([0, *(source.num_ids for source in self._sources)])
        self.num_ids = int(self._first_id[-1])
        self._shares = np.array(weights) / np.sum(weights)
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, counted from 0, whose pictures are drawn."""
        self._epoch = epoch

    def describe(self) -> list[tuple[str, int, int]]:
        """Return name, number of pictures and number of identities of every source."""
        return [(source.name, len(source), source.num_ids) for source in self._sources]

    def __len__(self) -> int:
        return self._config.schedule.images_per_epoch

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        sample = self.augment(self.draw(index))
        return {
            "images": cv2.cvtColor(sample.image, cv2.COLOR_BGR2RGB),
            **vars(self.targets(sample)),
        }

    def draw(self, index: int) -> Draw:
        """Read what the picture at a place of the epoch is made of."""
        rng = np.random.default_rng((self._config.seed, self._epoch, index))
        augment = self._config.augment
        if not isinstance(augment, FairMOTAugmentConfig):
            return Draw([self._draw_collage(rng)], rng)
        layers = []
        for _ in range(2 if rng.random() < augment.mixup else 1):
            count = 4 if rng.random() < augment.mosaic else 1
            layers.append([self._draw_one(rng) for _ in range(count)])
        return Draw(layers, rng)

    def augment(self, draw: Draw) -> Sample:
        """Make one picture of them."""
        augment, size_wh = self._config.augment, self._config.input_wh
        if not isinstance(augment, FairMOTAugmentConfig):
            return compose(draw.layers[0], size_wh, augment, draw.rng)
        first, *others = (letterboxed(layer, size_wh, augment, draw.rng) for layer in draw.layers)
        return mixup(first, others[0], draw.rng) if others else first

    def targets(self, sample: Sample) -> Targets:
        """Make the targets of an augmented picture."""
        config = self._config
        return make_targets(
            sample, config.input_wh, self._stride, config.model.num_classes, config.max_objects
        )

    def _draw_collage(self, rng: np.random.Generator) -> list[Sample]:
        which = int(rng.choice(len(self._sources), p=self._shares))
        source, entry = self._sources[which], self._entries[which]
        count = int(rng.choice(entry.collage))
        samples = [
            self._globally_numbered(source[int(pick)], which)
            for pick in rng.integers(len(source), size=count)
        ]
        for sample in samples:
            _stretch(sample, entry, rng)
        return samples

    def _draw_one(self, rng: np.random.Generator) -> Sample:
        which = int(rng.choice(len(self._sources), p=self._shares))
        pick = int(rng.integers(len(self._sources[which])))
        sample = self._globally_numbered(self._sources[which][pick], which)
        _stretch(sample, self._entries[which], rng)
        return sample

    def _globally_numbered(self, sample: Sample, which: int) -> Sample:
        sample.ids = np.where(sample.ids >= 0, sample.ids + self._first_id[which], -1)
        return sample


def _stretch(sample: Sample, entry: DataConfig, rng: np.random.Generator) -> None:
    if isinstance(entry, PhotoDataConfig):
        sample.pixel_aspect = float(rng.uniform(*entry.pixel_aspect))


def _check_classes(source: PictureSource, num_classes: int, place: str) -> None:
    if source.num_classes > num_classes:
        raise UserError(
            f"{place}: {source.name} has {source.num_classes} classes, the model {num_classes}: "
            "set model.num_classes and classes, or prepare the dataset with fewer"
        )


def batches(dataset: TrainingSet, epoch: int, config: TrainConfig) -> Iterator[Batch]:
    """Yield the batches of one epoch; a last incomplete one is left out.

    Raises:
        UserError: A picture cannot be read.
    """
    dataset.set_epoch(epoch)
    loader = make_loader(dataset, config.schedule.batch, config.workers, collate)
    with readable_errors():
        yield from loader


@contextmanager
def readable_errors() -> Iterator[None]:
    """Reduce a worker's ``UserError`` to its one line.

    It arrives with that process's traceback before it.
    """
    try:
        yield
    except UserError as error:
        raise UserError(str(error).rsplit("UserError: ", 1)[-1].strip()) from error


def make_loader(
    dataset: Dataset[Any],
    batch: int,
    workers: int,
    collate_items: Callable[[list[Any]], Any],
    persistent: bool = False,
) -> DataLoader[Any]:
    """Return a loader over the places of a dataset in order.

    Args:
        dataset: The dataset.
        batch: Pictures per batch; a last incomplete batch is left out.
        workers: Loader processes; 0 loads in this one.
        collate_items: Makes a batch of a list of items.
        persistent: Whether the processes live on from one pass to the next; they then do not learn
            of another epoch.
    """
    return DataLoader(
        dataset,
        batch_size=batch,
        shuffle=False,  # the pictures are drawn at random already
        num_workers=workers,
        drop_last=True,
        collate_fn=collate_items,
        # A worker uses one core; OpenCV's own threads would fight with the training for both.
        worker_init_fn=_single_threaded,
        prefetch_factor=4 if workers else None,
        persistent_workers=persistent and workers > 0,
    )


def collate(items: list[dict[str, np.ndarray]]) -> Batch:
    """Stack the parts of several pictures."""
    return Batch(
        **{key: torch.from_numpy(np.stack([item[key] for item in items])) for key in items[0]}
    )


def _single_threaded(_: int) -> None:
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
