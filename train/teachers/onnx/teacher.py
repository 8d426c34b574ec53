"""A teacher that needs no labels: a detector, a re-identification model, or both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime.types import Detections, FloatArray, IntArray
from train.teachers.config import OnnxTeacherConfig
from train.teachers.onnx.detector import OnnxDetector
from train.teachers.onnx.embedder import OnnxEmbedder
from train.teachers.onnx.fingerprint import fingerprint


@dataclass
class SeenObjects:
    """What a teacher sees in one picture.

    Attributes:
        boxes_xyxy: ``[M, 4]`` float32 in pixels of the picture, reaching over its border where the
            teacher says so; finite, with an area.
        scores: ``[M]`` float32 in 0..1, best first.
        classes: ``[M]`` int64, the student's class indices.
        embeddings: ``[M, E]`` float16, rows of length 1, or of zeros where the crop was too small;
            E is 0 without an embedder.
    """

    boxes_xyxy: FloatArray
    scores: FloatArray
    classes: IntArray
    embeddings: npt.NDArray[np.float16]

    def __len__(self) -> int:
        return len(self.scores)


class OnnxTeacherModel:
    """An ONNX detector and an ONNX re-identification model, or one of them.

    With a detector it finds the objects itself; those it is told of it takes as they are. It
    describes either. Sessions do not survive a fork: open it in the process that uses it.

    Args:
        config: The files, and how they are fed and read.
        threads: CPU threads for one operator; ONNX Runtime's choice when None.

    Attributes:
        embedding_dim: E, length of an embedding, 0 without an embedder.
        fingerprint: See ``train.teachers.onnx.fingerprint``.

    Raises:
        UserError: A file cannot be used as configured, or ONNX Runtime is missing.
    """

    def __init__(self, config: OnnxTeacherConfig, threads: int | None = None) -> None:
        self.fingerprint = fingerprint(config)
        self._detector = OnnxDetector(config.detector, threads) if config.detector else None
        self._embedder = OnnxEmbedder(config.embedder, threads) if config.embedder else None
        self.embedding_dim = self._embedder.embedding_dim if self._embedder else 0

    def __call__(
        self,
        image: npt.NDArray[np.uint8],
        boxes_xyxy: npt.ArrayLike | None = None,
        classes: npt.ArrayLike | None = None,
    ) -> SeenObjects:
        """Look at a picture.

        Args:
            image: ``[H, W, 3]`` uint8 BGR.
            boxes_xyxy: ``[M, 4]`` in pixels, the objects it is told of; None to have them detected.
            classes: ``[M]`` of those boxes; all 0 when None.

        Returns:
            The detections, or the given boxes in their order with score 1.

        Raises:
            UserError: A file puts out something unusable.
            ValueError: There is neither a detector nor boxes, or classes do not match the boxes.
        """
        if boxes_xyxy is None:
            if self._detector is None:
                raise ValueError("a teacher without a detector needs boxes")
            boxes, scores, labels = self._detector(image)
        else:
            boxes = np.asarray(boxes_xyxy, np.float32).reshape(-1, 4)
            scores = np.ones(len(boxes), np.float32)
            labels = np.zeros(len(boxes), np.int64)
            if classes is not None:
                labels = np.asarray(classes, np.int64).reshape(-1)
            if len(labels) != len(boxes):
                raise ValueError(f"{len(boxes)} boxes with {len(labels)} classes")
        if self._embedder is None:
            return SeenObjects(boxes, scores, labels, np.zeros((len(boxes), 0), np.float16))
        return SeenObjects(boxes, scores, labels, self._embedder(image, boxes))

    def detect(self, image: npt.NDArray[np.uint8]) -> Detections:
        """Return what it finds in a picture, ``[H, W, 3]`` uint8 BGR, for a tracker.

        Raises:
            UserError: A file puts out something unusable.
            ValueError: There is no detector.
        """
        seen = self(image)
        embeddings = seen.embeddings.astype(np.float32) if self.embedding_dim else None
        return Detections(seen.boxes_xyxy, seen.scores, embeddings, seen.classes)
