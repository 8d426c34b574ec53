"""What reading a published dataset gives: parts with their pictures, labels and links."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from runtime.errors import UserError
from train.data.labels import Labels

Result = TypeVar("Result")

# Stands in a folder of labels that we wrote, and so may write again.
MARK_FILE = ".prepared"
# Below this many seconds of work a second process would cost more than it saves.
WORTH_PROCESSES = 2.0


# Which datasets an option means something to.
TAKERS = {
    "classes": ("fish", "citypersons", "caltech"),
    "class_names": ("custom",),
    "identities": ("crowdhuman", "caltech", "cuhksysu", "prw"),
}


@dataclass(frozen=True)
class Options:
    """What the user asked for.

    Attributes:
        name: Name of the dataset, a key of ``PREPARERS``.
        halves: Whether to list the first and second half of each training sequence as well.
        classes: Names of the classes to keep, for datasets that have several; None means the
            dataset's default.
        class_names: Names of the classes, by number, where the dataset does not tell (``custom``).
        identities: Whether to take identities where the dataset lets one choose; None means its
            default.
        workers: Processes.
        command: The command as typed, for the index.
    """

    name: str
    halves: bool = False
    classes: tuple[str, ...] | None = None
    class_names: tuple[str, ...] | None = None
    identities: bool | None = None
    workers: int = 1
    command: str = ""

    def check(self) -> None:
        """Refuse an option that the dataset would ignore.

        Raises:
            UserError: There is one; the message names the datasets that take it.
        """
        for option, takers in TAKERS.items():
            if getattr(self, option) is not None and self.name not in takers:
                raise UserError(
                    f"{self.name} has no use for --{option.replace('_', '-')}, only "
                    f"{', '.join(takers)}: leave it out"
                )


@dataclass
class Part:
    """Pictures in one folder with their labels: a sequence, or a folder of photographs.

    Attributes:
        split: Name of the split, e.g. ``train``.
        folder: Folder of the pictures in the prepared dataset, e.g. ``images/train/S1``. It
            belongs to this part alone, and so does the same folder below ``labels_with_ids``.
        pictures: Paths in the prepared dataset, all inside ``folder`` or frames of the video
            ``folder.avi#1``; in order of time for a sequence.
        labels: One per picture. Identities are the dataset's own numbers, or ``UNKNOWN_ID``.
        links: Paths in the prepared dataset and what is published there: the folder of the
            sequence, its video, or single pictures. An entry that names itself (the dataset is
            laid out as it should be) needs no link.
        dropped: Published boxes that are not in ``labels``, by reason.
        scope: Parts with the same scope share their numbers of identities; the default is a
            scope of its own.
        is_sequence: Whether the pictures follow each other in time.
        labels_published: The label files exist already, in place or by a link in ``links``, and
            are left as they are; ``labels`` is what they hold.
    """

    split: str
    folder: str
    pictures: list[str]
    labels: list[Labels]
    links: dict[str, Path]
    dropped: Counter[str] = field(default_factory=Counter)
    scope: str = ""
    is_sequence: bool = False
    labels_published: bool = False

    def __post_init__(self) -> None:
        if len(self.pictures) != len(self.labels):
            raise ValueError(f"{len(self.pictures)} pictures with {len(self.labels)} labels")

    def ids(self) -> npt.NDArray[np.int64]:
        """Return the different known identities, ascending."""
        ids = np.concatenate([np.zeros(0, np.int64), *(labels.ids for labels in self.labels)])
        return np.unique(ids[ids >= 0])

    def boxes(self) -> int:
        """Return the number of boxes."""
        return sum(len(labels) for labels in self.labels)

    def frames(self, start: int, stop: int) -> Part:
        """Return the pictures ``start .. stop - 1`` as a part, for another list of the same."""
        pictures, labels = self.pictures[start:stop], self.labels[start:stop]
        return replace(self, pictures=pictures, labels=labels, dropped=Counter())


def identities(parts: Sequence[Part]) -> npt.NDArray[np.int64]:
    """Return the different known identities of several parts with common numbers, ascending."""
    return np.unique(np.concatenate([np.zeros(0, np.int64), *(part.ids() for part in parts)]))


@dataclass
class Collection:
    """A published dataset as it was read.

    Attributes:
        classes: Class names, by number.
        parts: In the order in which identities are numbered; it must not depend on the order in
            which the file system lists things.
        notes: Sentences for the user, e.g. about folders left out.
    """

    classes: tuple[str, ...]
    parts: list[Part]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class PreparedSplit:
    """What a split came to, for the table.

    Attributes:
        name: The split.
        sequences: Sequences in it; None where the pictures do not follow each other.
        pictures: Pictures.
        boxes: Boxes in them.
        ids: Different known identities.
        dropped: Boxes left out, by reason.
    """

    name: str
    sequences: int | None
    pictures: int
    boxes: int
    ids: int
    dropped: Counter[str]


class IdentityNumbers:
    """Numbers 0, 1, ... for the identities of a whole dataset, in the order they are first met.

    Examples:
        >>> numbers = IdentityNumbers()
        >>> numbers.renumber("S1", np.array([7, 3, -1])), numbers.renumber("S2", np.array([3]))
        (array([ 1,  0, -1]), array([2]))
        >>> numbers.renumber("S1", np.array([3])), len(numbers)
        (array([0]), 3)
    """

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, int], int] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def renumber(self, scope: str, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return dataset-wide numbers; identities not met before are numbered in ascending order.

        Args:
            scope: What the given numbers are unique in, e.g. a sequence.
            ids: ``[M]``; negative ones stay ``UNKNOWN_ID``.
        """
        given, where = np.unique(ids, return_inverse=True)
        numbered = [
            -1 if number < 0 else self._numbers.setdefault((scope, number), len(self._numbers))
            for number in given.tolist()
        ]
        return np.array(numbered, np.int64)[where.reshape(-1)]


