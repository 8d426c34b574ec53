"""A teacher of the FairMOT family."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from train.models import TrackingModel
from train.models.decode import top_peaks
from train.models.folding import fold_batch_norm

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
        # A third faster, and the same numbers.
        fold_batch_norm(self.model)
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
        # One place per object whatever its class: boxes and embeddings do not depend on it.
        anything = maps["hm"].float().amax(dim=1, keepdim=True)
        scores, _, cells = top_peaks(anything, min(MAX_PEAKS, anything[0].numel()))
        scores = torch.where(scores >= self.peak_threshold, scores, 0.0)
        return TeacherOutput(maps, features, cells, scores)
