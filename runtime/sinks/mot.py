"""Results as MOTChallenge text."""

from __future__ import annotations

import os

from runtime.sinks.base import FileSink
from runtime.types import FrameResult, Tracks


class MotWriter(FileSink):
    """Writes tracks as MOTChallenge result rows.

    Args:
        path: The text file.
        with_class: See ``Tracks.to_mot_rows``.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with MotWriter(Path(folder) / "tracks.txt") as writer:
        ...         writer.write_tracks(1, Tracks([7], [[1, 2, 11, 22]], [0.5], [0]))
        ...     (Path(folder) / "tracks.txt").read_text()
        '1,7,1.00,2.00,10.00,20.00,0.5000,-1,-1,-1\\n'
    """

    def __init__(self, path: str | os.PathLike[str], with_class: bool = False) -> None:
        super().__init__(path)
        self._with_class = with_class

    def write(self, result: FrameResult) -> None:
        """Write the tracks of the next frame.

        Raises:
            UserError: The disk is full; the rows of the frames before are kept.
        """
        self.write_tracks(result.index + 1, result.tracks)

    def write_tracks(self, frame_number: int, tracks: Tracks) -> None:
        """Write the tracks of one frame; raises as ``write`` does.

        Args:
            frame_number: Counted from 1.
            tracks: May be empty.
        """
        rows = tracks.to_mot_rows(frame_number, self._with_class)
        self.file.write_frame("".join(f"{row}\n" for row in rows).encode("ascii"))
