"""What a model costs: parameters and floating-point operations, without running it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from train.models.registry import build_model

# FairMOT's own input size.
SIZE_WH = (1088, 608)


@dataclass(frozen=True)
class Complexity:
    """The cost of a model.

    Attributes:
        parameters: Learned numbers.
        gflops: Floating-point operations per picture in 10^9, a multiplication and an addition
            counting as two; convolutions and matrix products only.
        stride: Pixels per cell.
    """

    parameters: int
    gflops: float
    stride: int


def measure_complexity(name: str, size_wh: tuple[int, int] = SIZE_WH) -> Complexity:
    """Count a model's parameters and operations, on tensors without memory.

    Args:
        name: Name in the registry, or ``timm:NAME``.
        size_wh: Input width and height in pixels.

    Raises:
        UserError: There is no such model.

    Examples:
        >>> cost = measure_complexity("nano", (64, 64))
        >>> cost.stride, round(cost.gflops, 3)
        (8, 0.058)
    """
    with torch.device("meta"):
        model = build_model(name).eval()
        images = torch.zeros(1, 3, size_wh[1], size_wh[0])
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(images)
    return Complexity(model.parameter_count(), counter.get_total_flops() / 1e9, model.stride)
