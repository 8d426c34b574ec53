"""What a student learns from a teacher of the family, each loss a function of its own."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.config import DistillConfig
from train.losses.features import (
    MaskedGenerativeLoss,
    channel_wise_loss,
    location_cosine_loss,
    pearson_feature_loss,
)
from train.losses.relations import (
    relation_angle_loss,
    relation_distance_loss,
    similarity_distribution_loss,
)
from train.models.decode import gather_cells, sides_at
from train.teachers.fairmot import TeacherOutput

# By the name of their weight in the configuration.
RELATION_LOSSES = {
    "relation": similarity_distribution_loss,
    "distance": relation_distance_loss,
    "angle": relation_angle_loss,
}
FEATURE_LOSSES = {
    "feature": pearson_feature_loss,
    "channel": channel_wise_loss,
    "location": location_cosine_loss,
}
# Cells that the teacher scores above this belong to an object.
FOREGROUND = 0.3


def soft_focal_loss(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Quality focal loss towards the teacher's heatmap (arXiv 2006.04388, eq. 3).

    The squared distance between the probabilities weighs every cell, so that the many cells where
    both see background count for nothing.

    Args:
        student_logits: ``[N, C, h, w]``.
        teacher_logits: ``[N, C, h, w]``.

    Returns:
        The sum divided by the teacher's mass of foreground, a scalar.
    """
    target = teacher_logits.float().sigmoid()
    logits = student_logits.float()
    weight = (logits.sigmoid() - target).square()
    loss = weight * F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    foreground = target * (target > FOREGROUND)
    return loss.sum() / foreground.sum().clamp(min=1)


def weighted_l1_loss(student: Tensor, teacher: Tensor, weights: Tensor) -> Tensor:
    """Box distillation: L1 at the teacher's centres, weighted by its scores.

    Args:
        student: ``[N, M, C]``.
        teacher: ``[N, M, C]``.
        weights: ``[N, M]``.
    """
    difference = (student.float() - teacher.float()).abs().mean(dim=-1)
    return (difference * weights).sum() / weights.sum().clamp(min=1e-4)


def embedding_cosine_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """One minus the cosine between the embeddings of the same object; 0 without objects.

    Args:
        student: ``[P, D]``.
        teacher: ``[P, D]``.
    """
    if not len(student):
        return student.sum() * 0.0
    return (1 - F.cosine_similarity(student.float(), teacher.float(), dim=1)).mean()


class DistillationLoss(nn.Module):
    """All distillation losses with their weights, and the layers that feature losses need.

    A loss of weight 0 is not computed.

    Args:
        config: Weights.
        student_channels: Channels of the student's feature map.
        teacher_channels: Channels of the teacher's.
        student_dim: Width of the student's embedding, 0 for none.
        teacher_dim: Width of the teacher's.
    """

    def __init__(
        self,
        config: DistillConfig,
        *,
        student_channels: int,
        teacher_channels: int,
        student_dim: int,
        teacher_dim: int,
    ) -> None:
        super().__init__()
        self.config = config
        features = (config.feature, config.channel, config.location, config.generative)
        self.adapter = nn.Conv2d(student_channels, teacher_channels, 1) if any(features) else None
        self.generative = MaskedGenerativeLoss(teacher_channels) if config.generative else None
        self.has_embeddings = student_dim > 0 and teacher_dim > 0
        self.same_width = student_dim == teacher_dim

    def forward(
        self, outputs: dict[str, Tensor], features: Tensor, teacher: TeacherOutput
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the losses.

        Args:
            outputs: The student's raw maps.
            features: The student's feature map.
            teacher: What the teacher says of the same pictures.

        Returns:
            The weighted total, and the parts by name, not weighted.
        """
        config, parts = self.config, {}
        parts["kd_heatmap"] = soft_focal_loss(outputs["hm"], teacher.heatmap)
        cells, weights = teacher.cells, teacher.scores
        student_box = torch.cat(
            [sides_at(outputs, cells), gather_cells(outputs["reg"], cells)], dim=-1
        )
        teacher_box = torch.cat([teacher.sides, teacher.offsets], dim=-1)
        parts["kd_box"] = weighted_l1_loss(student_box, teacher_box, weights)
        if self.has_embeddings:
            assert teacher.embeddings is not None
            seen = weights > 0
            student_id = gather_cells(outputs["id"], cells)[seen]
            teacher_id = teacher.embeddings[seen]
            if self.same_width:
                parts["kd_embedding"] = embedding_cosine_loss(student_id, teacher_id)
            for name, loss in RELATION_LOSSES.items():
                if getattr(config, name):
                    parts[f"kd_{name}"] = loss(student_id, teacher_id)
        if self.adapter is not None:
            adapted = self.adapter(features)
            for name, loss in FEATURE_LOSSES.items():
                if getattr(config, name):
                    parts[f"kd_{name}"] = loss(adapted, teacher.features)
            if self.generative is not None:
                parts["kd_generative"] = self.generative(adapted, teacher.features)
        total = sum(
            (getattr(config, name.removeprefix("kd_")) * part for name, part in parts.items()),
            torch.zeros((), device=features.device),
        )
        return total, parts
