"""Sequences to track and to score: one folder, a folder of them, or a dataset with splits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from runtime.errors import UserError
from runtime.mot import read_mot, read_sequence_info
from runtime.sources import FrameSource, open_source
from runtime.sources.base import DEFAULT_FPS
from runtime.sources.images import ImageSource, list_images
from runtime.sources.opening import VIDEO_SUFFIXES

Frame = npt.NDArray[np.uint8]

GROUND_TRUTH = "gt/gt.txt"
INFO = "seqinfo.ini"
SPLITS = ("train", "val", "test")
IMAGES = "images"
# MOT17 has every sequence three times, once for each public detector; the pictures are the same.
DETECTORS = ("DPM", "FRCNN", "SDP")
COPY = re.compile(rf"(?P<scene>.+)-(?P<detector>{'|'.join(DETECTORS)})")


@dataclass(frozen=True)
class Sequence:
    """A sequence in the MOTChallenge layout, or a part of one.

    Attributes:
        name: The ``seqinfo.ini``'s where there is one, else the folder's.
        path: Its folder, with ``img1/`` or one video in it.
        gt_file: Its ground truth, None where there is none.
        fps: Frames per second.
        first: First frame that counts, from 1.
        last: Last frame that counts.
    """

    name: str
    path: Path
    gt_file: Path | None
    fps: float
    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first + 1

    def frames(self) -> Iterator[Frame]:
        """Yield the frames that count, uint8 BGR ``[H, W, 3]``.

        Raises:
            UserError: There are no frames, fewer than promised, or one cannot be decoded.
        """
        with _open(self.path) as source:
            skipped = self.first - 1
            if isinstance(source, ImageSource):
                # What does not count need not be decoded.
                source.files = source.files[skipped:]
                skipped = 0
            count = 0
            for frame in islice(source, skipped, skipped + len(self)):
                count += 1
                yield frame
        if count < len(self):
            raise UserError(
                f"{self.path} has frames up to {self.first + count - 1}, not to {self.last}: copy "
                "the sequence again or correct seqLength in its seqinfo.ini"
            )


def find_sequences(
    root: Path, split: str | None = None, *, labelled: bool = True
) -> list[Sequence]:
    """Find the sequences of a dataset.

    Args:
        root: A sequence; a folder of sequences; a folder with ``train/``, ``val/`` or ``test/`` (or
            ``images/train/`` and so on) that hold sequences; or one that kd-data prepared, where a
            split may be a part of each sequence, e.g. ``val_half``. Other folders in it are left
            out.
        split: Name of the split; None for all.
        labelled: Whether to take those with ground truth alone.

    Returns:
        The sequences by name, at least one. Of copies for several public detectors (MOT17) all.

    Raises:
        UserError: There is no such folder or split, no sequence in it, two of one name, or a
            ``seqinfo.ini`` is damaged.
    """
    if not root.is_dir():
        raise UserError(f"{root} is not a folder: give a sequence or a folder of sequences")
    found = _prepared(root, split, labelled) if (root / "dataset.json").is_file() else None
    if found is None:
        found = [read_sequence(folder) for folder in _folders(root, split, labelled)]
    if not found:
        place = f"{root}, split {split}," if split else str(root)
        wanted = GROUND_TRUTH if labelled else f"img1/ or {INFO}"
        raise UserError(f"{place} has no sequence with {wanted}: give a folder of sequences")
    names = [sequence.name for sequence in found]
    for sequence in found:
        if names.count(sequence.name) > 1:
            raise UserError(
                f"{root} has {names.count(sequence.name)} sequences called {sequence.name}: "
                "choose one --split or give the folder of one of them"
            )
    return sorted(found, key=lambda sequence: sequence.name)


def take_once(sequences: Iterable[Sequence]) -> list[Sequence]:
    """Keep one of the copies of each MOT17 sequence: their pictures and ground truth are the same.

    Without a detector's name, else SDP, FRCNN, DPM, as FairMOT trains.

    Examples:
        >>> names = ["MOT17-02-DPM", "MOT17-02-SDP", "MOT17-04-DPM", "MOT20-01"]
        >>> [one.name for one in take_once(Sequence(n, Path(n), None, 25, 1, 9) for n in names)]
        ['MOT17-02-SDP', 'MOT17-04-DPM', 'MOT20-01']
    """
    chosen: dict[str, tuple[int, Sequence]] = {}
    for sequence in sequences:
        match = COPY.fullmatch(sequence.name)
        rank = DETECTORS.index(match["detector"]) if match else len(DETECTORS)
        scene = scene_of(sequence.name)
        if scene not in chosen or rank > chosen[scene][0]:
            chosen[scene] = (rank, sequence)
    return [sequence for _, sequence in chosen.values()]


def scene_of(name: str) -> str:
    """Return a sequence's name without that of a public detector.

    Examples:
        >>> scene_of("MOT17-02-FRCNN"), scene_of("MOT20-01")
        ('MOT17-02', 'MOT20-01')
    """
    match = COPY.fullmatch(name)
    return match["scene"] if match else name


def read_sequence(folder: Path) -> Sequence:
    """Describe the sequence in a folder, its whole length.

    Without a ``seqinfo.ini`` it is as long as it has images or, where it has a video, as its ground
    truth says, since containers only estimate their length.

    Raises:
        UserError: The ``seqinfo.ini`` or the ground truth is damaged, or there are no frames.
    """
    gt_file = folder / GROUND_TRUTH
    labels = gt_file if gt_file.is_file() else None
    if (folder / INFO).is_file():
        info = read_sequence_info(folder / INFO)
        if Path(info.name).name != info.name:
            # Result files bear it.
            raise UserError(
                f"{folder / INFO}: name {info.name[:60]!r} is no name of a file: mend it"
            )
        fps = info.fps if info.fps > 0 else DEFAULT_FPS
        return Sequence(info.name, folder, labels, fps, 1, info.length)
    with _open(folder) as source:
        fps, length = source.fps, source.length
    if labels and (length is None or not (folder / "img1").is_dir()):
        length = int(max([0, *read_mot(labels, "ground truth").frames[-1:]]))
    return Sequence(folder.resolve().name, folder, labels, fps, 1, length or 0)


def _open(folder: Path) -> FrameSource:
    if (folder / INFO).is_file() or not folder.is_dir():
        return open_source(folder)
    if (folder / "img1").is_dir():
        return open_source(folder / "img1")
    videos = [file for file in folder.iterdir() if file.suffix.lower() in VIDEO_SUFFIXES]
    if len(videos) != 1:
        raise UserError(
            f"{folder} has neither img1/ nor exactly one video (found {len(videos)}): add the "
            "frames of the sequence"
        )
    return open_source(videos[0])


def _is_sequence(folder: Path, labelled: bool) -> bool:
    if labelled:
        return (folder / GROUND_TRUTH).is_file()
    return (folder / INFO).is_file() or (folder / "img1").is_dir()


def _folders(root: Path, split: str | None, labelled: bool) -> list[Path]:
    """Return the folders of sequences; see ``find_sequences``."""
    bases = [base for base in (root, root / IMAGES) if base.is_dir()]
    if split is not None:
        places = [base / split for base in bases if (base / split).is_dir()]
        if not places:
            known = [name for name in SPLITS for base in bases if (base / name).is_dir()]
            raise UserError(
                f"{root} has no split {split!r}: "
                + (f"choose from {', '.join(known)}" if known else "leave out --split")
            )
        # Links to the folders of the split would give each sequence twice.
        places = places[:1]
    elif _is_sequence(root, labelled):
        return [root]
    else:
        places = [root, *(base / name for base in bases for name in SPLITS)]
    found = {
        folder.resolve(): folder
        for place in places
        if place.is_dir()
        for folder in sorted(place.iterdir())
        if _is_sequence(folder, labelled)
    }
    return list(found.values())


def _prepared(root: Path, split: str | None, labelled: bool) -> list[Sequence] | None:
    """Return the sequences in the picture lists of kd-data; None where it has no such split."""
    from train.data.index import read_index

    index = read_index(root)
    if split is not None and split not in index.splits:
        if any((base / split).is_dir() for base in (root, root / IMAGES)):
            return None
        raise UserError(
            f"{root / 'dataset.json'} has no split {split!r}: choose from {', '.join(index.splits)}"
        )
    numbers: dict[Path, set[int]] = {}
    places: dict[Path, dict[str, int]] = {}
    for name in index.splits if split is None else [split]:
        for picture in index.pictures(name):
            video, separator, number = picture.rpartition("#")
            if separator:
                # A link to the published video, which lies in the sequence's folder.
                folder, place = (root / video).resolve().parent, int(number)
            else:
                images = (root / picture).parent
                if images not in places:
                    files = list_images(images) if images.is_dir() else []
                    places[images] = {file.name: at for at, file in enumerate(files, 1)}
                folder, place = images.parent, places[images].get(Path(picture).name, 0)
            numbers.setdefault(folder, set()).add(place)
    found = []
    for folder, frames in numbers.items():
        if _is_sequence(folder, labelled):
            sequence = read_sequence(folder)
            if not 1 <= min(frames) <= max(frames) <= sequence.last:
                raise UserError(
                    f"{root} lists frames that {folder} does not have: prepare the dataset again"
                )
            found.append(replace(sequence, first=min(frames), last=max(frames)))
    return found
