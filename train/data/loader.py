"""Batches for training: sampling over sources, augmentation, targets.

The picture drawn at a place depends on the seed, the epoch and that place alone, so the number of
loader processes and an interruption change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from runtime.errors import UserError
from train.config import PhotoDataConfig, TrainConfig
from train.data.augment import compose
from train.data.sample import Sample
from train.data.sources import open_pictures
from train.data.targets import make_targets


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


class TrainingSet(Dataset[dict[str, np.ndarray]]):
    """Pictures drawn from weighted sources.

    Args:
        config: The run.
        stride: Pixels per cell of the model.

    Attributes:
        num_ids: Identities over all sources together.
    """

    def __init__(self, config: TrainConfig, stride: int) -> None:
        self._config = config
        self._stride = stride
        self._sources = [open_pictures(entry) for entry in config.data]
        self._first_id = np.cumsum([0, *(source.num_ids for source in self._sources)])
        self.num_ids = int(self._first_id[-1])
        weights = np.array([entry.weight for entry in config.data])
        self._shares = weights / weights.sum()
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
        rng = np.random.default_rng((self._config.seed, self._epoch, index))
        which = int(rng.choice(len(self._sources), p=self._shares))
        source, entry = self._sources[which], self._config.data[which]
        count = int(rng.choice(entry.collage))
        samples = [
            self._globally_numbered(source[int(pick)], which)
            for pick in rng.integers(len(source), size=count)
        ]
        if isinstance(entry, PhotoDataConfig):
            for sample in samples:
                sample.pixel_aspect = float(rng.uniform(*entry.pixel_aspect))
        sample = compose(samples, self._config.input_wh, self._config.augment, rng)
        targets = make_targets(
            sample,
            self._config.input_wh,
            self._stride,
            self._config.model.num_classes,
            self._config.max_objects,
        )
        return {"images": cv2.cvtColor(sample.image, cv2.COLOR_BGR2RGB), **vars(targets)}

    def _globally_numbered(self, sample: Sample, which: int) -> Sample:
        sample.ids = np.where(sample.ids >= 0, sample.ids + self._first_id[which], -1)
        return sample


def batches(dataset: TrainingSet, epoch: int, config: TrainConfig) -> Iterator[Batch]:
    """Yield the batches of one epoch; a last incomplete one is left out.

    Raises:
        UserError: A picture cannot be read.
    """
    dataset.set_epoch(epoch)
    loader = DataLoader(
        dataset,
        batch_size=config.schedule.batch,
        shuffle=False,  # the pictures are drawn at random already
        num_workers=config.workers,
        drop_last=True,
        collate_fn=collate,
        # A worker uses one core; OpenCV's own threads would fight with the training for both.
        worker_init_fn=_single_threaded,
        prefetch_factor=4 if config.workers else None,
    )
    try:
        yield from loader
    except UserError as error:
        # From a worker it arrives with that process's traceback before it.
        raise UserError(str(error).rsplit("UserError: ", 1)[-1].strip()) from error


def collate(items: list[dict[str, np.ndarray]]) -> Batch:
    """Stack the parts of several pictures."""
    return Batch(
        **{key: torch.from_numpy(np.stack([item[key] for item in items])) for key in items[0]}
    )


def _single_threaded(_: int) -> None:
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
