"""A teacher of the FairMOT family."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.models import TrackingModel
from train.models.decode import gather_cells, sides_at, top_peaks
from train.models.folding import fold_batch_norm
from train.teachers.output import TeacherOutput, to_grid

MAX_PEAKS = 64
# Inputs are multiples of it, as the smallest maps of the networks have this stride.
MULTIPLE = 32


class FairMOTTeacher(nn.Module):
    """A frozen model of the family, in eval mode and without gradients.

    It may have another stride than its student, and looks at its own input size where that is
    larger.

    Args:
        model: The trained model.
        peak_threshold: Peaks below this score are not handed on.
        student_stride: The student's pixels per cell; None where it is the teacher's own.

    Attributes:
        name: The model's.
        feature_channels: Channels of its feature map.
        embedding_dim: Width of its embedding, 0 for none.
    """

    def __init__(
        self, model: TrackingModel, peak_threshold: float, student_stride: int | None = None
    ) -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        # A third faster, and the same numbers.
        fold_batch_norm(self.model)
        self.name = model.name
        self.feature_channels = model.feature_channels
        self.embedding_dim = model.embedding_dim
        self.peak_threshold = peak_threshold
        self.student_stride = student_stride or model.stride

    def train(self, mode: bool = True) -> FairMOTTeacher:
        """Stay in eval mode: a teacher's batch statistics must not follow the student's data."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> TeacherOutput:
        """Look at a batch.

        Args:
            images: ``[N, 3, H, W]`` float RGB in 0..1, the student's own input.
        """
        height, width = images.shape[-2:]
        own_wh = teacher_size((width, height), self.model.input_wh)
        if own_wh != (width, height):
            images = F.interpolate(images, own_wh[::-1], mode="bilinear", align_corners=False)
        maps, features = self.model.forward_with_features(images)
        size_hw = (height // self.student_stride, width // self.student_stride)
        # One place per object whatever its class: boxes and embeddings do not depend on it.
        anything = maps["hm"].float().amax(dim=1, keepdim=True)
        scores, _, cells = top_peaks(anything, min(MAX_PEAKS, anything[0].numel()))
        columns, rows = cells % anything.shape[-1], cells // anything.shape[-1]
        corner = torch.stack([columns, rows], dim=-1).float()
        # Cells of the student per cell of the teacher, in x and y.
        ratio = corner.new_tensor([size_hw[1], size_hw[0]]) / corner.new_tensor(
            [anything.shape[-1], anything.shape[-2]]
        )
        own = ((corner + 0.5) * ratio).floor()
        embeddings = gather_cells(maps["id"], cells) if self.model.embedding_dim else None
        return TeacherOutput(
            heatmap=to_grid(maps["hm"], size_hw, F.adaptive_max_pool2d).float().sigmoid(),
            cells=own[..., 1].long() * size_hw[1] + own[..., 0].long(),
            scores=torch.where(scores >= self.peak_threshold, scores, 0.0),
            sides=sides_at(maps, cells) * ratio.repeat(2),
            offsets=(corner + gather_cells(maps["reg"], cells)) * ratio - own,
            embeddings=embeddings,
            features=to_grid(features, size_hw, F.adaptive_avg_pool2d),
        )


def teacher_size(
    student_wh: tuple[int, int], teacher_wh: tuple[int, int] | None
) -> tuple[int, int]:
    """Return the size at which a teacher looks at its student's pictures.

    The picture keeps its shape and grows until one side is the teacher's; it never shrinks.

    Args:
        student_wh: Width and height of the student's input in pixels.
        teacher_wh: Those the teacher was trained at; None where unknown.

    Examples:
        >>> teacher_size((576, 320), (1088, 608)), teacher_size((576, 320), (416, 256))
        ((1088, 608), (576, 320))
    """
    if teacher_wh is None:
        return student_wh
    factor = min(own / other for own, other in zip(teacher_wh, student_wh, strict=True))
    if factor <= 1:
        return student_wh
    width, height = (round(side * factor / MULTIPLE) * MULTIPLE for side in student_wh)
    return width, height
