"""Datasets whose labels are in FairMOT's format already, as JDE's "dataset zoo" gives them away.

The zoo (github.com/Zhongdao/Towards-Realtime-MOT) has ``images`` and ``labels_with_ids`` side by
side: with folders for the splits (CityPersons), without (Caltech, CUHK-SYSU, PRW), or in a folder
for each sequence (ETH). The labels are read through and left as they are. Where there are no
folders for splits, all pictures are of the split ``train``; FairMOT's own lists choose among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from runtime.console import progress
from runtime.errors import UserError
from train.data.labels import IMAGES, LABELS, Labels, label_path, read_labels
from train.data.prepare import custom
from train.data.prepare.base import MARK_FILE, Collection, Options, Part
from train.data.prepare.photos import PERSON, has_pictures
from train.data.prepare.pictures import pictures_below

# Some 8000 are read in a second.
MANY_FILES = 8000


def collect_ready(root: Path, options: Options) -> Collection | None:
    """Read a dataset whose labels are ready, if ``root`` is one.

    Args:
        root: Its folder.
        options: What to do. Ready labels leave no choice of classes and identities.

    Returns:
        What was read; None if ``root`` is laid out in another way.

    Raises:
        UserError: A label file is damaged or has classes other than 0, or the options ask for a
            choice.
    """
    sequences = [folder.parent for folder in sorted(root.glob(f"*/{LABELS}"))]
    sequences = [folder for folder in sequences if has_pictures(folder / IMAGES)]
    flat = has_pictures(root / IMAGES)
    made_here = (root / LABELS / MARK_FILE).is_file()
    if not sequences and (made_here or not (root / LABELS).is_dir()):
        return None
    if options.classes is not None or options.identities is not None:
        raise UserError(
            f"{root} has ready labels, which leave no choice of classes or identities: leave the "
            "option out"
        )
    if not sequences and not flat:
        return custom.collect(root, replace(options, class_names=PERSON))
    sources = [(folder, f"train/{folder.name}") for folder in sequences] or [(root, "")]
    return _read(sources)


def _read(sources: Sequence[tuple[Path, str]]) -> Collection:
    """Read folders with ``images`` and ``labels_with_ids``, each with its place below these."""
    pictures = [pictures_below(source / IMAGES) for source, _ in sources]
    total = sum(len(names) for names in pictures)
    parts, missing = [], 0
    with progress(shown=total >= MANY_FILES) as bar:
        task = bar.add_task("reading labels", total=total)
        for (source, below), names in zip(sources, pictures, strict=True):
            folder, label_folder = (f"{kind}/{below}".rstrip("/") for kind in (IMAGES, LABELS))
            labels = []
            for name in names:
                file = source / label_path(f"{IMAGES}/{name}")
                labels.append(_read_persons(file))
                missing += not file.exists()
                bar.advance(task)
            parts.append(
                Part(
                    "train",
                    folder,
                    [f"{folder}/{name}" for name in names],
                    labels,
                    {folder: source / IMAGES, label_folder: source / LABELS},
                    is_sequence=bool(below),
                    labels_published=True,
                )
            )
    notes = [f"{missing} pictures have no label file: nothing is on them"] if missing else []
    return Collection(PERSON, parts, notes)


def _read_persons(file: Path) -> Labels:
    labels = read_labels(file)
    if labels.classes.any():
        raise UserError(
            f"{file} has class {labels.classes.max()}, expected only 0 (person): prepare it as "
            "custom"
        )
    return labels
