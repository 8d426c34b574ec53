"""Weights and pictures from a formula, the same to the bit wherever they are made.

The original networks were run on them once (``record.py``); the tests make them again. So the proof
that a checkpoint gives the original's numbers needs no file of weights.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

# Offsets of a deformable convolution, in cells, are of about this size.
OFFSET_SCALE = 1.5


def uniform(name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Return numbers in -1..1 that look random and depend on ``name`` alone (SplitMix64)."""
    count = math.prod(shape)
    seed = np.uint64(zlib.crc32(name.encode()))
    mask = np.uint64(0xFFFFFFFFFFFFFFFF)
    with np.errstate(over="ignore"):
        state = (np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)) & mask
        state += seed << np.uint64(20)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state ^= state >> np.uint64(31)
    values = (state >> np.uint64(11)).astype(np.float64) / 2.0**53
    return (values * 2 - 1).reshape(shape)


def weight(name: str, shape: tuple[int, ...], gain: float) -> Tensor:
    """Return one tensor of a checkpoint; its kind is known by its name.

    Convolutions keep the size of what passes through them, normalisations multiply it by about
    ``gain``, and deformable convolutions look a cell or two to the side.
    """
    kind = name.rsplit(".", 1)[-1]
    if kind == "num_batches_tracked":
        return torch.tensor(1000)
    values = uniform(name, shape)
    if kind == "running_var":
        values = 1.0 + 0.3 * values
    elif kind == "running_mean" or (kind == "bias" and "conv_offset_mask" not in name):
        values = 0.1 * values
    elif "conv_offset_mask" in name:
        fan_in = math.prod(shape[1:]) if len(shape) == 4 else 1
        values = OFFSET_SCALE * values / math.sqrt(fan_in)
    elif len(shape) == 1:
        values = gain * (1 + 0.3 * values)
    elif ".up_" in name:
        # A transposed convolution that keeps channels apart adds four taps of each.
        values = 0.5 * values
    else:
        values = math.sqrt(6 / math.prod(shape[1:])) * values
        if re.search(r"(proj|node)_\d\.conv\.", name):
            # The mask of a deformable convolution lets about half pass.
            values = 2 * values
    return torch.from_numpy(values.astype(np.float32))


def checkpoint(shapes: Mapping[str, tuple[int, ...]], gain: float) -> dict[str, Tensor]:
    """Return all tensors of a checkpoint."""
    return {name: weight(name, shape, gain) for name, shape in shapes.items()}


def picture(size_wh: tuple[int, int]) -> Tensor:
    """Return RGB ``[1, 3, H, W]`` in 0..1: smooth waves with some noise on them."""
    width, height = size_wh
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    waves = [np.sin(x / (7 + 4 * c) + c) * np.cos(y / (9 + 3 * c) - c) for c in range(3)]
    values = 0.5 + 0.35 * np.stack(waves) + 0.15 * uniform("picture", (3, height, width))
    return torch.from_numpy(values.astype(np.float32))[None]


def sample_places(shape: tuple[int, ...], count: int = 96) -> npt.NDArray[np.int64]:
    """Return the places of a flattened map that are compared, spread over all of it."""
    size = math.prod(shape)
    return np.unique(((uniform("places", (count,)) + 1) / 2 * (size - 1)).astype(np.int64))
