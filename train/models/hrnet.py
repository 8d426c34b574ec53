"""HRNet (arXiv 1908.07919): four resolutions side by side, joined at the largest.

The body is timm's, whose layers are named as in the published ImageNet and FairMOT checkpoints.
"""

from __future__ import annotations

from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.models.heads import TrackingModel, family_model


class HRNetBody(nn.Module):
    """HRNet whose four maps are enlarged to stride 4 and stacked.

    Args:
        width: Channels at stride 4; the others have two, four and eight times as many.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.base = timm.create_model(
            f"hrnet_w{width}", features_only=True, feature_location="", out_indices=(1, 2, 3, 4)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``[N, 3, H, W]`` to features ``[N, 15 * width, H / 4, W / 4]``."""
        first, *others = self.base(images)
        size = first.shape[-2:]
        enlarged = [
            F.interpolate(other, size=size, mode="bilinear", align_corners=False)
            for other in others
        ]
        return torch.cat([first, *enlarged], dim=1)


def build_hrnet(name: str, **heads: Any) -> TrackingModel:
    """Build ``hrnet_18`` or ``hrnet_32``.

    Args:
        name: Name in the registry; its number is the width.
        **heads: See ``family_model``.
    """
    width = int(name.removeprefix("hrnet_"))
    return family_model(name, HRNetBody(width), 15 * width, **heads)
