"""Where people walk: a small simulation in the plane of the ground.

Every person follows waypoints at a preferred speed and is pushed aside by others and by objects,
in the spirit of the social force model of Helbing and Molnar (1995). The whole run is computed
once, before any frame is drawn, so that a frame is a lookup.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from train.data.synth.camera import Array, Camera
from train.data.synth.config import SceneConfig

_MARGIN_M = 1.1
_STEP_S = 0.06
_WARM_UP_S = 2.0
_CLEARANCE_M = 0.4
_PATIENCE_S = 1.5


@dataclass
class _Walker:
    identity: int
    position: Array
    speed: float
    route: list[Array]
    stop_chance: float
    heading: float
    velocity: Array = field(default_factory=lambda: np.zeros(2))
    walked: float = 0.0
    stop_left: float = 0.0
    target_time: float = 0.0
    stuck: float = 0.0


@dataclass(frozen=True)
class Obstacle:
    """Something to walk around: ``x, y`` of its centre and its radius, in metres."""

    x: float
    y: float
    radius: float


class Crowd:
    """People coming, walking, standing and going.

    Args:
        config: Number of people, of frames and the frame rate.
        camera: Decides where the picture ends.
        obstacles: Things to walk around.
        hideouts: ``[K, 2]`` places out of sight, behind kiosks, where people come from and go to.
        limits_x: Walls at the sides, smallest and largest x in metres.
        rng: Source of randomness.

    Attributes:
        frames: For every frame ``[N, 6]``: identity, x, y, heading, speed, metres walked.
        identities: Number of identities given out, from 1.
    """

    def __init__(
        self,
        config: SceneConfig,
        camera: Camera,
        obstacles: Sequence[Obstacle],
        hideouts: Array,
        limits_x: tuple[float, float],
        rng: np.random.Generator,
    ) -> None:
        self._config, self._camera, self._rng = config, camera, rng
        self._obstacles = np.array([(o.x, o.y, o.radius) for o in obstacles]).reshape(-1, 3)
        self._hideouts = hideouts.reshape(-1, 2)
        self._limits_x = limits_x[0] + 0.5, limits_x[1] - 0.5
        self._bottom = camera.below_picture()
        self._walkers: list[_Walker] = []
        self.identities = 0
        while len(self._walkers) < config.people:
            self._spawn(inside=True)
        steps = max(1, math.ceil(1 / config.fps / _STEP_S))
        step = 1 / config.fps / steps
        for _ in range(int(_WARM_UP_S / _STEP_S) if config.people else 0):
            self._advance(_STEP_S)
        self.frames: list[Array] = []
        for _ in range(config.frames):
            self.frames.append(self._snapshot())
            for _ in range(steps):
                self._advance(step)

    def _snapshot(self) -> Array:
        rows = [
            (w.identity, *w.position, w.heading, float(np.hypot(*w.velocity)), w.walked)
            for w in self._walkers
        ]
        return np.array(rows, np.float64).reshape(-1, 6)

    def _free(self, point: Array, room: float = 0.5) -> bool:
        gap = np.hypot(*(self._obstacles[:, :2] - point).T) - self._obstacles[:, 2]
        return bool((gap > room).all())

    def _point_inside(self) -> Array:
        """Draw a free place in the view, near and far evenly in the picture."""
        camera = self._camera
        point = np.zeros(2)
        for _ in range(30):
            y = camera.near_m * (camera.far_m / camera.near_m) ** self._rng.uniform(0, 1)
            reach = 0.95 * camera.half_width(y)
            low, high = self._limits_x
            point = np.array([self._rng.uniform(max(-reach, low), min(reach, high)), y])
            if self._free(point):
                break
        return point

    def _border(self) -> Array:
        """Draw a place out of sight: left, right, below the picture or behind something."""
        kind = self._rng.random()
        if kind < 0.1 and len(self._hideouts):
            return self._hideouts[int(self._rng.integers(len(self._hideouts)))].copy()
        if kind > 0.78 and self._bottom is not None and self._bottom > 1.0:
            reach = 0.9 * self._camera.half_width(self._bottom)
            return np.array([self._rng.uniform(-reach, reach), self._bottom - 0.3])
        # A wall at the side leaves a way out only where it does not show.
        for _ in range(40):
            y = self._point_inside()[1]
            side = 1.0 if self._rng.random() < 0.5 else -1.0
            x = side * (self._camera.half_width(y) + _MARGIN_M)
            if self._limits_x[0] < x < self._limits_x[1]:
                break
        return np.array([x, y])

    def _spawn(self, inside: bool) -> None:
        """Add one person or a group that walks together."""
        rng = self._rng
        size = int(rng.choice([1, 2, 3], p=[0.66, 0.26, 0.08]))
        size = max(1, min(size, self._config.people - len(self._walkers)))
        start = self._point_inside() if inside else self._border()
        middle = [
            self._point_inside() for _ in range(int(rng.choice([0, 1, 2], p=[0.5, 0.3, 0.2])))
        ]
        route: list[Array] = []
        for goal in (*middle, self._exit(start)):
            route += self._around(route[-1] if route else start, goal)
        speed = float(np.clip(rng.normal(1.3, 0.24), 0.5, 2.0))
        if size > 1:
            speed = min(speed, 1.4)
        standing = inside and rng.random() < 0.18
        along = route[0] - start
        heading = math.atan2(along[1], along[0])
        aside = np.array([-math.sin(heading), math.cos(heading)])
        stop_chance = 0.22 if rng.random() < 0.4 else 0.0
        for member in range(size):
            self.identities += 1
            offset = aside * (member - (size - 1) / 2) * 0.7 + rng.normal(0, 0.08, 2)
            walker = _Walker(
                self.identities,
                start + offset,
                speed * float(rng.uniform(0.97, 1.03)),
                [point + offset for point in route],
                stop_chance,
                heading,
            )
            if standing:
                walker.stop_left = float(rng.uniform(6, 40))
                # Those who stand together face each other.
                walker.heading = (
                    rng.uniform(-np.pi, np.pi) if size == 1 else math.atan2(-offset[1], -offset[0])
                )
            self._walkers.append(walker)

    def _exit(self, start: Array) -> Array:
        """Draw a way out, not next to where the person came in."""
        point = self._border()
        for _ in range(8):
            if np.hypot(*(point - start)) > 0.5 * self._camera.near_m:
                break
            point = self._border()
        return point

    def _clear(self, start: Array, goal: Array) -> bool:
        """Whether nothing stands in the straight way."""
        if not len(self._obstacles):
            return True
        centres, radii = self._obstacles[:, :2], self._obstacles[:, 2]
        along = goal - start
        share = (centres - start) @ along / max(float(along @ along), 1e-9)
        nearest = start + np.clip(share, 0, 1)[:, None] * along
        gap = np.hypot(*(centres - nearest).T)
        # An end that is close to an obstacle itself only asks for a way that comes no closer.
        ends = np.minimum(np.hypot(*(centres - start).T), np.hypot(*(centres - goal).T))
        return bool((gap >= np.minimum(radii + _CLEARANCE_M, ends - 0.02)).all())

    def _around(self, start: Array, goal: Array) -> list[Array]:
        """Return the points to walk to: the goal, after a detour if something is in the way."""
        if self._clear(start, goal):
            return [goal]
        best, shortest = [goal], math.inf
        for trial in range(30):
            via = self._point_inside()
            if trial % 2:
                angle, reach = self._rng.uniform(0, 2 * np.pi), self._rng.uniform(1, 5)
                via = start + reach * np.array([math.cos(angle), math.sin(angle)])
            length = float(np.hypot(*(via - start)) + np.hypot(*(goal - via)))
            allowed = self._limits_x[0] < via[0] < self._limits_x[1] and via[1] > 1.5
            if length < shortest and allowed and self._clear(start, via) and self._clear(via, goal):
                best, shortest = [via, goal], length
        return best

    def _advance(self, step: float) -> None:
        for walker in self._walkers:
            wanted = self._wanted_velocity(walker, step)
            blend = min(1.0, step / 0.35)
            walker.velocity = walker.velocity + (wanted - walker.velocity) * blend
        self._push_apart(step)
        for walker in self._walkers:
            moved = walker.velocity * step
            walker.position = walker.position + moved
            walker.position[0] = np.clip(walker.position[0], *self._limits_x)
            pace = float(np.hypot(*walker.velocity))
            blocked = pace < 0.3 * walker.speed and walker.stop_left <= 0
            walker.stuck = walker.stuck + step if blocked else 0.0
            if walker.stuck > _PATIENCE_S:
                walker.route[:1] = self._around(walker.position, walker.route[0])
                walker.stuck = 0.0
            walker.walked += pace * step
            if pace > 0.2:
                course = math.atan2(walker.velocity[1], walker.velocity[0])
                turn = (course - walker.heading + math.pi) % (2 * math.pi) - math.pi
                walker.heading += float(np.clip(turn, -3.0 * step, 3.0 * step))
        self._walkers = [walker for walker in self._walkers if not self._gone(walker)]
        missing = self._config.people - len(self._walkers)
        if missing > 0 and self._rng.random() < 1 - math.exp(-1.2 * missing * step):
            self._spawn(inside=False)

    def _wanted_velocity(self, walker: _Walker, step: float) -> Array:
        if walker.stop_left > 0:
            walker.stop_left -= step
            return np.zeros(2)
        walker.target_time += step
        along = walker.route[0] - walker.position
        distance = float(np.hypot(*along))
        # A waypoint that cannot be reached, in a crowd, is given up after a while.
        if len(walker.route) > 1 and (distance < 0.7 or walker.target_time > 25):
            walker.route.pop(0)
            walker.target_time = 0.0
            if self._rng.random() < walker.stop_chance:
                walker.stop_left = float(self._rng.uniform(1.5, 8))
            return walker.velocity
        direction = along / max(distance, 1e-6)
        return walker.speed * direction + self._around_obstacles(walker, direction)

    def _around_obstacles(self, walker: _Walker, direction: Array) -> Array:
        if not len(self._obstacles):
            return np.zeros(2)
        away = walker.position - self._obstacles[:, :2]
        distance = np.maximum(np.hypot(away[:, 0], away[:, 1]), 1e-6)
        gap = distance - self._obstacles[:, 2] - 0.3
        away = away / distance[:, None]
        strength = 1.6 * np.exp(-np.maximum(gap, -0.3) / 0.4)
        ahead = np.clip(-(away @ direction), 0, 1)
        # Past an obstacle on the side where it leaves more room.
        side = np.where(away @ np.array([-direction[1], direction[0]]) >= 0, 1.0, -1.0)
        past = side[:, None] * np.array([-direction[1], direction[0]])
        return (away * strength[:, None] + past * (1.3 * ahead * strength)[:, None]).sum(0)

    def _push_apart(self, step: float) -> None:
        """Keep bodies from walking through each other."""
        if len(self._walkers) < 2:
            return
        position = np.array([walker.position for walker in self._walkers])
        away = position[:, None] - position[None]
        distance = np.hypot(away[..., 0], away[..., 1]) + np.eye(len(position)) * 1e3
        away[distance < 1e-6] = [1e-3, 0]
        distance = np.maximum(distance, 1e-3)
        push = 3.2 * np.exp(-(distance - 0.35) / 0.16) * (distance < 1.0)
        force = np.clip((away / distance[..., None] * push[..., None]).sum(1), -5, 5)
        for walker, change in zip(self._walkers, force, strict=True):
            walker.velocity = walker.velocity + change * step
            pace = float(np.hypot(*walker.velocity))
            if pace > 1.5 * walker.speed:
                walker.velocity = walker.velocity * (1.5 * walker.speed / pace)

    def _gone(self, walker: _Walker) -> bool:
        """Whether somebody has arrived out of sight."""
        if len(walker.route) > 1:
            return False
        left = float(np.hypot(*(walker.route[0] - walker.position)))
        hidden = any(np.hypot(*(walker.route[0] - place)) < 1.5 for place in self._hideouts)
        return left < (0.9 if hidden else 0.45) or (
            walker.target_time > 40 and not self._in_view(walker.position)
        )

    def _in_view(self, point: Array) -> bool:
        return bool(abs(point[0]) < self._camera.half_width(point[1]) + _MARGIN_M * 0.9)
