"""The kinds of faults a dataset can have, and counting them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

ERROR = "error"
WARNING = "warning"
NOTE = "note"


class Fault(Enum):
    """A kind of fault: what it is called in the report, and how grave it is.

    Errors stop a training or teach it something false; warnings may be meant; notes are neither.
    """

    LIST_UNREADABLE = ("list is missing or no text", ERROR)
    PATH_ESCAPES = ("list leads out of the dataset", ERROR)
    PATH_WITHOUT_LABELS = ("picture is in no folder called images", ERROR)
    LISTED_TWICE = ("picture listed twice", ERROR)
    PICTURE_MISSING = ("picture is missing", ERROR)
    PICTURE_UNREADABLE = ("picture cannot be read", ERROR)
    FRAME_MISSING = ("video has no such frame", ERROR)
    LABELS_UNREADABLE = ("label file is no text", ERROR)
    LINE_UNPARSED = ("label line does not parse", ERROR)
    NOT_FINITE = ("number is not finite", ERROR)
    BOX_WITHOUT_SIZE = ("box of no size", ERROR)
    BOX_TOO_LARGE = ("box larger than three pictures", ERROR)
    BOX_OUTSIDE = ("box outside the picture", ERROR)
    CLASS_UNKNOWN = ("class number has no name", ERROR)
    ID_OUT_OF_RANGE = ("identity is not below num_ids", ERROR)
    ID_TWICE = ("identity twice in a picture", ERROR)
    COUNTS_DIFFER = ("counts in the index differ", WARNING)
    PICTURE_DAMAGED = ("picture decodes with damage", WARNING)
    ID_ONCE = ("identity has a single box", WARNING)
    LABELS_UNLISTED = ("label file of no listed picture", WARNING)
    WITHOUT_OBJECTS = ("picture without objects", NOTE)

    def __init__(self, title: str, severity: str) -> None:
        self.title = title
        self.severity = severity


@dataclass
class Finding:
    """How often a fault was found, and where first."""

    count: int
    first: str


class Findings:
    """Faults by kind.

    Examples:
        >>> findings = Findings()
        >>> findings.errors, findings.warnings
        (0, 0)
        >>> findings.add(Fault.ID_ONCE, "identity 3")
        >>> findings.add(Fault.ID_ONCE, "identity 8")
        >>> findings.found[Fault.ID_ONCE], findings.warnings
        (Finding(count=2, first='identity 3'), 2)
    """

    def __init__(self) -> None:
        self.found: dict[Fault, Finding] = {}

    def add(self, fault: Fault, example: str, count: int = 1) -> None:
        """Count a fault; the example is kept when it is the first of its kind."""
        if fault in self.found:
            self.found[fault].count += count
        else:
            self.found[fault] = Finding(count, example)

    def merge(self, others: Findings) -> None:
        """Add the faults that were found later."""
        for fault, finding in others.found.items():
            self.add(fault, finding.first, finding.count)

    def ordered(self) -> list[tuple[Fault, Finding]]:
        """Return what was found, errors first."""
        return [(fault, self.found[fault]) for fault in Fault if fault in self.found]

    @property
    def errors(self) -> int:
        """How many errors there are."""
        return self._count(ERROR)

    @property
    def warnings(self) -> int:
        """How many warnings there are."""
        return self._count(WARNING)

    def _count(self, severity: str) -> int:
        return sum(
            finding.count for fault, finding in self.found.items() if fault.severity == severity
        )
