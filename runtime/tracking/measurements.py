"""The detections of a frame as the tracker can use them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime.tracking import kalman
from runtime.types import UNIT_LENGTH_TOLERANCE, Detections


@dataclass
class Measurements:
    """Columns of the detections that are of use, in the order of the detections.

    Left out are detections whose score is too low or not a number, and whose box is not finite or
    has no area. Embeddings of another length are brought to length 1; one that is not finite or
    zero becomes zero, which is near nothing: such a detection is matched by overlap alone.

    Attributes:
        boxes_xyxy: ``[N, 4]`` float64 in pixels.
        boxes_xyah: ``[N, 4]`` float64, centre, aspect ratio, height.
        scores: ``[N]`` float32.
        classes: ``[N]`` int64.
        embeddings: ``[N, D]`` float32 of length 1 or 0; D is 0 without re-ID.
    """

    boxes_xyxy: npt.NDArray[np.float64]
    boxes_xyah: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float32]
    classes: npt.NDArray[np.int64]
    embeddings: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def of(cls, detections: Detections, lowest_score: float) -> Measurements:
        """Take what is of use from detections scoring higher than ``lowest_score``."""
        boxes = detections.boxes_xyxy.astype(np.float64)
        scores, classes, embeddings = detections.scores, detections.classes, detections.embeddings
        if embeddings is None:
            embeddings = np.zeros((len(scores), 0), np.float32)
        sound = (
            (scores > lowest_score)
            & np.isfinite(scores)
            & np.isfinite(boxes).all(axis=1)
            & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        )
        if not sound.all():
            boxes, scores, classes = boxes[sound], scores[sound], classes[sound]
            embeddings = embeddings[sound]
        if embeddings.shape[1]:
            embeddings = _unit_or_zero(embeddings)
        return cls(boxes, kalman.xyxy_to_xyah(boxes), scores, classes, embeddings)


def _unit_or_zero(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return rows of length 1, zero for those that have no direction."""
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("nd,nd->n", vectors, vectors)
    if (np.abs(squares - 1) <= 2 * UNIT_LENGTH_TOLERANCE).all():
        return vectors
    sound = np.isfinite(squares) & (squares > 0)
    result = np.zeros_like(vectors)
    result[sound] = vectors[sound] / np.sqrt(squares[sound, None])
    return result
