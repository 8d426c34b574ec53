"""Detection quality on held-out pictures, and the score threshold that suits a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch

from benchmarks.metrics import iou_ltwh
from runtime.preprocess import Letterboxer
from train.data.sample import Sample
from train.data.sources import PictureSource
from train.models import TrackingModel
from train.models.decode import boxes_at, top_peaks

TOPK = 128
MATCH_IOU = 0.5


@dataclass(frozen=True)
class DetectionScores:
    """How well a model detects.

    Attributes:
        average_precision: Area under precision over recall at IoU 0.5 (VOC, all points).
        best_f1: Largest F1 over all score thresholds.
        threshold: The score threshold it is reached at.
        pictures: Pictures looked at.
        objects: Labelled objects in them.
    """

    average_precision: float
    best_f1: float
    threshold: float
    pictures: int
    objects: int


def validate_detection(
    model: TrackingModel,
    sources: Sequence[PictureSource],
    size_wh: tuple[int, int],
    pictures: int,
    batch: int = 16,
) -> DetectionScores:
    """Measure detection on pictures spread evenly over the sources.

    Args:
        model: The model in eval mode.
        sources: Held-out pictures.
        size_wh: Input size in pixels; pictures are letterboxed as the runtime does it.
        pictures: How many to look at, in all.
        batch: Pictures at a time.
    """
    samples = list(_spread(sources, pictures))
    letterboxer = Letterboxer(size_wh)
    scores, correct, objects = [], [], 0
    device = next(model.parameters()).device
    for start in range(0, len(samples), batch):
        part = samples[start : start + batch]
        images, truths = [], []
        for sample in part:
            geometry = letterboxer(sample.image)
            images.append(cv2.cvtColor(letterboxer.buffer[0], cv2.COLOR_BGR2RGB))
            truths.append(geometry.to_input(sample.boxes_xyxy))
        inputs = torch.from_numpy(np.stack(images)).to(device).permute(0, 3, 1, 2).float() / 255
        with torch.inference_mode():
            maps = {name: value.float() for name, value in model(inputs).items()}
            peak_scores, classes, cells = top_peaks(maps["hm"], min(TOPK, maps["hm"][0].numel()))
            boxes = boxes_at(maps, cells, model.stride)
        for row, (sample, truth) in enumerate(zip(part, truths, strict=True)):
            hits = match_greedily(
                boxes[row].cpu().numpy(), classes[row].cpu().numpy(), truth, sample.classes
            )
            scores.append(peak_scores[row].cpu().numpy())
            correct.append(hits)
            objects += len(truth)
    return summarise(np.concatenate(scores), np.concatenate(correct), objects, len(samples))


def match_greedily(
    boxes_xyxy: npt.NDArray[np.float32],
    classes: npt.NDArray[np.int64],
    truth_xyxy: npt.NDArray[np.float32],
    truth_classes: npt.NDArray[np.int64],
) -> npt.NDArray[np.bool_]:
    """Tell which detections are correct, the best score choosing first (VOC's rule).

    Args:
        boxes_xyxy: ``[K, 4]``, best score first.
        classes: ``[K]``.
        truth_xyxy: ``[M, 4]``.
        truth_classes: ``[M]``.

    Returns:
        ``[K]`` bool.
    """
    overlap = iou_ltwh(_ltwh(boxes_xyxy), _ltwh(truth_xyxy))
    overlap[classes[:, None] != truth_classes[None, :]] = 0
    hits = np.zeros(len(boxes_xyxy), bool)
    for row in range(len(hits)) if overlap.size else ():
        best = int(overlap[row].argmax())
        if overlap[row, best] >= MATCH_IOU:
            hits[row] = True
            overlap[:, best] = 0
    return hits


def summarise(
    scores: npt.NDArray[np.float32], correct: npt.NDArray[np.bool_], objects: int, pictures: int
) -> DetectionScores:
    """Sum up detections of many pictures.

    Args:
        scores: ``[K]``.
        correct: ``[K]`` bool.
        objects: Labelled objects.
        pictures: Pictures they come from.
    """
    if not objects or not correct.any():
        return DetectionScores(0.0, 0.0, 1.0, pictures, objects)
    order = np.argsort(-scores, kind="stable")
    found = correct[order].cumsum()
    recall, precision = found / objects, found / np.arange(1, len(order) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    average = float((np.diff(recall, prepend=0.0) * envelope).sum())
    f1 = 2 * recall * precision / np.maximum(recall + precision, 1e-9)
    best = int(f1.argmax())
    return DetectionScores(average, float(f1[best]), float(scores[order][best]), pictures, objects)


def tracker_settings(threshold: float) -> dict[str, float]:
    """Return tracker thresholds for a model whose detections are best cut at ``threshold``.

    As in ByteTrack (arXiv 2110.06864), a new track needs more than a continued one, and lower
    scores, here down to a half, may still continue one.
    """
    threshold = float(np.clip(threshold, 0.1, 0.7))
    return {
        "high_threshold": round(threshold, 3),
        "new_track_threshold": round(min(threshold + 0.1, 0.9), 3),
        "low_threshold": round(threshold / 2, 3),
    }


def _spread(sources: Sequence[PictureSource], pictures: int) -> Iterator[Sample]:
    for source in sources:
        count = min(len(source), max(1, pictures // len(sources)))
        for index in np.linspace(0, len(source) - 1, count).astype(int):
            yield source[int(index)]


def _ltwh(boxes_xyxy: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    boxes = np.asarray(boxes_xyxy, np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
