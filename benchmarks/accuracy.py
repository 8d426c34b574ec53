"""``kd-bench accuracy``: score a result file against ground truth."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.metrics import (
    SequenceData,
    combine,
    counting_rows,
    evaluate,
    sequence_from_rows,
)
from benchmarks.sequences import Sequence
from runtime.errors import UserError
from runtime.mot import check_unique_ids, read_mot, read_sequence_info


def score_file(gt: str | os.PathLike[str], results: str | os.PathLike[str]) -> dict[str, Any]:
    """Score a result file.

    Args:
        gt: Ground truth: a sequence folder with ``gt/gt.txt``, or the file itself.
        results: MOTChallenge result file; an empty one is legal.

    Returns:
        The figures as ``benchmarks.metrics.Scores.to_dict`` names them, and ``sequence``.

    Raises:
        UserError: A file is missing or damaged, an identity occurs twice in a frame, or a row lies
            beyond the sequence's length.
    """
    gt_file = ground_truth_file(gt)
    scores = evaluate(load_sequence(gt_file, results)).to_dict()
    return {"sequence": _sequence_name(gt_file), **scores}


def score_sequences(sequences: Iterable[Sequence], tracks: Path) -> dict[str, Any]:
    """Score the result files of several sequences.

    Args:
        sequences: With ground truth, at least one.
        tracks: Folder of the result files, ``SEQUENCE.txt``.

    Returns:
        For one sequence what ``score_file`` returns. For several their figures combined as
        TrackEval combines them, ``sequence`` with all names, and ``sequences``, a list of the
        figures of each.

    Raises:
        UserError: As ``score_file``.
    """
    names, scores = [], []
    for sequence in sequences:
        names.append(sequence.name)
        gt_file = sequence.gt_file or sequence.path / "gt" / "gt.txt"
        frames = (sequence.first, sequence.last)
        data = load_sequence(gt_file, tracks / f"{sequence.name}.txt", frames)
        scores.append(evaluate(data))
    each = [{"sequence": name, **one.to_dict()} for name, one in zip(names, scores, strict=True)]
    if len(each) == 1:
        return each[0]
    return {"sequence": ", ".join(names), **combine(scores).to_dict(), "sequences": each}


def load_sequence(
    gt_file: str | os.PathLike[str],
    results: str | os.PathLike[str],
    frames: tuple[int, int] | None = None,
) -> SequenceData:
    """Read both files and keep the rows that count.

    Ground truth: rows whose mark is 0 do not count; where the file holds classes (MOT16 and later)
    only pedestrians count, and result boxes that match a distractor leave the evaluation, both as
    TrackEval does for MOT16 and MOT17. The length is the ``seqinfo.ini``'s where there is one, else
    the last frame of either file; without one, result rows behind the last ground truth count as
    false positives.

    Args:
        gt_file: Ground-truth file.
        results: Result file.
        frames: First and last frame that count, from 1; None for all. Ground truth of others is
            left out, results of others are an error.

    Raises:
        UserError: As ``score_file``.
    """
    gt_path, results_path = Path(gt_file), Path(results)
    truth = read_mot(gt_path, "ground truth")
    found = read_mot(results_path, "result file")
    info_file = sequence_info_file(gt_path)
    last = int(max([0, *truth.frames[-1:], *found.frames[-1:]]))
    length = read_sequence_info(info_file).length if info_file else last
    for rows, path in ((truth, gt_path), (found, results_path)):
        if len(rows) and rows.frames[-1] > length:
            raise UserError(
                f"{path} has a row for frame {rows.frames[-1]}, but {info_file} says that the "
                f"sequence has {length} frames: give the results of this sequence"
            )
    if frames is not None:
        first, last = frames
        truth = truth[(truth.frames >= first) & (truth.frames <= last)]
        outside = (found.frames < first) | (found.frames > last)
        if outside.any():
            raise UserError(
                f"{results_path} has a row for frame {found.frames[outside][0]}, but {first} to "
                f"{last} are scored: give the results of these frames"
            )
        truth.frames, found.frames = truth.frames - first + 1, found.frames - first + 1
        length = last - first + 1
    check_unique_ids(truth[counting_rows(truth)], gt_path)
    check_unique_ids(found, results_path)
    return sequence_from_rows(truth, found, length)


def ground_truth_file(path: str | os.PathLike[str]) -> Path:
    """Return the ground-truth file of a sequence folder, or the file itself.

    Raises:
        UserError: The folder holds none.
    """
    given = Path(path)
    if not given.is_dir():
        return given
    for candidate in (given / "gt" / "gt.txt", given / "gt.txt"):
        if candidate.is_file():
            return candidate
    raise UserError(f"{given} has no gt/gt.txt: give a sequence folder or a ground-truth file")


def sequence_info_file(gt_file: Path) -> Path | None:
    """Return the ``seqinfo.ini`` that belongs to a ground-truth file, if there is one."""
    folder = gt_file.resolve().parent
    candidates = [folder / "seqinfo.ini"]
    if folder.name == "gt":
        candidates.append(folder.parent / "seqinfo.ini")
    return next((file for file in candidates if file.is_file()), None)


def _sequence_name(gt_file: Path) -> str:
    info_file = sequence_info_file(gt_file)
    if info_file:
        return read_sequence_info(info_file).name
    folder = gt_file.resolve().parent
    return folder.parent.name if folder.name == "gt" else folder.name


HEADLINE = ("MOTA", "IDF1", "HOTA", "DetA", "AssA", "LocA", "IDSW", "FP", "FN")
REST = ("MOTP", "IDP", "IDR", "recall", "precision", "MT", "PT", "ML", "Frag", "ids", "frames")


def print_scores(scores: dict[str, Any]) -> None:
    """Print the figures as two tables on standard output; ratios are fractions."""
    from runtime.console import print_table

    print_table(f"Accuracy on {scores['sequence']}", HEADLINE, [[scores[key] for key in HEADLINE]])
    print_table("", REST, [[scores[key] for key in REST]])
