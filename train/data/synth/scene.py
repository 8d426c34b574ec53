"""One generated place with its people: any frame on demand."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from train.data.synth.appearance import Appearance, Outfit, sample_appearance, sample_outfit
from train.data.synth.backdrop import Buildings, draw_buildings, draw_sky, sample_buildings
from train.data.synth.camera import Array, Camera, sample_camera
from train.data.synth.canvas import Image, Sprite, capsules, paste, shifted
from train.data.synth.config import SceneConfig
from train.data.synth.crowd import Crowd, Obstacle
from train.data.synth.figure import draw_people, draw_shadows
from train.data.synth.ground import average_down, draw_ground, pixel_grid
from train.data.synth.light import MARGIN_PX, Light
from train.data.synth.pose import STRIDE
from train.data.synth.props import Prop, PropMaker

_SUPERSAMPLING = 2
_LOOK_ALIKE = 0.35
_THIN = ("lamp", "sign", "bin", "bollard", "bush", "tree")
_WIDE = ("car", "kiosk", "hedge")


@dataclass(frozen=True)
class SceneFrame:
    """One frame with its ground truth.

    A person has a row while any part of the silhouette lies inside the picture's borders, hidden
    or not: as in MOT16, somebody behind a wall keeps the row, with visibility 0.

    Attributes:
        image: ``[H, W, 3]`` uint8 BGR.
        ids: ``[N]`` int64 identities, from 1, ascending.
        boxes_ltwh: ``[N, 4]`` float64 pixels: the extent of the whole silhouette, including what
            is hidden or outside the picture. A box covers the pixels ``left .. left + width - 1``.
        visibility: ``[N]`` float64: share of the silhouette's pixels that are inside the picture
            and not hidden by something nearer.
        id_map: ``[H, W]`` int32: identity seen at each pixel, 0 where nobody is.
    """

    image: Image
    ids: npt.NDArray[np.int64]
    boxes_ltwh: Array
    visibility: Array
    id_map: npt.NDArray[np.int32]


class Scene:
    """A place, its light and everybody's path, drawn from the seed.

    Setting up takes about a second; frames are then independent of each other and of the order in
    which they are asked for.

    Args:
        config: What to generate.

    Attributes:
        config: The same.
        identities: Number of people in the whole sequence.
    """

    def __init__(self, config: SceneConfig) -> None:
        self.config = config
        # One stream per concern, so that more people do not move the houses.
        streams = [np.random.default_rng([config.seed, stream]) for stream in range(6)]
        self._camera = sample_camera(config, streams[0])
        self._light = Light(config, streams[1])
        buildings = sample_buildings(self._camera, streams[3])
        self._props = _place_props(self._camera, self._light, buildings, streams[2])
        self._background = self._draw_background(buildings, streams[3])
        hideouts = [prop for prop in self._props if prop.hides]
        obstacles = [circle for prop in self._props for circle in prop.obstacles]
        places = [_behind(prop) for prop in hideouts]
        crowd = Crowd(
            config,
            self._camera,
            obstacles,
            np.array(places, np.float64),
            buildings.limits_x,
            streams[4],
        )
        self._tracks = crowd.frames
        self.identities = crowd.identities
        self._people = _dress_people(crowd.identities, streams[5])

    def __len__(self) -> int:
        return self.config.frames

    def render(self, index: int) -> SceneFrame:
        """Draw a frame.

        Args:
            index: Number of the frame, from 0.

        Raises:
            IndexError: There is no such frame.
        """
        offset = self._light.offset_uv(index)
        figures = self.figures(index)
        image = self._shaken_background(offset)
        self._cast_shadows(image, index, offset)
        id_map = np.zeros(image.shape[:2], np.int32)
        items = [(distance, identity, sprite) for identity, (distance, sprite) in figures.items()]
        for prop in self._props:
            sprite = shifted(prop.sprite, offset) if self._light.shakes else prop.sprite
            items.append((prop.y, 0, sprite))
        for _, identity, sprite in sorted(items, key=lambda item: (-item[0], item[1])):
            area = paste(image, sprite)
            if area is not None:
                rows, columns, sprite_rows, sprite_columns = area
                id_map[rows, columns][sprite.mask[sprite_rows, sprite_columns]] = identity
        return self._label(self._light.expose(image, index), figures, id_map)

    def figures(self, index: int) -> dict[int, tuple[float, Sprite]]:
        """Draw the people of a frame one by one, each in full.

        Args:
            index: Number of the frame, from 0.

        Returns:
            Distance y in metres and sprite by identity, for everybody near the view.

        Raises:
            IndexError: There is no such frame.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"frame {index} of a scene of {len(self)}")
        track = self._near_view(self._tracks[index])
        people = self._appearances(track)
        sprites = draw_people(
            self._camera,
            self._states(track, people),
            people,
            self._light.offset_uv(index),
            self._light.light_uv,
        )
        return {
            int(row[0]): (float(row[2]), sprite) for row, sprite in zip(track, sprites, strict=True)
        }

    def _near_view(self, track: Array) -> Array:
        """Leave out people so far outside that no pixel of them can be in the picture."""
        reach = np.array([self._camera.half_width(y) for y in track[:, 2]]) + 1.6
        return track[(np.abs(track[:, 1]) < reach) & (track[:, 2] > 0.8)]

    def _appearances(self, track: Array) -> list[Appearance]:
        return [self._people[int(identity) - 1] for identity in track[:, 0]]

    def _states(self, track: Array, people: list[Appearance]) -> Array:
        """Return ``[N, 5]`` x, y, heading, speed, phase."""
        stride = np.array([STRIDE * person.height_m for person in people])
        return np.column_stack([track[:, 1:5], 2 * np.pi * track[:, 5] / stride])

    def _label(
        self, image: Image, figures: dict[int, tuple[float, Sprite]], id_map: npt.NDArray[np.int32]
    ) -> SceneFrame:
        seen = np.bincount(id_map.ravel(), minlength=self.identities + 1)
        height, width = id_map.shape
        rows = []
        for identity, (_, sprite) in sorted(figures.items()):
            mask = sprite.mask
            top, left = max(-sprite.top, 0), max(-sprite.left, 0)
            inside = mask[top : max(height - sprite.top, 0), left : max(width - sprite.left, 0)]
            if not inside.any():
                continue
            x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
            share = seen[identity] / int(np.count_nonzero(mask))
            rows.append((identity, x + sprite.left, y + sprite.top, w, h, share))
        table = np.array(rows, np.float64).reshape(-1, 6)
        return SceneFrame(image, table[:, 0].astype(np.int64), table[:, 1:5], table[:, 5], id_map)

    def _draw_background(self, buildings: Buildings, rng: np.random.Generator) -> Image:
        """Draw all that never moves behind the people, with a margin around the picture."""
        camera = self._camera
        uv = pixel_grid(camera.size_wh, MARGIN_PX, _SUPERSAMPLING)
        picture, depth = draw_ground(camera, rng, uv)
        draw_sky(picture, ~np.isfinite(depth), rng)
        draw_buildings(picture, camera, buildings, rng, _SUPERSAMPLING, MARGIN_PX)
        background = average_down(picture, _SUPERSAMPLING)
        return self._darken(background, self._prop_shadows(background.shape[:2]))

    def _prop_shadows(self, shape: tuple[int, ...]) -> Image:
        """Return the mask ``[h/2, w/2]`` of the shadows of all props on the background."""
        mask = np.zeros(((shape[0] + 1) // 2, (shape[1] + 1) // 2), np.uint8)
        cast = np.array(self._light.cast_xy)
        for x, y, radius, low, high in np.concatenate(
            [np.zeros((0, 5)), *(p.shadow for p in self._props)]
        ):
            ends = np.array([(*(np.array([x, y]) + z * cast), 0.0) for z in (low, high)])
            uv, depth = self._camera.project(ends)
            size = radius * self._camera.focal_px / depth
            if np.abs(uv).max() > 20000 or size.max() > 4000:
                continue
            outline = (capsules(uv[0], uv[1], size[0], size[1]) + MARGIN_PX) / 2
            cv2.fillPoly(mask, [np.rint(outline * 16).astype(np.int32)], 255, cv2.LINE_8, 4)
        return mask

    def _darken(self, image: Image, mask: Image) -> Image:
        """Return a picture with a half-resolution shadow mask applied."""
        soft = cv2.GaussianBlur(mask, (0, 0), self._light.shadow_blur_px)
        keep = cv2.convertScaleAbs(soft, alpha=-self._light.shadow, beta=255)
        height, width = image.shape[:2]
        keep = cv2.resize(keep, (width, height), interpolation=cv2.INTER_LINEAR)
        return cv2.multiply(image, cv2.merge([keep] * 3), scale=1 / 255)  # type: ignore[return-value]

    def _shaken_background(self, offset_uv: tuple[float, float]) -> Image:
        width, height = self.config.size_wh
        if not self._light.shakes:
            margin = MARGIN_PX
            return self._background[margin : margin + height, margin : margin + width].copy()
        move = np.array(
            [[1, 0, offset_uv[0] - MARGIN_PX], [0, 1, offset_uv[1] - MARGIN_PX]], np.float64
        )
        return cv2.warpAffine(self._background, move, (width, height))  # type: ignore[return-value]

    def _cast_shadows(self, image: Image, index: int, offset_uv: tuple[float, float]) -> None:
        # A low sun throws shadows into the view from people who are outside it.
        track = self._tracks[index]
        track = track[track[:, 2] > 0.8]
        if not len(track):
            return
        people = self._appearances(track)
        mask = draw_shadows(
            self._camera,
            self._states(track, people),
            people,
            offset_uv,
            self._light.cast_xy,
            self.config.size_wh,
        )
        image[:] = self._darken(image, mask)


def _dress_people(count: int, rng: np.random.Generator) -> list[Appearance]:
    """Draw everybody's looks; about a third wear what somebody before them wears too."""
    outfits: list[Outfit] = []
    people = []
    for _ in range(count):
        if outfits and rng.random() < _LOOK_ALIKE:
            outfits.append(outfits[int(rng.integers(max(0, len(outfits) - 12), len(outfits)))])
        else:
            outfits.append(sample_outfit(rng))
        people.append(sample_appearance(rng, outfits[-1]))
    return people


def _place_props(
    camera: Camera, light: Light, buildings: Buildings, rng: np.random.Generator
) -> list[Prop]:
    """Put things where they hide people now and then without closing off the view."""
    maker = PropMaker(camera, light.direction, rng)
    depth = camera.far_m - camera.near_m
    props: list[Prop] = []

    def put(kind: str, low: float, high: float) -> None:
        for _ in range(12):
            y = camera.near_m + depth * rng.uniform(low, high)
            reach = 0.95 * camera.half_width(y)
            left, right = buildings.limits_x
            x = rng.uniform(max(-reach, left + 1.2), min(reach, right - 1.2))
            if kind in _WIDE and not left + 3.2 < x < right - 3.2:
                continue
            taken = [circle for prop in props for circle in prop.obstacles]
            if all(math.hypot(c.x - x, c.y - y) > c.radius + 2.6 for c in taken):
                props.append(maker.make(kind, float(x), float(y)))
                return

    for _ in range(int(rng.integers(2, 6))):
        put(str(rng.choice(_THIN)), 0.06, 0.9)
    for _ in range(int(rng.integers(1, 4))):
        put(str(rng.choice(_WIDE)), 0.5, 1.0)
    for _ in range(int(rng.integers(2, 7))):
        # Behind everybody: nothing is hidden, but a detector has more to be wrong about.
        put(str(rng.choice(_THIN + _WIDE)), 1.03, 1.12)
    if not buildings.fronts:
        for _ in range(14):
            put(str(rng.choice(("tree", "bush", "hedge"))), 1.1, 1.7)
    return props


def _behind(prop: Prop) -> tuple[float, float]:
    """Return the place that a wide prop hides from the camera at ``(0, 0)``."""
    middle: Obstacle = prop.obstacles[1]
    return middle.x * (middle.y + 2.2) / middle.y, middle.y + 2.2
