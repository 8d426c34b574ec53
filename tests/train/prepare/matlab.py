"""MATLAB values as the published annotation files nest them, for ``scipy.io.savemat``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np


def cell(values: Sequence[Any], column: bool = False) -> np.ndarray:
    """Return a cell array, ``[1, N]`` or ``[N, 1]``."""
    array = np.empty((1, len(values)), object)
    for place, value in enumerate(values):
        array[0, place] = value
    return array.T if column else array


def struct_array(rows: Sequence[dict[str, Any]], column: bool = False) -> np.ndarray:
    """Return a struct array ``[1, N]`` or ``[N, 1]``; without rows MATLAB's ``[]``."""
    if not rows:
        return np.zeros((0, 0))
    array = np.empty((1, len(rows)), [(name, object) for name in rows[0]])
    for place, row in enumerate(rows):
        array[0, place] = tuple(row.values())
    return array.T if column else array


def row(*values: float, dtype: str = "float64") -> np.ndarray:
    """Return a row vector ``[1, N]``."""
    return np.array([values], dtype)


def write_picture(file: Path, size_wh: tuple[int, int]) -> None:
    """Write a black picture."""
    file.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(file), np.zeros((size_wh[1], size_wh[0], 3), np.uint8))
