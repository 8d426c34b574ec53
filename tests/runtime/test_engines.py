"""Engines' own memory, and several frames at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import UserError, load
from runtime.detector import Detector
from runtime.engines import Engine, open_engine, providers
from runtime.types import Detections
from tests.runtime.conftest import blob_frame
from tests.runtime.fake_ort import PretendedGpu, pretend_gpu
from tests.stub_model import write_stub_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write_stub_model(tmp_path / "m.onnx", dynamic_batch=True)
    return tmp_path / "m.onnx"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> PretendedGpu:
    return pretend_gpu(monkeypatch, tmp_path / "cache")


def frames_of(engine: Engine, count: int) -> np.ndarray:
    width, height = engine.info.frames_wh
    return np.stack([blob_frame(index * 7, (width, height)) for index in range(count)])


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert (found[name].shape, found[name].dtype) == (value.shape, value.dtype)
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("backend", ["cpu", "cuda", "ort-tensorrt"])
def test_the_engines_memory_gives_what_any_array_gives(
    backend: str, model: Path, gpu: PretendedGpu
) -> None:
    engine = open_engine(model, backend)
    kept = []
    for count in (1, 3, 2, 3, 1, 4):
        frames = frames_of(engine, count)
        expected = engine.run(frames)
        memory = engine.input(count)
        assert memory.shape == frames.shape and memory.dtype == np.uint8
        memory[...] = frames
        assert engine.input(count).ctypes.data == memory.ctypes.data
        found = engine.run(memory)
        assert_same(found, expected)
        kept.append((found, expected))
        memory[...] = 0
        engine.run(memory)
    for found, expected in kept:
        assert_same(found, expected)


def test_nothing_is_bound_for_other_arrays(model: Path) -> None:
    engine = open_engine(model, "cpu")
    frames = frames_of(engine, 2)
    engine.input(2)[...] = 255
    blank = engine.run(engine.input(2))
    assert_same(engine.run(frames), engine.run(frames.copy()))
    assert not np.array_equal(engine.run(frames)["scores"], blank["scores"])
    # Rows that do not start where the memory does are other frames.
    np.testing.assert_array_equal(engine.run(engine.input(2)[1:])["scores"], blank["scores"][1:])


def test_the_session_reads_the_engines_own_memory(model: Path) -> None:
    engine = open_engine(model, "cpu")
    engine._session = NoPlainRun(engine._session)
    memory = engine.input(1)
    memory[...] = frames_of(engine, 1)
    bright = engine.run(memory)["scores"]
    memory[...] = 0
    assert bright.max() > 0.5 > engine.run(memory)["scores"].max()
    with pytest.raises(UserError, match="copied"):
        engine.run(memory.copy())


class NoPlainRun:
    """A session that only takes what is bound to it."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.run_with_iobinding = session.run_with_iobinding

    def run(self, names: list[str], inputs: dict[str, np.ndarray]) -> None:
        raise ValueError("copied")


@pytest.mark.parametrize("count", [0, 2])
def test_frames_that_a_graph_of_one_does_not_take(count: int, stub_model: Path) -> None:
    engine = open_engine(stub_model, "cpu")
    assert engine.largest_batch == 1
    for use in (engine.input, lambda count: engine.run(np.zeros((count, 64, 96, 3), np.uint8))):
        with pytest.raises(UserError, match=f"not {count}: export it with --dynamic-batch"):
            use(count)


@pytest.mark.parametrize("count", [0, providers.TENSORRT_BATCH + 1])
def test_more_frames_than_tensorrt_was_told_of(count: int, model: Path, gpu: PretendedGpu) -> None:
    engine = open_engine(model, "ort-tensorrt")
    for use in (engine.input, lambda count: engine.run(np.zeros((count, 64, 96, 3), np.uint8))):
        with pytest.raises(UserError, match=f"on {count} frames at a time: .* at most 8"):
            use(count)


