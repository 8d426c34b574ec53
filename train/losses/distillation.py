"""What a student learns from a teacher, each loss a function of its own."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
from train.processes import shared_count
from train.teachers.config import FeatureLosses, PredictionLosses
from train.teachers.output import TeacherOutput

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
FEATURES = {*FEATURE_LOSSES, "generative"}
# Sides are many cells long, offsets a part of one; FairMOT takes 0.1 at stride 4.
SIDES_SHARE = 0.3
# Cells that the teacher scores above this belong to an object.
FOREGROUND = 0.3


def soft_focal_loss(
    student_logits: Tensor, teacher_scores: Tensor, nearness: Tensor | None = None
) -> Tensor:
    """Quality focal loss towards the teacher's heatmap (arXiv 2006.04388, eq. 3).

    The squared distance between the probabilities weighs every cell, so that the many cells where
    both see background count for nothing. With ``nearness`` cells around a centre count less, by
    CenterNet's factor (arXiv 1904.07850, eq. 1): for scores of 1 that is its focal loss.

    Args:
        student_logits: ``[N, C, h, w]``.
        teacher_scores: ``[N, C, h, w]`` in 0..1.
        nearness: ``[N, C, h, w]``, a Gaussian of height 1 around each of the teacher's centres, for
            scores that are given at the centres alone; None for scores of every cell.

    Returns:
        The sum divided by the teacher's mass of foreground, a scalar.
    """
    target, logits = teacher_scores.float(), student_logits.float()
    weight = (logits.sigmoid() - target).square()
    if nearness is not None:
        weight = weight * torch.where(target > 0, 1.0, (1 - nearness.float()).pow(4))
    loss = weight * F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    foreground = target * (target > FOREGROUND)
    return loss.sum() / shared_count(foreground.sum(), 1)


def weighted_l1_loss(student: Tensor, teacher: Tensor, weights: Tensor) -> Tensor:
    """Box distillation: L1 at the teacher's centres, weighted by its scores.

    Args:
        student: ``[N, M, C]``.
        teacher: ``[N, M, C]``.
        weights: ``[N, M]``.
    """
    difference = (student.float() - teacher.float()).abs().mean(dim=-1)
    return (difference * weights).sum() / shared_count(weights.sum().float(), 1e-4)


def embedding_cosine_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """One minus the cosine between the embeddings of the same object; 0 without objects.

    Args:
        student: ``[P, D]``.
        teacher: ``[P, D]``.
    """
    distance = 1 - F.cosine_similarity(student.float(), teacher.float(), dim=1)
    return distance.sum() / shared_count(distance.new_tensor(float(len(student))), 1)


class DistillationLoss(nn.Module):
    """The losses of one teacher with their weights, and the layers that they need.

    A loss of weight 0 is not computed, nor one on what the teacher does not know.

    Args:
        weights: Weights, by name.
        student_channels: Channels of the student's feature map.
        teacher_channels: Channels of the teacher's, 0 for none.
        student_dim: Width of the student's embedding, 0 for none.
        teacher_dim: Width of the teacher's.
    """

    def __init__(
        self,
        weights: PredictionLosses | FeatureLosses,
        *,
        student_channels: int,
        teacher_channels: int,
        student_dim: int,
        teacher_dim: int,
    ) -> None:
        super().__init__()
        self.weights = {name: float(weight) for name, weight in weights if weight > 0}
        follows_features = teacher_channels > 0 and bool(FEATURES & self.weights.keys())
        self.adapter = (
            nn.Conv2d(student_channels, teacher_channels, 1) if follows_features else None
        )
        generative = follows_features and "generative" in self.weights
        self.generative = MaskedGenerativeLoss(teacher_channels) if generative else None
        self.has_embeddings = student_dim > 0 and teacher_dim > 0
        # Embeddings of another width are compared after a learned linear map, as FitNets' features
        # (arXiv 1412.6550); relations between instances need none.
        widths_differ = self.has_embeddings and student_dim != teacher_dim
        self.embedding_adapter = (
            nn.Linear(student_dim, teacher_dim, bias=False)
            if widths_differ and "embedding" in self.weights
            else nn.Identity()
        )
        if isinstance(self.embedding_adapter, nn.Linear):
            # Angles between embeddings survive an orthogonal map.
            nn.init.orthogonal_(self.embedding_adapter.weight)

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
        parts: dict[str, Tensor] = {}
        if "heatmap" in self.weights and teacher.heatmap is not None:
            parts["heatmap"] = soft_focal_loss(outputs["hm"], teacher.heatmap, teacher.nearness)
        if "box" in self.weights and teacher.sides is not None:
            parts["box"] = box_loss(outputs, teacher)
        if self.has_embeddings and teacher.embeddings is not None:
            parts |= self._embedding_parts(outputs, teacher)
        if self.adapter is not None and teacher.features is not None:
            adapted = self.adapter(features)
            for name, loss in FEATURE_LOSSES.items():
                if name in self.weights:
                    parts[name] = loss(adapted, teacher.features)
            if self.generative is not None:
                parts["generative"] = self.generative(adapted, teacher.features)
        total = sum(
            (self.weights[name] * part for name, part in parts.items()),
            torch.zeros((), device=features.device),
        )
        return total, parts

    def _embedding_parts(
        self, outputs: dict[str, Tensor], teacher: TeacherOutput
    ) -> dict[str, Tensor]:
        """Compute the losses on the embeddings of the objects that the teacher knows one of."""
        assert teacher.cells is not None and teacher.scores is not None
        assert teacher.embeddings is not None
        seen = (teacher.scores > 0) & teacher.embeddings.any(dim=-1)
        student_id = gather_cells(outputs["id"], teacher.cells)[seen]
        teacher_id = teacher.embeddings[seen]
        parts = {}
        if "embedding" in self.weights:
            adapted = self.embedding_adapter(student_id)
            parts["embedding"] = embedding_cosine_loss(adapted, teacher_id)
        for name, loss in RELATION_LOSSES.items():
            if name in self.weights:
                parts[name] = loss(student_id, teacher_id)
        return parts


def box_loss(outputs: dict[str, Tensor], teacher: TeacherOutput) -> Tensor:
    """Return the box loss at the teacher's centres; see ``weighted_l1_loss``."""
    assert teacher.cells is not None and teacher.scores is not None
    assert teacher.sides is not None and teacher.offsets is not None
    sides = weighted_l1_loss(sides_at(outputs, teacher.cells), teacher.sides, teacher.scores)
    offset = gather_cells(outputs["reg"], teacher.cells)
    return SIDES_SHARE * sides + weighted_l1_loss(offset, teacher.offsets, teacher.scores)
