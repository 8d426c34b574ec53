"""What a run trains, built from its configuration."""

from __future__ import annotations

from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from runtime.errors import UserError
from train.config import TrainConfig
from train.data.loader import TrainingSet
from train.distiller import Distiller
from train.models import TrackingModel, build_model
from train.models.checkpoint import load_into
from train.models.pretrained import load_body_weights
from train.teachers.config import OnnxTeacherConfig
from train.teachers.lessons import prepare_lessons


def fresh_model(config: TrainConfig) -> TrackingModel:
    """Return the network of a run with random weights, on the CPU."""
    return build_model(
        config.model.name,
        num_classes=config.model.num_classes,
        embedding_dim=config.model.embedding_dim,
        **config.model.options,
    )


def build_student(
    config: TrainConfig, device: torch.device, resume: bool, strict: bool
) -> TrackingModel:
    """Return the network of a run as it starts.

    Args:
        config: The run.
        device: Where it goes.
        resume: Leave ``init`` alone: a resumed run takes all its weights from its own checkpoint.
        strict: Refuse an ``init`` that does not fill the model.

    Raises:
        UserError: Weights cannot be loaded.
    """
    model = fresh_model(config)
    if config.model.body_weights is not None:
        load_body_weights(model, config.model.body_weights)
    if config.init is not None and not resume:
        load_into(model, config.init, strict=strict)
    return model.to(device).to(memory_format=torch.channels_last)


def build_distiller(
    config: TrainConfig, model: TrackingModel, data: TrainingSet, accelerator: Accelerator
) -> Distiller | None:
    """Return the teachers of a run, once a label-free one has looked at all pictures.

    Args:
        config: The run.
        model: The student.
        data: The pictures; what a label-free teacher saw goes there.
        accelerator: The device and the processes.

    Raises:
        UserError: A teacher cannot be used, or there is neither one nor labels.
    """
    if config.distill is None:
        if not data.labelled:
            raise UserError("no source under data: has labels: name a teacher under distill:")
        return None
    for entry in config.distill.teachers:
        if isinstance(entry, OnnxTeacherConfig):
            # One process asks the teacher and the others read its cache; on another machine, which
            # may have a cache of its own, one goes ahead as well.
            with accelerator.main_process_first(), accelerator.local_main_process_first():
                data.lessons = prepare_lessons(
                    entry, data.sources, model.num_classes, config.threads, data.cutouts
                )
    width = data.lessons.embedding_dim if data.lessons is not None else 0
    distiller = Distiller(config.distill, model, width).to(accelerator.device)
    return distiller.to(memory_format=torch.channels_last)


def parameter_groups(*modules: nn.Module | None) -> list[dict[str, Any]]:
    """Split parameters so that weight decay spares biases, norms and the uncertainties.

    Args:
        *modules: Modules to train; None is skipped.
    """
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    for module in modules:
        for parameter in module.parameters() if module is not None else ():
            if parameter.requires_grad:
                (decayed if parameter.ndim > 1 else spared).append(parameter)
    return [{"params": decayed}, {"params": spared, "weight_decay": 0.0}]
