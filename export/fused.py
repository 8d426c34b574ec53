"""The fused graph: frames in, boxes, scores, classes and embeddings out."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from train.models import TrackingModel
from train.models.decode import boxes_at, gather_cells, top_peaks

INPUT_NAME = "frames"
OUTPUT_NAMES = ("boxes", "scores", "classes", "embeddings")


class FusedTracker(nn.Module):
    """A model with its preprocessing and decoding, as one module to export.

    Maps ``frames`` uint8 ``[N, H, W, 3]`` BGR to

    - ``boxes`` float32 ``[N, K, 4]``, xyxy in pixels of the input;
    - ``scores`` float32 ``[N, K]``, best first;
    - ``classes`` int64 ``[N, K]``;
    - ``embeddings`` float32 ``[N, K, D]`` of unit length; left out by a model without embedding.

    The first convolution takes raw BGR bytes: the channel order and the division by 255 are folded
    into its weights. Batch normalisation is folded into the convolutions before it.

    Args:
        model: A trained model; it is copied, not changed.
        topk: K, the number of peaks to return.

    """

    def __init__(self, model: TrackingModel, topk: int) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).eval()
        fold_batch_norm(self.model)
        fold_pixel_scaling(self.model)
        self.topk = topk

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        """Run network and decoding, see the class."""
        maps = self.model(frames.permute(0, 3, 1, 2).float())
        scores, classes, cells = top_peaks(maps["hm"], self.topk)
        boxes = boxes_at(maps, cells, self.model.stride)
        if not self.model.embedding_dim:
            return boxes, scores, classes
        return boxes, scores, classes, F.normalize(gather_cells(maps["id"], cells), dim=-1)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs, in order."""
        return OUTPUT_NAMES if self.model.embedding_dim else OUTPUT_NAMES[:3]


def fold_batch_norm(module: nn.Module) -> None:
    """Fold every batch normalisation that follows a convolution in a ``Sequential`` into it.

    The normalisation's place keeps an identity, so that the layers keep their names.
    """
    for child in module.children():
        fold_batch_norm(child)
    if isinstance(module, nn.Sequential):
        for index in range(1, len(module)):
            before, layer = module[index - 1], module[index]
            if isinstance(layer, nn.BatchNorm2d) and isinstance(before, nn.Conv2d):
                module[index - 1] = fuse_conv_bn_eval(before, layer)
                module[index] = nn.Identity()


def fold_pixel_scaling(model: TrackingModel) -> None:
    """Make a model that takes RGB in 0..1 take BGR in 0..255, exactly, by its first weights."""
    first = next(layer for layer in model.modules() if isinstance(layer, nn.Conv2d))
    with torch.no_grad():
        first.weight.copy_(first.weight.flip(1) / 255)
