"""What every inference engine offers."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt

from runtime.model_info import ModelInfo


class Engine(ABC):
    """A network loaded on a device.

    Attributes:
        info: What the model says about itself.
        provider: What really runs it, e.g. ``CPUExecutionProvider``.
    """

    info: ModelInfo
    provider: str

    @abstractmethod
    def run(self, frames: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.generic]]:
        """Run the network.

        Args:
            frames: uint8 BGR ``[N, H, W, 3]`` of ``info.frames_wh``, contiguous; one frame unless
                ``info.dynamic_batch``.

        Returns:
            ``boxes`` ``[N, K, 4]``, ``scores`` ``[N, K]``, ``classes`` ``[N, K]`` and, for a model
            with re-identification, ``embeddings`` ``[N, K, D]``; see ``ModelInfo``.
        """

    def close(self) -> None:  # noqa: B027 - optional
        """Give back the device's memory; the engine cannot run afterwards."""
