"""What a generated scene is asked to be."""

from __future__ import annotations

import math
from dataclasses import dataclass

from runtime.errors import UserError

VIEWS = ("auto", "street", "elevated")
CAMERAS = ("auto", "static", "jitter")
MAX_PEOPLE = 200


@dataclass(frozen=True)
class SceneConfig:
    """Everything that determines a generated sequence, to the last pixel.

    Attributes:
        frames: Number of frames.
        size_wh: Width and height of the picture in pixels.
        fps: Frame rate in Hz.
        people: How many people are in or around the view at a time. Those who leave are replaced
            by new people with new identities.
        seed: Draws the place, the camera, the light, the people and their paths.
        camera: ``static``, ``jitter`` (a shaking mount), or ``auto``: drawn from the seed.
        view: ``street`` (eye level, large people), ``elevated`` (surveillance, small people), or
            ``auto``: drawn from the seed.

    Raises:
        UserError: A value is out of range.

    Examples:
        >>> SceneConfig(frames=0)
        Traceback (most recent call last):
        ...
        runtime.errors.UserError: a scene of 0 frames: give at least 1
    """

    frames: int = 240
    size_wh: tuple[int, int] = (768, 576)
    fps: float = 25.0
    people: int = 14
    seed: int = 0
    camera: str = "auto"
    view: str = "auto"

    def __post_init__(self) -> None:
        width, height = self.size_wh
        if self.frames < 1:
            raise UserError(f"a scene of {self.frames} frames: give at least 1")
        if not (64 <= width <= 4096 and 64 <= height <= 4096):
            raise UserError(f"a scene of {width}x{height} pixels: each side must be 64 to 4096")
        if not (math.isfinite(self.fps) and 1 <= self.fps <= 240):
            raise UserError(f"a scene at {self.fps:g} frames a second: give 1 to 240")
        if not 0 <= self.people <= MAX_PEOPLE:
            raise UserError(f"a scene with {self.people} people: give 0 to {MAX_PEOPLE}")
        if self.seed < 0:
            raise UserError(f"seed {self.seed} is negative: give 0 or more")
        if self.camera not in CAMERAS:
            raise UserError(f"camera {self.camera!r} is unknown: choose from {', '.join(CAMERAS)}")
        if self.view not in VIEWS:
            raise UserError(f"view {self.view!r} is unknown: choose from {', '.join(VIEWS)}")
