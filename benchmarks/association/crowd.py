"""A generated crowd: what a detector would see of it, and where everybody is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.metrics import Scores, evaluate, sequence_from_boxes
from runtime.types import Detections, Tracks

FPS = 30.0
# Square pixels of picture per person: as dense as MOT20, where people hide each other often.
AREA_PER_PERSON = 14_000.0
HEIGHTS = (60.0, 140.0)
WIDTH_BY_HEIGHT = 0.4
MISSED = 0.03
CLUTTER = 0.03
# Covered by somebody nearer to more than this, a person is not detected.
HIDDEN_FROM = 0.75


@dataclass
class Crowd:
    """A sequence of frames.

    Attributes:
        detections: Per frame, best score first, with embeddings.
        truth: Per frame, everybody who is not hidden, detected or not.
    """

    detections: list[Detections]
    truth: list[Tracks]


def make_crowd(people: int, frames: int, embedding_dim: int = 128, seed: int = 0) -> Crowd:
    """Let people walk, hide each other, be missed and be seen with low scores.

    Embeddings of a person have a cosine of about 0.8 from frame to frame, those of two people one
    of about 0.3; who is half covered looks half like who covers.

    Args:
        people: Number of people, all there all the time.
        frames: Number of frames.
        embedding_dim: Length of the embeddings.
        seed: The same seed gives the same crowd.
    """
    random = np.random.default_rng(seed)
    height = np.sqrt(AREA_PER_PERSON * people * 9 / 16)
    edges = np.array([height * 16 / 9, height])
    feet = random.uniform(0, edges, (people, 2))
    directions = random.uniform(0, 2 * np.pi, people)
    speeds = random.uniform(0.5, 3.5, people)
    heights = random.uniform(*HEIGHTS, people)
    shared = _unit_length(random.normal(size=(1, embedding_dim)))
    own = _unit_length(random.normal(size=(people, embedding_dim)))
    looks = _unit_length(np.sqrt(0.3) * shared + np.sqrt(0.7) * own)
    crowd = Crowd([], [])
    for _ in range(frames):
        directions += random.normal(0, 0.05, people)
        step = speeds[:, None] * np.stack([np.cos(directions), np.sin(directions)], axis=1)
        outside = (feet + step < 0) | (feet + step > edges)
        # Whoever would leave turns round.
        directions[outside.any(axis=1)] += np.pi
        feet = np.clip(feet + np.where(outside, 0, step), 0, edges)
        half = heights * WIDTH_BY_HEIGHT / 2
        boxes = np.stack(
            [feet[:, 0] - half, feet[:, 1] - heights, feet[:, 0] + half, feet[:, 1]], axis=1
        )
        covered, by = _covered(boxes)
        there = np.flatnonzero(covered <= HIDDEN_FROM)
        crowd.truth.append(plain_tracks(there + 1, boxes[there]))
        seen = there[random.random(len(there)) > MISSED]
        crowd.detections.append(
            _detect(random, boxes[seen], covered[seen], looks[seen], looks[by[seen]], edges)
        )
    return crowd


def plain_tracks(ids: npt.NDArray[Any], boxes_xyxy: npt.NDArray[Any]) -> Tracks:
    """Return tracks that are sure and of one class.

    Args:
        ids: ``[N]`` whole numbers of any type.
        boxes_xyxy: ``[N, 4]`` in pixels.
    """
    count = len(ids)
    return Tracks(
        ids.astype(np.int64),
        boxes_xyxy.astype(np.float32),
        np.ones(count, np.float32),
        np.zeros(count, np.int64),
    )


def score(tracks: list[Tracks], truth: list[Tracks]) -> Scores:
    """Hold a tracker's output against the truth.

    Args:
        tracks: Per frame.
        truth: Per frame, as many.
    """
    return evaluate(sequence_from_boxes(*_rows(truth), *_rows(tracks), length=len(truth)))


def _detect(
    random: np.random.Generator,
    boxes: npt.NDArray[np.float64],
    covered: npt.NDArray[np.float64],
    looks: npt.NDArray[np.float64],
    looks_before: npt.NDArray[np.float64],
    edges: npt.NDArray[np.float64],
) -> Detections:
    clutter = int(random.binomial(len(boxes), CLUTTER))
    dim = looks.shape[1]
    sizes = (boxes[:, 3] - boxes[:, 1])[:, None]
    boxes = boxes + random.normal(0, 0.02, boxes.shape) * sizes
    middles = random.uniform(0, edges, (clutter, 2))
    tall = random.uniform(*HEIGHTS, clutter)[:, None]
    half = np.concatenate([tall * WIDTH_BY_HEIGHT, tall], axis=1) / 2
    embeddings = (1 - covered)[:, None] * looks + covered[:, None] * looks_before
    embeddings = np.concatenate([embeddings, _unit_length(random.normal(size=(clutter, dim)))])
    embeddings = _unit_length(embeddings + random.normal(0, 0.5 / np.sqrt(dim), embeddings.shape))
    scores = np.concatenate(
        [
            0.9 - 0.8 * covered + random.normal(0, 0.07, len(covered)),
            random.uniform(0.05, 0.6, clutter),
        ]
    ).clip(0.01, 0.99)
    order = np.argsort(-scores)
    found = np.concatenate([boxes, np.concatenate([middles - half, middles + half], axis=1)])
    return Detections(found[order], scores[order], embeddings[order].astype(np.float32))


def _covered(
    boxes: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.intp]]:
    """Return which share of each box is covered by somebody nearer, at most, and by whom."""
    corner = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    shared = np.maximum(np.minimum(boxes[:, None, 2:], boxes[None, :, 2:]) - corner, 0).prod(axis=2)
    # Who stands lower in the picture is nearer to the camera.
    shared *= boxes[None, :, 3] > boxes[:, None, 3]
    by = shared.argmax(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return shared[np.arange(len(boxes)), by] / areas, by


def _rows(
    frames: list[Tracks],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    numbers = np.repeat(np.arange(1, len(frames) + 1), [len(frame) for frame in frames])
    ids = np.concatenate([frame.ids for frame in frames])
    boxes = np.concatenate([frame.boxes_xyxy for frame in frames]).astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    return numbers, ids, boxes


def _unit_length(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
