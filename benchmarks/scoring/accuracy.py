"""``kd-bench accuracy``: score result files against ground truth."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.metrics import (
    MOT17,
    MOT20,
    Rules,
    Scores,
    SequenceData,
    average_classes,
    combine,
    combine_classes,
    counting_rows,
    evaluate,
    sequence_from_rows,
)
from benchmarks.metrics.counting import PEDESTRIAN
from benchmarks.scoring.sequences import Sequence, find_sequences, scene_of
from runtime.errors import UserError
from runtime.mot import MotRows, check_unique_ids, read_mot, read_sequence_info

BENCHMARKS = {"MOT15": MOT17, "MOT16": MOT17, "MOT17": MOT17, "MOT20": MOT20}


@dataclass(frozen=True)
class Scheme:
    """What is scored; the default is pedestrians, by the rules of the MOTChallenge.

    Attributes:
        classes: Classes of one's own dataset, as the eighth column numbers them from 1 on in ground
            truth and results. Each is scored alone, then all together. Rows of other classes and
            ground truth of mark 0 are left out, and there are no distractors.
        regions: Classes of the ground truth that are regions to ignore; see ``Rules``.
        benchmark: Whose rules to follow, a key of ``BENCHMARKS``; empty to tell it by the
            sequence's name, MOT17's where that does not begin with one.
    """

    classes: tuple[int, ...] = ()
    regions: tuple[int, ...] = ()
    benchmark: str = ""

    def __post_init__(self) -> None:
        if self.regions and not self.classes:
            raise UserError("the MOTChallenge has no regions to ignore: give --classes as well")
        both = sorted(set(self.classes) & set(self.regions))
        if both:
            raise UserError(f"class {both[0]} is to be scored and to be ignored: choose one")


PEDESTRIANS = Scheme()


def score_file(
    gt: str | os.PathLike[str],
    results: str | os.PathLike[str],
    scheme: Scheme = PEDESTRIANS,
) -> dict[str, Any]:
    """Score a result file.

    Args:
        gt: Ground truth: a sequence folder with ``gt/gt.txt``, or the file itself.
        results: MOTChallenge result file; an empty one is legal.
        scheme: What to score.

    Returns:
        The figures as ``benchmarks.metrics.Scores.to_dict`` names them, and ``sequence``. With
        classes the figures are those of all boxes (TrackEval's ``cls_comb_det_av``), and beside
        them stand ``classes``, those of each, and ``cls_comb_cls_av``, their averages.

    Raises:
        UserError: A file is missing or damaged, an identity occurs twice in a frame, a row lies
            beyond the sequence's length, or results have other classes than pedestrians, which
            TrackEval refuses too.
    """
    gt_file = ground_truth_file(gt)
    name = _sequence_name(gt_file)
    return {"sequence": name, **_figures(_score(name, gt_file, Path(results), None, scheme))}


def score_sequences(
    sequences: Iterable[Sequence], tracks: Path, scheme: Scheme = PEDESTRIANS
) -> dict[str, Any]:
    """Score the result files of several sequences.

    Args:
        sequences: With ground truth, at least one.
        tracks: Folder of the result files, ``SEQUENCE.txt``.
        scheme: What to score.

    Returns:
        For one sequence what ``score_file`` returns. For several their figures combined as
        TrackEval combines them, ``sequence`` with all names, and ``sequences``, a list of the
        figures of each.

    Raises:
        UserError: As ``score_file``.
    """
    names, scored = [], []
    for sequence in sequences:
        names.append(sequence.name)
        gt_file = sequence.gt_file or ground_truth_file(sequence.path)
        file = tracks / f"{sequence.name}.txt"
        scored.append(_score(sequence.name, gt_file, file, (sequence.first, sequence.last), scheme))
    each = [{"sequence": name, **_figures(one)} for name, one in zip(names, scored, strict=True)]
    if len(each) == 1:
        return each[0]
    together = {label: combine([one[label] for one in scored]) for label in scored[0]}
    return {"sequence": ", ".join(names), **_figures(together), "sequences": each}


def score_folder(
    root: Path, tracks: Path, split: str | None = None, scheme: Scheme = PEDESTRIANS
) -> dict[str, Any]:
    """Score a folder of result files against a dataset.

    Args:
        root: As for ``find_sequences``. Of MOT17's three copies of a sequence those are scored that
            have results.
        tracks: Folder with a ``SEQUENCE.txt`` for every sequence.
        split: Name of the split; None for all.
        scheme: What to score.

    Returns:
        As ``score_sequences``.

    Raises:
        UserError: A sequence has no result file, or as ``score_file``.
    """
    sequences = find_sequences(root, split)
    there = [one for one in sequences if (tracks / f"{one.name}.txt").is_file()]
    scenes = {scene_of(one.name) for one in there}
    missing = [one.name for one in sequences if scene_of(one.name) not in scenes]
    if missing:
        raise UserError(
            f"{tracks} has no result file for {', '.join(missing)}: add {missing[0]}.txt"
            + (" and the others" if len(missing) > 1 else "")
        )
    return score_sequences(there, tracks, scheme)


def _score(
    name: str, gt_file: Path, results: Path, frames: tuple[int, int] | None, scheme: Scheme
) -> dict[int, Scores]:
    """Return the figures of each class."""
    files = _read(gt_file, results, frames)
    truth, found = files.truth, files.found
    if not scheme.classes:
        other = found.classes > PEDESTRIAN
        if other.any():
            raise UserError(
                f"{results} has tracks of class {found.classes[other][0]}, and the MOTChallenge "
                "scores pedestrians alone, class 1: give --classes to score each class"
            )
        benchmark = scheme.benchmark or name[:5]
        return {PEDESTRIAN: evaluate(files.sequence(BENCHMARKS.get(benchmark, MOT17)))}
    regions = np.isin(truth.classes, scheme.regions)
    scored = {}
    for label in scheme.classes:
        rules = Rules(label, (), scheme.regions)
        of_class = replace(
            files,
            truth=truth[counting_rows(truth, rules) | regions],
            found=found[found.classes == label],
        )
        scored[label] = evaluate(of_class.sequence(rules))
    return scored


def _figures(scored: dict[int, Scores]) -> dict[str, Any]:
    if list(scored) == [PEDESTRIAN]:
        return scored[PEDESTRIAN].to_dict()
    scores = list(scored.values())
    return {
        **combine_classes(scores).to_dict(),
        "classes": [{"class": label, **one.to_dict()} for label, one in scored.items()],
        "cls_comb_cls_av": average_classes(scores),
    }


def load_sequence(gt_file: str | os.PathLike[str], results: str | os.PathLike[str]) -> SequenceData:
    """Read both files and keep the rows that count.

    Ground truth: rows whose mark is 0 do not count; where the file holds classes (MOT16 and later)
    only pedestrians count, and result boxes that match a distractor leave the evaluation, both as
    TrackEval does for MOT16 and MOT17. The length is the ``seqinfo.ini``'s where there is one, else
    the last frame of either file; without one, result rows behind the last ground truth count as
    false positives.

    Args:
        gt_file: Ground-truth file.
        results: Result file.

    Raises:
        UserError: As ``score_file``.
    """
    return _read(Path(gt_file), Path(results), None).sequence(MOT17)


@dataclass(frozen=True)
class _Files:
    """What stands in two files about the frames ``first`` to ``last``."""

    gt_file: Path
    results: Path
    truth: MotRows
    found: MotRows
    first: int
    last: int

    def sequence(self, rules: Rules) -> SequenceData:
        """Keep the rows that count."""
        check_unique_ids(self.truth[counting_rows(self.truth, rules)], self.gt_file)
        check_unique_ids(self.found, self.results)
        skipped = self.first - 1
        truth = replace(self.truth, frames=self.truth.frames - skipped)
        found = replace(self.found, frames=self.found.frames - skipped)
        return sequence_from_rows(truth, found, self.last - skipped, rules)


def _read(gt_file: Path, results: Path, frames: tuple[int, int] | None) -> _Files:
    truth = read_mot(gt_file, "ground truth")
    found = read_mot(results, "result file")
    info_file = sequence_info_file(gt_file)
    last = int(max([0, *truth.frames[-1:], *found.frames[-1:]]))
    length = read_sequence_info(info_file).length if info_file else last
    for rows, path in ((truth, gt_file), (found, results)):
        if len(rows) and rows.frames[-1] > length:
            raise UserError(
                f"{path} has a row for frame {rows.frames[-1]}, but {info_file} says that the "
                f"sequence has {length} frames: give the results of this sequence"
            )
    if frames is None:
        return _Files(gt_file, results, truth, found, 1, length)
    first, last = frames
    outside = (found.frames < first) | (found.frames > last)
    if outside.any():
        raise UserError(
            f"{results} has a row for frame {found.frames[outside][0]}, but {first} to {last} are "
            "scored: give the results of these frames"
        )
    truth = truth[(truth.frames >= first) & (truth.frames <= last)]
    return _Files(gt_file, results, truth, found, first, last)


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
COMPARED = ("MOTA", "IDF1", "HOTA", "DetA", "AssA", "IDSW", "FP", "FN", "fps")


def print_scores(scores: dict[str, Any]) -> None:
    """Print the figures as tables on standard output; ratios are fractions."""
    from runtime.console import print_table

    print_table(f"Accuracy on {scores['sequence']}", HEADLINE, [[scores[key] for key in HEADLINE]])
    print_table("", REST, [[scores[key] for key in REST]])
    if "classes" in scores:
        parts = {str(one["class"]): one for one in scores["classes"]}
        _print_rows("Classes", "class", {**parts, "average": scores["cls_comb_cls_av"]}, HEADLINE)
    if "sequences" in scores:
        parts = {one["sequence"]: one for one in scores["sequences"]}
        _print_rows("Sequences", "sequence", parts, HEADLINE)


def print_models(measured: dict[str, dict[str, Any]]) -> None:
    """Print the figures of models, by name, over all sequences and on each."""
    first = next(iter(measured.values()))
    _print_rows(f"Accuracy on {first['sequence']}", "model", measured, COMPARED)
    for number, sequence in enumerate(first.get("sequences", ())):
        parts = {name: scores["sequences"][number] for name, scores in measured.items()}
        _print_rows(sequence["sequence"], "model", parts, COMPARED)


def _print_rows(
    title: str, kind: str, rows: dict[str, dict[str, Any]], columns: tuple[str, ...]
) -> None:
    from runtime.console import print_table

    cells = [[name, *(scores.get(key) for key in columns)] for name, scores in rows.items()]
    print_table(title, (kind, *columns), cells)
