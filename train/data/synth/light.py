"""Light on the scene and the camera's faults: sun, clouds, drift, shake, blur, noise, compression.

Everything is a function of the frame number, so frames can be made in any order.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from train.data.synth.camera import Array
from train.data.synth.canvas import Image, tile
from train.data.synth.config import SceneConfig

MARGIN_PX = 10
"""Width of background kept around the picture for a shaking camera."""
_COARSE = 16
_CLOUD_M = 128


class Light:
    """The light of one scene.

    Args:
        config: Size, frame rate and whether the camera shakes.
        rng: Draws the weather and the camera's quality.

    Attributes:
        direction: ``[3]`` unit vector towards the sun.
        cast_xy: Where on the ground the shadow of a point 1 m high falls, in metres.
        shadow: Share of the light that a shadow takes away.
    """

    def __init__(self, config: SceneConfig, rng: np.random.Generator) -> None:
        self._config, self._seed = config, int(rng.integers(2**31))
        azimuth, elevation = rng.uniform(0, 2 * np.pi), math.radians(rng.uniform(28, 68))
        flat = math.cos(elevation)
        self.direction: Array = np.array(
            [flat * math.cos(azimuth), flat * math.sin(azimuth), math.sin(elevation)]
        )
        sunny = rng.random() < 0.6
        self.shadow = float(rng.uniform(0.3, 0.55) if sunny else rng.uniform(0.06, 0.16))
        length = 1 / math.tan(elevation) if sunny else 0.12
        self.cast_xy = (-math.cos(azimuth) * length, -math.sin(azimuth) * length)
        self.shadow_blur_px = 1.0 if sunny else 2.5

        warm = rng.normal(0, 0.035)
        tint = np.array([1 - warm, 1 + rng.normal(0, 0.012), 1 + warm])
        self._exposure = (tint * rng.uniform(0.8, 1.12)).astype(np.float32)
        self._drift = float(rng.uniform(0, 0.07)), float(rng.uniform(5, 25)), rng.uniform(0, 6.3)
        self._clouds = tile(rng, _CLOUD_M, 1.9) if sunny and rng.random() < 0.5 else None
        self._wind = rng.uniform(-9, 9, 2)
        self._vignette = self._make_vignette(float(rng.uniform(0, 0.32)))
        self._blur = float(rng.uniform(0.3, 0.95)) if rng.random() < 0.7 else 0.0
        self._jpeg = int(rng.integers(38, 85)) if rng.random() < 0.5 else None
        self._noise = self._make_noise(float(rng.uniform(1.0, 5.5)), rng)
        shakes = config.camera == "jitter" or (config.camera == "auto" and rng.random() < 0.35)
        amplitude = rng.uniform(0.25, 1.6, 4) * config.size_wh[1] / 576
        self._shake = amplitude if shakes else np.zeros(4)
        self._shake_hz, self._shake_phase = rng.uniform(0.3, 3.5, 4), rng.uniform(0, 6.3, 4)

    @property
    def shakes(self) -> bool:
        """Whether the camera moves."""
        return bool(self._shake.any())

    @property
    def light_uv(self) -> tuple[float, float]:
        """Unit vector in the picture towards the light."""
        x, z = float(self.direction[0]), float(self.direction[2])
        length = math.hypot(x, z)
        return x / length, -z / length

    def offset_uv(self, index: int) -> tuple[float, float]:
        """Return how far the shake moves the picture in a frame, in pixels."""
        if not self.shakes:
            return 0.0, 0.0
        time = index / self._config.fps
        waves = self._shake * np.sin(2 * np.pi * self._shake_hz * time + self._shake_phase)
        tremor = self._rng(index, 1).normal(0, 0.12, 2) * self._shake[:2]
        limit = MARGIN_PX - 2
        offset = np.clip(waves[::2] + waves[1::2] + tremor, -limit, limit)
        return float(offset[0]), float(offset[1])

    def expose(self, image: Image, index: int) -> Image:
        """Turn the drawn scene into what the camera delivers.

        Args:
            image: ``[H, W, 3]`` uint8 BGR.
            index: Number of the frame.

        Returns:
            A new picture of the same shape.
        """
        width, height = self._config.size_wh
        time = index / self._config.fps
        size, period, phase = self._drift
        level = 1 + size * math.sin(2 * math.pi * time / period + phase)
        gain = self._vignette * self._cloud_gain(time) * np.float32(level)
        coarse = gain[..., None] * self._exposure
        full = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
        seen = cv2.multiply(image, full, dtype=cv2.CV_8U)
        if self._blur:
            seen = cv2.GaussianBlur(seen, (5, 5) if self._blur > 0.6 else (3, 3), self._blur)
        row, column = self._rng(index, 2).integers(0, 64, 2)
        noise = self._noise[row : row + height, column : column + width]
        seen = cv2.addWeighted(seen, 1, noise, 1, -128)
        if self._jpeg is not None:
            _, packed = cv2.imencode(".jpg", seen, [cv2.IMWRITE_JPEG_QUALITY, self._jpeg])
            return cv2.imdecode(packed, cv2.IMREAD_COLOR)  # type: ignore[return-value]
        return seen  # type: ignore[return-value]

    def _rng(self, index: int, stream: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, stream, index])

    def _make_vignette(self, strength: float) -> npt.NDArray[np.float32]:
        width, height = self._config.size_wh
        u, v = np.linspace(-1, 1, width // _COARSE + 2), np.linspace(-1, 1, height // _COARSE + 2)
        radius2 = (u[None] ** 2 + v[:, None] ** 2) / 2
        return (1 - strength * radius2).astype(np.float32)

    def _make_noise(self, sigma: float, rng: np.random.Generator) -> Image:
        """Return a picture of sensor noise around 128, larger than a frame to cut frames from."""
        width, height = self._config.size_wh
        shape = (height + 64, width + 64)
        grey = rng.standard_normal((*shape, 1), np.float32)
        colour = rng.standard_normal((*shape, 3), np.float32)
        noise = sigma * (0.8 * grey + 0.5 * colour)
        return np.clip(np.rint(noise + 128), 0, 255).astype(np.uint8)

    def _cloud_gain(self, time: float) -> npt.NDArray[np.float32] | np.float32:
        """Return the brightness under the clouds' shadows as they pass."""
        if self._clouds is None:
            return np.float32(1)
        rows, columns = self._vignette.shape
        shift = self._wind * time
        v = np.arange(rows, dtype=np.float32) * 1.6 + np.float32(shift[0])
        u = np.arange(columns, dtype=np.float32) * 0.8 + np.float32(shift[1])
        grid = np.meshgrid(u % _CLOUD_M, v % _CLOUD_M)
        sample = cv2.remap(
            self._clouds, grid[0], grid[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
        )
        return (1 - 0.28 / (1 + np.exp(-4 * (sample - 0.3)))).astype(np.float32)
