"""What a tracker gets wrong about who is who, put right by what an embedder says of the cutouts.

A tracker gives a person who was lost a new number, and now and then takes one for another. A
classifier of identities would be asked to tell somebody apart from himself.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

# Cosine with the mean of an identity's embeddings: of somebody else, and of the same person.
ANOTHER, SAME = 0.6, 0.85


def sort_people(
    embeddings: Mapping[int, npt.NDArray[np.float32]],
) -> dict[int, list[tuple[int, int]]]:
    """Merge identities that look the same, and leave out what looks like somebody else.

    Args:
        embeddings: Of each identity ``[N, E]`` rows of unit length, one for each cutout.

    Returns:
        Of each identity that is left, by the lowest number it had, its cutouts as identity before
        and row there.

    Examples:
        >>> a, b = np.eye(2, dtype=np.float32)
        >>> sort_people({1: np.stack([a, a, b, a]), 4: b[None], 7: a[None]})
        {1: [(1, 0), (1, 1), (1, 3), (7, 0)], 4: [(4, 0)]}
    """
    means: dict[int, npt.NDArray[np.float32]] = {}
    sorted_: dict[int, list[tuple[int, int]]] = {}
    for identity in sorted(embeddings):
        rows = embeddings[identity]
        alike = np.flatnonzero(rows @ _mean(rows) >= ANOTHER)
        if not len(alike):
            continue
        mean = _mean(rows[alike])
        likeness = {other: float(mean @ means[other]) for other in means}
        nearest = max(likeness, key=lambda other: likeness[other], default=identity)
        if likeness.get(nearest, 0.0) < SAME:
            nearest = identity
        own = sorted_.setdefault(nearest, [])
        own += [(identity, int(row)) for row in alike]
        means[nearest] = _mean(np.stack([embeddings[one][row] for one, row in own]))
    return sorted_


def _mean(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    mean = rows.mean(axis=0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-9), np.float32)
