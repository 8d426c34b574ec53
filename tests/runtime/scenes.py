"""Random crowded scenes.

People cross, hide, come back and are detected twice for a while; false detections lie between them.
"""

from __future__ import annotations

import numpy as np

from runtime.types import Detections


def crowded_scene(
    seed: int,
    frames: int = 80,
    people: int = 14,
    embedding_dim: int | None = 16,
    classes: int = 1,
) -> list[Detections]:
    """Return the detections of each frame, some of them without any."""
    random = np.random.default_rng(seed)
    centres = random.uniform([50, 50], [400, 300], (people, 2))
    speeds = random.normal(0, 3, (people, 2))
    heights = random.uniform(40, 120, people)
    kinds = random.integers(0, classes, people)
    looks = random.normal(size=(people, embedding_dim or 1))
    hidden_until = np.zeros(people)
    twin_until = np.zeros(people)
    scene = []
    for frame in range(frames):
        centres += speeds + random.normal(0, 0.7, centres.shape)
        speeds = np.where((centres < 30) | (centres > 420), -speeds, speeds)
        hides = random.random(people) < 0.03
        hidden_until[hides] = frame + random.integers(1, 40, hides.sum())
        seen = (hidden_until <= frame) & (random.random(people) > 0.08)
        if frame % 37 == 20:
            seen[:] = False
        twins = random.random(people) < 0.04
        twin_until[twins] = frame + random.integers(2, 12, twins.sum())
        who = np.concatenate([np.flatnonzero(seen), np.flatnonzero(seen & (twin_until > frame))])
        count, clutter = len(who), int(random.integers(0, 3)) * int(seen.any())
        middle = np.concatenate([centres[who], random.uniform(0, 450, (clutter, 2))])
        tall = np.concatenate([heights[who], random.uniform(20, 140, clutter)])
        tall *= random.normal(1, 0.02, len(tall))
        wide = tall * random.normal(0.4, 0.02, len(tall))
        half = np.stack([wide, tall], axis=1) / 2
        middle = middle + random.normal(0, 1, middle.shape)
        embeddings = None
        if embedding_dim is not None:
            embeddings = np.concatenate([looks[who], random.normal(size=(clutter, embedding_dim))])
            embeddings += random.normal(0, 0.6, embeddings.shape)
            embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
        scores = np.concatenate([random.beta(4, 2, count), random.beta(2, 3, clutter)])
        scene.append(
            Detections(
                np.concatenate([middle - half, middle + half], axis=1),
                scores,
                embeddings,
                np.concatenate([kinds[who], random.integers(0, classes, clutter)]),
            )
        )
    return scene
