"""Proof that an exported graph sees what the PyTorch model sees. Needs neither torch nor onnx."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from runtime.engines import Engine
from runtime.files import write_json
from runtime.preprocess import Preprocessor, letterbox_geometry, preprocessor_for
from runtime.tracking.association import Pairs, assign, overlapping
from runtime.tracking.config import TrackerConfig
from runtime.tracking.tracker import Tracker
from runtime.types import Detections, Tracks

# Rows below this score are noise that no tracker looks at.
SCORE_FLOOR = 0.05
# Scores closer than this may change places, so the last of K rows can be another one.
TIE_MARGIN = 1e-4
# Two boxes that overlap so far are on the same object, as in the MOTChallenge's measures.
SAME_OBJECT_IOU = 0.5
SMOOTH_FIGURES = ("box_error_px_median", "score_error", "embedding_cosine_median")


@dataclass(frozen=True)
class Thresholds:
    """What an export must keep to.

    Attributes:
        match_iou: Overlap from which two boxes are the same detection.
        matched: Least share of detections found again, in both directions.
        box_error_px: Largest distance of a box side, in pixels of the input.
        box_error_px_median: The same for the median detection.
        score_error: Largest difference of a score.
        embedding_cosine_median: Least cosine of the median detection's embeddings.
        embedding_cosine_worst: Least cosine of any detection's embeddings.
        identity_agreement: Least share of tracked boxes with the same identity after tracking.
    """

    match_iou: float
    matched: float
    box_error_px: float
    box_error_px_median: float
    score_error: float
    embedding_cosine_median: float
    embedding_cosine_worst: float
    identity_agreement: float


THRESHOLDS = {
    "fp32": Thresholds(
        match_iou=0.9,
        matched=1.0,
        box_error_px=0.05,
        box_error_px_median=0.01,
        score_error=1e-3,
        embedding_cosine_median=0.99999,
        embedding_cosine_worst=0.9999,
        identity_agreement=1.0,
    ),
    "fp16": Thresholds(
        match_iou=0.9,
        matched=0.995,
        box_error_px=2.0,
        box_error_px_median=0.1,
        score_error=0.02,
        embedding_cosine_median=0.9999,
        embedding_cosine_worst=0.999,
        identity_agreement=0.99,
    ),
    "int8": Thresholds(
        match_iou=0.7,
        matched=0.97,
        box_error_px=16.0,
        box_error_px_median=1.0,
        score_error=0.2,
        embedding_cosine_median=0.99,
        # One peak of hundreds moves to the next cell, where the embedding is another one.
        embedding_cosine_worst=0.5,
        identity_agreement=0.99,
    ),
}


@dataclass(frozen=True)
class Reference:
    """What is to be found in some frames, according to the model that an export came from.

    Attributes:
        frames: Consecutive frames, uint8 BGR ``[H, W, 3]``.
        detections: All K of each frame, in its pixels.
        tied: For each frame, whether rounding alone chooses between neighbouring peaks in it.
        source: What the frames show, for the report.
    """

    frames: Sequence[npt.NDArray[np.uint8]]
    detections: Sequence[Detections]
    tied: Sequence[bool]
    source: str


@dataclass(frozen=True)
class ParityResult:
    """The verdict, with its figures beside what was demanded. Truthy when passed.

    Attributes:
        precision: Precision of the exported graph.
        frames: Frames compared.
        detections: Detections compared.
        figures: The measured figures, by the names of ``Thresholds``.
        thresholds: What was demanded.
        source: What the frames show.
    """

    precision: str
    frames: int
    detections: int
    figures: dict[str, float]
    thresholds: Thresholds
    source: str

    @property
    def severity(self) -> float:
        """How close the worst figure comes to its limit: above 1 is beyond it.

        It tells which of two failing graphs is the better one.
        """
        return max(self._severities().values(), default=float("inf"))

    @property
    def strain(self) -> float:
        """How much of their allowances is used up by the figures that change smoothly.

        It ranks causes by few frames, where the other figures jump: whether a peak moves by a cell,
        or a track starts a frame later, is a matter of luck.
        """
        severities = self._severities()
        return sum(severities.get(name, 0.0) for name in SMOOTH_FIGURES)

    @property
    def failures(self) -> list[str]:
        """The figures that miss their threshold, in words."""
        return [
            f"{name} {self.figures[name]:.6g} against {getattr(self.thresholds, name):g}"
            for name, severity in self._severities().items()
            if severity > 1
        ]

    @property
    def passed(self) -> bool:
        """Whether every figure keeps its threshold, and there was something to compare."""
        return self.detections > 0 and not self.failures

    def __bool__(self) -> bool:
        return self.passed

    def _severities(self) -> dict[str, float]:
        severities = {}
        for name, figure in self.figures.items():
            limit = getattr(self.thresholds, name)
            error = name.endswith("_error") or "_px" in name
            # What is a share or a cosine is judged by its distance from 1; embeddings that are not
            # of unit length have a cosine beyond it.
            measured, allowed = (figure, limit) if error else (abs(1 - figure), 1 - limit)
            if np.isnan(measured):
                severities[name] = float("inf")
            elif allowed > 0:
                severities[name] = measured / allowed
            else:
                severities[name] = 0.0 if measured <= 0 else float("inf")
        return severities

    def to_dict(self) -> dict[str, object]:
        """Return what ``parity.json`` holds."""
        limits = asdict(self.thresholds)
        return {
            "passed": self.passed,
            "precision": self.precision,
            "source": self.source,
            "frames": self.frames,
            "detections": self.detections,
            "match_iou": limits.pop("match_iou"),
            "figures": self.figures,
            "thresholds": limits,
            "failures": self.failures,
        }

    def summary(self) -> dict[str, object]:
        """Return what the exported file says of it."""
        return {"passed": self.passed, "source": self.source, **self.figures}

    def save(self, path: Path) -> None:
        """Write ``parity.json``."""
        write_json(path, self.to_dict())


def compare(
    reference: Reference, engine: Engine, thresholds: Thresholds | None = None
) -> ParityResult:
    """Run a graph on the frames and compare what a tracker would see, and what it makes of it.

    A frame whose detections differ where rounding alone chooses between neighbouring peaks is left
    out.

    Args:
        reference: What is to be found.
        engine: The exported graph.
        thresholds: What to demand; that of the graph's precision when None.
    """
    thresholds = thresholds or THRESHOLDS[engine.info.precision]
    config = TrackerConfig.for_model(engine.info.tracker)
    # Rounding errors are small for noise too; those of low precision need not be.
    floor = SCORE_FLOOR if engine.info.precision == "fp32" else config.lowest_score
    prepare = preprocessor_for(engine.info)
    pairs, parts = [], []
    for frame, expected, tied in zip(
        reference.frames, reference.detections, reference.tied, strict=True
    ):
        pair = (expected, detect_all(engine, prepare, frame))
        size = (frame.shape[1], frame.shape[0])
        scale = np.array(letterbox_geometry(size, engine.info.size_wh).scale_xy * 2)
        part = match(*pair, scale, floor, thresholds.match_iou)
        if part.found == part.wanted or not tied:
            pairs.append(pair)
            parts.append(part)
    figures = figures_of(parts) | {"identity_agreement": identity_agreement(pairs, config)}
    return ParityResult(
        precision=engine.info.precision,
        frames=len(pairs),
        detections=sum(len(part.box_errors) for part in parts),
        figures=figures,
        thresholds=thresholds,
        source=reference.source,
    )


def detect_all(engine: Engine, prepare: Preprocessor, frame: npt.NDArray[np.uint8]) -> Detections:
    """Return all K rows of a graph for one frame, in pixels of the frame.

    Args:
        engine: The graph.
        prepare: What the graph wants done with frames.
        frame: uint8 BGR ``[H, W, 3]``.
    """
    geometry = prepare(frame)
    raw = {name: values[0] for name, values in engine.run(prepare.buffer).items()}
    boxes = geometry.to_frame(np.asarray(raw["boxes"], np.float32))
    embeddings = np.asarray(raw["embeddings"], np.float32) if "embeddings" in raw else None
    return Detections(boxes, np.asarray(raw["scores"], np.float32), embeddings, raw["classes"])


@dataclass(frozen=True)
class Matches:
    """How the detections of one frame differ.

    Attributes:
        wanted: Detections of both sides that should have a partner.
        found: Those that have one.
        box_errors: Of each pair, the largest distance of a side in pixels of the input.
        score_errors: Of each pair.
        cosines: Of each pair, between the embeddings; empty without.
    """

    wanted: int
    found: int
    box_errors: list[float]
    score_errors: list[float]
    cosines: list[float]


def match(
    reference: Detections,
    exported: Detections,
    scale: npt.NDArray[np.float64],
    floor: float,
    match_iou: float,
) -> Matches:
    """Match detections of the same class by overlap.

    Args:
        reference: What is to be found in a frame.
        exported: What was found, in the same pixels.
        scale: Pixels of the input per pixel of the frame, ``[4]`` for x, y, x, y.
        floor: Detections that score lower are not looked for.
        match_iou: Overlap from which two boxes are the same detection.
    """
    overlap = pairwise_iou(reference.boxes_xyxy, exported.boxes_xyxy)
    overlap[reference.classes[:, None] != exported.classes[None, :]] = 0
    compared = [_above_the_cut(rows.scores, floor) for rows in (reference, exported)]
    # A row next to the floor may fall on either side of it; its partner counts wherever it is.
    found = int((overlap.max(axis=0, initial=0)[compared[1]] >= match_iou).sum())
    box_errors, score_errors, cosines = [], [], []
    for row in np.flatnonzero(compared[0]):
        partner = int(overlap[row].argmax())
        if not overlap[row, partner] >= match_iou:
            continue
        found += 1
        difference = (reference.boxes_xyxy[row] - exported.boxes_xyxy[partner]) * scale
        box_errors.append(float(np.abs(difference).max()))
        score_errors.append(float(abs(reference.scores[row] - exported.scores[partner])))
        if reference.embeddings is not None and exported.embeddings is not None:
            cosines.append(float(reference.embeddings[row] @ exported.embeddings[partner]))
    wanted = int(compared[0].sum() + compared[1].sum())
    return Matches(wanted, found, box_errors, score_errors, cosines)


def figures_of(parts: Sequence[Matches]) -> dict[str, float]:
    """Return the figures of all frames, by the names of ``Thresholds``."""
    wanted = sum(part.wanted for part in parts)
    box_errors = [error for part in parts for error in part.box_errors]
    cosines = [cosine for part in parts for cosine in part.cosines]
    figures = {
        "matched": sum(part.found for part in parts) / wanted if wanted else 0.0,
        "box_error_px": max(box_errors, default=float("nan")),
        "box_error_px_median": float(np.median(box_errors)) if box_errors else float("nan"),
        "score_error": max(
            (error for part in parts for error in part.score_errors), default=float("nan")
        ),
    }
    if cosines:
        figures["embedding_cosine_median"] = float(np.median(cosines))
        figures["embedding_cosine_worst"] = min(cosines)
    return figures


def identity_agreement(
    pairs: Sequence[tuple[Detections, Detections]], config: TrackerConfig
) -> float:
    """Track both streams of detections and return the share of boxes with the same identity.

    Identities of one side are assigned to those of the other so that most boxes agree, as IDF1 does
    (Ristani et al., ECCV 2016 workshops), of which this is the value. 1 when neither tracks
    anything.
    """
    trackers = (Tracker(config=config), Tracker(config=config))
    tracked = [
        (trackers[0].update(reference), trackers[1].update(exported))
        for reference, exported in pairs
    ]
    total = sum(len(first) + len(second) for first, second in tracked)
    if not total:
        return 1.0
    together = _times_together(tracked)
    first, other = np.nonzero(together)
    apart = 1 - together[first, other] / together.max(initial=1)
    rows, columns = assign(Pairs(first, other, apart), limit=1.0)
    return float(2 * together[rows, columns].sum() / total)


def _times_together(tracked: Sequence[tuple[Tracks, Tracks]]) -> npt.NDArray[np.float64]:
    """Count the frames in which an identity of one side lies where one of the other does."""
    ids = [
        np.unique(np.concatenate([pair[side].ids for pair in tracked]))  # sorted
        for side in (0, 1)
    ]
    together = np.zeros((len(ids[0]), len(ids[1])))
    for first, second in tracked:
        near = pairwise_iou(first.boxes_xyxy, second.boxes_xyxy) >= SAME_OBJECT_IOU
        places = np.ix_(np.searchsorted(ids[0], first.ids), np.searchsorted(ids[1], second.ids))
        together[places] += near
    return together


def _above_the_cut(scores: npt.NDArray[np.float32], floor: float) -> npt.NDArray[np.bool_]:
    """Select the rows to compare: no noise, and none that rounding may push past the K-th place."""
    return (scores >= floor) & (scores > scores.min(initial=1.0) + TIE_MARGIN)


def pairwise_iou(
    first_xyxy: npt.NDArray[np.float32], second_xyxy: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Return the IoU of every box ``[N, 4]`` with every box ``[M, 4]`` as ``[N, M]``."""
    ious = np.zeros((len(first_xyxy), len(second_xyxy)), np.float32)
    pairs = overlapping(first_xyxy, second_xyxy)
    ious[pairs.rows, pairs.columns] = 1 - pairs.distances
    return ious
