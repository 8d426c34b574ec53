"""Model files: safetensors with a description, so that loading runs no code and needs no flags."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from runtime.errors import UserError
from runtime.files import atomic_path, existing_file
from runtime.version import __version__
from train.models.heads import TrackingModel
from train.models.registry import build_model

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
    contiguous = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
    with atomic_path(path) as temporary:
        save_file(contiguous, temporary, {DESCRIPTION_KEY: json.dumps(description)})


def load_model(path: str | os.PathLike[str], name: str | None = None) -> TrackingModel:
    """Read a model.

    Args:
        path: A ``*.safetensors`` file, or a folder that ``kd-train`` wrote.
        name: The model it holds. Needed only for a file that does not say so itself.

    Returns:
        The model in eval mode; ``classes``, ``input_wh`` and ``tracker`` are set if the file
        tells them.

    Raises:
        UserError: The file is not a model of this project, is damaged, or holds another model.
    """
    file = existing_file(checkpoint_path(path), "checkpoint")
    try:
        with safe_open(file, framework="pt") as archive:
            metadata = archive.metadata() or {}
            weights = {key: archive.get_tensor(key) for key in archive.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"checkpoint {file} is not a safetensors file ({error}): "
            "give the model.safetensors that kd-train wrote"
        ) from error
    try:
        if DESCRIPTION_KEY in metadata:
            description = json.loads(metadata[DESCRIPTION_KEY])
        else:
            description = _describe(weights, name)
        if name not in (None, description["name"]):
            raise UserError(f"checkpoint {file} holds {description['name']}, not {name}")
        model = build_model(
            description["name"],
            num_classes=int(description["num_classes"]),
            embedding_dim=int(description["embedding_dim"]),
            **description["options"],
        )
        model.load_state_dict(weights)
        model.classes = tuple(str(label) for label in description["classes"])
        model.tracker = dict(description.get("tracker", {}))
        if description["input_wh"]:
            width, height = description["input_wh"]
            model.input_wh = (int(width), int(height))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"checkpoint {file} does not fit its description: {reason}") from error
    return model.eval()


def _describe(weights: Mapping[str, Tensor], name: str | None) -> dict[str, Any]:
    """Describe bare weights of a named model by the widths of their heads."""
    if name is None:
        raise ValueError("it does not say which model it holds, so name it (--arch)")
    num_classes = len(weights["heads.hm.2.weight"])
    return {
        "name": name,
        "num_classes": num_classes,
        "embedding_dim": len(weights.get("heads.id.2.weight", ())),
        "options": {},
        "classes": [f"class{index}" for index in range(num_classes)],
        "input_wh": None,
        "tracker": {},
    }


def checkpoint_path(path: str | os.PathLike[str]) -> Path:
    """Return the model file for a path that is one, or a folder ``kd-train`` wrote."""
    given = Path(path)
    return given / "model.safetensors" if given.is_dir() else given
