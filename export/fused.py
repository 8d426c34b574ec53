"""The fused graph: frames in, boxes, scores, classes and embeddings out."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.camera import CameraBoxes, CameraLetterbox
from export.sparse import SparseHeads
from train.models import TrackingModel
from train.models.decode import boxes_around, to_sides, top_peaks
from train.models.folding import fold_batch_norm
from train.models.pixels import PixelNorm

INPUT_NAME = "frames"
OUTPUT_NAMES = ("boxes", "scores", "classes", "embeddings")


class FusedTracker(nn.Module):
    """A model with its preprocessing and decoding, as one module to export.

    Maps ``frames`` uint8 ``[N, H, W, 3]`` BGR, of the network's input size or, with ``camera``, of
    the camera's, to

    - ``boxes`` float32 ``[N, K, 4]``, xyxy in pixels of ``frames``;
    - ``scores`` float32 ``[N, K]``, best first;
    - ``classes`` int64 ``[N, K]``;
    - ``embeddings`` float32 ``[N, K, D]`` of unit length; left out by a model without embedding.

    The first convolution takes raw BGR bytes: the channel order and the division by 255 are folded
    into its weights. Batch normalisation is folded into the convolutions before it. The heatmap is
    computed everywhere, the other heads at its K best peaks alone.

    Args:
        model: A trained model; it is copied, not changed.
        topk: K, the number of peaks to return.
        camera: Letterboxes frames in the graph; without it the host does.
    """

    def __init__(
        self, model: TrackingModel, topk: int, camera: CameraLetterbox | None = None
    ) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).eval()
        fold_batch_norm(self.model)
        fold_pixel_scaling(self.model)
        heads = dict(self.model.heads.items())
        del heads["hm"]
        self.camera = camera
        self.camera_boxes = CameraBoxes(camera.geometry) if camera is not None else None
        self.pixels = Pixels()
        self.peaks = Peaks(topk)
        self.at_peaks = SparseHeads(heads)
        self.boxes = Boxes(model.stride)
        self.unit_length = UnitLength()

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        """Run network and decoding, see the class."""
        model = self.model
        if self.camera is not None:
            frames = self.camera(frames)
        features = model.body(self.pixels(frames))
        scores, classes, cells = self.peaks(model.heads["hm"](features))
        values = self.at_peaks(features, cells)
        sizes = model.heads.sizes(values["wh"])
        boxes = self.boxes(cells, values["reg"], sizes, features.shape[-1])
        if self.camera_boxes is not None:
            boxes = self.camera_boxes(boxes)
        if not model.embedding_dim:
            return boxes, scores, classes
        return boxes, scores, classes, self.unit_length(values["id"])

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs, in order."""
        return OUTPUT_NAMES if self.model.embedding_dim else OUTPUT_NAMES[:3]


# Each step is a module of its own, so that the nodes of the graph are named after it.


class Pixels(nn.Module):
    """From bytes to what the first convolution takes."""

    def forward(self, frames: Tensor) -> Tensor:
        """Map levels ``[N, H, W, 3]`` of any type to float ``[N, 3, H, W]``."""
        # The cast comes first: TensorRT takes bytes as an input that is cast at once, and no other.
        return frames.float().permute(0, 3, 1, 2)


class Peaks(nn.Module):
    """The K best local maxima of the heatmap, see ``train.models.decode.top_peaks``."""

    def __init__(self, topk: int) -> None:
        super().__init__()
        self.topk = topk

    def forward(self, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map logits ``[N, C, h, w]`` to scores, classes and cells, ``[N, K]`` each."""
        return top_peaks(logits, self.topk)


class Boxes(nn.Module):
    """Boxes around peaks, see ``train.models.decode.boxes_around``."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, cells: Tensor, offsets: Tensor, sizes: Tensor, width: int) -> Tensor:
        """Map cells and the values of two heads at them to xyxy ``[N, K, 4]`` in input pixels."""
        return boxes_around(cells, offsets, to_sides(sizes), width, self.stride)


class UnitLength(nn.Module):
    """Embeddings scaled to length 1."""

    def forward(self, embeddings: Tensor) -> Tensor:
        """Map ``[N, K, D]`` to the same shape."""
        return F.normalize(embeddings, dim=-1)


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
