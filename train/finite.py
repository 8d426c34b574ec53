"""Which part of a loss is no longer a number, and on which pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def what_is_not_finite(
    rows: npt.NDArray[np.float64], names: Sequence[str], start: int, batch: int
) -> str:
    """Name the parts that are not finite and the pictures they come from; nothing if all are.

    Args:
        rows: ``[processes, 1 + parts]``, the loss and its parts in every process.
        names: Of the parts.
        start: Place in the epoch of the batch's first picture.
        batch: Pictures in the batch; each process has its contiguous share.

    Examples:
        >>> rows = np.array([[1.0, 0.5, 0.5], [np.nan, 0.5, np.inf]])
        >>> what_is_not_finite(rows, ["hm", "wh"], start=8, batch=4)
        'in wh, on the pictures 10 to 11'
    """
    broken = np.logical_not(np.isfinite(rows))
    if not broken.any():
        return ""
    parts = [name for place, name in enumerate(names, 1) if broken[:, place].any()]
    processes, share = np.flatnonzero(broken.any(axis=1)), batch // len(rows)
    first, last = start + processes[0] * share, start + (processes[-1] + 1) * share - 1
    return f"in {', '.join(parts) or 'total'}, on the pictures {first} to {last}"
