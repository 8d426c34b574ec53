"""Tracking quality on held-out sequences: the runtime's own tracker behind the model in training.

What the network says is decoded as in the exported graph, and what follows is ``runtime``'s own
code, so that the figures are those of the exported model.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from rich.progress import Progress, TaskID

from benchmarks.metrics import (
    Scores,
    combine,
    counting_rows,
    evaluate,
    sequence_from_rows,
)
from runtime.console import progress
from runtime.detector import Detector
from runtime.engines import Engine
from runtime.errors import UserError
from runtime.model_info import ModelInfo
from runtime.mot import MotRows, check_unique_ids, read_mot, read_sequence_info
from runtime.pipeline import make_tracker
from runtime.preprocess import Letterboxer, LetterboxGeometry
from runtime.sources import open_source
from runtime.types import Tracks
from train.models import TrackingModel
from train.models.decode import boxes_at, gather_cells, top_peaks
from train.models.folding import fold_batch_norm

TOPK = 128  # as exported, unless told otherwise
FIGURES = ("MOTA", "IDF1", "HOTA", "recall", "precision", "IDSW")


@dataclass(frozen=True)
class HeldOutSequence:
    """A sequence with ground truth; make it with ``read_sequences``.

    Attributes:
        directory: Its folder, or its video.
        name: Its name.
        truth: Its ground truth; frame 1 is the first to be tracked.
        start: Frames to leave out before that.
        length: Number of frames to track.
    """

    directory: Path
    name: str
    truth: MotRows
    start: int
    length: int


@dataclass(frozen=True)
class FoundRows:
    """What the tracker found in a sequence, sorted by frame.

    Attributes:
        frames: ``[N]`` int64, counted from 1.
        ids: ``[N]`` int64 identities.
        boxes_ltwh: ``[N, 4]`` float64, left, top, width, height in pixels of the frame, with the
            two decimals of a result file.
        scores: ``[N]`` float32, scores of the matched detections.
    """

    frames: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int64]
    boxes_ltwh: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.frames)


@dataclass(frozen=True)
class TrackingScores:
    """How well a model tracks.

    Attributes:
        sequences: Name and figures of each sequence.
        combined: The figures of all together, as TrackEval combines them.
    """

    sequences: tuple[tuple[str, Scores], ...]
    combined: Scores

    def figure(self, name: str) -> float:
        """Return one figure of all sequences together.

        Args:
            name: As ``benchmarks.metrics.Scores.to_dict`` names it, or ``F1``: 2 TP / (2 TP + FP +
                FN) of the tracked boxes.
        """
        return headline(self.combined)[name]

    def to_row(self) -> dict[str, float]:
        """Return the headline figures of all sequences together, for a log."""
        return {name: self.figure(name) for name in FIGURES}


def headline(scores: Scores) -> dict[str, Any]:
    """Return the figures without the lists per threshold, with ``F1`` beside them."""
    clear, figures = scores.clear, scores.to_dict()
    figures = {name: value for name, value in figures.items() if not isinstance(value, list)}
    return figures | {"F1": 2 * clear.tp / max(1, 2 * clear.tp + clear.fp + clear.fn)}


def validate_tracking(
    model: TrackingModel,
    sequences: Sequence[Path | HeldOutSequence],
    input_wh: tuple[int, int],
    tracker: Mapping[str, float],
    *,
    frames: tuple[int, int] | None = None,
    batch: int = 8,
    shown: bool = False,
) -> TrackingScores:
    """Track held-out sequences and score the tracks.

    Args:
        model: The model; it is copied, not changed, and runs on its device in the precision of the
            ``torch.autocast`` around the call.
        sequences: Folders as ``read_sequences`` takes them, or what it has returned.
        input_wh: Width and height of the network's input in pixels.
        tracker: Tracker settings that suit the model.
        frames: First and last frame of every folder, counted from 1; None for all.
        batch: Frames that pass the network at a time.
        shown: Whether to show a progress bar; not while another one is.

    Raises:
        UserError: There is no sequence, or one or the settings cannot be used.
    """
    held_out = [
        one if isinstance(one, HeldOutSequence) else read_sequences([one], frames)[0]
        for one in sequences
    ]
    if not held_out:
        raise UserError("there is no sequence to track: name one with ground truth")
    engine = TorchEngine(model, input_wh, tracker)
    scored = []
    with progress(transient=True, shown=shown) as bar:
        task = bar.add_task("tracking", total=sum(one.length for one in held_out))
        for sequence in held_out:
            found = _track(engine, sequence, batch, bar, task)
            data = sequence_from_rows(sequence.truth, found, sequence.length)
            scored.append((sequence.name, evaluate(data)))
    return TrackingScores(tuple(scored), combine([scores for _, scores in scored]))


def track_sequence(
    model: TrackingModel,
    directory: Path | HeldOutSequence,
    input_wh: tuple[int, int],
    tracker: Mapping[str, float],
    frames: tuple[int, int] | None = None,
    batch: int = 8,
) -> FoundRows:
    """Track one sequence, as ``validate_tracking`` does.

    Args:
        model: See there.
        directory: A folder as ``read_sequences`` takes it, or what it has returned.
        input_wh: See there.
        tracker: See there.
        frames: First and last frame, counted from 1; None for all.
        batch: See there.

    Returns:
        The tracks; their frames count from 1 at the first frame tracked.

    Raises:
        UserError: The sequence or the settings cannot be used.
    """
    if isinstance(directory, HeldOutSequence):
        sequence = directory
    else:
        sequence = read_sequences([directory], frames)[0]
    engine = TorchEngine(model, input_wh, tracker)
    with progress(shown=False) as bar:
        return _track(engine, sequence, batch, bar, bar.add_task("", total=sequence.length))


def read_sequences(
    directories: Sequence[Path], frames: tuple[int, int] | None = None
) -> list[HeldOutSequence]:
    """Read the ground truth of sequences and prove that they can be tracked.

    Args:
        directories: MOTChallenge folders with ``gt/gt.txt`` and ``seqinfo.ini``.
        frames: First and last frame to track, counted from 1; None for all.

    Raises:
        UserError: A folder has no frames, no ground truth, or damaged ground truth.
    """
    return [_read_sequence(Path(directory), frames) for directory in directories]


def _read_sequence(directory: Path, frames: tuple[int, int] | None) -> HeldOutSequence:
    gt_file = directory / "gt" / "gt.txt"
    truth = read_mot(gt_file, "ground truth")
    info = read_sequence_info(directory / "seqinfo.ini")
    if len(truth) and truth.frames[-1] > info.length:
        raise UserError(
            f"{gt_file} has a row for frame {truth.frames[-1]}, but seqinfo.ini says that the "
            f"sequence has {info.length} frames: correct one of them"
        )
    check_unique_ids(truth[counting_rows(truth)], gt_file)
    with open_source(directory):
        pass
    first, last = frames or (1, info.length)
    last = min(last, info.length)
    if first > last:
        raise UserError(f"{directory} has {info.length} frames, none from {first} on: check frames")
    part = truth[(truth.frames >= first) & (truth.frames <= last)]
    part.frames = part.frames - (first - 1)
    return HeldOutSequence(directory, info.name, part, first - 1, last - first + 1)


class TorchEngine(Engine):
    """A model in PyTorch, as ``runtime`` runs an exported one.

    Args:
        model: The model; it is copied, not changed.
        input_wh: Width and height of its input in pixels.
        tracker: Tracker settings that suit it.
    """

    def __init__(
        self, model: TrackingModel, input_wh: tuple[int, int], tracker: Mapping[str, float]
    ) -> None:
        self._model = copy.deepcopy(model).eval().requires_grad_(False)
        fold_batch_norm(self._model)
        self._device = next(self._model.parameters()).device
        cells = (input_wh[0] // model.stride) * (input_wh[1] // model.stride)
        self.provider = f"PyTorch, {self._device}"
        self.info = ModelInfo(
            arch=model.name,
            size_wh=input_wh,
            stride=model.stride,
            topk=min(TOPK, cells * model.num_classes),
            embedding_dim=model.embedding_dim,
            classes=model.classes,
            tracker=dict(tracker),
        )

    @torch.inference_mode()
    def run(self, frames: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.generic]]:
        """Run the network on uint8 BGR ``[N, H, W, 3]``; see ``Engine``."""
        images = torch.from_numpy(frames).to(self._device).permute(0, 3, 1, 2).flip(1)
        maps = {name: raw.float() for name, raw in self._model(images.float() / 255).items()}
        scores, classes, cells = top_peaks(maps["hm"], self.info.topk)
        outputs = {
            "boxes": boxes_at(maps, cells, self.info.stride),
            "scores": scores,
            "classes": classes,
        }
        if self.info.embedding_dim:
            outputs["embeddings"] = F.normalize(gather_cells(maps["id"], cells), dim=-1)
        return {name: value.cpu().numpy() for name, value in outputs.items()}


def _track(
    engine: TorchEngine, sequence: HeldOutSequence, batch: int, bar: Progress, task: TaskID
) -> FoundRows:
    """Track a sequence: the network takes frames in batches, the tracker one after the other."""
    detector = Detector(engine)
    found: list[Tracks] = []
    with open_source(sequence.directory) as source:
        tracker = make_tracker(detector, source.fps)
        wanted = islice(source, sequence.start, sequence.start + sequence.length)
        for inputs, geometries in letterboxed(wanted, engine.info.size_wh, batch):
            outputs = engine.run(inputs)
            for index, geometry in enumerate(geometries):
                one = {name: value[index : index + 1] for name, value in outputs.items()}
                found.append(tracker.update(detector.decode(one, geometry)))
            bar.advance(task, len(geometries))
    if len(found) < sequence.length:
        raise UserError(
            f"{sequence.directory} ended after {sequence.start + len(found)} frames, "
            f"{sequence.start + sequence.length} were to come: correct seqLength in seqinfo.ini"
        )
    boxes_xyxy = np.concatenate([tracks.boxes_xyxy for tracks in found]).astype(np.float64)
    boxes_ltwh = np.hstack([boxes_xyxy[:, :2], boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]])
    return FoundRows(
        frames=np.repeat(np.arange(1, len(found) + 1), [len(tracks) for tracks in found]),
        ids=np.concatenate([tracks.ids for tracks in found]),
        # The last digits decide at HOTA's thresholds: result files hold two decimals.
        boxes_ltwh=boxes_ltwh.round(2),
        scores=np.concatenate([tracks.scores for tracks in found]),
    )


def letterboxed(
    frames: Iterable[npt.NDArray[np.uint8]], input_wh: tuple[int, int], batch: int
) -> Iterator[tuple[npt.NDArray[np.uint8], list[LetterboxGeometry]]]:
    """Letterbox frames in batches.

    Args:
        frames: uint8 BGR ``[h, w, 3]`` each.
        input_wh: Width and height to letterbox to, in pixels.
        batch: Frames at a time; the last batch may be smaller.

    Yields:
        uint8 BGR ``[N, H, W, 3]``, and where each frame lies in it.
    """
    letterboxer = Letterboxer(input_wh)
    rest = iter(frames)
    while group := list(islice(rest, batch)):
        inputs, geometries = [], []
        for frame in group:
            geometries.append(letterboxer(frame))
            inputs.append(letterboxer.buffer.copy())
        yield np.concatenate(inputs), geometries
