"""What several commands of ``kd-bench`` share: kinds of values, options, and their JSON files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from runtime import files

FILE = click.Path(path_type=Path)
POSITIVE = click.IntRange(min=1)
BACKEND = click.option(
    "--backend",
    type=click.Choice(["auto", "cpu", "cuda", "ort-tensorrt"]),
    default="auto",
    show_default=True,
    help="What runs exported models.",
)
THREADS = click.option("--threads", type=POSITIVE, help="Threads of the inference engine.")
JSON = click.option(
    "--json", "json_file", type=FILE, help="Write the figures to this file as well."
)


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


def check_output(path: Path | None) -> None:
    """Fail before the work, not after it, if the file could not be written."""
    if path is not None:
        files.output_directory(path.parent)


def write_json(path: Path | None, content: dict[str, Any]) -> None:
    """Write a record, if a file for it was named, and say so."""
    if path is None:
        return
    files.write_json(path, content)
    click.echo(f"wrote {path}")
