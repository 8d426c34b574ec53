"""``kd-bench``: measure accuracy, latency and loading, and put the figures on one page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from runtime.console import run_command
from runtime.errors import UserError

FILE = click.Path(path_type=Path)
POSITIVE = click.IntRange(min=1)
BACKEND = click.option(
    "--backend",
    type=click.Choice(["auto", "cpu", "cuda", "ort-tensorrt"]),
    default="auto",
    show_default=True,
    help="What runs exported models.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="kd-mot")
def cli() -> None:
    """Measure a tracker: accuracy, latency, a report of both; and how fast training data loads."""


class Numbers(click.ParamType):
    """Whole numbers above 0 with commas between them."""

    name = "N,N,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Return the numbers in their order, each once."""
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in value.split(",")]
        if not all(part.isdecimal() and int(part) > 0 for part in parts):
            self.fail(f"{value!r} is not of the form 1,2,3", param, ctx)
        return tuple(dict.fromkeys(int(part) for part in parts))


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
@click.option("--threads", type=POSITIVE, help="Threads of the inference engine.")
@BACKEND
@click.option("--json", "json_file", type=FILE, help="Write the figures to this file as well.")
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
    from benchmarks.accuracy import Scheme, print_models, print_scores, score_file, score_folder

    scheme = Scheme(classes, ignore, benchmark or "")
    _check_output(json_file)
    if root is not None and models and gt is None:
        from benchmarks.sequences import find_sequences, take_once
        from benchmarks.tracking import measure_models

        sequences = take_once(find_sequences(root, split))
        measured = measure_models(models, sequences, out, scheme, backend, threads)
        print_models(measured)
        _write_json(json_file, {"models": measured})
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
    _write_json(json_file, scores)


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
@click.option("--threads", type=POSITIVE, help="Threads of the inference engine.")
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
    from benchmarks.submission import submit as write_submission

    (recipe,) = exported_models([model])
    with recipe.open(backend, threads) as contender:
        files = write_submission(
            contender, root, out, benchmark, split, partly=partial, zipped=zipped
        )
    click.echo(f"wrote {len(files)} files to {out}")


@cli.command()
@click.option("--people", type=POSITIVE, default=100, show_default=True, help="In the crowd.")
@click.option("--frames", type=POSITIVE, default=1000, show_default=True, help="Of the crowd.")
@click.option("--rounds", type=POSITIVE, default=5, show_default=True, help="Number of rounds.")
@click.option("--json", "json_file", type=FILE, help="Write the figures to this file as well.")
def metrics(people: int, frames: int, rounds: int, json_file: Path | None) -> None:
    """Time the scoring of a generated crowd against TrackEval, where that is installed.

    Both read the same files in turns and give all figures; the largest difference between any two
    is told as well.
    """
    from benchmarks.scoring_speed import measure, print_speed

    _check_output(json_file)
    result = measure(people, frames, rounds)
    print_speed(result)
    _write_json(json_file, result)


@cli.command()
@click.argument("models", nargs=-1, required=True, metavar="[NAME=]MODEL...")
@click.option("--source", type=FILE, help="Video, image folder or sequence; else a pattern.")
@click.option(
    "--frames", type=POSITIVE, default=20, show_default=True, help="Frames per model and round."
)
@click.option("--rounds", type=POSITIVE, default=20, show_default=True, help="Number of rounds.")
@click.option("--threads", type=POSITIVE, help="Threads of the inference engine.")
@BACKEND
@click.option("--json", "json_file", type=FILE, help="Write the figures to this file as well.")
def latency(
    models: tuple[str, ...],
    source: Path | None,
    frames: int,
    rounds: int,
    threads: int | None,
    backend: str,
    json_file: Path | None,
) -> None:
    """Time each MODEL from frame to tracks, stage by stage.

    With several models the rounds alternate, and the first is compared with each other one. Without
    --source the frames are a generated pattern in which there is nothing to find, so the tracker
    has next to nothing to do.
    """
    from benchmarks.contenders import exported_models
    from benchmarks.latency import measure, print_latency

    _check_output(json_file)
    result = measure(exported_models(models), source, frames, rounds, threads, backend)
    print_latency(result)
    _write_json(json_file, result)


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
@click.option("--json", "json_file", type=FILE, help="Write the figures to this file as well.")
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
    from benchmarks.regress import print_regress
    from benchmarks.regress import regress as measure_again

    _check_output(json_file)
    result = measure_again(base, models, frames, rounds, max_ratio)
    print_regress(result)
    _write_json(json_file, result)
    for finding in result["findings"]:
        click.echo(f"slower: {finding}", err=True)
    context.exit(1 if result["findings"] else 0)


