"""Arrays as bytes, without pickle, and a hash of what a teacher looks at."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

DTYPES = tuple(np.dtype(name) for name in ("<f4", "<f2", "<i8"))
DIGEST_BYTES = 16

Arrays = tuple[npt.NDArray[Any], ...]


def content_key(
    image: npt.NDArray[np.uint8],
    boxes_xyxy: npt.NDArray[np.float32] | None = None,
    classes: npt.NDArray[np.int64] | None = None,
) -> bytes:
    """Return a hash (BLAKE2b, 16 bytes) of what a teacher looks at.

    Args:
        image: ``[H, W, 3]`` BGR.
        boxes_xyxy: ``[M, 4]`` where it is told to look; None where it finds out itself.
        classes: ``[M]``, of the boxes.

    Examples:
        >>> image = np.zeros((2, 3, 3), np.uint8)
        >>> content_key(image) == content_key(image.transpose(1, 0, 2))
        False
    """
    digest = blake2b(digest_size=DIGEST_BYTES)
    for array in (image, boxes_xyxy, classes):
        if array is None:
            digest.update(b"none")
            continue
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.digest()


def pack(arrays: Sequence[npt.NDArray[Any]]) -> bytes:
    """Write arrays as bytes: their number, each one's type and shape, then their elements.

    Raises:
        ValueError: An array is of another type than those in ``DTYPES``.
    """
    heads, elements = [struct.pack("<B", len(arrays))], []
    for array in arrays:
        kind = DTYPES.index(array.dtype)
        heads.append(struct.pack(f"<BB{array.ndim}I", kind, array.ndim, *array.shape))
        elements.append(array.tobytes())
    return b"".join(heads + elements)


def unpack(packed: bytes | memoryview) -> Arrays:
    """Read what ``pack`` wrote; the arrays share its memory and cannot be written to.

    Examples:
        >>> unpack(pack([np.array([[1, 2]]), np.zeros((0, 4), np.float32)]))
        (array([[1, 2]]), array([], shape=(0, 4), dtype=float32))
    """
    heads, place = [], 1
    for _ in range(packed[0]):
        kind, dimensions = struct.unpack_from("<BB", packed, place)
        shape = struct.unpack_from(f"<{dimensions}I", packed, place + 2)
        heads.append((DTYPES[kind], shape))
        place += 2 + 4 * dimensions
    arrays = []
    for dtype, shape in heads:
        arrays.append(np.ndarray(shape, dtype, packed, place))
        place += math.prod(shape) * dtype.itemsize
    return tuple(arrays)
