"""Parts that the necks of the family share."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from train.models.deform import DeformConv2d


class NeckConv(nn.Module):
    """A 3x3 convolution, deformable (arXiv 1811.11168) or plain, batch normalisation and ReLU."""

    def __init__(self, inputs: int, outputs: int, deformable: bool) -> None:
        super().__init__()
        self.actf = nn.Sequential(nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
        self.conv = neck_conv(inputs, outputs, deformable)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map ``[N, inputs, h, w]`` to ``[N, outputs, h, w]``."""
        return self.actf(self.conv(inputs))


def neck_conv(inputs: int, outputs: int, deformable: bool) -> nn.Module:
    """Return a 3x3 convolution, deformable or plain."""
    if deformable:
        return DeformConv2d(inputs, outputs)
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)


def bilinear_upsampling(channels: int, factor: int, groups: int | None = None) -> nn.Module:
    """Return a transposed convolution that enlarges ``factor`` times and starts out bilinear.

    Args:
        channels: Channels in and out.
        factor: An even number.
        groups: 1 lets channels mix, None keeps each to itself.
    """
    layer = nn.ConvTranspose2d(
        channels,
        channels,
        2 * factor,
        stride=factor,
        padding=factor // 2,
        groups=channels if groups is None else groups,
        bias=False,
    )
    centre = factor - 0.5
    ramp = 1 - (torch.arange(2 * factor) - centre).abs() / factor
    with torch.no_grad():
        if layer.groups == channels:
            layer.weight.copy_(torch.outer(ramp, ramp))
        else:
            nn.init.normal_(layer.weight, std=1e-3 / math.sqrt(channels))
            diagonal = torch.arange(channels)
            layer.weight[diagonal, diagonal] += torch.outer(ramp, ramp)
    return layer
