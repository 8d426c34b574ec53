"""Losses on how the objects of a batch relate to each other; widths of embeddings may differ."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Angles are taken between all triples: more objects than this are thinned out evenly.
MOST_OF_TRIPLES = 48


def similarity_distribution_loss(
    student: Tensor, teacher: Tensor, temperature: float = 0.1
) -> Tensor:
    """KL divergence between the similarities of every object to all others (arXiv 2011.14670).

    Args:
        student: ``[P, D]``.
        teacher: ``[P, E]``.
        temperature: Of the softmax over the other objects.

    Returns:
        A scalar; 0 with fewer than three objects.
    """
    count = len(student)
    if count < 3:
        return student.sum() * 0.0
    itself = torch.eye(count, dtype=torch.bool, device=student.device)

    def log_shares(embeddings: Tensor) -> Tensor:
        unit = F.normalize(embeddings.float(), dim=1)
        return (unit @ unit.T / temperature).masked_fill(itself, -1e4).log_softmax(dim=1)

    return F.kl_div(
        log_shares(student), log_shares(teacher), reduction="batchmean", log_target=True
    )


def relation_distance_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """RKD-D: Huber loss between the distances of all pairs (arXiv 1904.05068, eq. 6).

    Distances are those of embeddings of unit length, in units of their mean.

    Args:
        student: ``[P, D]``.
        teacher: ``[P, E]``.

    Returns:
        A scalar; 0 with fewer than three objects, as one distance is its own mean.
    """
    if len(student) < 3:
        return student.sum() * 0.0

    def distances(embeddings: Tensor) -> Tensor:
        between = F.pdist(F.normalize(embeddings.float(), dim=1))
        return between / between.mean().clamp(min=1e-6)

    return F.smooth_l1_loss(distances(student), distances(teacher))


def relation_angle_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """RKD-A: Huber loss between the cosines of the angles of all triples (arXiv 1904.05068, eq. 8).

    Args:
        student: ``[P, D]``.
        teacher: ``[P, E]``.

    Returns:
        A scalar; 0 with fewer than three objects.
    """
    if len(student) < 3:
        return student.sum() * 0.0
    step = -(-len(student) // MOST_OF_TRIPLES)

    def cosines(embeddings: Tensor) -> Tensor:
        unit = F.normalize(embeddings[::step].float(), dim=1)
        # From every vertex to all objects: [vertex, object, D]. The bound keeps the gradient of two
        # equal embeddings, which have no direction between them, from exploding.
        arms = F.normalize(unit[None] - unit[:, None], dim=2, eps=1e-3)
        return arms @ arms.transpose(1, 2)

    return F.smooth_l1_loss(cosines(student), cosines(teacher))
