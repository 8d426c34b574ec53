"""Contenders over sequences: their result files and their figures."""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.accuracy import score_sequences
from benchmarks.contenders import Contender
from benchmarks.sequences import Sequence
from runtime.console import progress
from runtime.errors import UserError
from runtime.files import atomic_path, output_directory


def track(
    contender: Contender,
    sequence: Sequence,
    file: Path,
    *,
    with_class: bool = False,
    advance: Callable[[], object] = lambda: None,
) -> float:
    """Run a contender over a sequence and write its result file.

    Args:
        contender: Opened; whatever it tracked before is forgotten.
        sequence: The sequence, or the part of one.
        file: MOTChallenge result file, written whole or not at all. Frames bear the numbers they
            have in the whole sequence.
        with_class: Write each track's class, counted from 1, in the eighth column.
        advance: Called after each frame.

    Returns:
        Frames per second from frame to tracks, reading left out.

    Raises:
        UserError: A frame cannot be read, or the file cannot be written.
    """
    contender.begin(sequence.fps)
    rows: list[str] = []
    spent = 0.0
    for number, frame in enumerate(sequence.frames(), sequence.first):
        start = time.perf_counter()
        tracks = contender.step(frame).tracks
        spent += time.perf_counter() - start
        rows += tracks.to_mot_rows(number, with_class)
        advance()
    with atomic_path(file) as temporary:
        temporary.write_text("".join(f"{row}\n" for row in rows), encoding="ascii")
    return len(sequence) / spent if spent else 0.0


def measure_accuracy(
    contenders: Iterable[Contender], sequences: Iterable[Sequence], out: Path | None = None
) -> dict[str, dict[str, Any]]:
    """Run contenders over sequences with ground truth, and score them.

    Args:
        contenders: Opened; their descriptions' names tell them apart.
        sequences: As ``find_sequences`` gives them, at least one.
        out: Folder in which each contender gets one, with ``tracks/SEQUENCE.txt`` and
            ``accuracy.json``; None to keep nothing.

    Returns:
        By name of the contender the content of its ``accuracy.json``: the figures as
        ``score_sequences`` returns them, and ``fps``, frames per second from frame to tracks.

    Raises:
        UserError: As ``track`` and ``score_sequences``, or two contenders have one folder.
    """
    runners, parts = list(contenders), list(sequences)
    if out is None:
        with tempfile.TemporaryDirectory() as scratch:
            return measure_accuracy(runners, parts, Path(scratch))
    folders = [contender_folder(out, runner.description.model) for runner in runners]
    for folder in folders:
        if folders.count(folder) > 1:
            raise UserError(f"two models would write to {folder}: name them, --model NAME=PATH")
        output_directory(folder / "tracks")
    measured = {}
    with progress("fps", transient=True) as bar:
        for runner, folder in zip(runners, folders, strict=True):
            name = runner.description.model
            task = bar.add_task(name, total=sum(map(len, parts)), fps="")
            seconds = 0.0
            for sequence in parts:
                file = folder / "tracks" / f"{sequence.name}.txt"
                fps = track(runner, sequence, file, advance=partial(bar.advance, task))
                seconds += len(sequence) / fps if fps else 0.0
                bar.update(task, fps=f"{fps:.1f} fps")
            fps = sum(map(len, parts)) / seconds if seconds else 0.0
            figures = {**score_sequences(parts, folder / "tracks"), "fps": fps}
            with atomic_path(folder / "accuracy.json") as temporary:
                temporary.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
            measured[name] = figures
    return measured


def contender_folder(out: Path, name: str) -> Path:
    """Return a contender's folder; no name leads elsewhere.

    Examples:
        >>> contender_folder(Path("out"), "a/model").as_posix()
        'out/a-model'
    """
    return out / (re.sub(r"[^\w.+-]+", "-", name).strip("-.") or "model")
