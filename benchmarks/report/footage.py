"""The sequences that tracks were made of, and what each run made of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.metrics import SequenceData
from benchmarks.report.runs import Run
from benchmarks.scoring.accuracy import load_sequence
from runtime.errors import UserError
from runtime.mot import MotRows, read_mot, read_sequence_info


@dataclass(frozen=True)
class Footage:
    """One sequence: its name, its frames, and its ground truth where there is one."""

    name: str
    path: Path
    gt_file: Path | None


@dataclass(frozen=True)
class Tracked:
    """What one run made of one sequence.

    Attributes:
        run: The run.
        footage: The sequence.
        rows: The tracks.
        data: Ground truth against the tracks, or None without ground truth.
    """

    run: Run
    footage: Footage
    rows: MotRows
    data: SequenceData | None


def find_footage(sources: Sequence[str | os.PathLike[str]]) -> list[Footage]:
    """Find the sequences.

    Args:
        sources: Videos, folders of images or sequences, or folders of such.

    Returns:
        The sequences in the order given; those of a folder by name.

    Raises:
        UserError: A source does not exist.
    """
    found = []
    for source in sources:
        path = Path(source)
        if not path.exists():
            raise UserError(f"source {path} does not exist: check the path")
        inner = [] if _is_sequence(path) else _sequences_in(path)
        found += [_footage(folder) for folder in inner or [path]]
    return found


def tracked(runs: Sequence[Run], footage: Sequence[Footage]) -> list[Tracked]:
    """Read every run's tracks of every sequence that it has tracks of, sequence by sequence.

    Raises:
        UserError: A file is damaged, or does not fit the ground truth.
    """
    found = []
    for sequence in footage:
        for run in runs:
            file = run.tracks(sequence.name, alone=len(footage) == 1)
            if file is not None:
                data = load_sequence(sequence.gt_file, file) if sequence.gt_file else None
                found.append(Tracked(run, sequence, read_mot(file, "tracks"), data))
    return found


def _is_sequence(path: Path) -> bool:
    return (path / "seqinfo.ini").is_file() or (path / "gt" / "gt.txt").is_file()


def _sequences_in(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    return sorted(folder for folder in path.iterdir() if _is_sequence(folder))


def _footage(path: Path) -> Footage:
    # The ground truth of a video lies beside it.
    folders = (path, path.resolve().parent)
    gt_file = next((file for one in folders if (file := one / "gt" / "gt.txt").is_file()), None)
    info = (gt_file.parent.parent if gt_file else path) / "seqinfo.ini"
    if info.is_file():
        name = read_sequence_info(info).name
    else:
        name = path.resolve().name if path.is_dir() else path.stem
    return Footage(name, path, gt_file)
