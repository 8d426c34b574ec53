"""What the original FairMOT tracker made of scenes that anybody can make again.

``record.py`` wrote ``original.npz``; see there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from runtime.types import Detections, Tracks
from tests.runtime.scenes import SCENES

RECORD = Path(__file__).with_name("original.npz")


@dataclass
class Recorded:
    """One scene and the original's tracks in it."""

    fps: float
    detections: list[Detections]
    tracks: list[Tracks]


def load_recorded(name: str) -> Recorded:
    with np.load(RECORD) as content:
        settings = json.loads(str(content["settings"]))["scenes"][name]
        ends = np.cumsum(content[f"{name}/counts"])[:-1]
        ids = np.split(content[f"{name}/ids"], ends)
        boxes = np.split(content[f"{name}/boxes"], ends)
    detections = SCENES[settings["scene"]](**settings["arguments"])
    assert fingerprint(detections) == settings["sha256"], "the scene is not the recorded one"
    tracks = [
        Tracks(frame_ids, frame_boxes, np.zeros(len(frame_ids)), np.zeros(len(frame_ids)))
        for frame_ids, frame_boxes in zip(ids, boxes, strict=True)
    ]
    return Recorded(settings["fps"], detections, tracks)


def recorded_names() -> list[str]:
    with np.load(RECORD) as content:
        return list(json.loads(str(content["settings"]))["scenes"])


def fingerprint(detections: Sequence[Detections]) -> str:
    digest = hashlib.sha256()
    for frame in detections:
        for array in (frame.boxes_xyxy, frame.scores, frame.embeddings):
            digest.update(np.ascontiguousarray(array, "<f4").tobytes())
    return digest.hexdigest()


def first_difference(expected: Sequence[Tracks], found: Sequence[Tracks]) -> str | None:
    """Return where two trackers part; None if only their names for the tracks differ.

    Boxes may differ by 1e-3 pixels, and the ids by a renaming that is one-to-one.
    """
    renamed: dict[int, int] = {}
    for number, (theirs, ours) in enumerate(zip(expected, found, strict=True), start=1):
        boxes = dict(zip(ours.ids.tolist(), ours.boxes_xyxy, strict=True))
        if len(boxes) != len(theirs):
            return f"frame {number}: {len(theirs)} tracks expected, {len(boxes)} found"
        known = set(renamed.values())
        for track_id, box in zip(theirs.ids.tolist(), theirs.boxes_xyxy, strict=True):
            candidates = [i for i in boxes if i not in known]
            if track_id in renamed:
                candidates = [i for i in boxes if i == renamed[track_id]]
            fitting = [i for i in candidates if np.abs(boxes[i] - box).max() <= 1e-3]
            if not fitting:
                return f"frame {number}: no track is where {track_id} is, {box.tolist()}"
            renamed[track_id] = fitting[0]
            known.add(fitting[0])
    return None
