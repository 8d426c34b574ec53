"""What stands behind the scene: sky, trees on the horizon and the fronts of buildings."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from train.data.synth.camera import Camera
from train.data.synth.canvas import tile

Field = npt.NDArray[np.float32]
_LETTERS = "ABCDEFGHIKLMNOPRSTUVZ"


def draw_sky(bgr: Field, sky: npt.NDArray[np.bool_], rng: np.random.Generator) -> None:
    """Paint the sky and a line of distant trees in place.

    Args:
        bgr: ``[h, w, 3]`` picture.
        sky: ``[h, w]`` where there is no ground.
        rng: Draws weather and clouds.
    """
    if not sky.any():
        return
    height, width = sky.shape
    blue = rng.uniform(0, 1)
    top = np.array([225, 190, 150]) * blue + np.array([205, 202, 200]) * (1 - blue)
    clouds = cv2.resize(tile(rng, 128, 1.7), (width, height), interpolation=cv2.INTER_CUBIC)
    light = np.clip(0.5 + 0.35 * clouds, 0, 1)[..., None] * (0.35 + 0.5 * blue)
    painted = top * (1 - light) + np.float32(238) * light
    bgr[sky] = painted[sky]
    # Distant trees follow the horizon, which a rolled camera tilts.
    horizon = height - sky[::-1].argmax(0)
    horizon = np.where(sky.any(0), horizon, 0)
    bumps = np.interp(np.arange(width), np.linspace(0, width, 60), rng.uniform(0.3, 1, 60))
    tops = horizon - (0.02 + 0.05 * rng.random()) * height * bumps
    rows = np.arange(height)[:, None]
    trees = (rows > tops) & (rows < horizon)
    leaf = 1 + 0.25 * cv2.resize(tile(rng, 256, 0.6), (width, height))
    bgr[trees] = (leaf[..., None] * np.array([70, 95, 85]))[trees]


@dataclass(frozen=True)
class Buildings:
    """Where buildings stand.

    Attributes:
        fronts: Left end, right end and height of every front, far to near, in metres.
        limits_x: Where walls at the sides leave room for people, smallest and largest x in metres.
    """

    fronts: tuple[tuple[tuple[float, float], tuple[float, float], float], ...]
    limits_x: tuple[float, float]


def sample_buildings(camera: Camera, rng: np.random.Generator) -> Buildings:
    """Draw a row of fronts behind the people and sometimes a wall along one side."""
    limits = (-math.inf, math.inf)
    if rng.random() < 0.15:
        return Buildings((), limits)
    y = camera.far_m * rng.uniform(1.14, 1.6) + 1.0
    reach = camera.half_width(y) * 1.3 + 2
    turn = math.tan(rng.normal(0, 0.1))
    fronts = []
    x = -reach
    while x < reach:
        width = float(rng.uniform(6, 18))
        if rng.random() < 0.9:
            ends = (x, y + turn * x), (x + width, y + turn * (x + width))
            # A slanted row must not cut into the place where people walk.
            if min(ends[0][1], ends[1][1]) > camera.far_m + 0.8:
                fronts.append((*ends, float(rng.uniform(4, 13))))
        x += width + (float(rng.uniform(1, 6)) if rng.random() < 0.2 else 0.0)
    if rng.random() < 0.4:
        left = rng.random() < 0.5
        wall = camera.half_width(camera.near_m + 0.6 * (camera.far_m - camera.near_m)) + 0.5
        near, far = camera.near_m * 0.8, y + turn * (-wall if left else wall)
        if left:
            fronts.append(((-wall, near), (-wall, far), float(rng.uniform(4, 9))))
            limits = (-wall, math.inf)
        else:
            fronts.append(((wall, far), (wall, near), float(rng.uniform(4, 9))))
            limits = (-math.inf, wall)
    return Buildings(tuple(fronts), limits)


def draw_buildings(
    bgr: Field,
    camera: Camera,
    buildings: Buildings,
    rng: np.random.Generator,
    scale: int,
    margin: int,
) -> None:
    """Paint buildings in place.

    Args:
        bgr: ``[h, w, 3]`` picture, supersampled and with a margin.
        camera: The camera.
        buildings: Where they stand.
        rng: Draws what they look like.
        scale: Supersampled pixels per pixel.
        margin: Pixels around the picture.
    """
    for left, right, height in buildings.fronts:
        _draw_front(bgr, camera, left, right, height, rng, scale, margin)


def _draw_front(
    bgr: Field, camera: Camera, left: tuple[float, float], right: tuple[float, float],
    height: float, rng: np.random.Generator, scale: int, margin: int,
) -> None:  # fmt: skip
    length = math.hypot(right[0] - left[0], right[1] - left[1])
    front = _front_texture(length, height, rng)
    corners = np.array([(*left, height), (*right, height), (*right, 0.0), (*left, 0.0)])
    uv, _ = camera.project(corners)
    target = ((uv + margin) * scale).astype(np.float32)
    h, w = front.shape[:2]
    source = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32)
    matrix = cv2.getPerspectiveTransform(source, target)
    size = (bgr.shape[1], bgr.shape[0])
    painted = cv2.warpPerspective(front, matrix, size, flags=cv2.INTER_LINEAR)
    mask = np.zeros(bgr.shape[:2], np.uint8)
    cv2.fillConvexPoly(mask, np.clip(target, -30000, 30000).astype(np.int32), 255)
    inside = mask > 0
    bgr[inside] = painted[inside]


def _front_texture(length: float, height: float, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Draw the front of a building, about 30 pixels a metre."""
    unit = min(30.0, 1400 / length)
    width_px, height_px = max(int(length * unit), 8), max(int(height * unit), 8)
    plaster = rng.choice([[96, 118, 158], [140, 160, 175], [170, 180, 188], [88, 96, 128],
                          [150, 150, 148], [120, 150, 180], [70, 84, 110]])  # fmt: skip
    wall = np.ones((height_px, width_px, 3), np.float32) * (plaster * rng.uniform(0.75, 1.15))
    noise = cv2.resize(tile(rng, 256, 0.8), (width_px, height_px))
    wall *= (1 + 0.06 * noise)[..., None]
    if rng.random() < 0.45:
        row = (np.arange(height_px) / (0.085 * unit)).astype(np.int32)
        column = (np.arange(width_px) / (0.25 * unit) + 0.0).astype(np.int32)
        each = rng.normal(1, 0.08, 991)[(row[:, None] * 71 + column[None] * 13) % 991]
        wall *= each[..., None].astype(np.float32)
    image = np.clip(wall, 0, 255).astype(np.uint8)
    floor = rng.uniform(2.7, 3.3)
    pitch = rng.uniform(1.6, 3.2)
    size = rng.uniform(0.8, 1.4), rng.uniform(1.2, 1.7)
    frame = tuple(np.clip(rng.uniform(50, 235) + rng.normal(0, 9, 3), 0, 255).tolist())
    shops = rng.random() < 0.6
    for level in range(int(height / floor)):
        ground = height_px - level * floor * unit
        if level == 0 and shops:
            _shops(image, unit, ground, floor, rng)
            continue
        for x in np.arange(pitch / 2, length - size[0] / 2, pitch):
            low = ground - 0.9 * unit
            box = ((x - size[0] / 2) * unit, low - size[1] * unit, size[0] * unit, size[1] * unit)
            _window(image, box, frame, rng)
    cv2.rectangle(image, (0, height_px - int(0.35 * unit)), (width_px, height_px),
                  (plaster * 0.55).tolist(), -1)  # fmt: skip
    return image


