"""What every contender gives: tracks, and the time of each stage."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from runtime.types import Tracks

Frame = npt.NDArray[np.uint8]

STAGES = ("preprocess", "network", "decode", "association")


class Step(NamedTuple):
    """What became of a frame.

    Attributes:
        tracks: In pixels of the frame.
        stage_ns: Nanoseconds of each of ``STAGES``. A stage ends when its result is there, not when
            its work was handed to a device.
    """

    tracks: Tracks
    stage_ns: tuple[int, int, int, int]


@dataclasses.dataclass(frozen=True)
class Description:
    """What tables say of a contender.

    Attributes:
        model: Its name.
        file: Name of the network's file, empty where there is none.
        bytes: Size of the network's files.
        arch: Kind of network.
        parameters: Number of learned parameters of all networks.
        precision: ``fp32``, ``fp16`` or ``int8``.
        size_wh: Width and height of the network's input in pixels.
        provider: What computes the network.
        tracker: What associates.
        parity: Content of the ``parity.json`` of its export, empty where it has none.
    """

    model: str
    file: str
    bytes: int
    arch: str
    parameters: int
    precision: str
    size_wh: tuple[int, int]
    provider: str
    tracker: str
    parity: dict[str, Any] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values by name."""
        return {**dataclasses.asdict(self), "size_wh": list(self.size_wh)}


class Contender(ABC):
    """A network and a tracker, ready to run.

    Attributes:
        description: What tables say of it.
        trained: False where only its time means something, as its tracks come by chance.
    """

    description: Description
    trained = True

    @abstractmethod
    def begin(self, fps: float) -> None:
        """Forget everything and start a sequence of so many frames per second."""

    @abstractmethod
    def step(self, frame: Frame) -> Step:
        """Track the next frame of the sequence.

        Args:
            frame: uint8 BGR ``[H, W, 3]``.
        """

    def close(self) -> None:  # noqa: B027  # most have nothing to give back
        """Give back what it holds."""

    def __enter__(self) -> Contender:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


@dataclasses.dataclass(frozen=True)
class Recipe(ABC):
    """How to open a contender; can be pickled.

    Attributes:
        name: Name of the contender, alone of its kind in a comparison.
        role: ``teacher``, ``undistilled``, ``distilled``, ``rival``, or empty.
    """

    name: str
    role: str

    @abstractmethod
    def open(self, backend: str = "auto", threads: int | None = None) -> Contender:
        """Load it.

        Args:
            backend: As for ``runtime.load``, for those that have a choice.
            threads: CPU threads; its own choice when None.

        Raises:
            UserError: A file or a package that it needs is missing or cannot be used.
        """
