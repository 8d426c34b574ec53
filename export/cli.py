"""``kd-export``: from a checkpoint to a deployable graph, and to engines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runtime.commands import CommandOrDefault
from runtime.console import parse_size, run_command
from runtime.errors import UserError

if TYPE_CHECKING:
    from export.parity import ParityResult
    from export.tensorrt import EngineOptions

CONTEXT = {"help_option_names": ["-h", "--help"]}
FILE = click.Path(path_type=Path)
KINDS = click.Choice(["tensorrt", "tensorrt-rtx"])

ENGINE_OPTIONS = (
    click.option(
        "--batch",
        metavar="N or MIN,BEST,MAX",
        help="Frames per run of an engine; of a graph with --dynamic-batch. [default: 1]",
    ),
    click.option(
        "--workspace", type=click.IntRange(min=1), help="Limit on an engine's memory, in MiB."
    ),
    click.option("--timing-cache", type=FILE, help="File that makes later builds faster."),
    click.option("--level", type=click.IntRange(0, 5), help="Effort of an engine's build, 0 to 5."),
    click.option(
        "--compute-capability",
        metavar="X.Y",
        help="The only one that an engine of TensorRT-RTX shall serve.",
    ),
)
PARITY_OPTIONS = (
    click.option(
        "--parity-source",
        type=FILE,
        help="Video or folder to prove parity on; the generated scene if not given.",
    ),
    click.option(
        "--parity-frames",
        type=click.IntRange(min=2),
        default=32,
        show_default=True,
        help="Frames to prove parity on.",
    ),
    click.option(
        "--allow-mismatch", is_flag=True, help="Write the file even if parity fails, marked."
    ),
)


def options(several: tuple[Callable[[Any], Any], ...]) -> Callable[[Any], Any]:
    """Return a decorator that adds options in the order given."""

    def decorate(command: Any) -> Any:
        for option in reversed(several):
            command = option(command)
        return command

    return decorate


@click.group(
    cls=CommandOrDefault,
    default_usage="CHECKPOINT --out DIR [OPTIONS]",
    context_settings=CONTEXT,
)
def cli() -> None:
    """Export CHECKPOINT as one fused ONNX graph, and prove that it equals the PyTorch model.

    The graph takes `frames` (uint8 BGR) and returns `boxes`, `scores`, `classes` and `embeddings`.
    The parity check runs before the file gets its final name; its figures go to parity.json beside
    it and into the file itself.
    """


@cli.command("run", context_settings=CONTEXT)
@click.argument("checkpoint", type=FILE)
@click.option("-o", "--out", required=True, type=FILE, help="Folder for the files.")
@click.option("--arch", help="Model the checkpoint holds, if it does not say so itself.")
@click.option("--name", help="Name of the ONNX file, without .onnx; the model's name if not given.")
@click.option("--size", metavar="WxH", help="Input size in pixels; that of training if not given.")
@click.option("--topk", default=128, show_default=True, help="Detections per frame.")
@click.option("--fp16", is_flag=True, help="Half precision, but for the layers that need more.")
@click.option(
    "--int8",
    is_flag=True,
    help="8 bits, but for the layers that need more; with --fp16, for GPUs, half precision there.",
)
@click.option("--calibrate", type=FILE, help="Video or folder of the place it will run at.")
@click.option(
    "--calibration-frames",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="Frames to take from --calibrate, evenly.",
)
@click.option(
    "--preprocess",
    type=click.Choice(["host", "graph"]),
    default="host",
    show_default=True,
    help="Who letterboxes: the host, or, for GPUs, the graph, which then takes the camera's frames "
    "and returns boxes in their pixels.",
)
@click.option("--frame-size", metavar="WxH", help="The camera's frames, for --preprocess graph.")
@click.option("--dynamic-batch", is_flag=True, help="Take any number of frames at once.")
@click.option(
    "--opset", type=click.IntRange(18, 22), default=20, show_default=True, help="ONNX opset."
)
@click.option(
    "--deform",
    type=click.Choice(["auto", "operator", "plain"]),
    default="auto",
    show_default=True,
    help="Deformable convolutions as DeformConv (opset 19, ONNX Runtime 1.25, TensorRT 10.1) or as "
    "plain operators; auto takes the first where it can.",
)
@click.option("--engine", type=KINDS, help="Write the graph for this library, and its engine.")
@options(ENGINE_OPTIONS)
@options(PARITY_OPTIONS)
def export(
    checkpoint: Path,
    out: Path,
    arch: str | None,
    name: str | None,
    size: str | None,
    topk: int,
    fp16: bool,
    int8: bool,
    calibrate: Path | None,
    calibration_frames: int,
    preprocess: str,
    frame_size: str | None,
    dynamic_batch: bool,
    opset: int,
    deform: Any,
    engine: Any,
    parity_source: Path | None,
    parity_frames: int,
    allow_mismatch: bool,
    **engine_choices: Any,
) -> None:
    """Export CHECKPOINT; the group's help tells more."""
    if (preprocess == "graph") != (frame_size is not None):
        raise UserError(
            "--preprocess graph and --frame-size WxH, the size of the camera's frames, go together"
        )
    if calibrate is not None and not int8:
        raise UserError("--calibrate is for --int8: give both or neither")
    if engine is None and any(value is not None for value in engine_choices.values()):
        given = next(name for name, value in engine_choices.items() if value is not None)
        raise UserError(f"--{given.replace('_', '-')} is about an engine: give --engine as well")
    build_options = engine_options(engine, **engine_choices) if engine else None

    from export.exporter import PARITY_FILE, ExportConfig, export_model
    from runtime.console import console
    from runtime.files import output_directory

    config = ExportConfig(
        checkpoint=checkpoint,
        out=output_directory(out),
        arch=arch,
        name=name,
        size_wh=parse_size(size) if size else None,
        topk=topk,
        opset=opset,
        deform=deform,
        precision="int8" if int8 else "fp16" if fp16 else "fp32",
        half_elsewhere=int8 and fp16,
        target=engine,
        calibrate=calibrate,
        calibration_frames=calibration_frames,
        frame_size_wh=parse_size(frame_size) if frame_size else None,
        dynamic_batch=dynamic_batch,
        parity_source=parity_source,
        parity_frames=parity_frames,
        allow_mismatch=allow_mismatch,
    )
    console().print("exporting and comparing", style="dim")
    exported = export_model(config)
    print_parity(exported.result)
    if exported.info.kept:
        click.echo(f"left in higher precision: {', '.join(exported.info.kept)}")
    click.echo(f"model: {exported.file}\nparity: {config.out / PARITY_FILE}")
    if build_options is not None:
        from export.engine import make_engine

        try:
            file, sidecar = make_engine(
                exported.file, build_options, None, lambda: exported.reference, allow_mismatch
            )
        except UserError as error:
            again = build_options.command(str(exported.file))
            raise UserError(
                f"{exported.file} is there, its engine is not: {error}; build it later with {again}"
            ) from error
        click.echo(f"engine: {file}{engine_verdict(sidecar.parity)}")


