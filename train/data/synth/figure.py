"""Drawing people: from poses and appearances to sprites."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from train.data.synth.appearance import Appearance
from train.data.synth.camera import Array, Camera
from train.data.synth.canvas import Canvas, Image, Sprite, capsules, shade
from train.data.synth.pose import TORSO_RINGS, Motion, Part, Pose, make_pose

_TORSO = len(Part)
_RING = np.linspace(0, 2 * np.pi, 10, endpoint=False)
_COLUMNS = 6
_SHOULDER = 0.82
# Drawn as if that much nearer to the camera, in metres: arms lie on the torso, sleeves on arms.
_NEARER = np.zeros(len(Part))
_NEARER[[Part.UPPER_L, Part.UPPER_R, Part.FOREARM_L, Part.FOREARM_R]] = 0.05
_NEARER[[Part.SLEEVE_L, Part.SLEEVE_R, Part.HAND_L, Part.HAND_R]] = 0.06
_NEARER[[Part.SKIRT]] = 0.16
_NEARER[[Part.HAT, Part.BRIM]] = 0.08
_NEARER[[Part.NECK]] = -0.03
# Shirts hang over trousers.
_NEARER[[Part.THIGH_L, Part.THIGH_R]] = -0.14


def make_motion(states: Array, people: Sequence[Appearance]) -> Motion:
    """Join what the crowd says about people with what their bodies are like.

    Args:
        states: ``[N, 5]`` x, y, heading, speed, phase.
        people: ``N`` appearances.
    """
    return Motion(
        xy=states[:, :2],
        heading=states[:, 2],
        speed=states[:, 3],
        phase=states[:, 4] + np.array([person.phase for person in people]),
        height=np.array([person.height_m for person in people]),
        build=np.array([person.build for person in people]),
        elbow=np.array([person.elbow for person in people]).reshape(-1, 2),
        swing=np.array([person.swing for person in people]).reshape(-1, 2),
    )


def draw_people(
    camera: Camera,
    states: Array,
    people: Sequence[Appearance],
    offset_uv: tuple[float, float],
    light_uv: tuple[float, float],
) -> list[Sprite]:
    """Draw every person in full, whatever part of it lies in the picture.

    Args:
        camera: The camera.
        states: ``[N, 5]`` x, y, heading, speed, phase.
        people: ``N`` appearances.
        offset_uv: How far a shake moves the picture, in pixels.
        light_uv: Direction in the picture that the light comes from, a unit vector.

    Returns:
        ``N`` sprites.
    """
    if not people:
        return []
    motion = make_motion(states, people)
    pose = make_pose(motion)
    start, start_depth = camera.project(pose.starts)
    end, end_depth = camera.project(pose.ends)
    start, end = start + offset_uv, end + offset_uv
    radii = np.stack([person.radii for person in people]) * motion.height[:, None, None]
    start_radius = radii[..., 0] * camera.focal_px / start_depth
    end_radius = radii[..., 1] * camera.focal_px / end_depth
    light = np.array(light_uv)
    outlines = capsules(start, end, start_radius, end_radius)
    lit = light * start_radius[..., None], light * end_radius[..., None]
    bodies = capsules(
        start + 0.14 * lit[0], end + 0.14 * lit[1], 0.82 * start_radius, 0.82 * end_radius
    )
    ridges = capsules(
        start + 0.34 * lit[0], end + 0.34 * lit[1], 0.42 * start_radius, 0.42 * end_radius
    )
    depth = (start_depth + end_depth) / 2 - _NEARER
    rings = _torso_rings(pose, motion, people)
    rings_uv, rings_depth = camera.project(rings)
    rings_uv = rings_uv + offset_uv
    size_px = motion.height * camera.focal_px / rings_depth.mean((1, 2))
    sprites = []
    for index, person in enumerate(people):
        worn = np.flatnonzero(person.radii[:, 0] > 0)
        points = np.concatenate(
            [outlines[index][worn].reshape(-1, 2), rings_uv[index].reshape(-1, 2)]
        )
        low, high = points.min(0), points.max(0)
        scale = 2 if size_px[index] > 70 else 3
        canvas = Canvas((low[0], low[1], high[0], high[1]), scale)
        layers = canvas.fixed(np.stack([outlines[index], bodies[index], ridges[index]]))
        order = sorted(
            [(float(depth[index, part]), int(part)) for part in worn]
            + [(float(rings_depth[index].mean()), _TORSO)],
            reverse=True,
        )
        for _, part in order:
            if part == _TORSO:
                _draw_torso(
                    canvas, camera, pose, motion, index, person, rings_uv[index], offset_uv, light
                )
                continue
            colour = person.colours[part]
            canvas.convex(layers[0, part], shade(colour, 0.8))
            canvas.convex(layers[1, part], colour)
            canvas.convex(layers[2, part], shade(colour, 1.1, 5))
            if part == Part.FACE and size_px[index] > 60:
                _draw_face(canvas, camera, pose, motion, index, person, offset_uv)
        sprites.append(_finish(canvas, person, light_uv))
    return sprites


def _torso_rings(pose: Pose, motion: Motion, people: Sequence[Appearance]) -> Array:
    """Return ``[N, 5, 10, 3]`` points of the cross-sections from the hem to the shoulders."""
    height = np.broadcast_to(TORSO_RINGS[:, 0], (len(people), len(TORSO_RINGS))).copy()
    height[:, 0] -= np.array([person.hem for person in people])
    loose = (
        np.array([[1.0 + 1.2 * person.hem, 1, 1, 1, 1] for person in people])
        * motion.build[:, None]
    )
    scale = motion.height[:, None]
    wide, deep = TORSO_RINGS[:, 1] * loose * scale, TORSO_RINGS[:, 2] * loose * scale
    points = (
        pose.base[:, None, None]
        + (deep[..., None] * np.cos(_RING))[..., None] * pose.forward[:, None, None]
        + (wide[..., None] * np.sin(_RING))[..., None] * pose.left[:, None, None]
    )
    points[..., 2] += (height * scale)[..., None]
    return points


def _draw_torso(
    canvas: Canvas, camera: Camera, pose: Pose, motion: Motion, index: int, person: Appearance,
    rings_uv: Array, offset_uv: tuple[float, float], light: Array,
) -> None:  # fmt: skip
    dark, bright = shade(person.torso, 0.82), shade(person.torso, 1.08, 4)
    sections = [rings_uv[first : first + 2].reshape(-1, 2) for first in range(len(TORSO_RINGS) - 1)]
    for section in sections:
        canvas.hull(section, dark)
    breadth = np.ptp(rings_uv[2, :, 0])
    centre = rings_uv.mean((0, 1))
    for shrink, shift, colour in ((0.86, 0.04, person.torso), (0.45, 0.13, bright)):
        factor = np.array([shrink, 0.5 + 0.5 * shrink])
        for section in sections:
            canvas.hull(centre + (section - centre) * factor + light * shift * breadth, colour)
    if len(person.patches):
        _draw_patches(canvas, camera, pose, motion, index, person, offset_uv)


def _draw_patches(
    canvas: Canvas, camera: Camera, pose: Pose, motion: Motion, index: int, person: Appearance,
    offset_uv: tuple[float, float],
) -> None:  # fmt: skip
    """Draw stripes, prints, zips and straps: areas of the torso's surface that face the camera."""
    to_camera = -pose.base[index, :2]
    facing = np.arctan2(to_camera @ pose.left[index, :2], to_camera @ pose.forward[index, :2])
    first, last = person.patches[:, 2], person.patches[:, 3]
    # Angles are turned by whole circles until they are nearest to the side that is seen.
    turn = np.round((facing - (first + last) / 2) / (2 * np.pi)) * 2 * np.pi
    everywhere = last - first > 6.2
    limit = 1.45
    first = np.where(
        everywhere, facing - limit, np.clip(first + turn, facing - limit, facing + limit)
    )
    last = np.where(
        everywhere, facing + limit, np.clip(last + turn, facing - limit, facing + limit)
    )
    seen = np.flatnonzero(last - first > 0.03)
    if not len(seen):
        return
    steps = np.linspace(0, 1, _COLUMNS)
    angle = first[seen, None] + (last - first)[seen, None] * steps
    angle = np.concatenate([angle, angle[:, ::-1]], 1)
    low, high = person.patches[seen, 0, None], person.patches[seen, 1, None]
    rise = np.concatenate(
        [np.broadcast_to(low, (len(seen), _COLUMNS)), np.broadcast_to(high, (len(seen), _COLUMNS))],
        1,
    )
    hem = TORSO_RINGS[0, 0] - person.hem
    height = hem + rise * (_SHOULDER - hem)
    scale = motion.height[index]
    loose = motion.build[index] * 0.94 * scale
    wide = np.interp(height, TORSO_RINGS[:, 0], TORSO_RINGS[:, 1]) * loose
    deep = np.interp(height, TORSO_RINGS[:, 0], TORSO_RINGS[:, 2]) * loose
    points = (
        pose.base[index]
        + (deep * np.cos(angle))[..., None] * pose.forward[index]
        + (wide * np.sin(angle))[..., None] * pose.left[index]
    )
    points[..., 2] += height * scale
    uv = canvas.fixed(camera.project(points)[0] + offset_uv)
    for row, patch in enumerate(seen):
        bgr = person.patch_colours[patch]
        cv2.fillPoly(canvas.image, [uv[row]], (*bgr, 255), cv2.LINE_8, 4)


