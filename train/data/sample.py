"""One labelled picture: what sources give, augmentations change and targets are made from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass
class Sample:
    """A picture with its labelled objects.

    Attributes:
        image: ``[H, W, 3]`` uint8 BGR.
        boxes_xyxy: ``[M, 4]`` float32, left, top, right, bottom in pixels, full extent (they may
            reach over the border).
        classes: ``[M]`` int64 class indices.
        ids: ``[M]`` int64 identities counted over all sources together, -1 where unknown.
        pixel_aspect: Width of a pixel against its height; not 1 for a picture that was stretched.
    """

    image: npt.NDArray[np.uint8]
    boxes_xyxy: npt.NDArray[np.float32]
    classes: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int64]
    pixel_aspect: float = 1.0
