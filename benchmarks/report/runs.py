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

from benchmarks.report.formats import one_line
from runtime.errors import UserError

HEADLINE = ("MOTA", "IDF1", "HOTA")
# Each role keeps its colour on every page; other runs take the colours behind them.
ROLES = ("teacher", "undistilled", "distilled")
RIVAL = "rival"
COLOURS = 10
# What a page can be made of.
CONTENTS = ("accuracy.json", "latency.json", "tracks.txt", "tracks")


@dataclass
class Run:
    """Everything a page shows of one model.

    Attributes:
        folder: Where it was read from.
        name: Name of the row.
        role: ``teacher``, ``undistilled``, ``distilled``, ``rival`` or any other word; empty when
            not told.
        accuracy: Content of ``accuracy.json``; empty without ground truth to score against.
        details: Content of ``run.json``.
        latency: Content of ``latency.json``, or None.
        timing: The entry of this model in ``latency``, or None.
        parity: Content of ``parity.json``, else what ``timing`` tells of it, or None.
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
    def rival(self) -> bool:
        """Whether it is the work of others."""
        return self.role == RIVAL

    @property
    def sequences(self) -> list[dict[str, Any]]:
        """The accuracy figures of each sequence; one that is alone stands for all."""
        alone = [self.accuracy] if self.accuracy else []
        told: list[dict[str, Any]] = self.accuracy.get("sequences") or alone
        return told

    @property
    def sequence_names(self) -> list[str]:
        """The names of the sequences it was scored on."""
        return [one_line(figures.get("sequence") or "not named") for figures in self.sequences]

    def tracks(self, sequence: str, alone: bool) -> Path | None:
        """Return the result file of a sequence, if there is one.

        Args:
            sequence: Name of the sequence.
            alone: Whether it is the only one there is footage of, so that a single file is taken
                as its.
        """
        # A name from a seqinfo.ini may be anything; it must not lead out of the folder.
        if Path(sequence).name == sequence:
            file = self.folder / "tracks" / f"{sequence}.txt"
            if file.is_file():
                return file
        single = _optional(self.folder / "tracks.txt")
        return single if alone or self.sequence_names == [one_line(sequence)] else None

    @property
    def overlay(self) -> Path | None:
        """The video with the tracks drawn in, if there is one."""
        return _optional(self.folder / "overlay.webm")

    @property
    def milliseconds(self) -> float | None:
        """Median time from frame to tracks in ms."""
        return self.timing["stages"]["total"]["median_ms"] if self.timing else None

    @property
    def frame_ms(self) -> list[float]:
        """Time of every frame that was timed, in ms; empty when not told."""
        told = (self.timing or {}).get("frame_ms")
        times = told if isinstance(told, list) else []
        return [float(value) for value in times if is_number(value) and value > 0]

    def measured(self, *keys: str) -> float | None:
        """Return a figure of the timing, e.g. ``measured("stages", "total", "p99_ms")``."""
        value: Any = self.timing
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return float(value) if is_number(value) else None

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
    """Read the folders and give each run a colour; rivals come last.

    Args:
        folders: One per model.

    Raises:
        UserError: A folder is missing or holds nothing to show, or a file is damaged.
    """
    runs = sorted((read_run(Path(folder)) for folder in folders), key=lambda run: run.rival)
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
        folder: The folder; one of ``CONTENTS`` at least must be in it.

    Raises:
        UserError: As ``read_runs``.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: give the folder of one model's measurements")
    if not any((folder / name).exists() for name in CONTENTS):
        raise UserError(
            f"{folder} holds none of {', '.join(CONTENTS)}: give the folder of one model's "
            "measurements"
        )
    details = _optional_json(folder / "run.json") or {}
    if not is_number(details.get("parameters") or 0):
        raise UserError(
            f"{folder / 'run.json'}: parameters is {details['parameters']!r}: give a whole number"
        )
    name = one_line(details.get("name") or folder.resolve().name)
    latency = _optional_json(folder / "latency.json")
    timing = _timing(latency, name, folder) if latency else None
    told = (timing or {}).get("parity")
    return Run(
        folder=folder,
        name=name,
        role=one_line(details.get("role") or ""),
        accuracy=_read_accuracy(folder / "accuracy.json"),
        details=details,
        latency=latency,
        timing=timing,
        parity=_optional_json(folder / "parity.json")
        or (told if isinstance(told, dict) and told else None),
        training=_read_training(folder / "training.csv"),
    )


def headline(runs: Sequence[Run]) -> tuple[str, ...]:
    """Return the accuracy figures that a table of these runs shows: none where none is scored."""
    return HEADLINE if any(run.accuracy for run in runs) else ()


def _read_accuracy(file: Path) -> dict[str, Any]:
    """Return the accuracy figures, whole, or none where there is no such file."""
    if not file.is_file():
        return {}
    accuracy = _read_json(file)
    for key in HEADLINE:
        if not is_number(accuracy.get(key)):
            raise UserError(f"{file} has no number {key}: make it with kd-bench accuracy")
    _check_sequences(accuracy.get("sequences"), file)
    return accuracy


def _check_sequences(sequences: Any, file: Path) -> None:
    """Prove that what a file tells of its sequences can be shown."""
    if sequences is None:
        return
    if not isinstance(sequences, list) or not all(
        isinstance(entry, dict) and all(is_number(entry.get(key)) for key in HEADLINE)
        for entry in sequences
    ):
        raise UserError(
            f"{file} tells of sequences without {', '.join(HEADLINE)}: score them again"
        )


def _timing(latency: dict[str, Any], name: str, folder: Path) -> dict[str, Any]:
    """Return the entry that bears the run's or the folder's name, or the only one."""
    try:
        entries = latency["models"]
        by_name = {one_line(entry["model"]): entry for entry in entries}
        known = [one for one in (name, one_line(folder.resolve().name)) if one in by_name]
        if not known and len(entries) > 1:
            raise UserError(
                f"{folder / 'latency.json'} tells of {', '.join(by_name)} and not of {name}: give "
                f"the name in {folder / 'run.json'}"
            )
        entry = by_name[known[0]] if known else entries[0]
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
            one_line(name): [float(row[name] or math.nan) for row in rows]
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
