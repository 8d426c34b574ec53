"""What ``kd-run`` does when things go wrong: faults done to real runs, and whether data was lost.

Each fault is done to a process of its own. What it wrote by then is compared, byte for byte, with
what an undisturbed run writes.
"""

from __future__ import annotations

import dataclasses
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import click

import runtime
from benchmarks.faults.bench import (
    AS_UNDISTURBED,
    CLIP,
    FINAL_NAMES,
    FPS,
    INTERRUPTED,
    JUMPING_CLOCK,
    MIDDLE,
    MODEL,
    Bench,
    Outcome,
    Run,
    avi_frames,
    decodable,
    describe,
)
from benchmarks.faults.disks import small_disk
from benchmarks.faults.models import (
    engine_of_another_gpu,
    engine_of_another_gpu_beside,
    model_replaced,
)
from benchmarks.faults.streams import (
    clock_jumps_on_a_stream,
    stream_changes_size,
    stream_comes_back,
    stream_stays_away,
    stream_with_damaged_frames,
)
from runtime.console import markdown_table, print_table, progress
from runtime.errors import UserError
from runtime.sources.base import Frame, FrameSource

FRAMES = 600
COLUMNS = ("fault", "exit", "frames", "nothing lost", "last line")
DAMAGED = 3


def measure_faults(
    model: Path,
    footage: Path | None = None,
    names: Sequence[str] | None = None,
    frames: int = FRAMES,
) -> list[dict[str, Any]]:
    """Do every fault to a ``kd-run`` of its own.

    Args:
        model: Exported ``.onnx`` file; what it detects decides how much the comparisons say.
        footage: Video to track; when not given, two bright discs are drawn.
        names: Some of ``FAULTS``; all when not given.
        frames: Length of the clip that is tracked; at least 100.

    Returns:
        For each fault the fields of ``Outcome`` by name.

    Raises:
        UserError: A name is unknown, or model or footage cannot be used.
    """
    names = list(FAULTS) if names is None else list(names)
    unknown = [name for name in names if name not in FAULTS]
    if unknown:
        raise UserError(f"fault {unknown[0]!r} is unknown: choose from {', '.join(FAULTS)}")
    outcomes = []
    with tempfile.TemporaryDirectory() as folder, progress("now", transient=True) as bar:
        task = bar.add_task("faults", total=len(names), now="an undisturbed run")
        with closing(Bench(Path(folder), model, footage, frames)) as bench:
            for name in names:
                bar.update(task, now=name)
                outcomes.append(FAULTS[name](bench, name).to_dict())
                bar.advance(task)
    return outcomes


