"""All tracks that are alive, one row each."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime.tracking import kalman

Rows = npt.NDArray[np.bool_] | npt.NDArray[np.intp]


@dataclass
class TrackTable:
    """Columns of the track table, in order of creation, so those not yet confirmed come last.

    Attributes:
        ids: ``[N]`` int64; 0 until the track is shown for the first time.
        is_lost: ``[N]`` bool, not matched in the last frame.
        is_confirmed: ``[N]`` bool, matched twice, or started in the first frame.
        is_doomed: ``[N]`` bool, given up once; ends when it is lost again. Only ever set under
            ``TrackerConfig.revive_expired``.
        means: ``[N, 8]`` float64; see ``runtime.tracking.kalman``.
        covariances: ``[N, 3, 4]`` float64.
        embeddings: ``[N, D]`` float32, smoothed, of unit length; D is 0 without re-ID.
        scores: ``[N]`` float32, score of the last detection.
        classes: ``[N]`` int64.
        first_frames: ``[N]`` int64, frame of the first detection, counted from 1.
        last_frames: ``[N]`` int64, frame of the last detection.
    """

    ids: npt.NDArray[np.int64]
    is_lost: npt.NDArray[np.bool_]
    is_confirmed: npt.NDArray[np.bool_]
    is_doomed: npt.NDArray[np.bool_]
    means: npt.NDArray[np.float64]
    covariances: npt.NDArray[np.float64]
    embeddings: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    classes: npt.NDArray[np.int64]
    first_frames: npt.NDArray[np.int64]
    last_frames: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def start(
        cls,
        boxes_xyah: npt.NDArray[np.float64],
        embeddings: npt.NDArray[np.float32],
        scores: npt.NDArray[np.float32],
        classes: npt.NDArray[np.int64],
        frame: int,
    ) -> TrackTable:
        """Return new tracks, one per measurement ``[N, 4]``, that appear in ``frame``."""
        count = len(boxes_xyah)
        means, covariances = kalman.initiate(boxes_xyah)
        return cls(
            ids=np.zeros(count, np.int64),
            is_lost=np.zeros(count, np.bool_),
            # In the first frame there is nothing that a false detection could disturb.
            is_confirmed=np.full(count, frame == 1),
            is_doomed=np.zeros(count, np.bool_),
            means=means,
            covariances=covariances,
            embeddings=embeddings,
            scores=scores,
            classes=classes,
            first_frames=np.full(count, frame, np.int64),
            last_frames=np.full(count, frame, np.int64),
        )

    @classmethod
    def empty(cls, embedding_dim: int) -> TrackTable:
        """Return a table without rows."""
        return cls.start(
            np.zeros((0, 4)),
            np.zeros((0, embedding_dim), np.float32),
            np.zeros(0, np.float32),
            np.zeros(0, np.int64),
            frame=0,
        )

    @property
    def confirmed_count(self) -> int:
        """Number of confirmed tracks, which are the first rows."""
        return int(np.count_nonzero(self.is_confirmed))

    @property
    def boxes_xyxy(self) -> npt.NDArray[np.float64]:
        """``[N, 4]`` boxes of the current states in pixels."""
        return kalman.xyah_to_xyxy(self.means)

    def select(self, rows: Rows) -> TrackTable:
        """Return a table of the rows that a mask or an index array selects."""
        return TrackTable(*(column[rows] for column in self._columns()))

    def extended(self, other: TrackTable) -> TrackTable:
        """Return a table of these rows and those of ``other``."""
        pairs = zip(self._columns(), other._columns(), strict=True)
        return TrackTable(*(np.concatenate(pair) for pair in pairs))

    def _columns(self) -> list[npt.NDArray]:
        return [getattr(self, field.name) for field in dataclasses.fields(self)]
