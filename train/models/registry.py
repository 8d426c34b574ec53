"""Models found by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from runtime.errors import UserError
from train.models.dla import build_dla
from train.models.heads import TrackingModel
from train.models.hrnet import build_hrnet
from train.models.mobilenet import build_mobilenet
from train.models.pyramid import PREFIX, build_pyramid
from train.models.renaming import Renaming
from train.models.residual import build_residual
from train.models.yolov5 import build_yolov5


@dataclass(frozen=True)
class ModelEntry:
    """A line of the registry.

    Attributes:
        build: Called with the name, ``num_classes``, ``embedding_dim`` and the model's own options.
        embedding_dim: Width of the embedding unless another is asked for.
        summary: What it is for, in one line.
        rename: Maps a tensor's name in checkpoints of other projects to ours, or to None where the
            network has no use for it.
        recognisable: Whether other projects publish checkpoints of it.
    """

    build: Callable[..., TrackingModel]
    embedding_dim: int
    summary: str
    rename: Renaming = field(default_factory=Renaming)
    recognisable: bool = False


# FairMOT's DLA carries ImageNet's classifier along, and projections that no path passes through.
DLA_NAMES = Renaming(unused=(r"base\.fc\.", r"base\.level[34]\.project\."))
HRNET_NAMES = Renaming(
    base=(r"conv\d\.", r"bn\d\.", r"layer1\.", r"transition\d\.", r"stage\d\."),
    unused=(r"incre_modules\.", r"downsamp_modules\.", r"final_layer\.", r"classifier\."),
)
YOLO_NAMES = Renaming(strip="backbone.")
RESNET_NAMES = Renaming(base=(r"conv1\.", r"bn1\.", r"layer\d\."), unused=(r"fc\.",))
TIMM_NAMES = Renaming(base=(r"(?!deconv_layer|smooth_layer|project_layer)",))

REGISTRY: dict[str, ModelEntry] = {
    "nano": ModelEntry(build_residual, 64, "student, real-time on two CPU cores"),
    "small": ModelEntry(build_residual, 64, "four times nano: a teacher, or a student for a GPU"),
    "mobile": ModelEntry(build_mobilenet, 64, "a student that starts from ImageNet"),
    "mobilenet_v2": ModelEntry(build_mobilenet, 64, "a teacher that starts from ImageNet"),
    "dla_34": ModelEntry(build_dla, 128, "FairMOT's own network", DLA_NAMES, True),
    "dla_34_conv": ModelEntry(build_dla, 128, "the same without DCN", DLA_NAMES, True),
    "hrnet_18": ModelEntry(build_hrnet, 128, "FairMOT on HRNet-W18", HRNET_NAMES, True),
    "hrnet_32": ModelEntry(build_hrnet, 128, "FairMOT on HRNet-W32", HRNET_NAMES, True),
    "yolov5s": ModelEntry(build_yolov5, 64, "FairMOT's light network", YOLO_NAMES, True),
    "resnet_18": ModelEntry(build_pyramid, 128, "ResNet, FPN with DCN", RESNET_NAMES, True),
    "resnet_34": ModelEntry(build_pyramid, 128, "ResNet, FPN with DCN", RESNET_NAMES, True),
    "resnet_50": ModelEntry(build_pyramid, 128, "ResNet, FPN with DCN", RESNET_NAMES, True),
}
TIMM_ENTRY = ModelEntry(build_pyramid, 128, "any body of timm, FPN with DCN", TIMM_NAMES)


def find_entry(name: str) -> ModelEntry:
    """Return a model's line of the registry.

    Args:
        name: Key of ``REGISTRY``, or ``timm:NAME``.

    Raises:
        UserError: There is no such model.
    """
    if name.startswith(PREFIX):
        return TIMM_ENTRY
    if name not in REGISTRY:
        raise UserError(
            f"there is no model {name!r}: choose one of {', '.join(REGISTRY)}, or {PREFIX}NAME"
        )
    return REGISTRY[name]


def build_model(
    name: str, *, num_classes: int = 1, embedding_dim: int | None = None, **options: Any
) -> TrackingModel:
    """Build a model with fresh weights.

    Args:
        name: Key of ``REGISTRY``, or ``timm:NAME``.
        num_classes: Number of classes.
        embedding_dim: Width of the embedding; None takes the model's own, 0 leaves it out and makes
            the model a detector.
        **options: The model's own options, e.g. ``stride``.

    Raises:
        UserError: No such model, or an option it does not have.

    Examples:
        >>> model = build_model("nano", embedding_dim=32)
        >>> model.stride, model.embedding_dim, model.parameter_count() < 1_500_000
        (8, 32, True)
    """
    entry = find_entry(name)
    width = entry.embedding_dim if embedding_dim is None else embedding_dim
    try:
        model = entry.build(name, num_classes=num_classes, embedding_dim=width, **options)
    except (TypeError, ValueError) as error:
        raise UserError(f"model {name} with options {options}: {error}") from error
    model.options = options
    return model
