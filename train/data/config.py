"""The parts of a run's configuration that concern data: sources and augmentations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, PositiveFloat, Tag, model_validator

from train.settings import NonNegative, Positive, Settings, Share


class MotDataConfig(Settings):
    """MOTChallenge data with ground truth.

    Attributes:
        path: A sequence's folder, or a folder of sequences.
        frames: First and last frame, counted from 1; None for all.
        every: Use every n-th frame.
        weight: Share of training pictures drawn from it, relative to the other sources.
        collage: How many pictures share one canvas (1, 2, 4 or 6); one is drawn from the list.
        labels: False leaves the labels unread: the pictures then teach only what a teacher says.
    """

    kind: Literal["mot"]
    path: Path
    frames: tuple[Positive, Positive] | None = None
    every: Positive = 1
    weight: NonNegative = 1.0
    collage: list[Literal[1, 2, 4, 6]] = Field(default=[1])
    labels: bool = True


class PhotoDataConfig(Settings):
    """A folder of photographs with YOLO labels; see ``MotDataConfig`` for the shared fields.

    Attributes:
        path: The dataset's folder, with ``images/SPLIT`` and ``labels/SPLIT``.
        split: Name of the split.
        pixel_aspect: Least and greatest width of a pixel against its height, for pictures that were
            stretched into a common shape.
    """

    kind: Literal["photos"]
    path: Path
    split: str = "train"
    pixel_aspect: tuple[float, float] = (1.0, 1.0)
    weight: NonNegative = 1.0
    collage: list[Literal[1, 2, 4, 6]] = Field(default=[1, 2, 4])
    labels: bool = True


class DatasetDataConfig(Settings):
    """A dataset that ``kd-data prepare`` has prepared; see ``MotDataConfig`` for shared fields.

    Attributes:
        path: The folder of ``dataset.json``, or that file.
        split: Name of the split.
        every: Use every n-th picture of the list.
        video_cache_mb: Memory for a dataset's frames of videos, in each loader process.
    """

    kind: Literal["dataset"]
    path: Path
    split: str = "train"
    every: Positive = 1
    weight: NonNegative = 1.0
    collage: list[Literal[1, 2, 4, 6]] = Field(default=[1])
    labels: bool = True
    video_cache_mb: Positive = 512


class MixDataConfig(Settings):
    """Several prepared datasets named in one file; see ``DatasetDataConfig`` for shared fields.

    Attributes:
        path: FairMOT's data JSON, or a YAML file with ``datasets:``, a list of ``root``, ``split``,
            ``weight`` and ``every``.
        split: Section of the JSON; in YAML, the split of datasets that name none.
        root: Folder of the datasets in place of the one that the JSON names.
    """

    kind: Literal["mix"]
    path: Path
    split: str = "train"
    root: Path | None = None
    every: Positive = 1
    weight: NonNegative = 1.0
    collage: list[Literal[1, 2, 4, 6]] = Field(default=[1])
    labels: bool = True
    video_cache_mb: Positive = 512


class UnlabelledDataConfig(Settings):
    """Pictures without labels; see ``MotDataConfig`` and ``DatasetDataConfig`` for shared fields.

    Attributes:
        path: A video, a folder of videos, or a folder of images.
        frames: First and last frame, counted from 1, or several such pairs; None for all.
        fixtures: Boxes, left, top, right, bottom in pixels, of things in every picture that an
            ``onnx`` teacher takes for objects though they are none, such as a post. What it sees
            there teaches nothing, unless it is sure (``sure_score`` of the teacher).
    """

    kind: Literal["unlabelled"]
    path: Path
    frames: (
        tuple[Positive, Positive]
        | Annotated[list[tuple[Positive, Positive]], Field(min_length=1)]
        | None
    ) = None
    every: Positive = 1
    weight: NonNegative = 1.0
    collage: list[Literal[1, 2, 4, 6]] = Field(default=[1])
    fixtures: list[tuple[float, float, float, float]] = Field(default_factory=list)
    video_cache_mb: Positive = 512
    labels: Literal[False] = False

    @property
    def ranges(self) -> list[tuple[int, int]] | None:
        """The ranges of ``frames``; None for all."""
        return [self.frames] if isinstance(self.frames, tuple) else self.frames

    @model_validator(mode="after")
    def _boxes(self) -> UnlabelledDataConfig:
        for left, top, right, bottom in self.fixtures:
            if left >= right or top >= bottom:
                raise ValueError(
                    f"fixtures [{left:g}, {top:g}, {right:g}, {bottom:g}] is no box: give left, "
                    "top, right, bottom"
                )
        return self


DataConfig = Annotated[
    MotDataConfig | PhotoDataConfig | DatasetDataConfig | MixDataConfig | UnlabelledDataConfig,
    Field(discriminator="kind"),
]


class PasteConfig(Settings):
    """People from elsewhere, pasted into the pictures.

    They are labelled: class 0, with identities of their own, or their own ones of the training set
    where a ``mot`` entry holds the ground truth they were cut by. A label-free teacher is taken to
    see them with score 1. In pictures without labels, their sizes, offsets and identities have a
    task loss and the heatmap has none, as nobody knows who else is there.

    Attributes:
        path: A folder made by ``kd-data cutouts``.
        probability: Share of the pictures that get any.
        count: Least and greatest number of them.
        height: Least and greatest height as a share of the picture's; nobody is enlarged more than
            twice.
        only: Names of the sources to take; None for all.
        leave_out: Names of the sources to leave out, such as that of a held-out camera.
    """

    path: Path
    probability: Share = 0.5
    count: tuple[Positive, Positive] = (1, 5)
    height: tuple[PositiveFloat, PositiveFloat] = (0.12, 0.6)
    only: list[str] | None = None
    leave_out: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _in_order(self) -> PasteConfig:
        for name in ("count", "height"):
            least, greatest = getattr(self, name)
            if least > greatest:
                raise ValueError(f"{name} [{least}, {greatest}]: the first is above the last")
        return self


class AugmentConfig(Settings):
    """Strengths of the augmentations of style ``collage``.

    Attributes:
        scale: Least and greatest scale; at 1 a picture just covers its cell.
        aspect: Greatest factor by which width against height is stretched.
        translate: Share of the slack by which a picture is shifted.
        flip: Probability of a horizontal flip.
        colour: Strength of colour jitter, 0 for none.
        blur: Probability of a slight blur.
        grey: Probability of dropping the colour.
        min_box: Objects with a side below it, in pixels of the input, are dropped.
        paste: People to paste in; None for nobody.
    """

    style: Literal["collage"] = "collage"
    scale: tuple[float, float] = (0.7, 1.6)
    aspect: Annotated[float, Field(ge=1)] = 1.3
    translate: Share = 1.0
    flip: Share = 0.5
    colour: Share = 0.3
    blur: Share = 0.1
    grey: Share = 0.05
    min_box: NonNegative = 4.0
    paste: PasteConfig | None = None


class FairMOTAugmentConfig(Settings):
    """Strengths of the augmentations of style ``fairmot``, by default those of FairMOT.

    The picture is letterboxed, its colours jittered, then it is warped and flipped. The ``collage``
    of a data entry has no effect in this style.

    Attributes:
        hsv: Largest change of saturation and of brightness, as a share.
        degrees: Largest rotation to either side.
        translate: Largest shift, as a share of the input's side.
        scale: Least and greatest scale.
        shear: Largest shear along either axis, in degrees.
        flip: Probability of a horizontal flip.
        min_box: Objects with a side not above it, in pixels of the input, are dropped.
        mosaic: Probability of four pictures around a random centre instead of one.
        mixup: Probability of blending in a second picture.
    """

    style: Literal["fairmot"]
    hsv: Share = 0.5
    degrees: Annotated[float, Field(ge=0, le=180)] = 5.0
    translate: Share = 0.1
    scale: tuple[PositiveFloat, PositiveFloat] = (0.5, 1.2)
    shear: Annotated[float, Field(ge=0, le=45)] = 2.0
    flip: Share = 0.5
    min_box: NonNegative = 4.0
    mosaic: Share = 0.0
    mixup: Share = 0.0


def _style(augment: Any) -> str | None:
    """Return the style of an ``augment:`` section, which need not be written for ``collage``."""
    if isinstance(augment, dict):
        return augment.get("style", "collage")
    return getattr(augment, "style", None)


AugmentStyle = Annotated[
    Annotated[AugmentConfig, Tag("collage")] | Annotated[FairMOTAugmentConfig, Tag("fairmot")],
    Discriminator(
        _style,
        custom_error_type="style",
        custom_error_message="style must be collage or fairmot",
    ),
]
