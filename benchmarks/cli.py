"""``kd-bench``: measure accuracy and latency, compare, and put the figures on one page."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from benchmarks.options import (
    BACKEND,
    FILE,
    JSON,
    POSITIVE,
    THREADS,
    Numbers,
    check_output,
    write_json,
)
from benchmarks.records.commands import RECORDS
from runtime.console import run_command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="kd-mot")
def cli() -> None:
    """Measure a tracker: accuracy, latency, a report of both; and how fast training data loads."""


@cli.command()
@click.argument("gt", type=FILE, required=False)
@click.argument("results", type=FILE, required=False)
@click.option("--data", "root", type=FILE, help="Sequences to run models over, in place of GT.")
@click.option("--model", "models", multiple=True, metavar="[NAME=]FILE", help="Run this model.")
@click.option("--split", help="Split of the data.  [default: all with ground truth]")
@click.option("--out", type=FILE, help="Keep each model's tracks and figures in this folder.")
@click.option("--classes", type=Numbers(), default=(), help="Score these classes of one's own.")
@click.option("--ignore", type=Numbers(), default=(), help="Classes that are regions to ignore.")
@click.option(
    "--benchmark",
    type=click.Choice(["MOT15", "MOT16", "MOT17", "MOT20"]),
    help="Rules to follow.  [default: by the sequence's name]",
)
@THREADS
@BACKEND
@JSON
def accuracy(
    gt: Path | None,
    results: Path | None,
    root: Path | None,
    models: tuple[str, ...],
    split: str | None,
    out: Path | None,
    classes: tuple[int, ...],
    ignore: tuple[int, ...],
    benchmark: str | None,
    threads: int | None,
    backend: str,
    json_file: Path | None,
) -> None:
    """Score RESULTS against GT, or run models over --data and score them.

    GT is a sequence folder or its gt.txt, and RESULTS a MOTChallenge result file; or GT is a
    dataset, and RESULTS a folder with a SEQUENCE.txt for each of its sequences. A dataset is a
    folder of sequences, one with train/, val/ and test/, or one that kd-data prepared, where a
    split such as val_half may be a part of each sequence. Figures equal TrackEval's; ratios are
    fractions, and fps is from frame to tracks.

    Pedestrians are scored by the rules of MOT17, or of MOT20 where the sequence is called so. With
    --classes each class in the eighth column is scored alone and all together, without
    distractors; boxes without a match in regions of --ignore do not count.
    """
    from benchmarks.scoring.accuracy import (
        Scheme,
        print_models,
        print_scores,
        score_file,
        score_folder,
    )

    scheme = Scheme(classes, ignore, benchmark or "")
    check_output(json_file)
    if root is not None and models and gt is None:
        from benchmarks.scoring.sequences import find_sequences, take_once
        from benchmarks.scoring.tracking import measure_models

        sequences = take_once(find_sequences(root, split))
        measured = measure_models(models, sequences, out, scheme, backend, threads)
        print_models(measured)
        write_json(json_file, {"models": measured})
        return
    if root is not None or models or out is not None or gt is None or results is None:
        raise click.UsageError("give GT and RESULTS, or --data and --model")
    if split is not None and not results.is_dir():
        raise click.UsageError("--split wants a dataset and a folder of result files")
    if results.is_dir():
        scores = score_folder(gt, results, split, scheme)
    else:
        scores = score_file(gt, results, scheme)
    print_scores(scores)
    write_json(json_file, scores)


@cli.command()
@click.option("--data", "root", type=FILE, required=True, help="The benchmark's folder.")
@click.option("--model", required=True, metavar="[NAME=]FILE", help="Exported model.")
@click.option("--out", type=FILE, required=True, help="Folder for the result files.")
@click.option(
    "--benchmark",
    type=click.Choice(["MOT15", "MOT16", "MOT17", "MOT20"]),
    default="MOT17",
    show_default=True,
    help="Which it is.",
)
@click.option(
    "--split", type=click.Choice(["test", "train"]), default="test", show_default=True, help="Part."
)
@click.option("--partial", is_flag=True, help="Sequences may be missing.")
@click.option("--zip", "zipped", is_flag=True, help="Pack the files as well, ready to hand in.")
@THREADS
@BACKEND
def submit(
    root: Path,
    model: str,
    out: Path,
    benchmark: str,
    split: str,
    partial: bool,
    zipped: bool,
    threads: int | None,
    backend: str,
) -> None:
    """Write the results of a model as the MOTChallenge server takes them.

    One file for each sequence of the split, with the names the benchmark demands. MOT17 has each
    three times, for three public detectors: the model runs over one and the others are copies.
    """
    from benchmarks.contenders import exported_models
    from benchmarks.scoring.submission import submit as write_submission

    (recipe,) = exported_models([model])
    with recipe.open(backend, threads) as contender:
        files = write_submission(
            contender, root, out, benchmark, split, partly=partial, zipped=zipped
        )
    click.echo(f"wrote {len(files)} files to {out}")


@cli.command()
@click.argument("models", nargs=-1, required=True, metavar="[NAME=]MODEL...")
@click.option("--source", type=FILE, help="Video, image folder or sequence; else a pattern.")
@click.option(
    "--frames", type=POSITIVE, default=20, show_default=True, help="Frames per model and round."
)
@click.option("--rounds", type=POSITIVE, default=20, show_default=True, help="Number of rounds.")
@THREADS
@BACKEND
@click.option("--quick", is_flag=True, help="Time the stages alone: no start, memory, energy.")
@JSON
def latency(
    models: tuple[str, ...],
    source: Path | None,
    frames: int,
    rounds: int,
    threads: int | None,
    backend: str,
    quick: bool,
    json_file: Path | None,
) -> None:
    """Time each MODEL from frame to tracks, stage by stage.

    With several models the rounds alternate, and the first is compared with each other one. Without
    --source the frames are a generated pattern in which there is nothing to find, so the tracker
    has next to nothing to do. After that each model alone: its start in a fresh process, its
    memory, its frames per second with several in flight, and its energy where that is measured.
    """
    from benchmarks.contenders import exported_models
    from benchmarks.timing.latency import measure, print_latency

    check_output(json_file)
    result = measure(
        exported_models(models), source, frames, rounds, threads, backend, alone=not quick
    )
    print_latency(result)
    write_json(json_file, result)


@cli.command()
@click.option("--data", "root", type=FILE, required=True, help="Sequences with ground truth.")
@click.option("--split", help="Split of the data.  [default: all with ground truth]")
@click.option("--model", "models", multiple=True, metavar="[NAME=]FILE", help="An exported model.")
@click.option("--detector", type=FILE, help="ONNX detector to compare with (YOLOX, or a YAML).")
@click.option(
    "--tracker",
    "trackers",
    multiple=True,
    default=("bytetrack",),
    show_default=True,
    help="Tracker behind the detector; may be repeated.",
)
@click.option("--embedder", type=FILE, help="ONNX re-ID model for the tracker behind the detector.")
@click.option(
    "--score-threshold",
    type=click.FloatRange(0, 1),
    default=0.6,
    show_default=True,
    help="Of the detector: from this score on a detection is a sure one.",
)
@click.option("--original", type=FILE, help="Clone of FairMOT to compare with.")
@click.option("--original-weights", type=FILE, help="Checkpoint of its dla_34.")
@click.option("--untrained", is_flag=True, help="Time the original without weights.")
@click.option("-o", "--out", type=FILE, required=True, help="Folder for the page and the figures.")
@click.option("--title", default="Trackers compared", show_default=True, help="Heading.")
@click.option("--notes", default="", help="Words on the models or the data, below the title.")
@click.option(
    "--frames", type=POSITIVE, default=20, show_default=True, help="Frames per model and round."
)
@click.option("--rounds", type=POSITIVE, default=20, show_default=True, help="Number of rounds.")
@click.option("--quick", is_flag=True, help="Score and time alone: no start, memory, energy.")
@THREADS
@BACKEND
def compare(
    root: Path,
    split: str | None,
    models: tuple[str, ...],
    detector: Path | None,
    trackers: tuple[str, ...],
    embedder: Path | None,
    score_threshold: float,
    original: Path | None,
    original_weights: Path | None,
    untrained: bool,
    out: Path,
    title: str,
    notes: str,
    frames: int,
    rounds: int,
    quick: bool,
    threads: int | None,
    backend: str,
) -> None:
    """Compare models with each other, and with what one would use instead, in one run.

    Every contender tracks all sequences and is scored, then all are timed in turns on the first
    one. Times are compared with the first contender's. A model called teacher, undistilled or
    distilled takes that role on the page.

    Rivals are an ONNX detector with a tracker from a package (kd-mot brings none: pip install
    pyxtrackers, trackers or ioutrack), and the original FairMOT from a clone of it.
    """
    from benchmarks.compare import PAGE, print_comparison
    from benchmarks.compare import compare as run_comparison
    from benchmarks.contenders import exported_models, rivals
    from benchmarks.scoring.sequences import find_sequences, take_once

    others = rivals(
        detector, trackers, embedder, score_threshold, original, original_weights, untrained
    )
    recipes = [*exported_models(models), *others]
    if not recipes:
        raise click.UsageError("nothing to compare: give --model, --detector or --original")
    record = run_comparison(
        recipes,
        take_once(find_sequences(root, split)),
        out,
        frames=frames,
        rounds=rounds,
        threads=threads,
        backend=backend,
        command=given_command(),
        notes=notes,
        title=title,
        alone=not quick,
    )
    print_comparison(record)
    click.echo(f"wrote {out / PAGE}")


@cli.command()
@click.argument("base", type=FILE)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME=FILE",
    help="Measure FILE in place of BASE's NAME; may be repeated.",
)
@click.option(
    "--max-ratio",
    type=click.FloatRange(min=0, min_open=True),
    default=1.05,
    show_default=True,
    help="How many times as long something may take.",
)
@click.option("--frames", type=POSITIVE, help="Frames per model and round.  [default: BASE's]")
@click.option("--rounds", type=click.IntRange(min=5), help="Number of rounds.  [default: BASE's]")
@JSON
@click.pass_context
def regress(
    context: click.Context,
    base: Path,
    models: tuple[str, ...],
    max_ratio: float,
    frames: int | None,
    rounds: int | None,
    json_file: Path | None,
) -> None:
    """Measure the models of BASE again, and exit with 1 if something got slower.

    BASE is a file of kd-bench latency --json. Ratios are compared, not times, so that it may have
    been measured on another day: of each pair of models, and of each frame over its network. Where
    --model gives a new file and the old one is still there, the two are timed side by side.
    """
    from benchmarks.timing.regress import print_regress
    from benchmarks.timing.regress import regress as measure_again

    check_output(json_file)
    result = measure_again(base, models, frames, rounds, max_ratio)
    print_regress(result)
    write_json(json_file, result)
    for finding in result["findings"]:
        click.echo(f"slower: {finding}", err=True)
    context.exit(1 if result["findings"] else 0)


@cli.command()
@click.argument("run_dirs", nargs=-1, required=True, type=FILE, metavar="RUN_DIR [RUN_DIR]...")
@click.option("-o", "--output", type=FILE, required=True, help="The HTML file to write.")
@click.option("--title", default="Tracker report", show_default=True, help="Heading of the page.")
@click.option(
    "--source",
    "sources",
    type=FILE,
    multiple=True,
    help="Video or sequence of the tracks, or a folder of sequences, for pictures; repeatable.",
)
@click.option("--markdown", type=FILE, help="The Markdown file.  [default: beside the page]")
@click.option("--notes", default="", help="Words on the models or the data, below the title.")
def report(
    run_dirs: tuple[Path, ...],
    output: Path,
    title: str,
    sources: tuple[Path, ...],
    markdown: Path | None,
    notes: str,
) -> None:
    """Put the measurements of one or more models on one HTML page, and in Markdown beside it.

    Each RUN_DIR holds, as far as there are any, accuracy.json (kd-bench accuracy), latency.json
    (kd-bench latency), parity.json (kd-export), training.csv, tracks.txt or tracks/SEQUENCE.txt,
    overlay.webm and run.json with name, role, parameters, notes and command.
    """
    from benchmarks.report import write_report

    write_report(
        run_dirs,
        output,
        title=title,
        sources=sources,
        command=given_command(),
        notes=notes,
        markdown=markdown,
    )
    click.echo(f"wrote {output} and {markdown or output.with_suffix('.md')}")


def given_command() -> str:
    """Return the command line that is being run, as a shell would take it."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


for _command in RECORDS:
    cli.add_command(_command)

main = run_command(cli, "kd-bench")
