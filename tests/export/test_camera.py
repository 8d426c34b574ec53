"""Letterboxing in the graph: OpenCV's pixels, and the detections that follow from them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch

from export.camera import CameraBoxes, CameraLetterbox, covered_pixels, linear_weights
from export.fused import FusedTracker
from export.onnx_file import save_onnx, to_onnx
from runtime.detector import Detector, load
from runtime.errors import UserError
from runtime.model_info import METADATA_KEY, ModelInfo
from runtime.opencv import cv2
from runtime.preprocess import letterbox, letterbox_geometry
from runtime.types import Detections
from tests.export.test_export import trained_like
from train.data.synth import Scene, SceneConfig
from train.models import build_model

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
INPUT_WH = (160, 96)
CAMERA_WH = (200, 333)
TOPK = 20

Frame = npt.NDArray[np.uint8]


def both(frame: Frame, input_size_wh: tuple[int, int]) -> tuple[Frame, npt.NDArray[np.float32]]:
    """Return what the host makes of a frame, and what the graph does."""
    width, height = input_size_wh
    expected = np.empty((height, width, 3), np.uint8)
    letterbox(frame, expected)
    inside = CameraLetterbox((frame.shape[1], frame.shape[0]), input_size_wh)
    return expected, inside(torch.from_numpy(frame)[None])[0].numpy()


def noise(size_wh: tuple[int, int]) -> Frame:
    random = np.random.default_rng(size_wh[0])
    return random.integers(0, 256, (size_wh[1], size_wh[0], 3)).astype(np.uint8)


def real_frame() -> Frame:
    path = DATA / "PETS09-S2L1" / "vtest.avi"
    if not path.is_file():
        pytest.skip("no shared data")
    frame = cv2.VideoCapture(str(path)).read()[1]
    assert frame is not None
    return frame.astype(np.uint8)


def test_no_frames() -> None:
    empty = torch.zeros(0, 48, 100, 3, dtype=torch.uint8)
    assert CameraLetterbox((100, 48), (96, 64))(empty).shape == (0, 64, 96, 3)


def test_a_frame_of_the_right_size_is_only_cast() -> None:
    frame = noise((96, 64))
    expected, found = both(frame, (96, 64))
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(found, frame)


@pytest.mark.parametrize(
    "size_wh",
    [
        (192, 128),  # squares of four pixels, which OpenCV rounds in its own way
        (192, 100),
        (288, 192),
        (384, 256),
        (240, 160),
        (768, 576),
        (97, 65),
        (301, 203),
        (113, 999),  # much higher than the network
        (1001, 37),  # much wider
        (1920, 1080),
    ],
)
def test_shrinking_gives_opencvs_pixels(size_wh: tuple[int, int]) -> None:
    # Flat and smooth parts as well as noise: halves to round are rare in noise alone.
    frame = noise(size_wh)
    frame[: size_wh[1] // 2] = frame[: size_wh[1] // 2] // 64 + 126
    frame[0], frame[:, 0] = 255, 0
    expected, found = both(frame, (96, 64))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "size_wh", [(1, 1), (2, 2), (48, 32), (95, 63), (50, 64), (96, 31), (77, 5), (13, 59)]
)
def test_growing_gives_opencvs_pixels(size_wh: tuple[int, int]) -> None:
    expected, found = both(noise(size_wh), (320, 192))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "input_size_wh", [(576, 320), (384, 288), (960, 544), (96, 64), (1088, 608)]
)
def test_a_real_frame_gives_opencvs_pixels(input_size_wh: tuple[int, int]) -> None:
    expected, found = both(real_frame(), input_size_wh)
    np.testing.assert_array_equal(found, expected)


def test_frames_of_a_batch_keep_apart() -> None:
    frames = np.stack([noise((150, 110)), 255 - noise((150, 110))])
    found = CameraLetterbox((150, 110), (96, 64))(torch.from_numpy(frames)).numpy()
    for frame, mine in zip(frames, found, strict=True):
        np.testing.assert_array_equal(mine, both(frame, (96, 64))[0])


@pytest.mark.parametrize(("old", "new"), [(5, 5), (7, 2), (640, 427), (1920, 1081), (1080, 608)])
def test_every_new_pixel_covers_as_much(old: int, new: int) -> None:
    places, covered = covered_pixels(old, new)
    assert places.min() == 0 and places.max() == old - 1
    # All but rims that OpenCV leaves out.
    np.testing.assert_allclose(covered.sum(axis=0), old / new, atol=2.1e-3)


def test_linear_weights_are_whole_shares() -> None:
    places, weights = linear_weights(30, 77)
    assert places.min() == 0 and places.max() == 29
    assert (weights == np.rint(weights)).all() and (np.abs(weights.sum(axis=0) - 2048) <= 1).all()


def test_boxes_go_back_as_on_the_host() -> None:
    geometry = letterbox_geometry((1920, 1080), (1088, 608))
    boxes = np.random.default_rng(0).uniform(-50, 1100, (1, 9, 4)).astype(np.float32)
    found = CameraBoxes(geometry)(torch.from_numpy(boxes))[0].numpy()
    np.testing.assert_array_equal(found, geometry.to_frame(boxes[0]))


class Exports:
    """One small model, exported once for each size of frames."""

    def __init__(self, directory: Path) -> None:
        torch.manual_seed(0)
        self.model = trained_like(build_model("nano", num_classes=2, embedding_dim=16))
        self.directory = directory

    def __call__(self, frame_size_wh: tuple[int, int] | None) -> Path:
        info = ModelInfo(
            arch="nano",
            size_wh=INPUT_WH,
            stride=self.model.stride,
            topk=TOPK,
            embedding_dim=self.model.embedding_dim,
            classes=("a", "b"),
            preprocess="graph" if frame_size_wh else "host",
            frame_size_wh=frame_size_wh,
        )
        path = self.directory / f"{frame_size_wh}.onnx"
        if not path.exists():
            camera = CameraLetterbox(frame_size_wh, INPUT_WH) if frame_size_wh else None
            save_onnx(to_onnx(FusedTracker(self.model, TOPK, camera), info), info, path)
        return path

    def detector(self, frame_size_wh: tuple[int, int] | None) -> Detector:
        """Return a detector that keeps all rows."""
        return load(self(frame_size_wh), "cpu", threads=1, score_threshold=0)


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Exports:
    return Exports(tmp_path_factory.mktemp("exports"))


def assert_equal(found: Detections, expected: Detections) -> None:
    assert len(found) == len(expected) > 10
    np.testing.assert_array_equal(found.classes, expected.classes)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
    np.testing.assert_allclose(found.boxes_xyxy, expected.boxes_xyxy, atol=2e-2)
    assert found.embeddings is not None and expected.embeddings is not None
    np.testing.assert_allclose(found.embeddings, expected.embeddings, atol=1e-4)


def test_detections_equal_those_of_the_host(exports: Exports) -> None:
    frame = Scene(SceneConfig(size_wh=CAMERA_WH, frames=1)).render(0).image
    detector, host = exports.detector(CAMERA_WH), exports.detector(None)
    assert detector.info.frames_wh == CAMERA_WH and host.info.frames_wh == INPUT_WH
    assert_equal(detector(frame), host(frame))
    # In pixels of the frame already as the graph gives them, whereas the host has to map them.
    inside, outside = (np.asarray(each.infer()["boxes"][0]) for each in (detector, host))
    mapped = letterbox_geometry(CAMERA_WH, INPUT_WH).to_frame(outside)
    np.testing.assert_allclose(inside, mapped, atol=2e-2)
    assert np.abs(inside - outside).max() > 10


def test_detections_in_a_real_frame_equal_those_of_the_host(exports: Exports) -> None:
    frame = real_frame()
    assert_equal(
        exports.detector((frame.shape[1], frame.shape[0]))(frame), exports.detector(None)(frame)
    )


def test_the_graph_holds_what_engines_take(exports: Exports) -> None:
    graph = onnx.load(exports(CAMERA_WH)).graph
    assert [node.op_type for node in graph.node if "frames" in node.input] == ["Cast"]
    added = [node for node in graph.node if node.name.startswith("camera")]
    allowed = {"Cast", "Gather", "Mul", "Add", "Sub", "Div", "Round", "Floor", "Pad"}
    assert len(added) > 10 and {node.op_type for node in added} <= allowed
    assert {node.domain for node in graph.node} == {""}


def test_frames_of_another_size_are_refused(exports: Exports) -> None:
    with pytest.raises(UserError, match=r"320x240 .* 200x333 only: .* --frame-size 320x240"):
        load(exports(CAMERA_WH))(np.zeros((240, 320, 3), np.uint8))


@pytest.mark.parametrize(
    "wrong", [{"frame_size_wh": None}, {"preprocess": "host"}, {"preprocess": "both"}]
)
def test_descriptions_that_make_no_sense_are_refused(
    wrong: dict[str, object], exports: Exports, tmp_path: Path
) -> None:
    written = onnx.load(exports(CAMERA_WH))
    entries = json.loads(written.metadata_props[0].value) | wrong
    onnx.helper.set_model_props(written, {METADATA_KEY: json.dumps(entries)})
    onnx.save(written, tmp_path / "m.onnx")
    with pytest.raises(UserError, match="preprocessing") as caught:
        load(tmp_path / "m.onnx")
    assert "\n" not in str(caught.value)
