"""One labelled picture: what sources give, augmentations change and targets are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt


@dataclass
class Sample:
    """A picture with its labelled objects, and those that a teacher saw in it.

    Attributes:
        image: ``[H, W, 3]`` uint8 BGR.
        boxes_xyxy: ``[M, 4]`` float32, left, top, right, bottom in pixels, full extent (they may
            reach over the border).
        classes: ``[M]`` int64 class indices.
        ids: ``[M]`` int64 identities counted over all sources together, -1 where unknown.
        pixel_aspect: Width of a pixel against its height; not 1 for a picture that was stretched.
        labelled: Whether a place without a label is known to be empty.
        lesson_rows: ``[M]`` int64, for an object that a teacher saw its row in the teacher's
            ``Lessons``; -1 for a label. Labels alone when not given.
    """

    image: npt.NDArray[np.uint8]
    boxes_xyxy: npt.NDArray[np.float32]
    classes: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int64]
    pixel_aspect: float = 1.0
    labelled: bool = True
    lesson_rows: npt.NDArray[np.int64] | None = None

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """``lesson_rows``, written out where it is left out."""
        if self.lesson_rows is None:
            return np.full(len(self.boxes_xyxy), -1, np.int64)
        return self.lesson_rows

    def select(self, kept: npt.NDArray[np.bool_]) -> Sample:
        """Return the same picture with some of its objects, ``[M]`` bool."""
        return replace(
            self,
            boxes_xyxy=self.boxes_xyxy[kept],
            classes=self.classes[kept],
            ids=self.ids[kept],
            lesson_rows=None if self.lesson_rows is None else self.lesson_rows[kept],
        )


def joined(image: npt.NDArray[np.uint8], parts: Sequence[Sample]) -> Sample:
    """Return one picture, ``[H, W, 3]``, with the objects of several.

    It counts as labelled only where all parts are.
    """
    return Sample(
        image,
        np.concatenate([part.boxes_xyxy for part in parts]),
        np.concatenate([part.classes for part in parts]),
        np.concatenate([part.ids for part in parts]),
        labelled=all(part.labelled for part in parts),
        lesson_rows=np.concatenate([part.rows for part in parts]),
    )
