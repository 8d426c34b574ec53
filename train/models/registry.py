"""Models found by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from runtime.errors import UserError
from train.models.heads import TrackingModel
from train.models.mobilenet import build_mobilenet
from train.models.residual import build_residual


@dataclass(frozen=True)
class ModelEntry:
    """A line of the registry.

    Attributes:
        build: Called with the name, ``num_classes``, ``embedding_dim`` and the model's own options.
        embedding_dim: Width of the embedding unless another is asked for.
        summary: What it is for, in one line.
    """

    build: Callable[..., TrackingModel]
    embedding_dim: int
    summary: str


REGISTRY: dict[str, ModelEntry] = {
    "nano": ModelEntry(build_residual, 64, "student, real-time on two CPU cores"),
    "small": ModelEntry(build_residual, 64, "four times nano: a teacher, or a student for a GPU"),
    "mobile": ModelEntry(build_mobilenet, 64, "a student that starts from ImageNet"),
    "mobilenet_v2": ModelEntry(build_mobilenet, 64, "a teacher that starts from ImageNet"),
}


def build_model(
    name: str, *, num_classes: int = 1, embedding_dim: int | None = None, **options: Any
) -> TrackingModel:
    """Build a model with fresh weights.

    Args:
        name: Key of ``REGISTRY``.
        num_classes: Number of classes.
        embedding_dim: Width of the embedding; None takes the model's own, 0 leaves it out.
        **options: The model's own options, e.g. ``stride``.

    Raises:
        UserError: No such model, or an option it does not have.

    Examples:
        >>> model = build_model("nano", embedding_dim=32)
        >>> model.stride, model.embedding_dim, model.parameter_count() < 1_500_000
        (8, 32, True)
    """
    if name not in REGISTRY:
        raise UserError(f"there is no model {name!r}: choose one of {', '.join(REGISTRY)}")
    entry = REGISTRY[name]
    width = entry.embedding_dim if embedding_dim is None else embedding_dim
    try:
        return entry.build(name, num_classes=num_classes, embedding_dim=width, **options)
    except (TypeError, ValueError) as error:
        raise UserError(f"model {name} with options {options}: {error}") from error
