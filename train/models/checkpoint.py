"""Models in files: our own, safetensors with a description, and those of other projects."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from runtime.errors import UserError
from runtime.files import existing_file
from runtime.version import __version__
from train.models.head_widths import read_heads
from train.models.heads import TrackingModel
from train.models.loading import LoadReport, fit_weights, match_weights
from train.models.registry import REGISTRY, build_model, find_entry
from train.models.weights import Weights, read_weights, write_safetensors

DESCRIPTION_KEY = "kd_mot"


def save_model(
    path: str | os.PathLike[str],
    model: TrackingModel,
    *,
    classes: tuple[str, ...],
    input_wh: tuple[int, int],
    state: Mapping[str, Tensor] | None = None,
    options: Mapping[str, Any] | None = None,
    tracker: Mapping[str, float] | None = None,
) -> None:
    """Write a model with its description.

    Args:
        path: File to write, ``*.safetensors``.
        model: The model.
        classes: Class names.
        input_wh: Input width and height it was trained at, in pixels.
        state: Weights to write instead of the model's own, e.g. averaged ones.
        options: The options the model was built with.
        tracker: Tracker settings that suit the model.

    Raises:
        UserError: The file cannot be written.
    """
    description = {
        "name": model.name,
        "num_classes": model.num_classes,
        "embedding_dim": model.embedding_dim,
        "options": dict(options or {}),
        "classes": list(classes),
        "input_wh": list(input_wh),
        "tracker": dict(tracker or {}),
        "tool_version": __version__,
    }
    weights = model.state_dict() if state is None else state
    write_safetensors(path, weights, {DESCRIPTION_KEY: json.dumps(description)})


def load_model(
    path: str | os.PathLike[str],
    name: str | None = None,
    *,
    strict: bool = False,
    num_classes: int | None = None,
    embedding_dim: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> TrackingModel:
    """Read a model.

    Files of this project describe themselves and are loaded as they are, unless another width is
    asked for. Of other files all that fits in name and shape is loaded, and a table tells the rest.

    Args:
        path: A checkpoint (see ``read_weights``), or a folder that ``kd-train`` wrote.
        name: The model it holds. Needed only for a file that neither says so itself nor fits one of
            the networks that other projects publish.
        strict: Whether to refuse a file that does not fill the model.
        num_classes: Number of classes; None takes the file's.
        embedding_dim: Width of the embedding; None takes the file's.
        options: The model's own options; None takes the file's.

    Returns:
        The model in eval mode; ``classes``, ``input_wh`` and ``tracker`` are set as far as the file
        tells them.

    Raises:
        UserError: The file cannot be read, is damaged, does not tell which model it holds, holds
            another model, or nothing of it fits.
    """
    file = existing_file(checkpoint_path(path), "checkpoint")
    weights = read_weights(file)
    asked = {"num_classes": num_classes, "embedding_dim": embedding_dim, "options": options}
    asked = {key: value for key, value in asked.items() if value is not None}
    if DESCRIPTION_KEY in weights.metadata:
        description = _read_description(file, weights, name)
        model = _build_described(file, description | asked)
        # What a file says of itself holds, or it is damaged.
        strict = strict or not asked
    else:
        name = name or _recognise(file, weights.tensors)
        model = _build_for(name, weights.tensors, asked)
    report = fit_weights(model, weights.tensors, find_entry(model.name).rename)
    _judge(report, file, model, strict)
    return model.eval()


def load_into(
    model: TrackingModel, path: str | os.PathLike[str], *, strict: bool = False
) -> LoadReport:
    """Let a model start from a checkpoint; a table tells what did not fit.

    Args:
        model: The model; its classes and widths stay as they are.
        path: A checkpoint (see ``read_weights``), or a folder that ``kd-train`` wrote.
        strict: Whether to refuse a file that does not fill the model.

    Returns:
        What became of every tensor.

    Raises:
        UserError: The file cannot be read, holds another model, or nothing of it fits.
    """
    file = existing_file(checkpoint_path(path), "checkpoint")
    weights = read_weights(file)
    if DESCRIPTION_KEY in weights.metadata:
        _read_description(file, weights, model.name)
    report = fit_weights(model, weights.tensors, find_entry(model.name).rename)
    _judge(report, file, model, strict)
    return report


def _judge(report: LoadReport, file: Path, model: TrackingModel, strict: bool) -> None:
    """Refuse what is not enough, and tell what is less than all."""
    if strict:
        report.require_complete(file)
    report.require_some(file)
    if not report:
        report.print_table(f"{model.name} from {file}")


def _read_description(file: Path, weights: Weights, name: str | None) -> dict[str, Any]:
    """Return what a file says of itself.

    Raises:
        UserError: It is damaged, or says another name than ``name``.
    """
    try:
        description: dict[str, Any] = json.loads(weights.metadata[DESCRIPTION_KEY])
        held = str(description["name"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"checkpoint {file} has a damaged description ({error}): copy or download it again"
        ) from error
    if name not in (None, held):
        raise UserError(f"checkpoint {file} holds {held}, not {name}: choose the same model")
    return description


def _build_described(file: Path, description: Mapping[str, Any]) -> TrackingModel:
    """Build the model that a description tells."""
    try:
        model = build_model(
            description["name"],
            num_classes=int(description["num_classes"]),
            embedding_dim=int(description["embedding_dim"]),
            **description["options"],
        )
        model.classes = tuple(str(label) for label in description["classes"])
        if len(model.classes) != model.num_classes:
            model.classes = default_classes(model.num_classes)
        model.tracker = dict(description.get("tracker", {}))
        if description["input_wh"]:
            width, height = description["input_wh"]
            model.input_wh = (int(width), int(height))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"checkpoint {file} has a damaged description ({error}): copy or download it again"
        ) from error
    return model


def _build_for(name: str, tensors: Mapping[str, Tensor], asked: Mapping[str, Any]) -> TrackingModel:
    """Build a model with the widths that a foreign file's heads show, unless others are asked for.

    Args:
        name: The model.
        tensors: The file's tensors.
        asked: ``num_classes``, ``embedding_dim`` and ``options``, each only where it is asked for.
    """
    heads = read_heads(tensors, find_entry(name).rename)
    num_classes = asked.get("num_classes", heads.num_classes or 1)
    embedding_dim = asked.get("embedding_dim", heads.embedding_dim)
    options = dict(asked.get("options", {}))

    def build(**more: Any) -> TrackingModel:
        return build_model(
            name, num_classes=num_classes, embedding_dim=embedding_dim, **options, **more
        )

    model = build()
    differing = {
        key: value for key, value in heads.differing_options(model).items() if key not in options
    }
    if differing:
        # A model without such an option stays as it is, and the report tells what does not fit.
        with contextlib.suppress(UserError):
            model = build(**differing)
    model.classes = default_classes(model.num_classes)
    return model


def _recognise(file: Path, tensors: Mapping[str, Tensor]) -> str:
    """Return the published network that a foreign file fills."""
    for name, entry in REGISTRY.items():
        if entry.recognisable:
            with torch.device("meta"):
                model = _build_for(name, tensors, {})
            if match_weights(model, tensors, entry.rename)[1]:
                return name
    raise UserError(
        f"checkpoint {file} does not say which model it holds, and fills none of the known "
        "networks: name the model (--arch)"
    )


def checkpoint_path(path: str | os.PathLike[str]) -> Path:
    """Return the model file for a path that is one, or a folder ``kd-train`` wrote."""
    given = Path(path)
    return given / "model.safetensors" if given.is_dir() else given


def default_classes(num_classes: int) -> tuple[str, ...]:
    """Name the classes of a model that does not name them.

    Examples:
        >>> default_classes(1), default_classes(2)
        (('person',), ('class0', 'class1'))
    """
    if num_classes == 1:
        return ("person",)
    return tuple(f"class{index}" for index in range(num_classes))
