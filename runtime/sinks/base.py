"""What every sink offers, and what the sinks that write files share."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from runtime.errors import UserError
from runtime.sinks.growing import GrowingFile
from runtime.types import FrameResult

SinkT = TypeVar("SinkT", bound="Sink")
FileSinkT = TypeVar("FileSinkT", bound="FileSink")


class StopRequested(Exception):
    """Raised by a sink when the user asked to end the run; files are kept as at its end."""


# Ways to end early after which what was tracked by then is worth its final name.
KEPT = (KeyboardInterrupt, UserError, StopRequested)


class Sink(ABC):
    """Takes the results of one source, frame by frame. Use it as a context manager.

    Attributes:
        paths: The files and folders it leaves.
    """

    paths: tuple[Path, ...] = ()

    @abstractmethod
    def write(self, result: FrameResult) -> None:
        """Take the next frame.

        Raises:
            UserError: It cannot be written; what came before is kept.
            StopRequested: The user asked to end the run.
        """

    def __enter__(self: SinkT) -> SinkT:
        return self

    def __exit__(  # noqa: B027 - some sinks hold nothing open
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass


class FileSink(Sink):
    """Writes a file that grows frame by frame and takes its final name at the end.

    See ``GrowingFile`` for the names. The final name is taken when the block ends, and also when it
    ends early through Ctrl-C, ``StopRequested`` or a ``UserError`` such as a video that was cut
    short, provided there was a frame. After any other exception the final name is not touched and
    what was written stays under the partial name.

    Args:
        path: The final name.

    Raises:
        UserError: On entering the block: the file cannot be written, or another run is writing it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.paths = (self.path,)
        self.file = GrowingFile(self.path)

    def _open(self) -> None:
        """Write what stands before the first frame."""

    def _finish(self) -> None:
        """Write what stands behind the last frame."""

    def __enter__(self: FileSinkT) -> FileSinkT:
        self.file.open()
        try:
            self._open()
        except BaseException:
            self.file.close(keep=False)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        keep = kind is None or (issubclass(kind, KEPT) and self.file.frames > 0)
        try:
            self._finish()
        finally:
            self.file.close(keep)
