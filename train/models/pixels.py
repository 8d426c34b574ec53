"""Normalisation of pixels, for bodies that were trained with it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class PixelNorm(nn.Module):
    """Subtract a mean and divide by a deviation, per channel; ImageNet's unless told otherwise.

    Args:
        mean: Red, green and blue, in 0..1.
        std: The same.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Map RGB ``[N, 3, H, W]`` in 0..1 to normalised pixels."""
        return (images - self.mean) / self.std
