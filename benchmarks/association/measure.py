"""``kd-bench runtime``: time per frame of the association alone, against other trackers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.association.crowd import FPS, Crowd, make_crowd, score
from benchmarks.association.entries import Entry, entries
from benchmarks.association.peers import LOST_FRAMES, Contender
from benchmarks.timing.environment import environment
from benchmarks.timing.statistics import paired_ratio, summarise
from runtime.console import markdown_table, print_table, progress
from runtime.errors import UserError
from runtime.types import Tracks

OBJECTS = (10, 50, 100, 300)
FRAMES = 300
ROUND_FRAMES = 10
EMBEDDING_DIM = 128
# One frame more than a track is remembered: from then on every tracker has all it ever keeps.
WARM_UP_FRAMES = LOST_FRAMES + 10
COLUMNS = ("tracker", "objects", "median ms", "p95 ms", "times ours", "IDF1", "MOTA")


@dataclass
class _Run:
    """One tracker in the middle of a sequence; seconds per frame, in rounds."""

    entry: Entry
    contender: Contender
    rounds: list[npt.NDArray[np.float64]] = field(default_factory=list)
    tracks: list[Tracks] = field(default_factory=list)

    def run_round(self, crowd: Crowd, start: int, end: int) -> None:
        """Take in some frames; those of the warm-up are tracked, but not timed."""
        seconds = []
        for detections in crowd.detections[start:end]:
            prepared = self.contender.prepare(detections)
            found, taken = self.contender.timed_update(prepared)
            self.tracks.append(self.contender.read(found))
            seconds.append(taken)
        if start >= WARM_UP_FRAMES:
            self.rounds.append(np.array(seconds))

    def round_medians(self) -> npt.NDArray[np.float64]:
        """Return the median of each round, ``[rounds]`` seconds."""
        return np.array([np.median(seconds) for seconds in self.rounds])


def measure_association(
    objects: Sequence[int] = OBJECTS,
    frames: int = FRAMES,
    original: Path | None = None,
    trackers: Sequence[Entry] | None = None,
) -> dict[str, Any]:
    """Time trackers on the same detections.

    All trackers go through one sequence side by side, in rounds of a few frames that begin with
    another tracker each time: a disturbance of the machine hits all alike, and the comparison pairs
    rounds. A tracker with embeddings is compared with this project's default preset, one without
    with this project's tracker without embeddings.

    Args:
        objects: Numbers of people in the crowds.
        frames: Length of each sequence, its first ``WARM_UP_FRAMES`` not timed.
        original: A clone of FairMOT, to measure its tracker as well.
        trackers: What to measure instead of ``entries.entries``.

    Returns:
        ``rows`` of tracker, objects, ms per frame, ratio to ours, IDF1 and MOTA; ``missing``, the
        trackers that are not installed, with what to do; ``settings`` and ``environment``.

    Raises:
        UserError: There are too few frames, or ``original`` is not a clone of FairMOT.
    """
    if frames < WARM_UP_FRAMES + ROUND_FRAMES:
        raise UserError(
            f"{frames} frames are too few: give {WARM_UP_FRAMES + ROUND_FRAMES} or more, "
            f"{WARM_UP_FRAMES} of them are the warm-up"
        )
    chosen = entries(original) if trackers is None else list(trackers)
    present = [entry for entry in chosen if entry.missing is None]
    surroundings = environment()
    rows: list[dict[str, Any]] = []
    with progress("status", transient=True) as bar:
        task = bar.add_task("crowds", total=len(objects), status="")
        for count in objects:
            bar.update(task, status=f"{count} objects")
            crowd = make_crowd(count, frames, EMBEDDING_DIM)
            rows += _measure_crowd(present, crowd, count)
            bar.advance(task)
    return {
        "rows": rows,
        "missing": {entry.name: entry.missing for entry in chosen if entry.missing is not None},
        "settings": {
            "objects": list(objects),
            "frames": frames,
            "warm_up_frames": WARM_UP_FRAMES,
            "frames_per_round": ROUND_FRAMES,
            "embedding_dim": EMBEDDING_DIM,
            "fps": FPS,
            "lost_frames": LOST_FRAMES,
            "versions": {
                entry.package: entry.version for entry in present if entry.package is not None
            },
        },
        "environment": surroundings,
    }


def _measure_crowd(present: Sequence[Entry], crowd: Crowd, count: int) -> list[dict[str, Any]]:
    runs = [_Run(entry, entry.make()) for entry in present]
    frames = len(crowd.detections)
    for number, start in enumerate(range(0, frames, ROUND_FRAMES)):
        shift = number % len(runs)
        for run in runs[shift:] + runs[:shift]:
            run.run_round(crowd, start, min(start + ROUND_FRAMES, frames))
    return [_describe(run, runs, crowd, count) for run in runs]


def _describe(run: _Run, runs: Sequence[_Run], crowd: Crowd, count: int) -> dict[str, Any]:
    scores = score(run.tracks, crowd.truth).to_dict()
    row: dict[str, Any] = {
        "tracker": run.entry.name,
        "objects": count,
        "embeddings": run.entry.embeddings,
        "detections_per_frame": float(np.mean([len(frame) for frame in crowd.detections])),
        **summarise(1e3 * np.concatenate(run.rounds)).to_dict(),
        **{name: scores[name] for name in ("IDF1", "MOTA", "IDSW")},
    }
    alike = [r for r in runs if r.entry.ours and r.entry.embeddings == run.entry.embeddings]
    if not run.entry.ours and alike:
        # Of ours the last one listed: the default preset.
        ratio = paired_ratio(run.round_medians(), alike[-1].round_medians())
        row["times_ours"] = {"compared_with": alike[-1].entry.name, **vars(ratio)}
    return row


def association_cells(row: dict[str, Any]) -> tuple[str, ...]:
    """Format one tracker in one crowd."""
    ratio = row.get("times_ours")
    return (
        row["tracker"],
        str(row["objects"]),
        f"{row['median_ms']:.2f}",
        f"{row['p95_ms']:.2f}",
        f"{ratio['ratio']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})" if ratio else "-",
        f"{row['IDF1']:.3f}",
        f"{row['MOTA']:.3f}",
    )


def association_markdown(record: dict[str, Any]) -> str:
    """Render a Markdown table of what ``measure_association`` returned."""
    return markdown_table(COLUMNS, [association_cells(row) for row in record["rows"]])


def association_summary(record: dict[str, Any]) -> str:
    """Render one line per tracker: median ms per frame by number of objects, and IDF1.

    Args:
        record: What ``measure_association`` returned.
    """
    objects = record["settings"]["objects"]
    by_tracker: dict[str, dict[int, dict[str, Any]]] = {}
    for row in record["rows"]:
        by_tracker.setdefault(row["tracker"], {})[row["objects"]] = row
    middle = objects[len(objects) // 2]
    columns = ("tracker", "embeddings", *(f"{count} objects" for count in objects), "IDF1")
    cells = [
        (
            name,
            "yes" if rows[middle]["embeddings"] else "no",
            *(f"{rows[count]['median_ms']:.2f} ms" for count in objects),
            f"{rows[middle]['IDF1']:.3f}",
        )
        for name, rows in by_tracker.items()
    ]
    return markdown_table(columns, cells)


def print_association(record: dict[str, Any]) -> None:
    """Print what ``measure_association`` returned on standard output."""
    for count in record["settings"]["objects"]:
        rows = [association_cells(row) for row in record["rows"] if row["objects"] == count]
        print_table(f"Association of {count} people, ms per frame", COLUMNS, rows)
    if record["missing"]:
        print_table("Not measured", ("tracker", "why"), list(record["missing"].items()))
