"""Engine and detector, on the stub model."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest

from runtime import UserError, load
from runtime.engines import Engine, open_engine
from runtime.model_info import METADATA_KEY
from runtime.preprocess import letterbox_geometry
from tests.runtime.conftest import blob_frame
from tests.stub_model import write_stub_model


class FixedEngine(Engine):
    """Returns the same outputs for every frame."""

    provider = "none"

    def __init__(self, info, **outputs):
        self.info = info
        self._outputs = {name: np.asarray(value)[None] for name, value in outputs.items()}

    def run(self, frames):
        return self._outputs


@pytest.fixture
def detector_on(tmp_path):
    from runtime.detector import Detector

    def build(boxes, scores, embeddings, **fields):
        info = write_stub_model(tmp_path / "m.onnx", embedding_dim=2)
        classes = np.zeros(len(scores), np.int64)
        engine = FixedEngine(
            info,
            boxes=np.array(boxes, np.float32),
            scores=np.array(scores, np.float32),
            embeddings=np.array(embeddings, np.float32),
            classes=classes,
        )
        return Detector(engine, **fields)

    return build


def test_dark_frame_has_no_detections(stub_model):
    with load(stub_model) as detector:
        detections = detector(np.zeros((64, 96, 3), np.uint8))
    assert len(detections) == 0
    assert detections.embeddings.shape == (0, 4)


def test_blobs_are_found_in_frame_pixels(stub_model):
    detections = load(stub_model)(blob_frame(0))
    assert len(detections) == 2
    centres = (detections.boxes_xyxy[:, :2] + detections.boxes_xyxy[:, 2:]) / 2
    order = np.argsort(centres[:, 0])
    np.testing.assert_allclose(centres[order], [[60, 40], [120, 90]], atol=5)
    # The stub's boxes are 16 pixels of an input half as large as the frame.
    sizes = detections.boxes_xyxy[:, 2:] - detections.boxes_xyxy[:, :2]
    np.testing.assert_allclose(sizes, 32, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(detections.embeddings, axis=1), 1, atol=1e-3)
    assert detections.scores.tolist() == sorted(detections.scores.tolist(), reverse=True)


def test_stages_are_what_the_call_does(stub_model):
    detector = load(stub_model)
    frame = blob_frame(3)
    geometry = detector.preprocess(frame)
    by_hand = detector.decode(detector.infer(), geometry)
    at_once = detector(frame)
    np.testing.assert_array_equal(by_hand.boxes_xyxy, at_once.boxes_xyxy)
    np.testing.assert_array_equal(by_hand.embeddings, at_once.embeddings)


def test_unsound_rows_are_dropped_and_the_rest_is_sorted(detector_on):
    nan, inf = float("nan"), float("inf")
    detector = detector_on(
        boxes=[
            [0, 0, 8, 8],  # kept, second
            [0, 0, nan, 8],
            [0, 0, inf, 8],
            [9, 0, 5, 8],  # inverted
            [5, 5, 5, 9],  # no area
            [0, 0, 8, 8],  # embedding with nan
            [0, 0, 8, 8],  # embedding without direction
            [1, 1, 9, 9],  # kept, first; embedding too long
            [0, 0, 8, 8],  # low score
            [0, 0, 8, 8],  # score is nan
        ],
        scores=[0.7, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.8, 0.05, nan],
        embeddings=[[1, 0]] * 5 + [[nan, 1], [0, 0], [3, 4], [1, 0], [1, 0]],
    )
    geometry = letterbox_geometry((96, 64), (96, 64))
    detections = detector.decode(detector.infer(), geometry)
    np.testing.assert_allclose(detections.scores, [0.8, 0.7])
    np.testing.assert_allclose(detections.boxes_xyxy, [[1, 1, 9, 9], [0, 0, 8, 8]])
    np.testing.assert_allclose(detections.embeddings, [[0.6, 0.8], [1, 0]], rtol=1e-6)


def test_score_threshold_comes_from_the_model_unless_given(tmp_path):
    path = tmp_path / "m.onnx"
    write_stub_model(path, tracker={"low_threshold": 0.25})
    assert load(path).score_threshold == 0.25
    assert load(path, score_threshold=0.5).score_threshold == 0.5
    write_stub_model(path, tracker={"low_score_stage": False, "high_threshold": 0.6})
    assert load(path).score_threshold == 0.6
    with pytest.raises(UserError, match="between 0 and 1"):
        load(path, score_threshold=1.5)


def test_model_without_embeddings(tmp_path):
    write_stub_model(tmp_path / "m.onnx", embedding_dim=0)
    detections = load(tmp_path / "m.onnx")(blob_frame(0))
    assert len(detections) == 2 and detections.embeddings is None


def test_engine_takes_a_batch_of_a_dynamic_model(tmp_path):
    write_stub_model(tmp_path / "m.onnx", dynamic_batch=True)
    engine = open_engine(tmp_path / "m.onnx", threads=1)
    outputs = engine.run(np.zeros((3, 64, 96, 3), np.uint8))
    assert outputs["boxes"].shape == (3, 8, 4)
    assert engine.provider == "CPUExecutionProvider"


def test_engine_of_one_frame_refuses_others(stub_model):
    engine = open_engine(stub_model, threads=1)
    with pytest.raises(UserError, match=r"one frame at a time, not 3: .* --dynamic-batch"):
        engine.run(np.zeros((3, 64, 96, 3), np.uint8))


def test_graph_that_letterboxes_gets_frames_as_they_are(tmp_path):
    # The stub is its own camera: it does not shrink frames, and its boxes are in their pixels.
    info = write_stub_model(
        tmp_path / "m.onnx", size_wh=(96, 64), frame_size_wh=(192, 128), preprocess="graph"
    )
    assert info.frames_wh == (192, 128)
    frame = blob_frame(0)
    with load(tmp_path / "m.onnx") as detector:
        assert detector.preprocess(frame).resized_wh == (192, 128)
        detections = detector(frame)
        with pytest.raises(UserError, match=r"is 96x64 and the model .* 192x128 only"):
            detector(np.zeros((64, 96, 3), np.uint8))
    # The stub sees a blob in several of its cells at this size.
    centres = (detections.boxes_xyxy[:, :2] + detections.boxes_xyxy[:, 2:]) / 2
    far = np.linalg.norm(centres[:, None] - [[60, 40], [120, 90]], axis=2)
    assert (far.min(axis=0) < 6).all() and (far.min(axis=1) < 16).all()
    np.testing.assert_allclose(
        detections.boxes_xyxy[:, 2:] - detections.boxes_xyxy[:, :2], 16, rtol=1e-5
    )


def test_missing_model(tmp_path):
    with pytest.raises(UserError, match=r"model .*gone\.onnx does not exist"):
        load(tmp_path / "gone.onnx")


@pytest.mark.parametrize("keep", [0, 40, 0.5])
def test_damaged_model(tmp_path, stub_model, keep, capfd):
    content = stub_model.read_bytes()
    path = tmp_path / "damaged.onnx"
    path.write_bytes(content[: int(keep * len(content)) if keep < 1 else keep])
    with pytest.raises(
        UserError, match=r"damaged\.onnx (is no ONNX file|was not made by kd-export)"
    ) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_model_of_somebody_else(tmp_path, stub_model):
    import onnx

    model = onnx.load(stub_model)
    kept = [entry for entry in model.metadata_props if entry.key != METADATA_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(UserError, match="was not made by kd-export"):
        load(tmp_path / "other.onnx")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size_wh": (64, 96)}, r"frames is tensor\(uint8\) \[1, 64, 96, 3\]"),
        ({"topk": 9}, "boxes is"),
        ({"dynamic_batch": True}, r"\[1, 64, 96, 3\], its description wants .*\['N', 64, 96, 3\]"),
        ({"embedding_dim": 5}, "embeddings is"),
    ],
)
def test_graph_that_contradicts_its_description(tmp_path, wrong, message):
    import onnx

    path = tmp_path / "m.onnx"
    info = dataclasses.replace(write_stub_model(path), **wrong)
    model = onnx.load(path)
    onnx.helper.set_model_props(model, info.to_metadata())
    onnx.save(model, path)
    with pytest.raises(UserError, match=message):
        load(path)


def test_graph_without_promised_embeddings(tmp_path):
    import onnx

    path = tmp_path / "m.onnx"
    info = dataclasses.replace(write_stub_model(path, embedding_dim=0), embedding_dim=4)
    model = onnx.load(path)
    onnx.helper.set_model_props(model, info.to_metadata())
    onnx.save(model, path)
    with pytest.raises(UserError, match="its description wants boxes, classes, embeddings"):
        load(path)


@pytest.mark.parametrize(
    "fields", [{"preprocess": "graph"}, {"preprocess": "host", "frame_size_wh": (96, 64)}]
)
def test_preprocessing_that_does_not_suit_the_frame_size(tmp_path, fields):
    write_stub_model(tmp_path / "m.onnx", **fields)
    with pytest.raises(UserError, match=r"preprocessing and .* do not go together: .*--frame-size"):
        load(tmp_path / "m.onnx")


def test_description_of_the_first_format(tmp_path):
    import json

    import onnx

    path = tmp_path / "m.onnx"
    info = write_stub_model(path)
    model = onnx.load(path)
    entries = json.loads(model.metadata_props[0].value)
    for name in ("frame_size_wh", "dynamic_batch", "quantization", "kept"):
        del entries[name]
    for version in (1, 99):
        text = json.dumps(entries | {"format_version": version})
        onnx.helper.set_model_props(model, {METADATA_KEY: text})
        onnx.save(model, tmp_path / f"{version}.onnx")
    old = open_engine(tmp_path / "1.onnx").info
    assert dataclasses.replace(old, format_version=info.format_version) == info
    with pytest.raises(UserError, match="description format 99, this kd-mot reads up to"):
        load(tmp_path / "99.onnx")


def test_unknown_preprocessing(tmp_path):
    write_stub_model(tmp_path / "m.onnx", preprocess="device")
    with pytest.raises(UserError, match="'device' preprocessing"):
        load(tmp_path / "m.onnx")


def test_cuda_that_is_not_there(stub_model):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(UserError, match="has no CUDA"):
        load(stub_model, backend="cuda")


def test_cuda_that_falls_back(stub_model, monkeypatch):
    import onnxruntime

    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    session = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda path, options, **kw: session(path, options, ["CPUExecutionProvider"]),
    )
    with pytest.raises(UserError, match="CPUExecutionProvider would run instead"):
        load(stub_model, backend="cuda")
    assert load(stub_model).engine.provider == "CPUExecutionProvider"


def test_unknown_backend_and_thread_count(stub_model):
    with pytest.raises(UserError, match="auto, cpu, cuda"):
        open_engine(stub_model, backend="tpu")
    with pytest.raises(UserError, match="0 threads"):
        open_engine(stub_model, threads=0)


def test_missing_onnxruntime_names_the_extra(stub_model, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r'pip install "kd-mot\[cpu\]"'):
        load(stub_model)


@pytest.mark.parametrize(
    ("parity", "warns"), [({}, 0), ({"passed": True}, 0), ({"passed": False}, 1)]
)
def test_failed_parity_warns_once(tmp_path, capsys, parity, warns):
    write_stub_model(tmp_path / "m.onnx", parity=parity)
    load(tmp_path / "m.onnx")(blob_frame(0))
    assert capsys.readouterr().err.count("warning:") == warns
