"""Bodies that start from ImageNet."""

from __future__ import annotations

import os

from runtime.errors import UserError
from train.models.heads import TrackingModel
from train.models.mobilenet import MobileNetBody, load_mobilenet_weights
from train.models.pyramid import PyramidBody, load_timm_weights


def load_body_weights(model: TrackingModel, path: str | os.PathLike[str]) -> None:
    """Let a model's body start from weights that were trained on ImageNet.

    Args:
        model: The model.
        path: For ``mobile`` and ``mobilenet_v2`` a ``.pt`` of MobileNetV2, for ``timm:NAME`` and
            ``resnet_*`` a file as timm publishes it.

    Raises:
        UserError: It is another kind of file or another network, or the model's body has no such
            weights.
    """
    if isinstance(model.body, MobileNetBody):
        load_mobilenet_weights(model.body, path)
    elif isinstance(model.body, PyramidBody):
        load_timm_weights(model.body, path)
    else:
        raise UserError(
            f"model {model.name} has no body for ImageNet weights: leave model.body_weights out, "
            "and give a checkpoint that fits part of it as init"
        )
