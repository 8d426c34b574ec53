"""Training targets of CenterNet and FairMOT."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from train.data.sample import Sample

MIN_OVERLAP = 0.7


@dataclass
class Targets:
    """Targets of one picture; M is the limit of objects, unused places are masked.

    Attributes:
        heatmap: ``[classes, h, w]`` float32, a Gaussian per object.
        cells: ``[M]`` int64, index of the centre's cell in the flattened map.
        sizes_ltrb: ``[M, 4]`` float32, distances from the centre to the sides, in cells.
        offsets: ``[M, 2]`` float32, the centre inside its cell, x and y.
        ids: ``[M]`` int64 identities, -1 where unknown.
        mask: ``[M]`` bool, places in use.
        rows: ``[M]`` int64, the sample's ``lesson_rows``; -1 in places out of use.
    """

    heatmap: npt.NDArray[np.float32]
    cells: npt.NDArray[np.int64]
    sizes_ltrb: npt.NDArray[np.float32]
    offsets: npt.NDArray[np.float32]
    ids: npt.NDArray[np.int64]
    mask: npt.NDArray[np.bool_]
    rows: npt.NDArray[np.int64]


def make_targets(
    sample: Sample, size_wh: tuple[int, int], stride: int, num_classes: int, max_objects: int
) -> Targets:
    """Make the targets of one picture.

    As in FairMOT (arXiv 2004.01888): the centre is that of the full box, moved onto the map where
    it lies outside; sizes are the distances from it to the sides, offsets its place in its cell.

    Args:
        sample: Picture of size ``size_wh`` with boxes in its pixels, centres inside; boxes of no
            size are left out.
        size_wh: Input size in pixels.
        stride: Pixels per cell.
        num_classes: Channels of the heatmap.
        max_objects: Objects beyond it are dropped, the smallest first. The others keep their
            order; FairMOT drops those that come last.
    """
    width, height = size_wh[0] // stride, size_wh[1] // stride
    targets = Targets(
        heatmap=np.zeros((num_classes, height, width), np.float32),
        cells=np.zeros(max_objects, np.int64),
        sizes_ltrb=np.zeros((max_objects, 4), np.float32),
        offsets=np.zeros((max_objects, 2), np.float32),
        ids=np.full(max_objects, -1, np.int64),
        mask=np.zeros(max_objects, bool),
        rows=np.full(max_objects, -1, np.int64),
    )
    boxes = sample.boxes_xyxy / stride
    sizes = boxes[:, 2:] - boxes[:, :2]
    kept = np.argsort(-sizes.prod(axis=1), kind="stable")
    kept = np.sort(kept[(sizes[kept] > 0).all(axis=1)][:max_objects])
    for place, index in enumerate(kept):
        left, top, right, bottom = boxes[index]
        centre_x = float(np.clip((left + right) / 2, 0, width - 1))
        centre_y = float(np.clip((top + bottom) / 2, 0, height - 1))
        x, y = int(centre_x), int(centre_y)
        radius = gaussian_radius(*np.ceil(sizes[index]).tolist())
        draw_gaussian(targets.heatmap[sample.classes[index]], x, y, max(0, int(radius)))
        targets.cells[place] = y * width + x
        targets.sizes_ltrb[place] = (
            centre_x - left,
            centre_y - top,
            right - centre_x,
            bottom - centre_y,
        )
        targets.offsets[place] = (centre_x - x, centre_y - y)
        targets.ids[place] = sample.ids[index]
        targets.mask[place] = True
        targets.rows[place] = sample.rows[index]
    return targets


def gaussian_radius(width: float, height: float, min_overlap: float = MIN_OVERLAP) -> float:
    """Return how far a corner may move before a box overlaps the true one less than allowed.

    CenterNet takes the smallest of three quadratic equations' solutions (CornerNet, arXiv
    1808.01244, section 3.1), each rounded as the published code has it: ``(b + sqrt(disc)) / 2``.

    Args:
        width: Box width, in cells.
        height: Box height, in cells.
        min_overlap: Least IoU.

    Examples:
        >>> round(gaussian_radius(10, 20), 3)
        3.678
    """
    total, area = width + height, width * height
    equations = (
        (1.0, total, area * (1 - min_overlap) / (1 + min_overlap)),
        (4.0, 2 * total, (1 - min_overlap) * area),
        (4 * min_overlap, -2 * min_overlap * total, (min_overlap - 1) * area),
    )
    return min((b + float(np.sqrt(max(0.0, b * b - 4 * a * c)))) / 2 for a, b, c in equations)


def draw_gaussian(heatmap: npt.NDArray[np.float32], x: int, y: int, radius: int) -> None:
    """Raise ``heatmap`` ``[h, w]`` to a Gaussian of value 1 at the cell, cut off at ``radius``."""
    sigma = (2 * radius + 1) / 6
    height, width = heatmap.shape
    x0, x1 = max(0, x - radius), min(width, x + radius + 1)
    y0, y1 = max(0, y - radius), min(height, y + radius + 1)
    across = np.exp(-((np.arange(x0, x1) - x) ** 2) / (2 * sigma**2))
    down = np.exp(-((np.arange(y0, y1) - y) ** 2) / (2 * sigma**2))
    window = heatmap[y0:y1, x0:x1]
    np.maximum(window, np.outer(down, across), out=window)
