"""DLA-34 with the upsampling neck of CenterNet: FairMOT's own network (arXiv 2004.01888).

The body is deep layer aggregation (arXiv 1707.06484) from timm; the neck, iterative aggregation
with deformable convolutions (arXiv 1904.07850, appendix A), keeps the layer names of the published
checkpoints.
"""

from __future__ import annotations

from typing import Any

import timm
from torch import Tensor, nn

from train.models.heads import TrackingModel, family_model
from train.models.neck import NeckConv, bilinear_upsampling

# Channels at strides 4, 8, 16 and 32.
CHANNELS = (64, 128, 256, 512)


class Aggregation(nn.Module):
    """Bring several maps to the size of the first and merge them one after the other.

    Args:
        outputs: Channels of the merged map.
        inputs: Channels of each map, the first being the largest map.
        factors: By how much each map is smaller than the first.
        deformable: Whether the convolutions are deformable.
    """

    def __init__(
        self, outputs: int, inputs: tuple[int, ...], factors: tuple[int, ...], deformable: bool
    ) -> None:
        super().__init__()
        self.count = len(inputs)
        for index in range(1, self.count):
            self.add_module(f"proj_{index}", NeckConv(inputs[index], outputs, deformable))
            self.add_module(f"up_{index}", bilinear_upsampling(outputs, factors[index]))
            self.add_module(f"node_{index}", NeckConv(outputs, outputs, deformable))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Return the maps after each merge; the first is handed through."""
        merged = [maps[0]]
        for index in range(1, self.count):
            proj, up, node = (self.get_submodule(f"{n}_{index}") for n in ("proj", "up", "node"))
            merged.append(node(up(proj(maps[index])) + merged[-1]))
        return merged


class AggregationPyramid(nn.Module):
    """Merge the maps of a body from the smallest up, so that every stride sees all below it."""

    def __init__(self, channels: tuple[int, ...], deformable: bool) -> None:
        super().__init__()
        inputs = list(channels)
        self.count = len(channels) - 1
        for index in range(self.count):
            place = len(channels) - 2 - index
            # All maps behind `place` already have the channels and the size of the one after it.
            count = len(channels) - place
            self.add_module(
                f"ida_{index}",
                Aggregation(
                    channels[place],
                    (channels[place], *[inputs[place + 1]] * (count - 1)),
                    (1, *[2] * (count - 1)),
                    deformable,
                ),
            )
            inputs[place + 1 :] = [channels[place]] * (count - 1)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Return one merged map per stride, the largest first."""
        levels = list(maps)
        merged = [levels[-1]]
        for index in range(self.count):
            place = len(levels) - 2 - index
            levels[place:] = self.get_submodule(f"ida_{index}")(levels[place:])
            merged.insert(0, levels[-1])
        return merged


class DLABody(nn.Module):
    """DLA-34 and its neck.

    Args:
        deformable: Whether the neck's convolutions are deformable.
    """

    def __init__(self, deformable: bool) -> None:
        super().__init__()
        self.base = timm.create_model("dla34", features_only=True, out_indices=(2, 3, 4, 5))
        self.dla_up = AggregationPyramid(CHANNELS, deformable)
        self.ida_up = Aggregation(CHANNELS[0], CHANNELS[:3], (1, 2, 4), deformable)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``[N, 3, H, W]`` to features ``[N, 64, H / 4, W / 4]``."""
        merged = self.dla_up(self.base(images))
        return self.ida_up(merged[:3])[-1]


def build_dla(name: str, **heads: Any) -> TrackingModel:
    """Build ``dla_34`` or, with plain convolutions in the neck, ``dla_34_conv``.

    Args:
        name: Name in the registry.
        **heads: See ``family_model``.
    """
    return family_model(name, DLABody(not name.endswith("_conv")), CHANNELS[0], **heads)
