"""From a frame to detections: preprocessing, network, boxes back in frame pixels."""

from __future__ import annotations

import os
from types import TracebackType

import numpy as np
import numpy.typing as npt

from runtime.engines import Engine, open_engine
from runtime.errors import UserError
from runtime.model_info import ModelInfo
from runtime.preprocess import LetterboxGeometry, preprocessor_for
from runtime.tracking.config import TrackerConfig
from runtime.types import Detections

Outputs = dict[str, npt.NDArray[np.generic]]

UNIT_LENGTH_TOLERANCE = 1e-3  # half precision leaves embeddings this far from length 1


def load(
    path: str | os.PathLike[str],
    backend: str = "auto",
    threads: int | None = None,
    score_threshold: float | None = None,
) -> Detector:
    """Load a model made by ``kd-export``.

    Args:
        path: ONNX file, or a TensorRT engine with its sidecar beside it.
        backend: ``cpu``, ``cuda``, or ``auto`` for CUDA where it works and the CPU elsewhere; an
            engine runs on the library that built it, ``tensorrt`` or ``tensorrt-rtx``.
        threads: CPU threads for one operator; the engine's own choice when not given.
        score_threshold: See ``Detector``.

    Raises:
        UserError: The file, the engine or the backend cannot be used.
    """
    return Detector(open_engine(path, backend, threads), score_threshold)


class Detector:
    """A network with what stands before and behind it.

    Calling it with a frame gives detections in the frame's pixels. The three stages can also be
    called one by one, to time them or to overlap them.

    Args:
        engine: The loaded network.
        score_threshold: Detections that do not score higher are dropped. When not given, the
            lowest score that the model's tracker settings have a use for.

    Attributes:
        engine: The loaded network.
        info: What the model says about itself.
        score_threshold: The threshold in use, 0..1.

    Raises:
        UserError: The score threshold is not between 0 and 1, or the model's tracker settings are
            unknown.
    """

    def __init__(self, engine: Engine, score_threshold: float | None = None) -> None:
        self.engine = engine
        self.info: ModelInfo = engine.info
        self._prepare = preprocessor_for(self.info)
        if score_threshold is None:
            score_threshold = TrackerConfig.for_model(self.info.tracker).lowest_score
        if not 0 <= score_threshold <= 1:
            raise UserError(f"score threshold {score_threshold:g} is not between 0 and 1")
        self.score_threshold = score_threshold

    def __call__(self, frame: npt.NDArray[np.uint8]) -> Detections:
        """Detect objects in a frame.

        Args:
            frame: uint8 BGR ``[H, W, 3]``.

        Returns:
            Detections in pixels of the frame, best first.

        Raises:
            UserError: The model takes frames of another size.
        """
        geometry = self.preprocess(frame)
        return self.decode(self.infer(), geometry)

    def preprocess(self, frame: npt.NDArray[np.uint8]) -> LetterboxGeometry:
        """Prepare a frame for the network: letterbox it, unless the graph does that itself.

        Args:
            frame: uint8 BGR ``[H, W, 3]``; not to be changed before ``infer`` has run.

        Returns:
            Where the frame lies in the input; ``decode`` needs it.

        Raises:
            UserError: The model takes frames of another size.
        """
        return self._prepare(frame)

    def infer(self) -> Outputs:
        """Run the network on the frame that ``preprocess`` prepared last."""
        return self.engine.run(self._prepare.buffer)

    def decode(self, outputs: Outputs, geometry: LetterboxGeometry) -> Detections:
        """Turn the network's outputs into detections.

        Rows with a low score, with a box that is not finite or has no area, or with an embedding
        that is not finite or zero are dropped.

        Args:
            outputs: What ``infer`` returned.
            geometry: What ``preprocess`` returned.

        Returns:
            Detections in pixels of the frame, best first, embeddings of unit length.
        """
        scores = np.asarray(outputs["scores"][0], np.float32)
        rows = np.flatnonzero((scores > self.score_threshold) & np.isfinite(scores))
        boxes = np.asarray(outputs["boxes"][0], np.float32)[rows]
        sound = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        embeddings = None
        if self.info.embedding_dim:
            embeddings = np.asarray(outputs["embeddings"][0], np.float32)[rows]
            lengths = np.sqrt(np.einsum("nd,nd->n", embeddings, embeddings))
            sound &= np.isfinite(lengths) & (lengths > 0)
            if (np.abs(lengths - 1) > UNIT_LENGTH_TOLERANCE)[sound].any():
                embeddings[sound] /= lengths[sound, None]
        kept = np.flatnonzero(sound)
        kept = kept[np.argsort(-scores[rows[kept]], kind="stable")]
        return Detections(
            geometry.to_frame(boxes[kept]),
            scores[rows[kept]],
            None if embeddings is None else embeddings[kept],
            np.asarray(outputs["classes"][0])[rows[kept]].astype(np.int64),
        )

    def close(self) -> None:
        """Give back the engine's memory."""
        self.engine.close()

    def __enter__(self) -> Detector:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
