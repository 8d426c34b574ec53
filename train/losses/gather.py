"""Reading maps at places."""

from __future__ import annotations

from torch import Tensor


def gather_cells(maps: Tensor, cells: Tensor) -> Tensor:
    """Read a map at given cells.

    Args:
        maps: ``[N, C, h, w]``.
        cells: ``[N, M]`` int64, indices into the flattened map.

    Returns:
        ``[N, M, C]``.
    """
    flat = maps.flatten(2).transpose(1, 2)
    return flat.gather(1, cells.unsqueeze(-1).expand(-1, -1, flat.shape[-1]))
