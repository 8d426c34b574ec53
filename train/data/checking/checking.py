"""Checking a dataset."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from train.data.checking.findings import Fault, Findings
from train.data.checking.inspecting import Inspection, inspect_pictures
from train.data.checking.opening import Listing, open_listing, unlisted_labels
from train.data.checking.report import Report, split_numbers
from train.data.checking.scanning import Limits
from train.data.labels import label_path


@dataclass
class Check:
    """A check with all that writing a cleaned dataset needs.

    Attributes:
        listing: The dataset's lists.
        inspection: What its pictures and labels hold.
        report: What is to be told.
    """

    listing: Listing
    inspection: Inspection
    report: Report


def check_dataset(path: str | os.PathLike[str], quick: bool = False) -> Check:
    """Check lists, pictures and labels of a dataset; nothing is changed.

    Every picture is looked at once, also if several splits list it. Statistics leave faulty boxes
    out. Many pictures are looked at by two processes, so the calling script must be importable, as
    ``multiprocessing`` demands.

    Args:
        path: A prepared dataset, its ``dataset.json``, or a folder with ``images`` and
            ``labels_with_ids``, whose first level of folders are then the splits.
        quick: Read the headers of pictures only.

    Raises:
        UserError: It is no dataset at all, or its index is damaged.
    """
    listing = open_listing(Path(path))
    limits = Limits(None if listing.classes is None else len(listing.classes), listing.num_ids)
    pictures = listing.pictures()
    inspection = inspect_pictures(listing.root, pictures, limits, not quick)
    position = {picture: index for index, picture in enumerate(inspection.pictures)}
    splits = {
        name: split_numbers(inspection, np.array([position[part] for part in names], np.int64))
        for name, names in listing.splits.items()
    }
    report = Report(
        listing.root, listing.name, quick, listing.classes, listing.num_ids, splits, Findings()
    )
    report.findings.merge(listing.findings)
    report.findings.merge(inspection.findings)
    _compare_counts(listing, report)
    _find_single_boxes(inspection, report.findings)
    labels = {label_path(picture) for picture in pictures}
    for file in unlisted_labels(listing.root, labels):
        report.findings.add(Fault.LABELS_UNLISTED, file)
    return Check(listing, inspection, report)


def _compare_counts(listing: Listing, report: Report) -> None:
    """Compare what the index says of each split with what is there."""
    for name, promised in listing.promised.items():
        seen = report.splits[name]
        for what in ("pictures", "boxes", "ids"):
            said, found = getattr(promised, what), getattr(seen, what)
            if said != found:
                example = f"split {name}: {said} {what} in the index, {found} good ones found"
                report.findings.add(Fault.COUNTS_DIFFER, example)


def _find_single_boxes(inspection: Inspection, findings: Findings) -> None:
    known = inspection.ids >= 0
    counts = Counter(inspection.ids[known].tolist())
    pictures = inspection.picture_of_box[known].tolist()
    for identity, picture in zip(inspection.ids[known].tolist(), pictures, strict=True):
        if counts[identity] == 1:
            name = inspection.pictures[picture]
            findings.add(Fault.ID_ONCE, f"identity {identity} in {name}")
