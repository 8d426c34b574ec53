"""From a frame to detections: preprocessing, network, boxes back in frame pixels."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from types import TracebackType

import numpy as np
import numpy.typing as npt

from runtime.engines import Engine, open_engine
from runtime.errors import UserError
from runtime.model_info import ModelInfo
from runtime.preprocess import LetterboxGeometry, preprocessor_for
from runtime.tracking.config import TrackerConfig
from runtime.types import UNIT_LENGTH_TOLERANCE, Detections

Frame = npt.NDArray[np.uint8]
Outputs = dict[str, npt.NDArray[np.generic]]


def load(
    path: str | os.PathLike[str],
    backend: str = "auto",
    threads: int | None = None,
    score_threshold: float | None = None,
    in_pipeline: bool = False,
) -> Detector:
    """Load a model made by ``kd-export``.

    Args:
        path: ONNX file, or a TensorRT engine with its sidecar beside it.
        backend: ``cpu``, ``cuda``, ``ort-tensorrt``, or ``auto`` for the fastest that works; an
            engine runs on the library that built it, ``tensorrt`` or ``tensorrt-rtx``.
        threads: CPU threads for one operator; the engine's own choice when not given.
        score_threshold: See ``Detector``.
        in_pipeline: Whether other threads want a share of the CPU while the network runs on it, as
            in ``runtime.run``. Where it has all cores, it then makes room for them, which is
            better for both.

    Raises:
        UserError: The file, the engine or the backend cannot be used.
    """
    cores = os.cpu_count() or 1
    has_all_cores = threads is None or threads >= cores
    spin = not (in_pipeline and has_all_cores)
    return Detector(open_engine(path, backend, threads, spin), score_threshold)


class Detector:
    """A network with what stands before and behind it.

    Calling it with a frame gives detections in the frame's pixels. The three stages can also be
    called one by one, to time them; ``gather`` prepares frames while the engine runs others.

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
        # A graph that letterboxes takes a frame from where it lies; all else goes into the engine.
        self._takes_any_memory = self.info.preprocess == "graph"
        self._ready = self._prepare.buffer
        if score_threshold is None:
            score_threshold = TrackerConfig.for_model(self.info.tracker).lowest_score
        if not 0 <= score_threshold <= 1:
            raise UserError(f"score threshold {score_threshold:g} is not between 0 and 1")
        self.score_threshold = score_threshold

    def __call__(self, frame: Frame) -> Detections:
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

    def detect_batch(self, frames: Sequence[Frame]) -> list[Detections]:
        """Detect objects in several frames, in as few runs as the model allows.

        Args:
            frames: uint8 BGR ``[H, W, 3]`` each; they may differ in size, unless the graph
                letterboxes them itself.

        Returns:
            What calling the detector with each frame gives, in their order.

        Raises:
            UserError: The model takes frames of another size.
        """
        return [detections for detections, _ in self.detect_timed(frames)]

    def detect_timed(self, frames: Sequence[Frame]) -> list[tuple[Detections, dict[str, float]]]:
        """Detect like ``detect_batch``, and tell what each frame took.

        Returns:
            For each frame its detections, and the seconds that it spent in ``preprocess``,
            ``network`` (its shares of the run) and ``decode``.

        Raises:
            UserError: The model takes frames of another size.
        """
        runs = math.ceil(len(frames) / self.engine.largest_batch)
        found: list[tuple[Detections, dict[str, float]]] = []
        for run in range(runs):
            # Runs of about one size: the last is not left with fewer than an engine takes.
            start, stop = (len(frames) * edge // runs for edge in (run, run + 1))
            found += self._detect_run(frames[start:stop])
        return found

    def _detect_run(self, frames: Sequence[Frame]) -> list[tuple[Detections, dict[str, float]]]:
        """Detect in the frames of one run."""
        clock = time.perf_counter
        count = len(frames)
        start = clock()
        memory, geometries = self.gather(frames, self._own_memory(count))
        prepared = clock()
        outputs = self.engine.run(memory)
        shares = {"preprocess": (prepared - start) / count, "network": (clock() - prepared) / count}
        found = []
        for row, geometry in enumerate(geometries):
            start = clock()
            detections = self.decode(outputs, geometry, row)
            found.append((detections, {**shares, "decode": clock() - start}))
        return found

    def gather(
        self, frames: Sequence[Frame], memory: npt.NDArray[np.uint8] | None = None
    ) -> tuple[npt.NDArray[np.uint8], list[LetterboxGeometry]]:
        """Prepare the frames of one run outside the engine, for instance while it runs others.

        Args:
            frames: uint8 BGR ``[H, W, 3]`` each; no more than ``engine.largest_batch``.
            memory: uint8 ``[N, H, W, 3]`` of ``info.frames_wh`` to write to; new memory when it is
                not given or too small.

        Returns:
            What ``engine.run`` takes, and where each frame lies in it, which ``decode`` needs.

        Raises:
            UserError: The model takes frames of another size.
        """
        if self._takes_any_memory and len(frames) == self.engine.smallest_batch == 1:
            geometry = self._prepare(frames[0])
            return self._prepare.buffer, [geometry]
        # What an engine takes at least is filled up with whatever lies in the memory.
        slots = max(len(frames), self.engine.smallest_batch)
        if memory is None or len(memory) < slots:
            width, height = self.info.frames_wh
            memory = np.zeros((slots, height, width, 3), np.uint8)
        used = memory[:slots]
        return used, [self._prepare(frame, used[slot]) for slot, frame in enumerate(frames)]

    def preprocess(self, frame: Frame) -> LetterboxGeometry:
        """Prepare a frame for the network: letterbox it, unless the graph does that itself.

        Args:
            frame: uint8 BGR ``[H, W, 3]``; not to be changed before ``infer`` has run.

        Returns:
            Where the frame lies in the input; ``decode`` needs it.

        Raises:
            UserError: The model takes frames of another size.
        """
        self._ready, geometries = self.gather([frame], self._own_memory(1))
        return geometries[0]

    def infer(self) -> Outputs:
        """Run the network on the frame that ``preprocess`` prepared last."""
        return self.engine.run(self._ready)

    def _own_memory(self, count: int) -> npt.NDArray[np.uint8] | None:
        """Return the engine's memory for so many frames, None where a frame is taken as it is."""
        slots = max(count, self.engine.smallest_batch)
        return None if self._takes_any_memory and slots == 1 else self.engine.input(slots)

    def decode(self, outputs: Outputs, geometry: LetterboxGeometry, row: int = 0) -> Detections:
        """Turn the network's outputs into detections.

        Rows with a low score, with a box that is not finite or has no area, or with an embedding
        that is not finite or zero are dropped.

        Args:
            outputs: What ``infer`` returned.
            geometry: What ``preprocess`` returned for the frame.
            row: The frame's place in the run.

        Returns:
            Detections in pixels of the frame, best first, embeddings of unit length.
        """
        scores = np.asarray(outputs["scores"][row], np.float32)
        rows = np.flatnonzero((scores > self.score_threshold) & (scores < np.inf))
        boxes = np.asarray(outputs["boxes"][row], np.float32)[rows]
        sound = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        embeddings = None
        if self.info.embedding_dim:
            embeddings = np.asarray(outputs["embeddings"][row], np.float32)[rows]
            squares = np.einsum("nd,nd->n", embeddings, embeddings)
            if not (np.abs(squares - 1) <= 2 * UNIT_LENGTH_TOLERANCE).all():
                sound &= np.isfinite(squares) & (squares > 0)
                embeddings[sound] /= np.sqrt(squares[sound, None])
        found = Detections(
            geometry.to_frame(boxes),
            scores[rows],
            embeddings,
            np.asarray(outputs["classes"][row])[rows],
        )
        if not sound.all():
            found = found[np.flatnonzero(sound)]
        if (found.scores[1:] > found.scores[:-1]).any():
            found = found[np.argsort(-found.scores, kind="stable")]
        return found

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
