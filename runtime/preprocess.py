"""Letterboxing: a frame of any size into the network's input, and boxes back.

FairMOT's convention (Zhang et al., "FairMOT", IJCV 2021; taken over from JDE): the ratio is kept,
the picture is centred and the border is grey. Training uses the same functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from runtime.errors import UserError
from runtime.model_info import ModelInfo
from runtime.opencv import cv2

BORDER_GREY = 127
MOST_SIZES_BETWEEN = 16  # kept for the next frame; sources of more sizes are rare

ResizeKind = Literal["area", "linear"]
INTERPOLATION: dict[ResizeKind, int] = {"area": cv2.INTER_AREA, "linear": cv2.INTER_LINEAR}

ByteArray = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class LetterboxGeometry:
    """Where a frame lies in the network's input.

    Attributes:
        scale: Pixels of input per pixel of frame, before the resized sides are rounded.
        left: Width of the left border in pixels.
        top: Height of the top border in pixels.
        resized_wh: Size of the picture inside the borders in pixels.
        frame_size_wh: Size of the frame in pixels.
    """

    scale: float
    left: int
    top: int
    resized_wh: tuple[int, int]
    frame_size_wh: tuple[int, int]

    @property
    def scale_xy(self) -> tuple[float, float]:
        """Exact scale per axis; it differs from ``scale`` by the rounding of ``resized_wh``."""
        return (
            self.resized_wh[0] / self.frame_size_wh[0],
            self.resized_wh[1] / self.frame_size_wh[1],
        )

    def to_frame(self, boxes_xyxy: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Map ``[N, 4]`` boxes from input pixels to frame pixels.

        Examples:
            >>> geometry = letterbox_geometry((200, 100), (100, 100))
            >>> geometry.to_frame(geometry.to_input([[0, 0, 200, 100]])).tolist()
            [[0.0, 0.0, 200.0, 100.0]]
        """
        boxes = np.asarray(boxes_xyxy, np.float32).reshape(-1, 4)
        return (boxes - self._offset) / self._scale

    def to_input(self, boxes_xyxy: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Map ``[N, 4]`` boxes from frame pixels to input pixels."""
        boxes = np.asarray(boxes_xyxy, np.float32).reshape(-1, 4)
        return boxes * self._scale + self._offset

    @cached_property
    def _offset(self) -> npt.NDArray[np.float32]:
        return np.array([self.left, self.top] * 2, np.float32)

    @cached_property
    def _scale(self) -> npt.NDArray[np.float32]:
        return np.array(self.scale_xy * 2, np.float32)


@lru_cache(maxsize=64)
def letterbox_geometry(
    frame_size_wh: tuple[int, int], input_size_wh: tuple[int, int]
) -> LetterboxGeometry:
    """Compute where a frame lies in the input.

    Args:
        frame_size_wh: Width and height of the frame in pixels.
        input_size_wh: Width and height of the input in pixels.

    Raises:
        ValueError: A side is not positive.

    Examples:
        >>> letterbox_geometry((1920, 1080), (1088, 608)).resized_wh
        (1081, 608)
    """
    if min(*frame_size_wh, *input_size_wh) < 1:
        raise ValueError(f"sides must be positive: {frame_size_wh} into {input_size_wh}")
    (width, height), (input_width, input_height) = frame_size_wh, input_size_wh
    scale = min(input_width / width, input_height / height)
    resized_width = min(max(round(width * scale), 1), input_width)
    resized_height = min(max(round(height * scale), 1), input_height)
    return LetterboxGeometry(
        scale=scale,
        # An odd border has its extra pixel on the right and below.
        left=round((input_width - resized_width) / 2 - 0.1),
        top=round((input_height - resized_height) / 2 - 0.1),
        resized_wh=(resized_width, resized_height),
        frame_size_wh=(width, height),
    )


@lru_cache(maxsize=64)
def resize_steps(
    size_wh: tuple[int, int], target_wh: tuple[int, int]
) -> tuple[tuple[tuple[int, int], ResizeKind], ...]:
    """Say how a picture is resized: halved as long as that can be, then interpolated.

    Averaging over the covered area keeps thin people from aliasing when a frame shrinks. For any
    ratio that is slow: five milliseconds for Full HD, more than a small network takes. Halving
    averages squares of four pixels, which is fast, and what is left to shrink is less than a half,
    where every pixel still has a part in linear interpolation.

    Args:
        size_wh: Size of the picture in pixels.
        target_wh: Size to resize it to.

    Returns:
        Sizes in between and in the end, and how each is reached: by the area covered or linearly.
        Sides that are odd and too large to interpolate are averaged at once. None where nothing is
        to be done.

    Examples:
        >>> resize_steps((1920, 1080), (569, 320))
        (((960, 540), 'area'), ((569, 320), 'linear'))
    """
    steps: list[tuple[tuple[int, int], ResizeKind]] = []
    (width, height), (new_width, new_height) = size_wh, target_wh
    while width >= 2 * new_width and height >= 2 * new_height and not (width % 2 or height % 2):
        width, height = width // 2, height // 2
        steps.append(((width, height), "area"))
    if (width, height) != target_wh:
        near = width < 2 * new_width and height < 2 * new_height
        steps.append((target_wh, "linear" if near else "area"))
    return tuple(steps)


def letterbox(frame: ByteArray, out: ByteArray) -> LetterboxGeometry:
    """Letterbox a frame into ``out``, border included.

    Args:
        frame: uint8 BGR ``[h, w, 3]``.
        out: uint8 ``[H, W, 3]``, contiguous; overwritten.

    Returns:
        Where the frame lies in ``out``.

    Raises:
        ValueError: An array has another shape or type.
    """
    return _letterbox(frame, out, {})


def _letterbox(
    frame: ByteArray, out: ByteArray, between: dict[tuple[int, int], ByteArray]
) -> LetterboxGeometry:
    """Letterbox; what stands between two steps of resizing is kept in ``between`` by its size."""
    geometry = letterbox_geometry(_size_wh(frame), _size_wh(out))
    _paint_border(out, geometry)
    width, height = geometry.resized_wh
    inside = out[geometry.top : geometry.top + height, geometry.left : geometry.left + width]
    steps = resize_steps(geometry.frame_size_wh, geometry.resized_wh)
    if not steps:
        inside[...] = frame
    for number, (size_wh, kind) in enumerate(steps, 1):
        target = inside
        if number < len(steps):
            if size_wh not in between:
                between[size_wh] = np.empty((size_wh[1], size_wh[0], 3), np.uint8)
            target = between[size_wh]
        cv2.resize(frame, size_wh, dst=target, interpolation=INTERPOLATION[kind])
        frame = target
    return geometry


class Letterboxer:
    """Letterboxes a stream of frames, into a buffer of its own or into one that is given.

    The border is painted each time, which takes microseconds where resizing takes milliseconds, so
    several may write into one memory.

    Attributes:
        buffer: uint8 ``[1, H, W, 3]``, the input of the network; overwritten by each call that
            names no other place.

    Examples:
        >>> letterboxer = Letterboxer((96, 64))
        >>> letterboxer(np.zeros((48, 96, 3), np.uint8)).top
        8
        >>> letterboxer.buffer[0, 0, 0].tolist(), letterboxer.buffer[0, 8, 0].tolist()
        ([127, 127, 127], [0, 0, 0])
    """

    def __init__(self, input_size_wh: tuple[int, int]) -> None:
        width, height = input_size_wh
        self.buffer: ByteArray = np.empty((1, height, width, 3), np.uint8)
        self._between: dict[tuple[int, int], ByteArray] = {}

    def __call__(self, frame: ByteArray, out: ByteArray | None = None) -> LetterboxGeometry:
        """Letterbox ``frame`` into the buffer, or into ``out``; see ``Preprocessor``."""
        if len(self._between) > MOST_SIZES_BETWEEN:
            self._between.clear()
        return _letterbox(frame, self.buffer[0] if out is None else out, self._between)


class CameraFrames:
    """Hands frames over as they are, to a graph that letterboxes them itself.

    Args:
        frame_size_wh: Width and height of the frames in pixels, which the graph fixes.

    Attributes:
        buffer: uint8 ``[1, h, w, 3]``, the last frame, without a copy where it lies in one piece.

    Examples:
        >>> frames = CameraFrames((192, 96))
        >>> frame = np.zeros((96, 192, 3), np.uint8)
        >>> frames(frame).resized_wh, np.shares_memory(frames.buffer, frame)
        ((192, 96), True)
    """

    def __init__(self, frame_size_wh: tuple[int, int]) -> None:
        width, height = frame_size_wh
        self.buffer: ByteArray = np.zeros((1, height, width, 3), np.uint8)
        self._unmoved = letterbox_geometry(frame_size_wh, frame_size_wh)

    def __call__(self, frame: ByteArray, out: ByteArray | None = None) -> LetterboxGeometry:
        """Make ``frame`` the buffer, or copy it to ``out``; it lies at its place, in its own size.

        Raises:
            UserError: The frame is not of the size that the graph takes.
        """
        size_wh, wanted_wh = _size_wh(frame), self._unmoved.frame_size_wh
        if size_wh != wanted_wh:
            raise UserError(
                f"the frame is {size_wh[0]}x{size_wh[1]} and the model letterboxes frames of "
                f"{wanted_wh[0]}x{wanted_wh[1]} only: export it again with "
                f"--frame-size {size_wh[0]}x{size_wh[1]}"
            )
        if out is None:
            self.buffer = np.ascontiguousarray(frame)[None]
        else:
            out[...] = frame
        return self._unmoved


class Preprocessor(Protocol):
    """What stands before the network.

    Attributes:
        buffer: uint8 ``[1, H, W, 3]``, what the graph takes for the last frame; good until the next
            one, or until that frame is changed.
    """

    buffer: ByteArray

    def __call__(self, frame: ByteArray, out: ByteArray | None = None) -> LetterboxGeometry:
        """Put a frame into the buffer, or where it is told to.

        Args:
            frame: uint8 BGR ``[h, w, 3]``.
            out: uint8 ``[H, W, 3]``, contiguous; overwritten instead of the buffer when given.

        Returns:
            How the pixels of the graph's boxes lie to those of the frame.

        Raises:
            UserError: The model does not take frames of this size.
        """


def preprocessor_for(info: ModelInfo) -> Preprocessor:
    """Return what a model wants done with frames."""
    if info.preprocess == "graph":
        return CameraFrames(info.frames_wh)
    return Letterboxer(info.size_wh)


def _size_wh(picture: ByteArray) -> tuple[int, int]:
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise ValueError(f"expected uint8 [H, W, 3], got {picture.dtype} {list(picture.shape)}")
    return picture.shape[1], picture.shape[0]


def _paint_border(out: ByteArray, geometry: LetterboxGeometry) -> None:
    right = geometry.left + geometry.resized_wh[0]
    bottom = geometry.top + geometry.resized_wh[1]
    out[: geometry.top] = BORDER_GREY
    out[bottom:] = BORDER_GREY
    out[geometry.top : bottom, : geometry.left] = BORDER_GREY
    out[geometry.top : bottom, right:] = BORDER_GREY
