"""What the tests of the teacher's cache keep in it and find again."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from train.teachers.cache import TeacherCache
from train.teachers.cache.packing import Arrays

ROOM = 64  # MB, more than any of these tests needs


def outputs(number: int, objects: int = 8) -> Arrays:
    rng = np.random.default_rng(number)
    return (
        rng.random((objects, 4)).astype(np.float32),
        rng.random(objects).astype(np.float32),
        rng.integers(0, 3, objects),
        rng.random((objects, 256)).astype(np.float16),
    )


def key_of(number: int) -> bytes:
    return number.to_bytes(16, "big")


def fill(folder: Path, numbers: range, fingerprint: str = "a", limit_mb: float = ROOM) -> None:
    with TeacherCache(folder, fingerprint, limit_mb) as cache:
        for number in numbers:
            cache.keep(key_of(number), outputs(number))


def found(folder: Path, numbers: range, fingerprint: str = "a") -> list[int]:
    """Which of them the cache knows; what it knows must be right."""
    with TeacherCache(folder, fingerprint, ROOM) as cache:
        hits = [(number, cache.find(key_of(number))) for number in numbers]
    known = [(number, arrays) for number, arrays in hits if arrays is not None]
    for number, arrays in known:
        assert_same(arrays, outputs(number))
    return [number for number, _ in known]


def assert_same(arrays: Arrays, expected: Arrays) -> None:
    assert len(arrays) == len(expected)
    for one, other in zip(arrays, expected, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