def drop_sizeless(
    boxes_ltwh: npt.NDArray[np.float64], dropped: Counter[str]
) -> npt.NDArray[np.bool_]:
    """Return which boxes have a size, ``[M]``, and count the others as ``no size``.

    Examples:
        >>> dropped = Counter()
        >>> drop_sizeless(np.array([[0, 0, 5, 9], [3, 3, 0, 4.0]]), dropped), dropped["no size"]
        (array([ True, False]), 1)
    """
    finite = np.isfinite(boxes_ltwh).all(axis=1)
    keep = np.asarray(finite & (boxes_ltwh[:, 2:] > 0).all(axis=1), np.bool_)
    count(dropped, "no size", np.logical_not(keep))
    return keep


def count(dropped: Counter[str], reason: str, which: npt.NDArray[np.bool_]) -> None:
    """Add the number of true values to ``dropped`` unless it is zero."""
    if which.any():
        dropped[reason] += int(which.sum())


def in_processes(
    function: Callable[..., Result],
    jobs: Sequence[tuple[Any, ...]],
    what: str,
    workers: int,
    expected_seconds: float,
) -> list[Result]:
    """Call ``function(*job)`` for every job, in several processes where that pays.

    Args:
        function: A function at the top level of its module.
        jobs: Its arguments; the larger a job, the earlier it should come.
        what: For the progress bar, e.g. ``"reading sequences"``.
        workers: Processes at most.
        expected_seconds: About how long it takes in one process.

    Returns:
        The results in the order of the jobs.

    Raises:
        UserError: As ``function`` does, for the first job in order that fails.
    """
    from runtime.console import progress

    several = min(workers, len(jobs)) > 1 and expected_seconds > WORTH_PROCESSES
    results = []
    with progress(shown=expected_seconds >= WORTH_PROCESSES) as bar:
        task = bar.add_task(what, total=len(jobs))
        if not several:
            for job in jobs:
                results.append(function(*job))
                bar.advance(task)
            return results
        import multiprocessing

        # Fresh processes rather than forks: the progress bar has a thread.
        context = multiprocessing.get_context("spawn")
        with context.Pool(min(workers, len(jobs)), _start_worker) as pool:
            for result in [pool.apply_async(function, job) for job in jobs]:
                results.append(result.get())
                bar.advance(task)
    return results


def _start_worker() -> None:
    import signal

    from runtime.opencv import cv2

    cv2.setNumThreads(1)
    # Ctrl-C reaches the whole group; the parent ends its workers and says so once.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def names_in(text: str, option: str) -> tuple[str, ...]:
    """Return the names in a list separated by commas.

    Args:
        text: The list.
        option: Where it was given, for the message.

    Raises:
        UserError: It has no names, or one twice.

    Examples:
        >>> names_in("person, car", "--class-names")
        ('person', 'car')
    """
    names = tuple(name.strip() for name in text.split(","))
    if "" in names or len(set(names)) < len(names):
        raise UserError(f"{option} {text!r} is not a list of different names: give e.g. person,car")
    return names


def wrong_layout(name: str, root: Path, looked_for: Sequence[str]) -> UserError:
    """Return the error for a folder that is not laid out as the dataset is published.

    Args:
        name: The dataset.
        root: The folder given.
        looked_for: What stands in a folder that is, e.g. ``"train/*/gt/gt.txt"``.
    """
    if not root.is_dir():
        return UserError(f"{root} is not a folder: give the folder of the unpacked {name} dataset")
    found = sorted(
        entry.name + ("/" if entry.is_dir() else "")
        for entry in root.iterdir()
        if not entry.name.startswith(".")
    )
    listing = ", ".join(found[:8]) + (", ..." if len(found) > 8 else "")
    return UserError(
        f"{root} is not laid out as {name} is published: looked for {' or '.join(looked_for)} "
        f"in it and found {listing or 'nothing at all'}; give the folder that holds them"
    )
