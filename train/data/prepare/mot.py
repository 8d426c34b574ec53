"""MOT15, MOT16, MOT17, MOT20 and DanceTrack.

Sources: https://motchallenge.net and Sun et al., "DanceTrack: Multi-Object Tracking in Uniform
Appearance and Diverse Motion", CVPR 2022. Which rows count is what FairMOT's label scripts keep:
in MOT15, with its ten columns, rows whose mark is not 0; in the others those that are of class 1
(pedestrian) besides. FairMOT cuts the boxes of MOT20 alone at the borders of the picture.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from train.data.prepare.base import Collection, Options, wrong_layout
from train.data.prepare.sequences import RowRule, find_sequences, read_sequences

PERSON = ("person",)
PEDESTRIAN = 1
RULES = {
    "mot15": RowRule(),
    "mot16": RowRule({PEDESTRIAN: 0}),
    "mot17": RowRule({PEDESTRIAN: 0}),
    "mot20": RowRule({PEDESTRIAN: 0}, clip=True),
    "dancetrack": RowRule({PEDESTRIAN: 0}),
}
# DanceTrack's training set comes as two archives.
FOLDERS = {"train": ("train", "train1", "train2"), "val": ("val",), "test": ("test",)}
LOOKED_FOR = (
    "train/*/gt/gt.txt",
    "images/train/*/gt/gt.txt",
    "*/gt/gt.txt",
    "gt/gt.txt",
)
# MOT17 has every sequence three times, once for each public detector; pictures and ground truth
# are the same. FairMOT trains on the copies of the last one.
DETECTORS = ("DPM", "FRCNN", "SDP")


def collect(root: Path, options: Options) -> Collection:
    """Read one of the five datasets.

    Args:
        root: ``ROOT/train/SEQ/{img1,gt/gt.txt,seqinfo.ini}``, the same below ``ROOT/images``, a
            folder of such sequences, or one of them. A video may stand for ``img1``.
        options: What to do.

    Raises:
        UserError: It is none of these, or damaged.
    """
    found = find_sequences(root, FOLDERS)
    if not found.by_split:
        raise wrong_layout(options.name, root, LOOKED_FOR)
    by_split = found.by_split
    if options.name == "mot17":
        by_split = {split: take_once(folders) for split, folders in by_split.items()}
    parts = read_sequences(by_split, RULES[options.name], options)
    return Collection(PERSON, parts, found.notes)


def take_once(folders: Sequence[Path]) -> list[Path]:
    """Return one of the copies of each MOT17 sequence, whichever of them are there.

    A folder without a detector's name is preferred, then SDP, FRCNN, DPM.

    Examples:
        >>> names = ["MOT17-02-DPM", "MOT17-02-SDP", "MOT17-04-DPM", "MOT17-04-FRCNN"]
        >>> [folder.name for folder in take_once([Path(name) for name in names])]
        ['MOT17-02-SDP', 'MOT17-04-FRCNN']
    """
    chosen: dict[str, tuple[int, Path]] = {}
    for folder in sorted(folders, key=lambda folder: folder.name):
        match = re.fullmatch(rf"(.+)-({'|'.join(DETECTORS)})", folder.name)
        sequence, rank = folder.name, len(DETECTORS)
        if match:
            sequence, rank = match[1], DETECTORS.index(match[2])
        if sequence not in chosen or rank > chosen[sequence][0]:
            chosen[sequence] = (rank, folder)
    return [chosen[sequence][1] for sequence in sorted(chosen)]
