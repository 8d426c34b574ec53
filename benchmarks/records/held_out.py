"""The table of the default student and of what became of it on each camera."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.report.runs import HEADLINE
from runtime.console import markdown_table

ADAPTED = "adapted to "
LEARNED = "†"


def held_out_markdown(record: dict[str, Any]) -> str:
    """Render a record of ``kd-bench compare`` sequence by sequence.

    A contender called ``adapted to NAME`` has learned from the sequences whose names begin with
    NAME; these cells bear a mark, all others are of cameras it has not seen.

    Args:
        record: The record; its contenders were scored on several sequences.
    """
    names = record["sequences"]
    rows = []
    for entry in record["contenders"]:
        told = entry["accuracy"]
        scored = [*zip(told["sequences"], ([name] for name in names), strict=True), (told, names)]
        cells = [
            figures(one) + (f" {LEARNED}" if has_learned(entry["model"], of) else "")
            for one, of in scored
        ]
        milliseconds = f"{entry['stages']['total']['median_ms']:.1f}"
        rows.append([entry["model"], *cells, milliseconds, f"{entry['bytes'] / 1e6:.1f}"])
    return markdown_table((" / ".join(HEADLINE), *names, "together", "ms", "MB"), rows)


def has_learned(contender: str, sequences: Sequence[str]) -> bool:
    """Tell whether a contender was adapted to one of these sequences.

    Examples:
        >>> has_learned("adapted to PETS09 int8", ["PETS09-S2L1"]), has_learned("default", ["TUD"])
        (True, False)
    """
    _, separator, rest = contender.partition(ADAPTED)
    return bool(separator) and any(name.startswith(rest.split()[0]) for name in sequences)


def figures(accuracy: dict[str, Any]) -> str:
    """Return the three headline figures.

    Examples:
        >>> figures({"MOTA": 0.61, "IDF1": 0.6456, "HOTA": 0.489})
        '0.610 / 0.646 / 0.489'
    """
    return " / ".join(f"{accuracy[key]:.3f}" for key in HEADLINE)