cli.default = export


@cli.command("engine", context_settings=CONTEXT)
@click.argument("model", type=FILE)
@click.option("-o", "--out", type=FILE, help="The engine; MODEL with .engine if not given.")
@click.option("--kind", type=KINDS, default="tensorrt", show_default=True, help="The library.")
@options(ENGINE_OPTIONS)
@options(PARITY_OPTIONS)
def build(
    model: Path,
    out: Path | None,
    kind: Any,
    parity_source: Path | None,
    parity_frames: int,
    allow_mismatch: bool,
    **engine_choices: Any,
) -> None:
    """Build the engine of MODEL, an exported ONNX file, on the device that will run it.

    Needs TensorRT and no torch. Where there is a GPU, the engine must find what the ONNX file finds
    on the CPU.
    """
    build_options = engine_options(kind, **engine_choices)

    from export.engine import graph_reference, make_engine
    from runtime.files import existing_file
    from runtime.onnx_metadata import read_model_info

    read_model_info(existing_file(model, "model"))
    file, sidecar = make_engine(
        model,
        build_options,
        out,
        lambda: graph_reference(model, parity_source, parity_frames),
        allow_mismatch,
    )
    click.echo(f"engine: {file}{engine_verdict(sidecar.parity)}")


@cli.command("info", context_settings=CONTEXT)
@click.argument("file", type=FILE)
def show(file: Path) -> None:
    """Print what FILE, an exported model or an engine, says about itself."""
    from export.info import describe_file

    words = describe_file(file)
    width = max(map(len, words))
    for name, text in words.items():
        click.echo(f"{name:<{width}}  {text}")


def engine_options(
    kind: Any,
    batch: str | None,
    workspace: int | None,
    timing_cache: Path | None,
    level: int | None,
    compute_capability: str | None,
) -> EngineOptions:
    """Put together what the command line says about an engine.

    Raises:
        UserError: A choice makes no sense.
    """
    from export.tensorrt import EngineOptions

    return EngineOptions(
        kind=kind,
        batch=parse_batch(batch),
        workspace_mb=workspace,
        timing_cache=timing_cache,
        optimisation_level=level,
        compute_capability=compute_capability,
    )


def parse_batch(text: str | None) -> tuple[int, int, int]:
    """Read the smallest, best and largest number of frames, or one for all three.

    Raises:
        UserError: It is of another form.

    Examples:
        >>> parse_batch("1,4,8"), parse_batch("2"), parse_batch(None)
        ((1, 4, 8), (2, 2, 2), (1, 1, 1))
    """
    parts = "1" if text is None else text
    numbers = [int(part) for part in parts.split(",") if part.strip().isdecimal()]
    if len(numbers) != parts.count(",") + 1 or len(numbers) not in (1, 3):
        raise UserError(f"--batch {text}: give one number, or smallest,best,largest as in 1,4,8")
    smallest, best, largest = numbers * (3 // len(numbers))
    return smallest, best, largest


def print_parity(result: ParityResult) -> None:
    """Print what the gate measured, on standard output."""
    from runtime.console import print_table

    limits = vars(result.thresholds)
    print_table(
        f"parity with PyTorch on {result.frames} frames of {result.source}, "
        f"{result.detections} detections: {'passed' if result else 'FAILED'}",
        ("figure", "measured", "limit"),
        [(key, f"{value:.6g}", f"{limits[key]:g}") for key, value in result.figures.items()],
    )


def engine_verdict(parity: dict[str, Any]) -> str:
    """Return what to say behind an engine's name."""
    if not parity:
        return ", not run: no GPU here"
    return ", parity passed" if parity["passed"] else ", parity FAILED"


main = run_command(cli, "kd-export")
