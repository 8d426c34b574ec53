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
from train.settings import NonNegative, Positive, Settings, Share, in_words, one_line


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
        batch: Pictures that pass the network at a time.
        accumulate: Batches per step: their gradients are averaged, where one large batch would not
            fit into memory. Batch statistics are those of each.
        decay: How the learning rate falls: along a cosine (arXiv 1608.03983), or in steps to a
            tenth, as FairMOT's.
        milestones: Shares of the run at which it falls in steps.
        learning_rate: Peak of AdamW's learning rate (arXiv 1711.05101).
        weight_decay: AdamW's weight decay.
        warmup: Share of the run over which the learning rate rises.
        final: Share of the peak that the cosine ends at.
        ema: Decay of the averaged weights, which are the ones kept.
        clip: Largest norm of the gradient.
        max_minutes: The run is planned to end by then, with its learning rate fully decayed, on a
            machine too slow for all epochs. None for no limit.
    """

    epochs: Positive = 10
    images_per_epoch: Positive = 2000
    batch: Positive = 16
    accumulate: Positive = 1
    decay: Literal["cosine", "step"] = "cosine"
    milestones: list[Share] = Field(default=[2 / 3, 0.9])
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    weight_decay: NonNegative = 0.02
    warmup: Share = 0.05
    final: Share = 0.01
    ema: Share = 0.998
    clip: Annotated[float, Field(gt=0)] = 10.0
    max_minutes: Annotated[float, Field(gt=0)] | None = None


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


class TeacherConfig(Settings):
    """A frozen teacher of the FairMOT family.

    Attributes:
        checkpoint: A ``model.safetensors`` written by ``kd-train``, or a checkpoint of another
            project that fills one of the networks known here.
        name: Name in the registry, for a checkpoint that is not recognised by its tensors.
    """

    kind: Literal["fairmot"] = "fairmot"
    checkpoint: Path
    name: str | None = None


class DistillConfig(Settings):
    """How the teacher's knowledge is weighed.

    Attributes:
        alpha: Total is ``(1 - alpha) * task + alpha * distillation``; 0 and 1 both work.
        heatmap: Weight of the soft focal loss on the heatmap.
        box: Weight of the box loss at the teacher's centres.
        embedding: Weight of the embedding's cosine loss.
        relation: Weight of the loss on similarities between the batch's instances.
        distance: Weight of the loss on distances between them (RKD-D).
        angle: Weight of the loss on angles between them (RKD-A).
        feature: Weight of the feature loss by correlation (PKD).
        channel: Weight of the channel-wise feature loss (CWD).
        location: Weight of the cosine between features, place by place.
        generative: Weight of the masked generative feature loss (MGD).
        peak_threshold: Teacher peaks below this score teach no box and no embedding.
    """

    alpha: Share = 0.5
    heatmap: NonNegative = 4.0
    box: NonNegative = 0.5
    embedding: NonNegative = 3.0
    relation: NonNegative = 1.0
    distance: NonNegative = 0.0
    angle: NonNegative = 0.0
    feature: NonNegative = 1.0
    channel: NonNegative = 0.0
    location: NonNegative = 0.0
    generative: NonNegative = 0.0
    peak_threshold: Share = 0.2


class TrainConfig(Settings):
    """A whole run.

    Attributes:
        model: The network.
        input_wh: Input width and height in pixels, multiples of 32.
        data: Sources of pictures.
        augment: Augmentations.
        schedule: Length and pace.
        loss: Weights of the task losses.
        teacher: A teacher; None trains without one.
        distill: Weights of the distillation losses.
        init: Checkpoint to start from, of this project or another; what fits is loaded, and a table
            tells the rest. None starts fresh.
        classes: Class names.
        max_objects: Most objects per picture.
        validation: Held-out sources; after every epoch the averaged weights are tried on them, and
            the score threshold that suits them best goes into the model file for the tracker.
        validation_pictures: How many pictures of them to look at.
        seed: Fixes initialisation, sampling and augmentation.
        workers: Loader processes.
        precision: ``auto`` is bf16 where the processor computes with it, else fp32.
        threads: CPU threads; None for all cores.
        log_every: Steps between log rows.
    """

    model: ModelConfig = ModelConfig()
    input_wh: tuple[Positive, Positive] = (576, 320)
    data: Annotated[list[DataConfig], Field(min_length=1)]
    augment: AugmentStyle = AugmentConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    loss: LossConfig = LossConfig()
    teacher: TeacherConfig | None = None
    distill: DistillConfig = DistillConfig()
    init: Path | None = None
    classes: list[str] = Field(default=["person"], min_length=1)
    max_objects: Positive = 128
    validation: list[DataConfig] = Field(default_factory=list)
    validation_pictures: Positive = 200
    seed: int = 0
    workers: Annotated[int, Field(ge=0)] = 1
    precision: Literal["auto", "fp32", "bf16"] = "auto"
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
        path: The file.
        overrides: ``a.b=value`` each; the value is read as YAML.

    Raises:
        UserError: It is no YAML, a key is unknown, or a value is out of range.
    """
    file = existing_file(path, "configuration")
    try:
        entries = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"configuration {file} is not YAML: {one_line(error)}") from error
    if not isinstance(entries, dict):
        raise UserError(f"configuration {file} must hold keys such as model: and data:")
    for override in overrides:
        _apply(entries, override)
    try:
        return TrainConfig.model_validate(entries)
    except ValidationError as error:
        raise UserError(f"configuration {file}: {in_words(error)}") from error


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
