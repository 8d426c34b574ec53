"""Reading a label file line by line, keeping what is good and counting what is not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from train.data.checking.findings import Fault, Findings
from train.data.labels import UNKNOWN_ID, Labels

# A person who fills the picture and reaches far out of it is still below this many widths or
# heights; boxes above it come from pixels taken for shares.
LARGEST_BOX = 3.0


@dataclass(frozen=True)
class Limits:
    """What the index promises about labels; None where there is no index.

    Attributes:
        num_classes: Classes are ``0 .. num_classes - 1``.
        num_ids: Identities are ``0 .. num_ids - 1``, or -1 for unknown.
    """

    num_classes: int | None = None
    num_ids: int | None = None


@dataclass
class Scan:
    """The good rows of a label file.

    Attributes:
        labels: Their values; identities out of range or twice in the picture are still in them.
        boxes_text: ``[M]`` the four numbers of each box as the file has them.
        ambiguous: ``[M]`` bool, whether another box of the picture has the same identity.
    """

    labels: Labels
    boxes_text: list[str]
    ambiguous: npt.NDArray[np.bool_]


def scan_labels(file: Path, shown: str, limits: Limits, findings: Findings) -> Scan | None:
    """Read a label file, leaving out lines that would teach something false.

    Args:
        file: The file; a missing one has no rows.
        shown: Its name in the findings.
        limits: What the index promises.
        findings: Takes what is wrong.

    Returns:
        The good rows, or None if the file is no text.
    """
    rows: list[list[float]] = []
    boxes_text: list[str] = []
    places: list[str] = []
    seen: set[str] = set()
    try:
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    except (UnicodeDecodeError, OSError) as error:
        findings.add(Fault.LABELS_UNREADABLE, f"{shown}: {error}")
        return None
    for number, line in enumerate(lines, 1):
        cells = line.split()
        if not cells:
            continue
        row, fault = _parse(cells, limits)
        place = f"{shown}, line {number}: {line.strip()[:60]!r}"
        if fault is not None:
            findings.add(fault, place)
            continue
        if row[1] != UNKNOWN_ID and " ".join(cells) in seen:
            # The very same line again adds nothing: the first one stays.
            findings.add(Fault.ID_TWICE, place)
            continue
        seen.add(" ".join(cells))
        rows.append(row)
        boxes_text.append(" ".join(cells[2:]))
        places.append(place)
    table = np.array(rows, np.float64).reshape(-1, 6)
    labels = Labels(table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 2:])
    ambiguous = _check_ids(labels.ids, places, limits, findings)
    return Scan(labels, boxes_text, ambiguous)


def _parse(cells: list[str], limits: Limits) -> tuple[list[float], Fault | None]:
    """Return the six numbers of a line and what is wrong with them."""
    try:
        row = [float(cell) for cell in cells]
    except ValueError:
        return [], Fault.LINE_UNPARSED
    if len(row) != 6:
        return [], Fault.LINE_UNPARSED
    if not all(map(math.isfinite, row)):
        return row, Fault.NOT_FINITE
    label, identity, x, y, width, height = row
    if label != int(label) or identity != int(identity) or abs(identity) >= 1 << 53:
        return row, Fault.LINE_UNPARSED
    if label < 0 or (limits.num_classes is not None and label >= limits.num_classes):
        return row, Fault.CLASS_UNKNOWN
    if width <= 0 or height <= 0:
        return row, Fault.BOX_WITHOUT_SIZE
    if width > LARGEST_BOX or height > LARGEST_BOX:
        return row, Fault.BOX_TOO_LARGE
    if abs(x - 0.5) >= 0.5 + width / 2 or abs(y - 0.5) >= 0.5 + height / 2:
        return row, Fault.BOX_OUTSIDE
    return row, None


def _check_ids(
    ids: npt.NDArray[np.int64], places: list[str], limits: Limits, findings: Findings
) -> npt.NDArray[np.bool_]:
    """Report identities out of range and twice in the picture; return which are the latter."""
    ambiguous = np.zeros(len(ids), np.bool_)
    first: dict[int, int] = {}
    for row, identity in enumerate(ids.tolist()):
        if identity < UNKNOWN_ID or (limits.num_ids is not None and identity >= limits.num_ids):
            findings.add(Fault.ID_OUT_OF_RANGE, places[row])
        if identity >= 0 and identity in first:
            ambiguous[[first[identity], row]] = True
            findings.add(Fault.ID_TWICE, places[row])
        first.setdefault(identity, row)
    return ambiguous
