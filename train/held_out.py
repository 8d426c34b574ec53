"""What a run finds out about its averaged weights on held-out pictures and sequences."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path

from runtime.errors import UserError
from train.config import TrainConfig
from train.data.pictures import PictureSource
from train.data.sources import open_pictures
from train.logs import append_row
from train.models import TrackingModel
from train.state import TRACKING_FILE, VALIDATION_FILE, Clock
from train.teachers.config import OnnxTeacherConfig
from train.teachers.lessons import TaughtSource, prepare_lessons
from train.tracking import read_sequences, validate_tracking
from train.validation import tracker_settings, validate_detection


@dataclass(frozen=True)
class Verdict:
    """What was found out.

    Attributes:
        tracker: Thresholds that suit the weights; empty where they were not measured.
        figure: The figure by which the best weights are told; None where it was not measured.
    """

    tracker: dict[str, float] = field(default_factory=dict)
    figure: float | None = None


class HeldOut:
    """The held-out pictures and sequences of a run.

    Args:
        config: The run.

    Raises:
        UserError: A source or a sequence cannot be used.
    """

    def __init__(self, config: TrainConfig) -> None:
        self._config = config
        self._pictures = _open(config)
        tracking = config.tracking
        self._sequences = read_sequences(tracking.sequences, tracking.frames) if tracking else []

    def due(self, epoch: int, last: bool) -> bool:
        """Tell whether there is anything to try after so many epochs."""
        return bool(self._pictures) or self._tracking_due(epoch, last)

    def judge(self, model: TrackingModel, out: Path, clock: Clock, last: bool) -> Verdict:
        """Try a model and log what comes of it.

        Args:
            model: The model, in eval mode.
            out: Folder of the logs.
            clock: Where the run stands.
            last: Whether this is the end of the run.
        """
        config, now = self._config, {"epoch": clock.epoch, "step": clock.step}
        thresholds: dict[str, float] = {}
        if self._pictures:
            scores = validate_detection(
                model, self._pictures, config.input_wh, config.validation_pictures
            )
            append_row(out / VALIDATION_FILE, now | asdict(scores))
            thresholds = tracker_settings(scores.threshold)
        if config.tracking is None or not self._tracking_due(clock.epoch, last):
            return Verdict(thresholds)
        tracked = validate_tracking(model, self._sequences, config.input_wh, thresholds)
        figure = tracked.figure(config.tracking.metric)
        row = now | tracked.to_row() | {config.tracking.metric: figure}
        append_row(out / TRACKING_FILE, row)
        return Verdict(thresholds, figure)

    def _tracking_due(self, epoch: int, last: bool) -> bool:
        tracking = self._config.tracking
        return tracking is not None and (last or epoch % tracking.every == 0)


def _open(config: TrainConfig) -> list[PictureSource]:
    """Open the held-out pictures; those without labels have what a label-free teacher sees.

    Raises:
        UserError: A source cannot be used, or there is no such teacher.
    """
    sources = [open_pictures(entry) for entry in config.validation]
    unlabelled = [source for source in sources if not source.labelled]
    if not unlabelled:
        return sources
    teachers = config.distill.teachers if config.distill is not None else []
    for teacher in teachers:
        if isinstance(teacher, OnnxTeacherConfig) and teacher.detector is not None:
            break
    else:
        raise UserError(
            f"validation: {unlabelled[0].name} has no labels, and no onnx teacher with a detector "
            "stands in for them: leave it out, or name such a teacher under distill:"
        )
    # Embeddings are not asked for, but this way the cache holds one record for a picture.
    lessons = prepare_lessons(teacher, unlabelled, config.model.num_classes, config.threads)
    return [
        TaughtSource(source, lessons, unlabelled.index(source), teacher.label_threshold)
        if source in unlabelled
        else source
        for source in sources
    ]


def is_better(figure: float, best: float | None) -> bool:
    """Tell whether a figure beats the best one; one that is no number never does.

    Examples:
        >>> is_better(0.2, None), is_better(0.2, 0.3), is_better(0.2, float("nan"))
        (True, False, True)
    """
    return best is None or math.isnan(best) or figure > best
