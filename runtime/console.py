"""What every command line shares: how errors, progress and tables look."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from runtime.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress
    from rich.table import Table


# The base install is the tracker alone; what more a command needs comes with an extra.
EXTRA_OF = {
    "torch": "train",
    "torchvision": "train",
    "timm": "train",
    "accelerate": "train",
    "scipy": "train",
    "pydantic": "train",
    "yaml": "train",
    "safetensors": "train",
    "onnx": "export",
    "onnxscript": "export",
    "jinja2": "bench",
    "matplotlib": "bench",
}


def run_command(command: click.Command, prog_name: str) -> Callable[[], None]:
    """Wrap a click command as a console entry point with one-line errors.

    Args:
        command: The click command or group.
        prog_name: Name shown in usage lines.

    Returns:
        A function that runs the command on ``sys.argv`` and exits: 0 on success, 1 for a
        ``UserError`` or a missing extra, 2 for wrong usage, 130 after Ctrl-C.
    """

    def main() -> None:
        try:
            status = command.main(prog_name=prog_name, standalone_mode=False)
        except UserError as error:
            click.echo(f"error: {' '.join(str(error).split())}", err=True)
            sys.exit(1)
        except click.ClickException as error:
            click.echo(f"error: {' '.join(error.format_message().split())}", err=True)
            sys.exit(error.exit_code)
        except (click.Abort, KeyboardInterrupt):
            click.echo("interrupted", err=True)
            sys.exit(130)
        except ModuleNotFoundError as error:
            extra = EXTRA_OF.get((error.name or "").split(".")[0])
            if extra is None:
                raise
            click.echo(
                f"error: {prog_name} needs {error.name}, which is not installed: "
                f'pip install "kd-mot[{extra}]"',
                err=True,
            )
            sys.exit(1)
        except BrokenPipeError:
            # The reader of our output went away (`kd-bench ... | head`); that is its right.
            sys.stderr.close()
            sys.exit(141)
        except OSError as error:
            place = f" {error.filename}" if error.filename else ""
            click.echo(f"error: {error.strerror or error}:{place}", err=True)
            sys.exit(1)
        sys.exit(status if isinstance(status, int) else 0)

    return main


def console() -> Console:
    """Return a console on standard error, where progress and tables for people go."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print one table on standard output, first column left-aligned, the others right-aligned.

    Args:
        title: Line above the table.
        columns: Headings.
        rows: Cells; floats are shown with three decimals, ``None`` as a dash.
    """
    from rich.console import Console

    # Piped output is not a terminal of 80 columns: a table there must not fold its cells.
    width = None if sys.stdout.isatty() else 160
    screen = Console(highlight=False, width=width)
    screen.print(title, markup=False, soft_wrap=True)
    screen.print(make_table(columns, rows))


def make_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """Build the table that ``print_table`` prints."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(escape(column), justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*(escape(format_cell(cell)) for cell in row))
    return table


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Render a Markdown table, first column left-aligned.

    Examples:
        >>> print(markdown_table(("a", "b"), [("x", "1")]))
        | a | b |
        | --- | ---: |
        | x | 1 |
    """
    lines = [columns, ("---",) + ("---:",) * (len(columns) - 1), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def warn(message: str) -> None:
    """Print a warning, in one line, where errors go."""
    click.echo(f"warning: {' '.join(message.split())}", err=True)


def format_cell(value: Any) -> str:
    """Format one table cell.

    Examples:
        >>> format_cell(0.123456), format_cell(None), format_cell(7)
        ('0.123', '-', '7')
    """
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}"
    return str(value)


def progress(*extra_fields: str, transient: bool = False, shown: bool = True) -> Progress:
    """Return a progress bar with count, elapsed time and time left.

    A task's field ``status`` is shown on a line of its own below the bar, for what is too long to
    stand behind it.

    Args:
        *extra_fields: Names of task fields to show behind the bar, e.g. ``"fps"``. Give each an
            initial value in ``add_task``.
        transient: Whether the bar disappears when it is done.
        shown: False for work that is over before a bar could be read. It must be said here: a bar
            that is disabled later leaves its thread behind.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class StatusProgress(Progress):
        def get_renderables(self) -> Iterator[RenderableType]:
            yield from super().get_renderables()
            for task in self.tasks:
                if task.fields.get("status"):
                    yield Text(task.fields["status"], style="dim")

    return StatusProgress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        *(TextColumn(f"{{task.fields[{field}]}}") for field in extra_fields),
        console=console(),
        transient=transient,
        disable=not shown,
    )


def parse_size(text: str) -> tuple[int, int]:
    """Read a picture size.

    Args:
        text: Width and height in pixels, as in ``768x576``.

    Raises:
        UserError: It is not of that form.

    Examples:
        >>> parse_size("768x576")
        (768, 576)
    """
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise UserError(f"size {text!r} is not WIDTHxHEIGHT: give for example 768x576")
    return int(width), int(height)
