"""What ``kd-data prepare`` says at the end."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path

from runtime.console import print_table
from train.data.index import INDEX_FILE
from train.data.prepare.base import Options
from train.data.prepare.building import Prepared


def print_prepared(prepared: Prepared) -> None:
    """Print notes, one row for each split, and where the index is."""
    index = prepared.index
    rows = [
        (
            split.name,
            split.sequences,
            split.pictures,
            split.boxes,
            split.ids,
            sum(split.dropped.values()),
            reasons(split.dropped),
        )
        for split in prepared.splits
    ]
    print_table(
        f"{index.name}: {index.num_ids} identities, classes {', '.join(index.classes)}",
        ("split", "sequences", "pictures", "boxes", "identities", "dropped", "why"),
        rows,
    )
    for note in prepared.notes:
        print(note)
    print(f"index: {index.root / INDEX_FILE}")


def reasons(dropped: Counter[str]) -> str:
    """Return what was dropped and how often, most frequent first.

    Examples:
        >>> reasons(Counter({"mark 0": 2, "no size": 7})), reasons(Counter())
        ('no size 7, mark 0 2', '')
    """
    ordered = sorted(dropped.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{reason} {number}" for reason, number in ordered)


def command_line(root: Path, out: Path | None, options: Options) -> str:
    """Return the command that does the same again, for the index.

    Examples:
        >>> command_line(Path("MOT 17"), None, Options("mot17", halves=True))
        "kd-data prepare mot17 'MOT 17' --split half"
    """
    words = ["kd-data", "prepare", options.name, str(root)]
    if out is not None:
        words += ["--out", str(out)]
    if options.halves:
        words += ["--split", "half"]
    if options.classes is not None:
        words += ["--classes", ",".join(options.classes)]
    if options.class_names is not None:
        words += ["--class-names", ",".join(options.class_names)]
    if options.identities is not None:
        words.append("--identities" if options.identities else "--no-identities")
    return shlex.join(words)
