"""The commands of ``kd-bench`` that make the records this project quotes, and measure its parts."""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks.options import BACKEND, FILE, JSON, POSITIVE, THREADS, check_output, write_json
from runtime.errors import UserError


@click.command()
@click.option("--people", type=POSITIVE, default=100, show_default=True, help="In the crowd.")
@click.option("--frames", type=POSITIVE, default=1000, show_default=True, help="Of the crowd.")
@click.option("--rounds", type=POSITIVE, default=5, show_default=True, help="Number of rounds.")
@JSON
def metrics(people: int, frames: int, rounds: int, json_file: Path | None) -> None:
    """Time the scoring of a generated crowd against TrackEval, where that is installed.

    Both read the same files in turns and give all figures; the largest difference between any two
    is told as well.
    """
    from benchmarks.scoring.speed import measure, print_speed

    check_output(json_file)
    result = measure(people, frames, rounds)
    print_speed(result)
    write_json(json_file, result)


@click.command()
@click.argument("config", type=FILE)
@click.option("--workers", type=click.IntRange(min=0), help="Loader processes; else CONFIG's.")
@click.option(
    "--pictures", type=POSITIVE, default=64, show_default=True, help="Training pictures per round."
)
@click.option("--rounds", type=POSITIVE, default=5, show_default=True, help="Number of rounds.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a value of CONFIG."
)
@JSON
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
    from benchmarks.records.data import measure, print_throughput
    from train.config import load_config

    check_output(json_file)
    result = measure(load_config(config, overrides), workers, pictures, rounds)
    print_throughput(result)
    write_json(json_file, result)


@click.command()
@THREADS
@JSON
def distil(threads: int | None, json_file: Path | None) -> None:
    """Train a student with and without each kind of teacher, over three seeds, and score all.

    Takes about an hour on two cores. The configurations lie in benchmarks/configs/distil, want the
    footage and the ONNX teachers in ../shared, and write to out/distil, where what is finished is
    not made again.
    """
    from benchmarks.records.distil import measure, print_record

    check_output(json_file)
    record = measure(threads)
    print_record(record)
    write_json(json_file, record)


@click.command("export")
@click.option("--threads", type=POSITIVE, help="CPU threads.")
@BACKEND
@click.option("--model", "models", multiple=True, help="Measure this model alone; may be repeated.")
@JSON
def export_forms(
    threads: int | None, backend: str, models: tuple[str, ...], json_file: Path | None
) -> None:
    """Compare PyTorch, a straightforward export and the fused graphs: time and parity.

    Takes about an hour on two cores, half of it to train the models. They are trained on the
    footage in ../shared and kept in out/export, where what is finished is not made again. Rows of
    models that are not measured stay in the file of --json.
    """
    import json

    from benchmarks.records.export import MODELS, measure, print_record, with_other_models

    unknown = set(models) - set(MODELS)
    if unknown:
        raise UserError(f"--model {min(unknown)}: choose from {', '.join(MODELS)}")
    check_output(json_file)
    record = measure(threads, backend, models or tuple(MODELS))
    if json_file is not None and json_file.exists():
        record = with_other_models(record, json.loads(json_file.read_text(encoding="utf-8")))
    print_record(record)
    write_json(json_file, record)


@click.command("runtime")
@click.option("--model", type=FILE, help="Exported model. [default: nano, trained if need be]")
@click.option("--original", type=FILE, help="Clone of FairMOT, whose tracker is measured as well.")
@click.option("--part", "parts", multiple=True, help="Measure this part alone; may be repeated.")
@JSON
def runtime_loop(
    model: Path | None, original: Path | None, parts: tuple[str, ...], json_file: Path | None
) -> None:
    """Measure what stands round the network: association, throughput, endurance, faults.

    The association is timed against other trackers, those that are installed; the loop against the
    network alone; the presets on the same detections. A soak run tells whether memory or time grow,
    and faults of all kinds are tried on kd-run. The footage in ../shared is used.
    """
    from benchmarks.records.runtime import PARTS, measure, print_record

    check_output(json_file)
    record = measure(model, original, parts or PARTS)
    print_record(record)
    write_json(json_file, record)


@click.command()
@click.argument("documents", nargs=-1, type=FILE)
def tables(documents: tuple[Path, ...]) -> None:
    """Write the tables in DOCUMENTS anew from the records in benchmarks/results.

    Without DOCUMENTS those of this checkout are taken, README.md and benchmarks/results/README.md.
    """
    from benchmarks.records.tables import DOCUMENTS, fill

    for document in documents or DOCUMENTS:
        click.echo(f"{document}: {'written anew' if fill(document) else 'as measured'}")


RECORDS = (tables, metrics, data, distil, export_forms, runtime_loop)
