"""Losses between a student's feature map, adapted to its teacher's channels, and the teacher's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def pearson_feature_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """PKD: one minus the Pearson correlation of features, channel by channel (arXiv 2207.02039).

    Args:
        student: ``[N, C, h, w]``.
        teacher: ``[N, C, h, w]``.
    """

    def standardised(features: Tensor) -> Tensor:
        flat = features.float().transpose(0, 1).flatten(1)
        return (flat - flat.mean(1, keepdim=True)) / (flat.std(1, keepdim=True) + 1e-6)

    return F.mse_loss(standardised(student), standardised(teacher)) / 2


def channel_wise_loss(student: Tensor, teacher: Tensor, temperature: float = 4.0) -> Tensor:
    """CWD: KL divergence between where each channel looks in a picture (arXiv 2011.13256, eq. 4).

    Args:
        student: ``[N, C, h, w]``.
        teacher: ``[N, C, h, w]``.
        temperature: Of the softmax over the cells of a channel.
    """

    def log_shares(features: Tensor) -> Tensor:
        return (features.float().flatten(2) / temperature).log_softmax(dim=-1)

    divergence = F.kl_div(
        log_shares(student), log_shares(teacher), reduction="sum", log_target=True
    )
    return divergence * temperature**2 / (student.shape[0] * student.shape[1])


def location_cosine_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """One minus the cosine between the two feature vectors of a place, averaged over all places.

    Args:
        student: ``[N, C, h, w]``.
        teacher: ``[N, C, h, w]``.
    """
    return (1 - F.cosine_similarity(student.float(), teacher.float(), dim=1)).mean()


class MaskedGenerativeLoss(nn.Module):
    """MGD: the teacher's features from what is left of the student's (arXiv 2205.01529).

    A share of the student's places is blanked, two convolutions fill them in, and the result is
    compared with the teacher's features. The paper sums the squares over a map; the mean here keeps
    the weight of the loss free of the map's size.

    Args:
        channels: Channels of the teacher's features.
        masked: Share of the places that are blanked.
    """

    def __init__(self, channels: int, masked: float = 0.65) -> None:
        super().__init__()
        self.masked = masked
        self.generate = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compare ``[N, C, h, w]`` with ``[N, C, h, w]``."""
        kept = torch.rand_like(student[:, :1], dtype=torch.float32) >= self.masked
        return F.mse_loss(self.generate(student * kept).float(), teacher.float())
