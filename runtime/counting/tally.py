"""What was counted so far."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class LineTally:
    """Crossings of one line by class name; classes that never crossed are left out.

    Attributes:
        inward: Crossings from the left hand to the right hand, see ``Line``.
        outward: Crossings the other way.
    """

    inward: dict[str, int] = field(default_factory=dict)
    outward: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ZoneTally:
    """Visits to one zone.

    Attributes:
        present: Identities in it now.
        entered: Visits so far; who is in the zone when first seen has entered it.
        left: Visits that ended. ``entered`` is ``present`` plus ``left``.
        mean_dwell_seconds: Mean length of all visits, those that last included.
        longest_dwell_seconds: Length of the longest of them.
    """

    present: int = 0
    entered: int = 0
    left: int = 0
    mean_dwell_seconds: float = 0.0
    longest_dwell_seconds: float = 0.0


@dataclass(frozen=True)
class Tally:
    """All that was counted up to one frame, by name of the line or zone.

    Examples:
        >>> Tally({"door": LineTally({"person": 2})}, {}).to_json()
        {'lines': {'door': {'in': {'person': 2}, 'out': {}}}, 'zones': {}}
    """

    lines: dict[str, LineTally]
    zones: dict[str, ZoneTally]

    def to_json(self) -> dict[str, Any]:
        """Return it as what ``json.dumps`` takes, seconds rounded to thousandths."""
        lines = {name: {"in": one.inward, "out": one.outward} for name, one in self.lines.items()}
        zones = {}
        for name, zone in self.zones.items():
            row = asdict(zone)
            for key in ("mean_dwell_seconds", "longest_dwell_seconds"):
                row[key] = round(row[key], 3)
            zones[name] = row
        return {"lines": lines, "zones": zones}
