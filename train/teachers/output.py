"""What teachers of all kinds hand to the losses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from train.tensors import TensorGroup


@dataclass
class TeacherOutput(TensorGroup):
    """What a teacher says of a batch, in the cells of the student; what it does not know is None.

    Attributes:
        heatmap: Scores ``[N, C, h, w]`` in 0..1.
        nearness: ``[N, C, h, w]``, a Gaussian of height 1 around each centre, where the heatmap
            tells scores at the centres alone; None where it tells them everywhere.
        cells: ``[N, P]`` int64, the student's cells in which the teacher's objects lie.
        scores: ``[N, P]`` float32, the objects' scores; 0 in places out of use.
        sides: ``[N, P, 4]``, distances from the centre to left, top, right and bottom, in cells.
        offsets: ``[N, P, 2]``, the centre in its cell.
        embeddings: ``[N, P, E]``; all 0 for an object whose embedding is not known.
        features: Its feature map ``[N, F, h, w]``.
    """

    heatmap: Tensor | None = None
    nearness: Tensor | None = None
    cells: Tensor | None = None
    scores: Tensor | None = None
    sides: Tensor | None = None
    offsets: Tensor | None = None
    embeddings: Tensor | None = None
    features: Tensor | None = None


def to_grid(maps: Tensor, size_hw: tuple[int, int], pool: Callable[..., Tensor]) -> Tensor:
    """Bring maps ``[N, C, h, w]`` to another size: pooled to a smaller one, else interpolated."""
    if tuple(maps.shape[-2:]) == size_hw:
        return maps
    if maps.shape[-2] >= size_hw[0] and maps.shape[-1] >= size_hw[1]:
        return pool(maps, size_hw)
    return F.interpolate(maps, size_hw, mode="bilinear", align_corners=False)
