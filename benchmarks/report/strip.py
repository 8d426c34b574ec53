"""Frames of the source with the tracks drawn in."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.report.runs import Run
from runtime.console import progress
from runtime.errors import UserError
from runtime.mot import MotRows, read_mot
from runtime.opencv import cv2
from runtime.sinks.drawing import draw_tracks
from runtime.sources import open_source
from runtime.types import Tracks

FRAMES = 3
WIDTH = 520
QUALITY = 72


@dataclass(frozen=True)
class Still:
    """One frame of one run as a JPEG data URI."""

    frame: int
    count: int
    uri: str
    size_wh: tuple[int, int]


def strips(runs: Sequence[Run], source: Path) -> list[tuple[Run, list[Still]]]:
    """Draw evenly spaced frames for every run that has tracks.

    Args:
        runs: All runs of the page.
        source: The video or sequence they were made from.

    Returns:
        Per run its stills; runs without ``tracks.txt`` are left away.

    Raises:
        UserError: The source cannot be read or is shorter than the tracks.
    """
    drawn = [(run, read_mot(run.tracks, "tracks")) for run in runs if run.tracks]
    last = max((int(rows.frames[-1]) for _, rows in drawn if len(rows)), default=0)
    if not drawn:
        return []
    pictures = _pick_frames(source, last)
    return [
        (run, [_still(picture, rows, number) for number, picture in pictures])
        for run, rows in drawn
    ]


def evenly_spaced(length: int, count: int = FRAMES) -> list[int]:
    """Return frame numbers from 1, in the middle of equal parts.

    Examples:
        >>> evenly_spaced(100), evenly_spaced(2)
        ([17, 51, 84], [1, 2])
    """
    count = min(count, length)
    return [int((part + 0.5) * length / count) + 1 for part in range(count)]


def _pick_frames(source: Path, last: int) -> list[tuple[int, npt.NDArray[np.uint8]]]:
    with open_source(source) as opened:
        length = max(last, opened.length or 0) or 1
        wanted = evenly_spaced(length)
        found = []
        with progress(transient=True) as bar:
            task = bar.add_task("frames", total=wanted[-1])
            for number, frame in enumerate(opened, 1):
                bar.advance(task)
                if number in wanted:
                    found.append((number, frame))
                if number >= wanted[-1]:
                    break
    if len(found) < len(wanted) and (not found or last > found[-1][0]):
        raise UserError(
            f"{source} ends before frame {wanted[-1]}, but the tracks reach frame {last}: give "
            "the source of these tracks"
        )
    return found


def _still(frame: npt.NDArray[np.uint8], rows: MotRows, number: int) -> Still:
    here = rows[rows.frames == number]
    height, width = frame.shape[:2]
    scale = min(1.0, WIDTH / width)
    size_wh = (round(width * scale), round(height * scale))
    # Drawn after shrinking, so that lines and numbers keep their size.
    small = cv2.resize(frame, size_wh, interpolation=cv2.INTER_AREA).astype(np.uint8)
    left_top, size = here.boxes_ltwh[:, :2], here.boxes_ltwh[:, 2:]
    boxes_xyxy = np.concatenate([left_top, left_top + size], axis=1) * scale
    tracks = Tracks(
        here.ids,
        boxes_xyxy.astype(np.float32),
        here.marks.astype(np.float32),
        np.zeros(len(here), np.int64),
    )
    small = draw_tracks(small, tracks)
    _, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    uri = "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")
    return Still(number, len(here), uri, size_wh)
