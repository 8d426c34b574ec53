"""Any timm body under FairMOT's feature pyramid with deformable convolutions.

``resnet_18``, ``resnet_34`` and ``resnet_50`` keep the layer names of FairMOT's own checkpoints of
that network; ``timm:NAME`` takes any body of timm that gives maps at strides 4 to 32. The pyramid
is that of arXiv 1612.03144 with the deformable convolutions of arXiv 1811.11168.
"""

from __future__ import annotations

import os
from typing import Any

import timm
import torch
from torch import Tensor, nn

from runtime.errors import UserError
from runtime.files import existing_file
from train.models.heads import TrackingModel, family_model
from train.models.neck import NeckConv, bilinear_upsampling, neck_conv
from train.models.pixels import PixelNorm

STRIDES = (4, 8, 16, 32)
# Channels at strides 16, 8 and 4, from the smallest map up.
CHANNELS = (256, 128, 64)
PREFIX = "timm:"


class PyramidBody(nn.Module):
    """A body of timm with a top-down neck to stride 4.

    Args:
        timm_name: Name of the body in timm.
        deformable: Whether the neck's convolutions are deformable.
        normalise: Whether pixels are normalised as in the body's own training.

    Raises:
        UserError: timm has no such body, or it gives no maps at strides 4 to 32.
    """

    def __init__(self, timm_name: str, deformable: bool, normalise: bool) -> None:
        super().__init__()
        self.timm_name = timm_name
        base = create_base(timm_name)
        self.base: nn.Module = base
        statistics = (base.pretrained_cfg["mean"], base.pretrained_cfg["std"])
        self.normalise = PixelNorm(*statistics) if normalise else nn.Identity()
        strides, channels = base.feature_info.reduction(), base.feature_info.channels()
        self.levels = [strides.index(stride) for stride in STRIDES]
        *laterals, inputs = (channels[level] for level in self.levels)
        for level, (outputs, lateral) in enumerate(
            zip(CHANNELS, reversed(laterals), strict=True), start=1
        ):
            upsample = nn.Sequential(
                neck_conv(inputs, outputs, deformable),
                nn.BatchNorm2d(outputs),
                nn.ReLU(inplace=True),
                bilinear_upsampling(outputs, 2, groups=1),
                nn.BatchNorm2d(outputs),
                nn.ReLU(inplace=True),
            )
            self.add_module(f"deconv_layer{level}", upsample)
            self.add_module(f"project_layer{level}", NeckConv(lateral, outputs, deformable))
            self.add_module(f"smooth_layer{level}", NeckConv(outputs, outputs, deformable))
            inputs = outputs

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``[N, 3, H, W]`` to features ``[N, 64, H / 4, W / 4]``."""
        maps = self.base(self.normalise(images))
        *laterals, merged = (maps[level] for level in self.levels)
        for level, lateral in enumerate(reversed(laterals), start=1):
            upsample, project, smooth = (
                self.get_submodule(f"{part}_layer{level}")
                for part in ("deconv", "project", "smooth")
            )
            merged = smooth(upsample(merged) + project(lateral))
        return merged


def create_base(timm_name: str, **options: Any) -> Any:
    """Create a body of timm that gives maps at strides 4, 8, 16 and 32.

    Its type is timm's own, with ``feature_info`` and ``pretrained_cfg``.

    Args:
        timm_name: Its name in timm.
        **options: More for ``timm.create_model``.

    Raises:
        UserError: timm has no such body, or it gives no such maps.
    """
    if not timm.is_model(timm_name):
        near = ", ".join(timm.list_models(f"*{timm_name.split('_')[0]}*")[:4])
        hint = f", perhaps one of {near}" if near else ""
        raise UserError(f"timm {timm.__version__} has no model {timm_name!r}: choose another{hint}")
    try:
        base: Any = timm.create_model(timm_name, features_only=True, **options)
        strides = base.feature_info.reduction()
    except (RuntimeError, AttributeError, AssertionError, TypeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(
            f"timm's {timm_name} cannot be used as a body ({reason}): choose another"
        ) from error
    if not set(STRIDES) <= set(strides):
        raise UserError(
            f"timm's {timm_name} gives maps at strides {strides}, not 4, 8, 16 and 32: choose a "
            "body that does, e.g. a convolutional one"
        )
    return base


def load_timm_weights(body: PyramidBody, path: str | os.PathLike[str]) -> None:
    """Let a body start from a file of weights as timm publishes them.

    Args:
        body: The body.
        path: A safetensors file, or a ``.pth`` of tensors only.

    Raises:
        UserError: The file cannot be read or holds another network.
    """
    file = existing_file(path, "ImageNet weights")
    try:
        base = create_base(
            body.timm_name, pretrained=True, pretrained_cfg_overlay={"file": str(file)}
        )
    except UserError:
        raise
    except Exception as error:  # timm and torch raise many kinds for a foreign file
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"ImageNet weights {file} do not fit {body.timm_name}: {reason}") from error
    with torch.no_grad():
        body.base.load_state_dict(base.state_dict())


def build_pyramid(name: str, *, deformable: bool = True, **heads: Any) -> TrackingModel:
    """Build ``resnet_18``, ``resnet_34``, ``resnet_50`` or ``timm:NAME``.

    Args:
        name: Name in the registry.
        deformable: False takes plain convolutions in the neck, which any device runs fast.
        **heads: See ``family_model``.
    """
    foreign = name.startswith(PREFIX)
    timm_name = name.removeprefix(PREFIX) if foreign else name.replace("_", "")
    # FairMOT feeds its ResNets pixels as they are.
    body = PyramidBody(timm_name, deformable, normalise=foreign)
    return family_model(name, body, CHANNELS[-1], **heads)
