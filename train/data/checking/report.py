"""The report of a check: numbers of each split, and faults by kind."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from runtime.console import print_table
from runtime.files import write_json
from train.data.checking.findings import Findings
from train.data.checking.inspecting import Inspection

PERCENTILES = (1, 50, 99)
SHOWN_EXAMPLE = 110  # characters; the JSON file has it whole


@dataclass(frozen=True)
class SplitNumbers:
    """What a split holds, faulty boxes left out.

    Attributes:
        pictures: Pictures listed.
        boxes: Boxes in them.
        ids: Different known identities.
        without_identity: Boxes whose identity is unknown.
        boxes_by_class: By class number.
        box_sizes_wh: Width and height in pixels at the percentiles 1, 50 and 99, each side for
            itself; empty without boxes.
        smallest_picture_wh: The picture of the fewest pixels; None if none can be read.
        largest_picture_wh: The picture of the most.
        picture_sizes: How many different sizes there are.
    """

    pictures: int
    boxes: int
    ids: int
    without_identity: int
    boxes_by_class: dict[int, int]
    box_sizes_wh: list[tuple[float, float]]
    smallest_picture_wh: tuple[int, int] | None
    largest_picture_wh: tuple[int, int] | None
    picture_sizes: int


@dataclass
class Report:
    """The outcome of a check.

    Attributes:
        root: The dataset's folder.
        name: Its name.
        quick: Whether pictures were not decoded.
        classes: Class names; None without an index.
        num_ids: Identities that the index promises; None without an index.
        splits: Numbers by split.
        findings: What is wrong.
    """

    root: Path
    name: str
    quick: bool
    classes: tuple[str, ...] | None
    num_ids: int | None
    splits: dict[str, SplitNumbers]
    findings: Findings

    def passed(self, strict: bool = False) -> bool:
        """Return whether there are no errors, and with ``strict`` no warnings either."""
        return not (self.findings.errors or (strict and self.findings.warnings))

    def save(self, file: Path) -> None:
        """Write everything as JSON."""
        content = {
            "root": str(self.root),
            "name": self.name,
            "quick": self.quick,
            "classes": self.classes,
            "num_ids": self.num_ids,
            "splits": {name: asdict(numbers) for name, numbers in self.splits.items()},
            "errors": self.findings.errors,
            "warnings": self.findings.warnings,
            "faults": [
                {
                    "kind": fault.name.lower(),
                    "title": fault.title,
                    "severity": fault.severity,
                    **asdict(finding),
                }
                for fault, finding in self.findings.ordered()
            ],
        }
        write_json(file, content)


def split_numbers(inspection: Inspection, pictures: npt.NDArray[np.int64]) -> SplitNumbers:
    """Count what some of the inspected pictures hold.

    Args:
        inspection: The inspection.
        pictures: Indices of the pictures, each once.
    """
    chosen = np.zeros(len(inspection.pictures), np.bool_)
    chosen[pictures] = True
    boxes = chosen[inspection.picture_of_box]
    ids = inspection.ids[boxes]
    sizes = inspection.box_sizes()[boxes]
    sizes = sizes[(sizes > 0).all(axis=1)]
    percentiles = np.percentile(sizes, PERCENTILES, axis=0) if len(sizes) else np.zeros((0, 2))
    classes, counts = np.unique(inspection.classes[boxes], return_counts=True)
    read = inspection.sizes_wh[pictures]
    kinds = np.unique(read[(read > 0).all(axis=1)], axis=0)
    kinds = kinds[np.argsort(kinds.prod(axis=1), kind="stable")].tolist()
    return SplitNumbers(
        pictures=len(pictures),
        boxes=int(boxes.sum()),
        ids=len(np.unique(ids[ids >= 0])),
        without_identity=int((ids < 0).sum()),
        boxes_by_class=dict(zip(classes.tolist(), counts.tolist(), strict=True)),
        box_sizes_wh=[(round(width, 2), round(height, 2)) for width, height in percentiles],
        smallest_picture_wh=tuple(kinds[0]) if kinds else None,
        largest_picture_wh=tuple(kinds[-1]) if kinds else None,
        picture_sizes=len(kinds),
    )


def print_report(report: Report) -> None:
    """Print the tables and a last line that says how the check ended."""
    print_table(
        f"{report.name}: {report.root}",
        (
            "split",
            "pictures",
            "boxes",
            "identities",
            "boxes/picture",
            *("boxes px 1 %", "median", "99 %"),
            "pictures px",
        ),
        [_split_row(name, numbers) for name, numbers in report.splits.items()],
    )
    if report.classes and len(report.classes) > 1:
        _print_classes(report, report.classes)
    if report.findings.found:
        print_table(
            "faults",
            ("what", "kind", "count", "first"),
            [
                (fault.title, fault.severity, finding.count, _shortened(finding.first))
                for fault, finding in report.findings.ordered()
            ],
        )
    errors, warnings = report.findings.errors, report.findings.warnings
    decoded = "; pictures were not decoded (--quick)" if report.quick else ""
    print(f"{errors} errors, {warnings} warnings{decoded}")


def _split_row(name: str, numbers: SplitNumbers) -> tuple[object, ...]:
    sizes: list[str | None] = [
        f"{width:.0f}x{height:.0f}" for width, height in numbers.box_sizes_wh
    ]
    return (
        name,
        numbers.pictures,
        numbers.boxes,
        numbers.ids,
        f"{numbers.boxes / numbers.pictures:.1f}" if numbers.pictures else None,
        *(sizes or [None] * len(PERCENTILES)),
        _picture_sizes(numbers),
    )


def _picture_sizes(numbers: SplitNumbers) -> str | None:
    if numbers.smallest_picture_wh is None or numbers.largest_picture_wh is None:
        return None
    smallest, largest = (
        "x".join(map(str, size))
        for size in (numbers.smallest_picture_wh, numbers.largest_picture_wh)
    )
    if numbers.picture_sizes == 1:
        return smallest
    return f"{smallest} to {largest} ({numbers.picture_sizes} sizes)"


def _print_classes(report: Report, classes: tuple[str, ...]) -> None:
    print_table(
        "boxes by class",
        ("class", *report.splits),
        [
            (label, *(part.boxes_by_class.get(number, 0) for part in report.splits.values()))
            for number, label in enumerate(classes)
        ],
    )


def _shortened(text: str) -> str:
    return text if len(text) <= SHOWN_EXAMPLE else f"{text[: SHOWN_EXAMPLE - 3]}..."
