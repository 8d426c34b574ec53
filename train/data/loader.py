"""Batches for training: sampling over sources, augmentation, targets.

The picture drawn at a place depends on the seed, the epoch and that place alone, so the number of
loader processes and an interruption change nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from runtime.errors import UserError
from train.config import TrainConfig
from train.data.augment import compose
from train.data.batch import Batch, Item, collate, label_parts, taught_parts
from train.data.config import AugmentConfig, DataConfig, FairMOTAugmentConfig, PhotoDataConfig
from train.data.cutouts.library import CutoutLibrary
from train.data.cutouts.pasting import paste_people
from train.data.fairmot_style import letterboxed, mixup
from train.data.pictures import PictureSource
from train.data.sample import Sample
from train.data.sources import open_weighted
from train.data.targets import make_targets
from train.teachers.lessons import Lessons


@dataclass(frozen=True)
class Part:
    """The part of an epoch that a process draws.

    Attributes:
        first: The batch to begin with.
        process: Which of the processes that share every batch it is.
        processes: How many they are.
    """

    first: int = 0
    process: int = 0
    processes: int = 1


@dataclass
class Draw:
    """The pictures that one training picture is made of.

    Attributes:
        layers: Several are blended (mixup); each has one sample, or as many as its collage or
            mosaic shows.
        rng: What the augmentation goes on drawing from.
        people_rng: What pasting people draws from: the picture around them is the same without.
    """

    layers: list[list[Sample]]
    rng: np.random.Generator
    people_rng: np.random.Generator


class TrainingSet(Dataset[Item]):
    """Pictures drawn from weighted sources.

    Args:
        config: The run.
        stride: Pixels per cell of the model.

    Attributes:
        sources: The sources, in the configuration's order.
        cutouts: People to paste into their pictures; None for nobody.
        num_ids: Identities over all sources and cutouts together.
        lessons: What a label-free teacher saw in the pictures of the sources; None without one.

    Raises:
        UserError: A source or the cutouts cannot be opened, or a source knows more classes than the
            model.
    """

    def __init__(self, config: TrainConfig, stride: int) -> None:
        self._config = config
        self._stride = stride
        self.sources: list[PictureSource] = []
        self.lessons: Lessons | None = None
        self._entries: list[DataConfig] = []
        weights: list[float] = []
        for place, entry in enumerate(config.data):
            for source, weight in open_weighted(entry):
                _check_classes(source, config.model.num_classes, f"data.{place}")
                self.sources.append(source)
                self._entries.append(entry)
                weights.append(weight)
        if not sum(weights):
            raise UserError("all weights under data: are 0, give one of the sources a weight")
        self._first_id = np.cumsum([0, *(source.num_ids for source in self.sources)])
        self.num_ids = int(self._first_id[-1])
        self.cutouts: CutoutLibrary | None = None
        self._open_cutouts()
        self._shares = np.array(weights) / np.sum(weights)
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, counted from 0, whose pictures are drawn."""
        self._epoch = epoch

    @property
    def labelled(self) -> bool:
        """Whether any of the pictures have labels."""
        return any(source.labelled for source in self.sources)

    def describe(self) -> list[tuple[str, int, int]]:
        """Return name, number of pictures and number of identities of every source."""
        named = [*self.sources, *([self.cutouts] if self.cutouts else [])]
        return [(source.name, len(source), source.num_ids) for source in named]

    def __len__(self) -> int:
        return self._config.schedule.images_per_epoch

    def __getitem__(self, index: int) -> Item:
        sample = self.augment(self.draw(index))
        return {"images": cv2.cvtColor(sample.image, cv2.COLOR_BGR2RGB), **self.targets(sample)}

    def draw(self, index: int) -> Draw:
        """Read what the picture at a place of the epoch is made of."""
        place = (self._config.seed, self._epoch, index)
        rng, people_rng = np.random.default_rng(place), np.random.default_rng((*place, 1))
        augment = self._config.augment
        if not isinstance(augment, FairMOTAugmentConfig):
            return Draw([self._draw_collage(rng)], rng, people_rng)
        layers = []
        for _ in range(2 if rng.random() < augment.mixup else 1):
            count = 4 if rng.random() < augment.mosaic else 1
            layers.append([self._draw_one(rng) for _ in range(count)])
        return Draw(layers, rng, people_rng)

    def augment(self, draw: Draw) -> Sample:
        """Make one picture of them."""
        augment, size_wh = self._config.augment, self._config.input_wh
        if not isinstance(augment, FairMOTAugmentConfig):
            paste = partial(self._paste, augment, draw.people_rng) if self.cutouts else None
            return compose(draw.layers[0], size_wh, augment, draw.rng, paste)
        first, *others = (letterboxed(layer, size_wh, augment, draw.rng) for layer in draw.layers)
        return mixup(first, others[0], draw.rng) if others else first

    def targets(self, sample: Sample) -> Item:
        """Make the targets of an augmented picture."""
        config = self._config
        seen_by_teacher = sample.rows >= 0
        shape = (config.input_wh, self._stride, config.model.num_classes, config.max_objects)
        labels = make_targets(sample.select(~seen_by_teacher), *shape)
        item = label_parts(labels, sample.labelled)
        if self.lessons is not None:
            item |= taught_parts(sample.select(seen_by_teacher), self.lessons, *shape)
        return item

    def _open_cutouts(self) -> None:
        """Open the cutouts and number their identities behind those of the sources."""
        augment = self._config.augment
        paste = None if isinstance(augment, FairMOTAugmentConfig) else augment.paste
        if paste is None:
            return
        self.cutouts = CutoutLibrary(paste.path, paste.only, paste.leave_out)
        people = {
            person: number + int(first)
            for source, first in zip(self.sources, self._first_id[:-1], strict=True)
            for person, number in source.people.items()
        }
        self._cutout_ids, new = self.cutouts.numbered(people, self.num_ids)
        self.num_ids += new

    def _paste(self, augment: AugmentConfig, rng: np.random.Generator, sample: Sample) -> Sample:
        assert self.cutouts is not None, "there is nobody to paste"
        rows = None if self.lessons is None else self.lessons.rows_of(len(self.sources))
        return paste_people(sample, self.cutouts, self._cutout_ids, augment, rng, rows)

    def _draw_collage(self, rng: np.random.Generator) -> list[Sample]:
        which = int(rng.choice(len(self.sources), p=self._shares))
        count = int(rng.choice(self._entries[which].collage))
        picks = rng.integers(len(self.sources[which]), size=count)
        samples = [self._read(which, int(pick)) for pick in picks]
        for sample in samples:
            _stretch(sample, self._entries[which], rng)
        return samples

    def _draw_one(self, rng: np.random.Generator) -> Sample:
        which = int(rng.choice(len(self.sources), p=self._shares))
        pick = int(rng.integers(len(self.sources[which])))
        sample = self._read(which, pick)
        _stretch(sample, self._entries[which], rng)
        return sample

    def _read(self, which: int, pick: int) -> Sample:
        """Read a picture of a source, its identities counted over all sources."""
        source = self.sources[which]
        sample = source[pick]
        sample.labelled = source.labelled
        sample.ids = np.where(sample.ids >= 0, sample.ids + self._first_id[which], -1)
        return sample if self.lessons is None else self.lessons.added_to(sample, which, pick)


