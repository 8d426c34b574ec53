"""The walking cycle: where every part of a body is, from speed and distance walked.

Proportions follow Drillis and Contini (1966), the joint angles are a sinusoidal fit to normal gait
as in Winter, "Biomechanics and Motor Control of Human Movement". The phase advances with the
distance walked, so feet do not slide.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from train.data.synth.camera import Array

STRIDE = 0.80
"""Length of one full cycle, two steps, in body heights."""


class Part(IntEnum):
    """The tapered capsules a figure is made of; the torso is drawn separately."""

    FOOT_L = 0
    FOOT_R = 1
    SHIN_L = 2
    SHIN_R = 3
    THIGH_L = 4
    THIGH_R = 5
    SKIRT = 6
    UPPER_L = 7
    UPPER_R = 8
    SLEEVE_L = 9
    SLEEVE_R = 10
    FOREARM_L = 11
    FOREARM_R = 12
    HAND_L = 13
    HAND_R = 14
    NECK = 15
    FACE = 16
    HAIR = 17
    TAIL = 18
    HAT = 19
    BRIM = 20
    PACK = 21
    BAG = 22


PARTS = len(Part)
TORSO_RINGS = np.array(
    # height, half width, half depth, in body heights
    [[0.485, 0.084, 0.066], [0.60, 0.074, 0.06], [0.73, 0.088, 0.068], [0.81, 0.098, 0.05],
     [0.848, 0.045, 0.036]]
)  # fmt: skip


@dataclass(frozen=True)
class Motion:
    """How ``N`` people stand and move at one moment.

    Attributes:
        xy: ``[N, 2]`` position on the ground in metres.
        heading: ``[N]`` direction of walking in radians, from the x axis.
        speed: ``[N]`` in metres a second.
        phase: ``[N]`` phase of the walking cycle in radians.
        height: ``[N]`` body height in metres.
        build: ``[N]`` factor on the widths of the body.
        elbow: ``[N, 2]`` extra bend of the left and right elbow in radians, as for carrying.
        swing: ``[N, 2]`` factor on the swing of the left and right arm.
    """

    xy: Array
    heading: Array
    speed: Array
    phase: Array
    height: Array
    build: Array
    elbow: Array
    swing: Array


@dataclass(frozen=True)
class Pose:
    """Where the parts of ``N`` people are.

    Attributes:
        starts: ``[N, P, 3]`` first ends of the parts, in the order of ``Part``, in metres.
        ends: ``[N, P, 3]`` other ends.
        base: ``[N, 3]`` point of the body's axis at height 0.
        forward: ``[N, 3]`` unit vector.
        left: ``[N, 3]`` unit vector.
    """

    starts: Array
    ends: Array
    base: Array
    forward: Array
    left: Array


def make_pose(motion: Motion) -> Pose:
    """Compute the parts of people in motion.

    Args:
        motion: ``N`` people; ``N`` may be 0.

    Returns:
        World coordinates of both ends of every part. The lower foot touches the ground.
    """
    count = len(motion.heading)
    # Body coordinates: forward, left, up, in body heights.
    start = np.zeros((count, PARTS, 3))
    end = np.zeros((count, PARTS, 3))
    stride = np.clip(motion.speed / 1.35, 0, 1.35)
    lean = 0.018 * stride
    lowest = np.full(count, np.inf)
    for side, sign in enumerate((1.0, -1.0)):
        phase = motion.phase + np.pi * side
        foot = _leg(start, end, side, sign, phase, stride, motion.build)
        lowest = np.minimum(lowest, foot)
        _arm(start, end, side, sign, motion, phase + np.pi, stride, lean)
    _trunk(start, end, lean, motion.build)
    # The body rises and falls so that the lower foot stands on the ground.
    start[..., 2] -= lowest[:, None]
    end[..., 2] -= lowest[:, None]

    forward = np.stack([np.cos(motion.heading), np.sin(motion.heading)], -1)
    forward = np.concatenate([forward, np.zeros((count, 1))], -1)
    left = np.stack([-forward[:, 1], forward[:, 0], np.zeros(count)], -1)
    axes = np.stack([forward, left, np.broadcast_to([0.0, 0.0, 1.0], (count, 3))], 1)
    base = np.concatenate([motion.xy, -lowest[:, None] * motion.height[:, None]], -1)
    ground = np.concatenate([motion.xy, np.zeros((count, 1))], -1)[:, None]
    scale = motion.height[:, None, None]
    return Pose(
        ground + np.einsum("npk,nkd->npd", start, axes) * scale,
        ground + np.einsum("npk,nkd->npd", end, axes) * scale,
        base,
        forward,
        left,
    )


def _put(
    target: Array, part: int, ahead: Array | float, aside: Array | float, up: Array | float
) -> None:
    target[:, part, 0] = ahead
    target[:, part, 1] = aside
    target[:, part, 2] = up


def _leg(
    start: Array, end: Array, side: int, sign: float, phase: Array, stride: Array, build: Array
) -> Array:
    """Place one leg and return the height of its sole under a hip at 0.52."""
    aside = sign * 0.05 * build
    thigh = (0.47 * np.sin(phase) + 0.06) * stride
    # The knee bends most while the leg swings forward, and a little when it takes the weight.
    bend = 0.07 + stride * (
        0.85 * np.clip(np.sin(phase + 1.15), 0, 1) ** 2 * (np.cos(phase) > -0.6)
        + 0.12 * np.clip(np.sin(phase - 0.6), 0, 1)
    )
    shin = thigh - bend
    knee_x, knee_z = 0.245 * np.sin(thigh), 0.52 - 0.245 * np.cos(thigh)
    ankle_x, ankle_z = knee_x + 0.235 * np.sin(shin), knee_z - 0.235 * np.cos(shin)
    _put(start, Part.THIGH_L + side, 0.0, aside, 0.515)
    _put(end, Part.THIGH_L + side, knee_x, aside * 0.9, knee_z)
    _put(start, Part.SHIN_L + side, knee_x, aside * 0.9, knee_z)
    _put(end, Part.SHIN_L + side, ankle_x, aside * 0.85, ankle_z)
    tilt = 0.75 * shin + 0.12 * stride * np.sin(phase)
    cos, sin = np.cos(tilt), np.sin(tilt)
    heel = (ankle_x - 0.018 * cos, ankle_z - 0.022)
    toe = (ankle_x + 0.09 * cos, ankle_z - 0.026 + 0.09 * sin)
    _put(start, Part.FOOT_L + side, heel[0], aside * 0.9, heel[1])
    _put(end, Part.FOOT_L + side, toe[0], aside * 1.25, toe[1])
    return np.minimum(heel[1], toe[1]) - 0.018


def _arm(
    start: Array,
    end: Array,
    side: int,
    sign: float,
    motion: Motion,
    phase: Array,
    stride: Array,
    lean: Array,
) -> None:
    aside = sign * 0.1 * motion.build
    upper = 0.36 * stride * np.sin(phase) * motion.swing[:, side] - 0.03
    bend = 0.16 + 0.22 * stride * (1 + np.sin(phase)) * motion.swing[:, side]
    lower = upper + bend + motion.elbow[:, side]
    shoulder = (lean, 0.8)
    elbow_x, elbow_z = shoulder[0] + 0.172 * np.sin(upper), shoulder[1] - 0.172 * np.cos(upper)
    wrist_x, wrist_z = elbow_x + 0.148 * np.sin(lower), elbow_z - 0.148 * np.cos(lower)
    out, inward = aside + sign * 0.018, aside + sign * 0.004
    _put(start, Part.UPPER_L + side, shoulder[0], aside, shoulder[1])
    _put(end, Part.UPPER_L + side, elbow_x, out, elbow_z)
    _put(start, Part.SLEEVE_L + side, shoulder[0], aside, shoulder[1])
    middle = (shoulder[0] * 0.35 + elbow_x * 0.65, shoulder[1] * 0.35 + elbow_z * 0.65)
    _put(end, Part.SLEEVE_L + side, middle[0], aside + sign * 0.011, middle[1])
    _put(start, Part.FOREARM_L + side, elbow_x, out, elbow_z)
    _put(end, Part.FOREARM_L + side, wrist_x, inward, wrist_z)
    hand_x, hand_z = wrist_x + 0.035 * np.sin(lower), wrist_z - 0.035 * np.cos(lower)
    _put(start, Part.HAND_L + side, wrist_x, inward, wrist_z)
    _put(end, Part.HAND_L + side, hand_x, inward, hand_z)
    if side == 1:
        # A bag hangs from the right hand or, with the strap over the shoulder, beside the hip.
        hanging = motion.swing[:, 1] < 0.5
        bag_x = np.where(hanging, hand_x, 0.0)
        bag_z = np.where(hanging, hand_z - 0.02, 0.5)
        bag_y = np.where(hanging, inward, sign * 0.145 * motion.build)
        _put(start, Part.BAG, bag_x - 0.035, bag_y, bag_z - 0.045)
        _put(end, Part.BAG, bag_x + 0.035, bag_y, bag_z - 0.045)


def _trunk(start: Array, end: Array, lean: Array, build: Array) -> None:
    _put(start, Part.SKIRT, 0.0, 0.0, 0.5)
    _put(end, Part.SKIRT, 0.01, 0.0, 0.37)
    _put(start, Part.NECK, lean * 0.9, 0.0, 0.83)
    _put(end, Part.NECK, lean + 0.012, 0.0, 0.875)
    _put(start, Part.FACE, lean + 0.03, 0.0, 0.892)
    _put(end, Part.FACE, lean + 0.022, 0.0, 0.937)
    _put(start, Part.HAIR, lean - 0.008, 0.0, 0.925)
    _put(end, Part.HAIR, lean + 0.008, 0.0, 0.95)
    _put(start, Part.TAIL, lean - 0.02, 0.0, 0.92)
    _put(end, Part.TAIL, lean - 0.045, 0.0, 0.82)
    _put(start, Part.HAT, lean + 0.004, 0.0, 0.96)
    _put(end, Part.HAT, lean + 0.006, 0.0, 0.972)
    _put(start, Part.BRIM, lean + 0.02, 0.0, 0.957)
    _put(end, Part.BRIM, lean + 0.075, 0.0, 0.948)
    _put(start, Part.PACK, -0.098 * build, 0.0, 0.63)
    _put(end, Part.PACK, -0.088 * build, 0.0, 0.765)
