"""Supersampled drawing into sprites, and noise textures."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Image = npt.NDArray[np.uint8]
Colour = tuple[float, float, float]

_SHIFT = 4
_ARC = 7
_COVERED = 128


@dataclass(frozen=True)
class Sprite:
    """A small picture that lies on the pixel grid of the frame.

    Attributes:
        bgra: ``[h, w, 4]`` uint8, colours premultiplied by the fourth channel, the coverage.
        left: Column of the frame where it starts; may be negative.
        top: Row of the frame where it starts; may be negative.
    """

    bgra: Image
    left: int
    top: int

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """``[h, w]``: the pixels that are at least half covered, which is the silhouette."""
        return cv2.extractChannel(self.bgra, 3) >= _COVERED


class Canvas:
    """A transparent picture at a multiple of the frame's resolution.

    Drawing at a higher resolution and averaging down gives smooth edges and, unlike anti-aliased
    drawing, a coverage that is right where two shapes share an edge.
    """

    def __init__(self, bounds_ltrb: tuple[float, float, float, float], scale: int) -> None:
        left, top, right, bottom = bounds_ltrb
        self.left, self.top = int(np.floor(left)) - 1, int(np.floor(top)) - 1
        width = max(int(np.ceil(right)) + 1 - self.left, 1)
        height = max(int(np.ceil(bottom)) + 1 - self.top, 1)
        self.scale = scale
        self.size_wh = (width, height)
        self.image = np.zeros((height * scale, width * scale, 4), np.uint8)
        self._origin = np.array([self.left, self.top], np.float64)

    def fixed(self, uv: Array) -> npt.NDArray[np.int32]:
        """Turn picture coordinates ``[..., 2]`` into OpenCV's fixed-point pixel coordinates."""
        local = (uv - self._origin) * self.scale - 0.5
        return np.rint(local * (1 << _SHIFT)).astype(np.int32)

    def convex(self, points: npt.NDArray[np.int32], bgr: Colour) -> None:
        """Fill a convex polygon ``[K, 2]`` given in fixed-point coordinates."""
        colour = (bgr[0], bgr[1], bgr[2], 255)
        cv2.fillConvexPoly(self.image, points, colour, cv2.LINE_8, _SHIFT)

    def polygon(self, uv: Array, bgr: Colour) -> None:
        """Fill a polygon ``[K, 2]`` in picture coordinates, convex or not."""
        colour = (bgr[0], bgr[1], bgr[2], 255)
        cv2.fillPoly(self.image, [self.fixed(uv)], colour, cv2.LINE_8, _SHIFT)

    def hull(self, uv: Array, bgr: Colour) -> None:
        """Fill the convex hull of points ``[K, 2]`` in picture coordinates."""
        self.convex(cv2.convexHull(self.fixed(uv)), bgr)  # type: ignore[arg-type]

    def sprite(self) -> Sprite:
        """Average down to the frame's resolution."""
        bgra = cv2.resize(self.image, self.size_wh, interpolation=cv2.INTER_AREA)
        return Sprite(bgra, self.left, self.top)  # type: ignore[arg-type]


def capsules(start: Array, end: Array, start_radius: Array, end_radius: Array) -> Array:
    """Return the outlines of tapered capsules.

    Args:
        start: ``[..., 2]`` centres of the first ends.
        end: ``[..., 2]`` centres of the other ends.
        start_radius: ``[...]`` radii at the first ends.
        end_radius: ``[...]`` radii at the other ends.

    Returns:
        ``[..., 14, 2]`` polygons.
    """
    along = end - start
    angle = np.arctan2(along[..., 1], along[..., 0])[..., None]
    arc = np.linspace(-np.pi / 2, np.pi / 2, _ARC)
    far, near = angle + arc, angle + np.pi + arc
    far_arc = end[..., None, :] + end_radius[..., None, None] * np.stack(
        [np.cos(far), np.sin(far)], -1
    )
    near_arc = start[..., None, :] + start_radius[..., None, None] * np.stack(
        [np.cos(near), np.sin(near)], -1
    )
    return np.concatenate([far_arc, near_arc], -2)


def paste(frame: Image, sprite: Sprite) -> tuple[slice, slice, slice, slice] | None:
    """Lay a sprite over a picture in place.

    Args:
        frame: ``[H, W, 3]`` uint8.
        sprite: What to draw; parts outside the picture are cut off.

    Returns:
        Rows and columns of the frame, then rows and columns of the sprite, that were painted; None
        if the sprite lies outside.
    """
    height, width = sprite.bgra.shape[:2]
    top, left = max(sprite.top, 0), max(sprite.left, 0)
    bottom = min(sprite.top + height, frame.shape[0])
    right = min(sprite.left + width, frame.shape[1])
    if top >= bottom or left >= right:
        return None
    rows, columns = slice(top, bottom), slice(left, right)
    sprite_rows = slice(top - sprite.top, bottom - sprite.top)
    sprite_columns = slice(left - sprite.left, right - sprite.left)
    part = sprite.bgra[sprite_rows, sprite_columns]
    keep = cv2.cvtColor(255 - cv2.extractChannel(part, 3), cv2.COLOR_GRAY2BGR)
    under = cv2.multiply(frame[rows, columns], keep, scale=1 / 255)
    frame[rows, columns] = cv2.add(under, cv2.cvtColor(part, cv2.COLOR_BGRA2BGR))
    return rows, columns, sprite_rows, sprite_columns


def shifted(sprite: Sprite, offset_uv: tuple[float, float]) -> Sprite:
    """Return a sprite moved by a fraction of a pixel, as a shaking camera moves it."""
    whole_x, whole_y = int(np.floor(offset_uv[0])), int(np.floor(offset_uv[1]))
    rest = np.array([[1, 0, offset_uv[0] - whole_x], [0, 1, offset_uv[1] - whole_y]], np.float64)
    height, width = sprite.bgra.shape[:2]
    moved = cv2.warpAffine(sprite.bgra, rest, (width + 1, height + 1), flags=cv2.INTER_LINEAR)
    return Sprite(moved, sprite.left + whole_x, sprite.top + whole_y)  # type: ignore[arg-type]


def tile(rng: np.random.Generator, size: int, slope: float) -> npt.NDArray[np.float32]:
    """Return noise that repeats without a seam.

    White noise is filtered in the Fourier domain so that amplitude falls as ``1 / f ** slope``:
    0 gives sand, 1 dirt, 2 clouds.

    Args:
        rng: Source of randomness.
        size: Side in pixels.
        slope: Exponent of the fall.

    Returns:
        ``[size, size]`` float32 with mean 0 and standard deviation 1.
    """
    spectrum = np.fft.rfft2(rng.standard_normal((size, size), np.float32))
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]) * size
    frequency[0, 0] = np.inf if slope > 0 else 1.0
    noise = np.fft.irfft2(spectrum / frequency**slope, (size, size))
    noise -= noise.mean()
    return (noise / noise.std()).astype(np.float32)


def shade(bgr: Colour, factor: float, lift: float = 0.0) -> Colour:
    """Return a colour made lighter or darker.

    Examples:
        >>> shade((100, 200, 240), 1.1)
        (110.00000000000001, 220.00000000000003, 255.0)
    """
    blue, green, red = (float(min(max(channel * factor + lift, 0), 255)) for channel in bgr)
    return blue, green, red