def _stretch(sample: Sample, entry: DataConfig, rng: np.random.Generator) -> None:
    if isinstance(entry, PhotoDataConfig):
        sample.pixel_aspect = float(rng.uniform(*entry.pixel_aspect))


def _check_classes(source: PictureSource, num_classes: int, place: str) -> None:
    if source.num_classes > num_classes:
        raise UserError(
            f"{place}: {source.name} has {source.num_classes} classes, the model {num_classes}: "
            "set model.num_classes and classes, or prepare the dataset with fewer"
        )


def batches(
    dataset: TrainingSet, epoch: int, config: TrainConfig, part: Part | None = None
) -> Iterator[Batch]:
    """Yield the batches of one epoch; a last incomplete one is left out.

    Args:
        dataset: The pictures.
        epoch: The epoch, counted from 0.
        config: The run.
        part: What of it to draw; None for all. Nothing is read of the rest.

    Raises:
        UserError: A picture cannot be read.
    """
    dataset.set_epoch(epoch)
    loader = make_loader(dataset, config.schedule.batch, config.workers, collate, part=part)
    with readable_errors():
        yield from loader


def in_groups(items: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    """Yield ``size`` items at a time; what is left at the end is dropped."""
    rest = iter(items)
    while len(group := list(itertools.islice(rest, size))) == size:
        yield group


def places(pictures: int, batch: int, part: Part) -> list[range]:
    """Return the places of an epoch that a process draws, batch by batch.

    Args:
        pictures: Places of the epoch; a last incomplete batch is left out.
        batch: Pictures per batch, those of all processes together.
        part: The process's part.

    Examples:
        >>> places(9, 4, Part(process=1, processes=2)), places(9, 4, Part(first=1))
        ([range(2, 4), range(6, 8)], [range(4, 8)])
    """
    share = batch // part.processes
    starts = (
        index * batch + part.process * share for index in range(part.first, pictures // batch)
    )
    return [range(start, start + share) for start in starts]


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
    part: Part | None = None,
) -> DataLoader[Any]:
    """Return a loader over the places of a dataset in order.

    Args:
        dataset: The dataset.
        batch: Pictures per batch; a last incomplete batch is left out.
        workers: Loader processes; 0 loads in this one.
        collate_items: Makes a batch of a list of items.
        persistent: Whether the processes live on from one pass to the next; they then do not learn
            of another epoch.
        part: What of the places to load; None for all.
    """
    return DataLoader(
        dataset,
        # In order, as the pictures are drawn at random already.
        batch_sampler=places(len(dataset), batch, part or Part()),  # type: ignore[arg-type]
        num_workers=workers,
        collate_fn=collate_items,
        # A worker uses one core; OpenCV's own threads would fight with the training for both.
        worker_init_fn=_single_threaded,
        prefetch_factor=4 if workers else None,
        persistent_workers=persistent and workers > 0,
    )


def _single_threaded(_: int) -> None:
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
