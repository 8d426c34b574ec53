"""What distillation brought, in plain words from the figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.report.formats import counted, figure
from benchmarks.report.runs import HEADLINE, Run


@dataclass(frozen=True)
class Difference:
    """One figure of the distilled student beside the undistilled one, as fractions."""

    metric: str
    before: float
    after: float

    @property
    def points(self) -> float:
        """Difference in points, i.e. hundredths, rounded to a tenth as it is shown."""
        return round(100 * (self.after - self.before), 1) + 0.0

    @property
    def signed(self) -> str:
        """The difference with its sign.

        Examples:
            >>> Difference("HOTA", 0.5, 0.48).signed, Difference("HOTA", 0.5, 0.5).signed
            ('−2.0', '0.0')
        """
        if self.points == 0:
            return "0.0"
        return f"{'+' if self.points > 0 else '−'}{abs(self.points):.1f}"

    @property
    def direction(self) -> str:
        """``up``, ``down`` or ``same``."""
        return "up" if self.points > 0 else "down" if self.points < 0 else "same"

    @property
    def words(self) -> str:
        """The difference as half a sentence."""
        if self.points == 0:
            return f"{self.metric} stayed at {self.after:.3f}"
        verb = "rose" if self.points > 0 else "fell"
        return (
            f"{self.metric} {verb} by {abs(self.points):.1f} points, "
            f"from {self.before:.3f} to {self.after:.3f}"
        )


@dataclass(frozen=True)
class Verdict:
    """The comparison of a distilled with an undistilled student.

    Attributes:
        headline: One sentence, whichever way it came out.
        differences: MOTA, IDF1 and HOTA.
        remarks: Further sentences: the teacher, the time, how far to trust the comparison.
    """

    headline: str
    differences: tuple[Difference, ...]
    remarks: tuple[str, ...]


def verdict(runs: Sequence[Run]) -> Verdict | None:
    """Compare the first distilled run with the first undistilled one.

    Args:
        runs: All runs of the page.

    Returns:
        The comparison, or None where one of the two is not there or not scored.
    """
    distilled, undistilled = _first(runs, "distilled"), _first(runs, "undistilled")
    if distilled is None or undistilled is None:
        return None
    differences = tuple(
        Difference(key, undistilled.accuracy[key], distilled.accuracy[key]) for key in HEADLINE
    )
    directions = {difference.direction for difference in differences}
    if directions <= {"up", "same"} and "up" in directions:
        outcome = "Distillation helped"
    elif directions <= {"down", "same"} and "down" in directions:
        outcome = "Distillation did harm"
    elif directions == {"same"}:
        outcome = "Distillation changed nothing"
    else:
        outcome = "Distillation helped in part"
    headline = f"{outcome}: {_join([difference.words for difference in differences])}."
    return Verdict(
        headline, differences, tuple(_remarks(distilled, undistilled, _first(runs, "teacher")))
    )


def choice(runs: Sequence[Run]) -> str:
    """Say in a sentence or two which runs are worth a choice; empty for one run alone."""
    timed = [run for run in runs if run.milliseconds and run.accuracy]
    if len(timed) < 2:
        return ""
    costs = [run.milliseconds or 0.0 for run in timed]
    front = pareto_front(costs, [run.accuracy["HOTA"] for run in timed])
    told = [
        f"{run.name} ({figure(run.milliseconds or 0)} ms, HOTA {run.accuracy['HOTA']:.3f})"
        for run in (timed[index] for index in front)
    ]
    if len(told) == 1:
        return f"The fastest is also the most accurate: {told[0]}."
    between = f" Worth a look between them: {', '.join(told[1:-1])}." if told[1:-1] else ""
    return f"The fastest is {told[0]}, the most accurate {told[-1]}.{between}"


def pareto_front(costs: Sequence[float], gains: Sequence[float]) -> list[int]:
    """Return the points that no other point beats in cost and gain, cheapest first.

    Examples:
        >>> pareto_front([3.0, 1.0, 2.0], [0.6, 0.4, 0.3])
        [1, 0]
    """
    front: list[int] = []
    for index in sorted(range(len(costs)), key=lambda i: (costs[i], -gains[i])):
        if not front or gains[index] > gains[front[-1]]:
            front.append(index)
    return front


def _remarks(distilled: Run, undistilled: Run, teacher: Run | None) -> list[str]:
    remarks = [f"Compared are {distilled.name} (distilled) and {undistilled.name} (undistilled)."]
    if teacher is not None:
        remarks.append(_gap(distilled, undistilled, teacher))
        if distilled.milliseconds and teacher.milliseconds:
            ratio = teacher.milliseconds / distilled.milliseconds
            pace = (
                f"{ratio:.1f} times as fast as"
                if ratio >= 1
                else f"{1 / ratio:.1f} times as slow as"
            )
            remarks.append(f"Per frame the distilled student is {pace} the teacher.")
    if distilled.sequence_names != undistilled.sequence_names:
        remarks.append(
            "The two were scored on different sequences, so the difference says nothing about "
            "distillation."
        )
    else:
        remarks.append(
            "This is one training run each, scored on "
            f"{counted(len(distilled.sequence_names), 'sequence')}: a small difference may be "
            "chance."
        )
    return remarks


def _gap(distilled: Run, undistilled: Run, teacher: Run) -> str:
    top, low = teacher.accuracy["HOTA"], undistilled.accuracy["HOTA"]
    gap = Difference("HOTA", low, top)
    if gap.points <= 0:
        return f"The teacher's HOTA of {top:.3f} is no higher than the undistilled student's."
    share = (distilled.accuracy["HOTA"] - low) / (top - low)
    behind = f"The undistilled student lies {gap.points:.1f} HOTA points behind the teacher"
    if share < 0:
        return f"{behind}, and the distilled one lies further back."
    if share > 1:
        return f"{behind}, and the distilled one is ahead of the teacher."
    return f"{behind}; distillation closed {share:.0%} of that gap."


def _first(runs: Sequence[Run], role: str) -> Run | None:
    return next((run for run in runs if run.role == role and run.accuracy), None)


def _join(parts: Sequence[str]) -> str:
    return "; ".join(parts)
