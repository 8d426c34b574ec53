"""Which layers to leave in higher precision, found by measuring.

Lower precision alone is tried first. Where it fails, every group of layers is lowered on its own,
which tells how much of the allowance it uses up, and as few as will do of the most harmful ones are
kept, as in Wu et al., "Integer quantization for deep learning inference" (2020).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from onnx import ModelProto

from export.parity import ParityResult
from runtime.console import progress

Lower = Callable[[frozenset[str]], ModelProto]
Judge = Callable[[ModelProto], ParityResult]


@dataclass(frozen=True)
class Choice:
    """A graph in lower precision, and what was found on the way to it.

    Attributes:
        model: The graph.
        result: What the full check says of it; false when no choice passed.
        kept: Groups left in higher precision, the most harmful first.
        sensitivities: By group, ``ParityResult.strain`` of the graph with this group alone lowered,
            in the order of the ranking; empty when nothing had to be kept.
    """

    model: ModelProto
    result: ParityResult
    kept: tuple[str, ...]
    sensitivities: dict[str, float]


def choose(
    groups: Mapping[str, Sequence[str]],
    lower: Lower,
    judge: Judge,
    probe: Judge,
    *,
    describe: str,
    limit: float = 1.0,
    work: Mapping[str, float] | None = None,
) -> Choice:
    """Lower as much of a graph as the check allows.

    The number of groups to keep, in the order of their ranking, is doubled until the check passes,
    and bisected from there (Bentley and Yao, 1976): few groups do as a rule, and those steps are
    the slow ones. More groups kept need not mean a better graph, so what is returned has itself
    been judged: of the graphs that pass, the one that keeps the fewest groups; where none does, the
    one closest to passing.

    Args:
        groups: Names of nodes by group.
        lower: Makes the graph that keeps the nodes of these names in higher precision.
        judge: The full check.
        probe: The same check on fewer frames.
        describe: What is being done, for the progress bar.
        limit: Severity up to which a graph is good enough. Below 1 it leaves room for frames that
            are not among the judged; where it cannot be had, the graph that passes and keeps the
            fewest groups is taken.
        work: Of each group, where it is dear to keep one: what counts then is how harmful a group
            is for its work.
    """
    with progress("status", transient=True) as bar:
        bar_task = bar.add_task(describe, total=1, status="all layers")

        def attempt(kept: Sequence[str]) -> tuple[ModelProto, ParityResult]:
            model = lower(frozenset(node for group in kept for node in groups[group]))
            return model, judge(model)

        model, result = attempt(())
        bar.advance(bar_task)
        best = Choice(model, result, (), {})
        if _good(result, limit) or not groups:
            return best
        bar.update(bar_task, total=1 + len(groups) + len(groups).bit_length())
        strains = {}
        for group in groups:
            bar.update(bar_task, status=f"{group} alone")
            others = (node for other in groups if other != group for node in groups[other])
            strains[group] = probe(lower(frozenset(others))).strain
            bar.advance(bar_task)
        harm = {group: strains[group] / (work[group] if work else 1) for group in groups}
        ranking = sorted(harm, key=lambda group: harm[group], reverse=True)
        sensitivities = {group: strains[group] for group in ranking}
        best = Choice(model, result, (), sensitivities)
        # Keeping `too_few` groups is known to fail; keeping `enough` to pass, or not tried yet.
        too_few, enough = 0, len(ranking) + 1
        while enough - too_few > 1:
            doubled = max(2 * too_few, 1)
            count = doubled if doubled < enough else (too_few + enough) // 2
            bar.update(bar_task, status=f"{count} of {len(ranking)} kept")
            model, result = attempt(ranking[:count])
            bar.advance(bar_task)
            choice = Choice(model, result, tuple(ranking[:count]), sensitivities)
            best = min(best, choice, key=lambda choice: _order(choice, limit))
            if _good(result, limit):
                enough = count
            else:
                too_few = count
    return best


def _good(result: ParityResult, limit: float) -> bool:
    return result.passed and result.severity <= limit


def _order(choice: Choice, limit: float) -> tuple[float, ...]:
    """Return what sorts choices, the best first."""
    result = choice.result
    if result.passed:
        return 0 if _good(result, limit) else 1, len(choice.kept)
    return 2, result.severity, result.strain, len(choice.kept)
