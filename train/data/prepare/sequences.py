"""Finding and reading sequences with ground truth in the MOTChallenge format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from runtime.errors import UserError
from runtime.mot import MotRows, read_mot, read_sequence_info
from runtime.sources.images import list_images
from runtime.sources.opening import VIDEO_SUFFIXES
from runtime.sources.video import VideoSource
from train.data.labels import IMAGES, Labels
from train.data.prepare.base import Options, Part, count, drop_sizeless, in_processes
from train.data.prepare.pictures import frame_numbers, image_size

GROUND_TRUTH = "gt/gt.txt"
# About a second is needed for this much ground truth, or for this much video.
BYTES_PER_SECOND = 8e6


@dataclass(frozen=True)
class RowRule:
    """Which rows of ground truth count, and as what.

    Attributes:
        classes: Class number by the number in the eighth column; rows of other classes are left
            out. None: the column does not matter, everything is class 0.
        complete: Rows of other classes are an error instead, and so are several classes where
            ``classes`` is None.
        clip: Boxes are cut at the borders of the picture.
    """

    classes: Mapping[int, int] | None = None
    complete: bool = False
    clip: bool = False


@dataclass(frozen=True)
class FoundSequences:
    """Sequences of a dataset.

    Attributes:
        by_split: Folders of the sequences with ground truth, by split, sorted by name.
        notes: About folders that have none.
    """

    by_split: dict[str, list[Path]]
    notes: list[str]


def find_sequences(root: Path, folders_of: Mapping[str, Sequence[str]]) -> FoundSequences:
    """Look for ``ROOT/FOLDER/SEQ/gt/gt.txt`` and ``ROOT/images/FOLDER/SEQ/gt/gt.txt``.

    Where there is neither, ``root`` may be a folder of sequences or one sequence itself; these are
    the split ``train``.

    Args:
        root: Folder of the dataset.
        folders_of: Names of the folders that make up each split.
    """
    by_split: dict[str, list[Path]] = {}
    notes = []
    for split, names in folders_of.items():
        for base in (root, root / IMAGES):
            folders = [entry for name in names for entry in _subfolders(base / name)]
            found = [folder for folder in folders if (folder / GROUND_TRUTH).is_file()]
            bare = [folder for folder in folders if folder not in found and _has_frames(folder)]
            if bare and (found or base == root):
                notes.append(_left_out(bare, root))
            if found:
                by_split[split] = sorted(found, key=lambda folder: folder.name)
                break
    if not by_split:
        alone = (root / GROUND_TRUTH).is_file()
        found = [folder for folder in _subfolders(root) if (folder / GROUND_TRUTH).is_file()]
        if alone or found:
            by_split["train"] = [root] if alone else found
    return FoundSequences(by_split, notes)


def _subfolders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    entries = (entry for entry in folder.iterdir() if not entry.name.startswith("."))
    return sorted(entry for entry in entries if entry.is_dir())


def _has_frames(folder: Path) -> bool:
    return (folder / "img1").is_dir() or (folder / "seqinfo.ini").is_file()


def _left_out(folders: Sequence[Path], root: Path) -> str:
    names = ", ".join(folder.relative_to(root).as_posix() for folder in folders[:3])
    more = ", ..." if len(folders) > 3 else ""
    return f"left out, without ground truth: {names}{more} ({len(folders)} in all)"


def read_sequences(
    by_split: Mapping[str, Iterable[Path]], rule: RowRule, options: Options
) -> list[Part]:
    """Read sequences, in several processes where that pays.

    Args:
        by_split: Folders of the sequences by split.
        rule: Which rows count.
        options: For the number of processes.

    Raises:
        UserError: As ``read_sequence``.
    """
    jobs = [(folder, split, rule) for split, folders in by_split.items() for folder in folders]
    files = [folder / GROUND_TRUTH for folder, _, _ in jobs]
    files += [file for folder, _, _ in jobs for file in _videos(folder)]
    seconds = sum(file.stat().st_size for file in files) / BYTES_PER_SECOND
    return in_processes(read_sequence, jobs, "reading sequences", options.workers, seconds)


def read_sequence(folder: Path, split: str, rule: RowRule) -> Part:
    """Read one sequence: pictures in ``img1`` or a video, and ``gt/gt.txt``.

    Boxes are shares of the size that ``seqinfo.ini`` gives, to which the ground truth refers even
    if the pictures were shrunk since; without that file, of the pictures' own.

    Args:
        folder: Its folder.
        split: Name of the split.
        rule: Which rows count.

    Raises:
        UserError: Something in it is missing or damaged.
    """
    info_file = folder / "seqinfo.ini"
    info = read_sequence_info(info_file) if info_file.exists() else None
    name = folder.name if folder.name not in ("", "..") else folder.resolve().name
    place = f"{IMAGES}/{split}/{name}"
    image_folder = folder / (info.image_dir if info else "img1")
    images = list_images(image_folder) if image_folder.is_dir() else []
    if images:
        numbers = frame_numbers([image.name for image in images])
        pictures = [f"{place}/{image_folder.name}/{image.name}" for image in images]
        links = {place: folder}
        size_wh = info.size_wh if info else image_size(images[0])
    else:
        video = _video_of(folder, image_folder)
        # Containers only estimate their number of frames, and a list must not promise too many.
        with VideoSource(video) as source:
            numbers = [number for number, _ in enumerate(source, 1)]
        pictures = [f"{place}{video.suffix}#{number}" for number in numbers]
        links = {f"{place}{video.suffix}": video}
        size_wh = info.size_wh if info else source.size_wh
    if min(size_wh) < 1:
        raise UserError(f"{info_file} gives the size {size_wh[0]}x{size_wh[1]}: correct it")
    dropped: Counter[str] = Counter()
    file = folder / GROUND_TRUTH
    rows, classes = _select(read_mot(file, "ground truth"), rule, file, dropped)
    labels = _labels_of_frames(rows, classes, numbers, size_wh, rule.clip, dropped)
    return Part(split, place, pictures, labels, links, dropped, is_sequence=True)


def _videos(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in VIDEO_SUFFIXES)


def _video_of(folder: Path, image_folder: Path) -> Path:
    videos = _videos(folder)
    if len(videos) != 1:
        raise UserError(
            f"{folder} has ground truth but neither pictures in {image_folder.name} nor exactly "
            f"one video (found {len(videos)}): unpack the sequence again"
        )
    return videos[0]


def _select(
    rows: MotRows, rule: RowRule, file: Path, dropped: Counter[str]
) -> tuple[MotRows, npt.NDArray[np.int64]]:
    """Return the rows that count, and their class numbers; count the others."""
    considered = rows.marks != 0
    count(dropped, "mark 0", ~considered)
    rows = rows[considered]
    present = np.unique(rows.classes).tolist()
    if rule.classes is None:
        if rule.complete and len(present) > 1:
            raise UserError(
                f"{file} has the classes {', '.join(map(str, present))}: name them all, from 1 "
                "on, with --class-names"
            )
        keep, classes = np.ones(len(rows), bool), np.zeros(len(rows), np.int64)
    else:
        unknown = [number for number in present if number not in rule.classes]
        if rule.complete and unknown:
            raise UserError(
                f"{file} has objects of class {unknown[0]}, and classes 1 to {len(rule.classes)} "
                "have names: give a name for each class"
            )
        classes = np.array([rule.classes.get(number, -1) for number in rows.classes.tolist()])
        classes = classes.astype(np.int64)
        keep = classes >= 0
        count(dropped, "other class", ~keep)
    rows, classes = rows[keep], classes[keep]
    sized = drop_sizeless(rows.boxes_ltwh, dropped)
    return rows[sized], classes[sized]


def _labels_of_frames(
    rows: MotRows,
    classes: npt.NDArray[np.int64],
    numbers: Sequence[int],
    size_wh: tuple[int, int],
    clip: bool,
    dropped: Counter[str],
) -> list[Labels]:
    """Return the labels of each frame, in it by identity as FairMOT's scripts write them."""
    pictured = np.isin(rows.frames, numbers)
    if clip:
        rows.boxes_ltwh = clip_ltwh(rows.boxes_ltwh, size_wh)
        inside = (rows.boxes_ltwh[:, 2:] > 0).all(axis=1)
        count(dropped, "outside the picture", pictured & ~inside)
    else:
        inside = np.ones(len(rows), bool)
    count(dropped, "no picture", ~pictured)
    rows, classes = rows[pictured & inside], classes[pictured & inside]
    order = np.lexsort((rows.ids, rows.frames))
    rows, classes = rows[order], classes[order]
    ids = np.where(rows.ids < 0, -1, rows.ids)
    every = Labels.from_ltwh(rows.boxes_ltwh, size_wh, ids, classes)
    starts = np.searchsorted(rows.frames, numbers, side="left").tolist()
    stops = np.searchsorted(rows.frames, numbers, side="right").tolist()
    return [
        Labels(every.classes[a:b], every.ids[a:b], every.boxes_cxcywh[a:b])
        for a, b in zip(starts, stops, strict=True)
    ]


def clip_ltwh(
    boxes_ltwh: npt.NDArray[np.float64], size_wh: tuple[int, int]
) -> npt.NDArray[np.float64]:
    """Cut boxes at the borders of the picture.

    Args:
        boxes_ltwh: ``[M, 4]`` left, top, width, height in pixels.
        size_wh: Size of the picture in pixels.

    Returns:
        ``[M, 4]``; what lies outside has a width or height of 0 or less.

    Examples:
        >>> clip_ltwh(np.array([[-5.0, 10, 20, 200]]), (100, 100))
        array([[ 0., 10., 15., 90.]])
    """
    corners = np.concatenate([boxes_ltwh[:, :2], boxes_ltwh[:, :2] + boxes_ltwh[:, 2:]], axis=1)
    limits = np.array([*size_wh, *size_wh], np.float64)
    # The near corner is not cut at the far border: a box beyond it must not get a size.
    near = np.maximum(corners[:, :2], 0)
    far = np.minimum(corners[:, 2:], limits[2:])
    return np.concatenate([near, far - near], axis=1)
