"""``kd-train``: train a teacher, or distil a student."""

from __future__ import annotations

from pathlib import Path

import click

from runtime.console import run_command


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
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
@click.option("--list-models", is_flag=True, help="List the models and exit.")
def cli(
    config: Path | None,
    out: Path | None,
    overrides: tuple[str, ...],
    resume: bool,
    overwrite: bool,
    list_models: bool,
) -> None:
    """Train what CONFIG describes: a teacher, or a student distilled from one.

    CONFIG is a YAML file. With a `teacher:` section the model is distilled from that teacher,
    without one it is trained on labels alone.
    """
    if list_models:
        _list_models()
        return
    if config is None or out is None:
        raise click.UsageError("give a CONFIG and --out DIR, or --list-models")
    from runtime.errors import UserError
    from runtime.files import output_directory
    from train.config import load_config
    from train.trainer import LOG_FILE, STATE_FILE, VALIDATION_FILE, Trainer

    settings = load_config(config, overrides)
    directory = output_directory(out)
    if (directory / STATE_FILE).exists() and not resume:
        if not overwrite:
            raise UserError(
                f"{directory} already holds a run: add --resume to go on with it, --overwrite to "
                "start anew, or choose another --out"
            )
        (directory / STATE_FILE).unlink()
    if not resume:
        for log in (LOG_FILE, VALIDATION_FILE):
            (directory / log).unlink(missing_ok=True)
    model = Trainer(settings, directory, resume).run()
    click.echo(f"model: {model}")


def _list_models() -> None:
    from runtime.console import print_table
    from train.models import REGISTRY, build_model

    rows = []
    for name, entry in REGISTRY.items():
        model = build_model(name)
        rows.append((name, f"{model.parameter_count() / 1e6:.2f} M", model.stride, entry.summary))
    print_table("models", ("name", "parameters", "stride", "for"), rows)


main = run_command(cli, "kd-train")
