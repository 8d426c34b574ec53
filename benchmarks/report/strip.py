"""Frames of the source with the tracks drawn in, and what is wrong with them."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.report.footage import Footage, Tracked
from benchmarks.report.formats import counted
from benchmarks.report.moments import Moment, find_moments, worst_moments
from benchmarks.report.runs import Run
from runtime.console import progress
from runtime.errors import UserError
from runtime.mot import MotRows, read_mot
from runtime.opencv import cv2
from runtime.sinks.drawing import draw_tracks
from runtime.sources import open_source
from runtime.types import Tracks

Frame = npt.NDArray[np.uint8]

FRAMES = 3
# So many pictures keep a page small enough to send; with more there are fewer of each run.
BUDGET = 40
WIDE, NARROW = 520, 400
QUALITY = 68
# BGR, bright on any footage; each error has a shape of its own besides.
SWITCHED, MISSED, FALSE = (255, 80, 255), (0, 200, 255), (60, 60, 255)
FONT, FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.42
DASH = 5
FARTHEST = 5000.0


@dataclass(frozen=True)
class Still:
    """One frame of one run as a JPEG data URI, with what is to be seen in it."""

    frame: int
    caption: str
    uri: str
    size_wh: tuple[int, int]


@dataclass(frozen=True)
class Strip:
    """The stills of one run and sequence; ``judged`` says whether errors are marked."""

    run: Run
    sequence: str
    stills: tuple[Still, ...]
    judged: bool


def strips(entries: Sequence[Tracked]) -> list[Strip]:
    """Draw for every run and sequence the frames where most is wrong.

    Without ground truth, and where nothing is wrong, frames are evenly spaced.

    Args:
        entries: The runs' tracks. With very many, the last ones get no pictures.

    Returns:
        One strip per entry that has pictures.

    Raises:
        UserError: A source cannot be read or is shorter than the tracks.
    """
    kept = entries[:BUDGET]
    if not kept:
        return []
    count = max(1, min(FRAMES, BUDGET // len(kept)))
    width = WIDE if count == FRAMES else NARROW
    found: list[Strip] = []
    for footage in dict.fromkeys(entry.footage for entry in kept):
        here = [entry for entry in kept if entry.footage is footage]
        chosen = [_choose(entry, count) for entry in here]
        last = max((int(entry.rows.frames[-1]) for entry in here if len(entry.rows)), default=0)
        wanted = {moment.frame for moments in chosen for moment in moments or ()}
        spaced = _spaced(footage, last, count) if None in chosen else []
        pictures = _read(footage, wanted | set(spaced), last)
        truth = read_mot(footage.gt_file, "ground truth") if footage.gt_file else None
        for entry, moments in zip(here, chosen, strict=True):
            shown = [Moment(number) for number in spaced] if moments is None else moments
            stills = [
                _still(pictures[moment.frame], entry, moment, truth, width)
                for moment in shown
                if moment.frame in pictures
            ]
            found.append(Strip(entry.run, footage.name, tuple(stills), entry.data is not None))
    return found


def evenly_spaced(length: int, count: int = FRAMES) -> list[int]:
    """Return frame numbers from 1, in the middle of equal parts.

    Examples:
        >>> evenly_spaced(100), evenly_spaced(2)
        ([17, 51, 84], [1, 2])
    """
    count = min(count, length)
    return [int((part + 0.5) * length / count) + 1 for part in range(count)]


def _choose(entry: Tracked, count: int) -> list[Moment] | None:
    return worst_moments(find_moments(entry.data), count) or None if entry.data else None


def _spaced(footage: Footage, last: int, count: int) -> list[int]:
    with open_source(footage.path) as opened:
        return evenly_spaced(max(last, opened.length or 0) or 1, count)


def _read(footage: Footage, wanted: set[int], last: int) -> dict[int, Frame]:
    """Return the wanted frames by number."""
    end = max(wanted)
    found: dict[int, Frame] = {}
    with open_source(footage.path) as opened, progress(transient=True) as bar:
        task = bar.add_task("frames", total=end)
        for number, frame in enumerate(opened, 1):
            bar.advance(task)
            if number in wanted:
                found[number] = frame
            if number >= end:
                break
    if len(found) < len(wanted) and (not found or last > max(found)):
        raise UserError(
            f"{footage.path} ends before frame {end}, but the tracks reach frame {last}: give "
            "the source of these tracks"
        )
    return found


def _still(
    frame: Frame, entry: Tracked, moment: Moment, truth: MotRows | None, width: int
) -> Still:
    here = entry.rows[entry.rows.frames == moment.frame]
    scale = min(1.0, width / frame.shape[1])
    size_wh = (round(frame.shape[1] * scale), round(frame.shape[0] * scale))
    # Drawn after shrinking, so that lines and numbers keep their size.
    small = cv2.resize(frame, size_wh, interpolation=cv2.INTER_AREA).astype(np.uint8)
    wrong = {new for _, new in moment.switches} | set(moment.false)
    small = draw_tracks(small, _tracks(here[~np.isin(here.ids, list(wrong))], scale))
    if truth is not None:
        objects = truth[truth.frames == moment.frame]
        for left, top, right, bottom in _corners(objects, moment.missed, scale):
            _dashed(small, (left, top, right, bottom), MISSED)
    for left, top, right, bottom in _corners(here, moment.false, scale):
        cv2.rectangle(small, (left, top), (right, bottom), FALSE, 1, cv2.LINE_AA)
        cv2.line(small, (left, top), (right, bottom), FALSE, 1, cv2.LINE_AA)
        cv2.line(small, (left, bottom), (right, top), FALSE, 1, cv2.LINE_AA)
    for before, now in moment.switches:
        for left, top, right, bottom in _corners(here, (now,), scale):
            cv2.rectangle(small, (left - 1, top - 1), (right + 1, bottom + 1), SWITCHED, 3)
            _label(small, f"{before} > {now}", (left - 2, top - 2), SWITCHED)
    words = moment.words if entry.data is not None else counted(len(here), "track")
    _, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    uri = "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")
    return Still(moment.frame, words, uri, size_wh)


def _tracks(rows: MotRows, scale: float) -> Tracks:
    left_top, size = rows.boxes_ltwh[:, :2], rows.boxes_ltwh[:, 2:]
    boxes_xyxy = np.concatenate([left_top, left_top + size], axis=1) * scale
    # A file may hold boxes far beyond what can be drawn.
    boxes_xyxy = boxes_xyxy.clip(-FARTHEST, FARTHEST)
    return Tracks(
        rows.ids,
        boxes_xyxy.astype(np.float32),
        rows.marks.astype(np.float32),
        np.zeros(len(rows), np.int64),
    )


def _corners(rows: MotRows, ids: Sequence[int], scale: float) -> Iterable[tuple[int, ...]]:
    """Yield left, top, right, bottom of the rows of these identities, in pixels."""
    boxes_xyxy = _tracks(rows[np.isin(rows.ids, list(ids))], scale).boxes_xyxy
    for box in boxes_xyxy.round().astype(int).tolist():
        yield tuple(box)


def _dashed(picture: Frame, box: tuple[int, ...], colour: tuple[int, int, int]) -> None:
    left, top, right, bottom = box
    for x in range(left, right, 2 * DASH):
        for y in (top, bottom):
            cv2.line(picture, (x, y), (min(x + DASH, right), y), colour, 2)
    for y in range(top, bottom, 2 * DASH):
        for x in (left, right):
            cv2.line(picture, (x, y), (x, min(y + DASH, bottom)), colour, 2)


def _label(
    picture: Frame, text: str, corner: tuple[int, int], colour: tuple[int, int, int]
) -> None:
    """Write dark on the colour, above the corner and inside the picture."""
    (width, height), _ = cv2.getTextSize(text, FONT, FONT_SCALE, 1)
    x = max(0, min(corner[0], picture.shape[1] - width - 4))
    y = max(height + 4, min(corner[1], picture.shape[0] - 1))
    cv2.rectangle(picture, (x, y - height - 4), (x + width + 4, y), colour, cv2.FILLED)
    cv2.putText(picture, text, (x + 2, y - 3), FONT, FONT_SCALE, (20, 20, 20), 1, cv2.LINE_AA)
