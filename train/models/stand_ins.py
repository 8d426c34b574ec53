"""Stand-ins for what a pickle names, so that its tensors can be read and none of its code run."""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

# A file of torch before 1.6 is a row of pickles: a magic number, a version, the machine, the object
# and the names of its storages; bare numbers follow.
LEGACY_PICKLES = 5


class StandIn:
    """Takes the place of a class or function that a pickle wants to create or call.

    Being created, called and given a state, it remembers what it was given and does nothing. It has
    slots only, so that nothing else can be set on it.

    Attributes:
        arguments: What it was created or called with.
        state: What the pickle restores it to; of a module, its attributes.
    """

    __slots__ = ("arguments", "state")

    arguments: tuple[Any, ...]
    state: Any

    def __new__(cls, *arguments: Any) -> StandIn:
        """Remember the arguments; pickles create objects without calling ``__init__``."""
        created = super().__new__(cls)
        created.arguments = arguments
        created.state = None
        return created

    def __init__(self, *arguments: Any) -> None:
        """Do nothing with the arguments that ``__new__`` has kept."""

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def contents(self) -> Mapping[str, Any]:
        """Return a module's tensors under its own names for them, or another object's attributes.

        Returns:
            For a pickled ``torch.nn.Module`` what its ``state_dict()`` would hold, else the
            attributes that the pickle restores.
        """
        if "_modules" in self._attributes():
            return dict(self._tensors("", ()))
        return self._attributes()

    def _attributes(self) -> Mapping[str, Any]:
        # An object with slots is restored from a pair: the attributes and the slots.
        state = self.state[0] if isinstance(self.state, tuple) and self.state else self.state
        return state if isinstance(state, Mapping) else {}

    def _tensors(self, prefix: str, parents: tuple[StandIn, ...]) -> Iterator[tuple[str, Any]]:
        """Walk a module in the order of ``state_dict``: parameters, buffers, children."""
        passing = self._attributes().get("_non_persistent_buffers_set")
        passing = passing if isinstance(passing, set) else ()
        for name, value in self._group("_parameters"):
            yield f"{prefix}{name}", value
        for name, value in self._group("_buffers"):
            if name not in passing:
                yield f"{prefix}{name}", value
        for name, child in self._group("_modules"):
            # A damaged file may hold a module that contains itself.
            if isinstance(child, StandIn) and not any(child is parent for parent in parents):
                yield from child._tensors(f"{prefix}{name}.", (*parents, self))

    def _group(self, name: str) -> Iterator[tuple[str, Any]]:
        group = self._attributes().get(name)
        yield from group.items() if isinstance(group, Mapping) else ()


def plain_dictionary(*_: Any) -> dict[Any, Any]:
    """Stand in for ``collections.defaultdict``: the pickle goes on to fill what it has created."""
    return {}


def named_globals(file: Path) -> list[str]:
    """List what a checkpoint's pickle names and torch does not load by itself.

    The pickle is taken apart, not run.

    Args:
        file: A file that ``torch.save`` wrote.

    Returns:
        Dotted names, sorted. For a file of torch before 1.6 also those that torch does load. Empty
        for a file that cannot be taken apart.
    """
    try:
        if zipfile.is_zipfile(file):
            return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(str(file)))
        names = set()
        with file.open("rb") as handle:
            for _ in range(LEGACY_PICKLES):
                for opcode, argument, _ in pickletools.genops(handle):
                    if opcode.name == "GLOBAL":
                        names.add(str(argument).replace(" ", ".", 1))
        return sorted(names)
    except Exception:  # a damaged pickle fails in many ways; reading it will say so
        return []


def stand_ins(
    names: Iterable[str],
) -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """Return what ``torch.serialization.safe_globals`` takes to load ``names`` as stand-ins.

    What torch loads by itself it goes on to load itself, and modules of the operating system
    (``os``, ``posix``, ``sys``) it refuses under any name.

    Examples:
        >>> stand_ins(["models.yolo.Model"])
        [(<class 'train.models.stand_ins.StandIn'>, 'models.yolo.Model')]
    """
    special: dict[str, Callable[..., Any]] = {"collections.defaultdict": plain_dictionary}
    return [(special.get(name, StandIn), name) for name in names]
