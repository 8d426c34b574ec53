"""What the processes of a run tell each other; with a single process nothing is sent.

Each process computes the loss on its share of a batch, and the gradients are averaged over the
processes. For that average to be the gradient of the whole batch, every sum has to be divided by
what the processes count on average, not by what each counts for itself.

Losses that relate the pictures or objects of a batch to each other (similarities, distances and
angles between objects, correlations of feature channels) stay within a process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor

from runtime.errors import UserError


def process_count() -> int:
    """Return the number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def shared_count(count: Tensor, minimum: float) -> Tensor:
    """Return what to divide a sum by, so that the average over processes is that of the whole.

    All processes must call it at the same places.

    Args:
        count: What this process counts; a scalar.
        minimum: Least number of all processes together.

    Examples:
        >>> shared_count(torch.tensor(3.0), 1), shared_count(torch.tensor(0.0), 1)
        (tensor(3.), tensor(1.))
    """
    processes = process_count()
    if processes == 1:
        return count.clamp(min=minimum)
    total = count.detach().clone()
    dist.all_reduce(total)
    return total.clamp(min=minimum) / processes


def first_ones(value: float, device: torch.device) -> float:
    """Return the first process's value in all processes."""
    if process_count() == 1:
        return value
    held = torch.tensor(value, dtype=torch.float64, device=device)
    dist.broadcast(held, 0)
    return float(held)


@contextmanager
def errors_of_others() -> Iterator[None]:
    """Say in one line that another process has gone, and with it the connection to it.

    Raises:
        UserError: Instead of the connection's error.
    """
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        lost = isinstance(error, dist.DistError) or "gloo" in text or "NCCL" in text
        if process_count() == 1 or not lost:
            raise
        raise UserError(
            "another process of this run has ended or cannot be reached: its message tells why; "
            "--resume goes on from the last checkpoint"
        ) from error
