"""Settings of the tracker."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runtime.errors import UserError

# Largest value each setting can have; the smallest is 0. Settings not named have no upper limit.
_UPPER_LIMITS = {
    "high_threshold": 1.0,
    "low_threshold": 1.0,
    "new_track_threshold": 1.0,
    "appearance_distance": 2.0,
    "motion_only_iou_distance": 1.0,
    "iou_distance": 1.0,
    "low_score_iou_distance": 1.0,
    "unconfirmed_iou_distance": 1.0,
    "duplicate_iou_distance": 1.0,
    "motion_weight": 1.0,
    "embedding_momentum": 1.0,
}
_FLAGS = frozenset({"low_score_stage", "camera_motion", "inclusive_boxes", "revive_expired"})


@dataclass(frozen=True)
class TrackerConfig:
    """Every threshold of the tracker.

    Scores lie in 0..1. An IoU distance is 1 - IoU. Distances are upper limits: pairs further apart
    are never matched. Times are in seconds, so that settings hold for every frame rate.

    Attributes:
        high_threshold: Detections scoring higher take part in all stages.
        low_threshold: Detections scoring higher than this, but not than ``high_threshold``, may
            only continue a track.
        low_score_stage: Whether low-score detections are used at all (ByteTrack, Zhang et al.,
            ECCV 2022).
        new_track_threshold: Lowest score that starts a track.
        appearance_distance: Limit of the first stage: cosine distance of embeddings fused with the
            motion distance.
        motion_weight: Share of the motion distance in that fusion; 1 - lambda of FairMOT and JDE.
        motion_gate: Limit of the squared Mahalanobis distance between a track's predicted box and
            a detection; 9.4877, which FairMOT takes, is the 95 % quantile of chi-square with 4
            degrees of freedom, 16 the 99.7 %.
        motion_only_iou_distance: Limit of the first stage where there are no embeddings.
        iou_distance: Limit of the second stage, by overlap, of tracks seen in the last frame.
        low_score_iou_distance: Limit of the stage with low-score detections.
        unconfirmed_iou_distance: Limit for the second match of a new track.
        duplicate_iou_distance: A tracked and a lost track closer than this are one object.
        embedding_momentum: Weight of the old embedding when a match renews it.
        lost_seconds: Time without a match, in seconds, after which a track is given up. Taken in
            whole frames; as in FairMOT, a match in the frame right after still counts.
        motion_fps: Frame rate whose frames are the motion model's unit of time. Noise is stated per
            frame in the papers; at 7 frames a second people go further from one to the next. 0
            takes a frame for a unit at any rate, as FairMOT does.
        camera_motion: Whether the motion of the camera is found in the picture and taken out of
            the tracks' (for cameras that move; costs about two milliseconds a frame).
        inclusive_boxes: Whether a box includes its last pixel when overlaps are computed, as in
            FairMOT's ``bbox_overlaps``.
        revive_expired: Whether a track that is given up can be matched for one frame more, and if
            it is, ends when it is lost again: what FairMOT's order of bookkeeping amounts to.

    Raises:
        UserError: A value is outside its range.

    Examples:
        >>> TrackerConfig.preset("fairmot").low_score_stage
        False
        >>> TrackerConfig().replace(lost_seconds=2).lost_seconds
        2.0
    """

    high_threshold: float = 0.4
    low_threshold: float = 0.2
    low_score_stage: bool = True
    new_track_threshold: float = 0.5
    appearance_distance: float = 0.4
    motion_weight: float = 0.02
    motion_gate: float = 16.0
    motion_only_iou_distance: float = 0.9
    iou_distance: float = 0.5
    low_score_iou_distance: float = 0.5
    unconfirmed_iou_distance: float = 0.7
    duplicate_iou_distance: float = 0.05
    embedding_momentum: float = 0.9
    lost_seconds: float = 1.0
    motion_fps: float = 30.0
    camera_motion: bool = False
    inclusive_boxes: bool = False
    revive_expired: bool = False

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if name in _FLAGS:
                if not isinstance(value, bool):
                    raise UserError(f"tracker.{name} is {value!r}: give true or false")
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise UserError(f"tracker.{name} is {value!r}: give a number")
            limit = _UPPER_LIMITS.get(name, math.inf)
            if not (math.isfinite(value) and 0 <= value <= limit):
                upper = "up" if limit == math.inf else f"to {limit:g}"
                raise UserError(f"tracker.{name} is {value:g}: give a value from 0 {upper}")
            object.__setattr__(self, name, float(value))

    @property
    def lowest_score(self) -> float:
        """The score that a detection must exceed to be of any use to the tracker."""
        return self.low_threshold if self.low_score_stage else self.high_threshold

    @classmethod
    def preset(cls, name: str) -> TrackerConfig:
        """Return the settings of that name.

        Args:
            name: ``default``, or ``fairmot`` for the settings FairMOT was published with.

        Raises:
            UserError: There is no such preset.
        """
        if name not in PRESETS:
            raise UserError(
                f"tracker preset {name!r} is unknown: choose one of {', '.join(PRESETS)}"
            )
        return cls(**PRESETS[name])

    @classmethod
    def for_model(cls, settings: Mapping[str, Any], preset: str | None = None) -> TrackerConfig:
        """Return the settings to run a model with.

        Args:
            settings: ``ModelInfo.tracker``, changes to the default preset that suit the model.
            preset: A preset that the user named; it is then used as it is.

        Raises:
            UserError: The preset or a setting is unknown.
        """
        if preset is not None:
            return cls.preset(preset)
        return cls.preset("default").replace(**settings)

    def replace(self, **overrides: Any) -> TrackerConfig:
        """Return a copy with some settings changed.

        Raises:
            UserError: A setting is unknown or outside its range.
        """
        known = [field.name for field in dataclasses.fields(self)]
        unknown = [name for name in overrides if name not in known]
        if unknown:
            raise UserError(
                f"tracker setting {unknown[0]!r} is unknown: choose among {', '.join(known)}"
            )
        return dataclasses.replace(self, **overrides)


PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    # As published, and decision for decision what the original does with the same detections.
    "fairmot": {
        "low_score_stage": False,
        "new_track_threshold": 0.4,
        "motion_gate": 9.4877,
        "duplicate_iou_distance": 0.15,
        "motion_fps": 0.0,
        "inclusive_boxes": True,
        "revive_expired": True,
    },
}