@cli.command()
@click.argument("config", type=FILE)
@click.option("--workers", type=click.IntRange(min=0), help="Loader processes; else CONFIG's.")
@click.option(
    "--pictures", type=POSITIVE, default=64, show_default=True, help="Training pictures per round."
)
@click.option("--rounds", type=POSITIVE, default=5, show_default=True, help="Number of rounds.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a value of CONFIG."
)
@click.option("--json", "json_file", type=FILE, help="Write the figures to this file as well.")
def data(
    config: Path,
    workers: int | None,
    pictures: int,
    rounds: int,
    overrides: tuple[str, ...],
    json_file: Path | None,
) -> None:
    """Time the training loader of CONFIG, a training configuration.

    Pictures per second with its loader processes, against the same processes decoding the same
    pictures and doing nothing else; and the time per picture of each stage in one process.
    """
    from benchmarks.data import measure, print_throughput
    from train.config import load_config

    _check_output(json_file)
    result = measure(load_config(config, overrides), workers, pictures, rounds)
    print_throughput(result)
    _write_json(json_file, result)


@cli.command()
@click.option("--threads", type=POSITIVE, help="Threads of the inference engine.")
@click.option("--json", "json_file", type=FILE, help="Write the figures to this file as well.")
def distil(threads: int | None, json_file: Path | None) -> None:
    """Train a student with and without each kind of teacher, over three seeds, and score all.

    Takes about an hour on two cores. The configurations lie in benchmarks/configs/distil, want the
    footage and the ONNX teachers in ../shared, and write to out/distil, where what is finished is
    not made again.
    """
    from benchmarks.distil import measure, print_record

    _check_output(json_file)
    record = measure(threads)
    print_record(record)
    _write_json(json_file, record)


@cli.command("export")
@click.option("--threads", type=POSITIVE, help="CPU threads.")
@BACKEND
@click.option("--model", "models", multiple=True, help="Measure this model alone; may be repeated.")
@click.option("--json", "json_file", type=FILE, help="Write the figures to this file as well.")
def export_forms(
    threads: int | None, backend: str, models: tuple[str, ...], json_file: Path | None
) -> None:
    """Compare PyTorch, a straightforward export and the fused graphs: time and parity.

    Takes about an hour on two cores, half of it to train the models. They are trained on the
    footage in ../shared and kept in out/export, where what is finished is not made again. Rows of
    models that are not measured stay in the file of --json.
    """
    import json

    from benchmarks.export import MODELS, measure, print_record, with_other_models

    unknown = set(models) - set(MODELS)
    if unknown:
        raise UserError(f"--model {min(unknown)}: choose from {', '.join(MODELS)}")
    _check_output(json_file)
    record = measure(threads, backend, models or tuple(MODELS))
    if json_file is not None and json_file.exists():
        record = with_other_models(record, json.loads(json_file.read_text(encoding="utf-8")))
    print_record(record)
    _write_json(json_file, record)


@cli.command("runtime")
@click.option("--model", type=FILE, help="Exported model. [default: nano, trained if need be]")
@click.option("--original", type=FILE, help="Clone of FairMOT, whose tracker is measured as well.")
@click.option("--part", "parts", multiple=True, help="Measure this part alone; may be repeated.")
@click.option("--json", "json_file", type=FILE, help="Write the figures to this file as well.")
def runtime_loop(
    model: Path | None, original: Path | None, parts: tuple[str, ...], json_file: Path | None
) -> None:
    """Measure what stands round the network: association, throughput, endurance, faults.

    The association is timed against other trackers, those that are installed; the loop against the
    network alone; the presets on the same detections. A soak run tells whether memory or time grow,
    and faults of all kinds are tried on kd-run. The footage in ../shared is used.
    """
    from benchmarks.runtime import PARTS, measure, print_record

    _check_output(json_file)
    record = measure(model, original, parts or PARTS)
    print_record(record)
    _write_json(json_file, record)


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
def report(
    run_dirs: tuple[Path, ...],
    output: Path,
    title: str,
    sources: tuple[Path, ...],
    markdown: Path | None,
) -> None:
    """Put the measurements of one or more models on one HTML page, and in Markdown beside it.

    Each RUN_DIR holds accuracy.json (kd-bench accuracy) and, where there are any, latency.json
    (kd-bench latency), parity.json (kd-export), training.csv, tracks.txt or tracks/SEQUENCE.txt,
    overlay.webm and run.json with name, role, parameters, notes and command.
    """
    import shlex

    from benchmarks.report import write_report

    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    write_report(run_dirs, output, title=title, sources=sources, command=command, markdown=markdown)
    click.echo(f"wrote {output}")


def _check_output(path: Path | None) -> None:
    """Fail before the work, not after it, if the file could not be written."""
    if path is not None:
        from runtime.files import output_directory

        output_directory(path.parent)


def _write_json(path: Path | None, content: dict[str, Any]) -> None:
    if path is None:
        return
    import json

    from runtime.files import atomic_path

    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    click.echo(f"wrote {path}")


main = run_command(cli, "kd-bench")
