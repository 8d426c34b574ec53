"""Proof that an exported graph computes what the PyTorch model does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from runtime.engines import Engine
from runtime.files import atomic_path
from runtime.preprocess import Letterboxer
from runtime.tracking.association import iou_distance
from runtime.tracking.config import TrackerConfig
from runtime.tracking.tracker import Tracker
from runtime.types import Detections
from train.models import TrackingModel
from train.models.decode import top_peaks

# Rows below this score are noise that no tracker looks at.
SCORE_FLOOR = 0.05
MATCH_IOU = 0.9
# Scores closer than this may change places, so the last of K rows can be another one.
TIE_MARGIN = 1e-4


@dataclass(frozen=True)
class Thresholds:
    """What an export must keep to.

    Attributes:
        matched: Least share of detections found again, in both directions.
        box_error_px: Largest distance of a box side, in pixels of the input.
        score_error: Largest difference of a score.
        embedding_cosine_worst: Least cosine between embeddings of the same detection.
        identity_agreement: Least share of tracked boxes with the same identity after tracking.
    """

    matched: float
    box_error_px: float
    score_error: float
    embedding_cosine_worst: float
    identity_agreement: float


THRESHOLDS = {
    "fp32": Thresholds(
        matched=1.0,
        box_error_px=0.05,
        score_error=1e-3,
        embedding_cosine_worst=0.9999,
        identity_agreement=1.0,
    ),
}


@dataclass(frozen=True)
class ParityResult:
    """The verdict, with its figures beside what was demanded. Truthy when passed.

    Attributes:
        precision: Precision of the exported graph.
        frames: Frames compared.
        detections: Detections compared.
        figures: The measured figures, by the names of ``Thresholds`` and more.
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
    def failures(self) -> list[str]:
        """The figures that miss their threshold, in words."""
        missed = []
        for name, limit in asdict(self.thresholds).items():
            figure = self.figures.get(name)
            if figure is None:
                continue
            largest_allowed = name.endswith(("_px", "_error"))
            # A comparison that is false for NaN in both cases fails, as it must.
            if not (figure <= limit if largest_allowed else figure >= limit):
                missed.append(f"{name} {figure:.6g} against {limit:g}")
        return missed

    @property
    def passed(self) -> bool:
        """Whether every figure keeps its threshold, and there was something to compare."""
        return self.detections > 0 and not self.failures

    def __bool__(self) -> bool:
        return self.passed

    def to_dict(self) -> dict[str, object]:
        """Return what ``parity.json`` holds."""
        return {
            "passed": self.passed,
            "precision": self.precision,
            "source": self.source,
            "frames": self.frames,
            "detections": self.detections,
            "figures": self.figures,
            "thresholds": asdict(self.thresholds),
            "failures": self.failures,
        }

    def save(self, path: Path) -> None:
        """Write ``parity.json``."""
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")


def compare(
    model: TrackingModel, engine: Engine, frames: Sequence[npt.NDArray[np.uint8]], source: str
) -> ParityResult:
    """Run both on the same frames and compare what a tracker would see, and what it makes of it.

    A frame whose detections differ where rounding alone chooses between neighbouring peaks is left
    out.

    Args:
        model: The PyTorch model in eval mode, fp32.
        engine: The exported graph.
        frames: Consecutive frames, uint8 BGR ``[H, W, 3]``.
        source: What they show, for the report.
    """
    letterboxer = Letterboxer(engine.info.size_wh)
    config = TrackerConfig.for_model(engine.info.tracker)
    pairs = []
    for frame in frames:
        letterboxer(frame)
        maps = torch_maps(model, letterboxer.buffer)
        raw = {name: values[0] for name, values in engine.run(letterboxer.buffer).items()}
        exported = Detections(raw["boxes"], raw["scores"], raw.get("embeddings"), raw["classes"])
        pair = (torch_detections(model, maps, engine.info.topk), exported)
        if _figures([pair])[0]["matched"] == 1 or not has_tied_peaks(maps["hm"]):
            pairs.append(pair)
    figures, count = _figures(pairs)
    return ParityResult(
        precision=engine.info.precision,
        frames=len(pairs),
        detections=count,
        figures=figures | {"identity_agreement": identity_agreement(pairs, config)},
        thresholds=THRESHOLDS[engine.info.precision],
        source=source,
    )


def torch_maps(model: TrackingModel, batch: npt.NDArray[np.uint8]) -> dict[str, Tensor]:
    """Run the unchanged PyTorch model.

    Args:
        model: The model in eval mode.
        batch: One frame at network size, uint8 BGR ``[1, H, W, 3]``.
    """
    images = torch.from_numpy(batch).flip(-1).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        maps: dict[str, Tensor] = model(images)
    return maps


