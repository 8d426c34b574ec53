"""Folding batch normalisation into convolutions, for models that no longer train."""

from __future__ import annotations

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norm(module: nn.Module) -> None:
    """Fold every batch normalisation that follows a convolution in a ``Sequential`` into it.

    The normalisation's place keeps an identity, so that the layers keep their names.
    """
    for child in module.children():
        fold_batch_norm(child)
    if isinstance(module, nn.Sequential):
        for index in range(1, len(module)):
            before, layer = module[index - 1], module[index]
            if isinstance(layer, nn.BatchNorm2d) and isinstance(before, nn.Conv2d):
                module[index - 1] = fuse_conv_bn_eval(before, layer)
                module[index] = nn.Identity()
