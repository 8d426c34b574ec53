"""``kd-run``: track everything in a video."""

from __future__ import annotations

from typing import Any

import click

from runtime.console import run_command
from runtime.errors import UserError
from runtime.version import __version__


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option(
    "--model",
    type=click.Path(),
    help="Model made by kd-export (.onnx or .engine). [default: the person tracker that comes "
    "with the package; default-int8 is the same in 8 bits]",
)
@click.option("--out", type=click.Path(), required=True, help="Directory for the results.")
@click.option("--jsonl/--no-jsonl", default=True, help="Write tracks.jsonl.", show_default=True)
@click.option(
    "--overlay/--no-overlay", default=None, help="Write overlay.webm. [default: of recordings]"
)
@click.option("--crops", is_flag=True, help="Write pictures of each identity into crops/.")
@click.option("--window", is_flag=True, help="Show the tracks in a window; q ends the run.")
@click.option(
    "--line",
    "lines",
    multiple=True,
    metavar="NAME:X1,Y1,X2,Y2",
    help="Count what crosses this line, in pixels or in shares of the picture; may be repeated.",
)
@click.option(
    "--zone",
    "zones",
    multiple=True,
    metavar="NAME:X1,Y1,X2,Y2,X3,Y3,...",
    help="Count what is in this polygon; may be repeated.",
)
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
    type=click.Choice(["auto", "cpu", "cuda", "ort-tensorrt", "tensorrt", "tensorrt-rtx"]),
    default="auto",
    show_default=True,
    help="What runs the network; auto takes the fastest that works.",
)
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads. [default: all cores]")
@click.option("--fps", type=float, help="Frame rate. [default: the source's]")
@click.option("--max-frames", type=click.IntRange(min=1), help="Stop after this many frames.")
@click.option(
    "--live/--no-live",
    default=True,
    show_default=True,
    help="Drop the oldest frames of cameras and streams when late; recordings never drop any.",
)
@click.option(
    "--reconnect-seconds",
    type=click.FloatRange(min=0),
    help="Give a lost stream up after this long. [default: never]",
)
@click.version_option(__version__, package_name="kd-mot")
def cli(
    sources: tuple[str, ...],
    model: str | None,
    out: str,
    jsonl: bool,
    overlay: bool | None,
    crops: bool,
    window: bool,
    lines: tuple[str, ...],
    zones: tuple[str, ...],
    preset: str | None,
    settings: tuple[str, ...],
    score_threshold: float | None,
    backend: str,
    threads: int | None,
    fps: float | None,
    max_frames: int | None,
    live: bool,
    reconnect_seconds: float | None,
) -> None:
    """Track everything in each SOURCE.

    A SOURCE is a video, a folder or pattern of images, a MOTChallenge sequence, the number of a
    camera, a URL (rtsp, http and others), or a GStreamer pipeline that ends in an appsink. Several
    go through one model together; each gets a folder of its own in the output directory.

    Writes tracks.txt (MOTChallenge format), tracks.jsonl (a line per frame) and overlay.webm.
    """
    overrides = parse_settings(settings)

    from contextlib import ExitStack

    from runtime.console import console
    from runtime.default import packaged_model
    from runtime.detector import load
    from runtime.files import output_directory
    from runtime.opencv import cv2
    from runtime.session import Output, Session
    from runtime.sources import LiveSettings, open_source
    from runtime.tracking.config import TrackerConfig

    if threads is not None:
        cv2.setNumThreads(threads)
    chosen, note = packaged_model(model)
    names = ["mot"]
    names += ["jsonl"] * jsonl + ["crops"] * crops + ["window"] * window
    output = Output(output_directory(out), tuple(names), overlay, lines, zones)
    connection = LiveSettings(reconnect_seconds=reconnect_seconds)
    with ExitStack() as stack:
        opened = [
            stack.enter_context(open_source(source, fps, live=connection)) for source in sources
        ]
        detector = stack.enter_context(
            load(chosen, backend, threads, score_threshold, in_pipeline=True)
        )
        if note:
            console().print(note, highlight=False, markup=False)
        console().print(detector.engine.reason, highlight=False, markup=False)
        config = TrackerConfig.for_model(detector.info.tracker, preset).replace(**overrides)
        if score_threshold is None:
            detector.score_threshold = config.lowest_score
        Session(opened, detector, config, output, max_frames, live).run()


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


main = run_command(cli, "kd-run")
