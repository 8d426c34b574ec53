"""``kd-export``: from a checkpoint to a deployable graph."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from runtime.console import parse_size, run_command


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option(
    "-o", "--out", required=True, type=click.Path(path_type=Path), help="Folder for the files."
)
@click.option("--arch", help="Model the checkpoint holds, if it does not say so itself.")
@click.option("--name", help="Name of the ONNX file, without .onnx; the model's name if not given.")
@click.option("--size", metavar="WxH", help="Input size in pixels; that of training if not given.")
@click.option("--topk", default=128, show_default=True, help="Detections per frame.")
@click.option(
    "--opset", type=click.IntRange(18, 22), default=20, show_default=True, help="ONNX opset."
)
@click.option(
    "--deform",
    type=click.Choice(["auto", "operator", "plain"]),
    default="auto",
    show_default=True,
    help="Deformable convolutions as DeformConv (opset 19, ONNX Runtime 1.25) or as plain "
    "operators; auto takes the first where it can.",
)
@click.option(
    "--parity-source",
    type=click.Path(path_type=Path),
    help="Video or folder to prove parity on; the generated scene if not given.",
)
@click.option(
    "--parity-frames",
    type=click.IntRange(min=2),
    default=32,
    show_default=True,
    help="Frames to prove parity on.",
)
@click.option("--allow-mismatch", is_flag=True, help="Write the file even if parity fails, marked.")
def cli(
    checkpoint: Path,
    out: Path,
    arch: str | None,
    name: str | None,
    size: str | None,
    topk: int,
    opset: int,
    deform: Literal["auto", "operator", "plain"],
    parity_source: Path | None,
    parity_frames: int,
    allow_mismatch: bool,
) -> None:
    """Export CHECKPOINT as one fused ONNX graph, and prove that it equals the PyTorch model.

    The graph takes `frames` (uint8 BGR, letterboxed) and returns `boxes`, `scores`, `classes` and
    `embeddings`. The parity check runs before the file gets its final name; its figures go to
    parity.json beside it and into the file itself.
    """
    from export.exporter import PARITY_FILE, ExportConfig, export_model
    from runtime.console import console, print_table
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
        parity_source=parity_source,
        parity_frames=parity_frames,
        allow_mismatch=allow_mismatch,
    )
    with console().status("exporting and comparing"):
        file, result = export_model(config)
    limits = vars(result.thresholds)
    print_table(
        f"parity with PyTorch on {result.frames} frames of {result.source}, "
        f"{result.detections} detections: {'passed' if result else 'FAILED'}",
        ("figure", "measured", "limit"),
        [
            (key, f"{value:.6g}", f"{limits[key]:g}" if key in limits else None)
            for key, value in result.figures.items()
        ],
    )
    click.echo(f"model: {file}\nparity: {config.out / PARITY_FILE}")


main = run_command(cli, "kd-export")
