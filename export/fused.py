"""The fused graph: frames in, boxes, scores, classes and embeddings out."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.sparse import SparseHeads
from train.models import TrackingModel
from train.models.decode import boxes_around, to_sides, top_peaks
from train.models.folding import fold_batch_norm
from train.models.pixels import PixelNorm

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
    into its weights. Batch normalisation is folded into the convolutions before it. The heatmap is
    computed everywhere, the other heads at its K best peaks alone.

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
        heads = dict(self.model.heads.items())
        del heads["hm"]
        self.at_peaks = SparseHeads(heads)

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        """Run network and decoding, see the class."""
        model = self.model
        features = model.body(frames.permute(0, 3, 1, 2).float())
        scores, classes, cells = top_peaks(model.heads["hm"](features), self.topk)
        values = self.at_peaks(features, cells)
        sides = to_sides(model.heads.sizes(values["wh"]))
        boxes = boxes_around(cells, values["reg"], sides, features.shape[-1], model.stride)
        if not model.embedding_dim:
            return boxes, scores, classes
        return boxes, scores, classes, F.normalize(values["id"], dim=-1)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs, in order."""
        return OUTPUT_NAMES if self.model.embedding_dim else OUTPUT_NAMES[:3]


def fold_pixel_scaling(model: TrackingModel) -> None:
    """Make a model that takes RGB in 0..1 take BGR in 0..255, exactly.

    The scale goes into the normalisation of pixels where the model has one, else into the first
    convolution, which takes its channels in the other order in both cases.
    """
    first = next(layer for layer in model.modules() if isinstance(layer, nn.Conv2d))
    norm = next((layer for layer in model.modules() if isinstance(layer, PixelNorm)), None)
    with torch.no_grad():
        # Some networks stack neighbouring pixels first: groups of three channels each.
        grouped = first.weight.unflatten(1, (-1, 3))
        first.weight.copy_(grouped.flip(2).flatten(1, 2))
        if norm is None:
            first.weight.div_(255)
        else:
            norm.mean = norm.mean.flip(0) * 255
            norm.std = norm.std.flip(0) * 255
