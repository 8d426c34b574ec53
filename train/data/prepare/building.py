"""From what was read to a prepared dataset: numbers, splits, and the order of writing."""

from __future__ import annotations

import fcntl
import importlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from runtime.console import progress
from runtime.errors import UserError
from runtime.files import output_directory
from train.data.index import DatasetIndex, Split
from train.data.prepare import PREPARERS
from train.data.prepare.base import (
    Collection,
    IdentityNumbers,
    Options,
    Part,
    PreparedSplit,
    identities,
    in_processes,
)
from train.data.prepare.writing import (
    claim_labels,
    label_files,
    link,
    replace_list,
    sweep,
    write_label_folder,
)

SECONDS_PER_FILE = 1e-4
# So many are made in about two seconds.
MANY_LINKS = 10_000


@dataclass(frozen=True)
class Prepared:
    """What ``prepare`` did.

    Attributes:
        index: The index, as written.
        splits: What each split came to.
        notes: Sentences for the user.
    """

    index: DatasetIndex
    splits: list[PreparedSplit]
    notes: list[str]


def prepare(root: Path, out: Path | None, options: Options) -> Prepared:
    """Read a published dataset and write its labels, lists and index.

    Args:
        root: Folder of the dataset as published; its own files are never changed.
        out: Folder of the prepared dataset; None means ``root``.
        options: What to do.

    Raises:
        UserError: The dataset is not laid out as published or damaged, or ``out`` holds other
            things or cannot be written to.
    """
    options.check()
    module, _, function = PREPARERS[options.name].partition(":")
    collection: Collection = getattr(importlib.import_module(module), function)(root, options)
    return build(collection, root, root if out is None else out, options)


def build(collection: Collection, root: Path, out: Path, options: Options) -> Prepared:
    """Write what was read; see ``prepare``.

    Args:
        collection: What was read. The identities in it are replaced by dataset-wide numbers.
        root: Folder it was read from.
        out: Folder of the prepared dataset.
        options: What to do.

    Raises:
        UserError: As ``prepare``.
    """
    parts = collection.parts
    _check(parts)
    num_ids = _renumber(parts)
    splits = _splits(parts, options.halves)
    index = DatasetIndex(
        root=out,
        name=options.name,
        classes=collection.classes,
        num_ids=num_ids,
        splits={
            name: Split(
                list_file=f"{options.name}.{name}",
                pictures=sum(len(part.pictures) for part in members),
                boxes=sum(part.boxes() for part in members),
                ids=len(identities(members)),
            )
            for name, members in splits.items()
        },
        source=os.path.relpath(root.resolve(), out.resolve()),
        command=options.command,
    )
    with _alone(output_directory(out)):
        try:
            _write(parts, splits, index, options.workers)
        except OSError as error:
            reason = error.strerror or str(error)
            raise UserError(
                f"cannot write the prepared dataset {out} ({reason}): free space or give another "
                "folder with --out"
            ) from error
    return Prepared(index, _summary(splits, index), collection.notes)


def _check(parts: Sequence[Part]) -> None:
    """Refuse parts that would overwrite each other's labels."""
    if not any(part.pictures for part in parts):
        raise UserError("the dataset has no pictures: check that it was unpacked whole")
    folders = sorted(f"{part.folder}/" for part in parts if not part.labels_published)
    for first, second in pairwise(folders):
        if second.startswith(first):
            raise UserError(
                f"{second[:-1]} and {first[:-1]} would share their labels: give each sequence a "
                "name of its own"
            )


def _renumber(parts: Sequence[Part]) -> int:
    """Give identities dataset-wide numbers, in place; return how many there are."""
    numbers = IdentityNumbers()
    published = [-1]
    for part in parts:
        known = part.ids()
        if part.labels_published:
            published += known.tolist()[-1:]
            continue
        # All of a part at once, so that they are numbered in ascending order.
        numbers.renumber(part.scope or part.folder, known)
        for labels in part.labels:
            labels.ids = numbers.renumber(part.scope or part.folder, labels.ids)
    return max(len(numbers), max(published) + 1)


def _splits(parts: Sequence[Part], halves: bool) -> dict[str, list[Part]]:
    """Return the parts of each split, halves of sequences included if wanted.

    The first half of n frames are frames 1 .. n // 2, the cut of FairMOT's ``mot17.half`` and
    ``mot17.val`` lists. (CenterTrack's first half has one frame more.)
    """
    splits: dict[str, list[Part]] = {}
    for part in parts:
        splits.setdefault(part.split, []).append(part)
    if halves:
        sequences = [part for part in splits.get("train", []) if part.is_sequence]
        if not sequences:
            raise UserError(
                "the dataset has no training sequences to halve: leave out --split half"
            )
        splits["train_half"] = [part.frames(0, len(part.pictures) // 2) for part in sequences]
        splits["val_half"] = [
            part.frames(len(part.pictures) // 2, len(part.pictures)) for part in sequences
        ]
    return splits


def _summary(splits: dict[str, list[Part]], index: DatasetIndex) -> list[PreparedSplit]:
    return [
        PreparedSplit(
            name=name,
            sequences=sum(part.is_sequence for part in members) or None,
            pictures=index.splits[name].pictures,
            boxes=index.splits[name].boxes,
            ids=index.splits[name].ids,
            dropped=sum((part.dropped for part in members), Counter()),
        )
        for name, members in splits.items()
    ]


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Hold a lock on the folder; the system lifts it whatever becomes of the process."""
    descriptor = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise UserError(f"{out} is being prepared by another process: wait for it") from error
    except OSError:
        pass  # some network file systems have no locks
    try:
        yield
    finally:
        os.close(descriptor)


def _write(
    parts: Sequence[Part], splits: dict[str, list[Part]], index: DatasetIndex, workers: int
) -> None:
    out = index.root
    sweep(parts, out)
    if any(not part.labels_published for part in parts):
        claim_labels(out)
    links = [item for part in parts for item in sorted(part.links.items())]
    with progress(shown=len(links) >= MANY_LINKS) as bar:
        for place, published in bar.track(links, description="linking"):
            link(out, place, published)
    jobs = [
        (out, part.folder, label_files(part))
        for part in parts
        if part.pictures and not part.labels_published
    ]
    files = sum(len(job[2]) for job in jobs)
    in_processes(write_label_folder, jobs, "writing labels", workers, files * SECONDS_PER_FILE)
    for name, members in splits.items():
        pictures = [picture for part in members for picture in part.pictures]
        replace_list(out, index.splits[name].list_file, pictures)
    # Labels must be on the disk before an index says that they are.
    os.sync()
    index.save()
