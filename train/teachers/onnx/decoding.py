"""What detectors put out, as boxes in pixels of their input."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import UserError
from runtime.types import FloatArray, IntArray
from train.teachers.config import DetectorConfig
from train.teachers.onnx.session import Outputs, in_words

BOX = 4
BOX_AND_OBJECTNESS = 5
# A score may be this much above 1 by rounding; more than that is no score.
ROUNDING = 1e-2

Found = tuple[FloatArray, FloatArray, IntArray]


def decode_yolox(
    raw: FloatArray, size_wh: tuple[int, int], config: DetectorConfig, where: str
) -> Found:
    """Decode the raw output of a YOLOX (Ge et al., arXiv 2107.08430).

    A cell's box has its centre at ``(offset + cell) * stride`` with the cell's column and row, and
    sides of ``exp(size) * stride``; its score is objectness times the best class score among those
    that teach. Cells come in the order of the strides, row by row.

    Args:
        raw: ``[1, cells, 5 + classes]``: offset x, y, log width, height, objectness, class scores.
        size_wh: Width and height of the input in pixels.
        config: Strides, classes and the score threshold.
        where: The file, for messages.

    Returns:
        ``boxes_xyxy [M, 4]`` in pixels of the input, ``scores [M]`` and ``classes [M]``, positions
        in ``config.classes``.

    Raises:
        UserError: The output has another shape, or does not fit the size and the strides.
    """
    if raw.ndim != 3 or raw.shape[0] != 1 or raw.shape[2] <= BOX_AND_OBJECTNESS:
        raise UserError(
            f"{where}: the output is {list(raw.shape)}, a raw YOLOX output is "
            "[1, cells, 5 + classes]: set detector.output"
        )
    corners, strides = yolox_cells(size_wh, tuple(config.strides))
    if raw.shape[1] != len(corners):
        raise UserError(
            f"{where}: the output has {raw.shape[1]} cells, strides {config.strides} of "
            f"{in_words(size_wh)} make {len(corners)}: correct detector.strides"
        )
    per_class = raw[0, :, BOX_AND_OBJECTNESS:]
    check_classes(config.classes, per_class.shape[1], where)
    per_class = (
        per_class[:, config.classes] * raw[0, :, BOX_AND_OBJECTNESS - 1 : BOX_AND_OBJECTNESS]
    )
    classes = per_class.argmax(axis=1)
    scores = per_class.max(axis=1)
    rows = above_threshold(scores, config, where)
    centres = (raw[0, rows, :2] + corners[rows]) * strides[rows]
    # An exponent beyond all measure gives a side that is not finite; the caller drops such boxes.
    with np.errstate(over="ignore"):
        halves = np.exp(raw[0, rows, 2:BOX]) * strides[rows] / 2
    boxes = np.concatenate([centres - halves, centres + halves], axis=1)
    return boxes, scores[rows], classes[rows]


@lru_cache(maxsize=8)
def yolox_cells(
    size_wh: tuple[int, int], strides: tuple[int, ...]
) -> tuple[FloatArray, FloatArray]:
    """Return column and row of all cells, ``[cells, 2]``, and their strides, ``[cells, 1]``.

    They are kept for the next picture: do not write to them.

    Examples:
        >>> corners, strides = yolox_cells((32, 16), (16, 8))
        >>> corners[:3].tolist(), strides[:3, 0].tolist(), len(corners)
        ([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]], [16.0, 16.0, 8.0], 10)
    """
    corners, sides = [], []
    for stride in strides:
        rows, columns = np.mgrid[: size_wh[1] // stride, : size_wh[0] // stride]
        corners.append(np.stack([columns.ravel(), rows.ravel()], axis=1))
        sides.append(np.full((rows.size, 1), stride))
    return np.concatenate(corners).astype(np.float32), np.concatenate(sides).astype(np.float32)


class BoxOutputs:
    """Which outputs of a file hold boxes, scores and labels.

    Args:
        outputs: What the file put out for some picture.
        config: Names, format, unit, classes and the score threshold.
        where: The file, for messages.

    Attributes:
        names: The outputs to ask for.

    Raises:
        UserError: An output is missing, or it is not clear which is which.
    """

    def __init__(self, outputs: Outputs, config: DetectorConfig, where: str) -> None:
        self._config = config
        self._where = where
        likely = [name for name, values in outputs.items() if _looks_like_boxes(values)]
        # Scores of a batch of one, ``[1, 4]``, look like a single box, unless there are real ones.
        batched = [name for name in likely if outputs[name].ndim == 3]
        likely = batched or likely
        self._boxes = self._choose("boxes", outputs, config.boxes, likely)
        count = self._box_rows(outputs).shape[0]
        likely = [
            name
            for name, values in outputs.items()
            if name not in (self._boxes, config.labels)
            and np.issubdtype(values.dtype, np.floating)
            and _rows(values, count) is not None
        ]
        self._scores = self._choose("scores", outputs, config.scores, likely)
        self._labels = config.labels
        if config.labels is not None:
            self._choose("labels", outputs, config.labels, [])
        else:
            self._refuse_unnamed_labels(outputs, count)
        self.names = [self._boxes, self._scores, *([config.labels] if config.labels else [])]

    def read(self, outputs: Outputs, size_wh: tuple[int, int]) -> Found:
        """Read the boxes of one picture.

        Args:
            outputs: Those called ``names``.
            size_wh: Width and height of the input in pixels.

        Returns:
            As ``decode_yolox``.

        Raises:
            UserError: The outputs have other shapes than configured.
        """
        config = self._config
        boxes = self._box_rows(outputs)
        scores = _rows(outputs[self._scores], len(boxes))
        if scores is None or scores.ndim > 2:
            raise self._misshapen("scores", self._scores, outputs[self._scores], "[K] or [K, C]")
        scores, classes = self._classes_of(scores, outputs)
        rows = above_threshold(scores, config, self._where)
        rows = rows[classes[rows] >= 0]
        boxes = to_corners(boxes[rows].astype(np.float32), config.box_format)
        if config.box_unit == "share":
            boxes = boxes * np.array(size_wh * 2, np.float32)
        return boxes, scores[rows].astype(np.float32), classes[rows]

    def _box_rows(self, outputs: Outputs) -> npt.NDArray[Any]:
        values = outputs[self._boxes]
        if not _looks_like_boxes(values):
            raise self._misshapen("boxes", self._boxes, values, "[K, 4]")
        return values.reshape(-1, BOX)

    def _classes_of(
        self, scores: npt.NDArray[Any], outputs: Outputs
    ) -> tuple[npt.NDArray[Any], IntArray]:
        """Return ``[K]`` scores and the student's classes, -1 for those that do not teach."""
        wanted = self._config.classes
        if self._labels is None:
            if scores.ndim == 1:
                scores = scores[:, None]
            check_classes(wanted, scores.shape[1], self._where)
            scores = scores[:, wanted]
            return scores.max(axis=1), scores.argmax(axis=1)
        if scores.ndim == 2:
            if scores.shape[1] != 1:
                raise UserError(
                    f"{self._where}: output {self._scores} has {scores.shape[1]} scores per box, "
                    "which need no labels: remove detector.labels"
                )
            scores = scores[:, 0]
        values = outputs[self._labels]
        if values.size != len(scores):
            raise self._misshapen("labels", self._labels, values, "[K]")
        matches = values.reshape(-1, 1) == np.array(wanted)
        return scores, np.where(matches.any(axis=1), matches.argmax(axis=1), -1)

    def _choose(self, key: str, outputs: Outputs, name: str | None, likely: list[str]) -> str:
        if name is None and len(likely) == 1:
            return likely[0]
        if name is not None and name in outputs:
            return name
        fault = f"has no output {name}" if name else f"has {len(likely)} that could hold its {key}"
        raise UserError(f"{self._where} {fault}: set detector.{key} to one of {_listed(outputs)}")

    def _refuse_unnamed_labels(self, outputs: Outputs, count: int) -> None:
        """Refuse a file with labels nobody asked for, or its cars would teach as people."""
        for name, values in outputs.items():
            rows = _rows(values, count)
            is_whole = np.issubdtype(values.dtype, np.integer)
            if is_whole and rows is not None and rows.ndim == 1 and name != self._boxes:
                raise UserError(
                    f"{self._where}: output {name} looks like class indices: name it in "
                    "detector.labels"
                )

    def _misshapen(self, key: str, name: str, values: npt.NDArray[Any], want: str) -> UserError:
        return UserError(
            f"{self._where}: output {name} is {list(values.shape)}, {key} are {want}: correct "
            f"detector.{key}"
        )


