"""What dataclasses of tensors share."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TypeVar

import torch
from torch import Tensor

GroupT = TypeVar("GroupT", bound="TensorGroup")


@dataclass
class TensorGroup:
    """Base of dataclasses whose fields are tensors, groups of them, or None."""

    def to(self: GroupT, device: torch.device) -> GroupT:
        """Move all tensors."""
        parts = {part.name: getattr(self, part.name) for part in fields(self)}
        movable = (Tensor, TensorGroup)
        moved = {name: part.to(device) for name, part in parts.items() if isinstance(part, movable)}
        return replace(self, **moved)
