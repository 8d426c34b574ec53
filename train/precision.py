"""In which precision a run computes, and the accelerator that sees to it."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs

from runtime.errors import UserError

# Processes wait for the first one while it validates, or while a teacher looks at all pictures.
# One that has died is noticed long before, by its connection or by the launcher.
PATIENCE = timedelta(hours=24)


def choose_precision(asked: str, device: torch.device) -> Literal["fp32", "bf16", "fp16"]:
    """Tell in which precision to compute.

    Args:
        asked: ``fp32``, ``bf16``, ``fp16``, or ``auto`` for bf16 where the hardware multiplies in
            it: on a processor that only emulates it, it is slower than fp32.
        device: Where the model runs.

    Raises:
        UserError: The device does not train in fp16.

    Examples:
        >>> choose_precision("fp32", torch.device("cpu"))
        'fp32'
    """
    if asked == "fp16":
        if device.type != "cuda":
            raise UserError("precision: fp16 trains on a GPU only: choose auto, bf16 or fp32")
        return "fp16"
    if asked == "bf16" or (asked == "auto" and _multiplies_bf16(device)):
        return "bf16"
    return "fp32"


def make_accelerator(precision: str) -> Accelerator:
    """Return the accelerator of a run: its device, precision and place among the processes.

    What the launcher says of processes counts; what it says of precision does not, as that is part
    of the configuration. fp16 comes with a gradient scaler.

    Args:
        precision: See ``choose_precision``.

    Raises:
        UserError: The device does not train in it.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    chosen = choose_precision(precision, device)
    # accelerate keeps the first accelerator's precision for the whole process, but a process may
    # train more than once.
    AcceleratorState._reset_state()
    return Accelerator(
        mixed_precision="no" if chosen == "fp32" else chosen,
        cpu=device.type == "cpu",
        kwargs_handlers=[
            # Which parameters get no gradient depends on the losses' weights and on the labels.
            DistributedDataParallelKwargs(find_unused_parameters=True),
            InitProcessGroupKwargs(timeout=PATIENCE),
        ],
    )


def _multiplies_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
