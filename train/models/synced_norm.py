"""Batch normalisation with the statistics of all processes' pictures."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from timm.layers import BatchNormAct2d, convert_sync_batchnorm
from torch import Tensor, nn


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """What ``nn.SyncBatchNorm`` is on GPUs, for processes on CPUs.

    All processes must have the same number of values. Parameters, buffers and eval mode are those
    of ``nn.BatchNorm2d``.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Normalise ``[N, C, h, w]``."""
        if not self.training:
            return super().forward(maps)
        processes = dist.get_world_size()
        values = maps.float()
        mean = summed(values.mean(dim=(0, 2, 3))) / processes
        # The mean comes first: sums of squares of large numbers would cancel each other.
        centred = values - mean[:, None, None]
        variance = summed(centred.square().mean(dim=(0, 2, 3))) / processes
        self._follow(mean.detach(), variance.detach(), processes * maps.numel() // maps.shape[1])
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(maps.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Move the running statistics towards those of ``count`` values per channel."""
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None and self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / max(count - 1, 1)), self.momentum)


class SyncedBatchNormAct2d(SyncedBatchNorm2d):
    """timm's normalisation with its activation, for processes on CPUs."""

    drop: nn.Module
    act: nn.Module

    def forward(self, maps: Tensor) -> Tensor:
        """Normalise and activate ``[N, C, h, w]``."""
        activated: Tensor = self.act(self.drop(super().forward(maps)))
        return activated


class _Sum(torch.autograd.Function):
    """The sum over processes; what depends on it in any of them has its share in the gradient."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


def summed(values: Tensor) -> Tensor:
    """Return the sum over processes of a tensor that each of them has, with its gradient."""
    total: Tensor = _Sum.apply(values)
    return total


def synced(module: nn.Module, device: torch.device) -> nn.Module:
    """Make the batch norms of a module take the statistics of all processes together.

    Names in its state dict stay as they are.

    Args:
        module: Changed in place where possible; use what is returned.
        device: Where it runs.
    """
    if device.type == "cuda":
        converted: nn.Module = convert_sync_batchnorm(module)
        return converted
    for part in module.modules():
        # The class alone changes: parameters, buffers and names do not.
        if type(part) is nn.BatchNorm2d:
            part.__class__ = SyncedBatchNorm2d
        elif type(part) is BatchNormAct2d:
            part.__class__ = SyncedBatchNormAct2d  # type: ignore[assignment]
    return module
