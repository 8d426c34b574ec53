"""Folding batch normalisation into convolutions, for models that no longer train."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from train.models.deform import DeformConv2d
from train.models.neck import NeckConv

Convolution = (nn.Conv2d, DeformConv2d)


def fold_batch_norm(module: nn.Module) -> None:
    """Fold every batch normalisation that follows a convolution into it.

    Layers of a module are taken to run in the order they are listed in, as those of this project's
    and timm's bodies do; identities between them do not count. The normalisation's place keeps what
    else it did, the activation in timm's, or an identity, so that the layers keep their names.
    """
    for parent in list(module.modules()):
        for conv_name, norm_name in list(_pairs(parent)):
            conv, norm = parent.get_submodule(conv_name), parent.get_submodule(norm_name)
            if not isinstance(conv, Convolution) or not isinstance(norm, nn.BatchNorm2d):
                continue
            if len(conv.weight) == norm.num_features:
                _fold(conv, norm)
                parent.set_submodule(norm_name, _rest_of(norm))


def _pairs(module: nn.Module) -> Iterator[tuple[str, str]]:
    """Yield the names of a convolution and of what may be its normalisation."""
    names = [name for name, child in module.named_children() if not isinstance(child, nn.Identity)]
    yield from itertools.pairwise(names)
    if isinstance(module, NeckConv):
        yield "conv", "actf.0"


def _fold(conv: nn.Module, norm: nn.BatchNorm2d) -> None:
    weight, bias = conv.weight, conv.bias
    assert isinstance(weight, Tensor) and (bias is None or isinstance(bias, Tensor))
    assert norm.running_mean is not None and norm.running_var is not None
    conv.weight, conv.bias = fuse_conv_bn_weights(
        weight, bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )


def _rest_of(norm: nn.BatchNorm2d) -> nn.Module:
    """Return what timm's normalisation layers do after normalising."""
    activation = getattr(norm, "act", None)
    return activation if isinstance(activation, nn.Module) else nn.Identity()
