"""Which track covered which object, when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from matplotlib.collections import PolyCollection

from benchmarks.metrics import SequenceData, clear_matches
from benchmarks.report import svg
from benchmarks.report.footage import Tracked
from benchmarks.report.runs import Run
from benchmarks.report.strip import BUDGET

WIDTH = 1000.0
ROW_HEIGHT = 19.0
MAX_OBJECTS = 40


@dataclass(frozen=True)
class Timeline:
    """A picture of one run's identities in one sequence.

    Attributes:
        run: The run.
        sequence: Name of the sequence.
        image: One row per object, coloured by the track that covers it.
        switches: Number of identity switches, those of rows that are not shown included.
        shown: Number of objects in the picture.
        objects: Number of objects of the sequence.
    """

    run: Run
    sequence: str
    image: Markup
    switches: int
    shown: int
    objects: int


def coverage(data: SequenceData) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return the track that covers each object in each frame, and where it changed.

    Args:
        data: The sequence, matched as for MOTA.

    Returns:
        ``[objects, frames]`` int64: track number from 0, -1 for a missed object, -2 where it is
        not there; and ``[objects, frames]`` bool, True at identity switches.
    """
    tracks = np.full((data.gt_id_count, len(data)), -2, np.int64)
    switches = np.zeros(tracks.shape, bool)
    for frame, ids in enumerate(data.gt_ids):
        tracks[ids, frame] = -1
    for matches in clear_matches(data):
        tracks[matches.gt_ids, matches.frame] = matches.tracker_ids
        switches[matches.gt_ids, matches.frame] = matches.switched
    return tracks, switches


def segments(row: npt.NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """Return the stretches of equal value as ``(start, end, value)``, end exclusive.

    Examples:
        >>> segments(np.array([-2, 4, 4, -1]))
        [(0, 1, -2), (1, 3, 4), (3, 4, -1)]
    """
    if len(row) == 0:
        return []
    starts = np.concatenate([[0], np.flatnonzero(np.diff(row)) + 1])
    ends = np.append(starts[1:], len(row))
    return list(zip(starts.tolist(), ends.tolist(), row[starts].tolist(), strict=True))


def draw_timelines(entries: Sequence[Tracked]) -> list[Timeline]:
    """Draw what each run made of each sequence that has ground truth.

    Args:
        entries: The runs' tracks. With very many, the last ones get no picture.
    """
    return [
        timeline
        for number, entry in enumerate(entries[:BUDGET])
        if (timeline := draw_timeline(entry, f"timeline{number}"))
    ]


def draw_timeline(entry: Tracked, prefix: str) -> Timeline | None:
    """Draw one run's identities.

    Args:
        entry: The run's tracks.
        prefix: Unique on the page.

    Returns:
        The picture, or None without ground truth.
    """
    data = entry.data
    if data is None or data.gt_id_count == 0:
        return None
    tracks, switches = coverage(data)
    # The longest stories if there are too many, and in order of first appearance.
    longest = np.argsort(-(tracks > -2).sum(axis=1), kind="stable")[:MAX_OBJECTS]
    rows = longest[np.argsort((tracks[longest] > -2).argmax(axis=1), kind="stable")]
    with svg.axes(WIDTH, 62 + ROW_HEIGHT * len(rows)) as (figure, axes):
        # Frames count from 1, and each is centred on its number.
        first = 0.5
        bars: list[list[tuple[float, float]]] = []
        colours: list[str] = []
        for y, row in enumerate(rows):
            for start, end, track in segments(tracks[row]):
                if track == -2:
                    continue
                half = 0.07 if track == -1 else 0.36
                left, right = first + start, first + end
                bars.append(
                    [(left, y - half), (right, y - half), (right, y + half), (left, y + half)]
                )
                colours.append(svg.MUTED if track == -1 else svg.identity(track))
                if track >= 0 and end - start > 0.035 * len(data):
                    axes.text(
                        left + 0.004 * len(data),
                        y,
                        str(data.tracker_names[track]),
                        va="center_baseline",
                        fontsize=10,
                        color=svg.ON_IDENTITY,
                    )
            marks = np.flatnonzero(switches[row])
            axes.vlines(first + marks, y - 0.5, y + 0.5, color=svg.INK, linewidth=2)
        axes.add_collection(PolyCollection(bars, facecolors=colours, edgecolors="none"))
        axes.set_xlim(first, first + max(1, len(data)))
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_yticks(range(len(rows)), [str(data.gt_names[row]) for row in rows])
        axes.grid(visible=False, axis="y")
        axes.set_title("object", loc="left", fontsize=svg.FONT_SIZE, color=svg.MUTED)
        axes.set_xlabel("frame")
        total = int(switches.sum())
        label = (
            f"Identity timeline of {entry.run.name}, {entry.footage.name}: {data.gt_id_count} "
            f"objects, {data.tracker_id_count} tracks, {total} identity switches."
        )
        image = svg.to_svg(figure, prefix, label, least_width=900)
    return Timeline(entry.run, entry.footage.name, image, total, len(rows), data.gt_id_count)
