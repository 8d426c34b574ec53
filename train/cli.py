"""``kd-train``: train a teacher, distil a student, adapt it to a camera, convert a checkpoint."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from runtime.commands import CommandOrDefault
from runtime.console import run_command

# The student behind kd-run's default model, its weights rounded to 16 bits.
DEFAULT_STUDENT = Path(__file__).parent / "presets" / "default.safetensors"
CONTEXT = {"help_option_names": ["-h", "--help"]}


@click.group(
    cls=CommandOrDefault, default_usage="CONFIG --out DIR [OPTIONS]", context_settings=CONTEXT
)
def cli() -> None:
    """Train what CONFIG describes: a teacher, or a student distilled from one.

    CONFIG is a YAML file, or the name of a preset (default, thesis). With a `distill:` section the
    model is distilled from the teachers in it, without one it is trained on labels alone. A file
    with the name of a command is given as `./NAME`.
    """


@cli.command("run", context_settings=CONTEXT)
@click.argument("config", type=click.Path(path_type=Path), required=False)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the model and the log.")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override one value, e.g. --set schedule.epochs=3. Give it as often as you like.",
)
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint in --out.")
@click.option("--overwrite", is_flag=True, help="Start anew in a folder that holds a run.")
@click.option("--strict", is_flag=True, help="Refuse an `init:` that does not fill the model.")
@click.option("--list-models", is_flag=True, help="List the models and exit.")
def train(
    config: Path | None,
    out: Path | None,
    overrides: tuple[str, ...],
    resume: bool,
    overwrite: bool,
    strict: bool,
    list_models: bool,
) -> None:
    """Train what CONFIG describes; the group's help tells more."""
    if list_models:
        from train.models.listing import list_models as print_models

        print_models()
        return
    if config is None or out is None:
        raise click.UsageError("give a CONFIG and --out DIR, or --list-models")
    with ended_like_ctrl_c():
        from train.processes import errors_of_others

        with errors_of_others():
            run(config, out, overrides, resume=resume, overwrite=overwrite, strict=strict)


def run(
    config: Path,
    out: Path,
    overrides: tuple[str, ...],
    *,
    resume: bool,
    overwrite: bool,
    strict: bool,
) -> None:
    """Train in a folder, once it is sure that no other run is lost by it."""
    from runtime.errors import UserError
    from runtime.files import output_directory
    from train.config import load_config
    from train.state import BEST_FILE, LOGS, STATE_FILE
    from train.trainer import Trainer

    settings = load_config(config, overrides)
    directory = output_directory(out)
    if (directory / STATE_FILE).exists() and not resume and not overwrite:
        raise UserError(
            f"{directory} already holds a run: add --resume to go on with it, --overwrite to "
            "start anew, or choose another --out"
        )
    if not resume:
        for name in (STATE_FILE, BEST_FILE, *LOGS):
            (directory / name).unlink(missing_ok=True)
    model = Trainer(settings, directory, resume, strict).run()
    if is_first_process():
        click.echo(f"model: {model}")


def is_first_process() -> bool:
    """Tell whether this is the first of the processes that a launcher has started, or the only."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def ended_like_ctrl_c() -> Iterator[None]:
    """Let SIGTERM, which schedulers send, end a run like Ctrl-C.

    Of several processes the first one alone speaks: the others may be waiting for it where they
    could not answer the signal.
    """
    if threading.current_thread() is not threading.main_thread() or not is_first_process():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


cli.default = train


@cli.command(context_settings=CONTEXT)
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("out", metavar="OUT.safetensors", type=click.Path(path_type=Path))
def convert(source: Path, out: Path) -> None:
    """Write any checkpoint's tensors as safetensors, running no code.

    SOURCE may be a pickled network: its tensors are gathered without running the code it names.
    Averaged weights are preferred where there are any; half precision becomes float32.
    """
    from train.models.weights import convert_weights

    tensors = convert_weights(source, out).tensors.values()
    megabytes = sum(tensor.nbytes for tensor in tensors) / 1e6
    click.echo(f"weights: {out}, {len(tensors)} tensors, {megabytes:.1f} MB")


@cli.command("compare", context_settings=CONTEXT)
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder for runs and table."
)
@click.option(
    "--resume/--overwrite",
    default=True,
    help="Go on with the runs in --out (the default), or start those anew whose configuration "
    "has changed.",
)
def compare_settings(config: Path, out: Path, resume: bool) -> None:
    """Train a student under several settings and seeds, and compare.

    CONFIG is a YAML file with a `base:` configuration, `seeds:`, named `settings:` that override
    parts of the base, and `test:` sequences that the finished models track. The command can be
    stopped and given again: what is finished is not done again.
    """
    import shlex
    import sys

    from train.compare.comparing import compare

    table = compare(config, out, not resume, shlex.join(["kd-train", *sys.argv[1:]]))
    click.echo(f"table: {table}")


@cli.command("adapt", context_settings=CONTEXT)
@click.argument("videos", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the model.")
@click.option(
    "--model",
    "checkpoint",
    type=click.Path(path_type=Path),
    default=DEFAULT_STUDENT,
    show_default="the default person tracker",
    help="Student to start from, a model of kd-train or its folder.",
)
@click.option("--detector", type=click.Path(path_type=Path), help="ONNX detector that teaches.")
@click.option("--embedder", type=click.Path(path_type=Path), help="ONNX re-ID model that teaches.")
@click.option(
    "--teacher",
    type=click.Path(path_type=Path),
    help="A larger model of the family that teaches instead, or a YAML file with a teacher's "
    "configuration.",
)
@click.option(
    "--hours",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Bound on the time for everything.",
)
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a value of the run."
)
@click.option("--overwrite", is_flag=True, help="Start anew in a folder that holds another run.")
def adapt_to_camera(
    videos: tuple[Path, ...],
    out: Path,
    checkpoint: Path,
    detector: Path | None,
    embedder: Path | None,
    teacher: Path | None,
    hours: float,
    overrides: tuple[str, ...],
    overwrite: bool,
) -> None:
    """Make a student better on the camera that recorded VIDEOS, without labels.

    The teacher looks at the videos and the student learns from it. The last fifth of each quarter
    of a video is held out: there the student is held against the teacher's tracks before and after,
    and the new one is kept only if it is better. Given again, the command goes on where it was
    stopped.
    """
    from train.adapt import AdaptSettings, adapt
    from train.adapt.plan import teacher_entries

    entries = teacher_entries(detector, embedder, teacher)
    settings = AdaptSettings(videos, checkpoint, entries, hours, overrides)
    with ended_like_ctrl_c():
        adapt(settings, out, overwrite=overwrite)
    click.echo(f"model: {out / 'model.safetensors'}")


main = run_command(cli, "kd-train")

if __name__ == "__main__":
    main()
