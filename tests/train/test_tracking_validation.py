"""Tracking held-out sequences in training gives what the exported model gives on the device."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from benchmarks.scoring.accuracy import score_file
from export.exporter import ExportConfig, export_model
from runtime.errors import UserError
from runtime.mot import SequenceInfo, read_mot, write_sequence_info
from runtime.pipeline import run
from runtime.sinks.mot import MotWriter
from runtime.tracking.config import TrackerConfig
from train.models import TrackingModel, build_model, save_model
from train.tracking import (
    FIGURES,
    TorchEngine,
    headline,
    letterboxed,
    read_sequences,
    track_sequence,
    validate_tracking,
)
from train.tracking_config import TrackingValidationConfig

SIZE_WH = (128, 96)
COLOURS = ((250, 30, 30), (30, 240, 30), (30, 30, 250))
# Low enough for every peak of a network that was never trained on it to become a track.
EAGER = {"high_threshold": 0.2, "new_track_threshold": 0.2, "low_threshold": 0.05}


def write_walkers(directory: Path, frames: int = 11, speed: int = 2, start: int = 8) -> Path:
    """Three coloured boxes that walk; the third is hidden in frames 5 to 7."""
    (directory / "img1").mkdir(parents=True)
    (directory / "gt").mkdir()
    ground = np.random.default_rng(0).integers(60, 120, (SIZE_WH[1], SIZE_WH[0], 3))
    rows = []
    for frame in range(1, frames + 1):
        image = ground.astype(np.uint8)
        for identity, colour in enumerate(COLOURS):
            left, top = start + 36 * identity + speed * frame, 20 + 8 * identity
            if identity < 2 or not 5 <= frame <= 7:
                image[top : top + 40, left : left + 16] = colour
                rows.append(f"{frame},{identity + 4},{left},{top},16,40,1,1,1")
        cv2.imwrite(str(directory / "img1" / f"{frame:06d}.png"), image)
    (directory / "gt" / "gt.txt").write_text("\n".join(rows) + "\n")
    write_sequence_info(directory, SequenceInfo(directory.name, 25, frames, SIZE_WH, "img1"))
    return directory


@pytest.fixture(scope="module")
def walkers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_walkers(tmp_path_factory.mktemp("sequences") / "walkers")


@pytest.fixture(scope="module")
def lively() -> TrackingModel:
    """A fresh model with heads as lively as a trained one's, in training mode."""
    torch.manual_seed(3)
    model = build_model("nano", embedding_dim=8)
    model.input_wh = (96, 64)
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                assert layer.running_mean is not None and layer.running_var is not None
                layer.running_mean.uniform_(-0.1, 0.1)
                layer.running_var.uniform_(0.5, 1.5)
        for name, head in model.heads.items():
            head[-1].weight.mul_(8)
            if name == "hm":
                head[-1].bias.fill_(0.0)
            if name == "wh":
                head[-1].bias.fill_(2.0)
    return model.train()


