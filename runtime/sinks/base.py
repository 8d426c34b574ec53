"""What the sinks share: when a file gets its name."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from runtime.errors import UserError
from runtime.files import atomic_path

SinkT = TypeVar("SinkT", bound="FileSink")


class FileSink(ABC):
    """A file that grows frame by frame and takes its final name at the end.

    Use it as a context manager. The file is kept when the block ends, and also when it ends early
    through Ctrl-C or a ``UserError`` such as a video that was cut short: what was tracked by then
    is worth having. Any other exception removes it.

    Args:
        path: The final name.

    Raises:
        UserError: The file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._atomic: AbstractContextManager[Path] | None = None

    @abstractmethod
    def _open(self, path: Path) -> None:
        """Open the temporary file."""

    @abstractmethod
    def _finish(self) -> None:
        """Write out what is buffered and close the temporary file."""

    def __enter__(self: SinkT) -> SinkT:
        self._atomic = atomic_path(self.path)
        temporary = self._atomic.__enter__()
        try:
            self._open(temporary)
        except BaseException as error:
            self._atomic.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._atomic is not None
        try:
            self._finish()
        except BaseException as failure:
            self._atomic.__exit__(type(failure), failure, failure.__traceback__)
            raise
        if kind is None or issubclass(kind, KeyboardInterrupt | UserError):
            self._atomic.__exit__(None, None, None)
        else:
            self._atomic.__exit__(kind, error, trace)
