"""The students and their larger sibling: narrow residual bodies of dense 3x3 convolutions.

Dense 3x3 convolutions are what CPUs with matrix units, GPUs and DLAs run best; depthwise ones save
multiplications there, not time. The neck is a light top-down pyramid (FPN, arXiv 1612.03144) that
ends in one map.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from train.models.heads import TrackingModel, initialise


@dataclass(frozen=True)
class ResidualSpec:
    """Shape of a body.

    Attributes:
        widths: Channels at strides 2, 4, 8, 16 and 32.
        blocks: Residual blocks at strides 4, 8, 16 and 32.
        neck: Channels of the feature map.
        head: Channels inside each head.
    """

    widths: tuple[int, int, int, int, int]
    blocks: tuple[int, int, int, int]
    neck: int
    head: int


SPECS = {
    "nano": ResidualSpec((16, 32, 48, 96, 128), (0, 2, 2, 2), 64, 64),
    "small": ResidualSpec((32, 48, 96, 160, 224), (1, 2, 3, 3), 96, 96),
}


class ConvNormAct(nn.Sequential):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and an identity shortcut (arXiv 1512.03385)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvNormAct(channels, channels)
        self.second = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Map ``[N, C, h, w]`` to the same shape."""
        return F.relu(inputs + self.second(self.first(inputs)), inplace=True)


class ResidualBody(nn.Module):
    """Stem, four stages, and a top-down neck to the output stride.

    Args:
        spec: Widths and depths.
        stride: 4 or 8, the stride of the returned map.
    """

    def __init__(self, spec: ResidualSpec, stride: int) -> None:
        super().__init__()
        self.stem = ConvNormAct(3, spec.widths[0], stride=2)
        self.stages = nn.ModuleList()
        for inputs, outputs, blocks in zip(spec.widths, spec.widths[1:], spec.blocks, strict=False):
            self.stages.append(
                nn.Sequential(
                    ConvNormAct(inputs, outputs, stride=2),
                    *(ResidualBlock(outputs) for _ in range(blocks)),
                )
            )
        # Stages give strides 4, 8, 16, 32; the neck starts at 32 and ends at `stride`.
        self.first_lateral = {4: 0, 8: 1}[stride]
        self.laterals = nn.ModuleList(
            nn.Conv2d(width, spec.neck, 1) for width in spec.widths[1 + self.first_lateral :]
        )
        self.smooth = ConvNormAct(spec.neck, spec.neck)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``[N, 3, H, W]`` to features ``[N, neck, H / stride, W / stride]``."""
        features = self.stem(images)
        levels = []
        for stage in self.stages:
            features = stage(features)
            levels.append(features)
        levels = levels[self.first_lateral :]
        merged = self.laterals[-1](levels[-1])
        for lateral, level in zip(
            reversed(list(self.laterals)[:-1]), reversed(levels[:-1]), strict=True
        ):
            merged = F.interpolate(merged, scale_factor=2.0, mode="nearest") + lateral(level)
        return self.smooth(merged)


def build_residual(
    name: str, *, num_classes: int, embedding_dim: int, stride: int = 8
) -> TrackingModel:
    """Build ``nano`` or ``small``.

    Args:
        name: Key of ``SPECS``.
        num_classes: Number of classes.
        embedding_dim: Width of the embedding, 0 for none.
        stride: 4 or 8.

    Raises:
        ValueError: Another stride.
    """
    if stride not in (4, 8):
        raise ValueError(f"{name} has stride 4 or 8, not {stride}")
    spec = SPECS[name]
    return TrackingModel(
        name,
        ResidualBody(spec, stride),
        feature_channels=spec.neck,
        stride=stride,
        num_classes=num_classes,
        embedding_dim=embedding_dim,
        head_channels=spec.head,
        exponential_sizes=True,
    )
