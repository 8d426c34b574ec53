"""``kd-bench compare``: contenders side by side on one dataset, accuracy and time, on one page."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.contenders import Recipe
from benchmarks.report import write_report
from benchmarks.report.precision import base_name
from benchmarks.scoring.sequences import Sequence as Footage
from benchmarks.scoring.tracking import contender_folder, measure_accuracy
from benchmarks.timing.alone import measure_alone
from benchmarks.timing.environment import environment
from benchmarks.timing.frames import first_frames
from benchmarks.timing.latency import (
    entry_medians,
    files_of,
    print_ratios,
    settings_of,
    time_contenders,
)
from benchmarks.timing.statistics import paired_ratio
from runtime.console import markdown_table, print_table
from runtime.errors import UserError
from runtime.files import output_directory, write_json

RECORD = "compare.json"
PAGE = "report.html"
STAGE_COLUMNS = ("preprocess", "network", "decode", "association", "total")
COLUMNS = ("contender", "MOTA", "IDF1", "HOTA", "IDSW", *STAGE_COLUMNS, "MB")


def compare(
    recipes: Sequence[Recipe],
    sequences: Sequence[Footage],
    out: Path,
    *,
    frames: int = 20,
    rounds: int = 20,
    threads: int | None = None,
    backend: str = "auto",
    command: str = "",
    notes: str = "",
    title: str = "Trackers compared",
    alone: bool = True,
) -> dict[str, Any]:
    """Score and time contenders in one run, and write the page.

    All are scored on all sequences, then timed in turns on the first frames of the first sequence,
    then each is started in a process of its own for what loading costs and for memory.

    Args:
        recipes: The contenders; times are compared with the first one's.
        sequences: With ground truth, at least one.
        out: Folder for ``report.html``, ``report.md``, ``compare.json`` and a folder per contender.
        frames: Frames of each contender per round.
        rounds: Number of rounds.
        threads: CPU threads of each network; its own choice when None.
        backend: Backend for ``runtime.load``.
        command: The command that does this, for the record.
        notes: Words on the contenders or the data, for the page.
        title: Heading of the page.
        alone: Whether start, memory, throughput and energy of each contender are measured as well.

    Returns:
        ``contenders``, each with its description, ``role``, ``accuracy`` and its entry of
        ``latency.json`` but the single frames; ``comparisons``, ``settings``, ``sequences``,
        ``environment``, ``warnings``, ``notes`` and ``command``.

    Raises:
        UserError: A contender, its packages or a sequence cannot be used, or ``out`` cannot be
            written to.
    """
    output_directory(out)
    surroundings = environment(threads)
    pictures, fps = first_frames(sequences[0].path, frames)
    with ExitStack() as stack:
        contenders = [stack.enter_context(recipe.open(backend, threads)) for recipe in recipes]
        scored = [one for one in contenders if one.trained]
        if not scored:
            raise UserError("no contender has weights: there is nothing to put on the page")
        accuracy = measure_accuracy(scored, sequences, out)
        latency = time_contenders(contenders, pictures, fps, rounds, surroundings)
    if alone:
        extras = measure_alone(recipes, pictures, fps, threads, backend)
        for entry, extra in zip(latency["models"], extras, strict=True):
            entry |= extra
    latency["settings"] = settings_of(sequences[0].name, pictures, rounds, backend, threads)
    latency["comparisons"] += precision_pairs(latency)
    latency["files"] = files_of(recipes, sequences[0].path)
    folders, untrained = [], []
    for recipe, entry in zip(recipes, latency["models"], strict=True):
        if recipe.name not in accuracy:
            median = entry["stages"]["total"]["median_ms"]
            untrained.append(f"{recipe.name} has no weights: timed only, {median:.0f} ms a frame.")
            continue
        folder = contender_folder(out, recipe.name)
        folders.append(folder)
        write_json(folder / "latency.json", latency)
        write_json(folder / "run.json", {"name": recipe.name, "role": recipe.role})
    notes = " ".join([notes, *untrained]).strip()
    record = {
        "contenders": [
            {
                **{key: value for key, value in entry.items() if key != "frame_ms"},
                "role": recipe.role,
                "accuracy": accuracy.get(recipe.name),
            }
            for recipe, entry in zip(recipes, latency["models"], strict=True)
        ],
        "sequences": [sequence.name for sequence in sequences],
        **{key: latency[key] for key in ("comparisons", "settings", "environment", "warnings")},
        "notes": notes,
        "command": command,
    }
    write_json(out / RECORD, record)
    sources = [sequence.path for sequence in sequences]
    write_report(folders, out / PAGE, title=title, sources=sources, command=command, notes=notes)
    return record


def precision_pairs(latency: dict[str, Any]) -> list[dict[str, Any]]:
    """Compare a network in fp32 with the same in other precisions.

    Args:
        latency: ``models`` with ``frame_ms``, and ``settings`` with the number of rounds.

    Returns:
        Entries for ``comparisons``, but those with the first model, which are there.
    """
    count = latency["settings"]["rounds"]
    medians = {entry["model"]: entry_medians(entry, count) for entry in latency["models"]}
    first = latency["models"][0]["model"]
    found = []
    for full in latency["models"]:
        for other in latency["models"]:
            same = full["arch"] == other["arch"] and full["parameters"] == other["parameters"]
            same &= base_name(full["model"]) == base_name(other["model"])
            if full["precision"] != "fp32" or other["precision"] == "fp32" or not same:
                continue
            if first in (full["model"], other["model"]):
                continue
            ratio = paired_ratio(medians[full["model"]], medians[other["model"]])
            found.append({"first": full["model"], "other": other["model"], **ratio.to_dict()})
    return found


def cells(entry: dict[str, Any]) -> tuple[str, ...]:
    """Format one contender's row: ratios, switches, median ms of each stage, size of its networks.

    Args:
        entry: One of ``contenders`` in the record.
    """
    told = entry["accuracy"] or {}
    stages = entry["stages"]
    return (
        entry["model"],
        *(f"{told[key]:.3f}" if told else "–" for key in ("MOTA", "IDF1", "HOTA")),
        str(told.get("IDSW", "–")),
        *(f"{stages[name]['median_ms']:.2f}" for name in STAGE_COLUMNS),
        f"{entry['bytes'] / 1e6:.1f}" if entry["bytes"] else "–",
    )


def comparison_markdown(record: dict[str, Any]) -> str:
    """Render the contenders of a record as a Markdown table."""
    return markdown_table(COLUMNS, [cells(entry) for entry in record["contenders"]])


def print_comparison(record: dict[str, Any]) -> None:
    """Print what ``compare`` returned on standard output."""
    settings = record["settings"]
    names = ", ".join(record["sequences"])
    title = f"Accuracy on {names}; median ms per frame on {settings['source']}"
    print_table(title, COLUMNS, [cells(entry) for entry in record["contenders"]])
    print_ratios(record["comparisons"])
