"""The widths of a network's heads, read from the shapes of their tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from train.models.heads import LTRB, WIDTH_HEIGHT, TrackingModel
from train.models.loading import Rename


@dataclass(frozen=True)
class HeadWidths:
    """What a file's heads show; None where the file has no such head.

    Attributes:
        num_classes: Channels of the heatmap.
        embedding_dim: Width of the embedding; 0 for a file with other heads only.
        box_channels: 4 for distances to left, top, right and bottom, 2 for width and height.
        hidden: Channels between a head's convolutions.
    """

    num_classes: int | None = None
    embedding_dim: int | None = None
    box_channels: int | None = None
    hidden: int | None = None

    def differing_options(self, model: TrackingModel) -> dict[str, Any]:
        """Return the options a model should have been built with for the file's heads to fit.

        Args:
            model: The model as its defaults make it.
        """
        options: dict[str, Any] = {}
        inner, *_, outer = (layer for layer in _convolutions(model.heads["wh"]))
        told = self.box_channels in (LTRB, WIDTH_HEIGHT)
        if told and self.box_channels != outer.out_channels:
            options["ltrb"] = self.box_channels == LTRB
        if self.hidden is not None and self.hidden != inner.out_channels:
            options["head_channels"] = self.hidden
        return options


def read_heads(tensors: Mapping[str, Tensor], rename: Rename) -> HeadWidths:
    """Read the widths of a file's heads.

    Args:
        tensors: Tensors by their names in the file.
        rename: Maps a name in the file to the model's.

    Examples:
        >>> import torch
        >>> tensors = {
        ...     "heads.hm.0.weight": torch.ones(256, 64, 3, 3),
        ...     "heads.hm.2.weight": torch.ones(80, 256, 1, 1),
        ... }
        >>> read_heads(tensors, str)
        HeadWidths(num_classes=80, embedding_dim=0, box_channels=None, hidden=256)
    """
    # Per head the output channels of its convolutions, by their place in it.
    channels: dict[str, dict[int, int]] = {}
    for name, tensor in tensors.items():
        found = re.fullmatch(r"heads\.(\w+)(?:\.(\d+))?\.weight", rename(name) or "")
        if found and tensor.ndim == 4:
            channels.setdefault(found[1], {})[int(found[2] or 0)] = len(tensor)
    if not channels:
        return HeadWidths()
    last = {head: places[max(places)] for head, places in channels.items()}
    inner = channels.get("hm", {})
    return HeadWidths(
        num_classes=last.get("hm"),
        embedding_dim=last.get("id", 0),
        box_channels=last.get("wh"),
        hidden=inner[min(inner)] if len(inner) > 1 else None,
    )


def _convolutions(head: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in head.modules() if isinstance(layer, nn.Conv2d)]
