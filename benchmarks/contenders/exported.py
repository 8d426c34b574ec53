"""Models of ``kd-export`` with this project's tracker."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.contenders.base import Contender, Description, Frame, Recipe, Step
from runtime.default import packaged_model
from runtime.detector import Detector, load
from runtime.errors import UserError
from runtime.files import existing_file
from runtime.model_info import ModelInfo
from runtime.pipeline import make_tracker

ROLES = ("teacher", "undistilled", "distilled")


class TimedDetector(Contender):
    """An exported model and the tracker with the settings it brings, stage by stage.

    Args:
        name: Its name in tables.
        detector: The model; closed with the contender.
        path: The model's file.
    """

    def __init__(self, name: str, detector: Detector, path: Path) -> None:
        info = detector.info
        self.detector = detector
        self.description = Description(
            model=name,
            file=path.name,
            bytes=path.stat().st_size,
            arch=info.arch,
            parameters=info.parameters,
            precision=info.precision,
            size_wh=info.size_wh,
            provider=detector.engine.provider,
            tracker="kd-mot",
            parity=parity_of(info, path),
        )
        self.begin(30.0)

    def begin(self, fps: float) -> None:
        """Start a sequence; see ``Contender``."""
        self._tracker = make_tracker(self.detector, fps)

    def step(self, frame: Frame) -> Step:
        """Track the next frame; see ``Contender``."""
        clock = time.perf_counter_ns
        start = clock()
        geometry = self.detector.preprocess(frame)
        prepared = clock()
        outputs = self.detector.infer()
        inferred = clock()
        detections = self.detector.decode(outputs, geometry)
        decoded = clock()
        tracks = self._tracker.update(detections)
        end = clock()
        return Step(
            tracks, (prepared - start, inferred - prepared, decoded - inferred, end - decoded)
        )

    def close(self) -> None:
        """Give back the engine's memory."""
        self.detector.close()


@dataclass(frozen=True)
class ExportedModel(Recipe):
    """A file of ``kd-export``.

    Attributes:
        path: ONNX file, or a TensorRT engine.
    """

    path: Path

    def open(self, backend: str = "auto", threads: int | None = None) -> TimedDetector:
        """Load it; see ``Recipe``."""
        return TimedDetector(self.name, load(self.path, backend, threads), self.path)


def parity_of(info: ModelInfo, path: Path) -> dict[str, Any]:
    """Return what a model tells of its parity check, with the thresholds where they are known.

    The model itself holds the figures; ``parity.json`` beside it may be of another export.
    """
    if not info.parity:
        return {}
    figures = {key: value for key, value in info.parity.items() if isinstance(value, float)}
    others = {key: value for key, value in info.parity.items() if key not in figures}
    told = {**others, "precision": info.precision, "figures": figures}
    try:
        beside = json.loads(path.with_name("parity.json").read_text(encoding="utf-8"))
        same = beside["figures"] == figures
    except (OSError, ValueError, KeyError, TypeError):
        return told
    return {**told, **beside} if same else told


def exported_models(models: Sequence[str | os.PathLike[str]]) -> list[ExportedModel]:
    """Read ``PATH`` or ``NAME=PATH`` of each model.

    Without a name a model bears its file's, with the folder before it where files share one. A name
    that is a role (teacher, undistilled, distilled) is taken as that too. ``default`` and
    ``default-int8`` are the models in the package.

    Raises:
        UserError: A file is missing, or two models have one name.

    Examples:
        >>> exported_models(["student=missing.onnx"])
        Traceback (most recent call last):
        ...
        runtime.errors.UserError: model missing.onnx does not exist: check the path
    """
    names, paths = [], []
    for model in models:
        name, separator, path = str(os.fspath(model)).partition("=")
        # An equals sign may also be part of a path.
        if not separator or Path(str(model)).exists():
            name, path = "", os.fspath(model)
        names.append(name)
        paths.append(existing_file(packaged_model(path)[0], "model"))
    found = unique_names(paths)
    recipes = [
        ExportedModel(name or own, name if name in ROLES else "", path)
        for name, own, path in zip(names, found, paths, strict=True)
    ]
    for recipe in recipes:
        if [other.name for other in recipes].count(recipe.name) > 1:
            raise UserError(f"two models are called {recipe.name}: name them, --model NAME=PATH")
    return recipes


def unique_names(paths: Sequence[Path]) -> list[str]:
    """Name models by their file, with the folder before it where files share a name.

    Examples:
        >>> unique_names([Path("a/model.onnx"), Path("b/model.onnx"), Path("b/tiny.onnx")])
        ['a/model', 'b/model', 'tiny']
    """
    stems = [path.stem for path in paths]
    return [
        path.stem if stems.count(path.stem) == 1 else f"{path.resolve().parent.name}/{path.stem}"
        for path in paths
    ]
