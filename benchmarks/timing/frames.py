"""Frames to measure with, decoded or made beforehand and held in memory."""

from __future__ import annotations

import hashlib
import itertools
import os
from pathlib import Path

import numpy as np

from runtime.errors import UserError
from runtime.files import file_sha256
from runtime.sources import open_source
from runtime.sources.base import Frame

GENERATED_SIZE_WH = (1280, 720)
GENERATED_FPS = 30.0


def generated_frames(count: int, size_wh: tuple[int, int] = GENERATED_SIZE_WH) -> list[Frame]:
    """Make a gradient under noise: something to process, with nothing in it to find.

    Args:
        count: Number of frames.
        size_wh: Width and height in pixels.

    Returns:
        uint8 BGR ``[H, W, 3]`` frames, the same in every call.
    """
    width, height = size_wh
    random = np.random.default_rng(0)
    gradient = np.add.outer(np.linspace(0, 120, height), np.linspace(0, 120, width))
    return [
        (gradient[..., None] + random.integers(0, 16, (height, width, 3))).astype(np.uint8)
        for _ in range(count)
    ]


def first_frames(source: str | os.PathLike[str] | None, count: int) -> tuple[list[Frame], float]:
    """Return the first frames of a source and its frames per second.

    Args:
        source: Video, folder of images or sequence; None for generated frames.
        count: Number of frames; a shorter source is used whole.

    Raises:
        UserError: The source cannot be opened, or has no frames.
    """
    if source is None:
        return generated_frames(count), GENERATED_FPS
    with open_source(Path(source)) as opened:
        kept = list(itertools.islice(opened, count))
        if not kept:
            raise UserError(f"{source} has no frames: give another source")
        return kept, opened.fps


def source_sha256(source: str | os.PathLike[str]) -> str | None:
    """Return the SHA-256 of a file, or of the names and hashes of all files in a folder.

    Returns:
        Hexadecimal; None for a source that is neither, such as a camera.
    """
    path = Path(source)
    if path.is_file():
        return file_sha256(path)
    if not path.is_dir():
        return None
    digest = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        digest.update(f"{file.relative_to(path).as_posix()}\0{file_sha256(file)}\n".encode())
    return digest.hexdigest()
