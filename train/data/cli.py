"""``kd-data``: make, check and show data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from runtime.console import parse_size, run_command
from train.data.prepare import PREPARERS


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


@cli.command()
@click.argument("root", type=click.Path(path_type=Path))
@click.option("--quick", is_flag=True, help="Read headers instead of decoding every picture.")
@click.option("--strict", is_flag=True, help="Let warnings fail the check as well.")
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path),
    help="Write the report to this file as well, for machines.",
)
@click.option(
    "--fix",
    "fix_folder",
    type=click.Path(path_type=Path),
    help="Write a cleaned dataset to this new folder; ROOT stays as it is.",
)
def check(
    root: Path,
    quick: bool,
    strict: bool,
    json_file: Path | None,
    fix_folder: Path | None,
) -> int:
    """Check the prepared dataset ROOT: lists, pictures and labels.

    ROOT is a folder that `kd-data prepare` made, its dataset.json, or a folder with images/SPLIT
    and labels_with_ids/SPLIT. Exits with 1 if ROOT has errors, also when --fix wrote a dataset
    without them.
    """
    from runtime.files import output_directory
    from train.data.checking.checking import check_dataset
    from train.data.checking.fixing import new_folder, write_fixed
    from train.data.checking.report import print_report

    if quick and fix_folder:
        raise click.UsageError("--fix needs to decode every picture: leave out --quick")
    # A check of a large dataset takes minutes; what cannot be written is better known before.
    if fix_folder:
        new_folder(fix_folder, root if root.is_dir() else root.parent)
    if json_file:
        output_directory(json_file.parent)
    outcome = check_dataset(root, quick)
    print_report(outcome.report)
    if json_file:
        outcome.report.save(json_file)
    if fix_folder:
        index = write_fixed(outcome, fix_folder)
        kept = ", ".join(
            f"{name} {split.pictures} pictures {split.boxes} boxes"
            for name, split in index.splits.items()
        )
        click.echo(f"{fix_folder}: {kept}")
    return 0 if outcome.report.passed(strict) else 1


@cli.command()
@click.argument("root", type=click.Path(path_type=Path))
@click.option("--split", help="Split to draw from.  [default: the first]")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default="sheet.png",
    show_default=True,
    help="The sheet: PNG, JPEG or WebP by its suffix.",
)
@click.option(
    "--pictures",
    type=click.IntRange(min=1),
    default=24,
    show_default=True,
    help="Pictures, spread evenly over the split.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Draws.")
@click.option("--columns", type=click.IntRange(1, 12), default=4, show_default=True)
@click.option(
    "--width", type=click.IntRange(400, 8000), default=1600, show_default=True, help="In pixels."
)
def show(
    root: Path, split: str | None, out: Path, pictures: int, seed: int, columns: int, width: int
) -> None:
    """Draw a contact sheet of the prepared dataset ROOT with boxes and identities."""
    from train.data.show import SheetOptions, write_sheet

    options = SheetOptions(pictures, seed, columns, width)
    name, count = write_sheet(root, out, split, options)
    click.echo(f"{out}: {count} pictures of {name}")


@cli.command()
@click.argument("name", type=click.Choice(list(PREPARERS)), metavar="NAME")
@click.argument("root", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of the prepared dataset: labels, lists, index, and links to the pictures.  "
    "[default: ROOT]",
)
@click.option(
    "--split",
    "halves",
    type=click.Choice(["half"]),
    help="Also list train_half and val_half: frames 1 to n/2 of each training sequence of n, "
    "and the others.",
)
@click.option(
    "--classes",
    help="fish, citypersons, caltech: classes to keep, e.g. fish,small-fish.  "
    "[default: all of fish, pedestrians of the others]",
)
@click.option(
    "--class-names", help="custom: names of the classes, e.g. person,car, where ROOT has none."
)
@click.option(
    "--identities/--no-identities",
    default=None,
    help="crowdhuman, caltech, cuhksysu, prw: give or leave out identities.  "
    "[default: given, but not for caltech]",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="Processes; same result for any.",
)
def prepare(
    name: str,
    root: Path,
    out: Path | None,
    halves: str | None,
    classes: str,
    class_names: str | None,
    identities: bool | None,
    workers: int,
) -> None:
    """Make FairMOT labels, lists and an index of the dataset NAME unpacked in ROOT.

    NAME is one of mot15, mot16, mot17, mot20, dancetrack, fish, crowdhuman, citypersons, caltech,
    eth, cuhksysu, prw and custom. Pictures are linked, never copied, and nothing published is
    changed. Running it again completes what was interrupted.
    """
    from train.data.prepare.base import Options, names_in
    from train.data.prepare.building import prepare as prepare_dataset
    from train.data.prepare.report import command_line, print_prepared

    options = Options(
        name=name,
        halves=halves == "half",
        classes=None if classes is None else names_in(classes, "--classes"),
        class_names=None if class_names is None else names_in(class_names, "--class-names"),
        identities=identities,
        workers=workers,
    )
    prepared = prepare_dataset(
        root, out, replace(options, command=command_line(root, out, options))
    )
    print_prepared(prepared)


@cli.command()
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A new folder.")
@click.option(
    "--detector",
    type=click.Path(path_type=Path),
    help="ONNX detector (raw YOLOX) that finds people where there is no ground truth.",
)
@click.option(
    "--embedder",
    type=click.Path(path_type=Path),
    help="ONNX re-ID model that helps to follow them.",
)
@click.option(
    "--per-identity",
    type=click.IntRange(min=1),
    default=12,
    show_default=True,
    help="Cutouts of a person at most, spread over time.",
)
@click.option(
    "--min-height",
    type=click.IntRange(min=8),
    default=40,
    show_default=True,
    help="Smaller people are left out, in pixels.",
)
def cutouts(
    sources: tuple[Path, ...],
    out: Path,
    detector: Path | None,
    embedder: Path | None,
    per_identity: int,
    min_height: int,
) -> None:
    """Cut people out of the footage of static cameras, for augment.paste.

    Each of SOURCES is a MOTChallenge sequence with gt/gt.txt, or a video or folder of frames in
    which --detector finds people.
    """
    from train.data.cutouts.cutting import CutoutOptions
    from train.data.cutouts.making import make_cutouts, print_outcomes
    from train.teachers.config import DetectorConfig, EmbedderConfig, OnnxTeacherConfig

    if embedder and not detector:
        raise click.UsageError("--embedder helps to follow what --detector finds: give both")
    teacher = None
    if detector:
        teacher = OnnxTeacherConfig(
            kind="onnx",
            detector=DetectorConfig(path=detector),
            embedder=EmbedderConfig(path=embedder) if embedder else None,
        )
    options = CutoutOptions(per_identity, min_height)
    print_outcomes(make_cutouts(sources, out, options, teacher))


main = run_command(cli, "kd-data")
