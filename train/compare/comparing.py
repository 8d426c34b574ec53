"""The comparison from its configuration to its table, one run after the other."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress, TaskID

from runtime.console import markdown_table, print_table, progress
from runtime.errors import UserError
from runtime.files import atomic_path, output_directory
from runtime.version import __version__
from train.compare.config import CompareConfig, PlannedRun, read_comparison
from train.compare.running import (
    RunResult,
    changed_keys,
    forget,
    locked,
    saved_result,
    score_run,
    train_run,
)
from train.compare.summary import (
    COLUMNS,
    DIFFERENCES,
    difference_rows,
    figure_rows,
    summarise,
)
from train.tracking import HeldOutSequence, read_sequences

JSON_FILE = "compare.json"
MARKDOWN_FILE = "compare.md"
DIFFERENCE_COLUMNS = ("setting", "pairs", *DIFFERENCES)


@dataclass
class Progressed:
    """What has become of the runs so far.

    Attributes:
        finished: Runs that came to their end, and what they are worth.
        failed: Runs that did not, and why.
    """

    finished: list[tuple[PlannedRun, RunResult]] = field(default_factory=list)
    failed: list[tuple[PlannedRun, str]] = field(default_factory=list)


def compare(file: Path, out: Path, overwrite: bool = False, command: str = "") -> Path:
    """Train every setting with every seed, score the models, and write the table.

    Runs that have come to their end are not trained again, and begun ones go on from their
    checkpoint. The table is written after every run.

    Args:
        file: YAML file, see ``CompareConfig``.
        out: Folder for the runs and the table.
        overwrite: Start runs anew whose configuration has changed; without it that is an error.
        command: How the comparison was called, for the record.

    Returns:
        The table as Markdown.

    Raises:
        UserError: The configuration or the test sequences cannot be used, the folder is in use or
            holds runs with other configurations, or a run failed; the others are done by then.
    """
    config, runs = read_comparison(file, out)
    test = read_sequences(config.test)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    directory = output_directory(out)
    with locked(directory) as lock:
        _settle_changes(runs, overwrite)
        done = _run_all(config, runs, test, directory, lock, command)
    _show(config, done)
    if done.failed:
        names = "; ".join(str(run) for run, _ in done.failed)
        raise UserError(
            f"{len(done.failed)} of {len(runs)} runs failed ({names}), {directory / JSON_FILE} "
            "says why: put the cause right and run the same command again"
        )
    return directory / MARKDOWN_FILE


def _settle_changes(runs: Sequence[PlannedRun], overwrite: bool) -> None:
    changes = [(run, keys) for run in runs if (keys := changed_keys(run))]
    if changes and not overwrite:
        run, keys = changes[0]
        others = f", and {len(changes) - 1} more do" if len(changes) > 1 else ""
        raise UserError(
            f"{run.folder} holds a run that differs in {', '.join(map(str, keys))}{others}: choose "
            "another --out, or start the runs that differ anew with --overwrite"
        )
    for run, _ in changes:
        forget(run)


def _run_all(
    config: CompareConfig,
    runs: Sequence[PlannedRun],
    test: Sequence[HeldOutSequence],
    out: Path,
    lock: int,
    command: str,
) -> Progressed:
    done = Progressed()
    with progress() as bar:
        task = bar.add_task("comparing", total=len(runs))
        for run in runs:
            try:
                result = _one(run, test, lock, bar, task)
            except UserError as error:
                reason = " ".join(str(error).split())
                done.failed.append((run, reason))
                bar.console.print(f"{run} failed: {reason}", markup=False, soft_wrap=True)
            else:
                done.finished.append((run, result))
                _tell(bar, run, result)
            bar.update(task, advance=1, status="")
            write_tables(config, done, out, command)
    return done


def _one(
    run: PlannedRun, test: Sequence[HeldOutSequence], lock: int, bar: Progress, task: TaskID
) -> RunResult:
    """Return what a run is worth, after doing what is left to do of it."""
    result = saved_result(run)
    if result is None:
        bar.update(task, status=f"{run}: starting")
        train_run(run, lock, lambda status: bar.update(task, status=status))
    elif result.test == [str(one.directory) for one in test]:
        return result
    bar.update(task, status=f"{run}: tracking")
    return score_run(run, test)


def _tell(bar: Progress, run: PlannedRun, result: RunResult) -> None:
    figures = "  ".join(f"{name} {result.combined[name]:.3f}" for name in DIFFERENCES)
    bar.console.print(f"{run}: {figures}, {result.minutes:.1f} minutes", markup=False)


def write_tables(config: CompareConfig, done: Progressed, out: Path, command: str) -> None:
    """Write what is known so far, as JSON and as Markdown.

    Args:
        config: The comparison.
        done: What has become of the runs.
        out: Folder of the comparison.
        command: How the comparison was called.
    """
    summary = summarise(done.finished, list(config.settings))
    record = {
        "rows": [
            {"setting": run.setting, "seed": run.seed, "sequence": sequence, **figures}
            | {"parameters": result.parameters, "minutes": result.minutes, "steps": result.steps}
            for run, result in done.finished
            for sequence, figures in result.scores.items()
        ],
        "summary": summary,
        "failed": [
            {"setting": run.setting, "seed": run.seed, "error": reason}
            for run, reason in done.failed
        ],
        "runs": len(config.seeds) * len(config.settings),
        "config": config.model_dump(mode="json"),
        "command": command,
        "environment": environment(config.threads),
    }
    with atomic_path(out / JSON_FILE) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    with atomic_path(out / MARKDOWN_FILE) as temporary:
        temporary.write_text(_markdown(config, done, summary), encoding="utf-8")


def _markdown(config: CompareConfig, done: Progressed, summary: Sequence[dict[str, Any]]) -> str:
    parts = [
        f"# {' / '.join(config.settings)}",
        _caption(config, done),
        markdown_table(COLUMNS, figure_rows(summary)),
    ]
    differences = difference_rows(summary)
    if differences:
        parts += [_difference_caption(config), markdown_table(DIFFERENCE_COLUMNS, differences)]
    parts += [f"{run} failed: {reason}" for run, reason in done.failed]
    return "\n\n".join(parts) + "\n"


def _show(config: CompareConfig, done: Progressed) -> None:
    summary = summarise(done.finished, list(config.settings))
    if summary:
        print_table(_caption(config, done), COLUMNS, figure_rows(summary))
    differences = difference_rows(summary)
    if differences:
        print_table(_difference_caption(config), DIFFERENCE_COLUMNS, differences)


def _caption(config: CompareConfig, done: Progressed) -> str:
    names = ", ".join(path.name for path in config.test)
    planned = len(config.seeds) * len(config.settings)
    return (
        f"Mean ± standard deviation over seeds {', '.join(map(str, config.seeds))}, tracked on "
        f"{names}; {len(done.finished)} of {planned} runs"
    )


def _difference_caption(config: CompareConfig) -> str:
    return f"Difference to {next(iter(config.settings))}, paired by seed"


def environment(threads: int | None) -> dict[str, Any]:
    """Describe what the runs were made on.

    Args:
        threads: CPU threads asked for; None for the base's.
    """
    cuda = torch.cuda.is_available()
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "device": torch.cuda.get_device_name() if cuda else platform.machine(),
        "cores": os.cpu_count(),
        "threads": threads,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "kd-mot": __version__,
    }
