"""Reading a model's folder."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from runtime.errors import UserError
from runtime.files import existing_file

HEADLINE = ("MOTA", "IDF1", "HOTA")
# Each role keeps its colour on every page; other runs take the colours behind them.
ROLES = ("teacher", "undistilled", "distilled")
COLOURS = 8


@dataclass
class Run:
    """Everything a page shows of one model.

    Attributes:
        folder: Where it was read from.
        name: Name of the row.
        role: ``teacher``, ``undistilled``, ``distilled`` or any other word; empty when not told.
        accuracy: Content of ``accuracy.json``.
        details: Content of ``run.json``.
        latency: Content of ``latency.json``, or None.
        timing: The entry of this model in ``latency``, or None.
        parity: Content of ``parity.json``, or None.
        training: Columns of ``training.csv`` by name, all of one length; empty without the file.
        colour: Index of the run's colour.
    """

    folder: Path
    name: str
    role: str
    accuracy: dict[str, Any]
    details: dict[str, Any] = field(default_factory=dict)
    latency: dict[str, Any] | None = None
    timing: dict[str, Any] | None = None
    parity: dict[str, Any] | None = None
    training: dict[str, list[float]] = field(default_factory=dict)
    colour: int = 0

    @property
    def notes(self) -> str:
        """Words about the run, empty when there are none."""
        return str(self.details.get("notes") or "")

    @property
    def command(self) -> str:
        """The command that made the run, empty when not told."""
        return str(self.details.get("command") or "")

    @property
    def tracks(self) -> Path | None:
        """The result file, if there is one."""
        return _optional(self.folder / "tracks.txt")

    @property
    def overlay(self) -> Path | None:
        """The video with the tracks drawn in, if there is one."""
        return _optional(self.folder / "overlay.webm")

    @property
    def milliseconds(self) -> float | None:
        """Median time from frame to tracks in ms."""
        return self.timing["stages"]["total"]["median_ms"] if self.timing else None

    @property
    def parameters(self) -> int | None:
        """Number of learned parameters."""
        told = self.details.get("parameters") or (self.timing or {}).get("parameters")
        return int(told) if is_number(told) and told else None

    @property
    def size_bytes(self) -> int | None:
        """Size of the exported model."""
        told = (self.timing or {}).get("bytes")
        if is_number(told):
            return int(told)
        models = sorted(self.folder.glob("*.onnx"))
        return models[0].stat().st_size if len(models) == 1 else None


def read_runs(folders: Sequence[str | os.PathLike[str]]) -> list[Run]:
    """Read the folders and give each run a colour.

    Args:
        folders: One per model.

    Raises:
        UserError: A folder or its ``accuracy.json`` is missing, or a file is damaged.
    """
    runs = [read_run(Path(folder)) for folder in folders]
    free = [index for index in range(COLOURS) if index >= len(ROLES)]
    taken: set[int] = set()
    for number, run in enumerate(runs):
        preferred = ROLES.index(run.role) if run.role in ROLES else -1
        if preferred >= 0 and preferred not in taken:
            run.colour = preferred
        else:
            run.colour = next((index for index in free if index not in taken), number % COLOURS)
        taken.add(run.colour)
    return runs


def read_run(folder: Path) -> Run:
    """Read one model's folder.

    Args:
        folder: The folder; only ``accuracy.json`` must be in it.

    Raises:
        UserError: As ``read_runs``.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: give the folder of one model's measurements")
    accuracy = _read_json(existing_file(folder / "accuracy.json", "accuracy"))
    for key in HEADLINE:
        if not is_number(accuracy.get(key)):
            raise UserError(
                f"{folder / 'accuracy.json'} has no number {key}: make it with kd-bench accuracy"
            )
    details = _optional_json(folder / "run.json") or {}
    if not is_number(details.get("parameters") or 0):
        raise UserError(
            f"{folder / 'run.json'}: parameters is {details['parameters']!r}: give a whole number"
        )
    name = _one_line(details.get("name") or folder.resolve().name)
    latency = _optional_json(folder / "latency.json")
    return Run(
        folder=folder,
        name=name,
        role=_one_line(details.get("role") or ""),
        accuracy=accuracy,
        details=details,
        latency=latency,
        timing=_timing(latency, name, folder) if latency else None,
        parity=_optional_json(folder / "parity.json"),
        training=_read_training(folder / "training.csv"),
    )


def _timing(latency: dict[str, Any], name: str, folder: Path) -> dict[str, Any]:
    """Return the entry that bears the run's or the folder's name, else the first."""
    try:
        entries = latency["models"]
        by_name = {str(entry["model"]): entry for entry in entries}
        entry = by_name.get(name) or by_name.get(folder.resolve().name) or entries[0]
        stages = entry["stages"]
        if not all(is_number(stage["median_ms"]) for stage in [*stages.values(), stages["total"]]):
            raise ValueError("a median is not a number")
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise UserError(
            f"{folder / 'latency.json'} is not whole ({error!r}): make it with kd-bench latency"
        ) from error
    return dict(entry)


def _read_training(path: Path) -> dict[str, list[float]]:
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            rows = list(csv.DictReader(handle))
        if not rows or "loss" not in rows[0]:
            return {}
        # A cell may be empty, e.g. a validation figure in epochs without one.
        return {
            _one_line(name): [float(row[name] or math.nan) for row in rows]
            for name in rows[0]
            if name
        }
    except (ValueError, TypeError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"{path} is not a table of numbers ({error}): expected columns epoch, step, seconds, "
            "loss and the parts of the loss"
        ) from error


def _optional(path: Path) -> Path | None:
    return path if path.is_file() else None


def _optional_json(path: Path) -> dict[str, Any] | None:
    return _read_json(path) if path.is_file() else None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(f"{path} is not a JSON file ({error}): write it again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no JSON object: write it again")
    return content


def is_number(value: Any) -> TypeGuard[float]:
    """Tell whether a value of a JSON file is a finite number.

    Examples:
        >>> is_number(3), is_number(float("nan")), is_number("3"), is_number(True)
        (True, False, False, False)
    """
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _one_line(value: Any) -> str:
    """Return a name without line breaks and without what no font can draw."""
    text = " ".join(str(value).split())
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
