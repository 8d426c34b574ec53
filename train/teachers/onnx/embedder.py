"""Any ONNX re-identification model on the boxes of a picture."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import UserError
from runtime.opencv import cv2
from train.teachers.config import EmbedderConfig
from train.teachers.onnx.session import Outputs, PictureModel

# More crops than this go in several batches, which bounds the memory.
CROPS_AT_ONCE = 32


class OnnxEmbedder:
    """An ONNX re-identification model: crops each box and describes what is in it.

    Args:
        config: The file, how it is fed, and which boxes it looks at.
        threads: CPU threads for one operator; ONNX Runtime's choice when None.
        backend: What computes it, as for ``runtime.load``.

    Attributes:
        embedding_dim: E, length of an embedding.

    Raises:
        UserError: The file cannot be used, or does not put out one row per crop.
    """

    def __init__(
        self, config: EmbedderConfig, threads: int | None = None, backend: str = "auto"
    ) -> None:
        self.config = config
        self._model = PictureModel(config, "embedder", threads, backend)
        outputs = self._model.run(self._model.blank())
        self._output = self._choose(outputs)
        self.embedding_dim = self._read(outputs, 1).shape[1]

    def __call__(
        self, image: npt.NDArray[np.uint8], boxes_xyxy: npt.ArrayLike
    ) -> npt.NDArray[np.float16]:
        """Describe the objects in boxes.

        Args:
            image: ``[H, W, 3]`` uint8 BGR.
            boxes_xyxy: ``[M, 4]`` in pixels of the picture; of a box that reaches over its border,
                the part inside is looked at.

        Returns:
            ``[M, E]`` rows of length 1; zeros where the part inside is lower than
            ``config.min_height`` or empty.

        Raises:
            UserError: The file does not run, or puts out something else than at first.
        """
        boxes = np.asarray(boxes_xyxy, np.float64).reshape(-1, 4)
        embeddings = np.zeros((len(boxes), self.embedding_dim), np.float32)
        crops = {}
        for row, box in enumerate(boxes):
            part = crop(image, box, self.config.min_height, self.config.margin)
            if part is not None:
                crops[row] = part
        rows = list(crops)
        at_once = self._model.input.batch or CROPS_AT_ONCE
        for first in range(0, len(rows), at_once):
            some = rows[first : first + at_once]
            fitted = [fit_crop(crops[row], self._model.input.size_wh) for row in some]
            outputs = self._model.run(np.stack(fitted), [self._output])
            embeddings[some] = self._read(outputs, len(some))
        lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
        return (embeddings / np.where(lengths > 0, lengths, 1)).astype(np.float16)

    def _choose(self, outputs: Outputs) -> str:
        name = self.config.output
        if name is None and len(outputs) == 1:
            return next(iter(outputs))
        if name is not None and name in outputs:
            return name
        fault = f"has no output {name}" if name else f"has {len(outputs)} outputs"
        listed = ", ".join(f"{other} {list(value.shape)}" for other, value in outputs.items())
        raise UserError(f"{self._model.where} {fault}: set embedder.output to one of {listed}")

    def _read(self, outputs: Outputs, count: int) -> npt.NDArray[Any]:
        """Return the embeddings of the first ``count`` crops, ``[count, E]``."""
        values = outputs[self._output]
        shape = values.shape
        ran = self._model.input.batch or count
        if len(shape) < 2 or shape[0] != ran or math.prod(shape[2:]) != 1:
            raise UserError(
                f"{self._model.where}: output {self._output} is {list(shape)} for {ran} crops, "
                "embeddings are [N, E]: correct embedder.output, or export it for batches of 1"
            )
        return values.reshape(ran, shape[1])[:count]


def crop(
    image: npt.NDArray[np.uint8],
    box_xyxy: npt.NDArray[np.float64],
    min_height: float,
    margin: float,
) -> npt.NDArray[np.uint8] | None:
    """Cut a box out of a picture.

    Args:
        image: ``[H, W, 3]``.
        box_xyxy: ``[4]`` in pixels; what reaches over the border is left away.
        min_height: In pixels.
        margin: Share of the box's sides added on each side.

    Returns:
        A view of all pixels the box touches, or None where less than ``min_height`` of it, without
        margin, is inside the picture.

    Examples:
        >>> crop(np.zeros((48, 64, 3), np.uint8), np.array([-5.0, 10.5, 12, 40]), 24, 0).shape
        (30, 12, 3)
        >>> crop(np.zeros((48, 64, 3), np.uint8), np.array([0.0, 30, 12, 60]), 24, 0)
    """
    limits = np.array([image.shape[1], image.shape[0]] * 2)
    left, top, right, bottom = np.clip(box_xyxy, 0, limits)
    if right <= left or bottom <= top or bottom - top < min_height:
        return None
    sides = np.tile(box_xyxy[2:] - box_xyxy[:2], 2)
    grown = np.clip(box_xyxy + margin * sides * [-1, -1, 1, 1], 0, limits)
    x1, y1 = np.floor(grown[:2]).astype(int)
    x2, y2 = np.ceil(grown[2:]).astype(int)
    return image[y1:y2, x1:x2]


def fit_crop(part: npt.NDArray[np.uint8], size_wh: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Resize a crop to the input, ``[H, W, 3]``; averaged over areas where it shrinks."""
    shrinks = part.shape[1] > size_wh[0] and part.shape[0] > size_wh[1]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(part, size_wh, interpolation=interpolation), np.uint8)
