"""Results as MOTChallenge text."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TextIO

from runtime.sinks.base import FileSink
from runtime.types import Tracks


class MotWriter(FileSink):
    """Writes tracks as MOTChallenge result rows.

    Args:
        path: The text file.
        with_class: See ``Tracks.to_mot_rows``.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with MotWriter(Path(folder) / "tracks.txt") as writer:
        ...         writer.write(1, Tracks([7], [[1, 2, 11, 22]], [0.5], [0]))
        ...     (Path(folder) / "tracks.txt").read_text()
        '1,7,1.00,2.00,10.00,20.00,0.5000,-1,-1,-1\\n'
    """

    _handle: TextIO

    def __init__(self, path: str | os.PathLike[str], with_class: bool = False) -> None:
        super().__init__(path)
        self._with_class = with_class

    def write(self, frame_number: int, tracks: Tracks) -> None:
        """Write the tracks of one frame.

        Args:
            frame_number: Counted from 1.
            tracks: May be empty.
        """
        # One call per frame: an interruption never leaves half a row.
        rows = tracks.to_mot_rows(frame_number, self._with_class)
        self._handle.write("".join(f"{row}\n" for row in rows))

    def _open(self, path: Path) -> None:
        self._handle = path.open("w", encoding="utf-8")

    def _finish(self) -> None:
        self._handle.close()
