"""Things that stand on the ground and hide people: lamps, signs, trees, cars, kiosks, hedges."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from train.data.synth.camera import Array, Camera
from train.data.synth.canvas import Canvas, Colour, Sprite, capsules, shade
from train.data.synth.crowd import Obstacle

_CARS: list[Colour] = [
    (40, 38, 38), (190, 192, 194), (225, 226, 228), (120, 70, 40), (40, 36, 140), (100, 102, 104),
    (150, 130, 96), (60, 80, 60),
]  # fmt: skip


@dataclass(frozen=True)
class Prop:
    """A thing in the scene.

    Attributes:
        sprite: Its picture; rendered once, since neither it nor the camera moves.
        y: Ground distance by which it hides and is hidden, in metres.
        obstacles: Circles to walk around.
        shadow: ``[K, 5]`` upright capsules x, y, radius, lower and upper end in metres that cast
            its shadow.
        hides: Whether people behind it are out of sight.
    """

    sprite: Sprite
    y: float
    obstacles: tuple[Obstacle, ...]
    shadow: Array
    hides: bool = False


class PropMaker:
    """Draws props for one camera and one sun.

    Args:
        camera: The camera.
        light: ``[3]`` unit vector towards the light.
        rng: Source of randomness.
    """

    def __init__(self, camera: Camera, light: Array, rng: np.random.Generator) -> None:
        self._camera, self._light, self._rng = camera, light, rng

    def make(self, kind: str, x: float, y: float) -> Prop:
        """Draw a prop of a kind, one of ``KINDS``, at a place on the ground."""
        canvas = self._canvas(
            x, y, {"tree": 3.2, "car": 3.0, "kiosk": 2.6, "hedge": 2.9}.get(kind, 1.2)
        )
        return getattr(self, f"_{kind}")(canvas, x, y)  # type: ignore[no-any-return]

    def _canvas(self, x: float, y: float, reach: float) -> Canvas:
        """Return a canvas for whatever of the prop may lie in or just outside the picture."""
        corners = np.array(
            [
                (x + i * reach, max(y + j * reach, 0.8), z)
                for i in (-1, 1)
                for j in (-1, 1)
                for z in (-0.1, 6.5)
            ]
        )
        uv, _ = self._camera.project(corners)
        width, height = self._camera.size_wh
        low = np.clip(uv.min(0), -40, [width + 40, height + 40])
        high = np.clip(uv.max(0), -40, [width + 40, height + 40])
        return Canvas((low[0], low[1], high[0], high[1]), 2)

    def _finish(
        self,
        canvas: Canvas,
        y: float,
        circles: list[tuple[float, float, float]],
        shadow: Array,
        hides: bool = False,
    ) -> Prop:
        return Prop(
            canvas.sprite(), y, tuple(Obstacle(*circle) for circle in circles), shadow, hides
        )

    def _rod(self, canvas: Canvas, low: Array, high: Array, radius: float, bgr: Colour) -> None:
        """Draw a round bar between two points."""
        uv, depth = self._camera.project(np.stack([low, high]))
        size = radius * self._camera.focal_px / depth
        for factor, shift, width in ((0.72, 0.0, 1.0), (1.0, -0.15, 0.7), (1.18, -0.3, 0.3)):
            offset = np.stack([shift * size * np.sign(-self._light[0] + 1e-9) * -1, 0 * size], -1)
            shape = capsules(uv[0] + offset[0], uv[1] + offset[1], size[0] * width, size[1] * width)
            canvas.convex(canvas.fixed(shape), shade(bgr, factor))

    def _block(
        self, canvas: Canvas, bottom: Array, top: Array, bgr: Colour, inset: Colour | None = None
    ) -> None:
        """Draw a solid with four sides from its lower and upper quads ``[4, 3]``.

        Args:
            canvas: Where to draw.
            bottom: Lower corners, counted around.
            top: Upper corners, in the same order.
            bgr: Colour in full light.
            inset: Colour of panes on the sides, None for plain sides.
        """
        eye = np.array([0.0, 0.0, self._camera.height_m])
        middle = (bottom.mean(0) + top.mean(0)) / 2
        faces = [
            np.stack([bottom[i], bottom[(i + 1) % 4], top[(i + 1) % 4], top[i]]) for i in range(4)
        ]
        for number, face in enumerate([*faces, top]):
            normal = np.cross(face[1] - face[0], face[3] - face[0])
            normal = normal / max(float(np.linalg.norm(normal)), 1e-9)
            if normal @ (face.mean(0) - middle) < 0:
                normal = -normal
            if normal @ (eye - face.mean(0)) <= 0:
                continue
            bright = 0.62 + 0.5 * max(float(normal @ self._light), 0.0)
            uv, _ = self._camera.project(face)
            canvas.hull(uv, shade(bgr, bright))
            if inset is not None and number < 4:
                canvas.hull(
                    uv.mean(0) + (uv - uv.mean(0)) * np.array([0.84, 0.74]), shade(inset, bright)
                )

    def _quad(self, x: float, y: float, z: float, length: float, width: float, yaw: float) -> Array:
        """Return a level rectangle ``[4, 3]``."""
        along = np.array([math.cos(yaw), math.sin(yaw), 0.0]) * length / 2
        aside = np.array([-math.sin(yaw), math.cos(yaw), 0.0]) * width / 2
        centre = np.array([x, y, z])
        return np.stack(
            [
                centre + along + aside,
                centre - along + aside,
                centre - along - aside,
                centre + along - aside,
            ]
        )

    def _foliage(
        self, canvas: Canvas, centre: Array, radii: Array, count: int, size: float, bgr: Colour
    ) -> None:
        """Draw leaves: many small blobs in an ellipsoid, lighter towards the light."""
        rng = self._rng
        # Near foliage shows its leaves: more of them, and smaller.
        _, distance = self._camera.project(centre)
        finer = float(np.clip(size * self._camera.focal_px / distance / 3.0, 1, 2.6))
        count, size = int(count * finer**1.7), size / finer
        points = rng.normal(size=(count, 3))
        points = (
            points
            / np.linalg.norm(points, axis=1)[:, None]
            * rng.uniform(0.5, 1, (count, 1)) ** 0.5
        )
        lit = points @ self._light
        places = centre + points * radii
        places[:, 2] = np.maximum(places[:, 2], 0.05)
        order = np.argsort(-places[:, 1])
        uv, depth = self._camera.project(places)
        blob = size * rng.uniform(0.5, 1.3, count) * self._camera.focal_px / depth
        lean = rng.normal(0, 0.6, (count, 2)) * blob[:, None]
        shapes = canvas.fixed(capsules(uv - lean, uv + lean, blob, blob * 0.6))
        tone = np.clip(0.75 + 0.35 * lit + rng.normal(0, 0.16, count), 0.3, 1.5)
        for index in order:
            canvas.convex(shapes[index], shade(bgr, float(tone[index])))

    def _green(self) -> Colour:
        tint = self._rng.uniform([30, 70, 45], [60, 120, 95])
        return float(tint[0]), float(tint[1]), float(tint[2])

    def _lamp(self, canvas: Canvas, x: float, y: float) -> Prop:
        height, grey = float(self._rng.uniform(3.5, 6)), float(self._rng.uniform(50, 180))
        colour = (grey, grey, grey * 0.96)
        self._rod(canvas, np.array([x, y, 0.0]), np.array([x, y, height]), 0.065, colour)
        self._rod(canvas, np.array([x, y, 0.0]), np.array([x, y, 0.7]), 0.1, shade(colour, 0.9))
        head = np.array([x + 0.8 * float(self._rng.choice([-1, 1])), y, height])
        self._rod(canvas, np.array([x, y, height]), head, 0.05, colour)
        return self._finish(canvas, y, [(x, y, 0.12)], np.array([[x, y, 0.06, 0.0, height]]))

    def _sign(self, canvas: Canvas, x: float, y: float) -> Prop:
        rng = self._rng
        height = float(rng.uniform(1.9, 2.8))
        self._rod(canvas, np.array([x, y, 0.0]), np.array([x, y, height]), 0.035, (120, 120, 118))
        wide, tall = float(rng.uniform(0.45, 1.0)), float(rng.uniform(0.45, 0.9))
        board = tuple(rng.uniform(20, 230, 3).tolist())
        plate = np.array([(x - wide / 2, y, height - tall), (x + wide / 2, y, height - tall),
                          (x + wide / 2, y, height), (x - wide / 2, y, height)])  # fmt: skip
        uv, _ = self._camera.project(plate)
        canvas.hull(uv, (225, 225, 225))
        canvas.hull(uv.mean(0) + (uv - uv.mean(0)) * 0.9, board)
        for row in np.linspace(0.25, 0.75, 3):
            line = np.array([uv[3] + (uv[0] - uv[3]) * (row + d) for d in (0, 0.08)])
            other = np.array([uv[2] + (uv[1] - uv[2]) * (row + d) for d in (0, 0.08)])
            inner = line + (other - line) * 0.18, line + (other - line) * rng.uniform(0.5, 0.85)
            canvas.hull(np.concatenate(inner), (235, 235, 235))
        return self._finish(
            canvas, y, [(x, y, 0.15)], np.array([[x, y, 0.2, height - tall, height]])
        )

    def _bin(self, canvas: Canvas, x: float, y: float) -> Prop:
        bgr = tuple(self._rng.uniform(25, 120, 3).tolist())
        yaw, height = float(self._rng.uniform(0, 3)), float(self._rng.uniform(0.8, 1.25))
        self._block(
            canvas,
            self._quad(x, y, 0, 0.55, 0.55, yaw),
            self._quad(x, y, height, 0.62, 0.62, yaw),
            bgr,
        )
        self._block(
            canvas,
            self._quad(x, y, height, 0.7, 0.7, yaw),
            self._quad(x, y, height + 0.09, 0.66, 0.66, yaw),
            shade(bgr, 0.7),
        )
        return self._finish(canvas, y, [(x, y, 0.4)], np.array([[x, y, 0.3, 0.0, height]]))

    def _bollard(self, canvas: Canvas, x: float, y: float) -> Prop:
        self._rod(canvas, np.array([x, y, 0.0]), np.array([x, y, 0.95]), 0.08, (90, 90, 92))
        self._rod(canvas, np.array([x, y, 0.7]), np.array([x, y, 0.8]), 0.085, (200, 205, 210))
        return self._finish(canvas, y, [(x, y, 0.12)], np.array([[x, y, 0.08, 0.0, 0.95]]))

    def _tree(self, canvas: Canvas, x: float, y: float) -> Prop:
        rng = self._rng
        trunk, radius = float(rng.uniform(1.8, 2.6)), float(rng.uniform(1.0, 1.8))
        bark = shade((52, 66, 84), float(rng.uniform(0.7, 1.2)))
        width = float(rng.uniform(0.1, 0.2))
        self._rod(canvas, np.array([x, y, 0.0]), np.array([x + 0.1, y, trunk + 0.8]), width, bark)
        centre = np.array([x, y, trunk + radius * 0.8])
        self._foliage(
            canvas, centre, np.array([radius, radius, radius * 0.9]), 420, 0.13, self._green()
        )
        crown = [
            [x + dx, y + dy, 0.6 * radius, trunk + 0.4, trunk + 1.2 * radius]
            for dx, dy in ((-0.4, 0), (0.4, 0.3), (0, -0.4))
        ]
        return self._finish(
            canvas, y, [(x, y, width + 0.15)], np.array([[x, y, width, 0.0, trunk], *crown])
        )

    def _bush(self, canvas: Canvas, x: float, y: float) -> Prop:
        radius, height = float(self._rng.uniform(0.5, 0.95)), float(self._rng.uniform(0.45, 0.8))
        centre = np.array([x, y, height])
        self._foliage(canvas, centre, np.array([radius, radius, height]), 260, 0.085, self._green())
        return self._finish(
            canvas, y, [(x, y, radius)], np.array([[x, y, radius * 0.8, 0.1, 1.5 * height]])
        )

    def _hedge(self, canvas: Canvas, x: float, y: float) -> Prop:
        bgr, height = self._green(), float(self._rng.uniform(0.45, 0.7))
        places = x + np.linspace(-2, 2, 7)
        for place in places:
            self._foliage(
                canvas, np.array([place, y, height]), np.array([0.55, 0.5, height]), 110, 0.075, bgr
            )
        shadow = [[place, y, 0.45, 0.1, 1.6 * height] for place in places]
        return self._finish(
            canvas, y, [(place, y, 0.55) for place in places[::2]], np.array(shadow)
        )

    def _kiosk(self, canvas: Canvas, x: float, y: float) -> Prop:
        rng = self._rng
        bgr = tuple(rng.uniform(60, 200, 3).tolist())
        pane = tuple(rng.uniform(30, 220, 3).tolist())
        self._block(
            canvas, self._quad(x, y, 0, 3.0, 1.4, 0), self._quad(x, y, 2.8, 3.0, 1.4, 0), bgr, pane
        )
        self._block(
            canvas,
            self._quad(x, y, 2.8, 3.4, 1.8, 0),
            self._quad(x, y, 3.0, 3.4, 1.8, 0),
            shade(bgr, 0.6),
        )
        for _ in range(8):
            # Posters on the side towards the street.
            left, low = x + rng.uniform(-1.3, 0.8), rng.uniform(0.5, 1.7)
            wide, tall = rng.uniform(0.25, 0.6), rng.uniform(0.3, 0.8)
            poster = np.array(
                [
                    (left, y - 0.7, low),
                    (left + wide, y - 0.7, low),
                    (left + wide, y - 0.7, low + tall),
                    (left, y - 0.7, low + tall),
                ]
            )
            canvas.hull(self._camera.project(poster)[0], tuple(rng.uniform(20, 240, 3).tolist()))
        circles = [(x + d, y, 0.95) for d in (-0.9, 0, 0.9)]
        shadow = [[x + d, y, 0.7, 0.0, 2.8] for d in (-0.9, -0.3, 0.3, 0.9)]
        return self._finish(canvas, y, circles, np.array(shadow), hides=True)

    def _car(self, canvas: Canvas, x: float, y: float) -> Prop:
        rng = self._rng
        yaw = float(rng.choice([0.0, 0.0, np.pi])) + float(rng.normal(0, 0.15))
        bgr = shade(_CARS[int(rng.integers(len(_CARS)))], float(rng.uniform(0.85, 1.1)))
        along, aside = (
            np.array([math.cos(yaw), math.sin(yaw)]),
            np.array([-math.sin(yaw), math.cos(yaw)]),
        )
        self._block(
            canvas,
            self._quad(x, y, 0.18, 4.0, 1.6, yaw),
            self._quad(x, y, 0.3, 4.2, 1.7, yaw),
            (22, 22, 22),
        )
        for end in (-1.3, 1.3):
            for side in sorted((-0.85, 0.85), key=lambda s: -(aside[1] * s)):
                self._wheel(canvas, np.array([x, y]) + along * end + aside * side, along)
        self._block(
            canvas,
            self._quad(x, y, 0.34, 4.2, 1.72, yaw),
            self._quad(x, y, 0.86, 4.1, 1.66, yaw),
            bgr,
        )
        for end in (-1.3, 1.3):
            side = -0.87 if aside[1] > 0 else 0.87
            self._wheel(canvas, np.array([x, y]) + along * end + aside * side, along)
        cabin = np.array([x, y]) - along * 0.25
        glass = (58, 52, 46)
        self._block(canvas, self._quad(cabin[0], cabin[1], 0.86, 2.6, 1.6, yaw),
                    self._quad(cabin[0], cabin[1], 1.42, 1.7, 1.3, yaw), bgr, glass)  # fmt: skip
        circles = [(x + along[0] * d, y + along[1] * d, 1.0) for d in (-1.5, -0.5, 0.5, 1.5)]
        shadow = [
            [x + along[0] * d, y + along[1] * d, 0.8, 0.2, 1.1] for d in (-1.6, -0.8, 0, 0.8, 1.6)
        ]
        return self._finish(canvas, y, circles, np.array(shadow))

    def _wheel(self, canvas: Canvas, place: Array, along: Array) -> None:
        angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
        for radius, bgr in ((0.32, (24, 24, 24)), (0.18, (130, 130, 130))):
            ring = np.stack(
                [
                    place[0] + along[0] * radius * np.cos(angle),
                    place[1] + along[1] * radius * np.cos(angle),
                    0.32 + radius * np.sin(angle),
                ],
                -1,
            )
            canvas.hull(self._camera.project(ring)[0], bgr)


KINDS = ("lamp", "sign", "bin", "bollard", "tree", "bush", "hedge", "kiosk", "car")
