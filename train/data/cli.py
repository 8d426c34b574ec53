"""``kd-data``: make, check and show data."""

from __future__ import annotations

from pathlib import Path

import click

from runtime.console import parse_size, run_command


@click.group()
def cli() -> None:
    """Make, check and show data for training and tracking."""


@cli.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--frames", default=240, show_default=True, help="Number of frames.")
@click.option("--size", default="768x576", show_default=True, help="Picture size in pixels, WxH.")
@click.option("--fps", default=25.0, show_default=True, help="Frame rate in Hz.")
@click.option("--people", default=14, show_default=True, help="People in view at a time.")
@click.option("--seed", default=0, show_default=True, help="Draws place, light, people and paths.")
@click.option(
    "--format",
    "image_format",
    type=click.Choice(["video", "images"]),
    default="images",
    show_default=True,
    help="One Motion JPEG file NAME.avi, or img1/000001.jpg and on.",
)
@click.option("--name", help="Name of the sequence.  [default: name of OUT]")
@click.option(
    "--camera",
    type=click.Choice(["auto", "static", "jitter"]),
    default="auto",
    show_default=True,
    help="A firm or a shaking mount; auto draws it from the seed.",
)
@click.option(
    "--view",
    type=click.Choice(["auto", "street", "elevated"]),
    default="auto",
    show_default=True,
    help="Eye level or surveillance; auto draws it from the seed.",
)
@click.option(
    "--scenes",
    type=click.IntRange(min=1),
    help="Make this many scenes OUT/000, OUT/001, ..., with seeds from --seed on.",
)
@click.option("--workers", default=2, show_default=True, help="Processes; same result for any.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier sequence at OUT.")
def synth(
    out: Path,
    frames: int,
    size: str,
    fps: float,
    people: int,
    seed: int,
    image_format: str,
    name: str | None,
    camera: str,
    view: str,
    scenes: int | None,
    workers: int,
    overwrite: bool,
) -> None:
    """Generate a street scene with exact ground truth as a MOTChallenge sequence in OUT."""
    from train.data.synth import SceneConfig, write_sequence, write_sequences

    config = SceneConfig(frames, parse_size(size), fps, people, seed, camera, view)
    if scenes:
        folders = write_sequences(out, config, scenes, image_format, workers, overwrite)
        click.echo(f"{out}: {len(folders)} scenes of {frames} frames {size}, seeds from {seed}")
        return
    # Starting a process costs as much as some dozens of frames.
    workers = 1 if frames < 100 and workers > 0 else workers
    folder = write_sequence(out, config, image_format, name, workers, overwrite)
    click.echo(f"{folder}: {frames} frames {size}, seed {seed}")


main = run_command(cli, "kd-data")
