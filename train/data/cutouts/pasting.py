"""Cutouts pasted into training pictures, with what that means for the objects there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from runtime.opencv import cv2
from train.data.config import AugmentConfig, PasteConfig
from train.data.cutouts.library import OPAQUE, Cutout, CutoutLibrary
from train.data.sample import Sample

Rng = np.random.Generator
Image = npt.NDArray[np.uint8]

# Who is hidden by more can no longer be told to be there.
MOST_HIDDEN = 0.7
# Where in its box a person's pixels are: the middle, by width.
MIDDLE = 0.6
LARGEST_SCALE = 2.0
# Shares of the pictures: a group stands close together; edges are hard, soft as cut, or softer.
GROUP = 0.5
HARD, SOFTER = 0.2, 0.2
# Ranges of the own jitter: channel gains, contrast, brightness in levels, sigma of a blur.
GAINS, CONTRAST, BRIGHTNESS, SIGMA = 0.06, 0.15, 12.0, 0.9
# At most so much of the way from the light a person was seen in to the light of the new place.
TOWARDS_LIGHT = 0.7
MOST_GAIN = 1.6
TALLER = 0.08  # sigma of the logarithm of people's heights


@dataclass(frozen=True)
class _Place:
    """Where somebody shall stand: middle and foot in pixels of the canvas, height in pixels.

    Somebody who turns out smaller has his centre in the same place.
    """

    x: float
    foot: float
    height: float

    @property
    def y(self) -> float:
        return self.foot - self.height / 2


@dataclass(frozen=True)
class _Pasted:
    """Somebody who stands there: which cutout, box ``[4]`` and alpha with its corner in pixels."""

    place: int
    box_xyxy: tuple[int, int, int, int]
    alpha: Image
    corner: tuple[int, int]


def paste_people(
    sample: Sample,
    library: CutoutLibrary,
    ids: npt.NDArray[np.int64],
    config: AugmentConfig,
    rng: Rng,
    lesson_rows: Sequence[int] | None = None,
) -> Sample:
    """Paste people into a picture.

    Nobody is pasted twice, or where the labels know him to be. Who stands lower in the picture
    stands in front. Objects of which a paste hides more than 0.7 are dropped, whoever was pasted
    himself included; the boxes of others stay as they are.

    Args:
        sample: A picture of its final size. Its image is drawn on.
        library: The people.
        ids: Of each of the library's identities its number over all sources, ``[num_ids]``.
        config: Strengths; ``config.paste`` must be there.
        rng: Source of randomness.
        lesson_rows: Of each cutout its row in a teacher's ``Lessons``; None without a teacher.

    Returns:
        The picture with a label for everyone, and what a teacher would see of him.
    """
    paste = config.paste
    assert paste is not None, "nobody is to be pasted"
    if rng.random() >= paste.probability:
        return sample
    free = np.flatnonzero(~np.isin(ids, sample.ids))
    count = min(int(rng.integers(paste.count[0], paste.count[1] + 1)), len(free))
    if not count:
        return sample
    people = rng.choice(free, count, replace=False)
    height, width = sample.image.shape[:2]
    hidden = np.zeros((height, width), bool)
    pasted: list[_Pasted] = []
    for person, place in zip(people, _places(count, (width, height), paste, rng), strict=True):
        members = library.members[person]
        which = members[int(rng.integers(len(members)))]
        done = _draw(sample.image, library.cutout(which), place, config, rng)
        if done is not None:
            pasted.append(_Pasted(which, *done))
    for one in pasted:
        view, part = _within(hidden, one)
        view |= part >= OPAQUE
    kept = np.array([_share(hidden, box) <= MOST_HIDDEN for box in sample.boxes_xyxy], bool)
    return _with_people(sample.select(kept), _seen(pasted, hidden), library, ids, lesson_rows)


def _seen(pasted: Sequence[_Pasted], covered: npt.NDArray[np.bool_]) -> list[_Pasted]:
    """Return those who are not hidden by others who were pasted later."""
    covered[:] = False
    seen = []
    for one in reversed(pasted):
        view, part = _within(covered, one)
        own = part >= OPAQUE
        if (view & own).sum() <= MOST_HIDDEN * max(int(own.sum()), 1):
            seen.append(one)
        view |= own
    return seen[::-1]


def _within(canvas: npt.NDArray[np.bool_], one: _Pasted) -> tuple[npt.NDArray[np.bool_], Image]:
    """Return the part of the canvas that somebody's alpha lies on, and that part of the alpha."""
    place, part = _clipped(one.corner, one.alpha.shape, canvas.shape)
    return canvas[place], one.alpha[part]


