"""ONNX teachers on tiny files made here, and on real ones where present."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from benchmarks.metrics.similarity import iou_ltwh
from runtime.errors import UserError
from runtime.mot import read_mot
from runtime.opencv import cv2
from tests.train.tiny_onnx import (
    CELLS,
    answering,
    echo,
    mean_colour,
    picture,
    raw_yolox,
    save,
    yolox,
)
from train.teachers.config import DetectorConfig, EmbedderConfig, OnnxTeacherConfig
from train.teachers.onnx import OnnxDetector, OnnxEmbedder, OnnxTeacherModel, fingerprint
from train.teachers.onnx.fingerprint import outside_files
from train.teachers.onnx.session import PictureModel

SHARED = Path(__file__).resolve().parents[2].parent / "shared"


def test_nothing_is_seen_where_no_score_is_high(tmp_path: Path) -> None:
    config = OnnxTeacherConfig(
        kind="onnx",
        detector=yolox(
            tmp_path / "d.onnx",
            np.zeros((1, CELLS, 6), np.float32),
            score_threshold=0,
            nms_iou=1,
        ),
        embedder=EmbedderConfig(path=mean_colour(tmp_path / "e.onnx", [1, 3, 16, 8])),
    )
    seen = OnnxTeacherModel(config)(np.zeros((96, 128, 3), np.uint8))
    assert len(seen) == 0
    shapes = [
        seen.boxes_xyxy.shape,
        seen.scores.shape,
        seen.classes.shape,
        seen.embeddings.shape,
    ]
    assert shapes == [(0, 4), (0,), (0,), (0, 3)]


def test_no_boxes_have_no_embeddings(tmp_path: Path) -> None:
    embedder = OnnxEmbedder(EmbedderConfig(path=mean_colour(tmp_path / "e.onnx", [1, 3, 16, 8])))
    assert embedder(picture(), np.zeros((0, 4))).shape == (0, 3)


@pytest.mark.parametrize("channels_first", [True, False])
@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8])
@pytest.mark.parametrize("colour", ["bgr", "rgb"])
def test_a_file_is_fed_what_it_wants(
    tmp_path: Path, channels_first: bool, kind: int, colour: str
) -> None:
    shape: list[int | str] = [1, 3, 4, 5] if channels_first else [1, 4, 5, 3]
    arithmetic: dict[str, Any] = {}
    if kind != TensorProto.UINT8:
        arithmetic = {"scale": 0.5, "mean": (1, 2, 3), "std": (2, 4, 8)}
    path = echo(tmp_path / "m.onnx", shape, kind)
    model = PictureModel(EmbedderConfig(path=path, colour=colour, **arithmetic), "embedder")
    shown = picture((5, 4))
    fed = model.run(shown[None])["y"][0]
    assert model.input.size_wh == (5, 4) and model.provider == "CPUExecutionProvider"
    for row in range(4):
        for column in range(5):
            for channel in range(3):
                value = float(shown[row, column, channel if colour == "bgr" else 2 - channel])
                if arithmetic:
                    value = (value * 0.5 - (1, 2, 3)[channel]) / (2, 4, 8)[channel]
                place = (channel, row, column) if channels_first else (row, column, channel)
                assert fed[place] == pytest.approx(value, rel=1e-3, abs=1e-2)


@pytest.mark.parametrize("batch", [1, "n", 4])
@pytest.mark.parametrize("channels_first", [True, False])
def test_an_embedder_sees_each_box(tmp_path: Path, batch: int | str, channels_first: bool) -> None:
    size = [3, 16, 8] if channels_first else [16, 8, 3]
    path = mean_colour(tmp_path / "e.onnx", [batch, *size])
    embedder = OnnxEmbedder(EmbedderConfig(path=path, colour="rgb"), threads=1)
    assert embedder.embedding_dim == 3
    image = np.zeros((120, 400, 3), np.uint8)
    colours = np.random.default_rng(0).integers(1, 255, (40, 3)).astype(np.uint8)
    boxes = []
    for index, colour in enumerate(colours):
        image[20:60, index * 10 : index * 10 + 10] = colour
        boxes.append([index * 10, 20, index * 10 + 10, 60])
    boxes[3][3] = 43  # 23 pixels high
    boxes[7] = [500, 20, 520, 60]  # outside
    seen = embedder(image, boxes).astype(np.float32)
    expected = colours[:, ::-1] / np.linalg.norm(colours.astype(float), axis=1, keepdims=True)
    expected[[3, 7]] = 0
    np.testing.assert_allclose(seen, expected, atol=2e-3)


def test_a_crop_is_clipped_and_has_its_margin(tmp_path: Path) -> None:
    path = mean_colour(tmp_path / "e.onnx", [1, 3, 64, 32])
    image = np.zeros((100, 100, 3), np.uint8)
    image[:50, :, 0], image[50:, :, 1] = 200, 200
    boxes = [[-50, -30, 20, 50], [10, 10, 40, 50], [10, -30, 40, 20]]

    def look(**settings: Any) -> np.ndarray:
        return OnnxEmbedder(EmbedderConfig(path=path, **settings))(image, boxes).astype(np.float32)

    np.testing.assert_allclose(look(), [[1, 0, 0], [1, 0, 0], [0, 0, 0]], atol=1e-3)
    assert look(min_height=20)[2].tolist() == [1, 0, 0]
    # Ten more rows on each side: 50 of the upper half, 10 of the lower.
    np.testing.assert_allclose(
        look(margin=0.25)[1], np.array([50, 10, 0]) / math.hypot(50, 10), atol=0.03
    )


def test_a_picture_without_contents_has_no_direction(tmp_path: Path) -> None:
    embedder = OnnxEmbedder(EmbedderConfig(path=mean_colour(tmp_path / "e.onnx", [1, 3, 16, 8])))
    assert not embedder(np.zeros((50, 50, 3), np.uint8), [[0, 0, 20, 40]]).any()


def test_without_a_detector_the_labelled_boxes_are_described(tmp_path: Path) -> None:
    path = mean_colour(tmp_path / "e.onnx", [1, 3, 16, 8])
    model = OnnxTeacherModel(OnnxTeacherConfig(kind="onnx", embedder=EmbedderConfig(path=path)))
    boxes = np.array([[0, 0, 30, 40], [5, 5, 9, 9], [-4, 2, 60, 90]], np.float32)
    seen = model(picture(), boxes, [1, 0, 1])
    assert seen.boxes_xyxy.tolist() == boxes.tolist() and seen.classes.tolist() == [1, 0, 1]
    assert seen.scores.tolist() == [1, 1, 1] and seen.embeddings.dtype == np.float16
    lengths = np.linalg.norm(seen.embeddings.astype(np.float32), axis=1)
    np.testing.assert_allclose(lengths, [1, 0, 1], atol=1e-3)
    assert model(picture(), boxes).classes.tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="needs boxes"):
        model(picture())
    with pytest.raises(ValueError, match="3 boxes with 1 classes"):
        model(picture(), boxes, [0])


def test_with_a_detector_its_boxes_are_described(tmp_path: Path) -> None:
    config = OnnxTeacherConfig(
        kind="onnx",
        detector=yolox(tmp_path / "d.onnx"),
        embedder=EmbedderConfig(path=mean_colour(tmp_path / "e.onnx", ["n", 16, 8, 3])),
    )
    model, image = OnnxTeacherModel(config, threads=1), picture()
    seen = model(image)
    assert config.detector is not None and config.embedder is not None
    boxes, scores, classes = OnnxDetector(config.detector)(image)
    np.testing.assert_array_equal(seen.boxes_xyxy, boxes)
    np.testing.assert_array_equal(seen.scores, scores)
    np.testing.assert_array_equal(seen.classes, classes)
    np.testing.assert_array_equal(seen.embeddings, OnnxEmbedder(config.embedder)(image, boxes))
    assert (np.diff(scores) <= 0).all() and model.embedding_dim == 3 and len(seen) > 3
    told = model(image, boxes[2:3])
    assert told.boxes_xyxy.tolist() == boxes[2:3].tolist() and told.scores.tolist() == [1]
    np.testing.assert_array_equal(told.embeddings, seen.embeddings[2:3])


def embedder_fault(kind: str, path: Path) -> EmbedderConfig:
    """Write a file that cannot be used and return how it is configured."""
    settings: dict[str, Any] = {}
    if kind == "missing":
        pass
    elif kind == "foreign":
        path.write_bytes(b"not a network")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "two inputs":
        nodes = [helper.make_node("Add", ["x0", "x1"], ["y"])]
        save(path, nodes, [1, 3, 8, 8], {}, ["y"], inputs=2)
    elif kind == "grey":
        echo(path, [1, 1, 8, 8])
    elif kind == "whole numbers":
        echo(path, [1, 3, 8, 8], TensorProto.INT32)
    elif kind == "open size":
        mean_colour(path, [1, 3, "h", 8])
    elif kind == "fixed size":
        mean_colour(path, [1, 3, 8, 8])
        settings["size_wh"] = (16, 8)
    elif kind == "scaled bytes":
        mean_colour(path, [1, 3, 8, 8], TensorProto.UINT8)
        settings["scale"] = 0.5
    elif kind == "map":
        echo(path, [1, 3, 8, 8])
    elif kind == "nan":
        answering(path, [1, 3, 8, 8], y=np.full((1, 4), np.inf, "f4"))
    elif kind == "which output":
        answering(path, [1, 3, 8, 8], y=np.zeros((1, 4), "f4"), z=np.zeros((1, 8), "f4"))
    elif kind == "no such output":
        answering(path, [1, 3, 8, 8], y=np.zeros((1, 4), "f4"))
        settings["output"] = "z"
    return EmbedderConfig(path=path, **settings)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "embedder.path .* does not exist"),
        ("foreign", "embedder.path .* cannot be loaded as an ONNX model"),
        ("empty", "embedder.path .* cannot be loaded as an ONNX model"),
        ("two inputs", r"2 inputs \(x0, x1\): give a file with one"),
        ("grey", r"\[1, 1, 8, 8\]: give a file that takes pictures"),
        ("whole numbers", r"tensor\(int32\): give"),
        ("open size", r"open \(8x\?\): give width and height in embedder.size_wh"),
        ("fixed size", "8x8, not 16x8: remove embedder.size_wh"),
        ("scaled bytes", "leave embedder.scale, embedder.mean and embedder.std out"),
        ("map", r"\[1, 3, 8, 8\] for 1 crops, embeddings are \[N, E\]"),
        ("nan", "output y has numbers that are not finite"),
        ("which output", r"2 outputs: set embedder.output to one of y \[1, 4\], z \[1, 8\]"),
        ("no such output", "no output z: set embedder.output to one of y"),
    ],
)
def test_an_embedder_that_cannot_be_used_is_told_in_a_line(
    tmp_path: Path, kind: str, message: str
) -> None:
    path = tmp_path / "e.onnx"
    config = embedder_fault(kind, path)
    with pytest.raises(UserError, match=message) as caught:
        OnnxEmbedder(config)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_an_open_size_is_taken_from_the_configuration(tmp_path: Path) -> None:
    path = echo(tmp_path / "m.onnx", ["n", 3, "h", "w"])
    model = PictureModel(EmbedderConfig(path=path, size_wh=(5, 4)), "embedder")
    assert model.run(model.blank())["y"].shape == (1, 3, 4, 5)


def test_a_missing_onnx_runtime_is_told_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = yolox(tmp_path / "d.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"ONNX Runtime is not installed: pip install"):
        OnnxDetector(config)


def test_threads_and_provider_reach_the_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config, made = yolox(tmp_path / "d.onnx"), []
    session = onnxruntime.InferenceSession

    def recording(path: str, options: Any, providers: list[str]) -> Any:
        made.append((options.intra_op_num_threads, providers))
        return session(path, options, providers=["CPUExecutionProvider"])

    cuda = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "InferenceSession", recording)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: cuda)
    assert PictureModel(config, "detector", threads=2).provider == "CPUExecutionProvider"
    assert made == [(2, cuda)]
    assert f"warning: detector.path {config.path} runs on the CPU" in capsys.readouterr().err


def test_the_fingerprint_is_that_of_what_decides_the_outputs(tmp_path: Path) -> None:
    def of(path: Path, cache: str = "c", weight: float = 1, **settings: Any) -> str:
        detector = DetectorConfig(path=path, **settings)
        config = OnnxTeacherConfig(kind="onnx", detector=detector, cache=cache, weight=weight)
        return fingerprint(config)

    first = answering(tmp_path / "a.onnx", out=raw_yolox(0))
    (tmp_path / "sub").mkdir()
    same = answering(tmp_path / "sub" / "b.onnx", out=raw_yolox(0))
    other = answering(tmp_path / "c.onnx", out=raw_yolox(1))
    own = of(first)
    assert len(own) == 64
    assert own == of(same) == of(first, cache="d") == of(first, weight=2)
    changed = [of(other), of(first, score_threshold=0.2), of(first, fit="centre")]
    assert len({own, *changed}) == 4
    embedder = EmbedderConfig(path=first)
    detector = DetectorConfig(path=first)
    alone = fingerprint(OnnxTeacherConfig(kind="onnx", embedder=embedder))
    both = fingerprint(OnnxTeacherConfig(kind="onnx", embedder=embedder, detector=detector))
    assert len({own, alone, both}) == 3
    with pytest.raises(UserError, match="does not exist"):
        of(tmp_path / "none.onnx")


@pytest.mark.parametrize("location", ["weights.bin", "w" * 150])
def test_the_fingerprint_covers_weights_in_other_files(tmp_path: Path, location: str) -> None:
    nodes = [helper.make_node("Identity", ["c"], ["y"])]
    constants = {"c": np.arange(600, dtype=np.float32)}
    path = tmp_path / "e.onnx"
    how = {"save_as_external_data": True, "size_threshold": 0, "location": location}
    save(path, nodes, [1, 3, 8, 8], constants, ["y"], **how)
    assert outside_files(path) == [(tmp_path / location).resolve()]
    config = OnnxTeacherConfig(kind="onnx", embedder=EmbedderConfig(path=path))
    before, weights = fingerprint(config), bytearray((tmp_path / location).read_bytes())
    assert fingerprint(config) == before
    weights[100] ^= 1
    (tmp_path / location).write_bytes(weights)
    assert fingerprint(config) != before


def test_weights_outside_the_folder_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    (tmp_path / "model").mkdir()
    path = tmp_path / "model" / "e.onnx"
    path.write_bytes(b"\x0a\x08location\x12\x09../secret")
    assert outside_files(path) == []


def real_teacher() -> OnnxTeacherModel:
    files = [SHARED / "models" / name for name in ("yolox_nano.onnx", "person-reid-0248.onnx")]
    video = SHARED / "data" / "TUD-Stadtmitte" / "TUD-Stadtmitte.mp4"
    if not all(file.exists() for file in (*files, video)):
        pytest.skip("shared models or data are absent")
    detector = DetectorConfig(path=files[0], score_threshold=0.45)
    embedder = EmbedderConfig(path=files[1])
    return OnnxTeacherModel(
        OnnxTeacherConfig(kind="onnx", detector=detector, embedder=embedder), threads=1
    )


def test_real_models_see_people_and_know_them_again() -> None:
    model = real_teacher()
    folder = SHARED / "data" / "TUD-Stadtmitte"
    truth = read_mot(folder / "gt" / "gt.txt")
    truth = truth[truth.marks != 0]
    video = cv2.VideoCapture(str(folder / "TUD-Stadtmitte.mp4"))
    hits, found, present = 0, 0, 0
    ids: list[int] = []
    embeddings: list[np.ndarray] = []
    for frame in range(1, 92):
        _, image = video.read()
        if frame % 15 != 1:
            continue
        seen = model(np.asarray(image, np.uint8))
        rows = truth[truth.frames == frame]
        ltwh = np.concatenate(
            [seen.boxes_xyxy[:, :2], seen.boxes_xyxy[:, 2:] - seen.boxes_xyxy[:, :2]], axis=1
        )
        overlap = iou_ltwh(ltwh.astype(np.float64), rows.boxes_ltwh)
        hits += int((overlap.max(axis=0, initial=0) > 0.5).sum())
        found, present = found + len(seen), present + len(rows)
        for row, one in enumerate(overlap):
            if one.max(initial=0) > 0.5:
                ids.append(int(rows.ids[one.argmax()]))
                embeddings.append(seen.embeddings[row].astype(np.float32))
    assert model.embedding_dim == 256 and hits / present > 0.7 and hits / found > 0.8
    cosines = np.array(embeddings) @ np.array(embeddings).T
    pairs = np.triu(np.ones_like(cosines, bool), 1)
    same = np.equal.outer(ids, ids)
    assert cosines[same & pairs].mean() > cosines[~same & pairs].mean() + 0.2
