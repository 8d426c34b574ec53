"""Is the adapted student better? Held-out frames tell, with the teacher's tracks for truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.metrics import combine, evaluate, sequence_from_rows
from runtime.console import print_table, progress
from runtime.mot import MotRows
from runtime.sources import open_source
from runtime.tracking.config import TrackerConfig
from runtime.tracking.tracker import Tracker
from runtime.types import Detections, Tracks
from train.adapt.plan import Part, count
from train.models import TrackingModel
from train.teachers.fixtures import is_object
from train.tracking import FoundRows, HeldOutSequence, headline, track_sequence

Frame = npt.NDArray[np.uint8]
Detect = Callable[[Frame], Detections]

# Gains below it are no gains: that much another seed may give.
LEAST_GAIN = 0.005
MOST_LOSS = 0.02
DECIDING = ("F1", "IDF1", "HOTA")
FIGURES = ("F1", "recall", "precision", "IDF1", "HOTA", "switches", "fragments", "track_seconds")


@dataclass(frozen=True)
class Judgement:
    """How a student does on the held-out frames, held against the teacher's tracks.

    Attributes:
        F1: Of the boxes, at IoU 0.5: 2 TP / (2 TP + FP + FN).
        recall: Share of the teacher's boxes that were found.
        precision: Share of the student's boxes that are the teacher's.
        IDF1: Of the identities.
        HOTA: Over all thresholds.
        switches: Identity switches.
        fragments: Interruptions of a track.
        track_seconds: Mean length of the student's own tracks, whatever the teacher says.
    """

    F1: float
    recall: float
    precision: float
    IDF1: float
    HOTA: float
    switches: int
    fragments: int
    track_seconds: float


@dataclass(frozen=True)
class Decision:
    """Which student is kept.

    Attributes:
        kept: ``new`` or ``old``.
        gain: Mean of the gains in F1, IDF1 and HOTA.
        reason: One sentence.
    """

    kept: str
    gain: float
    reason: str

    def __bool__(self) -> bool:
        return self.kept == "new"


def decide(before: Judgement, after: Judgement) -> Decision:
    """Keep the new student if F1, IDF1 and HOTA gain together, and none loses much.

    On a few hundred frames one swap of two identities moves IDF1 by more than a better student
    does; HOTA (Luiten et al., arXiv 2009.07736), a mean over all frames and thresholds, by less.
    So it is the three together that must gain.

    Args:
        before: The old student.
        after: The new one, on the same frames.

    Examples:
        >>> old = Judgement(0.7, 0.7, 0.7, 0.5, 0.4, 9, 9, 3.0)
        >>> new = Judgement(0.8, 0.8, 0.8, 0.6, 0.5, 5, 5, 4.0)
        >>> decide(old, new).kept, decide(new, old).kept, decide(old, old).kept
        ('new', 'old', 'old')
    """
    gains = {name: getattr(after, name) - getattr(before, name) for name in DECIDING}
    gain = sum(gains.values()) / len(gains)
    changes = ", ".join(f"{name} {more:+.3f}" for name, more in gains.items())
    changes += " on held-out frames"
    if min(gains.values()) < -MOST_LOSS:
        return Decision("old", gain, f"the new model loses too much: {changes}")
    if gain < LEAST_GAIN:
        return Decision("old", gain, f"the new model is not better: {changes}")
    return Decision("new", gain, f"the new model is better: {changes}")


def teacher_truth(
    detect: Detect,
    parts: Sequence[Part],
    config: TrackerConfig,
    sure_score: float = 0.0,
) -> list[MotRows]:
    """Track the held-out frames with the teacher.

    Args:
        detect: The teacher, from a frame to detections.
        parts: The videos' frames.
        config: Tracker settings that suit the teacher.
        sure_score: Below this score nothing that it sees at a video's fixtures counts.

    Returns:
        Of each range of each video its tracks; frame 1 is the range's first one.
    """
    total = sum(count(part.gate) for part in parts)
    with progress(transient=True) as bar:
        task = bar.add_task("teacher on held-out frames", total=total)
        found = []
        for part in parts:
            with open_source(part.video) as source:
                frames = enumerate(source, 1)
                for first, last in part.gate:
                    rows: list[tuple[float, ...]] = []
                    tracker = Tracker(fps=source.fps, config=config)
                    for number, frame in frames:
                        if number >= first:
                            seen = detect(frame)
                            kept = is_object(
                                seen.boxes_xyxy, seen.scores, part.fixtures, sure_score
                            )
                            rows += _rows(number - first + 1, tracker.update(seen[kept]))
                            bar.advance(task)
                        if number == last:
                            break
                    found.append(_as_truth(rows))
        return found


def _rows(frame: int, tracks: Tracks) -> list[tuple[float, ...]]:
    return [
        (frame, identity, left, top, right - left, bottom - top)
        for identity, (left, top, right, bottom) in zip(
            tracks.ids.tolist(), tracks.boxes_xyxy.tolist(), strict=True
        )
    ]


def _as_truth(rows: Sequence[tuple[float, ...]]) -> MotRows:
    table = np.array(rows, np.float64).reshape(-1, 6)
    count = len(table)
    return MotRows(
        frames=table[:, 0].astype(np.int64),
        ids=table[:, 1].astype(np.int64),
        boxes_ltwh=table[:, 2:].round(2),
        marks=np.ones(count),
        classes=np.ones(count, np.int64),
        visibility=np.ones(count),
    )


def judge(model: TrackingModel, parts: Sequence[Part], truth: Sequence[MotRows]) -> Judgement:
    """Track the held-out frames with a student and hold the tracks against the teacher's.

    Args:
        model: The student, with its input size and tracker settings.
        parts: The videos' frames.
        truth: As ``teacher_truth`` gives it.

    Raises:
        UserError: A video cannot be read.
    """
    assert model.input_wh is not None, "a student of kd-train has an input size"
    scores, lengths = [], list[float]()
    ranges = [(part.video, first, last) for part in parts for first, last in part.gate]
    for (video, first, last), rows in zip(ranges, truth, strict=True):
        held_out = HeldOutSequence(video, video.name, rows, first - 1, last - first + 1)
        found = track_sequence(model, held_out, model.input_wh, model.tracker)
        scores.append(evaluate(sequence_from_rows(rows, found, held_out.length)))
        with open_source(video) as source:
            lengths += _track_seconds(found, source.fps)
    figures = headline(combine(scores))
    return Judgement(
        **{name: figures[name] for name in ("F1", "recall", "precision", "IDF1", "HOTA")},
        switches=figures["IDSW"],
        fragments=figures["Frag"],
        track_seconds=float(np.mean(lengths)) if lengths else 0.0,
    )


def _track_seconds(found: FoundRows, fps: float) -> list[float]:
    _, counts = np.unique(found.ids, return_counts=True)
    return [float(count) / fps for count in counts]


def print_judgements(before: Judgement, after: Judgement) -> None:
    """Print both judgements as a table."""
    told = {"before": asdict(before), "after": asdict(after)}
    rows = [(when, *(values[figure] for figure in FIGURES)) for when, values in told.items()]
    print_table("Held-out frames, against the teacher's tracks", ("model", *FIGURES), rows)
