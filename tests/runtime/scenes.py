"""Random scenes, the same on every machine.

NumPy may change its distributions with a version, and takes logarithms from the machine's library.
What is drawn here rests on the raw numbers of PCG64, which are fixed for good, and on sums,
products and square roots in a fixed order, which IEEE 754 fixes.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from runtime.types import Detections


class Dice:
    """Draws that depend on the seed alone."""

    def __init__(self, seed: int) -> None:
        self._bits = np.random.PCG64(seed)

    def uniform(self, low, high, shape):
        raw = np.asarray(self._bits.random_raw(math.prod(shape)), np.uint64)
        unit = (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return low + (high - low) * unit.reshape(shape)

    def normal(self, mean, deviation, shape):
        # The sum of twelve uniform numbers has variance 1 and is near enough to a normal one.
        total = np.full(shape, -6.0)
        for _ in range(12):
            total += self.uniform(0.0, 1.0, shape)
        return mean + deviation * total

    def integers(self, low, high, shape):
        return np.floor(self.uniform(low, high, shape)).astype(np.int64)

    def beta(self, a, b, shape):
        """Whole numbers a and b: the a-th smallest of a + b - 1 uniform numbers."""
        return np.sort(self.uniform(0.0, 1.0, (*shape, a + b - 1)), axis=-1)[..., a - 1]


def unit_length(vectors):
    squares = np.zeros(len(vectors))
    for column in vectors.T:
        squares += column * column
    return vectors / np.sqrt(squares)[:, None]


def crowded_scene(
    seed: int,
    frames: int = 80,
    people: int = 14,
    embedding_dim: int | None = 16,
    classes: int = 1,
    area: float = 450.0,
    heights: tuple[float, float] = (40.0, 120.0),
    twins: float = 0.04,
    empty_every: int = 37,
) -> list[Detections]:
    """People cross, hide, come back and are detected twice for a while, with clutter between them.

    Args:
        seed: Of everything random.
        frames: Number of frames.
        people: How many there are.
        embedding_dim: None for a model without embeddings.
        classes: Number of classes.
        area: Side of the square they walk in, in pixels.
        heights: Smallest and largest height in pixels.
        twins: How probable it is in a frame that somebody begins to be detected twice.
        empty_every: After so many frames one is without detections.
    """
    dice = Dice(seed)
    low, high = 0.07 * area, 0.93 * area
    centres = dice.uniform(low, high, (people, 2))
    speeds = dice.normal(0, 3, (people, 2))
    tallness = dice.uniform(*heights, (people,))
    kinds = dice.integers(0, classes, (people,))
    looks = dice.normal(0, 1, (people, embedding_dim or 1))
    hidden_until, twin_until = np.zeros(people), np.zeros(people)
    scene = []
    for frame in range(frames):
        centres += speeds + dice.normal(0, 0.7, centres.shape)
        speeds = np.where((centres < low) | (centres > high), -speeds, speeds)
        hides = dice.uniform(0, 1, (people,)) < 0.03
        hidden_until[hides] = frame + dice.integers(1, 40, (int(hides.sum()),))
        seen = (hidden_until <= frame) & (dice.uniform(0, 1, (people,)) > 0.08)
        if frame % empty_every == 20:
            seen[:] = False
        doubles = dice.uniform(0, 1, (people,)) < twins
        twin_until[doubles] = frame + dice.integers(2, 12, (int(doubles.sum()),))
        who = np.concatenate([np.flatnonzero(seen), np.flatnonzero(seen & (twin_until > frame))])
        count, clutter = len(who), int(dice.integers(0, 3, (1,))[0]) * int(seen.any())
        middle = np.concatenate([centres[who], dice.uniform(0, area, (clutter, 2))])
        tall = np.concatenate([tallness[who], dice.uniform(*heights, (clutter,))])
        embeddings = None
        if embedding_dim is not None:
            others = dice.normal(0, 1, (clutter, embedding_dim))
            embeddings = np.concatenate([looks[who], others])
            embeddings = unit_length(embeddings + dice.normal(0, 0.6, embeddings.shape))
        scene.append(
            Detections(
                _boxes(dice, middle + dice.normal(0, 1, middle.shape), tall),
                np.concatenate([dice.beta(4, 2, (count,)), dice.beta(2, 3, (clutter,))]),
                embeddings,
                np.concatenate([kinds[who], dice.integers(0, classes, (clutter,))]),
            )
        )
    return scene


def occluded_scene(
    seed: int, limit: int, people: int = 24, embedding_dim: int = 16
) -> list[Detections]:
    """People apart from each other come back just before and after they would be given up.

    Each is seen for some frames, comes back ``limit`` to ``limit + 3`` frames after that, is away
    for a moment, comes back, is away for long again, and comes back for good.

    Args:
        seed: Of everything random.
        limit: Frames after which a tracker gives up a track.
        people: How many there are.
        embedding_dim: Length of the embeddings.
    """
    dice = Dice(seed)
    places = np.arange(people)
    centres = 120.0 * np.stack([places % 6, places // 6], axis=1) + 80
    speeds = dice.uniform(-0.5, 0.5, (people, 2))
    tallness = dice.uniform(50, 90, (people,))
    looks = dice.normal(0, 1, (people, embedding_dim))
    gaps = limit + dice.integers(0, 4, (people, 2))
    schedule = np.zeros((people, 3 * limit + 60), np.bool_)
    for row, (first, second) in zip(schedule, gaps.tolist(), strict=True):
        start = int(dice.integers(0, 3, (1,))[0])
        for gap in (first, 3, second, 1):
            row[start : start + 6] = True
            start += 5 + gap
        row[start:] = True
    scene = []
    for seen in schedule.T:
        centres = centres + speeds
        who = np.flatnonzero(seen)
        scene.append(
            Detections(
                _boxes(dice, centres[who] + dice.normal(0, 0.7, (len(who), 2)), tallness[who]),
                dice.uniform(0.5, 1, (len(who),)),
                unit_length(looks[who] + dice.normal(0, 0.3, (len(who), embedding_dim))),
            )
        )
    return scene


def _boxes(dice: Dice, centres, heights):
    tall = heights * dice.normal(1, 0.02, heights.shape)
    wide = tall * dice.normal(0.4, 0.02, heights.shape)
    half = np.stack([wide, tall], axis=1) / 2
    return np.concatenate([centres - half, centres + half], axis=1)


SCENES: dict[str, Callable[..., list[Detections]]] = {
    "crowded": crowded_scene,
    "occluded": occluded_scene,
}
