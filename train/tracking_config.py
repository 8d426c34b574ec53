"""The part of a run's configuration that concerns tracking held-out sequences."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from train.settings import Positive, Settings

TrackingMetric = Literal["MOTA", "IDF1", "HOTA", "F1"]


class TrackingValidationConfig(Settings):
    """Which sequences the averaged weights track while training, and how the best are told.

    Attributes:
        sequences: MOTChallenge folders with frames and ``gt/gt.txt``, which are not trained on.
        every: Epochs from one time to the next; the last epoch is always tried.
        metric: The figure, over all sequences together, whose best checkpoint is kept; F1 is that
            of the tracked boxes.
        frames: First and last frame of every sequence, counted from 1; None for all.
    """

    sequences: Annotated[list[Path], Field(min_length=1)]
    every: Positive = 1
    metric: TrackingMetric = "MOTA"
    frames: tuple[Positive, Positive] | None = None

    @model_validator(mode="after")
    def _in_order(self) -> TrackingValidationConfig:
        if self.frames is not None and self.frames[0] > self.frames[1]:
            raise ValueError(f"frames {list(self.frames)}: the first is behind the last")
        return self
