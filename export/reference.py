"""What the unchanged PyTorch model finds: the other side of every parity check."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from export.parity import SCORE_FLOOR, TIE_MARGIN, Reference
from runtime.preprocess import Letterboxer
from runtime.types import Detections
from train.models import TrackingModel
from train.models.decode import to_sides, top_peaks


def torch_reference(
    model: TrackingModel,
    frames: Sequence[npt.NDArray[np.uint8]],
    source: str,
    size_wh: tuple[int, int],
    topk: int,
) -> Reference:
    """Run the model in fp32 on consecutive frames.

    Args:
        model: In eval mode.
        frames: uint8 BGR ``[H, W, 3]``.
        source: What they show, for the report.
        size_wh: Input of the network in pixels.
        topk: Detections per frame.
    """
    letterboxer = Letterboxer(size_wh)
    detections, tied = [], []
    for frame in frames:
        found, maps = torch_detect(model, letterboxer, frame, topk)
        detections.append(found)
        tied.append(has_tied_peaks(maps["hm"]))
    return Reference(frames, detections, tied, source)


def torch_detect(
    model: TrackingModel, letterboxer: Letterboxer, frame: npt.NDArray[np.uint8], topk: int
) -> tuple[Detections, dict[str, Tensor]]:
    """Return all K detections of a frame, uint8 BGR ``[H, W, 3]``, in its pixels, and the maps."""
    geometry = letterboxer(frame)
    maps = torch_maps(model, letterboxer.buffer)
    found = torch_detections(model, maps, topk)
    found.boxes_xyxy = geometry.to_frame(found.boxes_xyxy)
    return found, maps


def torch_maps(model: TrackingModel, batch: npt.NDArray[np.uint8]) -> dict[str, Tensor]:
    """Run the unchanged PyTorch model.

    Args:
        model: The model in eval mode.
        batch: One frame at network size, uint8 BGR ``[1, H, W, 3]``.
    """
    images = torch.from_numpy(batch).flip(-1).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        maps: dict[str, Tensor] = model(images)
    return maps


def has_tied_peaks(heatmap: Tensor) -> bool:
    """Tell whether a peak has a neighbour that rounding could make the peak instead.

    The two stand for one object, but each has a box of its own, so that a graph that is right may
    return the other one.

    Args:
        heatmap: Logits ``[1, classes, h, w]``.
    """
    scores = heatmap.sigmoid().transpose(0, 1)
    windows = F.unfold(scores, 3, padding=1)
    centre, around = windows[:, 4], windows[:, [0, 1, 2, 3, 5, 6, 7, 8]].amax(dim=1)
    lead = centre - around
    return bool(((centre >= SCORE_FLOOR) & (lead >= 0) & (lead < TIE_MARGIN)).any())


def torch_detections(model: TrackingModel, maps: dict[str, Tensor], topk: int) -> Detections:
    """Decode the PyTorch model's maps place by place: what the fused graph must equal.

    Args:
        model: The model.
        maps: Its raw maps of one frame.
        topk: K.

    Returns:
        K detections in pixels of the input.
    """
    scores, classes, cells = (part[0] for part in top_peaks(maps["hm"], topk))
    y, x = cells // maps["hm"].shape[-1], cells % maps["hm"].shape[-1]
    offset_x, offset_y = maps["reg"][0][:, y, x]
    left, top, right, bottom = to_sides(maps["wh"][0][:, y, x].T).T
    centre_x, centre_y = x + offset_x, y + offset_y
    boxes = torch.stack(
        [centre_x - left, centre_y - top, centre_x + right, centre_y + bottom], dim=1
    )
    embeddings = None
    if model.embedding_dim:
        vectors = maps["id"][0][:, y, x].T.numpy()
        embeddings = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return Detections((boxes * model.stride).numpy(), scores.numpy(), embeddings, classes.numpy())
