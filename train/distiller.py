"""The teachers of a run, each with its losses, as one loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from runtime.errors import UserError
from train.data.batch import Batch
from train.losses.distillation import DistillationLoss
from train.models import TrackingModel, load_model
from train.models.checkpoint import checkpoint_path
from train.teachers.config import (
    DINOv2TeacherConfig,
    DistillConfig,
    FairMOTTeacherConfig,
    OnnxTeacherConfig,
)
from train.teachers.dinov2 import DINOv2Teacher
from train.teachers.fairmot import FairMOTTeacher
from train.teachers.output import TeacherOutput


class Distiller(nn.Module):
    """All teachers with their losses.

    The networks among the teachers are frozen and stay in eval mode; what trains is the adapters of
    the losses. An ``onnx`` teacher looked at the pictures before the training began: what it saw
    comes with the batch.

    Args:
        config: The teachers.
        student: The student.
        lessons_dim: Width of the embeddings in the lessons of an ``onnx`` teacher.

    Raises:
        UserError: A teacher cannot be loaded or does not suit the student.
    """

    def __init__(self, config: DistillConfig, student: TrackingModel, lessons_dim: int = 0) -> None:
        super().__init__()
        self.names: list[str] = []
        self.networks = nn.ModuleDict()
        losses = []
        for place, entry in enumerate(config.teachers):
            channels, embedding_dim = 0, lessons_dim
            if isinstance(entry, OnnxTeacherConfig):
                self.names.append("onnx")
            else:
                teacher = _open(entry, student)
                self.networks[str(place)] = teacher
                self.names.append(teacher.name)
                channels, embedding_dim = teacher.feature_channels, teacher.embedding_dim
            losses.append(
                DistillationLoss(
                    entry.losses,
                    student_channels=student.feature_channels,
                    teacher_channels=channels,
                    student_dim=student.embedding_dim,
                    teacher_dim=embedding_dim,
                )
            )
        self.losses = nn.ModuleList(losses)
        total = sum(entry.weight for entry in config.teachers)
        self.shares = [entry.weight / total for entry in config.teachers]

    @torch.no_grad()
    def look(self, images: Tensor, batch: Batch) -> list[TeacherOutput]:
        """Return what each teacher says.

        Args:
            images: ``[N, 3, H, W]`` float RGB in 0..1.
            batch: The batch they come from.
        """
        seen = []
        for place in range(len(self.names)):
            if str(place) in self.networks:
                seen.append(self.networks[str(place)](images))
            else:
                assert batch.taught is not None, "the training set has no lessons"
                seen.append(batch.taught)
        return seen

    def forward(
        self, outputs: dict[str, Tensor], features: Tensor, seen: list[TeacherOutput]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the losses.

        Args:
            outputs: The student's raw maps.
            features: The student's feature map.
            seen: What ``look`` returned.

        Returns:
            The weighted total, and the parts by name, not weighted. The names begin with ``kd_``,
            or, of several teachers, with ``kd0_`` for the first and so on.
        """
        total = torch.zeros((), device=features.device)
        parts: dict[str, Tensor] = {}
        for place, (loss, share, output) in enumerate(
            zip(self.losses, self.shares, seen, strict=True)
        ):
            prefix = "kd" if len(seen) == 1 else f"kd{place}"
            own, own_parts = loss(outputs, features, output)
            total = total + share * own
            parts |= {f"{prefix}_{name}": part for name, part in own_parts.items()}
        return total, parts


def _open(
    entry: FairMOTTeacherConfig | DINOv2TeacherConfig, student: TrackingModel
) -> FairMOTTeacher | DINOv2Teacher:
    if isinstance(entry, DINOv2TeacherConfig):
        return DINOv2Teacher(entry, student.stride)
    path = checkpoint_path(entry.checkpoint)
    # A head that the file does not fill would teach noise.
    model = load_model(path, entry.name, strict=True)
    if model.num_classes != student.num_classes:
        raise UserError(
            f"teacher {path} tells {model.num_classes} classes apart, the student "
            f"{student.num_classes}: choose matching models"
        )
    return FairMOTTeacher(model, entry.peak_threshold, student.stride)
