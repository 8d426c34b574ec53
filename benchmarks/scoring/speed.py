"""``kd-bench metrics``: how fast and how exactly accuracy is scored, against TrackEval."""

from __future__ import annotations

import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.association.crowd import FPS, make_crowd
from benchmarks.metrics import evaluate
from benchmarks.scoring.accuracy import load_sequence, score_file
from benchmarks.scoring.trackeval_peer import largest_difference, trackeval_scorers
from benchmarks.timing.environment import environment
from benchmarks.timing.statistics import paired_ratio
from runtime.console import markdown_table, print_table, progress
from runtime.mot import SequenceInfo, write_sequence_info
from runtime.tracking.tracker import Tracker

SEQUENCE = "CROWD-01"


def measure(people: int = 100, frames: int = 1000, rounds: int = 5) -> dict[str, Any]:
    """Score a tracked crowd with both in turns, from its files and from what was read of them.

    Args:
        people: Number of people in the crowd.
        frames: Number of frames.
        rounds: How often each scores.

    Returns:
        ``rows`` with ``from`` and ``ours_seconds``, a median; where TrackEval is installed they
        have ``trackeval_seconds``, the paired ``ratio`` with ``low`` and ``high``, and
        ``largest_difference`` of any figure. ``settings`` and ``environment`` besides.
    """
    surroundings = environment()
    with tempfile.TemporaryDirectory() as scratch, progress(transient=True) as bar:
        folder = Path(scratch)
        truth, results = write_crowd(folder, people, frames)
        data = load_sequence(truth, results)
        ours = (lambda: score_file(truth, results), lambda: evaluate(data).to_dict())
        theirs = trackeval_scorers(folder, SEQUENCE)
        task = bar.add_task("rounds", total=2 * rounds)
        rows = []
        for number, what in enumerate(("files", "boxes compared")):
            pair = [ours[number], *theirs[number : number + 1]]
            figures = [scorer() for scorer in pair]
            seconds = np.zeros((rounds, len(pair)))
            for index in range(rounds):
                for column in np.roll(range(len(pair)), index):
                    start = time.perf_counter()
                    pair[column]()
                    seconds[index, column] = time.perf_counter() - start
                bar.advance(task)
            row = {"from": what, "ours_seconds": float(np.median(seconds[:, 0]))}
            if theirs:
                row["trackeval_seconds"] = float(np.median(seconds[:, 1]))
                row |= asdict(paired_ratio(seconds[:, 0], seconds[:, 1]))
                row["largest_difference"] = largest_difference(*figures)
            rows.append(row)
    settings = {"people": people, "frames": frames, "rounds": rounds}
    return {"rows": rows, "settings": settings, "environment": surroundings}


def write_crowd(folder: Path, people: int, frames: int) -> tuple[Path, Path]:
    """Write a generated crowd as ground truth, and what this project's tracker makes of it."""
    crowd = make_crowd(people, frames)
    tracker = Tracker(fps=FPS)
    found = [tracker.update(detections) for detections in crowd.detections]
    truth = folder / "gt" / SEQUENCE / "gt" / "gt.txt"
    results = folder / "trackers" / "ours" / "data" / f"{SEQUENCE}.txt"
    for file, every in ((truth, crowd.truth), (results, found)):
        file.parent.mkdir(parents=True)
        rows = [row for at, one in enumerate(every, 1) for row in one.to_mot_rows(at)]
        file.write_text("".join(f"{row}\n" for row in rows), encoding="ascii")
    write_sequence_info(truth.parents[1], SequenceInfo(SEQUENCE, FPS, frames, (1920, 1080)))
    return truth, results


def speed_markdown(result: dict[str, Any]) -> str:
    """Render what ``measure`` returned as a Markdown table."""
    rows = [
        (
            row["from"],
            f"{row['ours_seconds']:.2f} s",
            f"{row['trackeval_seconds']:.2f} s",
            f"{row['ratio']:.2f} ({row['low']:.2f} to {row['high']:.2f})",
            f"{row['largest_difference']:.0e}",
        )
        for row in result["rows"]
    ]
    columns = ("from", "kd-mot", "TrackEval", "share of its time", "largest difference")
    return markdown_table(columns, rows)


def print_speed(result: dict[str, Any]) -> None:
    """Print what ``measure`` returned on standard output."""
    settings = result["settings"]
    title = f"Scoring {settings['frames']} frames with {settings['people']} people"
    names = ("from", "ours_seconds", "trackeval_seconds", "ratio", "low", "high")
    rows = [
        # Three decimals would make every difference a zero.
        [*(row.get(name) for name in names), f"{row.get('largest_difference', np.nan):.1e}"]
        for row in result["rows"]
    ]
    print_table(title, [*(name.replace("_", " ") for name in names), "largest difference"], rows)