class Oracle(TrackingModel):
    """Finds the coloured boxes by their colour, so that what is expected is known."""

    def __init__(self) -> None:
        super().__init__(
            "oracle",
            torch.nn.Conv2d(3, 1, 1),
            feature_channels=1,
            stride=4,
            num_classes=1,
            embedding_dim=3,
            head_channels=1,
        )

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        count, _, height, width = images.shape
        shape = (height // 4, width // 4)
        maps = {"hm": torch.full((count, 1, *shape), -9.0), "wh": torch.zeros(count, 4, *shape)}
        maps |= {"reg": torch.zeros(count, 2, *shape), "id": torch.zeros(count, 3, *shape)}
        for number, image in enumerate(images):
            for index, colour in enumerate(COLOURS):
                wanted = torch.tensor(colour[::-1])[:, None, None] / 255
                rows, columns = torch.nonzero((image - wanted).abs().sum(0) < 0.01, as_tuple=True)
                if not len(rows):
                    continue
                top, left = float(rows.min()) / 4, float(columns.min()) / 4
                bottom, right = (float(rows.max()) + 1) / 4, (float(columns.max()) + 1) / 4
                row, column = int((top + bottom) / 2), int((left + right) / 2)
                maps["hm"][number, 0, row, column] = 3.0
                sides = [column - left, row - top, right - column, bottom - row]
                maps["wh"][number, :, row, column] = torch.tensor(sides)
                maps["id"][number, index, row, column] = 5.0
        return maps


def test_nothing_to_track(lively: TrackingModel) -> None:
    with pytest.raises(UserError, match="no sequence to track"):
        validate_tracking(lively, [], (96, 64), {})
    assert list(letterboxed([], (96, 64), 4)) == []


def test_a_model_that_finds_nothing_scores_nothing(walkers: Path) -> None:
    model = build_model("nano", embedding_dim=8)
    tracker = {"high_threshold": 1.0, "low_threshold": 1.0, "new_track_threshold": 1.0}
    assert len(track_sequence(model, walkers, (96, 64), tracker)) == 0
    scores = validate_tracking(model, [walkers], (96, 64), tracker)
    assert scores.to_row() == dict.fromkeys(FIGURES, 0)
    assert scores.combined.clear.fn == len(read_mot(walkers / "gt" / "gt.txt"))


def test_tracks_equal_those_of_the_exported_model(
    walkers: Path, lively: TrackingModel, tmp_path: Path
) -> None:
    file = tmp_path / "model.safetensors"
    save_model(file, lively, classes=("person",), input_wh=(96, 64), tracker=EAGER)
    exported = export_model(ExportConfig(file, tmp_path, topk=96, parity_frames=2)).file
    results = list(run(walkers, exported, backend="cpu", threads=1))
    # Eleven frames: the last batch is a smaller one.
    found = track_sequence(lively, walkers, (96, 64), EAGER, batch=4)

    assert len(found) > 20 and len(np.unique(found.ids)) > 3
    lengths = [len(result.tracks) for result in results]
    assert np.bincount(found.frames, minlength=12)[1:].tolist() == lengths
    assert found.ids.tolist() == [one for result in results for one in result.tracks.ids.tolist()]
    boxes_xyxy = np.concatenate([result.tracks.boxes_xyxy for result in results])
    np.testing.assert_allclose(found.boxes_ltwh[:, :2], boxes_xyxy[:, :2], atol=0.011)
    sizes_wh = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    np.testing.assert_allclose(found.boxes_ltwh[:, 2:], sizes_wh, atol=0.011)
    scores = np.concatenate([result.tracks.scores for result in results])
    np.testing.assert_allclose(found.scores, scores, atol=1e-4)
    assert lively.training

    with MotWriter(tmp_path / "tracks.txt") as writer:
        for result in results:
            writer.write(result)
    ours = headline(validate_tracking(lively, [walkers], (96, 64), EAGER).combined)
    theirs = score_file(walkers, tmp_path / "tracks.txt")
    for name in ("MOTA", "IDF1", "HOTA", "recall", "precision", "IDSW", "FP", "FN"):
        assert ours[name] == pytest.approx(theirs[name], abs=1e-3), name


def test_the_engine_drops_what_the_tracker_cannot_use_and_normalises(
    lively: TrackingModel,
) -> None:
    engine = TorchEngine(lively, (96, 64), EAGER)
    frames = np.random.default_rng(0).integers(0, 256, (3, 64, 96, 3)).astype(np.uint8)
    outputs = engine.run(frames)
    # 12 x 8 cells are fewer than the usual number of peaks.
    assert outputs["boxes"].shape == (3, 96, 4)
    np.testing.assert_allclose(np.linalg.norm(outputs["embeddings"], axis=-1), 1, rtol=1e-5)
    alone = engine.run(frames[1:2])
    np.testing.assert_allclose(outputs["scores"][1], alone["scores"][0], atol=1e-5)


def test_a_perfect_detector_tracks_perfectly(walkers: Path) -> None:
    scores = validate_tracking(Oracle(), [walkers], SIZE_WH, {})
    figures = headline(scores.combined)
    assert (figures["precision"], figures["IDSW"], figures["tracker_ids"]) == (1.0, 0, 3)
    assert figures["recall"] == pytest.approx(1.0)
    assert scores.figure("F1") == pytest.approx(1.0)
    assert scores.figure("HOTA") > 0.8


def test_figures_of_several_sequences_are_those_of_all_their_boxes(
    walkers: Path, tmp_path: Path
) -> None:
    other = write_walkers(tmp_path / "others", frames=5, speed=1)
    scores = validate_tracking(Oracle(), [walkers, other], SIZE_WH, {})
    assert [name for name, _ in scores.sequences] == ["walkers", "others"]
    parts = [one.clear for _, one in scores.sequences]
    assert scores.combined.clear.tp == sum(part.tp for part in parts) > parts[0].tp > 0
    assert scores.combined.frames == 16


def test_part_of_a_sequence(walkers: Path) -> None:
    (part,) = read_sequences([walkers], (5, 9))
    assert (part.start, part.length, part.truth.frames.min()) == (4, 5, 1)
    scores = validate_tracking(Oracle(), [walkers], SIZE_WH, {}, frames=(5, 9))
    assert scores.combined.frames == 5
    assert (scores.combined.gt_id_count, scores.combined.clear.tp + scores.combined.clear.fn) == (
        3,
        5 + 5 + 2,
    )
    # Unlike those of the first frame, an object that turns up later has to be seen twice.
    assert scores.figure("recall") == pytest.approx(11 / 12)
    found = track_sequence(Oracle(), walkers, SIZE_WH, {}, (5, 9))
    assert set(found.frames.tolist()) == {1, 2, 3, 4, 5}
    # The whole sequence has no more frames than it has.
    assert read_sequences([walkers], (1, 99))[0].length == 11
    with pytest.raises(UserError, match="none from 12 on"):
        read_sequences([walkers], (12, 20))


def test_objects_that_do_not_count_are_not_asked_for(tmp_path: Path) -> None:
    sequence = write_walkers(tmp_path / "marked")
    rows = (sequence / "gt" / "gt.txt").read_text().splitlines()
    # The second walker is not considered, the third is a distractor.
    marked = []
    for row in rows:
        cells = row.split(",")
        cells[6:8] = {"4": ["1", "1"], "5": ["0", "1"], "6": ["0", "8"]}[cells[1]]
        marked.append(",".join(cells))
    (sequence / "gt" / "gt.txt").write_text("\n".join(marked) + "\n")
    figures = headline(validate_tracking(Oracle(), [sequence], SIZE_WH, {}).combined)
    assert (figures["ids"], figures["FN"]) == (1, 0)
    # Tracks of the second are wrong, those of the third nobody minds.
    assert figures["FP"] == 11


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda folder: (folder / "gt" / "gt.txt").unlink(), r"ground truth .*gt\.txt does not"),
        (lambda folder: (folder / "seqinfo.ini").unlink(), r"seqinfo\.ini does not exist"),
        (lambda folder: (folder / "img1" / "000003.png").unlink(), "holds 10 images"),
        (lambda folder: (folder / "gt" / "gt.txt").write_text("12,1,0,0,9,9,1,1,1\n"), "frame 12"),
        (
            lambda folder: (folder / "gt" / "gt.txt").write_text("2,1,0,0,9,9,1\n2,1,5,5,9,9,1\n"),
            "frame 2: identity 1 occurs 2 times",
        ),
    ],
)
def test_a_sequence_that_cannot_be_used_is_refused_before_it_is_tracked(
    tmp_path: Path, break_it, message: str
) -> None:
    folder = write_walkers(tmp_path / "broken")
    break_it(folder)
    with pytest.raises(UserError, match=message):
        read_sequences([folder])


def test_unknown_tracker_settings_are_refused(walkers: Path, lively: TrackingModel) -> None:
    with pytest.raises(UserError, match="tracker setting 'speed' is unknown"):
        validate_tracking(lively, [walkers], (96, 64), {"speed": 1})


def test_the_row_for_a_log_is_plain(walkers: Path) -> None:
    row = validate_tracking(Oracle(), [walkers], SIZE_WH, {}).to_row()
    assert list(json.loads(json.dumps(row))) == list(FIGURES)
    assert TrackerConfig.for_model({}).high_threshold == 0.4  # what {} stands for


def test_the_settings_in_a_configuration(tmp_path: Path) -> None:
    config = TrackingValidationConfig.model_validate({"sequences": ["a"], "frames": [3, 9]})
    assert (config.sequences, config.every, config.metric) == ([Path("a")], 1, "MOTA")
    for wrong in (
        {"sequences": []},
        {"sequences": ["a"], "frames": [9, 3]},
        {"sequences": ["a"], "metric": "FPS"},
        {"sequences": ["a"], "every": 0},
    ):
        with pytest.raises(ValidationError):
            TrackingValidationConfig.model_validate(wrong)
