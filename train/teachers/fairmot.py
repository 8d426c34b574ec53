"""A teacher of the FairMOT family."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.models import TrackingModel

MAX_PEAKS = 64


@dataclass
class TeacherOutput:
    """What a teacher says of a batch.

    Attributes:
        maps: Its raw maps, at the student's resolution.
        features: Its feature map ``[N, C, h, w]``.
        cells: ``[N, P]`` int64, its peaks, best first.
        scores: ``[N, P]`` float32, their scores; 0 below the threshold.
    """

    maps: dict[str, Tensor]
    features: Tensor
    cells: Tensor
    scores: Tensor


class FairMOTTeacher(nn.Module):
    """A frozen model of the family, in eval mode and without gradients.

    Args:
        model: The trained model.
        peak_threshold: Peaks below this score are not handed on.
    """

    def __init__(self, model: TrackingModel, peak_threshold: float) -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        self.peak_threshold = peak_threshold

    def train(self, mode: bool = True) -> FairMOTTeacher:
        """Stay in eval mode: a teacher's batch statistics must not follow the student's data."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> TeacherOutput:
        """Look at a batch.

        Args:
            images: ``[N, 3, H, W]`` float RGB in 0..1, the student's own input.
        """
        maps, features = self.model.forward_with_features(images)
        scores, cells = peaks(maps["hm"].float().sigmoid(), MAX_PEAKS)
        scores = torch.where(scores >= self.peak_threshold, scores, 0.0)
        return TeacherOutput(maps, features, cells, scores)


def peaks(heatmap: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the highest local maxima of a heatmap over all classes.

    Args:
        heatmap: ``[N, C, h, w]`` probabilities.
        count: How many, at most ``h * w``.

    Returns:
        Scores ``[N, count]`` and cells ``[N, count]`` int64, best first.
    """
    best = heatmap.amax(dim=1, keepdim=True)
    is_peak = F.max_pool2d(best, 3, stride=1, padding=1) == best
    scores, cells = (best * is_peak).flatten(1).topk(min(count, best[0].numel()), dim=1)
    return scores, cells
