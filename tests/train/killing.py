"""Trains in processes that end themselves with SIGKILL at chosen moments; see ``test_kill``.

Moments are counted: before and after each optimiser step, in the middle of each row of a log, and
in the middle of writing each checkpoint, before and after any file takes its name.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import train.held_out
import train.trainer
from train.cli import cli
from train.state import STATE_FILE


class Moments:
    """Counts moments and ends the process at one of them."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.passed = 0

    def __call__(self) -> None:
        self.passed += 1
        if self.passed == self.last:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """A moment before and one after."""

        def wrapped(*arguments: Any, **settings: Any) -> Any:
            self()
            result = work(*arguments, **settings)
            self()
            return result

        return wrapped

    def halfway(self, save: Callable[..., Any]) -> Callable[..., Any]:
        """A moment in the middle of ``torch.save``."""

        def wrapped(state: object, file: Path) -> None:
            whole = io.BytesIO()
            save(state, whole)
            file.write_bytes(whole.getvalue()[: whole.tell() // 2])
            self()
            file.write_bytes(whole.getvalue())

        return wrapped

    def within_a_row(self, append: Callable[..., Any]) -> Callable[..., Any]:
        """A moment in the middle of a row, and one after it."""

        def wrapped(file: Path, row: dict[str, Any]) -> None:
            before = file.stat().st_size if file.exists() else 0
            append(file, row)
            whole = file.read_bytes()
            file.write_bytes(whole[: (before + len(whole)) // 2])
            self()
            file.write_bytes(whole)
            self()

        return wrapped


def train_until(last: int, config: str, out: Path) -> int:
    """Train in a process of its own.

    Args:
        last: The moment at which it is killed; 0 for none.
        config: Configuration file.
        out: Folder of the run; it is resumed where it has a checkpoint.

    Returns:
        How the process ended, as ``os.waitstatus_to_exitcode`` tells it.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        moments = Moments(last)
        torch.save = moments.halfway(torch.save)
        Path.replace = moments.around(Path.replace)  # type: ignore[method-assign]
        torch.optim.AdamW.step = moments.around(torch.optim.AdamW.step)  # type: ignore[method-assign]
        for module in (train.trainer, train.held_out):
            module.append_row = moments.within_a_row(module.append_row)  # type: ignore[attr-defined]
        resume = ["--resume"] if (out / STATE_FILE).exists() else []
        cli.main([config, "--out", str(out), *resume], standalone_mode=False)
        (out / "moments").write_text(str(moments.passed))
        status = 0
    finally:
        sys.stdout.flush()
        os._exit(status)


if __name__ == "__main__":
    file, *runs = sys.argv[1:]
    for run in runs:
        folder, _, kills = run.rpartition(":")
        Path(folder).mkdir()
        print(*(train_until(int(kill), file, Path(folder)) for kill in kills.split(",")))
