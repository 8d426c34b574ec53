"""Batches: pictures with what the losses compare the network's maps with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from train.data.sample import Sample
from train.data.targets import Targets, make_targets
from train.teachers.lessons import Lessons
from train.teachers.output import TeacherOutput
from train.tensors import TensorGroup

# In front of the names of the parts that come from a teacher's lessons.
TAUGHT = "taught_"
Item = dict[str, np.ndarray]


@dataclass
class Batch(TensorGroup):
    """A batch with its targets; see ``train.data.targets.Targets`` for the meaning.

    Attributes:
        images: ``[N, H, W, 3]`` uint8 RGB; see ``model_input``.
        heatmap: ``[N, classes, h, w]`` float32.
        cells: ``[N, M]`` int64.
        sizes_ltrb: ``[N, M, 4]`` float32.
        offsets: ``[N, M, 2]`` float32.
        ids: ``[N, M]`` int64.
        mask: ``[N, M]`` bool.
        labelled: ``[N]`` bool, whether a picture's labels are all that is in it.
        taught: What a label-free teacher says of the pictures; None without one.
    """

    images: Tensor
    heatmap: Tensor
    cells: Tensor
    sizes_ltrb: Tensor
    offsets: Tensor
    ids: Tensor
    mask: Tensor
    labelled: Tensor
    taught: TeacherOutput | None = None

    def model_input(self) -> Tensor:
        """Return ``[N, 3, H, W]`` float32 RGB in 0..1, channels last in memory."""
        return self.images.permute(0, 3, 1, 2).float().div_(255)


def label_parts(targets: Targets, labelled: bool) -> Item:
    """Return the parts of an item that come from labels."""
    parts: Item = {name: part for name, part in vars(targets).items() if name != "rows"}
    return {**parts, "labelled": np.array(labelled)}


def taught_parts(
    sample: Sample,
    lessons: Lessons,
    size_wh: tuple[int, int],
    stride: int,
    num_classes: int,
    max_objects: int,
) -> Item:
    """Return the parts of an item that come from what a label-free teacher saw.

    The teacher's detections become soft targets: its scores are what the student's heatmap shall
    say at their centres, and the weights of their boxes.

    Args:
        sample: The augmented picture with the teacher's objects alone.
        lessons: What the teacher saw.
        size_wh: As for ``make_targets``, like the others.
        stride: Pixels per cell.
        num_classes: Channels of the heatmap.
        max_objects: Objects beyond it are dropped.
    """
    targets = make_targets(sample, size_wh, stride, num_classes, max_objects)
    used = targets.mask
    rows = targets.rows[used]
    scores = np.zeros(max_objects, np.float32)
    scores[used] = lessons.scores[rows]
    embeddings = np.zeros((max_objects, lessons.embedding_dim), np.float16)
    embeddings[used] = lessons.embeddings[rows]
    heatmap = np.zeros_like(targets.heatmap)
    flat = heatmap.reshape(num_classes, -1)
    np.maximum.at(flat, (lessons.classes[rows], targets.cells[used]), scores[used])
    parts: Item = {
        "heatmap": heatmap,
        "nearness": targets.heatmap,
        "cells": targets.cells,
        "scores": scores,
        "sides": targets.sizes_ltrb,
        "offsets": targets.offsets,
        "embeddings": embeddings,
    }
    return {f"{TAUGHT}{name}": part for name, part in parts.items()}


def collate(items: list[Item]) -> Batch:
    """Stack the parts of several pictures."""
    stacked = {key: torch.from_numpy(np.stack([item[key] for item in items])) for key in items[0]}
    taught = {
        key.removeprefix(TAUGHT): part for key, part in stacked.items() if key.startswith(TAUGHT)
    }
    own = {key: part for key, part in stacked.items() if not key.startswith(TAUGHT)}
    return Batch(**own, taught=TeacherOutput(**taught) if taught else None)
