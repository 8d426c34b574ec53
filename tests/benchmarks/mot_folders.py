"""Tiny MOTChallenge sequences, and a contender that tracks without looking."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from benchmarks.contenders import Contender, Description, Step
from runtime.types import Tracks

# Two people who stand still; the second is of class 2 where the file has classes.
BOXES = ((4, 4, 8, 16), (20, 4, 8, 16))


def write_sequence(
    folder: Path, frames: int = 6, columns: int = 9, pictures: bool = True, labelled: bool = True
) -> Path:
    """Write a sequence whose frame n is uniformly of the grey 10 n."""
    folder.mkdir(parents=True)
    (folder / "seqinfo.ini").write_text(
        f"[Sequence]\nname={folder.name}\nimDir=img1\nframeRate=10\nseqLength={frames}\n"
        "imWidth=32\nimHeight=24\nimExt=.png\n"
    )
    if labelled:
        tails = ["1,1,1", "1,2,1"] if columns == 9 else ["1,-1,-1,-1"] * 2
        rows = [
            f"{frame},{number},{','.join(map(str, box))},{tail}"
            for frame in range(1, frames + 1)
            for number, (box, tail) in enumerate(zip(BOXES, tails, strict=True), 1)
        ]
        (folder / "gt").mkdir()
        (folder / "gt" / "gt.txt").write_text("\n".join(rows) + "\n")
    if pictures:
        (folder / "img1").mkdir()
        for frame in range(1, frames + 1):
            image = np.full((24, 32, 3), 10 * frame, np.uint8)
            cv2.imwrite(str(folder / "img1" / f"{frame:06d}.png"), image)
    return folder


class Parrot(Contender):
    """Says in every frame that both people are there; keeps what it was shown."""

    def __init__(self, name: str = "parrot", classes: tuple[int, int] = (0, 1)) -> None:
        self.description = Description(name, "", 0, "", 0, "fp32", (32, 24), "none", "none")
        self.classes = classes
        self.seen: list[list[int]] = []
        self.rates: list[float] = []

    def begin(self, fps: float) -> None:
        self.seen.append([])
        self.rates.append(fps)

    def step(self, frame: np.ndarray) -> Step:
        self.seen[-1].append(int(frame[0, 0, 0]) // 10)
        boxes = [[left, top, left + width, top + height] for left, top, width, height in BOXES]
        tracks = Tracks([1, 2], boxes, [0.9, 0.8], self.classes)
        return Step(tracks, (0, 0, 0, 0))