def test_a_closed_engine_says_so(stub_model: Path) -> None:
    engine = open_engine(stub_model, "cpu")
    engine.close()
    with pytest.raises(RuntimeError, match="closed"):
        engine.run(np.zeros((1, 64, 96, 3), np.uint8))


@pytest.mark.parametrize("change", ["overwritten", "replaced", "deleted"])
def test_a_file_that_changes_while_the_engine_runs(change: str, model: Path) -> None:
    engine = open_engine(model, "cpu")
    frames = frames_of(engine, 2)
    before = engine.run(frames)
    if change == "overwritten":
        model.write_bytes(b"\0" * model.stat().st_size)
    elif change == "replaced":
        other = model.with_name("other.onnx")
        write_stub_model(other, topk=3)
        other.replace(model)
    else:
        model.unlink()
    assert_same(engine.run(frames), before)
    engine.input(5)[...] = frames_of(engine, 5)
    assert engine.run(engine.input(5))["boxes"].shape == (5, 8, 4)


def assert_equal(found: Detections, expected: Detections) -> None:
    assert len(found) == len(expected)
    np.testing.assert_allclose(found.boxes_xyxy, expected.boxes_xyxy, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5)
    np.testing.assert_array_equal(found.classes, expected.classes)
    np.testing.assert_allclose(found.embeddings, expected.embeddings, rtol=1e-4, atol=1e-5)


def count_runs(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    counts: list[int] = []
    run = detector.engine.run

    def counting(frames: np.ndarray) -> dict[str, np.ndarray]:
        counts.append(len(frames))
        return run(frames)

    monkeypatch.setattr(detector.engine, "run", counting)
    return counts


SIZES = [(192, 128), (96, 128), (300, 90), (192, 128), (64, 64), (96, 64), (128, 192)]


@pytest.mark.parametrize(
    ("dynamic", "largest", "runs"),
    [(True, None, [7]), (True, 3, [2, 2, 3]), (True, 4, [3, 4]), (False, None, [1] * 7)],
)
def test_a_batch_finds_what_frame_after_frame_does(
    dynamic: bool,
    largest: int | None,
    runs: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_stub_model(tmp_path / "m.onnx", dynamic_batch=dynamic)
    detector = load(tmp_path / "m.onnx", "cpu", threads=1)
    if largest is not None:
        monkeypatch.setattr(type(detector.engine), "largest_batch", largest)
    frames = [blob_frame(index * 3, size) for index, size in enumerate(SIZES)]
    expected = [detector(frame) for frame in frames]
    assert sum(map(bool, map(len, expected))) >= 2
    counts = count_runs(detector, monkeypatch)
    for found, one in zip(detector.detect_batch(frames), expected, strict=True):
        assert_equal(found, one)
    assert counts == runs
    assert detector.detect_batch([]) == []


@pytest.mark.parametrize("dynamic", [True, False])
def test_a_batch_of_a_graph_that_letterboxes(dynamic: bool, tmp_path: Path) -> None:
    write_stub_model(
        tmp_path / "m.onnx",
        frame_size_wh=(192, 128),
        preprocess="graph",
        dynamic_batch=dynamic,
    )
    detector = load(tmp_path / "m.onnx", "cpu", threads=1)
    frames = [blob_frame(index) for index in (0, 9, 30)]
    expected = [detector(frame) for frame in frames]
    assert sum(map(bool, map(len, expected))) >= 2
    for found, one in zip(detector.detect_batch(frames), expected, strict=True):
        assert_equal(found, one)
    with pytest.raises(UserError, match="is 96x64 and the model letterboxes"):
        detector.detect_batch([frames[0], np.zeros((64, 96, 3), np.uint8)])


def test_detectors_that_share_an_engine_and_see_frames_of_two_sizes(model: Path) -> None:
    engine = open_engine(model, "cpu")
    wide, tall = Detector(engine), Detector(engine)
    frames = blob_frame(0, (192, 100)), blob_frame(0, (100, 192))
    expected = wide(frames[0]), tall(frames[1])
    for _ in range(2):
        assert_equal(wide(frames[0]), expected[0])
        assert_equal(tall(frames[1]), expected[1])
