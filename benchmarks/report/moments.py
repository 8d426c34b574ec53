"""What is wrong in each frame, and the frames where most is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.metrics import SequenceData, clear_matches
from benchmarks.report.formats import counted


@dataclass(frozen=True)
class Moment:
    """What is wrong in one frame; identities are the files' own.

    Attributes:
        frame: Number of the frame, from 1.
        switches: The track an object had before, and the one it has now.
        missed: Objects that no track covers.
        false: Tracks that cover no object.
    """

    frame: int
    switches: tuple[tuple[int, int], ...] = ()
    missed: tuple[int, ...] = ()
    false: tuple[int, ...] = ()

    @property
    def count(self) -> int:
        """Number of errors."""
        return len(self.switches) + len(self.missed) + len(self.false)

    @property
    def words(self) -> str:
        """What is wrong.

        Examples:
            >>> Moment(112, ((1, 4), (2, 7)), (3, 5, 6), (9,)).words
            '2 switches, 3 missed, 1 false'
            >>> Moment(112).words
            'no error'
        """
        parts = [
            counted(len(self.switches), "switch", "switches") if self.switches else "",
            f"{len(self.missed)} missed" if self.missed else "",
            f"{len(self.false)} false" if self.false else "",
        ]
        return ", ".join(part for part in parts if part) or "no error"


def find_moments(data: SequenceData) -> list[Moment]:
    """Return what is wrong in each frame, by the matches that MOTA counts.

    Args:
        data: Ground truth against tracks.
    """
    matches = {one.frame: one for one in clear_matches(data)}
    before: dict[int, int] = {}
    found = []
    for frame, (objects, tracks) in enumerate(zip(data.gt_ids, data.tracker_ids, strict=True)):
        missed, false = set(objects.tolist()), set(tracks.tolist())
        switches = []
        if here := matches.get(frame):
            rows = zip(
                here.gt_ids.tolist(), here.tracker_ids.tolist(), here.switched.tolist(), strict=True
            )
            for thing, track, switched in rows:
                missed.discard(thing)
                false.discard(track)
                if switched:
                    names = data.tracker_names[[before[thing], track]].tolist()
                    switches.append((names[0], names[1]))
                before[thing] = track
        found.append(
            Moment(
                frame + 1,
                tuple(switches),
                tuple(data.gt_names[sorted(missed)].tolist()),
                tuple(data.tracker_names[sorted(false)].tolist()),
            )
        )
    return found


def worst_moments(moments: Sequence[Moment], count: int) -> list[Moment]:
    """Return the frames with most errors, well apart from each other, in order.

    Args:
        moments: Of every frame.
        count: How many at most.

    Returns:
        Fewer where there are fewer with an error; between equals the one with more switches.

    Examples:
        >>> frames = [Moment(n + 1, missed=(1,) * count) for n, count in enumerate([1, 5, 6, 0])]
        >>> [moment.frame for moment in worst_moments(frames, 2)]
        [1, 3]
    """
    apart = max(2, len(moments) // (3 * count))
    chosen: list[Moment] = []
    for moment in sorted(moments, key=lambda one: (-one.count, -len(one.switches), one.frame)):
        if moment.count == 0 or len(chosen) == count:
            break
        if all(abs(moment.frame - other.frame) >= apart for other in chosen):
            chosen.append(moment)
    return sorted(chosen, key=lambda one: one.frame)
