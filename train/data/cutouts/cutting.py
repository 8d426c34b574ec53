"""People cut out of the footage of a static camera, as far as they can be cut out cleanly."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from runtime.opencv import cv2
from train.data.cutouts.masks import Mask, feathered, person_mask
from train.data.cutouts.merging import sort_people
from train.data.cutouts.watching import TRACKER, Boxes, Frame, Scene, shared_area
from train.teachers.onnx import OnnxTeacherModel

# Around a box, as a share of its sides and at least in pixels: people reach out of their boxes, and
# the mask needs ground.
AROUND, AROUND_PIXELS = 0.15, 6.0
# So much of a box may be another's.
MOST_SHARED = 0.05
LEAST_FILLED, MOST_FILLED = 0.28, 0.85
# The outline holds less of what differs from the scene where it is uncertain.
LEAST_AGREEMENT = 0.8
# Pixels, and share of the picture's height, that a box must keep from the border.
BORDER, BORDER_SHARE = 2.0, 0.01
# The mask begins and ends within this share of the box's height from its top and bottom.
ENDS = 0.12
# So much of the mask may be beyond the box: a shadow, or somebody else.
MOST_BEYOND = 0.12
# A track of a detector that was seen for less time is often a group, or no person.
BRIEF_SECONDS = 3.0
# More are tried than are wanted, as some masks fail.
TRIED = 3
PAD = 2  # pixels around the outline that a cutout keeps, for soft edges

# Why a sighting gives no cutout, in the order of asking.
GATES = (
    "seen too briefly",
    "too small",
    "at the border",
    "overlapped",
    "not needed",
    "hardly differs",
    "fills too little",
    "fills too much",
    "not from top to bottom",
    "unclear outline",
    "beyond the box",
    "like somebody else",
)


@dataclass(frozen=True)
class CutoutOptions:
    """What is cut out.

    Attributes:
        per_identity: Cutouts of a person at most; they are spread over the time it is seen.
        min_height: Lower boxes are left out, in pixels.
    """

    per_identity: int = 12
    min_height: int = 40


@dataclass
class Cut:
    """A person cut out.

    Attributes:
        identity: In its source.
        frame: Counted from 1.
        image: ``[h, w, 4]`` uint8 BGRA; behind the transparent part the scene as it was.
        box_wh: Size in pixels of the outline.
    """

    identity: int
    frame: int
    image: Frame
    box_wh: tuple[int, int]


@dataclass
class Outcome:
    """What came of a source.

    Attributes:
        scene: The source.
        cuts: By identity, then frame.
        refused: How many sightings each of ``GATES`` stopped.
    """

    scene: Scene
    cuts: list[Cut]
    refused: Counter[str] = field(default_factory=Counter)

    @property
    def identities(self) -> int:
        """How many people were cut out."""
        return len({cut.identity for cut in self.cuts})


def cut_out(scene: Scene, options: CutoutOptions, model: OnnxTeacherModel | None = None) -> Outcome:
    """Cut the people of a scene out.

    Args:
        scene: The scene.
        options: What to cut out.
        model: Who can tell people apart where a tracker gave the identities.
    """
    outcome = Outcome(scene, [])
    rows = _spread_candidates(scene, options, outcome.refused)
    by_frame: dict[int, list[int]] = defaultdict(list)
    for row in rows:
        by_frame[int(scene.sightings.frames[row])].append(row)
    cuts: dict[int, list[Cut]] = defaultdict(list)
    for number, frame in scene.read(set(by_frame)):
        lit = scene.background.under_light_of(frame, scene.sightings.crowd[number])
        for row in by_frame[number]:
            box = scene.sightings.boxes_xyxy[row]
            cut = cut_person(frame, lit, box)
            if isinstance(cut, str):
                outcome.refused[cut] += 1
                continue
            image, box_wh = cut
            identity = int(scene.sightings.ids[row])
            cuts[identity].append(Cut(identity, number, image, box_wh))
    if scene.identities == TRACKER and model is not None and model.embedding_dim:
        cuts = _sorted_by_looks(cuts, model, outcome.refused)
    for identity in sorted(cuts):
        own = cuts[identity]
        kept = spread(len(own), options.per_identity)
        outcome.refused["not needed"] += len(own) - len(kept)
        outcome.cuts += [own[place] for place in kept]
    return outcome


def _sorted_by_looks(
    cuts: dict[int, list[Cut]], model: OnnxTeacherModel, refused: Counter[str]
) -> dict[int, list[Cut]]:
    """Put cutouts of the same person together; see ``train.data.cutouts.merging``."""
    looks = {
        identity: np.concatenate(
            [
                model(
                    np.ascontiguousarray(cut.image[..., :3]), [[0, 0, *cut.image.shape[1::-1]]]
                ).embeddings
                for cut in own
            ]
        ).astype(np.float32)
        for identity, own in cuts.items()
    }
    people: dict[int, list[Cut]] = {}
    for person, members in sort_people(looks).items():
        own = (replace(cuts[identity][row], identity=person) for identity, row in members)
        # Nobody is in a frame twice.
        by_frame = {cut.frame: cut for cut in own}
        people[person] = [by_frame[frame] for frame in sorted(by_frame)]
    left = sum(map(len, cuts.values())) - sum(map(len, people.values()))
    refused["like somebody else"] += left
    return people


def _spread_candidates(
    scene: Scene, options: CutoutOptions, refused: Counter[str]
) -> npt.NDArray[np.int64]:
    """Return the rows of sightings that are worth a mask, evenly spread for each identity."""
    sightings = scene.sightings
    width, height = scene.size_wh
    edge = max(BORDER, BORDER_SHARE * height)
    seen = Counter(sightings.ids.tolist())
    briefest = BRIEF_SECONDS * scene.fps if scene.identities == TRACKER else 0
    free: dict[int, list[int]] = defaultdict(list)
    for row, box in enumerate(sightings.boxes_xyxy):
        others = sightings.others(row)
        sides = box[2:] - box[:2]
        window = box + np.concatenate([-sides, sides]) * AROUND / 2
        if seen[int(sightings.ids[row])] < briefest:
            refused["seen too briefly"] += 1
        elif box[3] - box[1] < options.min_height:
            refused["too small"] += 1
        elif min(*box[:2], width - box[2], height - box[3]) < edge:
            refused["at the border"] += 1
        elif len(others) and shared_area(window, others).max() > MOST_SHARED * sides.prod():
            refused["overlapped"] += 1
        else:
            free[int(sightings.ids[row])].append(row)
    chosen: list[int] = []
    for rows in free.values():
        kept = spread(len(rows), TRIED * options.per_identity)
        refused["not needed"] += len(rows) - len(kept)
        chosen += [rows[place] for place in kept]
    return np.array(sorted(chosen), np.int64)


def spread(length: int, count: int) -> list[int]:
    """Return ``count`` places evenly spread over ``length``, or all where there are fewer.

    Examples:
        >>> spread(10, 3), spread(2, 3)
        ([0, 4, 9], [0, 1])
    """
    return np.unique(np.linspace(0, length - 1, min(length, count)).astype(np.int64)).tolist()


def cut_person(
    frame: Frame, scene: npt.NDArray[np.float32], box_xyxy: Boxes
) -> tuple[Frame, tuple[int, int]] | str:
    """Cut one person out of a frame.

    Args:
        frame: ``[H, W, 3]`` uint8 BGR.
        scene: ``[H, W, 3]`` float32, the same without people.
        box_xyxy: ``[4]``, the person's box in pixels.

    Returns:
        The cutout, ``[h, w, 4]`` BGRA, and the size of its outline; or which gate refuses it.
    """
    margin = np.maximum(AROUND * (box_xyxy[2:] - box_xyxy[:2]), AROUND_PIXELS)
    low = np.floor(np.maximum(box_xyxy[:2] - margin, 0)).astype(int)
    high = np.ceil(np.minimum(box_xyxy[2:] + margin, frame.shape[1::-1])).astype(int)
    window = np.s_[low[1] : high[1], low[0] : high[0]]
    crop, own = frame[window], box_xyxy - np.tile(low, 2)
    mask, agreement = person_mask(crop, scene[window], own)
    fault = _fault_of(mask, agreement, own)
    if fault is not None:
        return fault
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    part = np.s_[max(0, y - PAD) : y + height + PAD, max(0, x - PAD) : x + width + PAD]
    return np.dstack([crop[part], feathered(mask)[part]]), (width, height)


def _fault_of(mask: Mask, agreement: float, box_xyxy: Boxes) -> str | None:
    """Return which gate refuses a mask, ``[h, w]``, for its box; None for a good one."""
    area = float(mask.sum())
    if not area:
        return "hardly differs"
    left, top, right, bottom = np.rint(box_xyxy).astype(int)
    within = mask[max(0, top) : bottom, max(0, left) : right]
    filled = within.sum() / max((right - left) * (bottom - top), 1)
    if filled < LEAST_FILLED:
        return "fills too little"
    if filled > MOST_FILLED:
        return "fills too much"
    rows = np.flatnonzero(mask.any(axis=1))
    slack = ENDS * (bottom - top)
    if rows[0] > top + slack or rows[-1] + 1 < bottom - slack:
        return "not from top to bottom"
    if agreement < LEAST_AGREEMENT:
        return "unclear outline"
    return "beyond the box" if area - within.sum() > MOST_BEYOND * area else None
