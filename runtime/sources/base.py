"""What every source of frames offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from types import TracebackType

import numpy as np
import numpy.typing as npt

Frame = npt.NDArray[np.uint8]

DEFAULT_FPS = 30.0


class FrameSource(ABC):
    """Frames of one sequence, in order.

    Iterating yields uint8 BGR ``[H, W, 3]`` arrays, each a new one that the caller may keep.
    Iterating again starts from the first frame.

    Attributes:
        name: Name of the sequence.
        fps: Frames per second.
        size_wh: Width and height of the frames in pixels.
        length: Expected number of frames, or None where the container does not tell.
        is_live: Whether frames come at their own pace, so that whoever is late must drop some.
    """

    name: str
    fps: float
    size_wh: tuple[int, int]
    length: int | None
    is_live: bool = False

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames from the first on."""

    def timed(self) -> Iterator[tuple[float, Frame]]:
        """Yield each frame with its time, in seconds since the start of the source.

        A recording's time follows from its frame rate. Live sources tell when the frame came, by a
        clock that runs on while the source is lost.
        """
        for index, frame in enumerate(self):
            yield index / self.fps, frame

    def close(self) -> None:  # noqa: B027 - most sources hold nothing open
        """Give back what the source holds; it can still be iterated again."""

    def __enter__(self) -> FrameSource:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