def has_tied_peaks(heatmap: Tensor) -> bool:
    """Tell whether a peak has a neighbour that rounding could make the peak instead.

    The two stand for one object, but each has a box of its own, so that a graph that is right may
    return the other one.

    Args:
        heatmap: Logits ``[1, classes, h, w]``.
    """
    scores = heatmap.sigmoid().transpose(0, 1)
    windows = F.unfold(scores, 3, padding=1)
    centre, around = windows[:, 4], windows[:, [0, 1, 2, 3, 5, 6, 7, 8]].amax(dim=1)
    lead = centre - around
    return bool(((centre >= SCORE_FLOOR) & (lead >= 0) & (lead < TIE_MARGIN)).any())


def torch_detections(model: TrackingModel, maps: dict[str, Tensor], topk: int) -> Detections:
    """Decode the PyTorch model's maps place by place: what the fused graph must equal.

    Args:
        model: The model.
        maps: Its raw maps of one frame.
        topk: K.
    """
    scores, classes, cells = (part[0] for part in top_peaks(maps["hm"], topk))
    y, x = cells // maps["hm"].shape[-1], cells % maps["hm"].shape[-1]
    offset_x, offset_y = maps["reg"][0][:, y, x]
    left, top, right, bottom = maps["wh"][0][:, y, x]
    centre_x, centre_y = x + offset_x, y + offset_y
    boxes = torch.stack(
        [centre_x - left, centre_y - top, centre_x + right, centre_y + bottom], dim=1
    )
    embeddings = None
    if model.embedding_dim:
        vectors = maps["id"][0][:, y, x].T.numpy()
        embeddings = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return Detections((boxes * model.stride).numpy(), scores.numpy(), embeddings, classes.numpy())


def identity_agreement(
    pairs: Sequence[tuple[Detections, Detections]], config: TrackerConfig
) -> float:
    """Track both streams of detections and return the share of boxes with the same identity.

    Both trackers number their tracks alike while they decide alike, so a box agrees when the other
    tracker gives that identity to the same place. 1 when neither tracks anything.
    """
    trackers = (Tracker(config=config), Tracker(config=config))
    same = total = 0
    for reference, exported in pairs:
        first, second = trackers[0].update(reference), trackers[1].update(exported)
        total += max(len(first), len(second))
        overlap = pairwise_iou(first.boxes_xyxy, second.boxes_xyxy)
        same_id = first.ids[:, None] == second.ids[None, :]
        same += int((same_id & (overlap >= MATCH_IOU)).sum())
    return same / total if total else 1.0


def _figures(pairs: Sequence[tuple[Detections, Detections]]) -> tuple[dict[str, float], int]:
    """Match detections of the same class by overlap and measure how far they differ."""
    box_errors, score_errors, cosines = [], [], []
    wanted = found = 0
    for reference, exported in pairs:
        overlap = pairwise_iou(reference.boxes_xyxy, exported.boxes_xyxy)
        overlap[reference.classes[:, None] != exported.classes[None, :]] = 0
        compared = [_above_the_cut(rows.scores) for rows in (reference, exported)]
        wanted += int(compared[0].sum() + compared[1].sum())
        # A row next to the floor may fall on either side of it; its partner counts wherever it is.
        found += int((overlap.max(axis=0)[compared[1]] >= MATCH_IOU).sum())
        for row in np.flatnonzero(compared[0]):
            partner = int(overlap[row].argmax())
            if overlap[row, partner] < MATCH_IOU:
                continue
            found += 1
            difference = reference.boxes_xyxy[row] - exported.boxes_xyxy[partner]
            box_errors.append(float(np.abs(difference).max()))
            score_errors.append(float(abs(reference.scores[row] - exported.scores[partner])))
            if reference.embeddings is not None and exported.embeddings is not None:
                cosines.append(float(reference.embeddings[row] @ exported.embeddings[partner]))
    figures = {
        "matched": found / wanted if wanted else 0.0,
        "box_error_px": max(box_errors, default=float("nan")),
        "score_error": max(score_errors, default=float("nan")),
    }
    if cosines:
        figures["embedding_cosine_median"] = float(np.median(cosines))
        figures["embedding_cosine_worst"] = min(cosines)
    return figures, len(box_errors)


def _above_the_cut(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Select the rows to compare: no noise, and none that rounding may push past the K-th place."""
    return (scores >= SCORE_FLOOR) & (scores > scores.min() + TIE_MARGIN)


def pairwise_iou(
    first_xyxy: npt.NDArray[np.float32], second_xyxy: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Return the IoU of every box ``[N, 4]`` with every box ``[M, 4]`` as ``[N, M]``."""
    return np.asarray(1 - iou_distance(first_xyxy, second_xyxy), np.float32)