def _draw_face(
    canvas: Canvas, camera: Camera, pose: Pose, motion: Motion, index: int, person: Appearance,
    offset_uv: tuple[float, float],
) -> None:  # fmt: skip
    """Draw eyes and mouth as dark marks if the face is seen."""
    centre = (pose.starts[index, Part.FACE] + pose.ends[index, Part.FACE]) / 2
    to_camera = -centre[:2] / max(float(np.hypot(*centre[:2])), 1e-6)
    if to_camera @ pose.forward[index, :2] < 0.45:
        return
    scale = motion.height[index]
    marks = np.array([[0.018, 0.012, 0.007], [-0.018, 0.012, 0.007], [0.0, -0.022, 0.008]])
    points = centre + scale * (0.034 * pose.forward[index] + marks[:, :1] * pose.left[index])
    points[:, 2] += scale * marks[:, 1]
    uv, depth = camera.project(points)
    size = marks[:, 2] * scale * camera.focal_px / depth
    reach = np.stack([size, 0 * size], -1)
    shapes = canvas.fixed(
        capsules(uv + offset_uv - 0.6 * reach, uv + offset_uv + 0.6 * reach, 0.6 * size, 0.6 * size)
    )
    for shape, factor in zip(shapes, (0.4, 0.4, 0.62), strict=True):
        canvas.convex(shape, shade(person.colours[Part.FACE], factor))


