"""The ground: materials, paths, road marks and stains, evaluated per pixel in metres."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from train.data.synth.camera import Array, Camera
from train.data.synth.canvas import tile

Field = npt.NDArray[np.float32]
MATERIALS = ("asphalt", "paving", "cobble", "grass", "concrete", "gravel")
_TILE = 512


@dataclass(frozen=True)
class Surface:
    """Ground coordinates of pixels.

    Attributes:
        x: ``[h, w]`` metres to the right.
        y: ``[h, w]`` metres away.
        footprint: ``[h, w]`` metres of ground per pixel along y; details smaller than that are
            faded out, or they would shimmer.
        grain: Noise tiles of slopes 0.3, 1 and 1.6.
    """

    x: Field
    y: Field
    footprint: Field
    grain: tuple[Field, Field, Field]

    def noise(self, which: int, metres: float, shift: float = 0.0) -> Field:
        """Sample a noise tile that repeats every ``metres``, faded where too fine to see."""
        scale = np.float32(_TILE / metres)
        rows = ((self.y + shift) * scale).astype(np.int32) % _TILE
        columns = ((self.x + 0.37 * shift) * scale).astype(np.int32) % _TILE
        finest = metres / _TILE * (6, 24, 60)[which]
        return self.grain[which][rows, columns] * self.fade(finest)

    def fade(self, metres: float) -> Field:
        """Return 1 where a detail of that size is wider than a pixel, falling to 0."""
        return np.clip(metres / self.footprint, 0.04, 1).astype(np.float32)


def draw_ground(camera: Camera, rng: np.random.Generator, uv: Array) -> tuple[Field, Field]:
    """Draw the ground.

    Args:
        camera: The camera.
        rng: Draws materials and layout.
        uv: ``[h, w, 2]`` picture coordinates of the pixels.

    Returns:
        ``[h, w, 3]`` BGR in 0..255 and the depth ``[h, w]``, infinite in the sky.
    """
    xy, depth = camera.ground(uv)
    finite = np.minimum(np.where(np.isfinite(depth), depth, 300.0), 300.0).astype(np.float32)
    grain = (tile(rng, _TILE, 0.3), tile(rng, _TILE, 1.0), tile(rng, _TILE, 1.6))
    angle = rng.uniform(0, np.pi)
    cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    x = np.clip(xy[..., 0], -400, 400).astype(np.float32)
    y = np.clip(xy[..., 1], -10, 400).astype(np.float32)
    footprint = np.maximum(finite**2 / (camera.focal_px * camera.height_m), 1e-4)
    surface = Surface(x * cos + y * sin, y * cos - x * sin, footprint, grain)

    base = str(rng.choice(MATERIALS, p=[0.28, 0.26, 0.1, 0.14, 0.16, 0.06]))
    bgr = _material(base, surface, rng)
    centre_y = math.sqrt(camera.near_m * camera.far_m)
    for _ in range(int(rng.integers(1, 4))):
        _lay_strip(bgr, base, surface, (x, y), centre_y, camera, rng)
    _stain(bgr, surface, rng)
    haze = np.clip(finite / 260, 0, 0.5)[..., None]
    return bgr * (1 - haze) + haze * np.float32(190), depth.astype(np.float32)


def _material(kind: str, surface: Surface, rng: np.random.Generator) -> Field:
    """Return ``[h, w, 3]`` BGR of one material everywhere."""
    shift = float(rng.uniform(0, 90))
    broad = surface.noise(2, 23.0, shift)
    middle = surface.noise(1, 5.0, shift)
    fine = surface.noise(0, 2.6, shift)
    if kind == "grass":
        tint = np.array([rng.uniform(38, 62), rng.uniform(92, 128), rng.uniform(72, 105)])
        light = 1 + 0.12 * broad + 0.14 * middle + 0.2 * fine
        dry = np.clip(0.25 * surface.noise(2, 17.0, shift + 9), 0, 0.5)[..., None]
        return (light[..., None] * (tint * (1 - dry) + dry * np.array([80, 140, 150]))).astype(
            np.float32
        )
    grey = rng.uniform(84, 172) if kind != "asphalt" else rng.uniform(72, 132)
    tint = grey * (1 + rng.normal(0, 0.035, 3) + rng.uniform(-0.06, 0.06) * np.array([1, 0, -1]))
    rough = {"asphalt": 0.085, "paving": 0.05, "cobble": 0.07, "concrete": 0.045, "gravel": 0.2}[
        kind
    ]
    light = 1 + 0.05 * broad + 0.05 * middle + rough * fine
    if kind in ("paving", "cobble"):
        size = rng.uniform(0.3, 0.7) if kind == "paving" else rng.uniform(0.1, 0.16)
        light = light * _slabs(surface, size, size * rng.uniform(1, 2), rng)
    elif kind == "concrete":
        light = light * _slabs(surface, 3.0, 4.0, rng)
    return (light[..., None] * tint).astype(np.float32)


def _slabs(surface: Surface, width: float, length: float, rng: np.random.Generator) -> Field:
    """Return the brightness of slabs laid in bond, with dark joints."""
    row = np.floor(surface.y / width).astype(np.int32)
    along = surface.x / length + 0.5 * (row % 2)
    column = np.floor(along).astype(np.int32)
    each = rng.normal(0, 0.065, 997).astype(np.float32)[(row * 131 + column * 57) % 997]
    joint = 0.06
    in_joint = ((surface.y / width - row) < joint) | ((along - column) < joint * width / length)
    fade = surface.fade(width * 0.5)
    return 1 + fade * (each - np.where(in_joint, 0.3, 0).astype(np.float32) * surface.fade(0.03))


def _lay_strip(
    bgr: Field, base: str, surface: Surface, xy: tuple[Field, Field], centre_y: float,
    camera: Camera, rng: np.random.Generator,
) -> None:  # fmt: skip
    """Lay a path, a lawn or a road of another material over the ground, in place."""
    x, y = xy
    angle = rng.normal(0, 0.35) if rng.random() < 0.55 else rng.uniform(0, np.pi)
    normal = np.float32(-math.sin(angle)), np.float32(math.cos(angle))
    offset = centre_y * rng.uniform(0.5, 1.7) * normal[1]
    along = x * normal[1] - y * normal[0]
    across = x * normal[0] + y * normal[1] - np.float32(offset)
    across = across + np.float32(rng.uniform(0, 0.9)) * np.sin(along * 0.13 + rng.uniform(0, 6))
    half = float(rng.uniform(0.8, 3.6)) * (1.6 if camera.elevated else 1.0)
    kind = str(rng.choice([name for name in MATERIALS if name != base]))
    inside = np.abs(across) < half
    if not inside.any():
        return
    bgr[inside] = _material(kind, surface, rng)[inside]
    if rng.random() < 0.7:
        kerb = (np.abs(np.abs(across) - half) < 0.07) & (surface.footprint < 0.3)
        bgr[kerb] = bgr[kerb] * 0.35 + rng.uniform(90, 140)
    if kind == "asphalt" or (base == "asphalt" and rng.random() < 0.5):
        white = rng.uniform(150, 215)
        worn = np.clip(0.75 + 0.3 * surface.noise(1, 4.0), 0, 1)
        dashes = (np.abs(across) < 0.07) & ((along % 3.0) < 1.6)
        if rng.random() < 0.4:
            dashes |= (np.abs(along - rng.uniform(-3, 3)) < 1.6) & ((across % 1.0) < 0.5) & inside
        weight = (dashes * worn * 0.85)[..., None]
        bgr[:] = bgr * (1 - weight) + white * weight


def _stain(bgr: Field, surface: Surface, rng: np.random.Generator) -> None:
    """Add stains, cracks, leaves and manhole covers in place."""
    stain = np.clip(surface.noise(1, 11.0, 31.0) - 1.1, 0, 1) * rng.uniform(0, 0.22)
    crack = (np.abs(surface.noise(2, 9.0, 57.0)) < 0.02) * surface.fade(0.03)
    bgr *= (1 - stain - crack * rng.uniform(0, 0.3))[..., None].astype(np.float32)
    if rng.random() < 0.5:
        leaves = surface.noise(0, 3.1, 70.0) > rng.uniform(2.6, 3.4)
        bgr[leaves] = bgr[leaves] * 0.4 + np.array([30, 75, 115], np.float32) * 0.6
    for _ in range(int(rng.integers(0, 4))):
        spot = rng.uniform(-7, 7), rng.uniform(4, 22)
        distance = np.hypot(surface.x - spot[0], surface.y - spot[1])
        bgr[distance < 0.34] *= 0.62
        bgr[(distance < 0.28) & (np.sin(surface.x * 60) > 0)] *= 0.85


def pixel_grid(size_wh: tuple[int, int], margin: int, scale: int) -> Array:
    """Return picture coordinates ``[h, w, 2]`` of supersampled pixels, with a margin around."""
    width, height = ((side + 2 * margin) * scale for side in size_wh)
    u = (np.arange(width) + 0.5) / scale - margin
    v = (np.arange(height) + 0.5) / scale - margin
    return np.stack(np.meshgrid(u, v), -1)


def average_down(image: Field, scale: int) -> npt.NDArray[np.uint8]:
    """Average ``scale`` x ``scale`` pixels and round to bytes."""
    height, width = image.shape[:2]
    small = cv2.resize(image, (width // scale, height // scale), interpolation=cv2.INTER_AREA)
    return np.clip(np.rint(small), 0, 255).astype(np.uint8)