def _window(
    image: npt.NDArray[np.uint8], box_ltwh: tuple[float, float, float, float],
    frame: tuple[float, ...], rng: np.random.Generator,
) -> None:  # fmt: skip
    left, top, width, height = (int(value) for value in box_ltwh)
    if top < 2 or width < 4 or height < 4:
        return
    cv2.rectangle(image, (left - 2, top - 2), (left + width + 2, top + height + 2), frame, -1)
    glass = np.array([70, 62, 54]) * rng.uniform(0.5, 2.2)
    cv2.rectangle(image, (left, top), (left + width, top + height), glass.tolist(), -1)
    # A reflection of the sky, cut off slantwise, and often a curtain.
    shine = np.array(
        [[left, top], [left + width, top], [left, top + int(height * rng.uniform(0.2, 1))]]
    )
    cv2.fillConvexPoly(image, shine.astype(np.int32), np.minimum(glass * 1.5 + 20, 235).tolist())
    if rng.random() < 0.3:
        cloth = (np.array([1, 1, 1]) * rng.uniform(120, 220)).tolist()
        cv2.rectangle(image, (left, top), (left + width // 4, top + height), cloth, -1)
    cv2.line(image, (left + width // 2, top), (left + width // 2, top + height), frame, 2)


def _shops(
    image: npt.NDArray[np.uint8], unit: float, ground: float, floor: float, rng: np.random.Generator
) -> None:
    """Draw shop windows with goods, doors and signs along the ground floor."""
    x, width_px = 0.0, image.shape[1]
    while x < width_px:
        width = rng.uniform(2.5, 6) * unit
        left, right = int(x + 0.15 * unit), int(min(x + width - 0.15 * unit, width_px))
        top, bottom = int(ground - 0.8 * floor * unit), int(ground - 0.3 * unit)
        if right - left > 8:
            inside = rng.uniform(35, 165) * rng.normal([0.85, 1.0, 1.1], 0.09)
            cv2.rectangle(image, (left, top), (right, bottom), inside.tolist(), -1)
            for _ in range(int(rng.integers(6, 22))):
                at = int(rng.integers(left, right)), int(rng.integers(top, bottom))
                half = rng.uniform(0.05, 0.3, 2) * unit
                first = max(int(at[0] - half[0]), left), max(int(at[1] - half[1]), top)
                last = min(int(at[0] + half[0]), right), min(int(at[1] + 1.5 * half[1]), bottom)
                goods = inside * rng.uniform(0.3, 1.6) + rng.normal(0, 18, 3)
                cv2.rectangle(image, first, last, np.clip(goods, 8, 240).tolist(), -1)
            sign = np.clip(rng.uniform(25, 200) + rng.normal(0, 38, 3), 10, 240)
            cv2.rectangle(image, (left, int(top - 0.45 * unit)), (right, top), sign.tolist(), -1)
            name = "".join(rng.choice(list(_LETTERS), int(rng.integers(4, 9))))
            cv2.putText(image, name, (left + 6, int(top - 0.1 * unit)), cv2.FONT_HERSHEY_DUPLEX,
                        unit / 70, (255 - sign).tolist(), 1, cv2.LINE_AA)  # fmt: skip
            if rng.random() < 0.5:
                door = int(left + rng.uniform(0.1, 0.6) * (right - left))
                dark = rng.uniform(20, 80, 3).tolist()
                cv2.rectangle(image, (door, top + 4), (int(door + unit), int(ground)), dark, -1)
        x += width