def _clipped(
    corner: tuple[int, int], size_hw: tuple[int, ...], canvas_hw: tuple[int, ...]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the rows and columns of the canvas that a patch covers, and those of the patch."""
    left, top = corner
    rows = slice(max(0, top), max(0, min(canvas_hw[0], top + size_hw[0])))
    columns = slice(max(0, left), max(0, min(canvas_hw[1], left + size_hw[1])))
    own_rows = slice(rows.start - top, rows.stop - top)
    return (rows, columns), (own_rows, slice(columns.start - left, columns.stop - left))


def _share(hidden: npt.NDArray[np.bool_], box_xyxy: npt.NDArray[np.float32]) -> float:
    """Return which share of the middle of a box is hidden, of what is in the picture."""
    left, top, right, bottom = box_xyxy.tolist()
    inset = (1 - MIDDLE) / 2 * (right - left)
    rows = slice(max(0, round(top)), max(0, round(bottom)))
    part = hidden[rows, max(0, round(left + inset)) : max(0, round(right - inset))]
    return float(part.mean()) if part.size else 0.0


def _places(count: int, size_wh: tuple[int, int], config: PasteConfig, rng: Rng) -> list[_Place]:
    """Choose where people shall stand, those behind first.

    They stand on common ground: heights grow with the distance of the feet from a horizon.
    """
    width, height = size_wh
    least, greatest = (share * height for share in config.height)
    first = float(np.exp(rng.uniform(np.log(least), np.log(greatest))))
    # Centres must be inside of the picture.
    x0, foot0 = rng.uniform(0, width), rng.uniform(0, height) + first / 2
    horizon = foot0 - first * rng.uniform(1.2, 6)
    group = rng.random() < GROUP
    places = [_Place(float(x0), float(foot0), first)]
    for _ in range(count - 1):
        if group:
            x = x0 + rng.uniform(-0.9, 0.9) * first
            foot = foot0 + rng.uniform(-0.25, 0.25) * first
        else:
            x, foot = rng.uniform(0, width), rng.uniform(0, height) + first / 2
        tall = first * (foot - horizon) / (foot0 - horizon) * np.exp(rng.normal(0, TALLER))
        tall = float(np.clip(tall, least, greatest))
        x = float(np.clip(x, 0, width - 1))
        places.append(_Place(x, float(np.clip(foot, tall / 2, height - 1 + tall / 2)), tall))
    return sorted(places, key=lambda place: place.foot)


def _draw(
    canvas: Image, cutout: Cutout, place: _Place, config: AugmentConfig, rng: Rng
) -> tuple[tuple[int, int, int, int], Image, tuple[int, int]] | None:
    """Draw one person.

    Returns:
        The box around the pixels that are at least half opaque, the alpha and its corner; None,
        and nothing is drawn, where the box would be too small or not in the picture.
    """
    _, top, _, bottom = cutout.box_xyxy
    scale = min(place.height / (bottom - top), LARGEST_SCALE)
    stretch = float(np.exp(rng.uniform(-0.5, 0.5) * np.log(config.aspect)))
    rows, columns = cutout.alpha.shape
    size_wh = max(1, round(columns * scale * stretch)), max(1, round(rows * scale))
    # As for the picture itself: averaged where it shrinks.
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    alpha = np.asarray(cv2.resize(cutout.alpha, size_wh, interpolation=method), np.uint8)
    colours = np.asarray(cv2.resize(cutout.bgr, size_wh, interpolation=method), np.uint8)
    if rng.random() < config.flip:
        alpha, colours = (np.ascontiguousarray(part[:, ::-1]) for part in (alpha, colours))
    edges = rng.random()
    if edges < HARD:
        alpha = np.where(alpha >= OPAQUE, 255, 0).astype(np.uint8)
    elif edges > 1 - SOFTER:
        alpha = np.asarray(cv2.GaussianBlur(alpha, (3, 3), 1), np.uint8)
    x, y, width, height = cv2.boundingRect((alpha >= OPAQUE).astype(np.uint8))
    corner = round(place.x - x - width / 2), round(place.y - y - height / 2)
    box = corner[0] + x, corner[1] + y, corner[0] + x + width, corner[1] + y + height
    centre = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    inside = all(0 <= at < side for at, side in zip(centre, canvas.shape[1::-1], strict=True))
    target, part = _clipped(corner, alpha.shape, canvas.shape)
    if min(width, height) < max(config.min_box, 1) or not inside:
        return None
    under = canvas[target]
    colours = _lit(colours, alpha, under, rng)[part]
    weights = alpha[part][..., None].astype(np.uint16)
    mixed = under * (255 - weights) + colours * weights
    canvas[target] = ((mixed + 127) // 255).astype(np.uint8)
    return box, alpha, corner


def _lit(colours: Image, alpha: Image, under: Image, rng: Rng) -> Image:
    """Change a person's colours at random, and towards the light of the place.

    Args:
        colours: ``[h, w, 3]``, the person and the scene around it.
        alpha: ``[h, w]``, where the person is.
        under: ``[h', w', 3]``, what the person is going to stand before.
        rng: Source of randomness.
    """
    around = colours[alpha < OPAQUE]
    there = float(around.mean()) if len(around) else float(colours.mean())
    ratio = (float(under.mean()) + 8) / (there + 8)
    light = float(np.clip(ratio ** rng.uniform(0, TOWARDS_LIGHT), 1 / MOST_GAIN, MOST_GAIN))
    contrast = 1 + rng.uniform(-CONTRAST, CONTRAST)
    gains = light * contrast * (1 + rng.uniform(-GAINS, GAINS, 3))
    middle = float(colours.mean()) * light * (1 - contrast)
    offset = middle + rng.uniform(-BRIGHTNESS, BRIGHTNESS)
    matrix = np.column_stack([np.diag(gains), np.full(3, offset)])
    changed = cv2.transform(colours, matrix)
    sigma = rng.uniform(0, SIGMA)
    if sigma > SIGMA / 2:
        changed = cv2.GaussianBlur(changed, (3, 3), sigma)
    return np.asarray(changed, np.uint8)


def _with_people(
    sample: Sample,
    pasted: Sequence[_Pasted],
    library: CutoutLibrary,
    ids: npt.NDArray[np.int64],
    lesson_rows: Sequence[int] | None,
) -> Sample:
    """Return the picture with those who were pasted, as labels and as a teacher's objects."""
    if not pasted:
        return sample
    boxes = np.array([one.box_xyxy for one in pasted], np.float32)
    numbers = np.array([ids[library.identity(one.place)] for one in pasted], np.int64)
    rows = np.full(len(pasted), -1, np.int64)
    if lesson_rows is not None:
        boxes = np.tile(boxes, (2, 1))
        numbers = np.concatenate([numbers, rows])
        rows = np.concatenate([rows, [lesson_rows[one.place] for one in pasted]])
    return replace(
        sample,
        boxes_xyxy=np.concatenate([sample.boxes_xyxy, boxes]),
        classes=np.concatenate([sample.classes, np.zeros(len(boxes), np.int64)]),
        ids=np.concatenate([sample.ids, numbers]),
        lesson_rows=np.concatenate([sample.rows, rows]),
    )
