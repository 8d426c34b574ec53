"""The currency between detector, tracker and sinks: arrays, one row per object."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import UserError

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
# Half precision leaves embeddings this far from length 1.
UNIT_LENGTH_TOLERANCE = 1e-3

Index = npt.NDArray[np.bool_] | npt.NDArray[np.intp] | slice


@dataclass
class Detections:
    """What the network saw in one frame, best score first.

    Attributes:
        boxes_xyxy: ``[N, 4]`` float32, left, top, right, bottom in pixels of the frame. Boxes may
            reach over the frame's border, as FairMOT's amodal boxes do.
        scores: ``[N]`` float32 in 0..1.
        embeddings: ``[N, D]`` float32 of unit length, or None for a model without re-ID.
        classes: ``[N]`` int64 class indices; zeros when not given.

    Raises:
        ValueError: The arrays do not agree in length or shape.

    Examples:
        >>> len(Detections.empty())
        0
        >>> Detections(np.array([[0, 0, 10, 20]]), np.array([0.9])).classes
        array([0])
    """

    boxes_xyxy: FloatArray
    scores: FloatArray
    embeddings: FloatArray | None = None
    classes: IntArray = None  # type: ignore[assignment]  # filled in below

    def __post_init__(self) -> None:
        self.boxes_xyxy = np.asarray(self.boxes_xyxy, np.float32).reshape(-1, 4)
        self.scores = np.asarray(self.scores, np.float32).reshape(-1)
        count = len(self.boxes_xyxy)
        if self.classes is None:
            self.classes = np.zeros(count, np.int64)
        self.classes = np.asarray(self.classes, np.int64).reshape(-1)
        if self.embeddings is not None:
            self.embeddings = np.asarray(self.embeddings, np.float32)
            if self.embeddings.ndim != 2 or len(self.embeddings) != count:
                raise ValueError(
                    f"embeddings have shape {self.embeddings.shape}, expected [{count}, D]"
                )
        if len(self.scores) != count or len(self.classes) != count:
            raise ValueError(
                f"{count} boxes with {len(self.scores)} scores and {len(self.classes)} classes"
            )

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(
        self, index: npt.NDArray[np.bool_] | npt.NDArray[np.intp] | slice
    ) -> Detections:
        """Return the rows that a mask, an index array or a slice selects."""
        embeddings = None if self.embeddings is None else self.embeddings[index]
        return Detections(
            self.boxes_xyxy[index], self.scores[index], embeddings, self.classes[index]
        )

    @classmethod
    def empty(cls, embedding_dim: int = 0) -> Detections:
        """Return no detections, with embeddings of shape ``[0, embedding_dim]`` if it is not 0."""
        embeddings = np.zeros((0, embedding_dim), np.float32) if embedding_dim else None
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), embeddings)


@dataclass
class Tracks:
    """The confirmed tracks of one frame.

    Attributes:
        ids: ``[N]`` int64, 1 and up, unique in the frame and never used again in the run.
        boxes_xyxy: ``[N, 4]`` float32 in pixels of the frame.
        scores: ``[N]`` float32, score of the detection matched in this frame.
        classes: ``[N]`` int64 class indices.
        velocities_xy: ``[N, 2]`` float32, how the centres move, in pixels of the frame per second;
            zeros when not given.

    Raises:
        ValueError: The arrays do not agree in length.

    Examples:
        >>> tracks = Tracks(np.array([7]), np.array([[1, 2, 11, 22]]), np.array([0.5]), [0])
        >>> tracks.to_mot_rows(frame=1)
        ['1,7,1.00,2.00,10.00,20.00,0.5000,-1,-1,-1']
    """

    ids: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    boxes_xyxy: FloatArray = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    scores: FloatArray = field(default_factory=lambda: np.zeros(0, np.float32))
    classes: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    velocities_xy: FloatArray = None  # type: ignore[assignment]  # filled in below

    def __post_init__(self) -> None:
        self.ids = np.asarray(self.ids, np.int64).reshape(-1)
        self.boxes_xyxy = np.asarray(self.boxes_xyxy, np.float32).reshape(-1, 4)
        self.scores = np.asarray(self.scores, np.float32).reshape(-1)
        self.classes = np.asarray(self.classes, np.int64).reshape(-1)
        if self.velocities_xy is None:
            self.velocities_xy = np.zeros((len(self.ids), 2), np.float32)
        self.velocities_xy = np.asarray(self.velocities_xy, np.float32).reshape(-1, 2)
        columns = (self.boxes_xyxy, self.scores, self.classes, self.velocities_xy)
        if any(len(column) != len(self.ids) for column in columns):
            raise ValueError(
                f"{len(self.ids)} ids with {', '.join(str(len(column)) for column in columns)} "
                "boxes, scores, classes and velocities"
            )

    def __len__(self) -> int:
        return len(self.ids)

    def to_mot_rows(self, frame: int, with_class: bool = False) -> list[str]:
        """Return MOTChallenge result rows.

        Args:
            frame: Frame number, counted from 1.
            with_class: Write the class, counted from 1, where ground truth of MOT16 and later has
                it, for models that tell several classes apart.

        Returns:
            One ``frame,id,left,top,width,height,score,-1,-1,-1`` per track, or with a class
            ``frame,id,left,top,width,height,score,class,-1``. Pixels count from 1 in the
            MOTChallenge format and from 0 in this project's arrays; like every published tracker,
            FairMOT included, the rows carry the array's numbers unshifted.
        """
        rows = []
        for track_id, (left, top, right, bottom), score, label in zip(
            self.ids.tolist(),
            self.boxes_xyxy.tolist(),
            self.scores.tolist(),
            self.classes.tolist(),
            strict=True,
        ):
            rows.append(
                f"{frame},{track_id},{left:.2f},{top:.2f},{right - left:.2f},{bottom - top:.2f},"
                f"{score:.4f}," + (f"{label + 1},-1" if with_class else "-1,-1,-1")
            )
        return rows

    def to_supervision(self) -> Any:
        """Return ``supervision.Detections`` with boxes, scores, class and tracker ids.

        Raises:
            UserError: The package supervision is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise UserError(
                "supervision is not installed: pip install --no-deps supervision"
            ) from error
        return supervision.Detections(
            xyxy=self.boxes_xyxy.copy(),
            confidence=self.scores.copy(),
            class_id=self.classes.copy(),
            tracker_id=self.ids.copy(),
        )


@dataclass
class FrameResult:
    """What happened in one frame.

    Attributes:
        index: Number of the frame in its source, counted from 0; numbers of frames that a live
            source dropped are left out.
        timestamp: Seconds since the start of the source.
        frame: uint8 BGR ``[H, W, 3]``.
        detections: In pixels of the frame, best first.
        tracks: Confirmed tracks of the frame.
        stage_seconds: Seconds spent in each stage; see ``runtime.pipeline.STAGES``.
        source: Name of the source.
    """

    index: int
    timestamp: float
    frame: npt.NDArray[np.uint8]
    detections: Detections
    tracks: Tracks
    stage_seconds: dict[str, float] = field(default_factory=dict)
    source: str = ""
