"""A command line whose main command need not be named."""

from __future__ import annotations

from typing import Any

import click


class CommandOrDefault(click.Group):
    """A group that runs ``default`` when the first argument is none of its commands.

    The group's help shows the default command's use and options beside the other commands.

    Args:
        default_usage: What stands behind the program's name when the default command is used.

    Attributes:
        default: The command that need not be named; set it before the group is called.
    """

    default: click.Command

    def __init__(self, *args: Any, default_usage: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.default_usage = default_usage

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the default command's name in front of arguments that name no command."""
        if not args or args[0] not in self.commands:
            asks_help = any(argument in ctx.help_option_names for argument in args)
            args = ["--help"] if asks_help else [str(self.default.name), *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the commands that must be named."""
        return [name for name in super().list_commands(ctx) if name != self.default.name]

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show both uses."""
        formatter.write_usage(ctx.command_path, self.default_usage)
        formatter.write_usage(ctx.command_path, "COMMAND [ARGS]...", "       ")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the default command's options, then the commands."""
        click.Command.format_options(self.default, ctx, formatter)
        self.format_commands(ctx, formatter)
