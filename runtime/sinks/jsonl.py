"""Results as JSON Lines: a header, then one object per frame."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from runtime.counting import Counter
from runtime.sinks.base import FileSink
from runtime.types import FrameResult, Tracks

FORMAT = "kd-mot tracks"
VERSION = 1

TRACK_FORM = (
    '{"id":%%d,"class":%s,"score":%%.4f,"box_xyxy":[%%.2f,%%.2f,%%.2f,%%.2f],'
    '"velocity_xy":[%%.2f,%%.2f]}'
)


class JsonLinesWriter(FileSink):
    """Writes one line of JSON per frame.

    The first line is ``{"format", "version", "source", "fps", "size_wh", "classes", "lines",
    "zones"}``; lines have ``name``, ``start_xy`` and ``end_xy``, zones ``name`` and ``points_xy``,
    in pixels. Every other line is ``{"frame", "timestamp", "tracks"}``: the frame's number, from 1
    as in ``tracks.txt``; seconds since the start of the source; and per track ``id``, ``class`` by
    name, ``score``, ``box_xyxy`` in pixels and ``velocity_xy`` in pixels per second. With a counter
    it has ``lines`` and ``zones`` as well, see ``Tally``. All numbers are finite: a track with one
    that is not is left out.

    Args:
        path: The file.
        source: Name of the source.
        fps: Frames per second of the source.
        size_wh: Size of its frames in pixels.
        classes: Names by class index.
        counter: Whose tally to write; whoever calls ``write`` updates it before.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        source: str,
        fps: float,
        size_wh: tuple[int, int],
        classes: Sequence[str] = (),
        counter: Counter | None = None,
    ) -> None:
        super().__init__(path)
        self._header = {
            "format": FORMAT,
            "version": VERSION,
            "source": source,
            "fps": round(fps, 6),
            "size_wh": list(size_wh),
            "classes": list(classes),
            "lines": [vars(line) for line in counter.lines] if counter else [],
            "zones": [vars(zone) for zone in counter.zones] if counter else [],
        }
        self._counter = counter
        self._forms = [_track_form(name) for name in classes]

    def write(self, result: FrameResult) -> None:
        """Write the line of the next frame.

        Raises:
            UserError: The disk is full; the lines before are kept.
        """
        line = '{"frame":%d,"timestamp":%.3f,"tracks":[%s]' % (  # noqa: UP031 - one form for all
            result.index + 1,
            result.timestamp,
            self._format(result.tracks),
        )
        if self._counter is not None:
            # Both objects join the one that is being written: without the opening brace.
            line += f",{_compact(self._counter.tally.to_json())[1:]}"
        else:
            line += "}"
        self.file.write_frame(f"{line}\n".encode())

    def _open(self) -> None:
        self.file.write_header(f"{_compact(self._header)}\n".encode())

    def _format(self, tracks: Tracks) -> str:
        columns = (tracks.ids, tracks.scores, tracks.boxes_xyxy, tracks.velocities_xy)
        table = np.column_stack([column.astype(np.float64) for column in columns])
        finite = np.isfinite(table).all(axis=1)
        classes = tracks.classes[finite].tolist()
        self._forms += [
            _track_form(f"class {index}")
            for index in range(len(self._forms), max(classes, default=-1) + 1)
        ]
        # All numbers of the frame are formatted in one go.
        form = ",".join([self._forms[index] for index in classes])
        return form % tuple(chain.from_iterable(table[finite].tolist()))


def _track_form(class_name: str) -> str:
    return TRACK_FORM % _compact(class_name).replace("%", "%%")


def _compact(content: Any) -> str:
    return json.dumps(content, separators=(",", ":"), allow_nan=False)
