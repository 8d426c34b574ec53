"""Contenders over sequences: their result files and their figures."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Collection
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.contenders import Contender, exported_models
from benchmarks.scoring.accuracy import PEDESTRIANS, Scheme, score_sequences
from benchmarks.scoring.sequences import Sequence
from runtime.console import progress, warn
from runtime.errors import UserError
from runtime.files import atomic_path, output_directory, write_json


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
        with_class: Write each track's class, counted from 1, in the eighth column. Otherwise tracks
            of the first class alone are written, as the MOTChallenge wants pedestrians alone, and
            a warning tells of others.
        advance: Called after each frame.

    Returns:
        Frames per second from frame to tracks, reading left out.

    Raises:
        UserError: A frame cannot be read, or the file cannot be written.
    """
    contender.begin(sequence.fps)
    rows: list[str] = []
    spent, left_out = 0.0, 0
    for number, frame in enumerate(sequence.frames(), sequence.first):
        start = time.perf_counter()
        tracks = contender.step(frame).tracks
        spent += time.perf_counter() - start
        labels = tracks.classes.tolist()
        written = tracks.to_mot_rows(number, with_class)
        kept = [row for row, label in zip(written, labels, strict=True) if with_class or label == 0]
        rows += kept
        left_out += len(written) - len(kept)
        advance()
    with atomic_path(file) as temporary:
        temporary.write_text("".join(f"{row}\n" for row in rows), encoding="ascii")
    if left_out:
        warn(
            f"{contender.description.model} on {sequence.name}: {left_out} boxes of other classes "
            "than the first are left out, give --classes to keep them"
        )
    return _rate(len(sequence), spent)


def measure_accuracy(
    contenders: Collection[Contender],
    sequences: Collection[Sequence],
    out: Path | None = None,
    scheme: Scheme = PEDESTRIANS,
) -> dict[str, dict[str, Any]]:
    """Run contenders over sequences with ground truth, and score them.

    Args:
        contenders: Opened; their descriptions' names tell them apart.
        sequences: As ``find_sequences`` gives them, at least one.
        out: Folder in which each contender gets one, with ``tracks/SEQUENCE.txt`` and
            ``accuracy.json``; None to keep nothing.
        scheme: What to score.

    Returns:
        By name of the contender the content of its ``accuracy.json``: the figures as
        ``score_sequences`` returns them, and ``fps``, frames per second from frame to tracks, of
        all and of each of several sequences.

    Raises:
        UserError: As ``track`` and ``score_sequences``, or two contenders have one folder.
    """
    if out is None:
        with tempfile.TemporaryDirectory() as scratch:
            return measure_accuracy(contenders, sequences, Path(scratch), scheme)
    folders = [contender_folder(out, contender.description.model) for contender in contenders]
    for folder in folders:
        if folders.count(folder) > 1:
            raise UserError(f"two models would write to {folder}: name them, --model NAME=PATH")
        output_directory(folder / "tracks")
    measured = {}
    with progress("fps", transient=True) as bar:
        for contender, folder in zip(contenders, folders, strict=True):
            name = contender.description.model
            task = bar.add_task(name, total=sum(map(len, sequences)), fps="")
            seconds = []
            for sequence in sequences:
                fps = track(
                    contender,
                    sequence,
                    folder / "tracks" / f"{sequence.name}.txt",
                    with_class=bool(scheme.classes),
                    advance=partial(bar.advance, task),
                )
                seconds.append(len(sequence) / fps if fps else 0.0)
                bar.update(task, fps=f"{fps:.1f} fps")
            figures = score_sequences(sequences, folder / "tracks", scheme)
            figures["fps"] = _rate(sum(map(len, sequences)), sum(seconds))
            for one, sequence, spent in zip(
                figures.get("sequences", ()), sequences, seconds, strict=False
            ):
                one["fps"] = _rate(len(sequence), spent)
            write_json(folder / "accuracy.json", figures)
            measured[name] = figures
    return measured


def measure_models(
    models: tuple[str, ...],
    sequences: Collection[Sequence],
    out: Path | None = None,
    scheme: Scheme = PEDESTRIANS,
    backend: str = "auto",
    threads: int | None = None,
) -> dict[str, dict[str, Any]]:
    """Open exported models and measure their accuracy.

    Args:
        models: ``PATH`` or ``NAME=PATH`` of each.
        sequences: As for ``measure_accuracy``.
        out: See there.
        scheme: See there.
        backend: Backend for ``runtime.load``.
        threads: CPU threads; the engine's own choice when None.

    Returns:
        As ``measure_accuracy``.

    Raises:
        UserError: As there, or a model cannot be used.
    """
    with ExitStack() as stack:
        # All are opened first: a file that does not load is told of before the work.
        contenders = [
            stack.enter_context(recipe.open(backend, threads)) for recipe in exported_models(models)
        ]
        return measure_accuracy(contenders, sequences, out, scheme)


def _rate(frames: int, seconds: float) -> float:
    return frames / seconds if seconds else 0.0


def contender_folder(out: Path, name: str) -> Path:
    """Return a contender's folder; no name leads elsewhere.

    Examples:
        >>> contender_folder(Path("out"), "a/model").as_posix()
        'out/a-model'
    """
    return out / (re.sub(r"[^\w.+-]+", "-", name).strip("-.") or "model")
