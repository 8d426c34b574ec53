"""YOLOv5s up to stride 4: the light network of FairMOT.

Layers carry the numbers they have in YOLOv5 (release 5.0, https://github.com/ultralytics/yolov5),
so that both its own and FairMOT's checkpoints fit. Cross-stage partial networks: arXiv 1911.11929.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.models.heads import TrackingModel, family_model

WIDTH = 64


class ConvNormSiLU(nn.Module):
    """Convolution, batch normalisation, SiLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.03)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map ``[N, inputs, h, w]`` to ``[N, outputs, h / stride, w / stride]``."""
        return F.silu(self.bn(self.conv(inputs)))


class Bottleneck(nn.Module):
    """A 1x1 and a 3x3 convolution, with or without a shortcut."""

    def __init__(self, channels: int, shortcut: bool) -> None:
        super().__init__()
        self.cv1 = ConvNormSiLU(channels, channels)
        self.cv2 = ConvNormSiLU(channels, channels, 3)
        self.shortcut = shortcut

    def forward(self, inputs: Tensor) -> Tensor:
        """Map ``[N, C, h, w]`` to the same shape."""
        outputs = self.cv2(self.cv1(inputs))
        return inputs + outputs if self.shortcut else outputs


class C3(nn.Module):
    """Cross-stage partial block: half of the channels pass the bottlenecks, half pass by."""

    def __init__(self, inputs: int, outputs: int, depth: int, shortcut: bool = True) -> None:
        super().__init__()
        half = outputs // 2
        self.cv1 = ConvNormSiLU(inputs, half)
        self.cv2 = ConvNormSiLU(inputs, half)
        self.cv3 = ConvNormSiLU(2 * half, outputs)
        self.m = nn.Sequential(*(Bottleneck(half, shortcut) for _ in range(depth)))

    def forward(self, inputs: Tensor) -> Tensor:
        """Map ``[N, inputs, h, w]`` to ``[N, outputs, h, w]``."""
        return self.cv3(torch.cat([self.m(self.cv1(inputs)), self.cv2(inputs)], dim=1))


class SPP(nn.Module):
    """Spatial pyramid pooling: maxima over windows of 5, 9 and 13 (arXiv 1406.4729)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.cv1 = ConvNormSiLU(inputs, inputs // 2)
        self.cv2 = ConvNormSiLU(2 * inputs, outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map ``[N, inputs, h, w]`` to ``[N, outputs, h, w]``."""
        features = self.cv1(inputs)
        pooled = [F.max_pool2d(features, size, 1, size // 2) for size in (5, 9, 13)]
        return self.cv2(torch.cat([features, *pooled], dim=1))


class Focus(nn.Module):
    """Move each 2x2 square of pixels into the channels, then convolve."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.conv = ConvNormSiLU(12, outputs, 3)

    def forward(self, images: Tensor) -> Tensor:
        """Map ``[N, 3, H, W]`` to ``[N, outputs, H / 2, W / 2]``."""
        corners = [images[..., y::2, x::2] for y, x in ((0, 0), (1, 0), (0, 1), (1, 1))]
        return self.conv(torch.cat(corners, dim=1))


class YOLOv5Body(nn.Module):
    """Backbone and top-down neck of YOLOv5s, the neck carried on to stride 4."""

    def __init__(self) -> None:
        super().__init__()
        # Numbers left out are upsampling and stacking, which have no weights.
        self.model = nn.ModuleDict(
            {
                "0": Focus(32),
                "1": ConvNormSiLU(32, 64, 3, 2),
                "2": C3(64, 64, 1),
                "3": ConvNormSiLU(64, 128, 3, 2),
                "4": C3(128, 128, 3),
                "5": ConvNormSiLU(128, 256, 3, 2),
                "6": C3(256, 256, 3),
                "7": ConvNormSiLU(256, 512, 3, 2),
                "8": SPP(512, 512),
                "9": C3(512, 512, 1, shortcut=False),
                "10": ConvNormSiLU(512, 256),
                "13": C3(512, 256, 1, shortcut=False),
                "14": ConvNormSiLU(256, 128),
                "17": C3(256, 128, 1, shortcut=False),
                "18": ConvNormSiLU(128, WIDTH),
                "21": C3(128, WIDTH, 1, shortcut=False),
            }
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``[N, 3, H, W]`` to features ``[N, 64, H / 4, W / 4]``."""
        features, levels = images, {}
        for name in map(str, range(10)):
            features = self.model[name](features)
            levels[name] = features
        for reduce, level, merge in (("10", "6", "13"), ("14", "4", "17"), ("18", "2", "21")):
            enlarged = F.interpolate(self.model[reduce](features), scale_factor=2.0, mode="nearest")
            features = self.model[merge](torch.cat([enlarged, levels[level]], dim=1))
        return features


def build_yolov5(name: str, *, head_channels: int = WIDTH, **heads: Any) -> TrackingModel:
    """Build ``yolov5s``, whose heads are narrower than the others' and use SiLU.

    Args:
        name: Name in the registry.
        head_channels: Channels inside each head.
        **heads: See ``family_model``.
    """
    return family_model(
        name, YOLOv5Body(), WIDTH, head_channels=head_channels, head_activation=nn.SiLU, **heads
    )
