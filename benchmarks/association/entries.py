"""All trackers that can be measured, and how a user names them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from benchmarks.association.peers import (
    Contender,
    IouTrack,
    Original,
    Ours,
    Pyx,
    Roboflow,
    SimilariSort,
    SimilariVisual,
)
from runtime.errors import UserError

# Which of several is meant by a name, the first one.
KINDS = ("bytetrack", "sort", "ocsort", "botsort", "visual")
PACKAGES = ("pyxtrackers", "trackers", "ioutrack", "similari")


@dataclass(frozen=True)
class Entry:
    """A tracker that can be measured.

    Attributes:
        name: As tables show it.
        embeddings: Whether it looks at embeddings.
        make: Starts it for one sequence; with ``Settings`` or without.
        package: What must be installed, as pip knows it; None for what is always there.
        module: The module of that package.
        ours: Whether it is this project's.
        key: Package and kind as a user names it, e.g. ``trackers:ocsort``; empty for what cannot
            be named.
    """

    name: str
    embeddings: bool
    make: Callable[..., Contender]
    package: str | None = None
    module: str | None = None
    ours: bool = False
    key: str = ""

    @property
    def missing(self) -> str | None:
        """Why it cannot run, None if it can."""
        if self.module is None or importlib.util.find_spec(self.module) is not None:
            return None
        return f"not installed: pip install --no-deps {self.package}"

    @property
    def version(self) -> str | None:
        """Version of the package."""
        return version(self.package) if self.package else None


def entries(original: Path | None = None) -> list[Entry]:
    """Return all trackers, this project's first.

    Args:
        original: A clone of FairMOT, whose tracker is then among them.
    """
    found = [
        Entry("kd-mot, fairmot", True, lambda: Ours("fairmot"), ours=True),
        Entry("kd-mot, default", True, partial(Ours, "default", True), ours=True),
        Entry("kd-mot, motion only", False, partial(Ours, "default", False), ours=True),
    ]
    if original is not None:
        found.append(Entry("FairMOT JDETracker", True, lambda: Original(original)))
    found.append(_entry("similari VisualSort", SimilariVisual, "similari-trackers-rs"))
    found.append(_entry("similari Sort", SimilariSort, "similari-trackers-rs"))
    for kind in ("SORTTracker", "ByteTrackTracker", "OCSORTTracker", "BoTSORTTracker"):
        found.append(_entry(f"trackers {kind}", Roboflow, "trackers", kind))
    for kind in ("Sort", "BYTETracker", "OCSort"):
        found.append(_entry(f"pyxtrackers {kind}", Pyx, "pyxtrackers", kind))
    for kind in ("Sort", "ByteTrack"):
        found.append(_entry(f"ioutrack {kind}", IouTrack, "ioutrack", kind))
    return found


def _entry(name: str, kind: Callable[..., Contender], package: str, *arguments: str) -> Entry:
    module, _, peer = name.partition(" ")
    short = peer.lower().removesuffix("tracker").replace("visualsort", "visual")
    # What the class is called there, and what everybody calls it.
    short = {"byte": "bytetrack"}.get(short, short)
    return Entry(
        name,
        kind is SimilariVisual,
        partial(kind, *arguments),
        package,
        module,
        key=f"{module}:{short}",
    )


def find_entry(name: str, embeddings: bool = False) -> Entry:
    """Return the tracker of a name.

    Args:
        name: ``kd-mot``; a kind, as ``bytetrack``, which is taken from the first package that is
            installed; a package; or both, as ``trackers:ocsort``.
        embeddings: Whether ``kd-mot`` shall look at embeddings.

    Raises:
        UserError: There is no such tracker, or its package is not installed.

    Examples:
        >>> find_entry("kd-mot").name
        'kd-mot, motion only'
    """
    found = entries()
    if name == "kd-mot":
        return next(entry for entry in found[1:] if entry.embeddings == embeddings)
    named = [entry for entry in found if entry.key]
    asked = [entry for entry in named if name in (entry.key, *entry.key.split(":"))]
    if not asked:
        listed = ", ".join(("kd-mot", *KINDS, *PACKAGES, *(entry.key for entry in named)))
        raise UserError(f"tracker {name!r} is unknown: choose one of {listed}")
    asked.sort(key=_preference)
    present = [entry for entry in asked if entry.missing is None]
    if not present:
        raise UserError(f"tracker {name} is {asked[0].missing}")
    return present[0]


def _preference(entry: Entry) -> tuple[int, int]:
    package, kind = entry.key.split(":")
    return KINDS.index(kind), PACKAGES.index(package)
