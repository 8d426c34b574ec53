"""Frames to prove parity on, and to calibrate on."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import numpy.typing as npt

from runtime.errors import UserError
from runtime.model_info import ModelInfo
from runtime.opencv import cv2
from runtime.sources import open_source

Frames = list[npt.NDArray[np.uint8]]

SCENE_SIZE_WH = (640, 480)
# Reading every frame to take one in so many is fast; far more than this is a film.
MOST_FRAMES_READ = 3000


def frames_to_compare(source: Path | None, count: int, info: ModelInfo) -> tuple[Frames, str]:
    """Return consecutive frames, which can be tracked.

    Args:
        source: Video, folder of images or sequence; None for the generated scene.
        count: Number of frames, fewer where the source is shorter.
        info: Of the graph that will get them.

    Returns:
        uint8 BGR ``[H, W, 3]`` each, and what they show.

    Raises:
        UserError: The source cannot be read.
    """
    if source is not None:
        with open_source(source) as opened:
            frames = list(itertools.islice(iter(opened), count))
        return as_camera(frames, info), source.name
    from train.data.synth import Scene, SceneConfig

    size = info.frame_size_wh or SCENE_SIZE_WH
    scene = Scene(SceneConfig(size_wh=size, frames=count))
    return [scene.render(index).image for index in range(count)], "generated scene"


def frames_to_calibrate(source: Path, count: int, info: ModelInfo) -> Frames:
    """Return frames that lie evenly over a source.

    Args:
        source: Video, folder of images or sequence.
        count: Number of frames, fewer where the source is shorter.
        info: Of the graph that will get them.

    Raises:
        UserError: The source cannot be read, or has no frame.
    """
    with open_source(source) as opened:
        length = min(opened.length or MOST_FRAMES_READ, MOST_FRAMES_READ)
        wanted = set(np.linspace(0, length - 1, num=min(count, length)).round().astype(int))
        frames = [
            frame.copy()
            for index, frame in enumerate(itertools.islice(iter(opened), length))
            if index in wanted
        ]
    if not frames:
        raise UserError(f"{source} has no frame to calibrate on: give another --calibrate")
    return as_camera(frames, info)


def as_camera(frames: Frames, info: ModelInfo) -> Frames:
    """Give frames the size of the camera's, where a graph takes those."""
    size = info.frame_size_wh
    if size is None:
        return frames
    return [
        frame if frame.shape[1::-1] == size else resized(frame, size)  # [H, W, 3]
        for frame in frames
    ]


def resized(frame: npt.NDArray[np.uint8], size_wh: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Resize a frame, by area where it shrinks."""
    return np.asarray(cv2.resize(frame, size_wh, interpolation=cv2.INTER_AREA), np.uint8)
