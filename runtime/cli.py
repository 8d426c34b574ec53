"""``kd-run``: track everything in a video."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from runtime.console import run_command
from runtime.errors import UserError
from runtime.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from runtime.detector import Detector
    from runtime.sources import FrameSource
    from runtime.tracking.tracker import Tracker


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("source", type=click.Path())
@click.option("--model", type=click.Path(), help="Model made by kd-export (.onnx or .engine).")
@click.option("--out", type=click.Path(), required=True, help="Directory for the results.")
@click.option("--overlay/--no-overlay", default=True, help="Write overlay.webm.", show_default=True)
@click.option("--preset", help="Tracker settings: default or fairmot. [default: the model's own]")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="tracker.KEY=VALUE",
    help="Change one tracker setting; may be repeated.",
)
@click.option("--score-threshold", type=float, help="Drop detections that do not score higher.")
@click.option(
    "--backend",
    type=click.Choice(["auto", "cpu", "cuda", "tensorrt", "tensorrt-rtx"]),
    default="auto",
    show_default=True,
    help="What runs the network; an engine runs on the library that built it.",
)
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads. [default: all cores]")
@click.option("--fps", type=float, help="Frame rate. [default: the source's]")
@click.option("--max-frames", type=click.IntRange(min=1), help="Stop after this many frames.")
@click.version_option(__version__, package_name="kd-mot")
def cli(
    source: str,
    model: str | None,
    out: str,
    overlay: bool,
    preset: str | None,
    settings: tuple[str, ...],
    score_threshold: float | None,
    backend: str,
    threads: int | None,
    fps: float | None,
    max_frames: int | None,
) -> None:
    """Track everything in SOURCE: a video, a folder of images or a MOTChallenge sequence.

    Writes tracks.txt (MOTChallenge format) and overlay.webm into the output directory.
    """
    if model is None:
        raise UserError("no model given: add --model with a file made by kd-export")
    overrides = parse_settings(settings)

    from runtime.detector import load
    from runtime.files import output_directory
    from runtime.opencv import cv2
    from runtime.sources import open_source
    from runtime.tracking.config import TrackerConfig
    from runtime.tracking.tracker import Tracker

    directory = output_directory(out)
    if threads is not None:
        cv2.setNumThreads(threads)
    with (
        open_source(source, fps) as frames,
        load(model, backend, threads, score_threshold) as detector,
    ):
        config = TrackerConfig.for_model(detector.info.tracker, preset).replace(**overrides)
        if score_threshold is None:
            detector.score_threshold = config.lowest_score
        tracker = Tracker(fps=frames.fps, config=config)
        _track(frames, detector, tracker, directory, overlay, max_frames)


def parse_settings(settings: tuple[str, ...]) -> dict[str, Any]:
    """Parse ``--set tracker.KEY=VALUE``.

    Args:
        settings: The texts behind ``--set``.

    Returns:
        Overrides for ``TrackerConfig.replace``.

    Raises:
        UserError: A text has another form.

    Examples:
        >>> parse_settings(("tracker.lost_seconds=2", "tracker.low_score_stage=false"))
        {'lost_seconds': 2.0, 'low_score_stage': False}
    """
    overrides: dict[str, Any] = {}
    for text in settings:
        name, separator, value = text.partition("=")
        scope, dot, key = name.strip().partition(".")
        if not separator or scope != "tracker" or not dot:
            raise UserError(f"--set {text}: write tracker.KEY=VALUE, e.g. tracker.lost_seconds=2")
        word = value.strip().lower()
        if word in ("true", "false"):
            overrides[key] = word == "true"
            continue
        try:
            overrides[key] = float(word)
        except ValueError:
            raise UserError(f"--set {text}: {value!r} is neither a number nor true/false") from None
    return overrides


def _track(
    source: FrameSource,
    detector: Detector,
    tracker: Tracker,
    directory: Path,
    overlay: bool,
    max_frames: int | None,
) -> None:
    """Run the pipeline into the sinks, then say how it went.

    Raises:
        UserError: The source ended before its time; what was tracked by then is written.
        KeyboardInterrupt: After Ctrl-C, likewise.
    """
    import time
    from contextlib import ExitStack

    from runtime.console import progress
    from runtime.pipeline import run
    from runtime.sinks import open_sinks

    total = source.length
    if max_frames is not None:
        total = max_frames if total is None else min(total, max_frames)
    seconds: list[dict[str, float]] = []
    identities: set[int] = set()
    names = ["mot", "overlay"] if overlay else ["mot"]
    sinks = open_sinks(directory, names, source=source, classes=detector.info.classes)
    stopped: UserError | KeyboardInterrupt | None = None
    started = time.perf_counter()
    try:
        with ExitStack() as stack:
            stack.enter_context(sinks)
            bar = stack.enter_context(progress("rate", "tracks"))
            task = bar.add_task(source.name, total=total, rate="", tracks="")
            for result in run(source, detector, tracker, max_frames=max_frames):
                before = time.perf_counter()
                sinks.write(result)
                identities.update(result.tracks.ids.tolist())
                seconds.append({**result.stage_seconds, "write": time.perf_counter() - before})
                rate = len(seconds) / (time.perf_counter() - started)
                bar.update(
                    task,
                    advance=1,
                    rate=f"{rate:.1f} fps",
                    tracks=f"{len(result.tracks)} tracks, {len(identities)} so far",
                )
    except (UserError, KeyboardInterrupt) as error:
        stopped = error
    written = [path for path in sinks.paths if path.exists()]
    _report(source, detector, seconds, len(identities), written)
    if stopped is not None:
        raise stopped


def _report(
    source: FrameSource,
    detector: Detector,
    seconds: list[dict[str, float]],
    identities: int,
    files: list[Path],
) -> None:
    """Print latency per stage and where the files are, on standard output."""
    import numpy as np

    from runtime.console import print_table
    from runtime.pipeline import STAGES

    if not seconds:
        return
    stages = {stage: np.array([frame[stage] for frame in seconds]) * 1e3 for stage in seconds[0]}
    # Reading and writing depend on the disk and the codec; what remains is what a frame costs.
    tracking = np.sum([stages[stage] for stage in STAGES if stage != "read"], axis=0)
    rows = {**stages, "preprocess to association": tracking}
    print_table(
        source.name,
        ["ms per frame", "median", "p95", "p99"],
        [
            [name, *(float(value) for value in np.percentile(row, [50, 95, 99]))]
            for name, row in rows.items()
        ],
    )
    outside = 1 - stages["network"].sum() / tracking.sum()
    click.echo(f"{len(seconds)} frames, {identities} identities, on {detector.engine.provider}")
    click.echo(f"outside the network: {outside:.1%} of preprocess to association")
    for file in files:
        click.echo(f"wrote {file}")


main = run_command(cli, "kd-run")
