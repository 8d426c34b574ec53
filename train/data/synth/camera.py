"""A pinhole camera over a ground plane.

World axes in metres: x to the right, y away from the camera along the ground, z up; the camera
stands at ``(0, 0, height)`` and looks along y, pitched down. Picture coordinates ``uv`` are pixels
with the origin in the top left corner of the top left pixel, whose centre is ``(0.5, 0.5)``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from train.data.synth.config import SceneConfig

Array = npt.NDArray[np.float64]

PERSON_M = 1.72
"""Mean height by which distances are chosen so that people get the wanted size in pixels."""
_NEAREST_M = 0.2


@dataclass(frozen=True)
class Camera:
    """Where the camera stands and where people may walk in front of it.

    Attributes:
        size_wh: Picture size in pixels.
        focal_px: Focal length in pixels.
        height_m: Height above the ground.
        pitch_rad: Angle below the horizontal.
        roll_rad: Rotation around the optical axis.
        near_m: Smallest ground distance y of the area people walk in.
        far_m: Largest.
        elevated: Whether it is a surveillance view.

    Examples:
        A point straight ahead at the height of a level camera is the centre of the picture:

        >>> camera = Camera((640, 480), 500.0, 2.0, 0.0, 0.0, 4.0, 20.0, False)
        >>> uv, depth = camera.project(np.array([0.0, 10.0, 2.0]))
        >>> uv.tolist(), float(depth)
        ([320.0, 240.0], 10.0)
    """

    size_wh: tuple[int, int]
    focal_px: float
    height_m: float
    pitch_rad: float
    roll_rad: float
    near_m: float
    far_m: float
    elevated: bool

    def project(self, points: Array) -> tuple[Array, Array]:
        """Project world points.

        Args:
            points: ``[..., 3]`` in metres.

        Returns:
            ``uv`` ``[..., 2]`` in pixels and the depth ``[...]`` along the optical axis in metres.
            Points behind the camera are pulled in front of it, 0.2 m away.
        """
        cos, sin = math.cos(self.pitch_rad), math.sin(self.pitch_rad)
        above = points[..., 2] - self.height_m
        depth = np.maximum(points[..., 1] * cos - above * sin, _NEAREST_M)
        scale = self.focal_px / depth
        across = points[..., 0] * scale
        down = (-points[..., 1] * sin - above * cos) * scale
        cos, sin = math.cos(self.roll_rad), math.sin(self.roll_rad)
        u = self.size_wh[0] / 2 + across * cos - down * sin
        v = self.size_wh[1] / 2 + across * sin + down * cos
        return np.stack([u, v], -1), depth

    def ground(self, uv: Array) -> tuple[Array, Array]:
        """Intersect the rays through picture points with the ground.

        Args:
            uv: ``[..., 2]`` in pixels.

        Returns:
            ``xy`` ``[..., 2]`` on the ground in metres and the depth ``[...]``; where the ray does
            not meet the ground, the depth is infinite and ``xy`` is meaningless.
        """
        du = uv[..., 0] - self.size_wh[0] / 2
        dv = uv[..., 1] - self.size_wh[1] / 2
        cos, sin = math.cos(self.roll_rad), math.sin(self.roll_rad)
        across = (du * cos + dv * sin) / self.focal_px
        down = (dv * cos - du * sin) / self.focal_px
        cos, sin = math.cos(self.pitch_rad), math.sin(self.pitch_rad)
        falls = sin + down * cos
        meets = falls > 1e-4
        depth = np.where(meets, self.height_m / np.where(meets, falls, 1.0), np.inf)
        finite = np.where(meets, depth, 0.0)
        return np.stack([across * finite, (cos - down * sin) * finite], -1), depth

    def half_width(self, y: float) -> float:
        """Return how far the view reaches to each side on the ground at distance ``y``, in m."""
        depth = y * math.cos(self.pitch_rad) + self.height_m * math.sin(self.pitch_rad)
        return self.size_wh[0] / 2 / self.focal_px * depth

    def below_picture(self) -> float | None:
        """Return the distance at which a tall person vanishes below the picture, if there is one.

        Returns:
            Ground distance y in metres, or None for a camera too low to lose people that way.
        """
        ray = self.pitch_rad + math.atan(self.size_wh[1] / 2 / self.focal_px)
        over = self.height_m - 2.1
        return over / math.tan(ray) - 0.6 if over > 1.0 and ray < 1.3 else None


def sample_camera(config: SceneConfig, rng: np.random.Generator) -> Camera:
    """Draw a camera whose people have a sensible size in the picture.

    In a street view people are about a sixth to half of the picture high, in an elevated one a
    fifteenth to a sixth, as in the MOTChallenge sequences of either kind.
    """
    elevated = config.view == "elevated" or (config.view == "auto" and rng.random() < 0.55)
    if elevated:
        focal = rng.uniform(1.15, 1.7)
        height = rng.uniform(4.5, 9.5)
        largest, smallest = rng.uniform(0.15, 0.21), rng.uniform(0.068, 0.085)
    else:
        focal = rng.uniform(1.0, 1.5)
        height = rng.uniform(1.5, 2.6)
        largest, smallest = rng.uniform(0.38, 0.52), rng.uniform(0.15, 0.2)
    near = focal * PERSON_M / largest
    far = focal * PERSON_M / smallest
    feet = rng.uniform(0.9, 1.03) if elevated else rng.uniform(0.86, 1.03)
    pitch = math.atan(height / near) - math.atan((feet - 0.5) / focal)
    roll = math.radians(float(np.clip(rng.normal(0, 0.7), -1.5, 1.5)))
    height_px = config.size_wh[1]
    return Camera(
        config.size_wh, focal * height_px, height, pitch, roll, near * 0.97, far, elevated
    )
