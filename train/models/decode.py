"""From raw maps to detections (CenterNet, arXiv 1904.07850, section 4)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from train.models.heads import LTRB


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


def top_peaks(logits: Tensor, topk: int) -> tuple[Tensor, Tensor, Tensor]:
    """Find the K best local maxima over all classes.

    The maximum filter works on logits, which order as scores do: two different logits never tie
    after rounding in the sigmoid.

    Args:
        logits: ``[N, C, h, w]``.
        topk: K.

    Returns:
        Scores ``[N, K]`` in 0..1, classes ``[N, K]`` int64 and cells ``[N, K]`` int64.
    """
    cells_per_class = logits.shape[-2] * logits.shape[-1]
    is_peak = F.max_pool2d(logits, 3, stride=1, padding=1) == logits
    suppressed = torch.where(is_peak, logits, torch.full_like(logits, -1e4))
    best, places = suppressed.flatten(1).topk(topk, dim=1)
    return best.sigmoid(), places // cells_per_class, places % cells_per_class


def sides_at(maps: dict[str, Tensor], cells: Tensor) -> Tensor:
    """Read the distances from the centre to the sides, from a size map of either kind.

    Args:
        maps: Raw maps, with ``wh`` of four channels (ltrb) or two (width and height).
        cells: ``[N, K]`` int64, indices into the flattened map.

    Returns:
        ``[N, K, 4]``, to left, top, right and bottom, in cells.
    """
    return to_sides(gather_cells(maps["wh"], cells))


def to_sides(sizes: Tensor) -> Tensor:
    """Return the distances to all four sides, ``[..., 4]``, from those or from width and height."""
    return sizes if sizes.shape[-1] == LTRB else torch.cat([sizes, sizes], dim=-1) / 2


def boxes_at(maps: dict[str, Tensor], cells: Tensor, stride: int) -> Tensor:
    """Decode the boxes centred in given cells.

    Args:
        maps: Raw maps ``wh`` and ``reg``.
        cells: ``[N, K]`` int64, indices into the flattened map.
        stride: Pixels per cell.

    Returns:
        ``[N, K, 4]`` float32, xyxy in pixels of the input.
    """
    offsets = gather_cells(maps["reg"], cells)
    return boxes_around(cells, offsets, sides_at(maps, cells), maps["reg"].shape[-1], stride)


def boxes_around(cells: Tensor, offsets: Tensor, sides: Tensor, width: int, stride: int) -> Tensor:
    """Put boxes around centres.

    Args:
        cells: ``[N, K]`` int64, indices into the flattened map.
        offsets: ``[N, K, 2]``, each centre in its cell, x and y.
        sides: ``[N, K, 4]``, distances to left, top, right and bottom, in cells.
        width: Of the map, in cells.
        stride: Pixels per cell.

    Returns:
        ``[N, K, 4]`` float32, xyxy in pixels.
    """
    corner = torch.stack([cells % width, cells // width], dim=-1).float()
    centres = corner + offsets
    return torch.cat([centres - sides[..., :2], centres + sides[..., 2:]], dim=-1) * stride