def _finish(canvas: Canvas, person: Appearance, light_uv: tuple[float, float]) -> Sprite:
    """Average down and lay folds and the light's gradient over the figure."""
    sprite = canvas.sprite()
    height, width = sprite.bgra.shape[:2]
    folds = cv2.resize(person.folds, (width, height), interpolation=cv2.INTER_LINEAR)
    across = np.linspace(-1, 1, width, dtype=np.float32) * np.float32(0.13 * light_uv[0])
    down = np.linspace(0.05, -0.07, height, dtype=np.float32)
    factor = folds + across + down[:, None]
    bgr = cv2.multiply(
        cv2.cvtColor(sprite.bgra, cv2.COLOR_BGRA2BGR), cv2.merge([factor] * 3), dtype=cv2.CV_8U
    )
    cover = cv2.extractChannel(sprite.bgra, 3)
    bgr = cv2.min(bgr, cv2.cvtColor(cover, cv2.COLOR_GRAY2BGR))
    shaded = cv2.merge([*cv2.split(bgr), cover])
    return Sprite(shaded, sprite.left, sprite.top)  # type: ignore[arg-type]


def draw_shadows(
    camera: Camera,
    states: Array,
    people: Sequence[Appearance],
    offset_uv: tuple[float, float],
    cast_xy: tuple[float, float],
    size_wh: tuple[int, int],
) -> Image:
    """Draw the shadows that people cast on the ground.

    Args:
        camera: The camera.
        states: ``[N, 5]`` x, y, heading, speed, phase.
        people: ``N`` appearances.
        offset_uv: How far a shake moves the picture, in pixels.
        cast_xy: How far on the ground the shadow of a point 1 m high falls, in metres.
        size_wh: Picture size in pixels.

    Returns:
        ``[H/2, W/2]`` uint8, 255 in the shadow, at half the resolution since it is soft anyway.
    """
    mask = np.zeros(((size_wh[1] + 1) // 2, (size_wh[0] + 1) // 2), np.uint8)
    if not people:
        return mask
    motion = make_motion(states, people)
    pose = make_pose(motion)
    radii = np.stack([person.radii for person in people]) * motion.height[:, None, None]
    # The trunk is not a part of its own here; a thick neck down to the hips stands in for it.
    starts, ends = pose.starts.copy(), pose.ends
    starts[:, Part.NECK, 2] = pose.base[:, 2] + 0.52 * motion.height
    radii[:, Part.NECK] = (0.075 * motion.height * motion.build)[:, None]
    start, start_depth = camera.project(_fallen(starts, cast_xy))
    end, end_depth = camera.project(_fallen(ends, cast_xy))
    scale = camera.focal_px / start_depth, camera.focal_px / end_depth
    shapes = capsules(
        start + offset_uv, end + offset_uv, radii[..., 0] * scale[0], radii[..., 1] * scale[1]
    )
    fixed = np.rint((shapes / 2 - 0.5) * 16).astype(np.int32)
    for index, person in enumerate(people):
        for part in np.flatnonzero(person.radii[:, 0] > 0):
            cv2.fillConvexPoly(mask, fixed[index, part], 255, cv2.LINE_8, 4)
    return mask


def _fallen(points: npt.NDArray[np.float64], cast_xy: tuple[float, float]) -> Array:
    """Move points ``[..., 3]`` along the light down to the ground."""
    fallen = points.copy()
    fallen[..., :2] += points[..., 2:] * np.array(cast_xy)
    fallen[..., 2] = 0
    return fallen