def to_corners(boxes: FloatArray, box_format: str) -> FloatArray:
    """Convert ``[K, 4]`` boxes to left, top, right, bottom.

    Examples:
        >>> to_corners(np.array([[10, 20, 4, 6]], np.float32), "cxcywh").tolist()
        [[8.0, 17.0, 12.0, 23.0]]
        >>> to_corners(np.array([[10, 20, 4, 6]], np.float32), "xywh").tolist()
        [[10.0, 20.0, 14.0, 26.0]]
    """
    if box_format == "xyxy":
        return boxes
    first, sides = boxes[:, :2], boxes[:, 2:]
    start = first - sides / 2 if box_format == "cxcywh" else first
    return np.concatenate([start, start + sides], axis=1)


def above_threshold(scores: npt.NDArray[Any], config: DetectorConfig, where: str) -> IntArray:
    """Return the rows whose score is high enough; 0 never is, as files fill up with it.

    Raises:
        UserError: A score is above 1.
    """
    if len(scores) and scores.max() > 1 + ROUNDING:
        raise UserError(
            f"{where}: a score of {scores.max():.3g} is not in 0..1: give a file that puts scores "
            "out after the sigmoid, or correct detector.output or detector.scores"
        )
    return np.flatnonzero((scores >= config.score_threshold) & (scores > 0))


def check_classes(wanted: list[int], count: int, where: str) -> None:
    """Refuse classes that a file does not tell apart.

    Raises:
        UserError: A wanted class is not among the file's.
    """
    if max(wanted) >= count:
        raise UserError(
            f"{where} knows classes 0..{count - 1}, {max(wanted)} is wanted: correct "
            "detector.classes, or detector.labels for a file that labels its boxes"
        )


def _looks_like_boxes(values: npt.NDArray[Any]) -> bool:
    shape = values.shape
    return (len(shape) == 2 or (len(shape) == 3 and shape[0] == 1)) and shape[-1] == BOX


def _rows(values: npt.NDArray[Any], count: int) -> npt.NDArray[Any] | None:
    """Return values without a batch dimension, ``[K]`` or ``[K, C]``; None if they are not K.

    Examples:
        >>> [_rows(np.zeros(shape), 5).shape for shape in ([5], [1, 5], [5, 2], [1, 5, 2])]
        [(5,), (5,), (5, 2), (5, 2)]
        >>> _rows(np.zeros([5, 2]), 2)
    """
    if values.ndim in (2, 3) and values.shape[:2] == (1, count):
        return values[0]
    if values.ndim in (1, 2) and values.shape[0] == count:
        return values
    return None


def _listed(outputs: Outputs) -> str:
    return ", ".join(f"{name} {list(values.shape)}" for name, values in outputs.items())
