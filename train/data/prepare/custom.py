"""Datasets of the user's own, in one of three common layouts.

* FairMOT's: ``images/{train,val,test}`` with ``labels_with_ids`` beside it. The labels are read
  through and left as they are.
* MOTChallenge's: sequences with ``gt/gt.txt``, and ``img1`` or a video.
* YOLO's: ``images/{train,val,test}`` with ``labels`` beside it, lines ``class x_center y_center w
  h`` as shares of the picture. Identities are unknown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runtime.errors import UserError
from train.data.labels import IMAGES, LABELS, Labels, label_path, read_labels, read_yolo_labels
from train.data.prepare.base import (
    MARK_FILE,
    Collection,
    Options,
    Part,
    drop_sizeless,
    in_processes,
    wrong_layout,
)
from train.data.prepare.pictures import pictures_below
from train.data.prepare.sequences import RowRule, find_sequences, read_sequences

YOLO_LABELS = "labels"
# Where neither the dataset nor the user names the only class.
ONE_CLASS = ("object",)
FOLDERS = {"train": ("train",), "val": ("val",), "test": ("test",)}
LOOKED_FOR = (
    "images/train with labels/train",
    "images/train with labels_with_ids/train",
    "train/*/gt/gt.txt",
    "images/train/*/gt/gt.txt",
    "*/gt/gt.txt",
    "gt/gt.txt",
)
# Label files read per second, and read at a time by one process.
FILES_PER_SECOND = 8000
CHUNK = 2000


def collect(root: Path, options: Options) -> Collection:
    """Read a dataset in one of the three layouts.

    Args:
        root: Its folder. Class names come from ``data.yaml`` or ``classes.txt`` in it.
        options: ``class_names`` replaces these.

    Raises:
        UserError: It is in none of the layouts or damaged, or has classes without names.
    """
    names = options.class_names or read_class_names(root)
    if (root / LABELS).is_dir() and not (root / LABELS / MARK_FILE).is_file():
        return _collect_labelled(root, names, LABELS, options)
    found = find_sequences(root, FOLDERS)
    if found.by_split:
        if names is None or len(names) == 1:
            rule = RowRule(complete=names is None)
        else:
            rule = RowRule({number: number - 1 for number in range(1, len(names) + 1)}, True)
        parts = read_sequences(found.by_split, rule, options)
        return Collection(names or ONE_CLASS, parts, found.notes)
    if (root / YOLO_LABELS).is_dir():
        return _collect_labelled(root, names, YOLO_LABELS, options)
    raise wrong_layout("a dataset of one's own", root, LOOKED_FOR)


def read_class_names(root: Path) -> tuple[str, ...] | None:
    """Return the class names in ``data.yaml`` or ``classes.txt``; None if there is neither.

    Raises:
        UserError: The file does not parse.
    """
    described, listed = root / "data.yaml", root / "classes.txt"
    file = described if described.is_file() else listed
    if not file.is_file():
        return None
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not a text file: list the class names in it") from error
    if file == listed:
        return _names_of([line.strip() for line in text.splitlines() if line.strip()], file)
    import yaml

    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{file} is not YAML ({error}): correct it") from error
    if not isinstance(content, dict) or "names" not in content:
        return None
    return _names_of(content["names"], file)


def _names_of(names: Any, file: Path) -> tuple[str, ...]:
    """Return names that may come as a list, or as a mapping from their numbers."""
    if isinstance(names, dict) and sorted(names) == list(range(len(names))):
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not names:
        raise UserError(f"{file} does not list class names from number 0 on: correct it")
    return tuple(str(name) for name in names)


def _collect_labelled(
    root: Path, names: tuple[str, ...] | None, labels_folder: str, options: Options
) -> Collection:
    """Read pictures that have a label file each."""
    splits = [split for split in FOLDERS if (root / IMAGES / split).is_dir()]
    pictures = {
        split: [f"{IMAGES}/{split}/{name}" for name in pictures_below(root / IMAGES / split)]
        for split in splits
    }
    if not any(pictures.values()):
        raise UserError(
            f"{root} has a folder {labels_folder}, but no pictures in images/train, images/val or "
            "images/test: add them"
        )
    jobs = [
        (root, labels_folder, some[start : start + CHUNK])
        for some in pictures.values()
        for start in range(0, len(some), CHUNK)
    ]
    seconds = sum(len(job[2]) for job in jobs) / FILES_PER_SECOND
    done = iter(in_processes(_read_files, jobs, "reading labels", options.workers, seconds))
    parts, missing = [], 0
    for split, some in pictures.items():
        labels: list[Labels] = []
        dropped: Counter[str] = Counter()
        for _ in range(0, len(some), CHUNK):
            more, without_size, without_file = next(done)
            labels += more
            dropped += without_size
            missing += without_file
        if labels_folder == LABELS:
            parts += _published_parts(root, split, some, labels)
        else:
            folder = f"{IMAGES}/{split}"
            parts.append(Part(split, folder, some, labels, {folder: root / folder}, dropped))
    notes = [f"pictures without a label file, taken as empty: {missing}"] if missing else []
    return Collection(_complete_names(names, parts), parts, notes)


def _read_files(
    root: Path, labels_folder: str, pictures: Sequence[str]
) -> tuple[list[Labels], Counter[str], int]:
    """Return the labels of pictures, boxes dropped from them, and how many have no file."""
    every, dropped, missing = [], Counter[str](), 0
    for picture in pictures:
        file = root / label_path(picture)
        if labels_folder == LABELS:
            every.append(read_labels(file))
        else:
            file = root / labels_folder / file.relative_to(root / LABELS)
            every.append(read_yolo(file, dropped))
        missing += not file.exists()
    return every, dropped, missing


def read_yolo(file: Path, dropped: Counter[str]) -> Labels:
    """Read a label file of YOLO's without the boxes that have no size.

    Args:
        file: Lines ``class x_center y_center w h``.
        dropped: Boxes without a size are counted here.

    Raises:
        UserError: A line does not parse; the message names it.
    """
    labels = read_yolo_labels(file)
    kept = drop_sizeless(labels.boxes_cxcywh, dropped)
    return Labels(labels.classes[kept], labels.ids[kept], labels.boxes_cxcywh[kept])


def _published_parts(
    root: Path, split: str, pictures: Sequence[str], labels: Sequence[Labels]
) -> list[Part]:
    """Return a part for each folder ``SEQ/img1``, and one for all other pictures of the split."""
    links = {f"{kind}/{split}": root / kind / split for kind in (IMAGES, LABELS)}
    parts: dict[str, Part] = {}
    for picture, some in zip(pictures, labels, strict=True):
        folder, separator, _ = picture.rpartition("/img1/")
        key = folder if separator else f"{IMAGES}/{split}"
        if key not in parts:
            parts[key] = Part(
                split, key, [], [], links, is_sequence=bool(separator), labels_published=True
            )
        parts[key].pictures.append(picture)
        parts[key].labels.append(some)
    return list(parts.values())


def _complete_names(names: tuple[str, ...] | None, parts: Sequence[Part]) -> tuple[str, ...]:
    """Return the class names, or refuse labels of classes that have none."""
    used = [labels.classes.max() for part in parts for labels in part.labels if len(labels)]
    largest = int(max(used, default=0))
    if names is None and largest == 0:
        return ONE_CLASS
    if largest >= len(names or ()):
        raise UserError(
            f"the labels have classes 0 to {largest}, and {len(names or ())} have names: list all "
            "names in data.yaml or classes.txt, or with --class-names"
        )
    assert names is not None
    return names