def video_cut_short(bench: Bench, fault: str) -> Outcome:
    """Take half of the bytes away."""
    content = (bench.folder / CLIP).read_bytes()
    half = bench.folder / "half.avi"
    half.write_bytes(content[: len(content) // 2])
    run = Run(bench, half.name, "cut")
    run.finish()
    checks = {
        "it says so": run.status == 1 and "cut short" in run.said(),
        # The cut goes through a picture, of which the decoder shows what is left.
        f"but for the last one, {AS_UNDISTURBED}": run.equals(bench.reference, but_last=1),
        FINAL_NAMES: run.files() == ["tracks.jsonl", "tracks.txt"],
    }
    return run.outcome(fault, decodable(half), checks)


def frames_damaged(bench: Bench, fault: str) -> Outcome:
    """Overwrite a few frames in the middle with zeros."""
    content = bytearray((bench.folder / CLIP).read_bytes())
    middle = len(bench.frames) // 2
    for start, stop in avi_frames(content)[middle : middle + DAMAGED]:
        content[start:stop] = bytes(stop - start)
    (bench.folder / "damaged.avi").write_bytes(content)
    run = Run(bench, "damaged.avi", "damaged")
    run.finish()
    before, whole = run.lines()[:middle], bench.reference.lines()
    times = [frame["timestamp"] for frame in run.frames()]
    checks = {
        "it says so": run.status == 0 and f"has {DAMAGED} damaged frames" in run.said(),
        "the frames before are those of an undisturbed run": before == whole[:middle],
        "the frames after keep number and time": times
        == [frame["timestamp"] for frame in bench.reference.frames()],
        FINAL_NAMES: run.files() == ["tracks.jsonl", "tracks.txt"],
    }
    return run.outcome(fault, len(bench.frames), checks)


def video_without_frames(bench: Bench, fault: str) -> Outcome:
    """Keep what stands before the first frame."""
    content = (bench.folder / CLIP).read_bytes()
    return _refused(bench, fault, "frameless.avi", content[: content.find(b"movi") + 4])


def empty_file(bench: Bench, fault: str) -> Outcome:
    """Give a file without content."""
    return _refused(bench, fault, "empty.avi", b"")


def _refused(bench: Bench, fault: str, name: str, content: bytes) -> Outcome:
    (bench.folder / name).write_bytes(content)
    run = Run(bench, name, f"out-{name}")
    run.finish()
    checks = {
        "it says so": run.status == 1 and f"{name} is not a video" in run.said(),
        "it leaves no file": run.files() == [],
    }
    return run.outcome(fault, 0, checks)


def disk_full(bench: Bench, fault: str) -> Outcome:
    """Write to a disk that holds half of the text."""
    size = sum(len(bench.reference.text(name)) for name in ("tracks.jsonl", "tracks.txt")) // 2
    with small_disk(bench.folder / "full", size) as (kind, prelude):
        run = Run(bench, CLIP, "full", ("--backend", "cpu", "--overlay"), prelude)
        run.finish()
        tracked, shown = len(run.lines()), decodable(run.out / "overlay.webm")
        checks = {
            f"{kind}: it says so": run.status == 1 and "cannot write" in run.said(),
            "it came so far": 0 < tracked < len(bench.frames),
            AS_UNDISTURBED: run.equals(bench.reference),
            "the overlay plays as far": abs(shown - tracked) <= 1,
            FINAL_NAMES: run.files() == ["overlay.webm", "tracks.jsonl", "tracks.txt"],
        }
        return run.outcome(fault, None, checks)


def killed(bench: Bench, fault: str) -> Outcome:
    """Kill it in the middle, then run it again in the same place."""
    run = Run(bench, CLIP, "killed")
    seen = run.wait_for(MIDDLE)
    run.send(signal.SIGKILL)
    run.finish()
    left = run.text("tracks.jsonl")
    checks = {
        "it was in the middle": run.status == -signal.SIGKILL and seen >= MIDDLE,
        AS_UNDISTURBED: run.equals(bench.reference),
    }
    outcome = run.outcome(fault, seen, checks)
    again = Run(bench, CLIP, "killed", ("--backend", "cpu", "--no-overlay", "--max-frames", "3"))
    again.finish()
    kept = again.out / "tracks.killed-1.jsonl"
    is_kept = again.status == 0 and kept.is_file() and kept.read_text(encoding="utf-8") == left
    return dataclasses.replace(
        outcome,
        nothing_lost=outcome.nothing_lost and is_kept,
        how=f"{outcome.how}; {describe({'the next run keeps what it finds': is_kept})}",
        files=again.files(),
    )


def terminated(bench: Bench, fault: str) -> Outcome:
    """Send SIGTERM in the middle, as service managers do."""
    run = Run(bench, CLIP, "terminated")
    seen = run.wait_for(MIDDLE)
    run.send(signal.SIGTERM)
    run.finish()
    checks = {
        "it was in the middle": run.status == INTERRUPTED and len(run.lines()) < len(bench.frames),
        AS_UNDISTURBED: run.equals(bench.reference),
        FINAL_NAMES: run.files() == ["tracks.jsonl", "tracks.txt"],
    }
    return run.outcome(fault, seen, checks)


def clock_jumps(bench: Bench, fault: str) -> Outcome:
    """Have the wall clock jump by hours, to and fro."""
    run = Run(bench, CLIP, "clock", prelude=JUMPING_CLOCK)
    run.finish()
    checks = {"exit status 0": run.status == 0, AS_UNDISTURBED: run.equals(bench.reference)}
    return run.outcome(fault, len(bench.frames), checks)


def timestamps_jump(bench: Bench, fault: str) -> Outcome:
    """Track a source in this process whose time jumps ahead, then back."""
    source = JumpingSource(bench.frames)
    first_seen: list[int] = []
    known: set[int] = set()
    indices = []
    for result in runtime.run(source, bench.folder / MODEL, backend="cpu"):
        indices.append(result.index)
        new = set(result.tracks.ids.tolist()) - known
        known |= new
        first_seen += sorted(new)
    checks = {
        "every frame comes out, in order": indices == list(range(len(bench.frames))),
        "ids go on counting": first_seen == sorted(first_seen),
    }
    passed, how = all(checks.values()), describe(checks)
    command = f"runtime.run(source, {MODEL!r})"
    return Outcome(fault, command, None, "", len(indices), len(bench.frames), [], passed, how)


class JumpingSource(FrameSource):
    """Frames whose time jumps an hour ahead after a third and two hours back after two thirds.

    Args:
        frames: uint8 BGR ``[H, W, 3]``.
    """

    name = "jumping"
    fps = FPS

    def __init__(self, frames: Sequence[Frame]) -> None:
        self._frames = frames
        self.length = len(frames)
        self.size_wh = (frames[0].shape[1], frames[0].shape[0])

    def __iter__(self) -> Iterator[Frame]:
        yield from self._frames

    def timed(self) -> Iterator[tuple[float, Frame]]:
        """Yield each frame with its jumping time in seconds."""
        for index, frame in enumerate(self):
            hours = (0, 1, -1)[3 * index // len(self._frames)]
            yield index / self.fps + 3600 * hours, frame


FAULTS: dict[str, Callable[[Bench, str], Outcome]] = {
    "video cut short": video_cut_short,
    "frames damaged": frames_damaged,
    "video without frames": video_without_frames,
    "empty file": empty_file,
    "stream cut and restored": stream_comes_back,
    "stream cut for good": stream_stays_away,
    "stream with damaged frames": stream_with_damaged_frames,
    "stream changes its resolution": stream_changes_size,
    "disk full": disk_full,
    "killed": killed,
    "SIGTERM": terminated,
    "clock jumps": clock_jumps,
    "clock jumps on a stream": clock_jumps_on_a_stream,
    "timestamps jump": timestamps_jump,
    "engine of another GPU": engine_of_another_gpu,
    "such an engine beside the model": engine_of_another_gpu_beside,
    "model replaced and deleted": model_replaced,
}


def fault_cells(row: dict[str, Any]) -> tuple[str, ...]:
    """Format one outcome.

    Examples:
        >>> fault_cells({"fault": "empty file", "exit_status": 1, "tracked": 0, "expected": 0,
        ...              "nothing_lost": True, "said": "error: it is empty"})
        ('empty file', '1', '0 of 0', 'yes', 'error: it is empty')
    """
    expected = "as fit" if row["expected"] is None else f"of {row['expected']}"
    status = "-" if row["exit_status"] is None else str(row["exit_status"])
    verdict = "yes" if row["nothing_lost"] else "NO"
    return row["fault"], status, f"{row['tracked']} {expected}", verdict, row["said"]


def faults_markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Render outcomes as a Markdown table, without what was said, which differs from run to run."""
    return markdown_table(COLUMNS[:-1], [fault_cells(row)[:-1] for row in rows])


def print_faults(rows: Sequence[dict[str, Any]]) -> None:
    """Print outcomes on standard output, and how those were found where something was lost."""
    print_table("what faults do to kd-run", COLUMNS, [fault_cells(row) for row in rows])
    for row in rows:
        if not row["nothing_lost"]:
            click.echo(f"{row['fault']}: {row['how']}")
