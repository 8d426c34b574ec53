"""Any ONNX detector on a picture."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import UserError
from runtime.opencv import cv2
from runtime.preprocess import LetterboxGeometry, letterbox_geometry
from runtime.types import FloatArray, IntArray
from train.teachers.config import DetectorConfig
from train.teachers.onnx.decoding import BoxOutputs, Found, decode_yolox
from train.teachers.onnx.session import CHANNELS, Outputs, PictureModel


class OnnxDetector:
    """An ONNX detector: fits the picture to its input, runs it, and brings its boxes back.

    Args:
        config: The file, and how it is fed and read.
        threads: CPU threads for one operator; ONNX Runtime's choice when None.
        backend: What computes it, as for ``runtime.load``.

    Attributes:
        size_wh: Width and height of the input in pixels.
        provider: What really computes it, e.g. ``CPUExecutionProvider``.

    Raises:
        UserError: The file cannot be used, or does not put out what the configuration says.
    """

    def __init__(
        self, config: DetectorConfig, threads: int | None = None, backend: str = "auto"
    ) -> None:
        self.config = config
        self._model = PictureModel(config, "detector", threads, backend)
        self.size_wh = self._model.input.size_wh
        self.provider = self._model.provider
        self._fitted = np.empty((*self.size_wh[::-1], CHANNELS), np.uint8)
        self._geometry: LetterboxGeometry | None = None
        if self._model.input.batch not in (None, 1):
            raise UserError(
                f"{self._model.where} takes {self._model.input.batch} pictures at a time: export "
                "it for one"
            )
        # A first look at nothing shows at once whether its outputs are as configured.
        outputs = self._model.run(self._model.blank())
        self._names = list(outputs)
        self._boxes: BoxOutputs | None = None
        if config.output == "boxes":
            self._boxes = BoxOutputs(outputs, config, self._model.where)
            self._names = self._boxes.names
        elif len(outputs) != 1:
            raise UserError(
                f"{self._model.where} has {len(outputs)} outputs, a raw YOLOX has one: set "
                "detector.output"
            )
        self._decode(outputs)

    def __call__(self, image: npt.NDArray[np.uint8]) -> Found:
        """Look at a picture.

        Args:
            image: ``[H, W, 3]`` uint8 BGR.

        Returns:
            ``boxes_xyxy [M, 4]`` float32 in pixels of the picture, reaching over its border where
            the detector says so; ``scores [M]`` float32 in 0..1, best first; ``classes [M]`` int64,
            positions in ``config.classes``.

        Raises:
            UserError: The file does not run, or puts out something else than at first.
        """
        values, geometry = self.prepare(image)
        return self.read(self._model.check(self.infer(values)), geometry)

    def prepare(self, image: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[Any], LetterboxGeometry]:
        """Return a picture as ``infer`` takes it, and where it lies in the input."""
        geometry = fit_geometry((image.shape[1], image.shape[0]), self.size_wh, self.config.fit)
        if geometry != self._geometry:
            self._geometry = geometry
            self._fitted.fill(self.config.pad)
        fit_picture(image, geometry, self._fitted)
        return self._model.feed(self._fitted[None]), geometry

    def infer(self, values: npt.NDArray[Any]) -> Outputs:
        """Run the file on what ``prepare`` returned; numbers need not be finite."""
        return self._model.infer(values, self._names)

    def read(self, outputs: Outputs, geometry: LetterboxGeometry) -> Found:
        """Read what ``infer`` returned; see ``__call__``.

        Args:
            outputs: Outputs of the file.
            geometry: Where the picture lies in the input.
        """
        boxes, scores, classes = self._decode(outputs)
        boxes = geometry.to_frame(boxes)
        sound = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        boxes, scores, classes = boxes[sound], scores[sound], classes[sound].astype(np.int64)
        kept = suppress(boxes, scores, classes, self.config.nms_iou)
        return boxes[kept], np.minimum(scores[kept], np.float32(1)), classes[kept]

    def _decode(self, outputs: Outputs) -> Found:
        size_wh, where = self.size_wh, self._model.where
        if self._boxes is not None:
            return self._boxes.read(outputs, size_wh)
        return decode_yolox(outputs[self._names[0]], size_wh, self.config, where)


def fit_geometry(
    size_wh: tuple[int, int], input_size_wh: tuple[int, int], fit: str
) -> LetterboxGeometry:
    """Compute where a picture lies in a detector's input.

    Args:
        size_wh: Width and height of the picture in pixels.
        input_size_wh: Those of the input.
        fit: See ``DetectorConfig``.

    Raises:
        ValueError: A side is not positive.

    Examples:
        >>> [fit_geometry((200, 100), (64, 64), fit).top for fit in ("top_left", "centre")]
        [0, 16]
        >>> fit_geometry((200, 100), (64, 64), "stretch").resized_wh
        (64, 64)
    """
    centred = letterbox_geometry(size_wh, input_size_wh)
    if fit == "top_left":
        return dataclasses.replace(centred, left=0, top=0)
    if fit == "stretch":
        return dataclasses.replace(centred, left=0, top=0, resized_wh=input_size_wh)
    return centred


def fit_picture(
    image: npt.NDArray[np.uint8], geometry: LetterboxGeometry, out: npt.NDArray[np.uint8]
) -> None:
    """Resize a picture ``[h, w, 3]`` into its place in the input, ``[H, W, 3]``; leave the border.

    Bilinear, also where it shrinks: that is how detectors are trained.
    """
    width, height = geometry.resized_wh
    left, top = geometry.left, geometry.top
    out[top : top + height, left : left + width] = cv2.resize(
        image, geometry.resized_wh, interpolation=cv2.INTER_LINEAR
    )


def suppress(boxes_xyxy: FloatArray, scores: FloatArray, classes: IntArray, iou: float) -> IntArray:
    """Return the rows that remain after non-maximum suppression within each class, best first.

    Args:
        boxes_xyxy: ``[M, 4]``.
        scores: ``[M]``.
        classes: ``[M]``.
        iou: Of two boxes of a class that overlap by more, the lower is dropped; 1 keeps all.

    Examples:
        >>> boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 10]], np.float32)
        >>> suppress(boxes, np.array([0.5, 0.9, 0.4]), np.array([0, 0, 1]), 0.6).tolist()
        [1, 2]
    """
    kept = np.arange(len(scores))
    if iou < 1:
        ltwh = np.concatenate([boxes_xyxy[:, :2], boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]], axis=1)
        ltwh = ltwh.astype(np.float64)
        # OpenCV's own variant for classes moves them apart by the largest coordinate, which does
        # not part boxes that reach beyond the picture's left and upper border.
        parts = [np.flatnonzero(classes == label) for label in np.unique(classes)]
        survivors = [
            rows[list(cv2.dnn.NMSBoxes(ltwh[rows].tolist(), scores[rows].tolist(), 0.0, iou))]
            for rows in parts
        ]
        kept = np.concatenate([kept[:0], *survivors])
    return kept[np.argsort(-scores[kept], kind="stable")]
