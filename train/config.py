"""The configuration of a training run: plain typed data, read from YAML."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from runtime.errors import UserError
from runtime.files import existing_file
from train.data.config import AugmentConfig, AugmentStyle, DataConfig
from train.settings import (
    NonNegative,
    Positive,
    Settings,
    Share,
    in_words,
    one_line,
    read_yaml,
)
from train.teachers.config import DistillConfig
from train.tracking_config import TrackingValidationConfig

PRESETS = Path(__file__).parent / "presets"


class ModelConfig(Settings):
    """Which network.

    Attributes:
        name: Name in the registry.
        num_classes: Number of classes.
        embedding_dim: Width of the embedding; None takes the model's own, 0 leaves it out.
        options: The model's own options, e.g. ``stride``.
        body_weights: ImageNet weights for the body to start from, for a model that has such a body.
    """

    name: str = "nano"
    num_classes: Positive = 1
    embedding_dim: Annotated[int, Field(ge=0)] | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    body_weights: Path | None = None


class ScheduleConfig(Settings):
    """How long and how fast.

    Attributes:
        epochs: An epoch is ``images_per_epoch`` pictures and ends with a checkpoint.
        images_per_epoch: Pictures drawn per epoch.
        batch: Pictures that pass the network at a time. Several processes share them evenly, so
            that a run is the same on one GPU and on more.
        accumulate: Batches per step: their gradients are averaged, where one large batch would not
            fit into memory. Batch statistics are those of each.
        decay: How the learning rate falls: along a cosine (arXiv 1608.03983), or in steps to a
            tenth, as FairMOT's.
        milestones: Shares of the run at which it falls in steps.
        restarts: Shares of the run at which the cosine starts over, warm-up included (warm restarts
            of the same paper). The averaged weights go on.
        learning_rate: Peak of AdamW's learning rate (arXiv 1711.05101).
        weight_decay: AdamW's weight decay.
        warmup: Share of the run, or of each cosine, over which the learning rate rises.
        final: Share of the peak that the cosine ends at.
        ema: Decay of the averaged weights, which are the ones kept.
        clip: Largest norm of the gradient.
        max_minutes: The run is planned to end by then, with its learning rate fully decayed, on a
            machine too slow for all epochs. None for no limit.
        checkpoint_minutes: Time between checkpoints within an epoch; None for one at the end of
            every epoch only.
    """

    epochs: Positive = 10
    images_per_epoch: Positive = 2000
    batch: Positive = 16
    accumulate: Positive = 1
    decay: Literal["cosine", "step"] = "cosine"
    milestones: list[Share] = Field(default=[2 / 3, 0.9])
    restarts: list[Annotated[float, Field(gt=0, lt=1)]] = Field(default_factory=list)
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    weight_decay: NonNegative = 0.02
    warmup: Share = 0.05
    final: Share = 0.01
    ema: Share = 0.998
    clip: Annotated[float, Field(gt=0)] = 10.0
    max_minutes: Annotated[float, Field(gt=0)] | None = None
    checkpoint_minutes: NonNegative | None = 5.0


class LossConfig(Settings):
    """Weights of FairMOT's losses (arXiv 2004.01888).

    Attributes:
        hm: Heatmap.
        wh: Sizes.
        reg: Offsets.
        id: Identity; 0 leaves the classifier out.
    """

    hm: NonNegative = 1.0
    wh: NonNegative = 0.1
    reg: NonNegative = 1.0
    id: NonNegative = 1.0


class TrainConfig(Settings):
    """A whole run.

    Attributes:
        model: The network.
        input_wh: Input width and height in pixels, multiples of 32.
        data: Sources of pictures.
        augment: Augmentations.
        schedule: Length and pace.
        loss: Weights of the task losses.
        distill: Teachers and how much they count; None trains on labels alone.
        init: Checkpoint to start from, of this project or another; what fits is loaded, and a table
            tells the rest. None starts fresh.
        classes: Class names.
        max_objects: Most objects per picture.
        validation: Held-out sources; after every epoch the averaged weights are tried on them, and
            the score threshold that suits them best goes into the model file for the tracker.
        validation_pictures: How many pictures of them to look at.
        seed: Fixes initialisation, sampling and augmentation.
        workers: Loader processes of each training process.
        tracking: Held-out sequences that the averaged weights track now and then; the best ones
            are kept beside the last.
        precision: ``auto`` is bf16 where the processor computes with it, else fp32; fp16 needs a
            GPU.
        threads: CPU threads of each training process; None for all cores, or the launcher's
            choice.
        log_every: Steps between log rows.
    """

    model: ModelConfig = ModelConfig()
    input_wh: tuple[Positive, Positive] = (576, 320)
    data: Annotated[list[DataConfig], Field(min_length=1)]
    augment: AugmentStyle = AugmentConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    loss: LossConfig = LossConfig()
    distill: DistillConfig | None = None
    init: Path | None = None
    classes: list[str] = Field(default=["person"], min_length=1)
    max_objects: Positive = 128
    validation: list[DataConfig] = Field(default_factory=list)
    validation_pictures: Positive = 200
    seed: int = 0
    workers: Annotated[int, Field(ge=0)] = 1
    tracking: TrackingValidationConfig | None = None
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    threads: Positive | None = None
    log_every: Positive = 20

    @model_validator(mode="after")
    def _consistent(self) -> TrainConfig:
        if self.input_wh[0] % 32 or self.input_wh[1] % 32:
            raise ValueError(f"input_wh {list(self.input_wh)}: both sides must be multiples of 32")
        if len(self.classes) != self.model.num_classes:
            raise ValueError(
                f"model.num_classes is {self.model.num_classes}, classes names {len(self.classes)}"
            )
        return self


def load_config(path: str | os.PathLike[str], overrides: tuple[str, ...] = ()) -> TrainConfig:
    """Read a YAML file, apply overrides, check types and ranges.

    Relative paths in the file are relative to where the command runs, as in a shell.

    Args:
        path: The file, or the name of a preset.
        overrides: ``a.b=value`` each; the value is read as YAML.

    Raises:
        UserError: It is no YAML, a key is unknown, or a value is out of range.
    """
    file = find_config(path)
    entries = read_yaml(file)
    for override in overrides:
        _apply(entries, override)
    try:
        return TrainConfig.model_validate(entries)
    except ValidationError as error:
        raise UserError(f"configuration {file}: {in_words(error)}") from error


def find_config(path: str | os.PathLike[str]) -> Path:
    """Return the file at a path, or the preset of that name.

    Raises:
        UserError: There is neither.
    """
    preset = PRESETS / f"{os.fspath(path)}.yaml"
    if Path(path).exists() or preset.parent != PRESETS or not preset.is_file():
        return existing_file(path, "configuration")
    return preset


def _apply(entries: dict[str, Any], override: str) -> None:
    """Set ``a.b=value`` in nested dictionaries; an index reaches into a list."""
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise UserError(f"--set {override}: write it as section.key=value")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"--set {override}: the value is not YAML ({one_line(error)})") from error
    *parents, last = key.split(".")
    place: Any = entries
    try:
        for parent in parents:
            if isinstance(place, list):
                place = place[int(parent)]
            else:
                if place.get(parent) is None:
                    place[parent] = {}
                place = place[parent]
        place[int(last) if isinstance(place, list) else last] = value
    except (AttributeError, ValueError, IndexError, TypeError) as error:
        raise UserError(f"--set {override}: there is no such place in the configuration") from error
