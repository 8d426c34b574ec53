"""The part of a run's configuration that concerns distillation: teachers and their losses."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, model_validator

from train.settings import NonNegative, Positive, Settings, Share


class PredictionLosses(Settings):
    """Weights of the losses on what a teacher says; one of weight 0 is not computed.

    Attributes:
        heatmap: The soft focal loss on the heatmap.
        box: The box loss at the teacher's centres.
        embedding: The cosine between embeddings of the same object.
        relation: The loss on similarities between the batch's instances (KL).
        distance: The loss on distances between them (RKD-D).
        angle: The loss on angles between them (RKD-A).
    """

    heatmap: NonNegative = 4.0
    box: NonNegative = 2.0
    embedding: NonNegative = 3.0
    relation: NonNegative = 1.0
    distance: NonNegative = 0.0
    angle: NonNegative = 0.0


class FeatureLosses(Settings):
    """Weights of the losses on a teacher's features; one of weight 0 is not computed.

    Attributes:
        feature: The correlation of channels (PKD).
        channel: The channel-wise loss (CWD).
        location: The cosine between features, place by place.
        generative: The masked generative loss (MGD).
    """

    feature: NonNegative = 0.0
    channel: NonNegative = 0.0
    location: NonNegative = 1.0
    generative: NonNegative = 0.0


class FairMOTLosses(PredictionLosses, FeatureLosses):
    """Weights of all losses that a teacher of the family can be followed by."""

    feature: NonNegative = 1.0
    location: NonNegative = 0.0


class FairMOTTeacherConfig(Settings):
    """A frozen model of the FairMOT family.

    Attributes:
        checkpoint: A ``model.safetensors`` written by ``kd-train``, or a checkpoint of another
            project that fills one of the networks known here.
        name: Name in the registry, for a checkpoint that is not recognised by its tensors.
        peak_threshold: Peaks below this score teach no box and no embedding.
        weight: Share of its losses in the distillation loss, relative to other teachers.
        losses: Weights of its losses.
    """

    kind: Literal["fairmot"] = "fairmot"
    checkpoint: Path
    name: str | None = None
    peak_threshold: Share = 0.2
    weight: NonNegative = 1.0
    losses: FairMOTLosses = FairMOTLosses()


class DINOv2TeacherConfig(Settings):
    """A frozen DINOv2 (arXiv 2304.07193), whose patch features the student's follow.

    Attributes:
        size: Which of the networks.
        weights: Its weights, a local file: safetensors, or a pickle of tensors; names as in timm,
            in the published checkpoints or in transformers.
        layer: The block whose output teaches, counted from 1; None for the last, normalised.
        scale: The teacher looks at the picture enlarged by it, rounded to whole patches of 14 x 14.
        weight: Share of its losses in the distillation loss, relative to other teachers.
        losses: Weights of its losses.
    """

    kind: Literal["dinov2"]
    size: Literal["small", "base", "large"] = "base"
    weights: Path
    layer: Positive | None = None
    scale: Annotated[float, Field(gt=0)] = 1.0
    weight: NonNegative = 1.0
    losses: FeatureLosses = FeatureLosses()


class OnnxInput(Settings):
    """What an ONNX file wants to be fed.

    The size and whether channels come first are read from the file.

    Attributes:
        path: The file.
        colour: Order of its channels.
        scale: Pixel values 0..255 are multiplied by it first; 0.00392157 gives 0..1.
        mean: Then this is subtracted, per channel in the order of ``colour``.
        std: And the rest divided by this.
        size_wh: Width and height, for a file that leaves them open.
    """

    path: Path
    colour: Literal["bgr", "rgb"] = "bgr"
    scale: Annotated[float, Field(gt=0)] = 1.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (1.0, 1.0, 1.0)
    size_wh: tuple[Positive, Positive] | None = None


class DetectorConfig(OnnxInput):
    """An ONNX detector.

    Attributes:
        output: ``yolox`` is raw output ``[1, cells, 5 + classes]``: centre offsets and log sizes
            per cell, objectness and class scores after the sigmoid. ``boxes`` is a file that has
            done the rest itself and gives boxes ``[K, 4]`` and scores ``[K]`` or ``[K, classes]``,
            with or without a batch dimension before.
        fit: How the picture is fitted to the input: resized in its shape and padded below and to
            the right (``top_left``) or on all sides (``centre``), or stretched.
        pad: Grey of the padding, 0..255.
        strides: Of the cells of a ``yolox`` output.
        classes: The detector's classes that teach, in the order of the student's; others are
            dropped.
        score_threshold: Detections below it are dropped.
        nms_iou: Of two overlapping boxes of a class the lower is dropped; 1 keeps all.
        boxes: Name of the output with boxes; None for the only one of that shape.
        scores: Name of the output with scores.
        labels: Name of the output with class indices; None without one.
        box_format: Of a ``boxes`` output: corners, corner and size, or centre and size.
        box_unit: Pixels of the input, or shares of its sides.
    """

    output: Literal["yolox", "boxes"] = "yolox"
    fit: Literal["top_left", "centre", "stretch"] = "top_left"
    pad: Annotated[int, Field(ge=0, le=255)] = 114
    strides: list[Positive] = Field(default=[8, 16, 32], min_length=1)
    classes: list[Annotated[int, Field(ge=0)]] = Field(default=[0], min_length=1)
    score_threshold: Share = 0.1
    nms_iou: Share = 0.65
    boxes: str | None = None
    scores: str | None = None
    labels: str | None = None
    box_format: Literal["xyxy", "xywh", "cxcywh"] = "xyxy"
    box_unit: Literal["pixel", "share"] = "pixel"


class EmbedderConfig(OnnxInput):
    """An ONNX re-identification model that looks at crops of one object each.

    Attributes:
        output: Name of the output with the embedding; None for the only one.
        min_height: Boxes lower than this many pixels of their picture are not looked at: such a
            crop tells nothing.
        margin: Share of the box's sides that is added around it.
    """

    output: str | None = None
    min_height: NonNegative = 24.0
    margin: NonNegative = 0.0


class OnnxTeacherConfig(Settings):
    """Any ONNX detector, any ONNX re-identification model, or both: no labels are needed.

    Without a detector, the embedder looks at the labelled boxes.

    Attributes:
        detector: The detector.
        embedder: The re-identification model.
        cache: Folder where its outputs are kept from run to run.
        cache_mb: Bound on that folder's size.
        label_threshold: In ``validation:``, where pictures have no labels, detections from this
            score on stand in for them.
        sure_score: From this score on a detection is an object even where ``fixtures:`` of the data
            says that there is none. ``kd-train adapt`` looks for fixtures below it; 0 for none.
        weight: Share of its losses in the distillation loss, relative to other teachers.
        losses: Weights of its losses.
    """

    kind: Literal["onnx"]
    detector: DetectorConfig | None = None
    embedder: EmbedderConfig | None = None
    cache: Path = Path("out/teacher-cache")
    cache_mb: Positive = 2048
    label_threshold: Share = 0.45
    sure_score: Share = 0.6
    weight: NonNegative = 1.0
    losses: PredictionLosses = PredictionLosses()

    @model_validator(mode="after")
    def _something(self) -> OnnxTeacherConfig:
        if self.detector is None and self.embedder is None:
            raise ValueError("give it a detector, an embedder, or both")
        return self


TeacherConfig = Annotated[
    FairMOTTeacherConfig | DINOv2TeacherConfig | OnnxTeacherConfig, Field(discriminator="kind")
]


class DistillConfig(Settings):
    """Whom a student learns from, and how much.

    Attributes:
        teachers: The teachers. At most one is an ``onnx`` one.
        alpha: Total is ``(1 - alpha) * task + alpha * distillation``; 0 and 1 both work. Pictures
            without labels have no task loss, but for people who were pasted into them.
    """

    teachers: Annotated[list[TeacherConfig], Field(min_length=1)]
    alpha: Share = 0.5

    @model_validator(mode="after")
    def _one_of_a_kind(self) -> DistillConfig:
        if sum(teacher.kind == "onnx" for teacher in self.teachers) > 1:
            raise ValueError("two onnx teachers: give one of them both detector and embedder")
        if not sum(teacher.weight for teacher in self.teachers):
            raise ValueError("all teachers have weight 0")
        return self
