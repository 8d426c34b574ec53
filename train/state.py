"""A run's folder: its files, and the checkpoint to resume from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from runtime.errors import UserError
from runtime.files import atomic_path
from train.config import TrainConfig
from train.logs import drop_rows_after

STATE_FILE = "state.pt"
MODEL_FILE = "model.safetensors"
BEST_FILE = "best.safetensors"
LOG_FILE = "training.csv"
VALIDATION_FILE = "validation.csv"
TRACKING_FILE = "tracking.csv"
LOGS = (LOG_FILE, VALIDATION_FILE, TRACKING_FILE)


@dataclass
class Clock:
    """Where a run stands: finished epochs, steps, and seconds from the first step."""

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0


def write_state(out: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint; an earlier one stays whole until it is replaced.

    Args:
        out: Folder of the run.
        state: Tensors and plain values, with the configuration as JSON under ``config``.
    """
    with atomic_path(out / STATE_FILE) as temporary:
        torch.save(state, temporary)


def read_state(out: Path, config: TrainConfig) -> dict[str, Any]:
    """Read the checkpoint of a run.

    Args:
        out: Folder of the run.
        config: The present configuration.

    Returns:
        What ``write_state`` was given, on the CPU.

    Raises:
        UserError: There is none, it is damaged, or it belongs to another configuration.
    """
    file = out / STATE_FILE
    if not file.exists():
        raise UserError(f"{out} holds no {STATE_FILE} to resume: start without --resume")
    try:
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        _check_same_config(state["config"], config)
    except UserError:
        raise
    except Exception as error:  # torch.load raises many kinds for a damaged file
        raise not_a_checkpoint(out, error) from error
    return state


def not_a_checkpoint(out: Path, error: Exception) -> UserError:
    """Return what to say of a checkpoint that does not fit."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return UserError(
        f"{out / STATE_FILE} is not a checkpoint of this run ({reason}): start without --resume"
    )


def clear_after(out: Path, step: int) -> None:
    """Clear away what an interrupted run left behind its last checkpoint.

    Args:
        out: Folder of the run.
        step: The checkpoint's step.
    """
    for name in LOGS:
        drop_rows_after(out / name, step)
    clear_halves(out)


def clear_halves(out: Path) -> None:
    """Delete the half-written files of a killed process."""
    for name in (STATE_FILE, MODEL_FILE, BEST_FILE, *LOGS):
        stem, _, suffix = name.partition(".")
        for half in out.glob(f".{stem}.*.part.{suffix}"):
            half.unlink(missing_ok=True)


def _check_same_config(saved: str, config: TrainConfig) -> None:
    # What an earlier version did not know has its default in that version's checkpoint.
    before = TrainConfig.model_validate_json(saved).model_dump(mode="json")
    now = config.model_dump(mode="json")
    changed = [key for key in now if before.get(key) != now[key]]
    if changed:
        raise UserError(
            f"the configuration differs from the checkpoint's in {', '.join(changed)}: "
            "resume with the same one, or start in another folder"
        )
