"""What every inference engine offers."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt

from runtime.model_info import ModelInfo


class Engine(ABC):
    """A network loaded on a device.

    Attributes:
        info: What the model says about itself.
        provider: What really runs it, e.g. ``CPUExecutionProvider``.
        reason: In one short line, what runs it and why that was chosen.
        smallest_batch: Fewest frames per run.
    """

    info: ModelInfo
    provider: str
    reason: str = ""
    smallest_batch: int = 1
    _memory: npt.NDArray[np.uint8] | None = None

    @property
    def largest_batch(self) -> int:
        """Most frames per run."""
        return sys.maxsize if self.info.dynamic_batch else 1

    def input(self, count: int) -> npt.NDArray[np.uint8]:
        """Return the engine's own memory for frames, which ``run`` takes without copying it.

        It is the same memory in every call, as long as no larger count is asked for; what is
        written there stays until the next frames are. It must not be touched after ``close``.

        Args:
            count: Number of frames, 1 and up.

        Returns:
            uint8 BGR ``[count, H, W, 3]`` of ``info.frames_wh``.

        Raises:
            UserError: The engine does not take so many frames at a time.
        """
        if self._memory is None or len(self._memory) < count:
            width, height = self.info.frames_wh
            self._memory = np.zeros((count, height, width, 3), np.uint8)
        return self._memory[:count]

    @abstractmethod
    def run(self, frames: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.generic]]:
        """Run the network.

        Args:
            frames: uint8 BGR ``[N, H, W, 3]`` of ``info.frames_wh``, contiguous; one frame unless
                ``info.dynamic_batch``. Nothing is copied where it is what ``input`` returned.

        Returns:
            ``boxes`` ``[N, K, 4]``, ``scores`` ``[N, K]``, ``classes`` ``[N, K]`` and, for a model
            with re-identification, ``embeddings`` ``[N, K, D]``; see ``ModelInfo``. The next run
            leaves them alone.
        """

    def close(self) -> None:  # noqa: B027 - optional
        """Give back the device's memory; the engine cannot run afterwards."""


def starts(frames: npt.NDArray[np.uint8], memory: npt.NDArray[np.uint8] | None) -> bool:
    """Tell whether frames are the first rows of a memory: those very bytes, not equal ones.

    Examples:
        >>> memory = np.zeros((3, 4, 6, 3), np.uint8)
        >>> starts(memory[:2], memory), starts(memory[1:], memory), starts(memory.copy(), memory)
        (True, False, False)
    """
    return (
        memory is not None
        and frames.dtype == memory.dtype
        and frames.shape[1:] == memory.shape[1:]
        and len(frames) <= len(memory)
        and frames.flags.c_contiguous
        and frames.ctypes.data == memory.ctypes.data
    )
