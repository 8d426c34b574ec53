"""Names of sources as names of folders."""

from __future__ import annotations

import re
from collections.abc import Sequence

from runtime.sources.base import FrameSource
from runtime.sources.urls import redact

LONGEST_NAME = 60


def folder_names(sources: Sequence[FrameSource]) -> list[str]:
    """Return one folder name per source.

    Letters, digits, dots, dashes and underscores stay, the rest becomes dashes. No name is hidden,
    leads elsewhere, holds credentials or is longer than 60 characters, and no two are equal, also
    where the file system takes capitals for small letters.

    Args:
        sources: The sources in order; of several with one name, the first keeps it.

    Returns:
        The names in the same order.

    Examples:
        >>> class Named(FrameSource):
        ...     def __init__(self, name): self.name = name
        ...     def __iter__(self): return iter(())
        >>> folder_names([Named("rtsp://u:p@cam/1"), Named("walk"), Named("walk"), Named("..")])
        ['rtsp-cam-1', 'walk', 'walk-2', 'source']
    """
    wanted = [_folder_name(source.name) for source in sources]
    # A name that somebody has of his own is not given to a namesake of another.
    reserved = {name.casefold() for name in wanted}
    names: list[str] = []
    taken: set[str] = set()
    for name in wanted:
        candidate, number = name, 1
        while candidate.casefold() in taken or (number > 1 and candidate.casefold() in reserved):
            number += 1
            suffix = f"-{number}"
            candidate = name[: LONGEST_NAME - len(suffix)] + suffix
        taken.add(candidate.casefold())
        names.append(candidate)
    return names


def _folder_name(name: str) -> str:
    name = re.sub(r"[^\w.-]+", "-", redact(name))
    return name.strip("-._")[:LONGEST_NAME].rstrip("-._") or "source"
