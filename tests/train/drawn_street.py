"""A drawn street whose people have exactly known outlines."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from runtime.mot import SequenceInfo, write_sequence_info

SIZE_WH = (240, 160)
FRAMES = 24
# Who walks there: left at first, foot, height, pixels per frame.
FREE, PAIRED, BEHIND, SMALL, LEAVING = range(1, 6)
WALKS = {
    FREE: (10, 90, 60, 6),
    PAIRED: (20, 155, 56, 5),
    BEHIND: (28, 152, 56, 5),
    SMALL: (200, 30, 26, -5),
    LEAVING: (-40, 155, 56, 3),
}
COLOURS = {
    FREE: (40, 40, 200),
    PAIRED: (200, 60, 40),
    BEHIND: (40, 150, 60),
    SMALL: (30, 30, 30),
    LEAVING: (200, 200, 40),
}


def scene(seed: int = 0) -> np.ndarray:
    """Return a textured ground."""
    noise = np.random.default_rng(seed).integers(0, 256, (SIZE_WH[1], SIZE_WH[0], 3))
    rough = cv2.GaussianBlur(noise.astype(np.float32), (0, 0), 3)
    return np.clip(140 + (rough - rough.mean()) * 2, 0, 255).astype(np.uint8)


def box_of(person: int, frame: int) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom of somebody in a frame counted from 0."""
    left, foot, height, speed = WALKS[person]
    left += speed * frame
    return left, foot - height, left + height // 3, foot


def outline(person: int, frame: int) -> np.ndarray:
    """Return ``[H, W]`` bool, the pixels of somebody: head, body and two legs."""
    left, top, right, bottom = box_of(person, frame)
    width, height = right - left, bottom - top
    mask = np.zeros(SIZE_WH[::-1], np.uint8)
    middle = (left + right - 1) // 2
    cv2.circle(mask, (middle, top + height // 9), height // 9, 1, cv2.FILLED)
    body = (left, top + height // 5), (right - 1, top + height * 3 // 5)
    cv2.rectangle(mask, *body, 1, cv2.FILLED)
    for side in (left, right - width // 3):
        leg = (side, top + height * 3 // 5), (side + width // 3 - 1, bottom - 1)
        cv2.rectangle(mask, *leg, 1, cv2.FILLED)
    return mask > 0


def picture(frame: int, people: tuple[int, ...] = tuple(WALKS)) -> np.ndarray:
    """Return the street in a frame, each person with a shadow."""
    image = scene().astype(np.float32)
    for person in people:
        _, _, right, bottom = box_of(person, frame)
        shadow = np.zeros(SIZE_WH[::-1], np.uint8)
        cv2.ellipse(shadow, (right + 4, bottom - 3), (14, 4), 0, 0, 360, 1, cv2.FILLED)
        image[shadow > 0] *= 0.65
    for person in people:
        image[outline(person, frame)] = COLOURS[person]
    noise = np.random.default_rng(frame).normal(0, 2, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def write_street(folder: Path, people: tuple[int, ...] = tuple(WALKS), shake: int = 0) -> Path:
    """Write it as a MOTChallenge sequence with ground truth; ``shake`` moves the camera."""
    (folder / "img1").mkdir(parents=True)
    (folder / "gt").mkdir()
    rows = []
    for frame in range(FRAMES):
        image = np.roll(picture(frame, people), shake * frame, axis=1)
        cv2.imwrite(str(folder / "img1" / f"{frame + 1:06d}.png"), image)
        for person in people:
            left, top, right, bottom = box_of(person, frame)
            rows.append(f"{frame + 1},{person},{left},{top},{right - left},{bottom - top},1,1,1")
    (folder / "gt" / "gt.txt").write_text("\n".join(rows) + "\n")
    info = SequenceInfo(folder.name, 10, FRAMES, SIZE_WH, image_extension=".png")
    write_sequence_info(folder, info)
    return folder
